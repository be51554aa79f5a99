// A stray write into a channel's shared memory (FAULTS rows 18, 61). Each word of the control page, of a participant, a
// hand and of records is overwritten while another process uses the channel: errors are errors, nobody crashes, and
// nobody waits beyond a deadline. A handle that arrives damaged is refused (rows 53, 56 to 58, 62, 63).

#include "ring_rig.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <thread>

namespace {

using namespace mp_fault;
namespace ring = mp::ring;

tally all{"hostile memory"};

// What a participant does with a channel whose memory lies: everything once, with deadlines.
void use(channel& c, role as, std::atomic<u64>& beat) {
  std::vector<seen> got;
  const auto attempt = [&](auto&& f) {
    ++beat;
    try {
      f();
    } catch (const mp::error&) {
    }
  };
  const auto soon = [] { return in(std::chrono::milliseconds(2)); };
  for (u64 id = 1; id <= 3; ++id) {
    attempt([&] { put_item(c, as, id, small_item, soon()); });
    attempt([&] { put_item(c, as, id, 3000, soon()); });
    attempt([&] { get_items(c, as, got, soon()); });
    attempt([&] { get_items(c, as, got, soon(), 4); });
  }
  attempt([&] { lost_items(c); });
  attempt([&] { static_cast<void>(c.size()); });
  attempt([&] { static_cast<void>(c.full()); });
  attempt([&] { c.prepare_poll(as, side::get); });
  attempt([&] { c.clear_hand(); });
}

struct page {
  std::atomic<u64> beat, done;
};

enum class outcome { well, crashed, hung };

// A child uses the channel; behind its back `spoil` changes the memory.
outcome suffer(channel_kind kind, mp::on_death on_death, const std::function<void(view&)>& spoil) {
  const auto c = make(kind, on_death, false, 0, 1 << 20);
  const bool pipe = kind == channel_kind::pipe;
  c->add_role(pipe ? role::sender : role::whole);
  if (pipe) c->add_role(role::receiver);
  for (u64 id = 1; id <= 6; ++id)
    put_item(*c, pipe ? role::sender : role::whole, id, id % 3 == 0 ? 3000 : small_item, at_once);
  auto* const notes =
      new (::mmap(nullptr, sizeof(page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) page{};
  travelling t = send_off(*c, pipe ? role::receiver : role::whole);
  if (pipe) c->drop_role(role::receiver);
  int go[2], ready[2];
  if (::pipe2(go, O_CLOEXEC) != 0 || ::pipe2(ready, O_CLOEXEC) != 0) return outcome::hung;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      imported_handle h = arrive(std::move(t));
      std::vector<seen> got;
      get_items(*h.channel, h.as, got, at_once);
      char byte = 0;
      if (::write(ready[1], &byte, 1) != 1 || ::read(go[0], &byte, 1) != 1) ::_exit(7);
      if (pipe) {
        for (int i = 0; i < 8; ++i) {
          ++notes->beat;
          try {
            get_items(*h.channel, h.as, got, in(std::chrono::milliseconds(2)));
          } catch (const mp::error&) {
          }
        }
      } else {
        use(*h.channel, h.as, notes->beat);
      }
      notes->done = 1;
      // No orderly end: a lock that names a process that lives is waited for by whoever closes.
      ::_exit(0);
    } catch (const mp::error&) {
      ::_exit(0);
    } catch (...) {
      ::_exit(6);
    }
  }
  t.fds.clear();
  char byte = 0;
  const bool came = ::read(ready[0], &byte, 1) == 1;
  {
    view memory(*c);
    spoil(memory);
  }
  const bool told = ::write(go[1], &byte, 1) == 1;
  int status = 0;
  outcome o = outcome::well;
  u64 beat = 0;
  for (auto last = std::chrono::steady_clock::now(); ::waitpid(pid, &status, WNOHANG) == 0;) {
    if (std::exchange(beat, notes->beat) != beat) last = std::chrono::steady_clock::now();
    beat = notes->beat;
    if (std::chrono::steady_clock::now() - last > patience) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, &status, 0);
      o = outcome::hung;
      break;
    }
    let_pass(std::chrono::microseconds(200));
  }
  for (const int fd : {go[0], go[1], ready[0], ready[1]}) ::close(fd);
  ::munmap(notes, sizeof(page));
  if (o == outcome::well && (!came || !told || !WIFEXITED(status) || WEXITSTATUS(status) != 0)) o = outcome::crashed;
  // The other participant, with the same memory.
  std::atomic<u64> own{0};
  if (!pipe) use(*c, role::whole, own);
  return o;
}

void sweep_words(const char* what, channel_kind kind, mp::on_death on_death, std::size_t words, std::size_t every,
                 const std::function<std::byte*(view&)>& where) {
  constexpr std::array<u64, 5> values{0, 1, 0x7fffffff, ~u64{0}, 0x0123456789abcdef};
  std::size_t tried = 0, crashed = 0, hung = 0;
  for (std::size_t word = 0; word < words; word += every) {
    for (std::size_t v = 0; v < values.size(); ++v) {
      if (!long_form() && v != word / every % values.size() && v != 3) continue;
      const outcome o =
          suffer(kind, on_death, [&](view& memory) { std::memcpy(where(memory) + word * 8, &values[v], 8); });
      ++tried;
      crashed += o == outcome::crashed;
      hung += o == outcome::hung;
      all.check(o == outcome::well, std::string(what) + ", word " + std::to_string(word) + " = " +
                                        std::to_string(values[v]) +
                                        (o == outcome::hung ? ": somebody hangs" : ": somebody crashes"));
    }
  }
  std::printf("figure: hostile memory: %s: %zu words and values, %zu crashes, %zu hangs\n", what, tried, crashed, hung);
}

