// Items of one chunk are messages of their own, although they travel together: what a message keeps in mind (objects that
// are shared, class versions) ends with it.

#include "mp/queue.hpp"
#include "pool_tasks.hpp"

#include <cereal/cereal.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace mp_test;

namespace {

class hooked {
public:
  explicit hooked(int n) : number_(n) {}
  int number() const { return number_; }

private:
  int number_;
};

}  // namespace

template <>
struct mp::codec<hooked> {
  static int encode(const hooked& value) { return value.number(); }
  static hooked decode(int&& number) { return hooked(number); }
};

namespace {

hooked hook(int n) { return hooked(n); }
/// The first one waits for one far behind it, so that others must take what waits behind the first.
struct first_waits {
  mp::queue<int> later;
  int operator()(int n) const {
    if (n == 0) static_cast<void>(later.get());
    if (n == 100'000) later.put(n);
    return n;
  }
};

using pointer = std::shared_ptr<int>;

class versioned {
public:
  versioned() = default;
  explicit versioned(int n) : number(n) {}
  int number = 0;
  template <class Archive>
  void serialize(Archive& ar, std::uint32_t version) {
    ar(number);
    if (version != 9) number = -1;
  }
};

int value_of(const pointer& p) { return p ? *p : -1; }
pointer pointer_to(int n) { return std::make_shared<int>(n); }
/// Both arguments are one object: that is true within an item.
int are_one(const pointer& a, const pointer& b) { return a == b ? *a : -1; }
versioned one_more(const versioned& v) { return versioned(v.number + 1); }
/// Carries an object itself.
struct adder {
  pointer base;
  int operator()(const pointer& p) const { return *base + *p; }
};

std::vector<pointer> pointers(int n) {
  std::vector<pointer> all;
  for (int i = 0; i < n; ++i) all.push_back(std::make_shared<int>(i));
  return all;
}
constexpr int items = 50;
const mp::map_options in_chunks{.chunk = 8};

}  // namespace

CEREAL_CLASS_VERSION(versioned, 9)

TEST_CASE("pool: items with shared objects travel in one chunk", "[pool][actors]") {
  const fd_ledger ledger;
  {
    mp::pool pool{2};
    CHECK(pool.map(value_of, pointers(items), in_chunks) == numbers(items));
    CHECK(pool.submit(adder{std::make_shared<int>(1)}, std::make_shared<int>(2)).get() == 3);
    const auto same = std::make_shared<int>(3);
    CHECK(pool.map(value_of, std::vector<pointer>(items, same), in_chunks) == std::vector<int>(items, 3));
    CHECK(pool.map(adder{std::make_shared<int>(1)}, std::vector<pointer>(items, same), in_chunks) ==
          std::vector<int>(items, 4));
    CHECK(pool.starmap(are_one, std::vector<std::pair<pointer, pointer>>(items, {same, same}), in_chunks) ==
          std::vector<int>(items, 3));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: results with shared objects travel in one chunk", "[pool][actors]") {
  const fd_ledger ledger;
  {
    mp::pool pool{2};
    std::vector<int> arrived;
    for (const pointer& p : pool.map(pointer_to, numbers(items), in_chunks)) arrived.push_back(value_of(p));
    CHECK(arrived == numbers(items));
    arrived.clear();
    for (const pointer& p : pool.imap(pointer_to, numbers(items), in_chunks)) arrived.push_back(value_of(p));
    CHECK(arrived == numbers(items));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: items and results with class versions travel in one chunk", "[pool][actors]") {
  const fd_ledger ledger;
  {
    mp::pool pool{2};
    std::vector<versioned> in;
    for (int i = 0; i < items; ++i) in.emplace_back(i - 1);
    std::vector<int> arrived;
    for (const versioned& v : pool.map(one_more, in, in_chunks)) arrived.push_back(v.number);
    CHECK(arrived == numbers(items));
    arrived.clear();
    for (const versioned& v : pool.imap(one_more, in, in_chunks)) arrived.push_back(v.number);
    CHECK(arrived == numbers(items));
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: imap over quick items gives every result that a hook reads", "[pool][actors]") {
  const fd_ledger ledger;
  {
    mp::pool pool{2};
    // Until the pool knows that they are quick, and sends them on together.
    for (const std::ptrdiff_t chunk : {0, 1, 8}) {
      std::vector<int> arrived;
      for (const hooked& h : pool.imap(hook, numbers(2000), {.chunk = chunk})) arrived.push_back(h.number());
      CHECK(arrived == numbers(2000));
    }
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("pool: a chunk larger than a unit can hold loses nothing", "[pool][actors]") {
  const fd_ledger ledger;
  {
    mp::pool pool{2};
    const auto input = numbers(150'000);
    const mp::queue<int> later;
    for (const std::ptrdiff_t chunk :
         {std::ptrdiff_t{70'000}, std::ptrdiff_t{1'000'000}, std::ptrdiff_t{5'000'000'000}}) {
      std::vector<int> arrived;
      for (const int n : pool.imap(first_waits{later}, input, {.chunk = chunk})) arrived.push_back(n);
      CHECK((arrived == input));
      CHECK((pool.map(first_waits{later}, input, {.chunk = chunk}) == input));
    }
  }
  CHECK_CLEAN(ledger);
}
