// SPDX-License-Identifier: Apache-2.0
//
// Another program as a child of this process, whose standard output is read line by line. For
// commands that need a second process (`dolmen demo`); the library itself starts none.
//
// Threads: one at a time. A Child that is destroyed before wait() is killed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <dolmen/error.hpp>

namespace dolmen::sys {

class Child {
 public:
  struct End {
    int code = 0;    ///< exit code, if it ended by itself
    int signal = 0;  ///< the signal that ended it, or 0
  };

  /// Runs `program` (a path) with these arguments, standard input empty, standard error shared.
  [[nodiscard]] static Result<Child> start(const std::string& program,
                                           const std::vector<std::string>& arguments);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();

  /// The next line of its standard output without the newline; none when the output has ended.
  /// Blocks until there is one.
  [[nodiscard]] Result<std::optional<std::string>> read_line();
  /// Sends SIGKILL; what it wrote before can still be read.
  void kill() noexcept;
  /// Blocks until the program has ended.
  [[nodiscard]] Result<End> wait();

 private:
  Child(int pid, int output) noexcept : pid_(pid), output_(output) {}

  int pid_ = -1;     // -1: waited for
  int output_ = -1;  // the read end of its standard output
  std::string buffer_;
};

/// For the start of a program: where it was started with standard input, output or error closed,
/// takes their descriptors, so that no file opened later gets them and is written to as if it were
/// the output. Reading and writing them fails as before.
void keep_standard_descriptors() noexcept;

/// Whether this file descriptor (1: standard output, 2: standard error) is a terminal.
[[nodiscard]] bool is_terminal(int descriptor) noexcept;

}  // namespace dolmen::sys
