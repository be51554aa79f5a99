// Every type that the codec knows arrives as it was.

#include "codec_types.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

using namespace mp_test;
using namespace std::chrono_literals;

namespace {

class open_base {
public:
  open_base() = default;
  virtual ~open_base() = default;
  template <class Archive>
  void serialize(Archive&) {}
};
class open_derived : public open_base {};

class fragile {
public:
  fragile() = default;
  explicit fragile(int n) : text_(1, 'x') {
    if (n != 0) throw n;
  }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(text_);
  }

private:
  std::string text_;
};

class sulky {
public:
  sulky() = default;
  template <class Archive>
  void save(Archive&) const {
    throw std::out_of_range("not today");
  }
  template <class Archive>
  void load(Archive&) {}
};

}  // namespace

template <class T>
static void arrives(const T& value) {
  static_assert(mp::sendable<T>);
  INFO(mp::detail::type_name<T>());
  const bool is_same = round_trip(value) == value;  // compared here: Catch need not be compiled for every type
  CHECK(is_same);
}

template <class T>
static void extremes_arrive() {
  using limits = std::numeric_limits<T>;
  for (const T value : {T{}, limits::min(), limits::max(), limits::lowest()}) arrives(value);
}

TEST_CASE("codec: numbers arrive, also the smallest and the largest", "[codec][unit]") {
  extremes_arrive<char>();
  extremes_arrive<signed char>();
  extremes_arrive<unsigned char>();
  extremes_arrive<wchar_t>();
  extremes_arrive<char8_t>();
  extremes_arrive<char16_t>();
  extremes_arrive<char32_t>();
  extremes_arrive<short>();
  extremes_arrive<unsigned short>();
  extremes_arrive<int>();
  extremes_arrive<unsigned>();
  extremes_arrive<long>();
  extremes_arrive<unsigned long>();
  extremes_arrive<long long>();
  extremes_arrive<unsigned long long>();
  extremes_arrive<float>();
  extremes_arrive<double>();
  extremes_arrive<long double>();
  arrives(true);
  arrives(false);
  arrives(std::byte{0xff});
  CHECK(std::isnan(round_trip(std::numeric_limits<double>::quiet_NaN())));
  CHECK(std::signbit(round_trip(-0.0)));
}

TEST_CASE("codec: enums arrive, scoped, of bool, and plain", "[codec][unit]") {
  arrives(colour::blue);
  arrives(yes_no::yes);
  arrives(third);
}

