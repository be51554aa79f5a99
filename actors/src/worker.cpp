// The life of a pool's worker. Must never let an item's exception out, must store `started` before it reads a byte of
// the item and `done` after its result lies outside: what is lost by a death is decided by these two words.

#include "lane_layout.hpp"
#include "mp/detail/call.hpp"
#include "mp/detail/pool_call.hpp"
#include "mp/detail/process_hooks.hpp"
#include "mp/detail/shared_heap.hpp"
#include "mp/remote_error.hpp"
#include "mp/this_process.hpp"
#include "task_parcel.hpp"
#include "worker_task.hpp"

#include <malloc.h>
#include <pthread.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

namespace mp::detail {
namespace {

std::int64_t now_ns() noexcept { return std::chrono::steady_clock::now().time_since_epoch().count(); }

struct known_function {
  unit_code code = nullptr;
  std::uintptr_t pointer = 0;
  bool takes_stop = false;
  std::uint64_t item_ns = 0;   // how long an item takes, about; 0: not known
  std::exception_ptr problem;  // it is not here
};

class worker final : public unit_run {
public:
  explicit worker(worker_start&& s)
      : memory_(std::move(s.memory)),
        bell_block_(memory_, 0, bell_bytes),
        lane_block_(memory_, lane_offset(s.lane), lane_bytes),
        bell_(reinterpret_cast<bell_page*>(bell_block_.data())->bell),
        page_(*reinterpret_cast<lane_page*>(lane_block_.data())),
        draft_(lane_block_.data() + page_bytes),
        tasks_(std::move(s.tasks.end)),
        results_(std::move(s.results.end)),
        task_(page_),
        windows_(memory_, s.keeps_memory ? most_window_bytes : 0) {
    progress = &page_.progress;
    draft_begin = draft_at = draft_ + sizeof(result_record);
    draft_end = draft_ + draft_bytes;
    bell_.join();
    reinterpret_cast<bell_page*>(bell_block_.data())->lives[s.lane].hold();
    page_.stop_bell.join();
    page_.phase.store(worker_phase::initialising, std::memory_order_release);
    if (!s.initializer.empty()) {
      const auto call = parse_call(s.initializer, std::move(s.initializer_fds));
      run_call(*call, call->wants_stop_token ? this_process::stop_token() : std::stop_token());
    }
    page_.phase.store(worker_phase::ready, std::memory_order_release);
    bell_.ring();
  }

  static void mark_copy() noexcept { is_copy.store(true, std::memory_order_relaxed); }
  /// A worker that was started by fork from a worker is none's copy.
  static void be_original() noexcept { is_copy.store(false, std::memory_order_relaxed); }

  void live() {
    while (!leaving_) {
      if (!get_one()) return;
    }
  }

private:
  // False: the pool has let go of us.
  bool get_one() {
    reached_us_ = false;
    std::size_t taken = 0;
    try {
      return tasks_.shared()->get(
                 role::receiver, 1,
                 [](void* self, incoming&& item) { static_cast<worker*>(self)->take(std::move(item)); }, this,
                 time_point::max(), taken) == op_status::ok;
    } catch (const error& e) {
      // No memory, or no descriptors, for what comes next, which is a unit: no function is that large. What ran here
      // before may have used them up: then it is another's turn. A fresh worker would fare no better than we, so the
      // unit's first item counts as started: we died of it.
      if (!reached_us_ && units_ == 0) {
        if (e.cause() == std::errc::not_enough_memory)
          page_.phase.store(worker_phase::no_memory, std::memory_order_release);
        page_.unit.store(units_ + 1, std::memory_order_release);
        page_.slots[units_ % lane_slots].fetch_add(one_begun, std::memory_order_acq_rel);
      }
      throw;
    }
  }
  void take(incoming&& item) {
    task_record record;
    if (item.bytes.size() < sizeof record) throw pool_gone();
    std::memcpy(&record, item.bytes.data(), sizeof record);
    const auto rest = item.bytes.subspan(sizeof record);
    unit_parts parts;
    if (record.kind == record_is::unit) {
      // A unit that was taken back as a whole is not even looked at: its memory may be another's by now.
      const slot_view now{page_.slots[units_ % lane_slots].load(std::memory_order_acquire)};
      parts = open_unit(record, rest, now.cut() < record.count ? &windows_ : nullptr);
    }
    reached_us_ = true;
    switch (record.kind) {
      case record_is::function: learn(record, rest); break;
      case record_is::unit: take_unit(record, parts, std::move(item.fds)); break;
      default: leaving_ = true;
    }
  }

