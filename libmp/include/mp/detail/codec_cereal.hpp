#pragma once
/// @file
/// Types with cereal's `serialize`, `save`/`load` or `save_minimal`/`load_minimal` travel as those functions say.
///
/// Model:    cereal's archives. Different: what the functions hand over (containers, strings, smart pointers ..) is
///           read by our own codec, under its checks, whether or not cereal's headers for those types are included.
/// Shape:    cereal's words are declared here and defined by cereal's own headers, where a type uses them. So a program
///           without them does not compile cereal, which took half a second. What cereal itself would do with a type is
///           decided by its rules in cereal_forms.hpp.
/// Threads:  thread-compatible.      Processes: process-bound.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/detail/std_parts.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cereal {

class access;
template <class T>
class NameValuePair;
template <class T>
class SizeTag;
template <class T>
struct BinaryData;
template <class T>
class DeferredData;
template <class Base>
struct base_class;
template <class Base>
struct virtual_base_class;
enum class specialization;
template <class Archive, class T, specialization S>
struct specialize;

namespace detail {
namespace {
struct version_binding_tag;  // cereal's, and as there one of each translation unit
}
template <class T, class Tag>
struct Version;
struct Versions;
template <class T>
class StaticObject;
}  // namespace detail
namespace traits::detail {
template <class Archive>
struct get_output_from_input;
template <class Archive>
struct get_input_from_output;
}  // namespace traits::detail

}  // namespace cereal

namespace mp::detail {

template <class T>
void write_value(encoder&, const T&);
template <class T>
T read_value(decoder&);
template <class T>
void read_into(decoder&, T&);

template <class T>
inline constexpr char type_tag = 0;  // its address tells types apart within one process

/// X, which need not be complete before T is used.
template <class T, class X>
struct later {
  using type = X;
};

/// What CEREAL_CLASS_VERSION says of T, here or in another file of the program; 0 where it says nothing.
template <class T>
std::uint32_t class_version() {
  using version = cereal::detail::Version<T, cereal::detail::version_binding_tag>;
  using all = typename later<T, cereal::detail::StaticObject<cereal::detail::Versions>>::type;
  if constexpr (requires { version::version; }) {
    const auto lock = all::lock();
    return all::getInstance().find(std::type_index(typeid(T)).hash_code(), version::version);
  } else {
    return 0;
  }
}

/// What both directions keep in mind. Its argument makes names of cereal's namespace visible to the calls of a user's
/// functions, as they are where cereal's own archives are used.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class Cereal>
class cereal_state : public adapter_state {
public:
  cereal_state(const cereal_state&) = delete;
  cereal_state& operator=(const cereal_state&) = delete;
  ~cereal_state() override = default;

  /// Reads or writes what cereal::defer has put off in the object under way.
  void serializeDeferments() {
    for (const auto& action : std::exchange(deferred_, {})) action();
  }

  /// One object that is no base of another. What is put off in it comes at its end at the latest: the object may be
  /// moved then. Virtual bases are told apart within it.
  class object {
  public:
    explicit object(cereal_state& state) noexcept
        : state_(state), deferred_(std::exchange(state.deferred_, {})), bases_(std::exchange(state.bases_, {})) {}
    object(const object&) = delete;
    object& operator=(const object&) = delete;
    ~object() {
      state_.deferred_ = std::move(deferred_);
      state_.bases_ = std::move(bases_);
    }
    void end() { state_.serializeDeferments(); }

  private:
    cereal_state& state_;
    std::vector<std::function<void()>> deferred_;
    std::vector<std::pair<const void*, const void*>> bases_;
  };

protected:
  cereal_state() = default;
  /// False: this object has had this base before.
  bool is_first(const void* base, const void* type) {
    for (const auto& seen : bases_)
      if (seen == std::pair(base, type)) return false;
    bases_.emplace_back(base, type);
    return true;
  }
  void defer(std::function<void()> action) { deferred_.push_back(std::move(action)); }
  /// The class version that this message has said of a type; null: none yet.
  const std::uint32_t* version_said(const void* type) const noexcept {
    for (const auto& [of, version] : versions_)
      if (of == type) return &version;
    return nullptr;
  }
  std::uint32_t say_version(const void* type, std::uint32_t version) {
    versions_.emplace_back(type, version);
    return version;
  }

private:
  std::vector<std::pair<const void*, std::uint32_t>> versions_;
  std::vector<std::function<void()>> deferred_;
  std::vector<std::pair<const void*, const void*>> bases_;
};

/// What `ar` is in a user's serialize or save function.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class Cereal>
class basic_cereal_writer : public cereal_state<Cereal> {
public:
  using is_loading = std::false_type;
  using is_saving = std::true_type;

  static basic_cereal_writer& of(encoder& e) {
    if (!e.adapter()) e.adapter() = std::make_unique<basic_cereal_writer>();
    auto& w = static_cast<basic_cereal_writer&>(*e.adapter());
    w.out_ = &e;
    return w;
  }

