// The ring under threads of one process: what thread and address sanitizers can see. Two views of one memory stand for
// two processes (a second ring_channel is made from an exported handle, past the registry); more threads share one view.
// Thread sanitizer knows a word by its address: what one view releases it never sees acquired by the other, so that
// there all threads share one view.

#include "ring_rig.hpp"
#include "support/sanitizers.hpp"

#include <algorithm>
#include <mutex>
#include <thread>

namespace {

using namespace mp_fault;
namespace ring = mp::ring;

tally all{"threads on one ring"};

std::size_t size_of(u64 id) { return id % 37 == 0 ? 2100 + id % 5000 : small_item + id % 300; }

// The same memory once more, as another process would have it.
std::shared_ptr<ring::ring_channel> another_view(channel& c, role r) {
  travelling t = send_off(c, r);
  ring::ring_fds fds;
  std::size_t next = 0;
  fds.memory = std::move(t.fds[next++]);
  if (mp::detail::may_put(r)) fds.put_socket = std::move(t.fds[next++]);
  if (mp::detail::may_get(r)) fds.get_socket = std::move(t.fds[next++]);
  return std::make_shared<ring::ring_channel>(std::move(fds), r);
}

void queue_of(u64 items_each, std::size_t maxsize) {
  const auto first = make(channel_kind::queue, mp::on_death::report, false, maxsize);
  first->add_role(role::whole);
  const std::shared_ptr<channel> second = another_view(*first, role::whole);
  const std::array<channel*, 2> views{first.get(), mp_test::thread_sanitizer ? first.get() : second.get()};
  constexpr u64 putters = 3, getters = 3;
  std::vector<u64> ids;
  std::size_t damaged = 0, wrong = 0;
  std::mutex mutex;  // guards the three above
  std::atomic<u64> left{putters * items_each};
  {
    std::vector<std::jthread> threads;
    for (u64 p = 0; p < putters; ++p)
      threads.emplace_back([&, p] {
        for (u64 n = 0; n < items_each; ++n) {
          const u64 id = p * items_each + n;
          if (put_item(*views[p % 2], role::whole, id, size_of(id), never) != op_status::ok) {
            const std::lock_guard lock(mutex);
            ++wrong;
          }
        }
      });
    for (u64 g = 0; g < getters; ++g)
      threads.emplace_back([&, g] {
        std::vector<seen> got;
        while (left.load() > 0) {
          const std::size_t before = got.size();
          get_items(*views[g % 2], role::whole, got, in(std::chrono::milliseconds(20)), 1 + g * 3);
          left -= got.size() - before;
        }
        const std::lock_guard lock(mutex);
        for (const seen& s : got) {
          ids.push_back(s.id);
          damaged += !s.whole || s.size != size_of(s.id);
        }
      });
    threads.emplace_back([&] {
      while (left.load() > 0) {
        static_cast<void>(first->size());
        static_cast<void>(second->full());
        first->ready(role::whole, side::get);
        std::this_thread::yield();
      }
    });
  }
  std::sort(ids.begin(), ids.end());
  const bool each_once = std::adjacent_find(ids.begin(), ids.end()) == ids.end() && ids.size() == putters * items_each;
  all.check(each_once, "each item comes once");
  all.check(damaged == 0, "every item is whole");
  all.check(wrong == 0, "every put succeeds");
  first->clear_hand();
  const std::string damage = view(*first).damage();
  all.check(damage.empty() || damage.find("bodies") != std::string::npos, "the lists are whole: " + damage);
  std::printf("figure: threads: queue of %zu: %zu items through %d views, %lu threads\n", maxsize, ids.size(),
              mp_test::thread_sanitizer ? 1 : 2, putters + getters + 1);
}

void pipe_of(u64 items) {
  const auto first = make(channel_kind::pipe);
  first->add_role(role::sender);
  first->add_role(role::receiver);
  const std::shared_ptr<channel> second = another_view(*first, role::receiver);
  first->drop_role(role::receiver);
  u64 good = 0;
  op_status end = op_status::ok;
  {
    const std::jthread reader([&] {
      std::vector<seen> got;
      while ((end = get_items(*second, role::receiver, got, never, 5)) == op_status::ok) {
        for (const seen& s : got) good += s.whole && s.size == size_of(s.id) && s.id == good;
        got.clear();
      }
    });
    for (u64 id = 0; id < items; ++id) put_item(*first, role::sender, id, size_of(id), never);
    first->drop_role(role::sender);
  }
  all.check(good == items, "a pipe keeps order and bytes");
  all.check(end == op_status::closed, "a pipe that was closed in order says so");
  std::printf("figure: threads: pipe: %lu items\n", good);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const u64 scale = long_form() ? 50 : 1;
  queue_of(2000 * scale, 0);
  queue_of(2000 * scale, 16);
  pipe_of(20'000 * scale);
  return all.finish();
}
