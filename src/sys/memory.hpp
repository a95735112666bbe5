// SPDX-License-Identifier: Apache-2.0
//
// Address space and its pages. The arena reserves one large range, switches parts of it to ordinary
// zero-filled memory, and lets parts of it be filled on first touch by a handler that runs on the
// touching thread (userfaultfd with SIGBUS; else protected pages with SIGSEGV).
//
// Threads: safe from any thread. Errors: out_of_memory, unsupported, io_error (detail = errno).
#pragma once

#include <cstddef>
#include <cstdint>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::sys {

inline constexpr std::size_t kPageBytes = 4096;

/// How absent pages are noticed.
enum class FaultDriver : std::uint8_t {
  none,         ///< no demand filling: the owner loads everything before use
  protection,   ///< PROT_NONE + SIGSEGV; fills whole 64 KiB units
  userfaultfd,  ///< missing pages + SIGBUS on the touching thread; 4 KiB
};

class FaultHandler {
 public:
  virtual ~FaultHandler() = default;
  /// Called on the touching thread, inside a signal handler, for the absent unit that contains
  /// `address`; the handler must make it present with Memory::fill and return true, or return false
  /// if the address is none of its business (the process's former handler is then run). May be
  /// called by several threads for one unit; fill() of a present page succeeds and does nothing.
  [[nodiscard]] virtual bool on_fault(std::uintptr_t address) noexcept = 0;
};

/// Is told of stores to pages that Memory::protect() closed.
class StoreHandler {
 public:
  virtual ~StoreHandler() = default;
  /// Called on the storing thread, inside a signal handler. True: the page is open now, and the
  /// store is made again. False: the store goes to the process's former handler (where there is
  /// none, the process ends at it).
  [[nodiscard]] virtual bool on_store(std::uintptr_t address) noexcept = 0;
};

class Memory {
 public:
  virtual ~Memory() = default;
  /// Reserves inaccessible address space, aligned, never inherited by fork, left out of core dumps.
  [[nodiscard]] virtual Result<std::byte*> reserve(std::size_t bytes, std::size_t alignment) = 0;
  virtual void release(std::byte* address, std::size_t bytes) noexcept = 0;
  /// Makes a part of a reservation readable and writable; pages are zero on first touch.
  [[nodiscard]] virtual Result<void> activate(std::byte* address, std::size_t bytes) = 0;
  /// Drops the pages' contents: zero (or absent, in a demand range) on next touch.
  /// Requires: whole fault units where it covers a demand range.
  virtual void discard(std::byte* address, std::size_t bytes) noexcept = 0;
  /// Advises huge pages for a hot, fully resident range.
  virtual void advise_huge(std::byte* address, std::size_t bytes) noexcept = 0;
  /// Closes pages to stores, or opens them again. Absent pages too: they stay closed when they are
  /// filled, or discarded and filled again. Cost: a system call; each change of access costs one of
  /// the 65,530 mappings that the kernel allows by default. Errors: out_of_memory (too many).
  [[nodiscard]] virtual Result<void> protect(std::byte* address, std::size_t bytes,
                                             bool writable) = 0;
  /// Installs the one handler of this process for stores to closed pages; null removes it.
  /// Requires: not installed before.
  [[nodiscard]] virtual Result<void> install_store_handler(StoreHandler* handler) = 0;

  /// The best driver that works in this process (tried once, really).
  [[nodiscard]] virtual FaultDriver best_driver() = 0;
  /// Bytes that one on_fault call has to fill: 4 KiB or 64 KiB.
  [[nodiscard]] virtual std::size_t fault_unit_bytes(FaultDriver driver) const noexcept = 0;
  /// Installs the one handler of this process for all demand ranges. Requires: not installed
  /// before. FaultDriver::none with null removes it. Requires: every reservation with demand ranges
  /// is released.
  [[nodiscard]] virtual Result<void> install_fault_handler(FaultDriver driver,
                                                           FaultHandler* handler) = 0;
  /// Makes an active or reserved range demand-filled: every page absent until fill()ed. activate()
  /// ends that. Requires: whole fault units; nobody touches the range meanwhile.
  [[nodiscard]] virtual Result<void> demand(std::byte* address, std::size_t bytes) = 0;
  /// Makes absent pages present with these contents, atomically per unit; async-signal-safe.
  /// `address` and `bytes.size()` are multiples of the fault unit.
  [[nodiscard]] virtual Result<void> fill(std::byte* address, base::Bytes bytes) noexcept = 0;
  /// Whether the page at `address` is present (does not fault it in). Slow: tools and tests.
  [[nodiscard]] virtual bool present(const std::byte* address) noexcept = 0;
};

}  // namespace dolmen::sys