  void learn(const task_record& record, std::span<const std::byte> rest) {
    known_function f;
    f.takes_stop = record.count != 0;
    try {
      decoder d(rest);
      f.code = reinterpret_cast<unit_code>(resolve(decode<call_target>(d)));
      if (decode<bool>(d)) f.pointer = resolve(decode<call_target>(d));
    } catch (...) {
      f.problem = std::current_exception();
    }
    if (functions_.size() <= record.function) functions_.resize(record.function + 1);
    functions_[record.function] = std::move(f);
  }

  void take_unit(const task_record& record, const unit_parts& parts, std::vector<unique_fd>&& fds) {
    number_ = units_++;
    slot = &page_.slots[number_ % lane_slots];
    // Before the first claim: from it on these words speak of this unit.
    page_.progress.store(0, std::memory_order_relaxed);
    page_.unit.store(number_ + 1, std::memory_order_release);
    if (slot_view{slot->load(std::memory_order_acquire)}.cut() < record.count) run_unit(record, parts, std::move(fds));
    windows_.close();
    slot->store(slot_word(number_ + lane_slots), std::memory_order_release);
  }

  void run_unit(const task_record& record, const unit_parts& parts, std::vector<unique_fd>&& fds) {
    known_function& f = functions_.at(record.function);
    // A clock costs more than a small item: so it is read for one in eight, unless units are long.
    const bool timed = (number_ & 7) == 0 || f.item_ns == 0 || f.item_ns > 2000 || record.count > 1;
    const std::int64_t before = timed ? now_ns() : 0;
    current_ = &f;
    decoder arguments(parts.rest, std::move(fds));
    in = &arguments;
    function = f.pointer;
    count = record.count;
    at = 0;
    direct = count == 1;
    large = parts.large;
    may_write = (record.flags & task_record::writes) != 0 && !large.empty();
    watched = record.flags & task_record::watched;
    draft_at = draft_begin;
    items_to_look = 0;  // practically never
    if (!direct) {
      reset_draft();
      said_at_ = before;
      items_to_look = items_between_looks(f.item_ns);
    }
    task_.enter(record, parts.more, parts.key, number_, at);
    stop = f.takes_stop ? task_.stop_token() : std::stop_token();
    if (f.problem) {
      if (begin()) {
        load();
        fail(f.problem, {});
      }
    } else {
      while (at != count) {
        std::string backtrace;
        auto problem = call_caught([](void* p) { run_code(p); }, this, backtrace);
        if (!problem) break;
        if (where == phase::loading || where == phase::decoding) problem = as_undecodable(problem);
        fail(problem, std::move(backtrace));
      }
    }
    const std::uint32_t items = at;
    flush();
    task_.leave();
    state.reset();
    in = nullptr;
    large = {};
    if (timed && items != 0) measure(f, record.function, now_ns() - before, items);
  }

  // No handler in here: an exception is traced where it leaves, and one that is caught on its way forgets its place.
  static void run_code(void* p) {
    auto& self = *static_cast<worker*>(p);
    self.current_->code(self);
  }
  void measure(known_function& f, std::uint32_t number, std::int64_t ns, std::uint32_t items) noexcept {
    const auto all = static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 1));
    const std::uint64_t item = std::max<std::uint64_t>(all / items, 1);
    // Quick to learn that things take long, slow to forget it.
    f.item_ns = f.item_ns == 0 ? item : (3 * f.item_ns + item) / 4;
    page_.item_time.store(item_time_word(number, f.item_ns), std::memory_order_relaxed);
  }

  // Results of a long unit go out now and then. Looks at the clock cost as much as a small item.
  static std::uint32_t items_between_looks(std::uint64_t item_ns) noexcept {
    return item_ns == 0 ? 1 : static_cast<std::uint32_t>(std::clamp<std::uint64_t>(4000 / item_ns, 1, 64));
  }
  void look_at_clock() override {
    if (direct) return;
    constexpr std::int64_t longest = 150'000;
    const std::int64_t now = now_ns();
    items_to_look = items_between_looks(current_->item_ns);
    if (now - said_at_ < longest || at == count) return;
    said_at_ = now;
    flush();
  }

  // -- results
  void begin_watched() override { page_.item_since.store(now_ns(), std::memory_order_relaxed); }

