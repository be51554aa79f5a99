// One client of a socket queue: what it is answered, and when, on the I/O thread.
// Must never wait: a client that does not read its answers is let go.
// Decision 0006; FAULTS rules 5 and 19.

#include "channel/socket_queue.hpp"

#include <cstring>
#include <utility>

namespace mp::sock {

bool session::could_be_served() const {
  const std::lock_guard guard(owner_->mutex_);
  switch (pending_->what) {
    case verb::get: return !owner_->nothing_waits();
    case verb::put: return owner_->has_room(waiting_item_.size);
    default: return owner_->all_are_done();
  }
}

void session::serve(bool has_waited) {
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
    if (ahead_) return;  // it may be called off there
    while (has_waited && pending_ && could_be_served()) {
      // It may have been called off while we were stopped.
      received_packet said;
      const receipt r = receive(socket_.native_handle(), said);
      if (r == receipt::end) return close();
      if (r == receipt::nothing) break;
      handle(std::move(said));
      if (!open_) return;
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
  hand_number_ = number_;
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
  const auto& l = told_.emplace(std::move(one.front()));
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

void session::answer(op_status status, bool yes, std::uint64_t value) {
  note head;
  head.what = verb::answer;
  head.status = static_cast<std::uint8_t>(status);
  head.flag = yes ? 1 : 0;
  head.value = value;
  answer(pack(head));
}

void session::answer(parcel p) {
  p.number = number_;
  if (send(socket_.native_handle(), p) != 0) close();
}

}  // namespace mp::sock
