// The list of services. Must never hold its lock while it stops one.

#include "services.hpp"

#include "mp/error.hpp"
#include "mp/this_process.hpp"

#include <atomic>
#include <map>
#include <mutex>
#include <vector>

namespace mp::detail {
namespace {

struct entry {
  service_rank rank;
  std::weak_ptr<service> one;
};

struct services {
  const pid_t made_in = this_process::pid();
  std::mutex mutex;
  std::vector<entry> all;
  bool has_hook = false, closed = false;

  // Never destroyed: static objects may hold services. A forked child begins with a new one.
  static services& get() {
    static std::atomic<services*> instance{nullptr};
    services* seen = instance.load(std::memory_order_acquire);
    while (!seen || seen->made_in != this_process::pid()) {
      auto fresh = std::make_unique<services>();
      if (instance.compare_exchange_strong(seen, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
    }
    return *seen;
  }
};

}  // namespace

void add_service(service_rank rank, std::weak_ptr<service> one) {
  services& here = services::get();
  const std::lock_guard lock(here.mutex);
  if (here.closed)
    throw_error(errc::shut_down, "the library was shut down: no pool or supervisor can be made any more");
  if (!here.has_hook) {
    at_exit([] {
      verdict ignored;
      stop_services(time_point::max(), ignored, false);
    });
    here.has_hook = true;
  }
  std::erase_if(here.all, [](const entry& e) { return e.one.expired(); });
  here.all.push_back({rank, std::move(one)});
}

void stop_services(time_point until, verdict& what, bool for_good) noexcept {
  services& here = services::get();
  std::vector<entry> all;
  {
    const std::lock_guard lock(here.mutex);
    here.closed |= for_good;
    all.swap(here.all);
  }
  // By rank, the youngest of each first.
  std::map<decltype(entry::rank), std::vector<entry>> by_rank;
  for (auto e = all.rbegin(); e != all.rend(); ++e) by_rank[e->rank].push_back(*e);
  for (const auto& [rank, entries] : by_rank)
    for (const entry& e : entries)
      if (const auto one = e.one.lock()) one->stop_by(until, what);
}

}  // namespace mp::detail
