// 07_supervisor: processes that crash are started again, and stopped in order.
//
// The service crashes on every third question. Its supervisor starts it again; its address stays the same, so who asks
// needs to know nothing of that but "ask again". In the end everything is stopped from right to left, with an account.

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <iostream>
#include <mp/mp.hpp>
#include <mutex>
#include <string>

using namespace std::chrono_literals;

void squares() {
  for (int asked = 1;; ++asked)
    mp::receive([&](int n) {
      if (asked == 3) std::raise(SIGSEGV);
      return n * n;
    });
}

void clean_up(std::stop_token stop, std::string what) {
  std::mutex mutex;
  std::condition_variable_any asked;
  std::unique_lock lock(mutex);
  asked.wait(lock, stop, [] { return false; });
  std::cout << what << " is tidied up\n" << std::flush;
}

int ask(const mp::address& service, int n) {
  for (;;) try {
      return service.request<int>(10s, n).get();
    } catch (const mp::error& e) {
      if (e.code() != mp::errc::peer_died) throw;  // it is being started again
    }
}

int main(int argc, char** argv) {
  mp::init(argc, argv);
  mp::shutdown_on({SIGINT, SIGTERM});  // Ctrl-C ends all of this in order, too

  mp::supervisor top({.restart = {.intensity = 10, .period = 60s}},
                     {{.name = "cache", .start = {clean_up, "the cache"}},
                      {.name = "squares", .start = squares},
                      {.name = "log", .start = {clean_up, "the log"}}});
  const mp::address service = top.address("squares");
  for (int n = 1; n <= 6; ++n) std::cout << n << " squared is " << ask(service, n) << '\n' << std::flush;

  for (const mp::child_info& child : top.which_children()) {
    std::cout << child.name << ": " << child.restarts << " restarts";
    if (child.last)
      std::cout << ", the last one because it " << (child.last->is_signaled() ? "was " : "") << *child.last;
    std::cout << '\n' << std::flush;
  }
  const mp::verdict v = top.stop();
  for (const mp::departure& d : v.ended) std::cout << d.name << ' ' << d.status << '\n';
  std::cout << (v.clean() ? "all ended in order" : "some had to be killed") << '\n';
}
