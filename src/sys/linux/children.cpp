// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/children.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dolmen/assert.hpp>

#include "sys/linux/file.hpp"
#include "sys/linux/parts.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {

Children::~Children() {
  for (const int pid : pids_) {
    if (pid > 0) ::kill(pid, SIGKILL);
  }
  for (const int pid : pids_) {
    if (pid > 0) (void)without_interruption([&] { return ::waitpid(pid, nullptr, 0); });
  }
}

namespace {

/// Its process id.
Result<int> run(const std::string& program, const std::vector<std::string>& arguments,
                const std::vector<std::pair<std::string, std::string>>& variables) {
  std::vector<char*> words;
  words.push_back(const_cast<char*>(program.c_str()));
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  // All of it before the fork: behind it only what is safe there.
  std::vector<std::string> texts;
  for (const auto& [name, value] : variables) texts.push_back(name + "=" + value);
  std::vector<char*> environment;
  for (std::string& text : texts) environment.push_back(text.data());
  for (char** own = environ; *own != nullptr; ++own) {
    const std::string_view text = *own;
    const bool is_replaced = std::ranges::any_of(
        variables, [&](const auto& one) { return text.starts_with(one.first + "="); });
    if (!is_replaced) environment.push_back(*own);
  }
  environment.push_back(nullptr);

  const pid_t parent = ::getpid();
  // What asks the child to end before its program runs waits for that: this process's handlers
  // would swallow it there.
  sigset_t all{};
  sigset_t former{};
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &former);
  const pid_t pid = ::fork();
  const int error = errno;
  if (pid != 0) ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
  if (pid < 0) return system_failure(error, "fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (const int asks : {SIGTERM, SIGINT}) {
      struct sigaction its{};
      if (::sigaction(asks, nullptr, &its) == 0 && its.sa_handler != SIG_IGN) {
        ::signal(asks, SIG_DFL);
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
    if (::getppid() == parent) ::execvpe(program.c_str(), words.data(), environment.data());
    ::_exit(127);
  }
  return pid;
}

}  // namespace

Result<std::size_t> Children::start(
    const std::string& program, const std::vector<std::string>& arguments,
    const std::vector<std::pair<std::string, std::string>>& variables) {
  pids_.reserve(pids_.size() + 1);
  DOLMEN_TRY(const int pid, run(program, arguments, variables));
  pids_.push_back(pid);
  return pids_.size() - 1;
}

Result<void> Children::start_again(
    std::size_t number, const std::string& program, const std::vector<std::string>& arguments,
    const std::vector<std::pair<std::string, std::string>>& variables) {
  DOLMEN_ASSERT(number < pids_.size() && pids_[number] == 0);
  DOLMEN_TRY(pids_[number], run(program, arguments, variables));
  return {};
}

void Children::terminate() const noexcept {
  for (const int pid : pids_) {
    if (pid > 0) ::kill(pid, SIGTERM);
  }
}

Result<std::optional<std::pair<std::size_t, Child::End>>> Children::wait() {
  int status = 0;
  const pid_t pid = ::waitpid(-1, &status, 0);
  if (pid < 0 && errno == EINTR) return std::nullopt;
  if (pid < 0) return system_failure(errno, "waitpid");
  return note(pid, status);
}

Result<std::optional<std::pair<std::size_t, Child::End>>> Children::wait_until(
    std::uint64_t until_ns) {
  constexpr std::uint64_t kLookNs = 20'000'000;
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid > 0) return note(pid, status);
    if (pid < 0 && errno != ECHILD) return system_failure(errno, "waitpid");
    const std::uint64_t now_ns = linux_clock().monotonic_ns();
    if (now_ns >= until_ns) return std::nullopt;
    timespec pause{};
    pause.tv_nsec = static_cast<long>(std::min(until_ns - now_ns, kLookNs));
    if (::nanosleep(&pause, nullptr) != 0) return std::nullopt;  // by a signal
  }
}

std::optional<std::pair<std::size_t, Child::End>> Children::note(int pid, int status) {
  const auto found = std::ranges::find(pids_, pid);
  if (found == pids_.end()) return std::nullopt;
  *found = 0;
  Child::End end;
  if (WIFSIGNALED(status)) {
    end.signal = WTERMSIG(status);
  } else {
    end.code = WEXITSTATUS(status);
  }
  return std::pair(static_cast<std::size_t>(found - pids_.begin()), end);
}

std::size_t Children::running() const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(pids_, [](int pid) { return pid > 0; }));
}

}  // namespace dolmen::sys
