#pragma once
// operator new that fails when told to. A program that has failing_new.cpp among its sources has it.

namespace mp_test {

/// The allocation after `n` more throws std::bad_alloc, on any thread but this one; then all succeed again.
/// Below 0: none throws.
void fail_allocation(long n) noexcept;
/// Has one thrown since the last call of fail_allocation with 0 or more?
bool has_failed_allocation() noexcept;

}  // namespace mp_test