std::size_t open_descriptors() {
  std::size_t n = 0;
  DIR* dir = ::opendir("/proc/self/fd");
  while (::readdir(dir)) ++n;
  ::closedir(dir);
  return n;
}

// Handles that arrive damaged.
void damaged_handles() {
  const auto source = make(channel_kind::queue);
  source->add_role(role::whole);
  const std::size_t before = open_descriptors();
  std::size_t refused = 0, tried = 0;
  const auto refuse = [&](const char* what, const std::function<void(travelling&)>& damage) {
    {
      travelling t = send_off(*source, role::whole);
      damage(t);
      ++tried;
      bool threw = false;
      try {
        mp::detail::decoder d(t.bytes, std::move(t.fds));
        d.number<std::uint8_t>();
        imported_handle h = ring::import_ring_handle(d, 77);
        h.channel->drop_role(h.as);
        d.finish();
      } catch (const mp::error&) {
        threw = true;
      }
      refused += threw;
      all.check(threw, std::string("a handle is refused: ") + what);
    }
    all.check(open_descriptors() == before, std::string("no descriptor leaks: ") + what);
  };
  const auto memfd = [](unsigned seals, u64 size) {
    unique_fd fd(::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return unique_fd();
    ::fcntl(fd.get(), F_ADD_SEALS, seals);
    return fd;
  };
  const unsigned seals = F_SEAL_SHRINK | F_SEAL_GROW;
  refuse("another type", [](travelling&) {});
  const auto right_type = [](travelling& t) {
    const u64 type = 77;
    std::memcpy(t.bytes.data() + 3, &type, sizeof type);
  };
  refuse("no descriptors", [&](travelling& t) { right_type(t), t.fds.clear(); });
  refuse("one descriptor missing", [&](travelling& t) { right_type(t), t.fds.pop_back(); });
  refuse("a surplus descriptor", [&](travelling& t) { right_type(t), t.fds.emplace_back(::eventfd(0, EFD_CLOEXEC)); });
  refuse("a hundred surplus descriptors", [&](travelling& t) {
    right_type(t);
    for (int i = 0; i < 100; ++i) t.fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
  });
  refuse("no memfd",
         [&](travelling& t) { right_type(t), t.fds[0] = unique_fd(::open("/dev/null", O_RDWR | O_CLOEXEC)); });
  refuse("a socket for the memory", [&](travelling& t) { right_type(t), std::swap(t.fds[0], t.fds[1]); });
  refuse("a memfd without seals", [&](travelling& t) { right_type(t), t.fds[0] = memfd(0, ring::file_bytes); });
  refuse("a memfd that may shrink",
         [&](travelling& t) { right_type(t), t.fds[0] = memfd(F_SEAL_GROW, ring::file_bytes); });
  refuse("a memfd that is too small", [&](travelling& t) { right_type(t), t.fds[0] = memfd(seals, 4096); });
  refuse("a memfd that is empty", [&](travelling& t) { right_type(t), t.fds[0] = memfd(seals, 0); });
  refuse("a memfd without a channel in it",
         [&](travelling& t) { right_type(t), t.fds[0] = memfd(seals, ring::file_bytes); });
  refuse("an eventfd for a socket",
         [&](travelling& t) { right_type(t), t.fds[1] = unique_fd(::eventfd(0, EFD_CLOEXEC)); });
  refuse("a role that there is not", [&](travelling& t) { right_type(t), t.bytes[1] = std::byte{9}; });
  refuse("a kind that there is not", [&](travelling& t) { right_type(t), t.bytes[2] = std::byte{9}; });
  for (std::size_t cut = 1; cut < 11; ++cut)
    refuse("cut short", [&](travelling& t) { right_type(t), t.bytes.resize(cut); });
  std::printf("figure: damaged handles: %zu of %zu refused, nothing leaked\n", refused, tried);
  std::vector<seen> got;
  put_item(*source, role::whole, 1, small_item, at_once);
  all.check(get_items(*source, role::whole, got, at_once) == op_status::ok && got[0].whole,
            "the channel itself is not affected");
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto queue = channel_kind::queue, pipe = channel_kind::pipe;
  const auto report = mp::on_death::report, redeliver = mp::on_death::redeliver;
  const std::size_t step = long_form() ? 1 : 2;
  damaged_handles();
  const auto control = [](view& m) { return reinterpret_cast<std::byte*>(&m.head()); };
  const auto record = [](view& m) { return m.log(ring::offset_of(m.head().head) % (64 * ring::extent_bytes)); };
  sweep_words("control of a queue", queue, report, sizeof(ring::control) / 8, step, control);
  sweep_words("control of a pipe", pipe, report, sizeof(ring::control) / 8, 2 * step, control);
  sweep_words("records of a queue", queue, report, 24, step, record);
  sweep_words("records of a pipe", pipe, report, 24, step, record);
  sweep_words("participants", queue, report, 32, step,
              [](view& m) { return reinterpret_cast<std::byte*>(&m.slot(0)); });
  sweep_words("hands", queue, redeliver, 40, step, [](view& m) { return reinterpret_cast<std::byte*>(&m.cell(0)); });
  sweep_words("large messages", queue, report, 12, 1, [](view& m) { return reinterpret_cast<std::byte*>(&m.body(0)); });
  sweep_words("links of the log", queue, report, 4, 1,
              [](view& m) { return reinterpret_cast<std::byte*>(&m.next(0)); });
  return all.finish();
}
