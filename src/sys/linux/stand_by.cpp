// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/stand_by.hpp"

#include <array>
#include <cerrno>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/linux/file.hpp"
#include "sys/linux/system_error.hpp"

namespace dolmen::sys {

namespace {

constexpr std::array kEndings{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

volatile sig_atomic_t stood_by_for = 0;  // a process id fits

extern "C" void pass_on(int signal) {
  const int kept = errno;
  ::kill(stood_by_for, signal);
  errno = kept;
}

[[noreturn]] void end_as(int status) {
  if (!WIFSIGNALED(status)) ::_exit(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  ::signal(signal, SIG_DFL);
  sigset_t alone;
  ::sigemptyset(&alone);
  ::sigaddset(&alone, signal);
  ::raise(signal);
  ::sigprocmask(SIG_UNBLOCK, &alone, nullptr);
  ::_exit(128 + signal);  // it does not end a process
}

}  // namespace

Result<void> go_on_in_child(const std::function<Result<void>()>& make,
                            const std::function<void()>& tidy) {
  sigset_t endings;
  ::sigemptyset(&endings);
  for (const int signal : kEndings) ::sigaddset(&endings, signal);
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &endings, &before);
  if (auto made = make(); !made) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return made;
  }
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) {
    const int error = errno;
    tidy();
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return system_failure(error, "fork");
  }
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return {};
  }
  stood_by_for = child;
  for (const int signal : kEndings) {
    struct sigaction old{};
    if (::sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) continue;
    struct sigaction passing{};
    passing.sa_handler = pass_on;
    passing.sa_flags = SA_RESTART;
    ::sigaction(signal, &passing, nullptr);
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  // Its number is its own until it is reaped, which no signal's handler sees.
  siginfo_t ended{};
  (void)without_interruption(
      [&] { return ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT); });
  ::sigprocmask(SIG_BLOCK, &endings, nullptr);
  int status = 0;
  (void)without_interruption([&] { return ::waitpid(child, &status, 0); });
  tidy();
  end_as(status);
}

}  // namespace dolmen::sys
