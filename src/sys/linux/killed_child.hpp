// SPDX-License-Identifier: Apache-2.0
//
// This test program once more, as a child that reports through a pipe and is ended by SIGKILL. What
// it reported is the outside oracle: a report is written after what it says was acknowledged, and
// outlives the child. Tests only.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/test_budget.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::sys::test {

/// How often the campaign of this name kills its program.
inline int kill_cycles(std::string_view campaign) {
  return static_cast<int>(base::budget(campaign));
}

inline std::uint64_t fresh_seed() {
  std::uint64_t seed = 0;
  sys::linux_env().entropy->fill(std::as_writable_bytes(std::span(&seed, 1)));
  return seed;
}

class KillDirectory {
 public:
  KillDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dolmen-kill9-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~KillDirectory() { std::filesystem::remove_all(path_); }
  KillDirectory(const KillDirectory&) = delete;
  KillDirectory& operator=(const KillDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// What the parent told this process, if it is a child: see KilledChild.
inline const char* child_argument(const char* name) { return std::getenv(name); }

template <class Record>
void report(const Record& record) {
  // Whole or not at all: it is shorter than PIPE_BUF.
  const int pipe = std::atoi(std::getenv("DOLMEN_KILL9_PIPE"));
  if (::write(pipe, &record, sizeof record) != sizeof record) ::_exit(5);
}

template <class Record>
class KilledChild {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;

  KilledChild(const std::string& test, const Environment& environment) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe(ends), 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::close(ends[0]);
      ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);  // of so many one is enough
      for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
      ::setenv("DOLMEN_KILL9_PIPE", std::to_string(ends[1]).c_str(), 1);
      ::execl("/proc/self/exe", "kill9", ("--gtest_filter=" + test).c_str(), nullptr);
      ::_exit(6);
    }
    ::close(ends[1]);
    pipe_ = ends[0];
  }
  ~KilledChild() {
    (void)kill();
    ::close(pipe_);
  }
  KilledChild(const KilledChild&) = delete;
  KilledChild& operator=(const KilledChild&) = delete;

  /// Listens for `microseconds`: a quarter of the times from the child's start on, else from its
  /// first report on.
  void listen(base::Random& random, std::uint64_t microseconds) {
    if (!random.chance(1, 4)) (void)hear(-1);
    const auto now = [] { return std::chrono::steady_clock::now(); };
    const auto end = now() + std::chrono::microseconds(microseconds);
    while (end > now()) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - now());
      (void)hear(static_cast<int>(left.count()));
    }
  }
  /// Kills it, and hears what is still in the pipe. Gives what ended it if it was anything else.
  [[nodiscard]] std::string kill() {
    if (child_ <= 0) return "";
    ::kill(child_, SIGKILL);
    int status = 0;
    ::waitpid(std::exchange(child_, 0), &status, 0);
    while (hear(-1)) continue;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return "";
    return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                               : "exit code " + std::to_string(WEXITSTATUS(status));
  }
  [[nodiscard]] const std::vector<Record>& heard() const { return heard_; }

 private:
  /// Waits up to that long (-1: until something comes or nothing can) and takes what is there.
  bool hear(int milliseconds) {
    pollfd waiting{.fd = pipe_, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, milliseconds) <= 0) return false;
    Record records[64];
    const ssize_t bytes = ::read(pipe_, records, sizeof records);
    if (bytes <= 0) return false;
    heard_.insert(heard_.end(), records, records + bytes / static_cast<ssize_t>(sizeof(Record)));
    return true;
  }

  pid_t child_ = -1;
  int pipe_ = -1;
  std::vector<Record> heard_;
};

}  // namespace dolmen::sys::test