  // Odd while it changes: the parent may be reading.
  void reset_draft() noexcept {
    const std::uint32_t round = page_.draft_round.load(std::memory_order_relaxed);
    page_.draft_round.store(round + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    draft_first_ = at;
    draft_at = draft_begin;
    page_.draft_unit.store(number_ + 1, std::memory_order_relaxed);
    page_.draft_first.store(at, std::memory_order_relaxed);
    page_.progress.store(progress_word(at, 0), std::memory_order_relaxed);
    page_.draft_round.store(round + 2, std::memory_order_release);
  }
  void go_on_at(std::uint32_t item) noexcept {
    at = item;
    if (direct)
      page_.progress.store(progress_word(at, 0), std::memory_order_release);
    else
      reset_draft();
  }
  // The draft becomes a record; its first bytes are kept free for it.
  void flush() {
    if (direct || at == draft_first_) return;
    const result_record record{record_is::values, 0, number_, draft_first_, at - draft_first_};
    std::memcpy(draft_, &record, sizeof record);
    send_bytes({draft_, static_cast<std::size_t>(draft_at - draft_)});
    reset_draft();
  }
  void send(const outgoing& out) {
    if (results_.shared()->put(role::sender, out, time_point::max()) != op_status::ok) throw pool_gone();
    bell_.ring();
  }
  void send_bytes(std::span<const std::byte> bytes) {
    outgoing out;
    out.bytes = bytes;
    out.size = bytes.size();
    send(out);
  }

  struct value_message {
    result_record record;
    const void* result;
    void (*write)(encoder&, const void*);
    void into(encoder& e) const {
      e.raw(&record, sizeof record);
      write(e, result);
    }
    static void again(void* p, std::span<std::byte> place) {
      encoder second = encoder::second_pass(place, {});
      static_cast<const value_message*>(p)->into(second);
      if (second.overflowed() || second.size() != place.size())
        throw_error(errc::unencodable, "the result changed while it was encoded");
    }
  };
  void put(const void* result, void (*write)(encoder&, const void*)) override {
    if (!direct) flush();
    value_message message{{record_is::values, 0, number_, at, 1}, result, write};
    std::byte room[1024];
    encoder e(room);
    message.into(e);
    outgoing out;
    out.size = e.size();
    out.fds = e.attachments();
    if (e.overflowed())
      out.context = &message, out.write = value_message::again;
    else
      out.bytes = std::span<const std::byte>(room, out.size);
    send(out);
    go_on_at(at + 1);
  }

  void put_empty() override {
    const result_record record{record_is::values, 0, number_, at, 1};
    send_bytes(std::as_bytes(std::span(&record, 1)));
  }
  // From now on it is the pool's: nothing here looks at it again.
  void put_place(std::span<const std::byte> result) override {
    const place_message message{
        {record_is::values, result_record::is_place, number_, at, 1},
        {static_cast<std::uint32_t>(result.data() - large.data()), static_cast<std::uint32_t>(result.size())}};
    send_bytes(std::as_bytes(std::span(&message, 1)));
    go_on_at(at + 1);
  }

  void fail(const std::exception_ptr& problem, std::string backtrace) {
    if (is_copy.load(std::memory_order_relaxed)) end_copy();
    if (!direct) flush();
    const auto text = encode_exception(problem, std::move(backtrace));
    const bool all = where == phase::loading, unread = where == phase::decoding && at + 1 != count;
    const std::uint16_t flags = all ? result_record::all_left : unread ? result_record::rest_unread : std::uint16_t{0};
    const result_record record{record_is::failed, flags, number_, at, 1};
    const encoded message = encode_with([&](encoder& e) {
      e.raw(&record, sizeof record);
      e.raw(text.data(), text.size());
    });
    send_bytes(message.bytes);
    go_on_at(unread || all ? count : at + 1);
  }

  const unique_fd memory_;
  const shared_block bell_block_, lane_block_;
  shared_bell& bell_;
  lane_page& page_;
  std::byte* const draft_;
  handle tasks_, results_;
  worker_task task_;
  static constexpr std::size_t most_window_bytes = std::size_t{128} << 20;
  shared_windows windows_;
  std::vector<known_function> functions_;
  const known_function* current_ = nullptr;
  std::uint32_t units_ = 0, number_ = 0, draft_first_ = 0;
  std::int64_t said_at_ = 0;                   // when results of the unit went out last
  bool reached_us_ = false, leaving_ = false;  // the first: what was got last
};

}  // namespace

void pool_worker(worker_start start) {
  process_hooks::show_as(this_process::name());
  ::pthread_atfork(nullptr, nullptr, worker::mark_copy);
  worker::be_original();
  // Large arguments and results come and go with every task. Fresh memory costs more than to copy them.
  if (start.keeps_memory) {
    ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  }
  try {
    worker w(std::move(start));
    w.live();
  } catch (const pool_gone&) {
  }
}

}  // namespace mp::detail
