// SPDX-License-Identifier: Apache-2.0
//
// The signal handler behind demand-filled memory and closed pages, and the process-wide state that
// it reads. It runs on the touching thread and its own stack (no alternate stack: a simulated
// thread may leave the handler by switching stacks), may fault again inside itself, keeps errno,
// and passes every fault that is not the arena's to the handler that was there before, or to the
// default action.
//
// Threads: the handler reads only atomics and what is constant while it is hooked; hook() and
// unhook() are called under the lock of sys::Memory.
#pragma once

#include <atomic>

#include "sys/linux/reservations.hpp"
#include "sys/linux/unit_fill.hpp"
#include "sys/linux/userfaultfd.hpp"
#include "sys/memory.hpp"

namespace dolmen::sys {

struct FaultState {
  std::atomic<FaultHandler*> handler{nullptr};
  std::atomic<FaultDriver> driver{FaultDriver::none};
  std::atomic<StoreHandler*> store_handler{nullptr};
  std::atomic<bool> forked{false};  // this process is a child: the arena is not here
  Reservations reservations;
  UserFaultFd userfaultfd;
  UnitFiller filler;

  // One page while best_driver() tries the mechanism on itself.
  std::atomic<std::byte*> trial_page{nullptr};
  UserFaultFd* trial = nullptr;
};

[[nodiscard]] FaultState& fault_state() noexcept;

/// The signal that absent memory raises under this driver.
[[nodiscard]] int fault_signal(FaultDriver driver) noexcept;

/// Puts the handler in front of the signal's current one; counts its users.
[[nodiscard]] Result<void> hook_signal(int signal) noexcept;
/// Gives the signal back with the last user, unless somebody has put a handler in front since.
void unhook_signal(int signal) noexcept;

}  // namespace dolmen::sys
