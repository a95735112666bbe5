// SPDX-License-Identifier: Apache-2.0
#include "sys/memory.hpp"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <dolmen/assert.hpp>

#include "base/mutex.hpp"
#include "sys/linux/fault.hpp"
#include "sys/linux/parts.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {
namespace {

constexpr int kReserveFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

std::uintptr_t number_of(const std::byte* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address);
}

bool is_aligned(const std::byte* address, std::size_t bytes, std::size_t unit) noexcept {
  return number_of(address) % unit == 0 && bytes % unit == 0;
}

/// `bytes` of inaccessible address space at a multiple of `alignment`, or null with errno.
std::byte* map_aligned(std::size_t bytes, std::size_t alignment) noexcept {
  const std::size_t spare = alignment - kPageBytes;
  if (void* const mapped = ::mmap(nullptr, bytes + spare, PROT_NONE, kReserveFlags, -1, 0);
      mapped != MAP_FAILED) {
    auto* const start = static_cast<std::byte*>(mapped);
    const std::size_t before = (alignment - number_of(start) % alignment) % alignment;
    if (before > 0) ::munmap(start, before);
    if (spare > before) ::munmap(start + before + bytes, spare - before);
    return start + before;
  }
  // No room for the detour (sanitizers, odd layouts): try the aligned places themselves.
  const int error = errno;
  // From the top: thread sanitizer allows the highest 1.5 TiB, and ends the process for a place
  // below.
  constexpr std::uintptr_t kUserEnd = std::uintptr_t{1} << 47;
  const std::size_t step = std::max(alignment, std::size_t{1} << 39);
  for (std::uintptr_t place = kUserEnd - step; place > 0; place -= step) {
    if (kUserEnd - place <= bytes) continue;
    void* const wanted = reinterpret_cast<void*>(place);
    void* const mapped =
        ::mmap(wanted, bytes, PROT_NONE, kReserveFlags | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped == wanted) return static_cast<std::byte*>(mapped);
    if (mapped != MAP_FAILED) ::munmap(mapped, bytes);
  }
  errno = error;
  return nullptr;
}

class LinuxMemory final : public Memory {
 public:
  LinuxMemory() { ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }

  Result<std::byte*> reserve(std::size_t bytes, std::size_t alignment) override {
    if (bytes == 0 || bytes % kPageBytes != 0 || alignment < kPageBytes ||
        (alignment & (alignment - 1)) != 0) {
      return fail(Errc::invalid_argument, "reserve", bytes);
    }
    std::byte* const address = map_aligned(bytes, alignment);
    if (address == nullptr) {
      return fail(Errc::out_of_memory,
                  "address space for the arena (see `ulimit -v` and vm.overcommit_memory)",
                  static_cast<std::uint64_t>(errno));
    }
    (void)::madvise(address, bytes, MADV_DONTFORK);
    (void)::madvise(address, bytes, MADV_DONTDUMP);
    (void)state_.reservations.add(number_of(address), bytes);
    return address;
  }

  void release(std::byte* address, std::size_t bytes) noexcept override {
    state_.reservations.remove(number_of(address));
    ::munmap(address, bytes);
  }

  Result<void> activate(std::byte* address, std::size_t bytes) override {
    if (!is_aligned(address, bytes, kPageBytes)) {
      return fail(Errc::invalid_argument, "activate", bytes);
    }
    Reservation* const reservation = state_.reservations.find(number_of(address));
    if (reservation != nullptr && reservation->demanded.load(std::memory_order_acquire)) {
      if (UnitMap* const units = reservation->units.load(std::memory_order_acquire)) {
        if (!is_aligned(address, bytes, kUnitBytes)) {
          return fail(Errc::invalid_argument, "activate in a demand range", bytes);
        }
        const std::size_t first = reservation->unit_of(number_of(address));
        units->set_range(first, first + bytes / kUnitBytes, UnitState::plain);
      } else {
        state_.userfaultfd.unregister(address, bytes);
      }
    }
    return set_access(address, bytes, PROT_READ | PROT_WRITE);
  }

  void discard(std::byte* address, std::size_t bytes) noexcept override {
    Reservation* const reservation = state_.reservations.find(number_of(address));
    UnitMap* const units =
        reservation != nullptr ? reservation->units.load(std::memory_order_acquire) : nullptr;
    if (units == nullptr) {
      // In a userfaultfd range this makes the pages missing again.
      (void)::madvise(address, bytes, MADV_DONTNEED);
      return;
    }
    for_each_unit(*reservation, address, bytes,
                  [&](std::size_t unit, std::byte* at, std::size_t part) {
                    const UnitState state = units->state(unit);
                    if (state == UnitState::plain) {
                      (void)::madvise(at, part, MADV_DONTNEED);
                    } else if (state != UnitState::absent) {
                      DOLMEN_ASSERT_CMP(part, ==, kUnitBytes);
                      (void)UnitFiller::drop(*units, unit,
                                             at);  // refused: it stays present, as without discard
                    }
                  });
  }

  void advise_huge(std::byte* address, std::size_t bytes) noexcept override {
    (void)::madvise(address, bytes, MADV_HUGEPAGE);
  }

