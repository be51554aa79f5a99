// Requests of a client, their answers, and how a request that waits is called off.
// Must never wait for an answer inside an async operation: two processes whose I/O threads ask each other would stop.
// Decision 0006.

#include "channel/socket_client.hpp"

#include "channel/io_thread.hpp"
#include "mp/detail/decoder.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <fstream>
#include <string>

namespace mp::sock {
namespace {

// How late an answer may be when nothing is waited for; then the maker is taken for ended (it may be stopped).
constexpr std::chrono::seconds answer_limit{10};
// On the I/O thread, where the maker may in turn be waiting for us.
constexpr std::chrono::milliseconds io_limit{500};

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

time_point soon() {
  return std::chrono::steady_clock::now() +
         (detail::on_io_thread() ? time_point::duration(io_limit) : time_point::duration(answer_limit));
}

}  // namespace

client_channel::client_channel(const channel_options& options, unique_fd connection, role first)
    : options_(options), main_(std::move(connection)) {
  ++roles_[static_cast<std::size_t>(first)];
  note n = request(verb::hello);
  n.value = process_token();
  n.pid = ::getpid();
  const std::string name = own_name();
  tell(n, std::as_bytes(std::span(name)));
}

client_channel::~client_channel() {
  if (made_in_ != os::fork_generation()) return;
  // In order: what our threads had in hand is done with. Sent, not asked: nobody waits in a destructor.
  for (auto& [id, l] : lines_)
    if (l->has_hand) static_cast<void>(send(l->socket.get(), pack(request(verb::clear_hand))));
}

// One way, over the main connection, in order.
void client_channel::tell(const note& n, std::span<const std::byte> body, std::span<const unique_fd> fds) {
  const parcel p = pack(n, body, fds);
  while (send(main_.get(), p) == EAGAIN)
    if (!wait_for(main_.get(), POLLOUT, soon())) return;
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
        if (l->has_hand && !l->outstanding) {
          static_cast<void>(send(l->socket.get(), pack(request(verb::clear_hand))));
          l->has_hand = false;
          l->outstanding = true;  // the answer is dropped before the next request
        }
  } catch (...) {
    // No memory for the note: the maker sees it when the connection ends.
  }
}

client_channel::line client_channel::connect() {
  auto ends = os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  const std::array<unique_fd, 1> fds{std::move(ends.second)};
  tell(request(verb::attach), {}, fds);
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

client_channel::line& client_channel::lazy(std::unique_ptr<line>& which) {
  if (!which) which = std::make_unique<line>(connect());
  return *which;
}

bool client_channel::ask(line& l, const parcel& p, time_point until, received_packet& answer) const {
  const int fd = l.socket.get();
  if (std::exchange(l.outstanding, false)) {
    received_packet old;
    if (!wait_for(fd, POLLIN, soon()) || receive(fd, old) == receipt::end) return false;
  }
  for (int err; (err = send(fd, p)) != 0;)
    if (err == EPIPE || !wait_for(fd, POLLOUT, soon())) return false;

  bool called_off = until == time_point::min();
  time_point limit = called_off ? soon() : until;
  for (;;) {
    if (wait_for(fd, POLLIN, limit)) {
      const receipt r = receive(fd, answer);
      if (r == receipt::end) return false;
      if (r == receipt::packet) return true;
      continue;
    }
    if (called_off) {
      if (detail::on_io_thread())
        detail::throw_error(errc::would_deadlock,
                            "queue: its maker does not answer, and this is the I/O thread, which must not wait");
      return false;
    }
    // Time is up: the request is called off, and its answer says whether that came too late.
    called_off = true;
    limit = soon();
    if (send(fd, pack(request(verb::cancel))) == EPIPE) return false;
  }
}

bool client_channel::ask_now(const note& n, received_packet& answer) const {
  return ask(my_line(), pack(n), time_point::min(), answer);
}

op_status client_channel::put(role as, const outgoing& out, time_point until) {
  if (until == time_point::min() && detail::current_operation()) return put_async(out, as);
  line& l = my_line();
  received_packet answer;
  if (!ask(l, pack(request(verb::put, as, until != time_point::min()), out), until, answer)) return op_status::closed;
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
    l.has_hand = false;
    if (!ask(l, pack(request(verb::get, as, limit != time_point::min())), limit, answer))
      return taken != 0 ? op_status::ok : op_status::closed;
    const auto status = static_cast<op_status>(answer.head.status);
    if (status != op_status::ok) return taken != 0 ? op_status::ok : status;
    l.has_hand = true;
    ++taken;
    fn(context, detail::incoming{answer.body, std::move(answer.fds), answer.head.value});
  }
  return op_status::ok;
}

void client_channel::shutdown() {
  received_packet answer;
  static_cast<void>(ask_now(request(verb::shutdown), answer));
}

void client_channel::take_lost(deliver_lost fn, void* context) {
  for (;;) {
    received_packet p;
    if (!ask_now(request(verb::take_lost), p) || p.head.status != static_cast<std::uint8_t>(op_status::ok)) return;
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
  return ask_now(request(verb::size), answer) ? static_cast<std::size_t>(answer.head.value) : 0;
}

bool client_channel::full() const {
  received_packet answer;
  return ask_now(request(verb::size), answer) && answer.head.flag != 0;
}

bool client_channel::task_done() {
  line& l = my_line();
  l.has_hand = false;
  received_packet answer;
  return ask(l, pack(request(verb::done)), time_point::min(), answer) && answer.head.flag != 0;
}

op_status client_channel::join(time_point until) {
  received_packet answer;
  if (!ask(my_line(), pack(request(verb::join, role::whole, until != time_point::min())), until, answer))
    return op_status::ok;
  return static_cast<op_status>(answer.head.status);
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
  if (!e.attaching()) return;
  auto ends = os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  const std::array<unique_fd, 1> fds{std::move(ends.second)};
  const std::lock_guard lock(mutex_);
  tell(request(verb::attach, r, true), {}, fds);
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
  if (raw_role > 3)
    detail::throw_error(errc::bad_frame, "a queue's handle arrived with role " + std::to_string(raw_role));
  unique_fd connection = d.take_attachment();
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET)
    detail::throw_error(errc::bad_frame, "a queue's handle arrived without its socket");
  if (expected_type != 0 && expected_type != options.type_hash)
    detail::throw_error(errc::type_mismatch, "the queue carries another type than the one it is received as");
  const role r{raw_role};
  return {std::make_shared<client_channel>(options, std::move(connection), r), r};
}

}  // namespace mp::sock
