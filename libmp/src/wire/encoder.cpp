// The rare paths of writing a message. Must never make a system call: this floor knows bytes only.

#include "mp/detail/encoder.hpp"

#include "mp/error.hpp"

#include <map>
#include <string>

namespace mp::detail {

struct encoder_pointers {
  struct object {
    std::uint64_t id;
    bool open;  // being written: meeting it again is a cycle
  };
  // By address *and* type: a struct and its first member have the same address.
  std::map<std::pair<const void*, const void*>, object> objects;
  std::vector<object*> by_id;
};

void encoder_pointers_deleter::operator()(encoder_pointers* p) const noexcept { delete p; }

void encoder::count_beyond(std::size_t n) {
  if (n > max_message_bytes || size() + n > max_message_bytes)
    throw_error(errc::too_large,
                "the message is longer than 4 GiB; pass a file, shared memory, or smaller pieces instead");
  beyond_ += n;
  end_ = at_;
}

void encoder::throw_too_deep() {
  throw_error(errc::unencodable, "the value nests deeper than 64 containers or owning pointers; send it flatter");
}

std::uint64_t encoder::shared_object(const void* object, const void* type, bool& first) {
  if (!pointers_) pointers_.reset(new encoder_pointers);
  const auto [it, inserted] = pointers_->objects.try_emplace({object, type});
  first = inserted;
  if (inserted) {
    pointers_->by_id.push_back(&it->second);
    it->second = {pointers_->by_id.size(), true};
  } else if (it->second.open) {
    throw_error(errc::unencodable, "the value holds a cycle of std::shared_ptr");
  }
  return it->second.id;
}

void encoder::shared_object_written(std::uint64_t id) noexcept { pointers_->by_id[id - 1]->open = false; }

}  // namespace mp::detail
