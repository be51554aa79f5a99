// A program of the library that tests start, starve, stop and kill. Its first argument says what it does; environment
// variables make it misbehave before mp::init. Never asserts: it answers by what it writes and by its exit code.

#include "victim.hpp"

#include "mp/process.hpp"
#include "mp/queue.hpp"
#include "mp/this_process.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace victim {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// In a child or fork server of this program, and only there: the first process has unset the variable.
void misbehave(const std::string& how) {
  if (how == "exit") ::_exit(33);
  if (how == "crash") ::raise(SIGKILL);
  if (how == "hang") ::pause();
  if (how == "write") static_cast<void>(!::write(3, "noise", 5));
  if (how == "complain") {
    std::fprintf(stderr, "no licence found\n");
    ::_exit(34);
  }
}
const bool early = (misbehave(variable("VICTIM_STATIC")), true);

mp::start_method method = mp::start_method::forkserver;

// Starts children without end: those that live, those that end, those with children of their own.
void family(int depth) {
  if (depth == 0) for_ever();
  std::vector<mp::process> living;
  // The first is in a put now and then: of small items, of a body, of a handle.
  mp::queue<std::string> words;
  mp::queue<mp::sender<std::string>> handles;
  if (depth == 3)
    mp::process(
        {.daemon = true},
        [](mp::receiver<std::string> in, mp::receiver<mp::sender<std::string>> more) {
          for (;;) {
            in.get();
            static_cast<void>(more.try_get());
          }
        },
        words.receiver(), handles.receiver())
        .start();
  for (int i = 0;; ++i) {
    for (int k = 0; depth == 3 && k < 100; ++k) {
      words.put(std::string(k % 10 == 0 ? 200'000 : 50, 'w'));
      if (k % 20 == 0) handles.put(words.sender());
    }
    mp::process p(
        {.daemon = true}, i % 3 == 0 ? nothing : +[] { for_ever(); });
    p.start();
    if (i % 3 == 0) p.join();
    if (i % 3 == 1 && depth > 1) mp::process({.daemon = true}, family, depth - 1).start();
    living.push_back(std::move(p));
    if (living.size() == 4) {
      for (auto& l : living) {
        l.kill();
        l.join();
      }
      living.clear();
    }
  }
}

// Starts a process and uses a queue without a system call that the library would like to have.
int without(const std::string& name) {
  refuse(name == "memfd_create"        ? SYS_memfd_create
         : name == "pidfd_open"        ? SYS_pidfd_open
         : name == "pidfd_send_signal" ? SYS_pidfd_send_signal
                                       : SYS_clone,
         EPERM);
  say_error([] {
    mp::process p(
        {.start_method = method}, [](int code) { ::_exit(code); }, 7);
    std::cout << p.start().join() << std::endl;
  });
  say_error([] {
    mp::queue<int> q;
    q.put(1);
    std::cout << "got " << q.get() << std::endl;
  });
  say_error([] {
    mp::process p({.start_method = method}, for_ever);
    p.start().kill();
    std::cout << p.join() << std::endl;
  });
  return 0;
}

int robbed() {
  refuse(SYS_ioctl, ENOTTY);  // the kernel's memory of a status cannot be asked
  ::signal(SIGCHLD, SIG_IGN);
  int wrong = 0, unknown = 0;
  for (int i = 0; i < 20; ++i) {
    mp::process p(
        {.start_method = method}, [](int code) { ::_exit(code); }, i + 1);
    const auto status = p.start().join();
    if (status.is_unknown())
      ++unknown;
    else if (status != mp::exit_status::exited(i + 1))
      ++wrong;
  }
  std::cout << "wrong " << wrong << " unknown " << unknown << std::endl;
  return wrong;
}

// Our own file is replaced by another program while we start children.
int replaced(const std::string& own, const std::string& other) {
  int good = 0;
  const auto start = [&](mp::start_method how) {
    mp::process p({.start_method = how}, [] { ::_exit(45); });
    try {
      if (p.start().join() == mp::exit_status::exited(45)) ++good;
    } catch (const mp::error& e) {
      std::cout << e.what() << std::endl;
    }
  };
  start(mp::start_method::spawn);
  std::filesystem::rename(other, own);
  start(mp::start_method::spawn);
  start(mp::start_method::forkserver);
  std::filesystem::remove(own);
  start(mp::start_method::spawn);
  mp::process nested([] {
    mp::process p({.start_method = mp::start_method::spawn}, [] { ::_exit(46); });
    ::_exit(p.start().join() == mp::exit_status::exited(46) ? 45 : 1);
  });
  if (nested.start().join() == mp::exit_status::exited(45)) ++good;
  std::cout << "good " << good << std::endl;
  return 0;
}

// Threads of ours hold every lock that a fork would copy.
int hammer(int starts) {
  std::atomic<bool> enough{false};
  std::vector<std::jthread> threads;
  threads.emplace_back([&] {
    while (!enough) delete[] new char[100];
  });
  threads.emplace_back([&] {
    while (!enough) {
      ::tzset();
      const std::time_t t = 0;
      std::tm broken;
      ::localtime_r(&t, &broken);
    }
  });
  threads.emplace_back([&] {
    while (!enough) ::setenv("VICTIM_HAMMER", "x", 1);
  });
  threads.emplace_back([&] {
    while (!enough)
      if (void* handle = ::dlopen("libm.so.6", RTLD_NOW)) ::dlclose(handle);
  });
  int good = 0;
  for (int i = 0; i < starts; ++i) {
    mp::process p({.start_method = method}, [] {
      std::vector<char> memory(1000);
      ::tzset();
      const std::time_t t = 0;
      std::tm broken;
      ::localtime_r(&t, &broken);
      ::setenv("VICTIM_CHILD", "y", 1);
      if (void* handle = ::dlopen("libm.so.6", RTLD_NOW)) ::dlclose(handle);
    });
    if (p.start().join_for(std::chrono::seconds(20)) == mp::exit_status::exited(0)) ++good;
  }
  enough = true;
  std::cout << "good " << good << std::endl;
  return good == starts ? 0 : 1;
}

// A preload function, as VICTIM_PRELOAD says.
int preloaded = 0;
void preload() {
  const std::string how = variable("VICTIM_PRELOAD");
  preloaded = 7;
  if (how == "throw") throw std::runtime_error("model.bin is missing");
  if (how == "crash") ::raise(SIGSEGV);
  if (how == "hang") for_ever();
  if (how == "thread") std::thread([] { for_ever(); }).detach();
}

int orderly_end(const std::string& how) {
  mp::process({.name = "keeper"}, [] {
    char byte;
    static_cast<void>(!::read(0, &byte, 1));
    std::cout << "keeper ended" << std::endl;
  }).start();
  mp::process({.daemon = true}, [] {
    struct sigaction said {};
    said.sa_handler = [](int) {
      static_cast<void>(!::write(1, "daemon was told\n", 16));
      ::_exit(0);
    };
    ::sigaction(SIGTERM, &said, nullptr);
    std::cout << "daemon runs" << std::endl;
    for_ever();
  }).start();
  mp::process({.daemon = true}, [] {
    ::signal(SIGTERM, SIG_IGN);
    std::cout << "deaf daemon runs" << std::endl;
    for_ever();
  }).start();
  std::cout << "started" << std::endl;
  if (how == "exit") std::exit(6);
  if (how == "this_process") mp::this_process::exit(6);
  return 6;
}

}  // namespace

void refuse(unsigned number, unsigned error) {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program{sizeof rules / sizeof *rules, rules};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

}  // namespace victim

int main(int argc, char** argv) {
  using namespace victim;
  const std::string what = argc > 1 ? argv[1] : "";
  const std::string third = argc > 2 ? argv[2] : "";
  if (what == "forgets-init") {
    say_error([] { mp::process(nothing).start(); });
    return 0;
  }
  misbehave(variable("VICTIM_MAIN"));
  mp::init_options how{.preload = preload};
  const std::string told = variable("VICTIM_INIT");
  if (told == "no crash handler") how.crash_handler = false;
  if (told == "on_unhandled")
    how.on_unhandled = [](std::exception_ptr problem) {
      try {
        std::rethrow_exception(problem);
      } catch (const std::exception& e) {
        std::cout << "unhandled: " << e.what() << std::endl;
      }
    };
  mp::init(argc, argv, how);
  if (!variable("VICTIM_NO_KERNEL_MEMORY").empty()) refuse(SYS_ioctl, ENOTTY);  // of a status: PIDFD_GET_INFO
  if (third == "spawn") method = mp::start_method::spawn;
  if (third == "fork") method = mp::start_method::fork;
  if (third == "fork_with_threads") method = mp::start_method::fork_with_threads;
  mp::set_start_method(method);

  if (what == "family") family(3);
  if (what == "kill-server") return kill_server(std::atoi(third.c_str()));
  if (what == "kill-server-often") return kill_server_often();
  if (what == "stop-server") return stop_server();
  if (what == "kill-waiting-child") return kill_waiting_child();
  if (what == "preload-beside") return preload_beside();
  if (what == "every-end") return every_end();
  if (what == "thief") return every_end_beside_a_thief();
  if (what == "changed-place") return changed_place(third);
  if (what == "unhandled") return unhandled();
  if (what == "crash") return crash();
  if (what == "robbed") return robbed();
  if (what == "replaced") return replaced(argv[2], argv[3]);
  if (what == "hammer") return hammer(method == mp::start_method::spawn ? 20 : 60);
  if (what == "orderly-end") return orderly_end(third);
  if (what == "misbehaving-child") {
    // The variable is for children only.
    ::setenv(argv[3], argv[4], 1);
    say_error([] {
      mp::process p({.err = mp::stdio::capture(), .start_timeout = std::chrono::milliseconds(1500)}, nothing);
      p.start().join();
    });
    return 0;
  }
  if (what == "preload") {
    mp::process p({.start_timeout = std::chrono::milliseconds(2000)}, [] { ::_exit(preloaded); });
    say_error([&] { std::cout << p.start().join() << std::endl; });
    return 0;
  }
  if (what == "fork-with-thread") {
    std::jthread other([](std::stop_token stop) {
      while (!stop.stop_requested()) std::this_thread::yield();
    });
    say_error([] { mp::process({.start_method = mp::start_method::fork}, nothing).start().join(); });
    return 0;
  }
  if (what == "starter-thread-ends") {
    mp::process p({.in = mp::stdio::pipe()}, [] {
      char byte;
      static_cast<void>(!::read(0, &byte, 1));
      ::_exit(47);
    });
    std::thread([&] { p.start(); }).join();
    mp::process q([] { ::_exit(48); });
    if (q.start().join() != mp::exit_status::exited(48) || !p.is_alive()) return 1;
    p.take_in().reset();
    return p.join() == mp::exit_status::exited(47) ? 0 : 2;
  }
  if (what == "without") return without(argv[3]);
  if (what == "no-proc") {
    say_error([] { mp::process({.start_method = method}, nothing).start().join(); });
    return 0;
  }
  std::cerr << "no such mode: " << what << '\n';
  return 99;
}
