// Encoding of what precedes a task. Must check every length: a static constructor of the child may write anything here.

#include "process/start_message.hpp"

#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "os/control.hpp"

namespace mp::detail {
namespace {

// One function per type lists its fields; a writer and a reader walk them, so that they cannot drift apart.
struct writer {
  encoder& out;

  template <class Number>
  requires std::is_arithmetic_v<Number> || std::is_enum_v<Number>
  void field(const Number& value) { out.number(value); }
  void field(const std::string& text) {
    out.number(static_cast<std::uint64_t>(text.size()));
    out.raw(text.data(), text.size());
  }
  void field(const std::byte& value) { out.number(value); }
  void field(const limit_setting& l) {
    out.number(l.resource);
    out.number(l.soft);
    out.number(l.hard);
  }
  template <class T>
  void field(const std::vector<T>& list) {
    out.number(static_cast<std::uint64_t>(list.size()));
    for (const T& item : list) field(item);
  }
  template <class T>
  void field(const std::optional<T>& value) {
    out.number(value.has_value());
    if (value) field(*value);
  }
  void field(const std::array<bool, 3>& flags) {
    for (const bool flag : flags) out.number(flag);
  }
};

struct reader {
  decoder& in;

  template <class Number>
  requires std::is_arithmetic_v<Number> || std::is_enum_v<Number>
  void field(Number& value) {
    if constexpr (std::is_same_v<Number, bool>)
      value = in.flag();
    else
      value = in.number<Number>();
  }
  void field(std::byte& value) { value = in.number<std::byte>(); }
  void field(std::string& text) {
    const std::size_t n = in.count();
    text.assign(reinterpret_cast<const char*>(in.take(n)), n);
  }
  void field(limit_setting& l) {
    l.resource = in.number<std::int32_t>();
    l.soft = in.number<std::uint64_t>();
    l.hard = in.number<std::uint64_t>();
  }
  template <class T>
  void field(std::vector<T>& list) {
    list.resize(in.count());
    for (T& item : list) field(item);
  }
  template <class T>
  void field(std::optional<T>& value) {
    value.reset();
    if (in.flag()) field(value.emplace());
  }
  void field(std::array<bool, 3>& flags) {
    for (bool& flag : flags) flag = in.flag();
  }
};

template <class Archive, class Message>
void walk(Archive archive, Message& m) {
  archive.field(m.name);
  archive.field(m.daemon);
  archive.field(m.method);
  archive.field(m.parent_pid);
  archive.field(m.parent_name);
  archive.field(m.environment);
  archive.field(m.group);
  archive.field(m.limits);
  archive.field(m.affinity);
  archive.field(m.nice);
  archive.field(m.enters_directory);
  archive.field(m.working_directory);
  archive.field(m.streams);
  archive.field(m.ignores_interrupt);
  archive.field(m.mailbox);
  archive.field(m.go_follows);
  archive.field(m.call_follows);
}

template <class Write>
std::vector<std::byte> encode_twice(Write write) {
  std::vector<std::byte> bytes(1024);
  encoder first(bytes);
  write(first);
  const bool again = first.overflowed();
  bytes.resize(first.size());
  if (again) {
    encoder second(bytes);
    write(second);
  }
  return bytes;
}

}  // namespace

std::vector<std::byte> encode_start(const start_message& message, std::span<const std::byte> call) {
  return encode_twice([&](encoder& out) {
    walk(writer{out}, message);
    out.raw(call.data(), call.size());
  });
}

decoded_start decode_start(std::span<const std::byte> bytes) {
  decoder in(bytes);
  decoded_start result;
  walk(reader{in}, result.message);
  result.call = bytes.subspan(bytes.size() - in.left());
  return result;
}

std::vector<std::byte> encode_hello(std::string_view refusal) {
  return encode_twice([&](encoder& out) {
    out.number(os::control_protocol);
    writer{out}.field(std::string(refusal));
    const auto marks = os::build_marks();
    out.number(static_cast<std::uint64_t>(marks.size()));
    out.raw(marks.data(), marks.size() * sizeof(os::build_mark));
  });
}

std::string check_hello(std::span<const std::byte> bytes, std::string& refusal) {
  decoder in(bytes);
  if (const auto protocol = in.number<std::uint32_t>(); protocol != os::control_protocol)
    return "it speaks protocol " + std::to_string(protocol) + ", we speak " + std::to_string(os::control_protocol);
  reader{in}.field(refusal);
  std::vector<os::build_mark> marks(in.count(sizeof(os::build_mark)));
  in.raw(marks.data(), marks.size() * sizeof(os::build_mark));
  const std::string module = os::different_module(marks);
  return module.empty() ? std::string() : "there " + module + " is another build than here";
}

}  // namespace mp::detail
