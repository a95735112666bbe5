// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/child.hpp"

#include <array>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/linux/file.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {

Result<Child> Child::start(const std::string& program, const std::vector<std::string>& arguments) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return system_failure(errno, "pipe");
  std::vector<char*> words;
  words.push_back(const_cast<char*>(program.c_str()));
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, pipe[1], 1);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  if (error != 0) {
    ::close(pipe[0]);
    return system_failure(error, program);
  }
  return Child(pid, pipe[0]);
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      output_(std::exchange(other.output_, -1)),
      buffer_(std::move(other.buffer_)) {}

Child::~Child() {
  if (pid_ > 0) {
    kill();
    static_cast<void>(wait());
  }
  if (output_ >= 0) ::close(output_);
}

Result<std::optional<std::string>> Child::read_line() {
  for (;;) {
    if (const auto end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    std::array<char, 4096> chunk{};
    const auto count =
        without_interruption([&] { return ::read(output_, chunk.data(), chunk.size()); });
    if (count < 0) return system_failure(errno, "a child's output");
    // A last line without its newline was cut off: it does not count.
    if (count == 0) return std::optional<std::string>();
    buffer_.append(chunk.data(), static_cast<std::size_t>(count));
  }
}

void Child::kill() noexcept {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

Result<Child::End> Child::wait() {
  if (pid_ <= 0) return fail(Errc::invalid_argument, "Child::wait(): waited for already");
  int status = 0;
  const auto waited = without_interruption([&] { return ::waitpid(pid_, &status, 0); });
  if (waited < 0) return system_failure(errno, "waitpid");
  pid_ = -1;
  if (WIFSIGNALED(status)) return End{.code = 0, .signal = WTERMSIG(status)};
  return End{.code = WEXITSTATUS(status), .signal = 0};
}

void keep_standard_descriptors() noexcept {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free one is this one; opened for what nobody does with it.
    (void)!::open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
  }
}

bool is_terminal(int descriptor) noexcept { return ::isatty(descriptor) == 1; }

}  // namespace dolmen::sys
