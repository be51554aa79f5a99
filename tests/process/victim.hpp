#pragma once
// What the parts of the victim share. A victim answers by what it writes and by its exit code.

#include "mp/error.hpp"

#include <sys/types.h>
#include <unistd.h>
#include <iostream>
#include <string>

namespace victim {

[[noreturn]] inline void for_ever() {
  for (;;) ::pause();
}
inline void nothing() {}

// What a start_failed or other error says, as one line.
template <class F>
void say_error(F f) {
  try {
    f();
    std::cout << "no error" << std::endl;
  } catch (const mp::error& e) {
    std::cout << e.code().message() << " | " << e.what() << std::endl;
  }
}

// Each does something to the fork server while processes are started. Result: an exit code.
int kill_server(int signal);
int kill_server_often();
int stop_server();
int kill_waiting_child();
int preload_beside();
/// Our fork server; 0: there is none.
pid_t fork_server();

/// A system call fails from now on, here and in all that is started from here.
void refuse(unsigned number, unsigned error);

// Each asks how children ended. Result: how many statuses were wrong.
int every_end();
int every_end_beside_a_thief();
/// Changes `what` of this process after its first start, and looks where children run then. 60: not possible here.
int changed_place(const std::string& what);
/// A child crashes; what is known of it is told.
int crash();
/// A callback on the I/O thread throws.
int unhandled();

}  // namespace victim
