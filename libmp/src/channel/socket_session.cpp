// One client of a socket queue: what it says, on the I/O thread. What it is answered: socket_session_serve.cpp.
// Must never wait: a client that does not read its answers is let go. Must never do what was called off already: a
// client's time is up although we were stopped.
// Decision 0006; FAULTS rules 5 and 19.

#include "channel/io_thread.hpp"
#include "channel/socket_queue.hpp"
#include "mp/error.hpp"

#include <boost/asio/post.hpp>

#include <cstring>
#include <utility>

namespace mp::sock {

session::session(std::shared_ptr<queue_channel> owner, unique_fd socket)
    : owner_(std::move(owner)), socket_(detail::io_context(), socket.get()) {
  static_cast<void>(socket.release());
}

void session::start() {
  owner_->sessions_.push_back(shared_from_this());
  listen();
}

void session::listen() {
  socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [me = shared_from_this()](const error_code& ec) {
    if (!ec) me->readable();
  });
}

namespace {

// So many records of one client are handled before another has its turn.
constexpr int turn = 32;

bool can_be_called_off(const note& n) {
  return n.what == verb::put || n.what == verb::get || n.what == verb::join || n.what == verb::take_lost;
}

}  // namespace

void session::readable() {
  try {
    received_packet p;
    receipt r = receipt::packet;
    const bool was_ahead = ahead_.has_value();
    if (was_ahead)
      p = std::move(*std::exchange(ahead_, std::nullopt));
    else
      r = receive(socket_.native_handle(), p);
    for (int i = 0; open_ && r == receipt::packet; ++i) {
      if (i == turn) {  // others want theirs, too
        ahead_ = std::move(p);
        return boost::asio::post(socket_.get_executor(), [me = shared_from_this()] {
          if (me->open_) me->readable();
        });
      }
      if (!can_be_called_off(p.head)) {
        handle(std::move(p));
        if (open_) r = receive(socket_.native_handle(), p);
        continue;
      }
      // One record further: if we were stopped or late, the client may have given up meanwhile.
      received_packet next;
      r = receive(socket_.native_handle(), next);
      if (r == receipt::packet && next.head.what == verb::cancel) {
        if (p.head.what == verb::get) clear_hand();
        number_ = p.number;
        if (next.head.flag == 0) answer(op_status::timed_out);
        if (open_) r = receive(socket_.native_handle(), p);
        continue;
      }
      if (r != receipt::end || p.head.what == verb::put) handle(std::move(p));
      p = std::move(next);
    }
    if (!open_) return;
    if (r == receipt::end) return close();
    if (was_ahead) serve(true);  // it was left alone meanwhile
    if (open_) listen();
  } catch (const std::exception&) {
    close();  // what no client of ours sends, or no memory for it: this one is let go, the others go on
  }
}

void session::handle(received_packet&& p) {
  const note& n = p.head;
  const bool waits = n.what == verb::put || n.what == verb::get || n.what == verb::join;
  const bool at_any_time = n.what == verb::cancel || (n.what == verb::clear_hand && n.flag != 0);
  if (!at_any_time) {
    if (pending_) detail::throw_error(errc::bad_frame, "two requests at once");
    number_ = p.number;
    told_.reset();
  }
  switch (n.what) {
    case verb::hello: return hello(p);
    case verb::attach: return attach(std::move(p));
    case verb::add_role: return change_role(role{n.role}, true);
    case verb::drop_role: return change_role(role{n.role}, false);
    case verb::cancel: return cancel(n);
    case verb::clear_hand:
      clear_hand();
      if (n.flag == 0) answer(op_status::ok);
      return;
    case verb::shutdown: {
      const std::lock_guard guard(owner_->mutex_);
      owner_->shut_down_ = true;
      owner_->signal_all();
    }
      owner_->changed();
      return answer(op_status::ok);
    case verb::size: {
      std::size_t count = 0;
      bool is_full = false;
      {
        const std::lock_guard guard(owner_->mutex_);
        count = owner_->items();
        is_full = !owner_->has_room(1);
      }
      return answer(op_status::ok, is_full, count);
    }
    case verb::ready: {
      bool yes = false;
      {
        const std::lock_guard guard(owner_->mutex_);
        yes = n.value == 0
                  ? !owner_->nothing_waits() || owner_->shut_down_ || owner_->get_ended(*client_->holds)
                  : owner_->shut_down_ || owner_->has_room(1) || owner_->put_ended(*client_->holds, role{n.role});
      }
      return answer(op_status::ok, yes);
    }
    case verb::watch:
      if (n.value > 1) detail::throw_error(errc::bad_frame, "an unknown side");
      watched_[n.value] = role{n.role};
      return serve(false);
    case verb::done: {
      bool counted = false;
      {
        const std::lock_guard guard(owner_->mutex_);
        counted = owner_->done_once();
      }
      if (counted && not_done_ != 0) --not_done_;
      clear_hand();
      owner_->changed();
      return answer(op_status::ok, counted);
    }
    case verb::take_lost: return one_lost();
    case verb::put:
      waiting_item_ = {std::move(p.storage), p.body.size(), std::move(p.fds), 0};
      waiting_item_.offset = static_cast<std::size_t>(p.body.data() - waiting_item_.bytes.get());
      break;
    case verb::get: clear_hand(); break;
    case verb::join: break;
    case verb::item:
    case verb::answer: detail::throw_error(errc::bad_frame, "a verb that no client uses");
  }
  if (waits) {
    pending_ = n;
    serve(false);
  }
}

