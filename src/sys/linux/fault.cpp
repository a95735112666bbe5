// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/fault.hpp"

#include <array>
#include <cerrno>

#include <sched.h>
#include <signal.h>
#include <ucontext.h>

#include <dolmen/assert.hpp>

namespace dolmen::sys {
namespace {

constinit FaultState state;

struct Hook {
  int signal;
  int users = 0;
  bool installed = false;
  struct sigaction former{};
};
constinit std::array<Hook, 2> hooks{Hook{.signal = SIGSEGV}, Hook{.signal = SIGBUS}};

Hook& hook_of(int signal) noexcept { return hooks[signal == SIGBUS ? 1 : 0]; }

/// Whether the faulting access was a store; true where the machine does not say.
bool is_store([[maybe_unused]] const void* context) noexcept {
#if defined(__x86_64__)
  const auto* const frame = static_cast<const ucontext_t*>(context);
  return (frame->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
  return true;
#endif
}

bool resolve_missing(std::uintptr_t address) noexcept {
  if (std::byte* const page = state.trial_page.load(std::memory_order_acquire);
      page != nullptr && address - reinterpret_cast<std::uintptr_t>(page) < kPageBytes) {
    alignas(kPageBytes) static constexpr std::array<std::byte, kPageBytes> kTrialContents{
        std::byte{0xD0}};
    return state.trial->copy(page, kTrialContents).has_value();
  }
  if (state.driver.load(std::memory_order_acquire) != FaultDriver::userfaultfd) return false;
  const Reservation* const reservation = state.reservations.find(address);
  if (reservation == nullptr || !reservation->demanded.load(std::memory_order_acquire)) {
    return false;
  }
  FaultHandler* const handler = state.handler.load(std::memory_order_acquire);
  return handler != nullptr && handler->on_fault(address);
}

bool resolve_protection(std::uintptr_t address, const void* context) noexcept {
  if (state.driver.load(std::memory_order_acquire) != FaultDriver::protection) return false;
  const Reservation* const reservation = state.reservations.find(address);
  if (reservation == nullptr) return false;
  const UnitMap* const units = reservation->units.load(std::memory_order_acquire);
  if (units == nullptr) return false;
  switch (units->state(reservation->unit_of(address))) {
    case UnitState::absent: {
      FaultHandler* const handler = state.handler.load(std::memory_order_acquire);
      return handler != nullptr && handler->on_fault(address);
    }
    case UnitState::changing:
      ::sched_yield();
      return true;  // the access is tried again
    case UnitState::present:
      // Filled by another thread between the fault and here, unless it is a stray store.
      return !(units->is_write_protected(reservation->page_of(address)) && is_store(context));
    default:
      return false;
  }
}

bool resolve_store(std::uintptr_t address, const void* context) noexcept {
  StoreHandler* const handler = state.store_handler.load(std::memory_order_acquire);
  if (handler == nullptr || !is_store(context) || state.reservations.find(address) == nullptr) {
    return false;
  }
  // It looks at object memory, which may be absent. Thread sanitizer blocks every signal here.
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGSEGV);
  sigaddset(&faults, SIGBUS);
  ::pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);
  return handler->on_store(address);
}

void pass_on(int signal, siginfo_t* info, void* context) noexcept {
  const struct sigaction& former = hook_of(signal).former;
  if ((former.sa_flags & SA_SIGINFO) != 0) {
    former.sa_sigaction(signal, info, context);
    return;
  }
  const bool sent = info->si_code <= 0;  // by kill() and the like: nothing will fault again
  if (former.sa_handler == SIG_IGN && sent) return;
  if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN) {
    former.sa_handler(signal);
    return;
  }
  // The default action, with the right signal and place: the access is made again without a
  // handler.
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
  if (sent) ::raise(signal);
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const bool ours = info->si_code > 0 && !state.forked.load(std::memory_order_relaxed);
  const bool resolved = ours && (signal == SIGBUS ? resolve_missing(address)
                                                  : resolve_protection(address, context) ||
                                                        resolve_store(address, context));
  if (!resolved) pass_on(signal, info, context);
  errno = saved_errno;
}

}  // namespace

FaultState& fault_state() noexcept { return state; }

int fault_signal(FaultDriver driver) noexcept {
  return driver == FaultDriver::userfaultfd ? SIGBUS : SIGSEGV;
}

Result<void> hook_signal(int signal) noexcept {
  Hook& hook = hook_of(signal);
  if (hook.users++ > 0 || hook.installed) return {};
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  // The former action is known before the handler can run.
  if (::sigaction(signal, nullptr, &hook.former) != 0 ||
      ::sigaction(signal, &action, nullptr) != 0) {
    --hook.users;
    return fail(Errc::unsupported, "sigaction", static_cast<std::uint64_t>(errno));
  }
  hook.installed = true;
  return {};
}

void unhook_signal(int signal) noexcept {
  Hook& hook = hook_of(signal);
  DOLMEN_ASSERT_CMP(hook.users, >, 0);
  if (--hook.users > 0) return;
  struct sigaction current{};
  ::sigaction(signal, nullptr, &current);
  if ((current.sa_flags & SA_SIGINFO) == 0 || current.sa_sigaction != on_signal) return;
  ::sigaction(signal, &hook.former, nullptr);
  hook.installed = false;
}

}  // namespace dolmen::sys
