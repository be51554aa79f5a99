#pragma once
// Types with cereal's functions, one of each form, with cereal's words in them.

#include <cereal/cereal.hpp>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

/// A class with one number, which arrives or does not.
struct with_number {
  explicit with_number(int n = 0) : number(n) {}
  int number;
  friend bool operator==(const with_number&, const with_number&) = default;
};
#define MP_NUMBER(name) \
public:                 \
  name(int n = 0) : with_number(n) {}

class private_serialize : public with_number {
  MP_NUMBER(private_serialize)
private:
  friend class cereal::access;
  template <class A>
  void serialize(A& ar) {
    ar(cereal::make_nvp("number", number));
  }
};
class private_split : public with_number {
  MP_NUMBER(private_split)
private:
  friend class cereal::access;
  template <class A>
  void save(A& ar) const {
    ar(number);
  }
  template <class A>
  void load(A& ar) {
    ar(number);
  }
};
class private_minimal : public with_number {
  MP_NUMBER(private_minimal)
private:
  friend class cereal::access;
  template <class A>
  std::string save_minimal(const A&) const {
    return std::to_string(number);
  }
  template <class A>
  void load_minimal(const A&, const std::string& text) {
    number = std::stoi(text);
  }
};
class private_versioned : public with_number {
  MP_NUMBER(private_versioned)
  std::uint32_t saw = 0;

private:
  friend class cereal::access;
  template <class A>
  void save(A& ar, std::uint32_t version) const {
    ar(number + static_cast<int>(version));
  }
  template <class A>
  void load(A& ar, std::uint32_t version) {
    ar(number);
    number -= static_cast<int>(version);
    saw = version;
  }
};

class free_split : public with_number {
  MP_NUMBER(free_split)
};
template <class A>
void save(A& ar, const free_split& value) {
  ar(value.number);
}
template <class A>
void load(A& ar, free_split& value) {
  ar(value.number);
}
class free_versioned : public with_number {
  MP_NUMBER(free_versioned)
};
template <class A>
void serialize(A& ar, free_versioned& value, std::uint32_t version) {
  if (version == 3) ar(value.number);
}
class free_minimal : public with_number {
  MP_NUMBER(free_minimal)
};
template <class A>
int save_minimal(const A&, const free_minimal& value) {
  return value.number;
}
template <class A>
void load_minimal(const A&, free_minimal& value, const int& number) {
  value.number = number;
}

/// Inherits `serialize` and has a pair of its own: cereal::specialize says which.
class specialized : public private_serialize {
public:
  specialized(int n = 0) : private_serialize(n) {}
  template <class A>
  void serialize(A&) {}
  template <class A>
  void save(A& ar) const {
    ar(number);
  }
  template <class A>
  void load(A& ar) {
    ar(number);
  }
};
/// The same without the word.
class ambiguous : public with_number {
  MP_NUMBER(ambiguous)
  template <class A>
  void serialize(A&) {}
  template <class A>
  void save(A&) const {}
  template <class A>
  void load(A&) {}
};

/// Written once although two of its children have it as their base.
struct root {
  int number = 0, times = 0;
  template <class A>
  void serialize(A& ar) {
    ar(number);
    ++times;
  }
};
struct left : virtual root {
  template <class A>
  void serialize(A& ar) {
    ar(cereal::virtual_base_class<root>(this));
  }
};
struct right : virtual root {
  template <class A>
  void serialize(A& ar) {
    ar(cereal::virtual_base_class<root>(this));
  }
};
struct diamond : left, right {
  template <class A>
  void serialize(A& ar) {
    ar(cereal::virtual_base_class<left>(this), cereal::virtual_base_class<right>(this));
  }
};

/// Puts its first member off until the second is there; asks which way it goes; has a size and a block.
class deferring {
public:
  std::string late;
  std::vector<int> block;
  int after = 0;
  bool loaded = false;
  template <class A>
  void serialize(A& ar) {
    ar(cereal::defer(late));
    auto size = static_cast<std::uint64_t>(block.size());
    ar(cereal::make_size_tag(size));
    if constexpr (A::is_loading::value) {
      block.resize(size);
      loaded = late.empty();
    }
    ar(cereal::binary_data(block.data(), block.size() * sizeof(int)), after);
    ar.serializeDeferments();
  }
};

/// cereal's own example of deferring: what is put off by the parts of a whole.
class node {
public:
  std::string late;
  int n = 0;
  template <class A>
  void serialize(A& ar) {
    ar(cereal::defer(late), n);
  }
};
class network {
public:
  std::vector<node> nodes;
  template <class A>
  void serialize(A& ar) {
    ar(nodes);
    ar.serializeDeferments();
  }
};

/// A base that cannot be made alone.
class protected_base {
public:
  int number = 0;
  template <class A>
  [[nodiscard]] bool serialize(A& ar) {
    ar(number);
    return true;
  }

protected:
  protected_base() = default;
};
class concrete : public virtual protected_base {
public:
  template <class A>
  void serialize(A& ar) {
    ar(cereal::virtual_base_class<protected_base>(this));
  }
};
class concrete_too : public protected_base {
public:
  template <class A>
  void serialize(A& ar) {
    ar(cereal::base_class<protected_base>(this));
  }
};

/// Written by a member, read by a free function; members are not as they lie there.
struct mixed {
  int number = 0, other = 0;
  template <class A>
  void save(A& ar) const {
    ar(number);
  }
};
template <class A>
void load(A& ar, mixed& value) {
  ar(value.number);
}

/// An aggregate whose function only cereal may call.
struct half_private {
  int number = 0, cache = 0;

private:
  friend class cereal::access;
  template <class A>
  void serialize(A& ar) {
    ar(number);
  }
};

/// A function that asks cereal's traits what the archive can do, as those of matrix libraries do.
template <class T>
class matrix {
public:
  std::vector<T> cells;
};
template <class A, class T>
std::enable_if_t<cereal::traits::is_output_serializable<cereal::BinaryData<T>, A>::value> save(A& ar,
                                                                                               const matrix<T>& value) {
  ar(static_cast<std::uint32_t>(value.cells.size()));
  ar(cereal::binary_data(value.cells.data(), value.cells.size() * sizeof(T)));
}
template <class A, class T>
std::enable_if_t<cereal::traits::is_input_serializable<cereal::BinaryData<T>, A>::value> load(A& ar, matrix<T>& value) {
  std::uint32_t size = 0;
  ar(size);
  value.cells.resize(size);
  ar(cereal::binary_data(value.cells.data(), value.cells.size() * sizeof(T)));
}

}  // namespace

CEREAL_CLASS_VERSION(private_versioned, 5)
CEREAL_CLASS_VERSION(free_versioned, 3)
CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES(specialized, cereal::specialization::member_load_save)
