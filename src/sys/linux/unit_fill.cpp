// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/unit_fill.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <dolmen/assert.hpp>

namespace dolmen::sys {
namespace {

constexpr std::size_t kPageBytes = kUnitBytes / kPagesPerUnit;

/// While a unit is changing, its thread must not run a signal handler that may touch the unit.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &former_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &former_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t former_;
};

Result<void> refused(const char* what) noexcept {
  return fail(errno == ENOMEM ? Errc::out_of_memory : Errc::io_error, what,
              static_cast<std::uint64_t>(errno));
}

}  // namespace

void UnitFiller::open(Way way) noexcept {
  close();
  if (way == Way::alias_if_possible) {
    alias_.store(::open("/proc/self/mem", O_RDWR | O_CLOEXEC), std::memory_order_release);
  }
}

void UnitFiller::close() noexcept {
  const int fd = alias_.exchange(-1, std::memory_order_acq_rel);
  if (fd >= 0) ::close(fd);
}

Result<void> UnitFiller::fill(UnitMap& units, std::size_t index, std::byte* address,
                              base::Bytes unit) noexcept {
  DOLMEN_ASSERT_CMP(unit.size(), ==, kUnitBytes);
  const SignalsBlocked blocked;
  while (!units.begin_change(index, UnitState::absent)) {
    switch (units.state(index)) {
      case UnitState::present:
        return {};
      case UnitState::plain:
        return fail(Errc::invalid_argument, "fill outside a demand range",
                    reinterpret_cast<std::uintptr_t>(address));
      default:
        ::sched_yield();  // another thread is about to finish this unit
    }
  }
  Result<void> result = put(address, unit);
  if (result && units.any_write_protected(index)) result = close_pages(units, index, address);
  units.end_change(index, result ? UnitState::present : UnitState::absent);
  return result;
}

Result<void> UnitFiller::put(std::byte* address, base::Bytes unit) noexcept {
  const int alias = alias_.load(std::memory_order_acquire);
  std::size_t done = 0;
  while (alias >= 0 && done < unit.size()) {
    const auto at = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(address) + done);
    const ssize_t count = ::pwrite(alias, unit.data() + done, unit.size() - done, at);
    if (count <= 0) break;  // not allowed here: the other way
    done += static_cast<std::size_t>(count);
  }
  if (done < unit.size()) return move_over(address, unit);
  if (::mprotect(address, unit.size(), PROT_READ | PROT_WRITE) != 0) return refused("mprotect");
  return {};
}

/// Pages that were closed to stores while they were absent.
Result<void> UnitFiller::close_pages(const UnitMap& units, std::size_t index,
                                     std::byte* address) noexcept {
  for (std::size_t page = 0; page < kPagesPerUnit;) {
    std::size_t end = page;
    while (end < kPagesPerUnit && units.is_write_protected(index * kPagesPerUnit + end)) ++end;
    if (end == page) {
      ++page;
      continue;
    }
    if (::mprotect(address + page * kPageBytes, (end - page) * kPageBytes, PROT_READ) != 0) {
      return refused("mprotect");
    }
    page = end;
  }
  return {};
}

Result<void> UnitFiller::move_over(std::byte* address, base::Bytes unit) noexcept {
  void* const fresh = ::mmap(nullptr, unit.size(), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fresh == MAP_FAILED) return refused("mmap");
  std::memcpy(fresh, unit.data(), unit.size());
  (void)::madvise(fresh, unit.size(), MADV_DONTFORK);
  (void)::madvise(fresh, unit.size(), MADV_DONTDUMP);
  if (::mremap(fresh, unit.size(), unit.size(), MREMAP_MAYMOVE | MREMAP_FIXED, address) ==
      MAP_FAILED) {
    Result<void> result = refused("mremap");
    ::munmap(fresh, unit.size());
    return result;
  }
  return {};
}

bool UnitFiller::drop(UnitMap& units, std::size_t index, std::byte* address) noexcept {
  const SignalsBlocked blocked;
  while (!units.begin_change(index, UnitState::present)) {
    if (units.state(index) != UnitState::changing) return true;
    ::sched_yield();
  }
  const bool dropped = ::mprotect(address, kUnitBytes, PROT_NONE) == 0 &&
                       ::madvise(address, kUnitBytes, MADV_DONTNEED) == 0;
  units.end_change(index, dropped ? UnitState::absent : UnitState::present);
  return dropped;
}

}  // namespace dolmen::sys
