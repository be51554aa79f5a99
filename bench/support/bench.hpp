#pragma once
// What every program of the benchmark shares: the clock, the figure lines, loops that measure, memory and children made
// by plain system calls. It must never use libmp, so that peers and limits stand on their own.
// See ../README.md for what is measured and why this way.

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

using clock = std::chrono::steady_clock;

inline double micros(clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }
inline double seconds(clock::duration d) { return std::chrono::duration<double>(d).count(); }

inline void check(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::_Exit(2);
}

/// Who a program is in the table. kind: libmp, peer, limit or means. waits: spins, sleeps or "-".
struct identity {
  const char* who;
  const char* kind;
  const char* waits;
};

/// One line per figure: case, who, kind, metric, value, unit, waits.
inline void emit(std::string_view case_name, const identity& me, const char* metric, double value, const char* unit) {
  std::printf("%.*s\t%s\t%s\t%s\t%.6g\t%s\t%s\n", static_cast<int>(case_name.size()), case_name.data(), me.who, me.kind,
              metric, value, unit, me.waits);
  std::fflush(stdout);
}

/// The median of samples, which are given away.
inline double median(std::vector<double> samples) {
  check(!samples.empty(), "median of nothing");
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

/// Median time in us of one call of f, from groups of `group` calls each (the clock costs 25 ns: a call of 0.1 us needs
/// a group), after `warm_up` calls, until `budget` is over.
template <class F>
double median_time(F&& f, int group, int warm_up, std::chrono::milliseconds budget) {
  for (int i = 0; i < warm_up; ++i) f();
  std::vector<double> samples;
  const auto end = clock::now() + budget;
  for (auto before = clock::now(); before < end || samples.size() < 5;) {
    for (int i = 0; i < group; ++i) f();
    const auto after = clock::now();
    samples.push_back(micros(after - before) / group);
    before = after;
  }
  return median(std::move(samples));
}

// Both sides of a stream need some time until they run on processors of their own.
inline constexpr std::chrono::milliseconds warm_up{150};
inline constexpr std::chrono::milliseconds window{400};

/// Calls of f per second in the calling process, which looks at the clock every `group` calls.
template <class F>
double rate(F&& f, int group) {
  const auto run = [&](std::chrono::milliseconds length) {
    const auto start = clock::now();
    double calls = 0;
    for (;;) {
      for (int i = 0; i < group; ++i) f();
      calls += group;
      const auto spent = clock::now() - start;
      if (spent >= length) return calls / seconds(spent);
    }
  };
  run(warm_up);
  return run(window);
}

/// 64 bytes that are written and read whole.
struct message {
  std::array<std::uint64_t, 8> words;
};
inline void fill(message& m, std::uint64_t seed) {
  for (std::size_t i = 0; i < m.words.size(); ++i) m.words[i] = seed + i;
}
inline void consume(const message& m) {
  std::uint64_t sum = 0;
  for (const auto w : m.words) sum += w;
  asm volatile("" : : "r"(sum) : "memory");
}

inline constexpr std::size_t large = std::size_t{1} << 20;  // 1 MiB: the size of the vectors that are streamed
inline void fill(void* to, std::size_t size, std::uint64_t seed) {
  std::memset(to, static_cast<int>(seed & 0x7f), size);
  asm volatile("" : : "r"(to) : "memory");
}
/// Reads every byte, fast enough (about 120 GB/s in cache) not to be what is measured.
[[gnu::noinline]] inline std::uint64_t sum_words(const std::uint64_t* p, std::size_t count) {
  std::array<std::uint64_t, 8> part{};
  for (std::size_t i = 0; i + 8 <= count; i += 8)
    for (std::size_t k = 0; k < 8; ++k) part[k] += p[i + k];
  std::uint64_t sum = 0;
  for (const auto s : part) sum += s;
  return sum;
}
inline void consume(const void* from, std::size_t size) {
  const auto sum = sum_words(static_cast<const std::uint64_t*>(from), size / sizeof(std::uint64_t));
  asm volatile("" : : "r"(sum) : "memory");
}

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
/// Keeps the processor for a while: think time that no scheduler can give to somebody else's sleep.
inline void think(std::chrono::microseconds length) {
  for (const auto end = clock::now() + length; clock::now() < end;) pause_cpu();
}
// Longer than anybody spins before it goes to sleep, so whoever waits for a thinker sleeps.
inline constexpr std::chrono::microseconds think_time{300};

/// A T in memory that later forks share.
template <class T>
T* shared() {
  void* p = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(p != MAP_FAILED, "mmap");
  return new (p) T();
}

/// A forked child that runs f, killed and reaped when this object goes.
class child {
public:
  template <class F>
  explicit child(F&& f) {
    std::fflush(stdout);
    pid_ = fork();
    check(pid_ >= 0, "fork");
    if (pid_ > 0) return;
    f();
    _exit(0);
  }
  child(child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  child& operator=(child&&) = delete;
  ~child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

private:
  pid_t pid_ = -1;
};

/// What each consumer of a many-to-many stream has got; read by a parent that sleeps meanwhile.
struct counters {
  struct alignas(128) counter {
    std::atomic<std::uint64_t> got{0};
    void add() { got.store(got.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
  };
  std::array<counter, 8> of;
  double sum() const {
    double all = 0;
    for (const auto& c : of) all += static_cast<double>(c.got.load(std::memory_order_relaxed));
    return all;
  }
};
inline double rate(const counters& c) {
  const auto sleep = [](std::chrono::milliseconds length) { usleep(static_cast<useconds_t>(length.count() * 1000)); };
  sleep(warm_up);
  const auto before = c.sum();
  const auto start = clock::now();
  sleep(window);
  const auto got = c.sum() - before;
  return got / seconds(clock::now() - start);
}

/// 1 GiB of touched small pages: what makes a fork expensive.
inline void grow_heap() {
  const std::size_t size = std::size_t{1} << 30;
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(p != MAP_FAILED, "mmap of 1 GiB");
  madvise(p, size, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < size; i += 4096) static_cast<volatile char*>(p)[i] = 1;
}

}  // namespace bench
