// One client of a socket queue: its requests and their answers, on the I/O thread.
// Must never wait: a client that does not read its answers is let go.
// Decision 0006; FAULTS rules 5 and 19.

#include "channel/io_thread.hpp"
#include "channel/socket_queue.hpp"
#include "mp/error.hpp"

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

void session::readable() {
  try {
    for (int i = 0; i < 32 && open_; ++i) {
      received_packet p;
      switch (receive(socket_.native_handle(), p)) {
        case receipt::packet: handle(std::move(p)); continue;
        case receipt::nothing: return listen();
        case receipt::end: return close();
      }
    }
    if (open_) listen();
  } catch (const std::exception&) {
    close();  // what no client of ours sends, or no memory for it: this one is let go, the others go on
  }
}

void session::handle(received_packet&& p) {
  const note& n = p.head;
  const bool waits = n.what == verb::put || n.what == verb::get || n.what == verb::join;
  if (pending_ && n.what != verb::cancel) detail::throw_error(errc::bad_frame, "two requests at once");
  switch (n.what) {
    case verb::hello: return hello(p);
    case verb::attach: return attach(std::move(p));
    case verb::add_role: return change_role(role{n.role}, true);
    case verb::drop_role: return change_role(role{n.role}, false);
    case verb::cancel:
      if (pending_) {
        pending_->flag = 0;
        serve();
      }
      return;
    case verb::clear_hand: clear_hand(); return answer(op_status::ok);
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
      return serve();
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
    serve();
  }
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
  if (p.fds.size() != 1) detail::throw_error(errc::bad_frame, "an attach without its connection");
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

void session::serve() {
  if (!open_) return;
  try {
    for (std::size_t which = 0; which != 2; ++which) {
      if (!watched_[which]) continue;
      bool yes = false;
      {
        const std::lock_guard guard(owner_->mutex_);
        yes = owner_->shut_down_ ||
              (which == 0 ? !owner_->nothing_waits() || owner_->get_ended(*client_->holds)
                          : owner_->has_room(1) || owner_->put_ended(*client_->holds, *watched_[which]));
      }
      if (!yes) continue;
      watched_[which].reset();
      answer(op_status::ok, true);
    }
    if (!pending_) return;
    switch (pending_->what) {
      case verb::get: return finish_get();
      case verb::put: return finish_put();
      default: return finish_join();
    }
  } catch (const std::exception&) {
    close();
  }
}

void session::finish_get() {
  op_status status = op_status::timed_out;
  stored item;
  {
    const std::lock_guard guard(owner_->mutex_);
    if (!owner_->nothing_waits()) {
      item = owner_->pop();
      status = op_status::ok;
      ++owner_->held_elsewhere_;
      if (owner_->options().joinable) ++not_done_;
    } else if (owner_->shut_down_ || owner_->get_ended(*client_->holds)) {
      status = op_status::closed;
    } else if (pending_->flag != 0) {
      return;  // it waits on
    }
  }
  pending_.reset();
  if (status != op_status::ok) return answer(status);
  // In hand before it is told: if the client dies now, the item is where it can be found.
  hand_ = std::move(item);
  owner_->changed();
  note head;
  head.what = verb::answer;
  head.value = hand_->id;
  answer(pack(head, hand_->view(), hand_->fds));
}

void session::finish_put() {
  queue_channel::outcome result{};
  {
    const std::lock_guard guard(owner_->mutex_);
    result = owner_->try_put(*client_->holds, role{pending_->role}, waiting_item_);
  }
  if (result == queue_channel::outcome::wait && pending_->flag != 0) return;
  pending_.reset();
  waiting_item_ = {};
  if (result == queue_channel::outcome::done) owner_->changed();
  answer(result == queue_channel::outcome::done     ? op_status::ok
         : result == queue_channel::outcome::closed ? op_status::closed
                                                    : op_status::timed_out);
}

void session::finish_join() {
  bool all_done = false;
  {
    const std::lock_guard guard(owner_->mutex_);
    all_done = owner_->all_are_done();
  }
  if (!all_done && pending_->flag != 0) return;
  pending_.reset();
  answer(all_done ? op_status::ok : op_status::timed_out);
}

void session::one_lost() {
  std::list<queue_channel::lost> one;
  {
    const std::lock_guard guard(owner_->mutex_);
    if (!owner_->lost_.empty()) one.splice(one.begin(), owner_->lost_, owner_->lost_.begin());
  }
  if (one.empty()) return answer(op_status::timed_out);
  const auto& l = one.front();
  std::vector<std::byte> body(l.name.size() + l.item.size);
  if (!l.name.empty()) std::memcpy(body.data(), l.name.data(), l.name.size());
  if (l.item.size != 0) std::memcpy(body.data() + l.name.size(), l.item.view().data(), l.item.size);
  note head;
  head.what = verb::answer;
  head.pid = l.consumer;
  head.value = l.item.id;
  head.extra = l.name.size();
  answer(pack(head, body, l.item.fds));
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

void session::answer(op_status status, bool yes, std::uint64_t value) {
  note head;
  head.what = verb::answer;
  head.status = static_cast<std::uint8_t>(status);
  head.flag = yes ? 1 : 0;
  head.value = value;
  answer(pack(head));
}

void session::answer(const parcel& p) {
  if (send(socket_.native_handle(), p) != 0) close();
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