  /// Throws: what the encoder throws; what the user's functions throw.
  template <class... T>
  basic_cereal_writer& operator()(T&&... values) {
    (write(values), ...);
    return *this;
  }
  template <class T>
  basic_cereal_writer& operator&(T&& value) {
    return (*this)(value);
  }
  template <class T>
  basic_cereal_writer& operator<<(T&& value) {
    return (*this)(value);
  }
  void save_bytes(const void* bytes, std::size_t n) { out_->raw(bytes, n); }
  /// The version of T, written where it is asked for first.
  template <class T>
  std::uint32_t version_of() {
    if (const auto* said = this->version_said(&type_tag<T>)) return *said;
    const std::uint32_t version = class_version<T>();
    out_->number(version);
    return this->say_version(&type_tag<T>, version);
  }

  template <class T>
  void write(const T& value) {
    write_value(*out_, value);
  }

private:
  template <class T, std::size_t N>
  void write(const T (&values)[N]) {
    for (const T& v : values) write(v);
  }
  template <class T>
  void write(const cereal::NameValuePair<T>& pair) {
    write(pair.value);
  }
  template <class T>
  void write(const cereal::SizeTag<T>& tag) {
    out_->number(static_cast<std::uint64_t>(tag.size));
  }
  template <class T>
  void write(const cereal::BinaryData<T>& data) {
    out_->raw(data.data, static_cast<std::size_t>(data.size));
  }
  template <class B>
  void write(const cereal::base_class<B>& b) {
    write_base(*this, *b.base_ptr);
  }
  template <class B>
  void write(const cereal::virtual_base_class<B>& b) {
    if (this->is_first(b.base_ptr, &type_tag<B>)) write_base(*this, *b.base_ptr);
  }
  template <class T>
  void write(const cereal::DeferredData<T>& d) {
    this->defer([this, d] { write(d.value); });
  }

  encoder* out_ = nullptr;
};

/// What `ar` is in a user's serialize or load function.
///
/// Threads:  thread-compatible.   Processes: process-bound.
template <class Cereal>
class basic_cereal_reader : public cereal_state<Cereal> {
public:
  using is_loading = std::true_type;
  using is_saving = std::false_type;

  static basic_cereal_reader& of(decoder& d) {
    if (!d.adapter()) d.adapter() = std::make_unique<basic_cereal_reader>();
    auto& r = static_cast<basic_cereal_reader&>(*d.adapter());
    r.in_ = &d;
    return r;
  }

  /// Throws: what the decoder throws; what the user's functions throw.
  template <class... T>
  basic_cereal_reader& operator()(T&&... values) {
    (read(values), ...);
    return *this;
  }
  template <class T>
  basic_cereal_reader& operator&(T&& value) {
    return (*this)(value);
  }
  template <class T>
  basic_cereal_reader& operator>>(T&& value) {
    return (*this)(value);
  }
  /// The version of T that its writer had.
  template <class T>
  std::uint32_t version_of() {
    if (const auto* said = this->version_said(&type_tag<T>)) return *said;
    return this->say_version(&type_tag<T>, in_->template number<std::uint32_t>());
  }

  template <class T>
  void read(T& value) {
    read_into(*in_, value);
  }

private:
  template <class T, std::size_t N>
  void read(T (&values)[N]) {
    for (T& v : values) read(v);
  }
  template <class T>
  void read(cereal::NameValuePair<T>& pair) {
    read(pair.value);
  }
  template <class T>
  void read(cereal::SizeTag<T>& tag) {
    tag.size = static_cast<std::remove_reference_t<T>>(in_->count());
  }
  template <class T>
  void read(cereal::BinaryData<T>& data) {
    in_->raw(data.data, static_cast<std::size_t>(data.size));
  }
  template <class B>
  void read(cereal::base_class<B>& b) {
    read_base(*this, *b.base_ptr);
  }
  template <class B>
  void read(cereal::virtual_base_class<B>& b) {
    if (this->is_first(b.base_ptr, &type_tag<B>)) read_base(*this, *b.base_ptr);
  }
  template <class T>
  void read(cereal::DeferredData<T>& d) {
    this->defer([this, d]() mutable { read(d.value); });
  }

  decoder* in_ = nullptr;
};

using cereal_writer = basic_cereal_writer<cereal::access>;
using cereal_reader = basic_cereal_reader<cereal::access>;

// cereal's own traits ask whether an archive takes these; functions that users wrote ask them.
template <class T>
requires std::is_arithmetic_v<T>
void save(cereal_writer& ar, const T& value) { ar.save_bytes(&value, sizeof value); }
template <class T>
requires std::is_arithmetic_v<T>
void load(cereal_reader& ar, T& value) { ar(value); }
template <class T>
void save(cereal_writer& ar, const cereal::BinaryData<T>& data) {
  ar(data);
}
template <class T>
void load(cereal_reader& ar, cereal::BinaryData<T>& data) {
  ar(data);
}
template <class T>
void serialize(cereal_writer& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}
template <class T>
void serialize(cereal_reader& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}

}  // namespace mp::detail

template <>
struct cereal::traits::detail::get_output_from_input<mp::detail::cereal_reader> {
  using type = mp::detail::cereal_writer;
};
template <>
struct cereal::traits::detail::get_input_from_output<mp::detail::cereal_writer> {
  using type = mp::detail::cereal_reader;
};
