// SPDX-License-Identifier: Apache-2.0
//
// The process and its threads. Background loops are started through here, so that a simulated
// world, which has one thread, can refuse or drive them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <dolmen/error.hpp>

namespace dolmen::sys {

/// Joins on destruction.
class Thread {
 public:
  virtual ~Thread() = default;
};

class Process {
 public:
  virtual ~Process() = default;
  [[nodiscard]] virtual std::uint64_t pid() noexcept = 0;
  [[nodiscard]] virtual std::string host_name() = 0;
  [[nodiscard]] virtual std::string command_line() = 0;
  /// The value of an environment variable; empty if it is not set.
  [[nodiscard]] virtual std::string environment(const char* name) = 0;
  [[nodiscard]] virtual unsigned cpu_count() noexcept = 0;
  /// Starts a named thread with all signals blocked except synchronous faults.
  [[nodiscard]] virtual Result<std::unique_ptr<Thread>> start_thread(
      const char* name, std::function<void()> body) = 0;
  /// Runs `callback(argument)` in the child after every fork of this process.
  [[nodiscard]] virtual Result<void> on_fork_child(void (*callback)(void*), void* argument) = 0;
  /// Makes every other thread of this process execute a full memory fence before this returns;
  /// where they only need one then, they can leave out their own. False, always: the system has no
  /// such call. Cost: an interrupt to each of them that runs (microseconds).
  [[nodiscard]] virtual bool fence_threads() noexcept = 0;
  /// Whether a process with this id runs on this host.
  [[nodiscard]] virtual bool is_alive(std::uint64_t pid) noexcept = 0;
  /// Memory that this process has in use, shared pages included; 0: not known.
  [[nodiscard]] virtual std::uint64_t resident_bytes() noexcept = 0;
  /// Memory that the machine has; 0: not known.
  [[nodiscard]] virtual std::uint64_t machine_bytes() noexcept = 0;
};

}  // namespace dolmen::sys
