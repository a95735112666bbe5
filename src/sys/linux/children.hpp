// SPDX-License-Identifier: Apache-2.0
//
// Several programs as children of this process, with its standard input, output and error: for
// commands that run a cluster on one host. They end when this process ends, however that happens.
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

#include "sys/linux/child.hpp"

namespace dolmen::sys {

class Children {
 public:
  Children() = default;
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  /// Kills those that run.
  ~Children();

  /// Runs `program` (looked for in PATH where it has no slash) with these arguments, and these
  /// variables beside this process's. Its number: 0, 1, …
  [[nodiscard]] Result<std::size_t> start(
      const std::string& program, const std::vector<std::string>& arguments,
      const std::vector<std::pair<std::string, std::string>>& variables);
  /// The same in the place of one that has ended, with its number.
  [[nodiscard]] Result<void> start_again(
      std::size_t number, const std::string& program, const std::vector<std::string>& arguments,
      const std::vector<std::pair<std::string, std::string>>& variables);
  /// Asks all that run to end (SIGTERM); for signal handlers, too.
  void terminate() const noexcept;
  /// Blocks until one of them has ended, or a signal came (nothing). Requires: one runs.
  [[nodiscard]] Result<std::optional<std::pair<std::size_t, Child::End>>> wait();
  /// … or the monotonic clock has come so far. One need not run.
  [[nodiscard]] Result<std::optional<std::pair<std::size_t, Child::End>>> wait_until(
      std::uint64_t until_ns);
  [[nodiscard]] std::size_t running() const noexcept;

 private:
  [[nodiscard]] std::optional<std::pair<std::size_t, Child::End>> note(int pid, int status);

  std::vector<int> pids_;  ///< 0: has ended
};

}  // namespace dolmen::sys
