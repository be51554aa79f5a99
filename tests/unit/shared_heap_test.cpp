// The memory in which large arguments lie: no byte is given out twice, what is free is used again, readers see what was
// written, and a copy made by fork does nothing to its original.

#include "mp/detail/shared_heap.hpp"

#include "mp/error.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/fd_ledger.hpp"
#include "support/sanitizers.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

using mp::detail::release_piece;
using mp::detail::shared_heap;
using mp::detail::shared_piece;
using mp::detail::shared_windows;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::uint64_t heap_at = 128 * 1024, heap_bytes = std::uint64_t{1} << 33;
mp::unique_fd memory() { return mp::detail::shared_block::make("mp:test", heap_at + heap_bytes); }
std::size_t held(const mp::unique_fd& fd) {
  struct stat info {};
  ::fstat(fd.get(), &info);
  return static_cast<std::size_t>(info.st_blocks) * 512;
}
void fill(const shared_piece& p, int with) { std::memset(p.at, with, p.bytes); }
bool is_full_of(std::span<const std::byte> bytes, int what) {
  return std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == static_cast<std::byte>(what); });
}

}  // namespace

TEST_CASE("shared heap: pieces of any size lie apart, and are used again with their pages", "[shared_heap]") {
  const auto fd = memory();
  shared_heap heap(fd, heap_at, heap_bytes);
  std::mt19937 random(7);
  struct taken {
    shared_piece* piece;
    int with;
  };
  std::vector<taken> all;
  for (int round = 0; round < 200; ++round) {
    if (!all.empty() && random() % 3 == 0) {
      const std::size_t i = random() % all.size();
      CHECK(is_full_of({all[i].piece->at, all[i].piece->bytes}, all[i].with));
      release_piece(all[i].piece);
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (all.size() > 8) continue;
    const std::size_t wanted = 1 + random() % (3 * mib);
    shared_piece* const p = heap.acquire(wanted);
    REQUIRE(p);
    CHECK(p->bytes >= wanted);
    CHECK(p->offset >= heap_at);
    for (const auto& other : all)
      CHECK((p->offset + p->bytes <= other.piece->offset || other.piece->offset + other.piece->bytes <= p->offset));
    fill(*p, round);
    all.push_back({p, round});
  }
  for (const auto& t : all) {
    CHECK(is_full_of({t.piece->at, t.piece->bytes}, t.with & 0xff));
    release_piece(t.piece);
  }
  // The last one back is the first one out.
  shared_piece* const a = heap.acquire(mib);
  release_piece(a);
  CHECK(heap.acquire(mib - 5) == a);
}

TEST_CASE("shared heap: 64 MiB of free pieces keep their pages when it is trimmed, none when it is closed",
          "[shared_heap]") {
  const auto fd = memory();
  shared_heap heap(fd, heap_at, heap_bytes);
  std::vector<shared_piece*> all;
  for (int i = 0; i < 24; ++i) all.push_back(heap.acquire(8 * mib));
  CHECK(held(fd) >= 24 * 8 * mib);
  for (auto* p : all) release_piece(p);
  heap.trim();
  CHECK(held(fd) <= 64 * mib);
  // What has lost its pages gets new ones.
  for (auto& p : all) {
    p = heap.acquire(8 * mib);
    REQUIRE(p);
    fill(*p, 1);
  }
  for (auto* p : all) release_piece(p);
  heap.trim();
  CHECK(held(fd) <= 64 * mib);
  CHECK(held(fd) > 48 * mib);
  heap.close();
  heap.trim();
  CHECK(held(fd) == 0);
}

TEST_CASE("shared heap: what cannot be mapped leaves no pages reserved", "[shared_heap]") {
  if (mp_test::address_sanitizer || mp_test::thread_sanitizer) MP_SKIP("sanitizers reserve terabytes of address space");
  const auto fd = memory();
  shared_heap heap(fd, heap_at, heap_bytes);
  mp_test::forked_child limited([&] {
    shared_heap own(fd, heap_at, heap_bytes);
    const rlimit few{256 * mib, 256 * mib};
    ::setrlimit(RLIMIT_AS, &few);
    for (const std::size_t size : {300 * mib, 500 * mib, 1000 * mib})
      if (own.acquire(size)) return 1;
    shared_piece* const small = own.acquire(mib);
    if (!small) return 2;
    release_piece(small);
    return 0;
  });
  CHECK(limited.wait() == 0);
  CHECK(held(fd) <= 2 * mib);
}

TEST_CASE("shared heap: a window brings no pages back that the owner has given up", "[shared_heap]") {
  const auto fd = memory();
  shared_heap heap(fd, heap_at, heap_bytes);
  shared_piece* const p = heap.acquire(8 * mib);
  REQUIRE(p);
  release_piece(p);
  heap.close();
  heap.trim();
  shared_windows windows(fd, 0);
  CHECK(windows.look(p->offset, 8 * mib).size() == 8 * mib);
  CHECK(held(fd) == 0);
}

TEST_CASE("shared heap: what there is no room for is refused, and costs nothing", "[shared_heap]") {
  const auto fd = memory();
  shared_heap heap(fd, heap_at, 4 * mib);
  CHECK_FALSE(heap.acquire(8 * mib));
  shared_piece* const p = heap.acquire(4 * mib);
  REQUIRE(p);
  CHECK_FALSE(heap.acquire(1));
  release_piece(p);
  CHECK(heap.acquire(4 * mib) == p);
  CHECK_FALSE(heap.acquire(std::size_t{1} << 40));
}

TEST_CASE("shared heap: readers see what was written, in windows that are kept open up to a bound", "[shared_heap]") {
  const auto fd = memory();
  shared_heap heap(fd, heap_at, heap_bytes);
  std::vector<shared_piece*> all;
  for (unsigned i = 0; i < 6; ++i) {
    all.push_back(heap.acquire(mib * (1 + i % 2)));
    fill(*all.back(), static_cast<int>(i));
  }
  const mp_test::fd_ledger ledger;
  for (const std::size_t most : {std::size_t{0}, 3 * mib, 64 * mib}) {
    shared_windows windows(fd, most);
    for (const int i : {0, 1, 2, 1, 3, 4, 5, 5, 0, 2})
      for (const std::size_t bytes : {std::size_t{1000}, mib}) {  // a window that is too small is made anew
        const auto seen = windows.look(all[static_cast<std::size_t>(i)]->offset, bytes);
        CHECK(seen.size() == bytes);
        CHECK(is_full_of(seen, i));
        if (most == 0) windows.close();
      }
    fill(*all[0], 77);  // and later what is written later
    CHECK(is_full_of(windows.look(all[0]->offset, mib), 77));
    fill(*all[0], 0);
    CHECK_THROWS_AS(windows.look(heap_at + heap_bytes, mib), mp::error);
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("shared heap: a copy made by fork gets nothing and frees nothing", "[shared_heap]") {
  const auto fd = memory();
  shared_heap heap(fd, heap_at, heap_bytes);
  shared_piece* const p = heap.acquire(80 * mib);  // more than is kept when it is free
  REQUIRE(p);
  fill(*p, 3);
  mp_test::forked_child copy([&] {
    release_piece(p);
    heap.close();
    heap.trim();
    try {
      heap.check_process("a pool");
      return 1;
    } catch (const mp::error& e) {
      if (e.code() != mp::errc::wrong_process) return 2;
    }
    return heap.acquire(mib) ? 3 : 0;
  });
  CHECK(copy.wait() == 0);
  CHECK(is_full_of({p->at, p->bytes}, 3));
}
