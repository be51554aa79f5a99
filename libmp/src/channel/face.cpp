// What the typed faces say when they refuse, and how options are checked. Compiled once for all types.
// Must not know any item type.
// STYLE 4.4: who, what, how much, and what to do.

#include "mp/channel_options.hpp"
#include "mp/detail/handle.hpp"
#include "mp/detail/message.hpp"
#include "mp/error.hpp"

#include <string>

namespace mp::detail {
namespace {

std::string call(const char* noun, const char* verb) { return std::string(noun) + ": " + verb + ": "; }

}  // namespace

void throw_closed_handle(const char* noun, const char* verb) {
  throw_error(errc::closed, call(noun, verb) + "this handle is closed, moved from or default-constructed");
}

void throw_puts_no_more(const char* noun, const char* verb) {
  throw_error(errc::closed,
              call(noun, verb) + "this handle, or the one it was copied from, called close_sender(): it only gets");
}

void throw_end(op_status status, const char* noun, const char* verb) {
  const std::string who = call(noun, verb);
  if (status == op_status::peer_died) throw_error(errc::peer_died, who + "the process with the other end died");
  const std::string name = verb;
  if (name.find("put") != std::string::npos || name.find("send") != std::string::npos)
    throw_error(errc::closed, who + "nobody is left who could get, or shutdown() was called");
  throw_error(errc::closed, who + "it is empty and nobody is left who could put, or shutdown() was called");
}

void throw_wrong_handle(const char* expected) {
  throw_error(errc::type_mismatch,
              std::string("the message holds another kind of handle where a ") + expected + " is expected");
}

void throw_changed_while_encoded() {
  throw_error(errc::unencodable,
              "the value changed while it was encoded: another thread wrote to it, or its codec gives another length "
              "each time");
}

void throw_wrong_size(std::size_t is, std::size_t expected) {
  throw_error(errc::undecodable, "the message has " + std::to_string(is) + " bytes where the type has " +
                                     std::to_string(expected) + ", or descriptors that it cannot hold");
}

void throw_too_many_done() {
  throw_error(errc::invalid_argument, "joinable_queue: task_done() was called more often than items were put");
}

std::size_t checked_count(std::ptrdiff_t n, const char* noun, const char* what) {
  if (n < 0)
    throw_error(errc::invalid_argument,
                call(noun, what) + "the count is negative (" + std::to_string(n) + "); 0 or more is needed");
  return static_cast<std::size_t>(n);
}

channel_options to_channel_options(const queue_options& o, const char* noun, bool joinable, std::uint64_t type_hash) {
  channel_options c;
  c.kind = channel_kind::queue;
  c.transport = o.transport;
  c.on_consumer_death = o.on_consumer_death;
  c.joinable = joinable;
  c.maxsize = checked_count(o.maxsize, noun, "maxsize");
  c.max_bytes = o.max_bytes;
  c.type_hash = type_hash;
  return c;
}

channel_options to_channel_options(const pipe_options& o, const char* noun, std::uint64_t type_hash) {
  channel_options c;
  c.kind = channel_kind::pipe;
  c.transport = o.transport;
  c.maxsize = checked_count(o.maxsize, noun, "maxsize");
  c.max_bytes = o.max_bytes;
  c.type_hash = type_hash;
  return c;
}

}  // namespace mp::detail
