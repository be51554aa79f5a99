// The rare paths of reading a message, and all its refusals. Must never make a system call or believe a byte.

#include "mp/detail/decoder.hpp"

#include "mp/error.hpp"

#include <string>

namespace mp::detail {

struct decoder_pointers {
  struct object {
    std::shared_ptr<void> owner;  // empty while it is being read
    const void* type = nullptr;
  };
  std::vector<object> objects;
};

void decoder_pointers_deleter::operator()(decoder_pointers* p) const noexcept { delete p; }

void decoder::throw_invalid(const char* what) {
  throw_error(errc::undecodable, std::string("the message cannot be read as this type: it holds ") + what);
}

void decoder::throw_truncated(std::size_t wanted) const {
  throw_error(errc::undecodable, "the message cannot be read as this type: it ends too early, " +
                                     std::to_string(wanted) + " bytes are needed and " + std::to_string(left()) +
                                     " are there");
}

void decoder::throw_count(std::uint64_t promised) const {
  throw_error(errc::undecodable, "the message cannot be read as this type: it promises " + std::to_string(promised) +
                                     " elements, but only " + std::to_string(left()) + " bytes are left");
}

void decoder::throw_left_over() const {
  throw_error(errc::undecodable, "the message cannot be read as this type: " + std::to_string(left()) + " bytes and " +
                                     std::to_string(attachments_.size() - next_attachment_) +
                                     " descriptors are left over");
}

unique_fd decoder::take_attachment() {
  if (next_attachment_ == attachments_.size()) throw_invalid("fewer descriptors than handles");
  return std::move(attachments_[next_attachment_++]);
}

std::shared_ptr<void> decoder::shared_object(std::uint64_t id, const void* type) const {
  if (!pointers_ || id == 0 || id > pointers_->objects.size()) throw_invalid("a shared object that was not sent");
  const auto& object = pointers_->objects[id - 1];
  if (!object.owner) throw_invalid("a cycle of shared objects");
  if (object.type != type) throw_invalid("a shared object of another type");
  return object.owner;
}

void decoder::announce_shared_object(std::uint64_t id) {
  if (!pointers_) pointers_.reset(new decoder_pointers);
  if (id != pointers_->objects.size() + 1) throw_invalid("shared objects out of order");
  pointers_->objects.emplace_back();
}

void decoder::shared_object_read(std::uint64_t id, std::shared_ptr<void> object, const void* type) {
  pointers_->objects[id - 1] = {std::move(object), type};
}

}  // namespace mp::detail
