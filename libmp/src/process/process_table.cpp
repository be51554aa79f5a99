// The process table. Must never wait while it holds its lock.

#include "process/process_table.hpp"

#include "os/per_process.hpp"
#include "process/mailbox_link.hpp"

#include <poll.h>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <unordered_map>

namespace mp::detail {
namespace {

struct entry {
  std::shared_ptr<detail::child> child;
  bool let_go = false;
};

struct table {
  std::mutex mutex;
  std::unordered_map<const child*, entry> all;
  std::size_t let_go = 0;      // how many entries are
  std::size_t look_again = 0;  // look at them when there are more than this
};

table& the_table() noexcept { return os::fork_state<table>::get(); }

// Few are looked at each time, many only when their number has doubled: each start costs the same.
constexpr std::size_t always_looked_at = 8;

std::vector<std::shared_ptr<child>> take_all(bool (*wanted)(const child&)) {
  std::vector<std::shared_ptr<child>> found;
  const std::lock_guard lock(the_table().mutex);
  for (const auto& [key, e] : the_table().all)
    if (wanted(*e.child)) found.push_back(e.child);
  return found;
}

// The I/O thread is gone by now, and a child that writes into a full pipe would never end.
bool wait_passing_on(child& c, time_point until) {
  while (c.pass_on_output()) {
    const auto slice = std::min(until, std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
    if (c.wait(slice)) {
      c.pass_on_output();
      return true;
    }
    if (slice == until) return false;
  }
  return c.wait(until).has_value();
}

void join_all(const std::vector<std::shared_ptr<child>>& children) {
  const auto first_word = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (const auto& c : children) {
    if (!wait_passing_on(*c, first_word)) {
      std::fprintf(stderr, "mp: waiting for %s (pid %d) to end\n", c->who().name.c_str(),
                   static_cast<int>(c->who().pid));
      wait_passing_on(*c, time_point::max());
    }
    remove_child(c.get());
  }
}

void terminate_all(const std::vector<std::shared_ptr<child>>& children) {
  for (const auto& c : children) c->signal(SIGTERM);
  const auto last_moment = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (const auto& c : children)
    if (!c->wait(last_moment)) c->signal(SIGKILL);
  for (const auto& c : children) {
    c->wait(time_point::max());
    remove_child(c.get());
  }
}

}  // namespace

void add_child(std::shared_ptr<child> c) {
  const std::lock_guard lock(the_table().mutex);
  const child* key = c.get();
  the_table().all.try_emplace(key, entry{std::move(c)});
}

void remove_child(const child* c) noexcept {
  std::shared_ptr<child> ended;  // destroyed outside of the lock
  {
    const std::lock_guard lock(the_table().mutex);
    const auto found = the_table().all.find(c);
    if (found == the_table().all.end()) return;
    if (found->second.let_go) --the_table().let_go;
    ended = std::move(found->second.child);
    the_table().all.erase(found);
  }
  forget_address(ended->who().pid);
}

void let_go_of_child(const child* c) noexcept {
  const std::lock_guard lock(the_table().mutex);
  const auto found = the_table().all.find(c);
  if (found == the_table().all.end() || found->second.let_go) return;
  found->second.let_go = true;
  ++the_table().let_go;
}

std::vector<std::shared_ptr<child>> running_children() {
  auto children = take_all([](const child&) { return true; });
  std::erase_if(children, [](const std::shared_ptr<child>& c) {
    if (!c->wait(time_point::min())) return false;
    remove_child(c.get());
    return true;
  });
  return children;
}

void reap_some() noexcept {
  try {
    std::vector<std::shared_ptr<child>> candidates;
    {
      const std::lock_guard lock(the_table().mutex);
      table& t = the_table();
      if (t.let_go == 0 || (t.let_go > always_looked_at && t.let_go < t.look_again)) return;
      for (const auto& [key, e] : t.all)
        if (e.let_go) candidates.push_back(e.child);
    }
    for (const auto& c : candidates)
      if (c->wait(time_point::min())) remove_child(c.get());
    const std::lock_guard lock(the_table().mutex);
    the_table().look_again = 2 * the_table().let_go;
  } catch (...) {
    // No memory to look: the next start will.
  }
}

std::vector<std::shared_ptr<child>> all_children() {
  return take_all([](const child&) { return true; });
}

void end_children() noexcept {
  {
    const std::lock_guard lock(the_table().mutex);
    if (the_table().all.empty()) return;
  }
  try {
    terminate_all(take_all([](const child& c) { return c.who().daemon; }));
    join_all(take_all([](const child& c) { return !c.who().daemon; }));
  } catch (...) {
    // No memory even for this: the lifeline ends them.
  }
}

void abandon_process_table() noexcept {
  for (const auto& [key, e] : the_table().all) e.child->abandon();
  os::fork_state<
      table>::begin_again();  // the entries are leaked on purpose: other handles of the parent's image still name them
}

}  // namespace mp::detail
