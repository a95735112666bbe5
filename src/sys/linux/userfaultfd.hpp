// SPDX-License-Identifier: Apache-2.0
//
// userfaultfd(2) as the arena uses it: missing pages of registered ranges raise SIGBUS on the
// touching thread, which copies the page in and goes on. User-mode faults only, so no privilege is
// needed; system calls on absent pages give EFAULT. Threads: safe from any; copy() and unregister()
// are async-signal-safe.
#pragma once

#include <cstddef>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::sys {

class UserFaultFd {
 public:
  // No destructor: the process-wide one outlives every thread. Others close() it.
  constexpr UserFaultFd() noexcept = default;
  UserFaultFd(const UserFaultFd&) = delete;
  UserFaultFd& operator=(const UserFaultFd&) = delete;

  /// Errors: unsupported (the kernel, or a policy such as a container's, refuses it).
  [[nodiscard]] Result<void> open() noexcept;
  void close() noexcept;
  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

  /// Requires: whole pages that are mapped readable and writable.
  [[nodiscard]] Result<void> register_missing(std::byte* address, std::size_t bytes) noexcept;
  void unregister(std::byte* address, std::size_t bytes) noexcept;
  /// Makes missing pages present; those that are present already stay as they are.
  [[nodiscard]] Result<void> copy(std::byte* address, base::Bytes pages) noexcept;

 private:
  int fd_ = -1;
};

}  // namespace dolmen::sys