void session::cancel(const note& n) {
  if (n.flag != 0) {
    if (n.value == number_) give_back();
  } else if (std::exchange(pending_, std::nullopt)) {
    waiting_item_ = {};
    answer(op_status::timed_out);
  }
}

// The client does not wait for the answer to its last request any more: it drops it, and never had what it took.
void session::give_back() {
  if (std::exchange(pending_, std::nullopt)) {
    waiting_item_ = {};
    return;
  }
  {
    const std::lock_guard guard(owner_->mutex_);
    if (told_) owner_->lost_.push_front(std::move(*std::exchange(told_, std::nullopt)));
    if (!hand_ || hand_number_ != number_) return;
    --owner_->held_elsewhere_;
    if (not_done_ != 0) --not_done_;
    owner_->push(std::move(*hand_), true);
    hand_.reset();
  }
  owner_->changed();
}

void session::hello(const received_packet& p) {
  const std::lock_guard guard(owner_->mutex_);
  // A handle arrived: what counted as one on its way counts for its process from now on.
  auto& process = owner_->add_client(p.head.value);
  if (&process == client_) return;
  process.pid = p.head.pid;
  process.name.assign(reinterpret_cast<const char*>(p.body.data()), p.body.size());
  ++process.connections;
  for (std::size_t i = 0; i != roles_.size(); ++i) {
    process.holds->roles[i] += roles_[i];
    client_->holds->roles[i] -= roles_[i];
  }
  owner_->release_client(*std::exchange(client_, &process));
}

void session::attach(received_packet&& p) {
  // Of anything else no end would be seen: it would keep the queue for good.
  if (p.fds.size() != 1 || !keeps_records(p.fds.front()))
    detail::throw_error(errc::bad_frame, "an attach without its connection");
  const auto made = std::make_shared<session>(owner_, std::move(p.fds.front()));
  {
    const std::lock_guard guard(owner_->mutex_);
    made->client_ = client_;
    ++client_->connections;
    // A copy of a handle that is on its way brings a role of its own, and is a process of its own until its hello.
    if (p.head.flag != 0) {
      auto& flying = owner_->add_client(0);
      --client_->connections;
      flying.connections = 1;
      made->client_ = &flying;
      ++(*flying.holds)[role{p.head.role}];
      ++made->roles_[p.head.role];
    }
  }
  owner_->session_count_.fetch_add(1);
  made->start();
}

void session::change_role(role r, bool add) {
  {
    const std::lock_guard guard(owner_->mutex_);
    auto& own = roles_[static_cast<std::size_t>(r)];
    if (!add && own == 0) detail::throw_error(errc::bad_frame, "a role that was never held");
    auto& held = (*client_->holds)[r];
    if (add) {
      ++own;
      ++held;
    } else {
      --own;
      --held;
    }
    owner_->signal_all();
  }
  owner_->changed();
}

void session::clear_hand() {
  if (!hand_) return;
  hand_.reset();
  {
    const std::lock_guard guard(owner_->mutex_);
    --owner_->held_elsewhere_;
    owner_->signal(side::get);
  }
  if (owner_->options().on_consumer_death == on_death::redeliver) owner_->changed();
}

void session::close() noexcept {
  if (!std::exchange(open_, false)) return;
  const auto keep = shared_from_this();
  boost::system::error_code ignored;
  socket_.close(ignored);
  {
    const std::lock_guard guard(owner_->mutex_);
    if (hand_) {
      // The connection ended with an item in hand: its consumer died. (Who leaves in order clears its hand before.)
      --owner_->held_elsewhere_;
      if (owner_->options().on_consumer_death == on_death::redeliver) {
        if (not_done_ != 0) --not_done_;  // it is not done: it comes again
        owner_->push(std::move(*hand_), true);
      } else {
        owner_->lost_.push_back({std::move(*hand_), client_->pid, client_->name});
      }
      hand_.reset();
    }
    for (; not_done_ != 0; --not_done_) owner_->done_once();
    for (std::size_t i = 0; i != roles_.size(); ++i) client_->holds->roles[i] -= roles_[i];
    owner_->release_client(*client_);
    owner_->signal_all();
  }
  owner_->sessions_.remove(keep);
  owner_->session_count_.fetch_sub(1);
  owner_->changed();
}

}  // namespace mp::sock