  Result<void> protect(std::byte* address, std::size_t bytes, bool writable) override {
    const int access = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    Reservation* const reservation = state_.reservations.find(number_of(address));
    UnitMap* const units =
        reservation != nullptr ? reservation->units.load(std::memory_order_acquire) : nullptr;
    if (units == nullptr) return set_access(address, bytes, access);
    // Absent units must stay inaccessible, and the handler must know a stray store from an absent
    // page.
    Result<void> result;
    for_each_unit(*reservation, address, bytes,
                  [&](std::size_t unit, std::byte* at, std::size_t part) {
                    const UnitState state = units->state(unit);
                    const std::size_t first = reservation->page_of(number_of(at));
                    for (std::size_t page = first;
                         state != UnitState::plain && page < first + part / kPageBytes; ++page) {
                      units->set_write_protected(page, !writable);
                    }
                    if (state != UnitState::plain && state != UnitState::present) return;
                    if (auto changed = set_access(at, part, access); !changed) result = changed;
                  });
    return result;
  }

  Result<void> install_store_handler(StoreHandler* handler) override {
    const base::Lock lock(mutex_);
    const bool installed = state_.store_handler.load(std::memory_order_acquire) != nullptr;
    DOLMEN_ASSERT(handler == nullptr || !installed);
    state_.forked.store(false, std::memory_order_relaxed);
    if (handler == nullptr && installed) unhook_signal(SIGSEGV);
    if (handler != nullptr) DOLMEN_CHECK(hook_signal(SIGSEGV));
    state_.store_handler.store(handler, std::memory_order_release);
    return {};
  }

  FaultDriver best_driver() override {
    const base::Lock lock(mutex_);
    if (!tried_) {
      best_ = userfaultfd_works() ? FaultDriver::userfaultfd : FaultDriver::protection;
      tried_ = true;
    }
    return best_;
  }

  std::size_t fault_unit_bytes(FaultDriver driver) const noexcept override {
    return driver == FaultDriver::protection ? kUnitBytes : kPageBytes;
  }

  Result<void> install_fault_handler(FaultDriver driver, FaultHandler* handler) override {
    const base::Lock lock(mutex_);
    const FaultDriver former = state_.driver.load(std::memory_order_acquire);
    DOLMEN_ASSERT((driver == FaultDriver::none) == (handler == nullptr));
    DOLMEN_ASSERT(former == FaultDriver::none || driver == FaultDriver::none);
    state_.forked.store(false, std::memory_order_relaxed);
    if (driver == FaultDriver::none) {
      DOLMEN_ASSERT(state_.reservations.idle());
      if (former != FaultDriver::none) unhook_signal(fault_signal(former));
      state_.driver.store(FaultDriver::none, std::memory_order_release);
      state_.handler.store(nullptr, std::memory_order_release);
      state_.userfaultfd.close();
      state_.filler.close();
      return {};
    }
    if (driver == FaultDriver::userfaultfd) DOLMEN_CHECK(state_.userfaultfd.open());
    if (driver == FaultDriver::protection) state_.filler.open();
    if (auto hooked = hook_signal(fault_signal(driver)); !hooked) {
      state_.userfaultfd.close();
      state_.filler.close();
      return hooked;
    }
    state_.handler.store(handler, std::memory_order_release);
    state_.driver.store(driver, std::memory_order_release);
    return {};
  }

  Result<void> demand(std::byte* address, std::size_t bytes) override {
    const FaultDriver driver = state_.driver.load(std::memory_order_acquire);
    if (driver == FaultDriver::none) return fail(Errc::unsupported, "demand without a handler");
    if (!is_aligned(address, bytes, fault_unit_bytes(driver))) {
      return fail(Errc::invalid_argument, "demand", bytes);
    }
    Reservation* const reservation = state_.reservations.find(number_of(address));
    if (reservation == nullptr) return fail(Errc::limit, "reservations with demand ranges");
    if (driver == FaultDriver::protection) {
      DOLMEN_TRY(UnitMap* const units, units_of(*reservation));
      DOLMEN_CHECK(set_access(address, bytes, PROT_NONE));
      (void)::madvise(address, bytes, MADV_DONTNEED);
      const std::size_t first = reservation->unit_of(number_of(address));
      units->set_range(first, first + bytes / kUnitBytes, UnitState::absent);
      return {};
    }
    reservation->demanded.store(true, std::memory_order_release);
    (void)::madvise(address, bytes, MADV_DONTNEED);
    DOLMEN_CHECK(set_access(address, bytes, PROT_READ | PROT_WRITE));
    return state_.userfaultfd.register_missing(address, bytes);
  }

