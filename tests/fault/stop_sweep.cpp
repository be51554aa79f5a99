// A process that is stopped is not dead (FAULTS rows 9, 12, 85, 91). It is stopped at every change of shared memory of an
// operation: the others keep their deadlines and take nothing from it; when it goes on, all adds up.

#include "ring_rig.hpp"
#include "tracer.hpp"

#include <sys/mman.h>
#include <algorithm>
#include <map>

namespace {

using namespace mp_fault;
namespace ring = mp::ring;

tally all{"stop sweep"};

struct book {
  std::atomic<u64> got[64];
  std::atomic<u64> count;
  std::atomic<int> status;
};

struct operation {
  const char* name;
  bool is_get;
  std::size_t size;
  bool joinable = false;
};

struct figures {
  std::size_t points = 0, in_time = 0, late = 0;
  double worst_ms = 0;
};

// True: the operation was over before n changes.
bool stop_at(const operation& op, std::size_t n, figures& f) {
  const std::string where = std::string(op.name) + ", stopped after " + std::to_string(n) + " changes: ";
  auto* const b = new (::mmap(nullptr, sizeof(book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) book{};
  const auto c = make(channel_kind::queue, mp::on_death::report, op.joinable);
  c->add_role(role::whole);
  for (u64 id = 1; id <= 8; ++id) put_item(*c, role::whole, id, op.size, at_once);
  travelling t = send_off(*c, role::whole);
  imported_handle h;
  std::vector<seen> theirs;
  const std::vector<std::byte> item = make_item(10, op.size);
  traced_child child([&] { h = arrive(std::move(t)); },
                     [&] {
                       op_status s;
                       if (op.is_get) {
                         s = get_items(*h.channel, h.as, theirs, never);
                         for (const seen& x : theirs) b->got[b->count++] = x.whole ? x.id : 99;
                         if (op.joinable) h.channel->task_done();
                         h.channel->clear_hand();
                       } else {
                         s = put_bytes(*h.channel, h.as, item, never);
                       }
                       b->status = static_cast<int>(s) + 1;
                     });
  t.fds.clear();
  if (!child.wait_prepared()) {
    all.check(false, where + "the child failed in its preparation");
    return true;
  }
  std::vector<seen> ours;
  std::map<u64, int> count;
  bool before = false, over = false;
  {
    const view memory(*c);
    before = over = child.advance(grain::change, n,
                                  {memory.control_bytes(),
                                   {memory.log(0), ring::base_extents * ring::extent_bytes},
                                   {reinterpret_cast<std::byte*>(&memory.cell(0)), 2 * ring::cell_bytes},
                                   {reinterpret_cast<std::byte*>(&memory.body(0)), ring::page_bytes}});
  }
  ++f.points;

  // It stands still, perhaps with a lock. One put and one get with a deadline each.
  bool put_done = false;
  const auto timed = [&](auto&& call) {
    const auto until = in(std::chrono::milliseconds(10));
    const op_status s = call(until);
    const double beyond = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - until).count();
    f.worst_ms = std::max(f.worst_ms, beyond);
    if (s == op_status::timed_out) ++f.late;
    if (s == op_status::ok) ++f.in_time;
    all.check(s == op_status::ok || s == op_status::timed_out, where + "somebody who is stopped was taken for dead");
    all.check(beyond < 1000, where + "a deadline was not kept");
    return s == op_status::ok;
  };
  put_done = timed([&](time_point until) { return put_item(*c, role::whole, 20, op.size, until); });
  timed([&](time_point until) { return get_items(*c, role::whole, ours, until); });
  // At once, in the past and now: the same, and no waiting.
  for (const time_point until : {at_once, time_point{}, std::chrono::steady_clock::now()}) {
    const auto began = std::chrono::steady_clock::now();
    get_items(*c, role::whole, ours, until);
    all.check(std::chrono::steady_clock::now() - began < std::chrono::seconds(1),
              where + "a get that must not wait waits");
  }
  const auto soon = [&](const char* what, auto&& call) {
    const auto began = std::chrono::steady_clock::now();
    call();
    all.check(std::chrono::steady_clock::now() - began < patience, where + what + " waits for one who is stopped");
  };
  soon("take_lost",
       [&] { all.check(lost_items(*c).empty(), where + "an item of a living consumer is reported lost"); });
  std::size_t done = 0;
  if (op.joinable) {
    soon("task_done", [&] {
      for (; done != ours.size(); ++done)
        all.check(c->task_done(), where + "task_done is refused for an item that was got");
    });
    timed([&](time_point until) { return c->join(until); });
  }

  // It goes on.
  if (!over) over = child.advance(grain::call, 10'000);
  all.check(b->status == 1, where + "its operation does not succeed afterwards");
  while (get_items(*c, role::whole, ours, at_once) == op_status::ok) {
  }
  if (op.joinable) {
    for (; done != ours.size(); ++done) all.check(c->task_done(), where + "task_done is refused afterwards");
    all.check(c->join(at_once) == op_status::ok, where + "join does not see that all is done");
    all.check(!c->task_done(), where + "more is done than was got");
  }
  for (const seen& s : ours) {
    ++count[s.id];
    all.check(s.whole, where + "an item is damaged");
  }
  for (u64 i = 0; i < b->count; ++i) ++count[b->got[i]];
  for (u64 id = 1; id <= 8; ++id)
    all.check(count[id] == 1, where + "item " + std::to_string(id) + " came " + std::to_string(count[id]) + " times");
  all.check(count[10] == (op.is_get ? 0 : 1), where + "what it put came " + std::to_string(count[10]) + " times");
  all.check(count[20] == (put_done ? 1 : 0), where + "what the other put came " + std::to_string(count[20]) + " times");
  c->clear_hand();
  const std::string damage = view(*c).damage();
  all.check(damage.empty() || op.size > ring::inline_most, where + damage);
  ::munmap(b, sizeof(book));
  return before;
}

}  // namespace

int main(int, char** argv) {
  bind_now(argv);
  use_one_processor();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const operation operations[] = {{"put", false, small_item},
                                  {"get", true, small_item},
                                  {"put of a large message", false, 2200},
                                  {"get of a large message", true, 2200},
                                  {"get and task_done", true, small_item, true}};
  figures f;
  for (const operation& op : operations)
    for (std::size_t n = 0; n < 100 && !stop_at(op, n, f);) ++n;
  std::printf(
      "figure: stop sweep: %zu points, %zu operations went on, %zu gave up in time, latest %.0f ms after its "
      "deadline\n",
      f.points, f.in_time, f.late, f.worst_ms);
  all.check(f.late > 0, "somebody is stopped with a lock at least once");
  return all.finish();
}
