#pragma once
// What the parts of the victim share. A victim answers by what it writes and by its exit code.

#include "mp/error.hpp"

#include <unistd.h>
#include <iostream>

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

}  // namespace victim
