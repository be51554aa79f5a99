// The error category and how errors are made. Must not know what any floor above does.

#include "mp/error.hpp"

#include <array>
#include <cerrno>
#include <cstring>

namespace mp {
namespace {

struct entry {
  errc code;
  const char* text;
  std::errc condition;  // std::errc{}: none
};

constexpr std::errc none{};
constexpr std::array entries{
    entry{errc::closed, "closed: nobody is left on the other side", std::errc::broken_pipe},
    entry{errc::peer_died, "the other process died", std::errc::connection_reset},
    entry{errc::start_failed, "the child process never came", none},
    entry{errc::not_initialised, "mp::init was not called", none},
    entry{errc::not_started, "not started yet", none},
    entry{errc::already_started, "already started", std::errc::already_connected},
    entry{errc::still_running, "still running", std::errc::device_or_resource_busy},
    entry{errc::still_open, "still open", none},
    entry{errc::wrong_process, "the handle belongs to another process", none},
    entry{errc::fork_unsafe, "fork is unsafe while other threads run", none},
    entry{errc::version_mismatch, "the two sides are not the same build", none},
    entry{errc::would_deadlock, "a wait here would never end", std::errc::resource_deadlock_would_occur},
    entry{errc::shut_down, "the library was shut down", none},
    entry{errc::invalid_argument, "invalid argument", std::errc::invalid_argument},
    entry{errc::too_large, "the message is too large", std::errc::message_size},
    entry{errc::unencodable, "the value cannot be encoded", none},
    entry{errc::undecodable, "the message cannot be decoded", std::errc::bad_message},
    entry{errc::type_mismatch, "the channel carries another type", none},
    entry{errc::bad_frame, "malformed bytes", std::errc::protocol_error},
    entry{errc::out_of_resources, "out of resources", std::errc::resource_unavailable_try_again},
    entry{errc::cancelled, "cancelled", std::errc::operation_canceled},
    entry{errc::deadline_exceeded, "the deadline is over", std::errc::timed_out},
    entry{errc::task_threw, "the task threw", none},
    entry{errc::worker_died, "the worker died in the task", none},
    entry{errc::task_poisoned, "the task killed its worker too often", none},
    entry{errc::overloaded, "overloaded", none},
    entry{errc::pool_closed, "the pool is closed", none},
    entry{errc::pool_broken, "the pool is broken", none},
    entry{errc::no_such_child, "no such child", none},
    entry{errc::restarts_exceeded, "the restart limit is exceeded", none},
};
static_assert(entries.size() == static_cast<std::size_t>(errc::restarts_exceeded));

class mp_category final : public std::error_category {
public:
  const char* name() const noexcept override { return "mp"; }
  std::string message(int value) const override {
    const entry* e = find(value);
    return e ? e->text : "unknown error " + std::to_string(value);
  }
  std::error_condition default_error_condition(int value) const noexcept override {
    const entry* e = find(value);
    return e && e->condition != none ? std::make_error_condition(e->condition) : std::error_condition(value, *this);
  }

private:
  static const entry* find(int value) noexcept {
    return value >= 1 && value <= static_cast<int>(entries.size()) ? &entries[static_cast<std::size_t>(value) - 1]
                                                                   : nullptr;
  }
};

bool is_shortage(int err) noexcept {
  switch (err) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
    case EAGAIN:
    case EDQUOT:
    case ENOBUFS:
    case ETOOMANYREFS:
    case EFBIG: return true;
    default: return false;
  }
}

}  // namespace

const std::error_category& category() noexcept {
  // Never destroyed: errors are thrown in static destructors, too.
  static const auto* const instance = new mp_category;
  return *instance;
}

std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), category()}; }

error::error(errc code, const std::string& text) : error(code, text, {}) {}

error::error(errc code, const std::string& text, std::error_code cause)
    : std::system_error(make_error_code(code), text), text_(text), cause_(cause) {}

namespace detail {

void throw_error(errc code, const std::string& text) { throw error(code, text); }

void throw_system_error(errc code, const std::string& text, int err) {
  std::string full = text + ": " + std::generic_category().message(err);
  if (err == EMFILE) full += " (raise the limit with ulimit -n, or close what is not needed)";
  throw error(is_shortage(err) ? errc::out_of_resources : code, full, std::error_code(err, std::generic_category()));
}

boost::system::error_code to_boost(errc code) noexcept { return boost::system::error_code(make_error_code(code)); }

}  // namespace detail
}  // namespace mp
