#pragma once
/// @file
/// How owning pointers travel: whether there is an object, then the object. Its static type decides.
///
/// Shape:    unique_ptr: flag, object. shared_ptr: 0, or the object's number in this message, and the object where it
///           is met first: what was shared before is shared after. A cycle is refused, it would never be freed.
/// Threads:  functions of values.    Processes: functions of values.

#include "mp/detail/codec_basic.hpp"

#include <memory>
#include <type_traits>
#include <typeinfo>

namespace mp::detail {

template <class T>
constexpr void check_pointee() {
  static_assert(!std::is_abstract_v<T>,
                "mp: only the static type of a pointer travels, and this one is abstract; send a std::variant of the "
                "concrete types");
}
template <class T>
void check_dynamic_type(const T& object) {
  if constexpr (std::is_polymorphic_v<T>)
    if (typeid(object) != typeid(T))
      throw_unencodable(
          "a pointer to a derived class; only its static type travels, send a std::variant of the classes");
}

template <class T>
struct io<T, kind::unique_ptr> {
  using object = std::remove_cv_t<typename T::element_type>;

  static void write(encoder& e, const T& value) {
    check_pointee<object>();
    e.number<std::uint8_t>(value ? 1 : 0);
    if (!value) return;
    check_dynamic_type<object>(*value);
    e.enter();
    write_value<object>(e, *value);
    e.leave();
  }
  static T read(decoder& d) {
    if (!d.flag()) return nullptr;
    d.enter();
    T value(new object(read_value<object>(d)));
    d.leave();
    return value;
  }
};

template <class T>
struct io<T, kind::shared_ptr> {
  using object = std::remove_cv_t<typename T::element_type>;

  static void write(encoder& e, const T& value) {
    check_pointee<object>();
    if (!value) return e.number<std::uint64_t>(0);
    check_dynamic_type<object>(*value);
    bool first = false;
    const std::uint64_t id = e.shared_object(value.get(), &type_tag<object>, first);
    e.number(id);
    e.number<std::uint8_t>(first ? 1 : 0);
    if (!first) return;
    e.enter();
    write_value<object>(e, *value);
    e.leave();
    e.shared_object_written(id);
  }
  static T read(decoder& d) {
    const auto id = d.number<std::uint64_t>();
    if (id == 0) return nullptr;
    if (!d.flag()) return std::static_pointer_cast<object>(d.shared_object(id, &type_tag<object>));
    d.announce_shared_object(id);
    d.enter();
    auto value = std::make_shared<object>(read_value<object>(d));
    d.leave();
    d.shared_object_read(id, value, &type_tag<object>);
    return value;
  }
};

}  // namespace mp::detail
