// libFuzzer: hostile bytes as messages of many types. The first byte chooses the type. Whatever is read is a value of its
// type: it can be written, and what was written is read as the same bytes again.

#include "mp/codec.hpp"
#include "mp/error.hpp"

#include <bitset>
#include <cereal/cereal.hpp>
#include <chrono>
#include <complex>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <list>
#include <map>
#include <queue>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>

using namespace mp::detail;

namespace {

enum class colour : std::uint8_t { red, green };
enum class yes_no : bool { no, yes };
struct point {
  double x, y;
};
struct record {
  std::string name;
  std::vector<point> points;
  std::map<std::string, int> counts;
  std::optional<std::u16string> maybe;
  std::variant<int, std::string, std::vector<bool>> either;
  std::array<yes_no, 3> answers;
};
struct tree {
  std::string name;
  std::vector<tree> children;
};
struct chain {
  std::unique_ptr<chain> next;
  std::list<std::pair<bool, colour>> items;
};
struct graph {
  std::vector<std::shared_ptr<graph>> edges;
  std::shared_ptr<int> number;
};
class split {
public:
  template <class Archive>
  void save(Archive& ar) const {
    ar(words, CEREAL_NVP(flag));
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(words, CEREAL_NVP(flag));
  }

private:
  std::vector<std::string> words;
  bool flag = false;
};
class even {
public:
  explicit even(int n) : n_(n) {}
  int n() const { return n_; }

private:
  int n_;
};
struct nothing {};

}  // namespace

template <>
struct mp::codec<even> {
  static int encode(const even& e) { return e.n(); }
  static even decode(int&& n) {
    if (n % 2 != 0) throw std::domain_error("odd");
    return even(n);
  }
};

namespace {

void check(bool fact) {
  if (!fact) std::abort();
}

template <class T>
void read(std::span<const std::byte> bytes) {
  encoded once;
  try {
    decoder d(bytes);
    const T value = decode<T>(d);
    d.finish();
    once = encode_to_buffer(value);
  } catch (const mp::error& e) {
    check(e.code() == mp::errc::undecodable || e.code() == mp::errc::unencodable);
    return;
  }
  decoder d(once.bytes);
  const T again = decode<T>(d);
  d.finish();
  // Hashed containers may change their order; everything has the same size.
  check(encode_to_buffer(again).bytes.size() == once.bytes.size());
}

template <class... T>
void read_one_of(unsigned choice, std::span<const std::byte> bytes) {
  unsigned at = 0;
  ((at++ == choice % sizeof...(T) ? read<T>(bytes) : void()), ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  read_one_of<record, tree, chain, graph, split, even, std::string, std::vector<std::string>, std::vector<double>,
              std::vector<nothing>, std::vector<bool>, std::vector<std::array<std::optional<point>, 20>>,
              std::map<std::string, std::vector<record>>, std::unordered_map<int, std::set<std::string>>,
              std::unordered_multiset<std::string>, std::priority_queue<int>, std::forward_list<std::u32string>,
              std::tuple<bool, colour, yes_no, std::bitset<19>, std::complex<float>, long double>,
              std::vector<std::variant<std::monostate, even, split, std::filesystem::path>>,
              std::deque<std::optional<std::unique_ptr<record>>>, std::chrono::year_month_day>(
      data[0], std::as_bytes(std::span(data + 1, size - 1)));
  return 0;
}