  Result<void> fill(std::byte* address, base::Bytes bytes) noexcept override {
    if (state_.forked.load(std::memory_order_relaxed)) return fail(Errc::forked);
    const FaultDriver driver = state_.driver.load(std::memory_order_acquire);
    if (!is_aligned(address, bytes.size(), fault_unit_bytes(driver))) {
      return fail(Errc::invalid_argument, "fill of a part of a unit", bytes.size());
    }
    if (driver == FaultDriver::userfaultfd) return state_.userfaultfd.copy(address, bytes);
    Reservation* const reservation = state_.reservations.find(number_of(address));
    UnitMap* const units =
        reservation != nullptr ? reservation->units.load(std::memory_order_acquire) : nullptr;
    if (units == nullptr) return fail(Errc::invalid_argument, "fill outside a demand range");
    for (; !bytes.empty(); bytes = bytes.subspan(kUnitBytes), address += kUnitBytes) {
      DOLMEN_CHECK(state_.filler.fill(*units, reservation->unit_of(number_of(address)), address,
                                      bytes.first(kUnitBytes)));
    }
    return {};
  }

  bool present(const std::byte* address) noexcept override {
    const Reservation* const reservation = state_.reservations.find(number_of(address));
    if (reservation != nullptr) {
      if (const UnitMap* const units = reservation->units.load(std::memory_order_acquire)) {
        const UnitState state = units->state(reservation->unit_of(number_of(address)));
        if (state != UnitState::plain) return state == UnitState::present;
      }
    }
    const int fd = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    std::uint64_t entry = 0;
    const auto at = static_cast<off_t>(number_of(address) / kPageBytes * sizeof entry);
    const bool read = ::pread(fd, &entry, sizeof entry, at) == sizeof entry;
    ::close(fd);
    return read && (entry >> 62) != 0;  // in memory or swapped out
  }

 private:
  static LinuxMemory& self() { return static_cast<LinuxMemory&>(linux_memory()); }
  static void before_fork() DOLMEN_ACQUIRE(self().mutex_) { self().mutex_.lock(); }
  static void after_fork_in_parent() DOLMEN_RELEASE(self().mutex_) { self().mutex_.unlock(); }
  // A child has no arena, and the descriptors that it inherited would fill the parent's. It starts
  // anew.
  static void after_fork_in_child() DOLMEN_RELEASE(self().mutex_) {
    FaultState& state = fault_state();
    state.forked.store(true, std::memory_order_relaxed);
    if (const FaultDriver driver = state.driver.exchange(FaultDriver::none);
        driver != FaultDriver::none) {
      unhook_signal(fault_signal(driver));
    }
    if (state.store_handler.exchange(nullptr) != nullptr) unhook_signal(SIGSEGV);
    state.handler.store(nullptr, std::memory_order_release);
    state.reservations.clear();
    state.userfaultfd.close();
    state.filler.close();
    self().mutex_.unlock();
  }

  /// Calls `call(unit, address, bytes)` for the part of every unit that the range covers.
  template <class Call>
  static void for_each_unit(const Reservation& reservation, std::byte* address, std::size_t bytes,
                            Call call) {
    while (bytes > 0) {
      const std::size_t part = std::min(bytes, kUnitBytes - number_of(address) % kUnitBytes);
      call(reservation.unit_of(number_of(address)), address, part);
      address += part;
      bytes -= part;
    }
  }

  [[nodiscard]] static Result<void> set_access(std::byte* address, std::size_t bytes, int access) {
    if (::mprotect(address, bytes, access) != 0) return system_failure(errno, "mprotect");
    return {};
  }

  [[nodiscard]] Result<UnitMap*> units_of(Reservation& reservation) {
    const base::Lock lock(mutex_);
    UnitMap* units = reservation.units.load(std::memory_order_acquire);
    if (units == nullptr) {
      units = UnitMap::create(reservation.bytes.load(std::memory_order_relaxed));
      if (units == nullptr) return system_failure(errno, "the arena's unit table");
      reservation.units.store(units, std::memory_order_release);
      reservation.demanded.store(true, std::memory_order_release);
    }
    return units;
  }

  /// Really takes one fault on a page of its own.
  [[nodiscard]] bool userfaultfd_works() {
    UserFaultFd trial;
    if (!trial.open()) return false;
    bool works = false;
    void* const mapped = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, kReserveFlags, -1, 0);
    auto* const page = static_cast<std::byte*>(mapped);
    if (mapped != MAP_FAILED && trial.register_missing(page, kPageBytes) &&
        hook_signal(fault_signal(FaultDriver::userfaultfd))) {
      state_.trial = &trial;
      state_.trial_page.store(page, std::memory_order_release);
      works = *const_cast<const volatile std::byte*>(page) == std::byte{0xD0};
      state_.trial_page.store(nullptr, std::memory_order_release);
      state_.trial = nullptr;
      unhook_signal(fault_signal(FaultDriver::userfaultfd));
    }
    if (mapped != MAP_FAILED) ::munmap(mapped, kPageBytes);
    trial.close();
    return works;
  }

  FaultState& state_ = fault_state();
  base::Mutex mutex_;
  bool tried_ DOLMEN_GUARDED_BY(mutex_) = false;
  FaultDriver best_ DOLMEN_GUARDED_BY(mutex_) = FaultDriver::none;
};

}  // namespace

Memory& linux_memory() noexcept {
  static LinuxMemory memory;
  return memory;
}

}  // namespace dolmen::sys
