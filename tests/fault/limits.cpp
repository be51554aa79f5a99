// Limits and failing calls under a channel: descriptors, shared memory, allocation (FAULTS rows 41, 43, 46). Each case runs
// in a forked child, so that a crash is a result, too.

#include "ring_rig.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <new>

namespace {
std::size_t allocations_left = ~std::size_t{0};  // the call after these fails, once
std::size_t allocations = 0;                     // not freed
bool failed_one = false;

void* allocate(std::size_t bytes) {
  if (allocations_left == 0) {
    allocations_left = ~std::size_t{0};
    failed_one = true;
    throw std::bad_alloc();
  }
  --allocations_left;
  void* at = std::malloc(bytes);
  if (!at) throw std::bad_alloc();
  ++allocations;
  return at;
}
void give_back(void* at) noexcept {
  if (at) --allocations;
  std::free(at);
}
}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void operator delete(void* at) noexcept { give_back(at); }
void operator delete[](void* at) noexcept { give_back(at); }
void operator delete(void* at, std::size_t) noexcept { give_back(at); }
void operator delete[](void* at, std::size_t) noexcept { give_back(at); }

namespace {

using namespace mp_fault;
namespace ring = mp::ring;

tally all{"limits"};

// Runs `f` in a child. Its exit code; -signal if it crashed.
int in_child(const std::function<int()>& f) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = 99;
    try {
      code = f();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "a child ended: %s\n", e.what());
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// From here on this process's fallocate fails with ENOSPC: what an exhausted shared memory does.
bool exhaust_shared_memory() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool out_of_resources(const std::function<void()>& f) {
  try {
    f();
  } catch (const mp::error& e) {
    return e.code() == mp::errc::out_of_resources;
  }
  return false;
}

void shared_memory() {
  const int made = in_child([] {
    if (!exhaust_shared_memory()) return 77;
    return out_of_resources([] { make(channel_kind::queue); }) ? 0 : 1;
  });
  if (made == 77) {
    std::printf("skipped: shared memory: no seccomp here\n");
    return;
  }
  all.check(made == 0, "a channel that cannot have its memory is refused");

  const auto c = make(channel_kind::queue);
  c->add_role(role::whole);
  put_item(*c, role::whole, 777, small_item, at_once);
  travelling t = send_off(*c, role::whole);
  const int put = in_child([&] {
    imported_handle h = arrive(std::move(t));
    std::vector<seen> got;
    get_items(*h.channel, h.as, got, at_once);
    if (!exhaust_shared_memory()) return 77;
    if (!out_of_resources([&] { put_item(*h.channel, h.as, 1, 100'000, at_once); })) return 2;
    u64 n = 0;
    if (!out_of_resources([&] {
          for (;; ++n) put_item(*h.channel, h.as, n, 1900, at_once);
        }))
      return 3;
    // The refused one took nothing; room that comes back is used.
    if (h.channel->size() != n) return 4;
    if (!out_of_resources([&] { get_items(*h.channel, h.as, got, at_once); })) return 0;
    return 5;
  });
  t.fds.clear();
  all.check(put == 0, "a put that needs memory says out_of_resources and changes nothing: " + std::to_string(put));
  const std::size_t fit = c->size();
  std::vector<seen> got;
  u64 next = 1;  // the child got number 0
  bool in_order = true;
  while (get_items(*c, role::whole, got, at_once) == op_status::ok)
    in_order &= got.back().whole && got.back().id == next++;
  all.check(in_order && got.size() == fit && fit > 20, "the items in front of it are whole, for others");
  bool grows = true;
  for (u64 n = 0; n < 200; ++n) grows &= put_item(*c, role::whole, n, 1900, at_once) == op_status::ok;
  grows &= put_item(*c, role::whole, 1, 100'000, at_once) == op_status::ok;
  all.check(grows, "the queue grows again for others");
  const std::string damage = view(*c).damage();
  all.check(damage.empty(), "the lists are whole: " + damage);
  std::printf("figure: shared memory exhausted: 3 places, 0 SIGBUS, %zu items kept\n", fit);
}

std::ptrdiff_t descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

void receiver_out_of_descriptors() {
  std::size_t cases = 0;
  for (const channel_kind kind : {channel_kind::queue, channel_kind::pipe}) {
    for (std::size_t carried : {1u, 3u}) {
      ++cases;
      const int code = in_child([&] {
        const auto c = make(kind);
        const bool pipe = kind == channel_kind::pipe;
        const role put = pipe ? role::sender : role::whole, get = pipe ? role::receiver : role::whole;
        c->add_role(put);
        if (pipe) c->add_role(get);
        std::vector<unique_fd> fds;
        for (std::size_t i = 0; i < carried; ++i) fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
        if (put_bytes(*c, put, make_item(1, small_item), at_once, fds) != op_status::ok) return 1;
        if (put_item(*c, put, 2, small_item, at_once) != op_status::ok) return 2;
        rlimit usual{}, tight{};
        ::getrlimit(RLIMIT_NOFILE, &usual);
        const unique_fd lowest(::dup(0));
        const auto before = descriptors();
        tight = usual;
        tight.rlim_cur = static_cast<rlim_t>(lowest.get());  // no room at all
        ::setrlimit(RLIMIT_NOFILE, &tight);
        std::vector<seen> got;
        for (int i = 0; i < 3; ++i)
          if (!out_of_resources([&] { get_items(*c, get, got, at_once); })) return 3;
        if (c->size() != 2 || !got.empty()) return 4;
        ::setrlimit(RLIMIT_NOFILE, &usual);
        if (get_items(*c, get, got, at_once) != op_status::ok || got[0].id != 1 || got[0].fds != carried) return 5;
        if (get_items(*c, get, got, at_once) != op_status::ok || got[1].id != 2 || got[1].fds != 0) return 6;
        return descriptors() == before ? 0 : 7;  // no descriptor leaked
      });
      all.check(code == 0, "a receiver without room for descriptors gets the message later: " + std::to_string(code));
    }
  }
  std::printf("figure: receiver at its descriptor limit: %zu cases, nothing lost, nothing leaked\n", cases);
}

// Everything that a channel does, each allocation failing once.
void allocations_fail() {
  struct step {
    const char* name;
    std::function<bool(channel&, std::vector<seen>&)> act;  // false: a wrong result
  };
  const step steps[] = {
      {"put", [](channel& c, auto&) { return put_item(c, role::whole, 9, small_item, at_once) == op_status::ok; }},
      {"put of a large message",
       [](channel& c, auto&) { return put_item(c, role::whole, 9, 3000, at_once) == op_status::ok; }},
      {"put into new memory",
       [](channel& c, auto&) {
         for (int i = 0; i < 40; ++i)
           if (put_item(c, role::whole, 9, 1900, at_once) != op_status::ok) return false;
         return true;
       }},
      {"get", [](channel& c, auto& got) { return get_items(c, role::whole, got, at_once) == op_status::ok; }},
      {"get of several",
       [](channel& c, auto& got) { return get_items(c, role::whole, got, at_once, 4) == op_status::ok; }},
      {"take_lost", [](channel& c, auto&) { return lost_items(c).empty(); }},
      {"export and import",
       [](channel& c, auto&) {
         imported_handle h = arrive(send_off(c, role::sender));
         h.channel->drop_role(h.as);
         return true;
       }},
      {"a new channel",
       [](channel&, auto&) {
         const auto other = make(channel_kind::pipe);
         other->add_role(role::sender);
         other->drop_role(role::sender);
         return true;
       }},
  };
  std::size_t sites = 0;
  for (const step& s : steps) {
    for (std::size_t n = 0;; ++n) {
      const int code = in_child([&] {
        const auto c = make(channel_kind::queue);
        c->add_role(role::whole);
        for (u64 id = 1; id <= 4; ++id) put_item(*c, role::whole, id, id == 2 ? 3000 : small_item, at_once);
        std::vector<seen> got;
        got.reserve(100);
        const std::size_t before = c->size();
        allocations_left = n;
        bool threw = false, right = false;
        try {
          right = s.act(*c, got);
        } catch (const std::bad_alloc&) {
          threw = true;
        } catch (const mp::error&) {
          threw = true;
        }
        allocations_left = ~std::size_t{0};
        if (!failed_one) return right ? 50 : 1;
        if (!threw && !right) return 2;
        // Afterwards everything works, and nothing of the items is lost.
        const std::size_t got_before = got.size();
        if (c->size() + got_before < before) return 3;
        if (put_item(*c, role::whole, 8, 3000, at_once) != op_status::ok) return 4;
        std::size_t rest = c->size(), more = 0;
        while (get_items(*c, role::whole, got, at_once) == op_status::ok) ++more;
        if (more < rest) return 5;
        for (const seen& x : got)
          if (!x.whole) return 6;
        c->clear_hand();
        return view(*c).damage().empty() ? 0 : 7;
      });
      if (code == 50) break;
      ++sites;
      all.check(code == 0,
                std::string(s.name) + ", allocation " + std::to_string(n) + " fails: " + std::to_string(code));
      if (n > 200) break;
    }
  }
  std::printf("figure: failing allocations: %zu sites, 0 crashes\n", sites);
}

// As many bodies as there can be were made, all of other sizes than what is put now.
void bodies_of_other_sizes() {
  constexpr std::size_t sizes[] = {3000, 10'000, 100'000, 3'000'000};
  std::size_t puts = 0;
  bool fits = true, whole = true;
  for (const channel_kind kind : {channel_kind::queue, channel_kind::pipe})
    for (const std::size_t first : sizes) {
      const auto c = make(kind);
      const bool pipe = kind == channel_kind::pipe;
      const role put = pipe ? role::sender : role::whole, get = pipe ? role::receiver : role::whole;
      c->add_role(put);
      if (pipe) c->add_role(get);
      constexpr u32 most = 2;
      std::vector<seen> got;
      for (u64 i = 0; i < most; ++i) put_item(*c, put, i, first, at_once);
      for (u64 i = 0; i < most; ++i) get_items(*c, get, got, at_once);
      c->clear_hand();
      view(*c).head().fewer_bodies = ring::max_bodies - most;
      for (int round = 0; round < 3; ++round)
        for (const std::size_t size : sizes) {
          ++puts;
          fits &= put_item(*c, put, puts, size, in(patience)) == op_status::ok;
          fits &= get_items(*c, get, got, at_once) == op_status::ok;
          whole &= got.back().whole && got.back().id == puts && got.back().size == size;
        }
      fits &= put_item(*c, put, 1, first, at_once) == op_status::ok;
      c->clear_hand();
      fits &= put_item(*c, put, 2, first, at_once) == op_status::ok;
      all.check(put_item(*c, put, 3, first, at_once) == op_status::timed_out, "a put waits when all bodies are in use");
      const std::string damage = view(*c).damage();
      all.check(damage.empty(), "the lists are whole: " + damage);
    }
  all.check(fits, "a put into an empty channel finds room, whatever sizes were put before");
  all.check(whole, "a message in a body of another size is whole");
  std::printf("figure: no new bodies: %zu puts of other sizes than before\n", puts);
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  shared_memory();
  receiver_out_of_descriptors();
  bodies_of_other_sizes();
  allocations_fail();
  return all.finish();
}
