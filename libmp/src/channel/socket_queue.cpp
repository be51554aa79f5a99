// The maker's side of a socket queue: whose handles count, and who is served.
// Must never touch a session from another thread than the I/O thread.
// Decision 0006; FAULTS rules 5 and 19.

#include "channel/socket_queue.hpp"

#include "channel/io_thread.hpp"
#include "mp/detail/encoder.hpp"
#include "mp/error.hpp"
#include "os/socket.hpp"

#include <unistd.h>
#include <boost/asio/post.hpp>
#include <cstring>
#include <utility>

namespace mp::sock {

using detail::channel_kind;

// -- the queue

std::shared_ptr<queue_channel> queue_channel::self() {
  return std::static_pointer_cast<queue_channel>(shared_from_this());
}

queue_channel::client& queue_channel::add_client(std::uint64_t token) {
  if (token != 0)
    for (client& c : clients_)
      if (c.token == token) return c;
  client& made = clients_.emplace_back();
  made.token = token;
  made.holds = &parties_.emplace_back();
  ever_shared_ = true;
  return made;
}

void queue_channel::release_client(client& c) noexcept {
  if (--c.connections != 0) return;
  parties_.remove_if([&](const party& p) { return &p == c.holds; });
  clients_.remove_if([&](const client& other) { return &other == &c; });
}

void queue_channel::export_handle(detail::encoder& e, role r) {
  check_process();
  const channel_options& o = options();
  e.number(static_cast<std::uint8_t>(transport::socket));
  e.number(static_cast<std::uint8_t>(channel_kind::queue));
  e.number(static_cast<std::uint8_t>(r));
  e.number(o.type_hash);
  e.number(static_cast<std::uint64_t>(o.maxsize));
  e.number(static_cast<std::uint8_t>(o.joinable));
  e.number(static_cast<std::uint8_t>(o.on_consumer_death));
  e.number(static_cast<std::int32_t>(::getpid()));
  if (!e.attaching()) return;
  auto ends = os::make_socket_pair(SOCK_SEQPACKET, SOCK_NONBLOCK);
  auto& context = detail::io_context();
  const auto made = std::make_shared<session>(self(), std::move(ends.first));
  {
    // Counted from here on: a handle on its way is one more process.
    const std::lock_guard guard(mutex_);
    client& c = add_client(0);
    c.connections = 1;
    ++(*c.holds)[r];
    ++made->roles_[static_cast<std::size_t>(r)];
    made->client_ = &c;
  }
  e.attach(std::move(ends.second));
  session_count_.fetch_add(1);
  boost::asio::post(context, [made] { made->start(); });
}

void queue_channel::changed() noexcept {
  if (session_count_.load() == 0 || serve_posted_.exchange(true)) return;
  try {
    boost::asio::post(detail::io_context(), [me = self()] { me->serve_all(); });
  } catch (...) {
    serve_posted_ = false;  // the I/O thread is gone, and the sessions with it
  }
}

void queue_channel::serve_all() {
  serve_posted_ = false;
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    const auto one = *at++;  // serving may close it
    one->serve(true);
  }
}

}  // namespace mp::sock
