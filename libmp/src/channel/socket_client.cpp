// What a client of a socket queue does, as requests; what it tells its maker one way. How it asks: socket_client_ask.cpp.
// Must never wait for an answer inside an async operation: two processes whose I/O threads ask each other would stop.
// Decision 0006.

#include "channel/socket_client.hpp"

#include "channel/io_thread.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <fstream>
#include <string>

namespace mp::sock {
namespace {

// The same for all handles of this process, and for no other process.
std::uint64_t process_token() {
  static std::mutex m;
  static std::uint64_t token = 0, generation = 0;
  const std::lock_guard lock(m);
  if (generation != os::fork_generation()) {
    generation = os::fork_generation();
    if (::getrandom(&token, sizeof token, 0) != sizeof token || token == 0)
      token = static_cast<std::uint64_t>(::getpid()) << 32 | 1;
  }
  return token;
}

std::string own_name() {
  std::string name;
  std::getline(std::ifstream("/proc/self/comm"), name);
  return name;
}

// Serves a connection that was full, at each sweep. The channel may go meanwhile, and its roles with it.
class flush_operation final : public detail::async_operation {
public:
  explicit flush_operation(std::weak_ptr<detail::channel> which) : which_(std::move(which)) {}
  bool try_finish() noexcept override {
    try {
      const auto channel = which_.lock();
      return !channel || static_cast<client_channel&>(*channel).flush();
    } catch (...) {
      return false;  // no memory: later
    }
  }
  int prepare() noexcept override { return none; }
  void abort(const error_code&) noexcept override {}

private:
  const std::weak_ptr<detail::channel> which_;
};

}  // namespace

client_channel::client_channel(const channel_options& options, unique_fd connection, role first, pid_t maker)
    : options_(options), maker_(maker), main_(std::move(connection)) {
  ++roles_[static_cast<std::size_t>(first)];
  note n = request(verb::hello);
  n.value = process_token();
  n.pid = ::getpid();
  const std::string name = own_name();
  tell(n, std::as_bytes(std::span(name)));
}

namespace {

// At any time, and without an answer: what was in hand is done with.
void clear_hand_of(int socket) {
  note n = request(verb::clear_hand);
  n.flag = 1;
  static_cast<void>(send(socket, pack(n)));
}

}  // namespace

client_channel::~client_channel() {
  if (made_in_ != os::fork_generation()) return;
  // In order: what our threads had in hand is done with. Sent, not asked: nobody waits in a destructor.
  for (auto& [id, l] : lines_)
    if (l->has_hand) clear_hand_of(l->socket.get());
}

// One way, over the main connection, in order. Never waits: what a maker that is stopped has no room for goes later.
void client_channel::tell(const note& n, std::span<const std::byte> body, unique_fd fd) {
  std::vector<unique_fd> fds;
  if (fd) fds.push_back(std::move(fd));
  if (backlog_.empty() && send(main_.get(), pack(n, body, fds)) != EAGAIN) return;
  backlog_.push_back({n, {body.begin(), body.end()}, std::move(fds)});
  auto me = weak_from_this();
  if (flushing_ || me.expired()) return;
  try {
    detail::start_operation(std::make_shared<flush_operation>(std::move(me)));
    flushing_ = true;
  } catch (const error&) {
    // The I/O thread has ended, and this process is about to: the connections tell the rest.
  }
}

bool client_channel::flush() {
  const std::lock_guard lock(mutex_);
  for (; !backlog_.empty(); backlog_.pop_front()) {
    const owed_note& next = backlog_.front();
    if (send(main_.get(), pack(next.what, next.body, next.fds)) == EAGAIN) return false;
  }
  flushing_ = false;
  return true;
}

void client_channel::add_role(role r) {
  check();
  const std::lock_guard lock(mutex_);
  ++roles_[static_cast<std::size_t>(r)];
  tell(request(verb::add_role, r));
}

void client_channel::drop_role(role r) noexcept {
  if (made_in_ != os::fork_generation()) return;
  try {
    const std::lock_guard lock(mutex_);
    --roles_[static_cast<std::size_t>(r)];
    tell(request(verb::drop_role, r));
    if (detail::may_get(r) && roles_[1] + roles_[2] + roles_[3] == 0)
      for (auto& [id, l] : lines_)
        if (std::exchange(l->has_hand, false)) clear_hand_of(l->socket.get());
  } catch (...) {
    // No memory for the note: the maker sees it when the connection ends.
  }
}

client_channel::line client_channel::connect() {
  auto ends = os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  tell(request(verb::attach), {}, std::move(ends.second));
  line made;
  made.socket = os::guarded_fd(std::move(ends.first));
  return made;
}

client_channel::line& client_channel::my_line() const {
  check();
  const std::lock_guard lock(mutex_);
  auto& mine = lines_[std::this_thread::get_id()];
  return const_cast<client_channel*>(this)->lazy(mine);
}

client_channel::line& client_channel::async_line(side which) {
  const std::lock_guard lock(mutex_);
  return lazy(async_[static_cast<std::size_t>(which)]);
}

client_channel::line& client_channel::lazy(std::unique_ptr<line>& which) {
  if (!which) which = std::make_unique<line>(connect());
  return *which;
}

op_status client_channel::put(role as, const outgoing& out, time_point until) {
  if (until == time_point::min() && detail::current_operation()) return put_async(out, as);
  received_packet answer;
  switch (ask(my_line(), pack(request(verb::put, as, until != time_point::min()), out), until, answer)) {
    case reply::late:
    case reply::unsent: return op_status::timed_out;
    case reply::gone: return op_status::closed;
    case reply::answered: break;
  }
  return static_cast<op_status>(answer.head.status);
}

op_status client_channel::get(role as, std::size_t most, deliver fn, void* context, time_point until,
                              std::size_t& taken) {
  taken = 0;
  if (until == time_point::min() && detail::current_operation()) return get_async(fn, context, taken);
  line& l = my_line();
  while (taken < most) {
    const time_point limit = taken == 0 ? until : time_point::min();
    received_packet answer;
    const reply r = ask(l, pack(request(verb::get, as, limit != time_point::min())), limit, answer);
    if (r != reply::unsent) l.has_hand = false;
    const auto status = r == reply::gone       ? op_status::closed
                        : r == reply::answered ? static_cast<op_status>(answer.head.status)
                                               : op_status::timed_out;
    if (status != op_status::ok) return taken != 0 ? op_status::ok : status;
    l.has_hand = true;
    ++taken;
    fn(context, detail::incoming{answer.body, std::move(answer.fds), answer.head.value});
  }
  return op_status::ok;
}

void client_channel::shutdown() {
  received_packet answer;
  if (ask_now(request(verb::shutdown), answer) == reply::unsent) throw_silent("shutdown");
}

void client_channel::take_lost(deliver_lost fn, void* context) {
  for (;;) {
    received_packet p;
    if (ask_now(request(verb::take_lost), p) != reply::answered ||
        p.head.status != static_cast<std::uint8_t>(op_status::ok))
      return;
    if (p.head.extra > p.body.size())
      detail::throw_error(errc::bad_frame, "queue: a lost item with a name longer than itself");
    const auto name = p.body.first(static_cast<std::size_t>(p.head.extra));
    fn(context, detail::lost_message{{p.body.subspan(name.size()), std::move(p.fds), p.head.value},
                                     p.head.pid,
                                     std::string(reinterpret_cast<const char*>(name.data()), name.size())});
  }
}

void client_channel::clear_hand() noexcept {
  try {
    line& l = my_line();
    received_packet answer;
    if (std::exchange(l.has_hand, false))
      static_cast<void>(ask(l, pack(request(verb::clear_hand)), time_point::min(), answer));
  } catch (...) {
    // The item stays in hand until the next get, or the end of this handle.
  }
}

std::size_t client_channel::size() const {
  received_packet answer;
  const reply r = ask_now(request(verb::size), answer);
  if (r == reply::late || r == reply::unsent) throw_silent("size");
  return r == reply::answered ? static_cast<std::size_t>(answer.head.value) : 0;
}

bool client_channel::full() const {
  received_packet answer;
  const reply r = ask_now(request(verb::size), answer);
  if (r == reply::late || r == reply::unsent) throw_silent("full");
  return r == reply::answered && answer.head.flag != 0;
}

bool client_channel::task_done() {
  line& l = my_line();
  received_packet answer;
  const reply r = ask(l, pack(request(verb::done)), time_point::min(), answer);
  if (r == reply::unsent) throw_silent("task_done");
  l.has_hand = false;
  if (r == reply::gone) throw_maker_ended("task_done");
  return r == reply::late || answer.head.flag != 0;
}

op_status client_channel::join(time_point until) {
  received_packet answer;
  const reply r = ask(my_line(), pack(request(verb::join, role::whole, until != time_point::min())), until, answer);
  if (r == reply::gone) throw_maker_ended("join");
  return r == reply::answered ? static_cast<op_status>(answer.head.status) : op_status::timed_out;
}

void client_channel::export_handle(detail::encoder& e, role r) {
  check();
  e.number(static_cast<std::uint8_t>(transport::socket));
  e.number(static_cast<std::uint8_t>(detail::channel_kind::queue));
  e.number(static_cast<std::uint8_t>(r));
  e.number(options_.type_hash);
  e.number(static_cast<std::uint64_t>(options_.maxsize));
  e.number(static_cast<std::uint8_t>(options_.joinable));
  e.number(static_cast<std::uint8_t>(options_.on_consumer_death));
  e.number(static_cast<std::int32_t>(maker_));
  if (!e.attaching()) return;
  auto ends = os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  const std::lock_guard lock(mutex_);
  tell(request(verb::attach, r, true), {}, std::move(ends.second));
  e.attach(std::move(ends.first));
}

detail::imported_handle import_queue(detail::decoder& d, std::uint64_t expected_type) {
  const auto raw_role = d.number<std::uint8_t>();
  channel_options options;
  options.kind = detail::channel_kind::queue;
  options.transport = transport::socket;
  options.type_hash = d.number<std::uint64_t>();
  options.maxsize = static_cast<std::size_t>(d.number<std::uint64_t>());
  options.joinable = d.flag();
  options.on_consumer_death = d.flag() ? on_death::redeliver : on_death::report;
  const auto maker = static_cast<pid_t>(d.number<std::int32_t>());
  if (raw_role > 3)
    detail::throw_error(errc::bad_frame, "a queue's handle arrived with role " + std::to_string(raw_role));
  unique_fd connection = d.take_attachment();
  if (!keeps_records(connection)) detail::throw_error(errc::bad_frame, "a queue's handle arrived without its socket");
  if (expected_type != 0 && expected_type != options.type_hash)
    detail::throw_error(errc::type_mismatch, "the queue carries another type than the one it is received as");
  const role r{raw_role};
  return {std::make_shared<client_channel>(options, std::move(connection), r, maker), r};
}

}  // namespace mp::sock
