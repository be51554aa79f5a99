// Writes the seed corpus: real messages of the types that the fuzz targets read. seeds FOLDER

#include "mp/detail/call.hpp"
#include "wire/frame.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

using namespace mp::detail;

namespace {

std::filesystem::path folder;

void save(const std::string& target, const std::string& name, std::vector<std::byte> bytes) {
  std::filesystem::create_directories(folder / target);
  std::ofstream(folder / target / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}
template <class T>
void message(unsigned choice, const T& value) {
  auto bytes = encode_to_buffer(value).bytes;
  bytes.insert(bytes.begin(), static_cast<std::byte>(choice));
  save("codec", "seed-" + std::to_string(choice), std::move(bytes));
}

struct point {
  double x, y;
};
struct record {
  std::string name;
  std::vector<point> points;
  std::map<std::string, int> counts;
  std::optional<std::u16string> maybe;
  std::variant<int, std::string, std::vector<bool>> either;
  std::array<bool, 3> answers;
};
struct tree {
  std::string name;
  std::vector<tree> children;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: seeds FOLDER\n"), 2;
  folder = argv[1];
  const record r{"bob", {{1, 2}, {3, 4}}, {{"a", 1}, {"b", 2}}, u"x", std::string("y"), {true, false, true}};
  message(0, r);
  message(1, tree{"a", {{"b", {{"c", {}}}}, {"d", {}}}});
  message(6, std::string("text"));
  message(7, std::vector<std::string>{"a", "bc", ""});
  message(8, std::vector<double>{1, 2, 3});
  message(10, std::vector<bool>{true, false, true});
  message(12, std::map<std::string, std::vector<record>>{{"k", {r, r}}});

  for (std::size_t body : {0u, 5u, 100u}) {
    // {no descriptors, none of their bytes}, header, note, "the body is inside", body
    std::vector<std::byte> record(2);
    const auto header = mp::wire::encode_header({mp::wire::frame_kind::message, 0, body, 0, 7});
    record.insert(record.end(), header.begin(), header.end());
    record.resize(record.size() + 24 + 1 + body);
    record[2 + 32] = std::byte{6};
    save("record", "seed-" + std::to_string(body), record);
  }
  save("call", "seed-call", serialise_call(bind_call([](int) {}, 1)).bytes);
  auto arguments = bind_call([](const std::string&, std::vector<int>) {}, "text", std::vector{1, 2, 3}).arguments;
  arguments.insert(arguments.begin(), std::byte{1});
  save("call", "seed-arguments", arguments);
}
