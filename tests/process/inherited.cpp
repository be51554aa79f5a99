// What a forked child must not inherit: what the library holds for others. FAULTS 35; decision 0007.

#include "process_support.hpp"

#include "mp/queue.hpp"
#include "mp/task.hpp"

#include <sys/wait.h>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <system_error>

using namespace mp_test;

TEST_CASE("process: what waits for one child's start is not inherited by another that is forked before", "[process]") {
  const auto method = any_method();
  const fd_ledger ledger;
  {
    mp::queue<int> q;
    const auto put_three = [](mp::sender<int> out) {
      for (int i = 1; i <= 3; ++i) out.put(i);
    };
    const auto sum_up = [](mp::receiver<int> in) {
      int sum = 0;
      for (const int i : in) sum += i;
      mp::this_process::exit(sum);
    };
    mp::process writer({.start_method = method}, put_three, q.sender());
    mp::process reader({.start_method = method}, sum_up, q.receiver());
    q.close();
    reader.start();
    writer.start();
    CHECK(writer.join_for(long_patience) == mp::exit_status::exited(0));
    const auto end = reader.join_for(patience);
    CHECK(end == mp::exit_status::exited(6));
    if (!end) reader.kill();
    reader.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: what a kept task holds is not inherited by a child that is forked", "[process]") {
  const auto method = any_method();
  const fd_ledger ledger;
  {
    mp::queue<int> q;
    std::optional<mp::task> kept(
        std::in_place, [](mp::sender<int>) {}, q.sender());
    mp::process reader(
        {.start_method = method}, [](mp::receiver<int> in) { return in.get_for(long_patience); }, q.receiver());
    q.close();
    reader.start();
    CHECK(reader.is_alive());
    kept.reset();  // the last that could put
    const auto end = reader.join_for(patience);
    CHECK(end == mp::exit_status::exited(1));
    CHECK_THAT(reader.failure().value_or(mp::failure{}).what, contains("nobody is left who could put"));
    if (!end) reader.kill();
    reader.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: our end of one child's stream is not inherited by another that is forked later", "[process]") {
  const auto method = any_method();
  const fd_ledger ledger;
  {
    mp::process reads({.start_method = method, .in = mp::stdio::pipe()}, [] {
      char block[16];
      while (::read(0, block, sizeof block) > 0) {
      }
    });
    reads.start();
    mp::process stays({.start_method = method}, wait_for_ever);
    stays.start();
    reads.take_in();
    const auto end = reads.join_for(patience);
    CHECK(end == mp::exit_status::exited(0));
    stays.kill();
    stays.join();
    reads.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("process: what reads a captured stream is not inherited by a copy that fork makes", "[process]") {
  const auto pipes = [] {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;  // the iterator's own
      const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.starts_with("pipe:")) all.insert(target);
    }
    return all;
  };
  {
    mp::process first(do_nothing);  // what all have in common is there then
    first.start();
    first.join();
  }
  const fd_ledger ledger;
  {
    // What others have left may still be closed by the library's own thread: only the new ones count.
    const auto before = pipes();
    mp::process captured({.err = mp::stdio::capture()}, wait_for_ever);
    captured.start();
    std::set<std::string> fresh = pipes();
    for (const auto& old : before) fresh.erase(old);
    CHECK_FALSE(fresh.empty());
    forked_child copy([&] {
      for (const auto& here : pipes())
        if (fresh.contains(here)) return 1;
      return 7;
    });
    const auto status = copy.wait();
    REQUIRE(status);
    CHECK(WEXITSTATUS(*status) == 7);
    captured.kill();
    captured.join();
  }
  CHECK_CLEAN(ledger);
}

TEST_CASE("task: one that holds handles is of no use in a copy that fork made", "[task]") {
  mp::queue<int> q;
  const mp::task holds([](mp::sender<int>) {}, q.sender()), holds_none(do_nothing);
  forked_child copy([&] {
    try {
      mp::process p(holds);
    } catch (const mp::error& e) {
      mp::process fine(holds_none);
      return e.code() == mp::errc::wrong_process ? 7 : 1;
    }
    return 2;
  });
  const auto status = copy.wait();
  REQUIRE(status);
  CHECK(WEXITSTATUS(*status) == 7);
}
