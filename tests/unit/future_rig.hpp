#pragma once
// Futures whose answers come from a promise of this process: no pool, no other process.

#include "mp/future.hpp"

#include <exception>
#include <stdexcept>

namespace mp_test {

using mp::detail::future_access;
using mp::detail::promise;

template <class R>
mp::future<R> future_of(const promise<R>& p) {
  return future_access::make<R>(p.state());
}
inline std::exception_ptr problem(const char* text) { return std::make_exception_ptr(std::runtime_error(text)); }

class cancellable final : public mp::detail::future_state<int> {
public:
  bool cancel() override {
    return set_error(std::make_exception_ptr(mp::error(mp::errc::cancelled, "stopped on request")));
  }
};

}  // namespace mp_test
