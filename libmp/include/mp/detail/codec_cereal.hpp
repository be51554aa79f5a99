#pragma once
/// @file
/// Types with cereal's `serialize`, `save`/`load` or `save_minimal`/`load_minimal` travel as those functions say.
///
/// Model:    cereal's archives. Different: what the functions hand over (containers, strings, smart pointers ..) is
/// read
///           by our own codec, under its checks, whether or not cereal's headers for those types are included.
/// Threads:  thread-compatible.      Processes: process-bound.
/// Source:   doc/decisions/0002-wire-format.md.

#include "mp/detail/decoder.hpp"
#include "mp/detail/encoder.hpp"

#include <cereal/cereal.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace mp::detail {

template <class T>
void write_value(encoder&, const T&);
template <class T>
T read_value(decoder&);
template <class T>
void read_into(decoder&, T&);

/// What `ar` is in a user's serialize or save function.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class cereal_writer : public cereal::OutputArchive<cereal_writer>, public adapter_state {
  using base = cereal::OutputArchive<cereal_writer>;

public:
  explicit cereal_writer(encoder& out) : base(this), out_(&out) {}

  static cereal_writer& of(encoder& e) {
    if (!e.adapter()) e.adapter() = std::make_unique<cereal_writer>(e);
    auto& w = static_cast<cereal_writer&>(*e.adapter());
    w.out_ = &e;
    return w;
  }

  /// Throws: what the encoder throws; what the user's functions throw.
  template <class... T>
  cereal_writer& operator()(T&&... values) {
    (write(values), ...);
    return *this;
  }
  template <class T>
  cereal_writer& operator&(T&& value) {
    return (*this)(value);
  }
  template <class T>
  cereal_writer& operator<<(T&& value) {
    return (*this)(value);
  }
  /// Calls the cereal functions of `value` itself.
  template <class T>
  void call_functions_of(const T& value) {
    base::operator()(value);
  }
  void save_bytes(const void* bytes, std::size_t n) { out_->raw(bytes, n); }

private:
  template <class T>
  void write(const T& value) {
    write_value(*out_, value);
  }
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
    write(*b.base_ptr);
  }
  template <class B>
  void write(const cereal::virtual_base_class<B>& b) {
    base::operator()(b);
  }
  template <class T>
  void write(const cereal::DeferredData<T>& d) {
    base::operator()(d);
  }

  encoder* out_;
};

/// What `ar` is in a user's serialize or load function.
///
/// Threads:  thread-compatible.   Processes: process-bound.
class cereal_reader : public cereal::InputArchive<cereal_reader>, public adapter_state {
  using base = cereal::InputArchive<cereal_reader>;

public:
  explicit cereal_reader(decoder& in) : base(this), in_(&in) {}

  static cereal_reader& of(decoder& d) {
    if (!d.adapter()) d.adapter() = std::make_unique<cereal_reader>(d);
    auto& r = static_cast<cereal_reader&>(*d.adapter());
    r.in_ = &d;
    return r;
  }

  /// Throws: what the decoder throws; what the user's functions throw.
  template <class... T>
  cereal_reader& operator()(T&&... values) {
    (read(values), ...);
    return *this;
  }
  template <class T>
  cereal_reader& operator&(T&& value) {
    return (*this)(value);
  }
  template <class T>
  cereal_reader& operator>>(T&& value) {
    return (*this)(value);
  }
  /// Calls the cereal functions of `value` itself.
  template <class T>
  void call_functions_of(T& value) {
    base::operator()(value);
  }

private:
  template <class T>
  void read(T& value) {
    read_into(*in_, value);
  }
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
    read(*b.base_ptr);
  }
  template <class B>
  void read(cereal::virtual_base_class<B>& b) {
    base::operator()(b);
  }
  template <class T>
  void read(cereal::DeferredData<T>& d) {
    base::operator()(d);
  }

  decoder* in_;
};

// cereal itself writes class versions, and what save_minimal gives, through these.
template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(cereal_writer& ar, const T& value) { ar.save_bytes(&value, sizeof value); }
template <class T>
requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(cereal_reader& ar, T& value) { ar(value); }
template <class T>
void CEREAL_SAVE_FUNCTION_NAME(cereal_writer& ar, const cereal::BinaryData<T>& data) {
  ar(data);
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(cereal_reader& ar, cereal::BinaryData<T>& data) {
  ar(data);
}
template <class T>
void CEREAL_SERIALIZE_FUNCTION_NAME(cereal_writer& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}
template <class T>
void CEREAL_SERIALIZE_FUNCTION_NAME(cereal_reader& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}

}  // namespace mp::detail

CEREAL_SETUP_ARCHIVE_TRAITS(mp::detail::cereal_reader, mp::detail::cereal_writer)

namespace mp::detail {

/// cereal can write and read T through functions that its author wrote.
template <class T>
concept has_cereal_functions = cereal::traits::is_output_serializable<T, cereal_writer>::value &&
    cereal::traits::is_input_serializable<T, cereal_reader>::value;

}  // namespace mp::detail