TEST_CASE("codec: strings of every character arrive, empty and with zeros inside", "[codec][unit]") {
  arrives(std::string());
  arrives(std::string("a\0b", 3));
  arrives(std::string(100'000, 'x'));
  arrives(std::wstring(L"wide"));
  arrives(std::u8string(u8"acht"));
  arrives(std::u16string(u"sechzehn"));
  arrives(std::u32string(U"zweiunddreißig"));
}

TEST_CASE("codec: sequences arrive, empty and full", "[codec][unit]") {
  arrives(std::vector<int>());
  arrives(std::vector<int>{1, 2, 3});
  arrives(std::vector<std::string>{"a", "", "ccc"});
  arrives(std::vector<std::vector<double>>{{1, 2}, {}, {3}});
  arrives(std::vector<point>{{1, 2}, {3, 4}});
  arrives(std::vector<padded>{{'a', 1}, {'b', 2}});
  arrives(std::vector<nothing>(5));
  arrives(std::vector<silent>(5));
  arrives(std::vector<bool>());
  arrives(std::vector<bool>{true, false, true, true, false, false, false, true, true});
  arrives(std::deque<std::string>{"a", "b"});
  arrives(std::deque<int>{1, 2});
  arrives(std::list<int>{1, 2});
  arrives(std::list<std::string>(1000, "node"));
  arrives(std::forward_list<std::string>{"a", "b"});
  arrives(std::array<int, 4>{1, 2, 3, 4});
  arrives(std::array<std::string, 2>{"a", "b"});
  arrives(std::array<bool, 3>{true, false, true});
  arrives(std::array<int, 0>{});
  CHECK((round_trip(std::valarray<int>{1, 2, 3}) == std::valarray<int>{1, 2, 3}).min());
}

TEST_CASE("codec: an array arrives from wherever it lies in the message", "[codec][unit]") {
  for (std::size_t shift = 0; shift < 9; ++shift) {
    const auto value = std::pair(std::string(shift, 's'), std::vector<double>{1, 2, 3});
    CHECK(round_trip(value) == value);
  }
}

TEST_CASE("codec: associative containers arrive", "[codec][unit]") {
  arrives(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
  arrives(std::multimap<int, std::string>{{1, "a"}, {1, "b"}, {2, "c"}});
  arrives(std::set<std::string>{"a", "b"});
  arrives(std::set<int, std::greater<>>{3, 1, 2});
  arrives(std::multiset<int>{1, 1, 2});
  arrives(std::unordered_map<std::string, int>{{"a", 1}, {"b", 2}});
  arrives(std::unordered_multimap<int, int>{{1, 1}, {1, 2}});
  arrives(std::unordered_set<int>{1, 2, 3});
  arrives(std::unordered_multiset<int>{1, 1});
}

TEST_CASE("codec: stacks and queues arrive in their order", "[codec][unit]") {
  std::stack<int> stack;
  std::queue<std::string> queue;
  std::priority_queue<int, std::vector<int>, std::greater<>> priority;
  for (int i : {3, 1, 2}) stack.push(i), queue.push(std::to_string(i)), priority.push(i);
  arrives(stack);
  arrives(queue);
  auto arrived = round_trip(priority);
  CHECK(arrived.size() == 3);
  CHECK(arrived.top() == 1);
  arrived.pop();
  CHECK(arrived.top() == 2);
}

TEST_CASE("codec: optional, variant, tuple, pair and monostate arrive", "[codec][unit]") {
  arrives(std::optional<std::string>("x"));
  arrives(std::optional<std::string>());
  arrives(std::optional<std::optional<int>>(std::optional<int>()));
  arrives(std::variant<std::monostate, int, std::string>());
  arrives(std::variant<std::monostate, int, std::string>("x"));
  arrives(std::variant<int, int>(std::in_place_index<1>, 4));
  arrives(std::tuple<int, std::string, bool>(1, "a", true));
  arrives(std::tuple<>());
}

TEST_CASE("codec: bitset, complex, chrono and paths arrive", "[codec][unit]") {
  arrives(std::bitset<0>());
  arrives(std::bitset<3>(5));
  arrives(std::bitset<130>(77).flip());
  arrives(std::complex<float>(1, -2));
  arrives(std::complex<long double>(1, -2));
  arrives(25ms);
  arrives(std::chrono::duration<double, std::micro>(0.5));
  arrives(std::chrono::steady_clock::now());
  arrives(std::chrono::system_clock::now());
  arrives(std::chrono::year(2026) / 2 / 29);
  arrives(std::chrono::Monday);
  arrives(std::filesystem::path("/a/b c/ü"));
  arrives(std::filesystem::path());
}

TEST_CASE("codec: aggregates arrive without a line of code, nested and recursive", "[codec][unit]") {
  arrives(point{1, 2});
  arrives(padded{'x', 4});
  arrives(nothing{});
  arrives(make_record());
  arrives(record{});
  arrives(make_nested());
  arrives(make_tree());
}

TEST_CASE("codec: types with cereal's functions arrive, of every form", "[codec][unit]") {
  arrives(with_serialize(4, {"a", "b"}));
  arrives(with_split(4, "text"));
  arrives(with_minimal(7));
  arrives(with_version(7));
  CHECK(round_trip(with_version(7)).seen == 7);
  arrives(with_free_functions(3));
  derived_with_serialize derived;
  derived.base = 1;
  derived.more.emplace(2, with_serialize(3, {"x"}));
  derived.raw = {1, 2, 3, 4};
  derived.plain[1] = 9;
  arrives(derived);
  arrives(std::vector<with_version>{with_version(1), with_version(2)});
  arrives(std::map<std::string, with_serialize>{{"k", {1, {"v"}}}});
}

TEST_CASE("codec: the hook carries a type that cannot be default-constructed, wherever it stands", "[codec][unit]") {
  arrives(celsius(21.5));
  arrives(weather{
      celsius(1), {celsius(2), celsius(3)}, {celsius(4), celsius(5)}, {{celsius(6), "six"}}, celsius(7), celsius(8)});
  arrives(std::vector<std::pair<celsius, int>>{{celsius(1), 2}});
}

TEST_CASE("codec: owning pointers arrive with what they own", "[codec][unit]") {
  CHECK(round_trip(std::unique_ptr<int>()) == nullptr);
  CHECK(*round_trip(std::make_unique<std::string>("x")) == "x");
  CHECK(*round_trip(std::make_unique<celsius>(4.0)) == celsius(4.0));
  CHECK(round_trip(std::shared_ptr<int>()) == nullptr);
  CHECK(*round_trip(std::make_shared<const int>(4)) == 4);
  const auto list = round_trip(chain{1, std::make_unique<chain>(2, nullptr)});
  CHECK(list.next->value == 2);
  CHECK(list.next->next == nullptr);
}

TEST_CASE("codec: what was shared before is shared after", "[codec][unit]") {
  const auto leaf = std::make_shared<graph>(graph{3, {}});
  const graph root{1, {leaf, std::make_shared<graph>(graph{2, {leaf}}), leaf}};
  const graph arrived = round_trip(root);
  REQUIRE(arrived.edges.size() == 3);
  CHECK(arrived.edges[0] == arrived.edges[2]);
  CHECK(arrived.edges[1]->edges.at(0) == arrived.edges[0]);
  CHECK(arrived.edges[0].use_count() == 3);
}

TEST_CASE("codec: an object and its first member are two objects", "[codec][unit]") {
  struct owner {
    int first_member = 4;
    int second = 5;
  };
  const auto whole = std::make_shared<owner>();
  const std::shared_ptr<int> part(whole, &whole->first_member);
  const auto [w, p] = round_trip(std::pair(whole, part));
  CHECK(w->second == 5);
  CHECK(*p == 4);
}

TEST_CASE("codec: what cannot be written is unencodable, and says why", "[codec][unit]") {
  CHECK(mp_test::what_of([] {
          return round_trip(std::unique_ptr<open_base>(new open_derived)), 0;
        }).find("static type") != std::string::npos);

  const auto knot = std::make_shared<graph>();
  knot->edges.push_back(knot);
  CHECK_ERRC(round_trip(knot), unencodable);
  knot->edges.clear();

  std::variant<std::string, fragile> broken = "x";
  CHECK_THROWS_AS(broken.emplace<fragile>(1), int);
  REQUIRE(broken.valueless_by_exception());
  CHECK_ERRC(round_trip(broken), unencodable);
}

TEST_CASE("codec: the caller gets what its own functions throw while encoding", "[codec][unit]") {
  CHECK_THROWS_AS(mp::detail::encode_to_buffer(sulky()), std::out_of_range);
}

TEST_CASE("codec: a list may have many nodes, nesting ends at 64 for writer and reader", "[codec][unit]") {
  const auto make = [](int depth) {
    chain first;
    for (chain* at = &first; --depth > 0; at = at->next.get()) at->next = std::make_unique<chain>();
    return first;
  };
  CHECK_NOTHROW(round_trip(make(65)));  // 64 pointers
  CHECK_ERRC(round_trip(make(66)), unencodable);
  CHECK(round_trip(std::list<std::string>(100'000)).size() == 100'000);
}

TEST_CASE("codec: the worked example of doc/wire-format.md is what is written", "[codec][unit]") {
  struct job {
    std::string name;
    std::optional<int> level;
    std::vector<short> parts;
  };
  const auto bytes = mp::detail::encode_to_buffer(job{"wc", 7, {1, 2}}).bytes;
  const unsigned char drawn[] = {2, 0, 0, 0, 0, 0, 0, 0, 'w', 'c', 1, 7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0};
  CHECK(std::ranges::equal(bytes, std::as_bytes(std::span(drawn))));
}
