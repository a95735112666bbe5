// SPDX-License-Identifier: Apache-2.0
//
// What the examples of replicated state machines share: this program runs three members of itself
// on the loopback interface, kills whoever leads with SIGKILL while clients are at work, and starts
// it again.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <expected>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dolmen/replicated.hpp>

namespace demo {

inline dolmen::Replicated* running = nullptr;

/// What a member ends with.
enum Exit : int { kInGoodOrder = 0, kNotStarted = 2, kNotServing = 3 };

/// The member `options` until SIGTERM, also one that comes while it starts.
inline int serve(const dolmen::ReplicatedOptions& options,
                 std::span<const dolmen::ReplicatedMachine> machines) {
  sigset_t term;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &term, nullptr);
  auto member = dolmen::Replicated::start(options, machines);
  if (!member) {
    std::fprintf(stderr, "member %u: %s\n", options.member, member.error().message().c_str());
    return kNotStarted;
  }
  running = &*member;
  std::signal(SIGTERM, [](int) { running->stop(); });
  ::sigprocmask(SIG_UNBLOCK, &term, nullptr);
  const auto ended = member->run();
  std::signal(SIGTERM, SIG_IGN);  // there is nothing left to stop
  if (!ended)
    std::fprintf(stderr, "member %u: %s\n", options.member, ended.error().message().c_str());
  return ended ? kInGoodOrder : kNotServing;
}

/// Of a loopback address that is this process's own, and below the ports that the system gives to
/// outgoing connections: a member that was killed finds it free when it starts again.
inline std::string address_of(std::uint32_t member) {
  const auto pid = static_cast<std::uint32_t>(::getpid());  // below 2^22
  return "127." + std::to_string(1 + (pid >> 16)) + "." + std::to_string(pid >> 8 & 0xff) + "." +
         std::to_string(pid & 0xff) + ":" + std::to_string(7400 + member);
}

/// What the program is at, for whoever finds that it stands still.
inline std::atomic<const char*> doing = "making three members";

/// These programs take what they ask for by value(). Where there is none and nobody catches that,
/// this says what the error was; members, which are children, end with the program.
inline const std::terminate_handler former_end = std::set_terminate([] {
  std::fflush(stdout);
  try {
    if (const auto thrown = std::current_exception()) std::rethrow_exception(thrown);
  } catch (const std::bad_expected_access<dolmen::Error>& none) {
    std::fprintf(stderr, "while %s: %s\n", doing.load(), none.error().message().c_str());
    ::_exit(1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "while %s: %s\n", doing.load(), error.what());
    ::_exit(1);
  } catch (...) {
  }
  std::abort();
});

/// Ends the program, and with it its members, if it takes this long.
inline void end_in(unsigned limit_s) {
  std::signal(SIGALRM, [](int) {
    for (const char* const text : {"gave up while ", doing.load(), "\n"}) {
      (void)!::write(STDERR_FILENO, text, std::strlen(text));
    }
    ::_exit(1);
  });
  ::alarm(limit_s);
}

/// This program again, as a child with these words, which is never left over.
inline pid_t start_again(std::vector<std::string> words) {
  words.insert(words.begin(), "/proc/self/exe");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == parent) ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  if (child < 0) {
    std::perror("fork");
    std::exit(1);
  }
  return child;
}

/// Three members, each a process of its own: this program with the words
/// `serve <member> <address> <address> <address>`. Requires: an empty current directory.
class Trio {
 public:
  /// With so many groups, numbered from 1.
  explicit Trio(std::uint64_t groups = 1) {
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // also where it is a pipe
    end_in(240);
    ::sigemptyset(&child_ended_);
    ::sigaddset(&child_ended_, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child_ended_, nullptr);  // end() waits for it
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t number = 1; number <= groups; ++number) numbers.push_back(number);
    ::umask(077);  // the key is nobody else's
    {
      // `dolmen log key group.key` does the same.
      std::ofstream key("group.key");
      std::ifstream random("/dev/urandom", std::ios::binary);
      for (int i = 0; i < 64; ++i) key << "0123456789abcdef"[random.get() & 15];
    }
    for (std::uint32_t member = 1; member <= 3; ++member) {
      group_.members.push_back(address_of(member));
    }
    group_.key_file = "group.key";
    for (std::uint32_t member = 1; member <= 3; ++member) {
      dolmen::Replicated::create(options(group_, member), numbers).value();
      start(member);
    }
    doing = "calling the group";
  }
  ~Trio() {
    for (std::uint32_t member = 1; member <= 3; ++member) (void)end(member, SIGKILL);
  }
  Trio(const Trio&) = delete;
  Trio& operator=(const Trio&) = delete;

  [[nodiscard]] const dolmen::ReplicatedGroup& group() const { return group_; }
  static dolmen::ReplicatedOptions options(const dolmen::ReplicatedGroup& group,
                                           std::uint32_t member) {
    return {.group = group, .member = member, .directory = "member" + std::to_string(member)};
  }

  void start(std::uint32_t member) {
    pids_[member] = start_again(
        {"serve", std::to_string(member), group_.members[0], group_.members[1], group_.members[2]});
    started_[member] = std::chrono::steady_clock::now();
  }
  /// Whether it ended by the signal, or in good order after SIGTERM; who has not after 20 seconds
  /// is killed.
  bool end(std::uint32_t member, int signal) {
    const pid_t pid = std::exchange(pids_[member], 0);
    if (pid == 0) return true;
    ::kill(pid, signal);
    int status = 0;
    pid_t ended = 0;
    const timespec patience{.tv_sec = 20, .tv_nsec = 0};
    while ((ended = ::waitpid(pid, &status, WNOHANG)) == 0 &&
           ::sigtimedwait(&child_ended_, nullptr, &patience) > 0) {
    }
    if (ended == 0) {
      std::string where;
      std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/wchan"), where);
      std::fprintf(stderr, "member %u runs 20 s after signal %d, in %s\n", member, signal,
                   where.c_str());
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      return false;
    }
    const bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == signal;
    if (is_killed || (signal == SIGTERM && WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
      return true;
    }
    const auto ran = std::chrono::steady_clock::now() - started_[member];
    std::fprintf(stderr, "member %u ended with wait status %#x, %.3f s old, after signal %d\n",
                 member, static_cast<unsigned>(status), std::chrono::duration<double>(ran).count(),
                 signal);
    return false;
  }
  /// Ends all, when the last one that was killed serves again; whether all of them did so in good
  /// order, the killed ones before it as well.
  bool stop() {
    doing = "waiting for who was killed";
    auto client = dolmen::ReplicatedClient::make(group_).value();
    for (std::size_t reached = 0; reached < group_.members.size();) {
      const auto statuses = client.status(std::chrono::milliseconds(500));
      if (!statuses) continue;
      reached = static_cast<std::size_t>(std::ranges::count_if(
          *statuses, [](const dolmen::ReplicatedStatus& status) { return status.is_reached; }));
    }
    doing = "ending the members";
    for (std::uint32_t member = 1; member <= 3; ++member) is_sound_ &= end(member, SIGTERM);
    doing = "exiting";
    return is_sound_;
  }
  /// kill -9 of whoever leads, which is started again; its number, 0 if nobody leads.
  std::uint32_t kill_leader(dolmen::ReplicatedClient& client) {
    const auto statuses = client.status(std::chrono::milliseconds(500));
    if (!statuses) return 0;
    for (const dolmen::ReplicatedStatus& status : *statuses) {
      if (status.role != "leader") continue;
      doing = "killing who leads";
      is_sound_ &= end(status.member, SIGKILL);
      start(status.member);
      doing = "calling the group";
      const auto now = std::chrono::steady_clock::now() - began_;
      std::printf("%.1f s: member %u led and was killed\n",
                  std::chrono::duration<double>(now).count(), status.member);
      return status.member;
    }
    return 0;
  }

 private:
  dolmen::ReplicatedGroup group_;
  std::vector<pid_t> pids_ = std::vector<pid_t>(4, 0);
  std::vector<std::chrono::steady_clock::time_point> started_ =
      std::vector<std::chrono::steady_clock::time_point>(4);
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  sigset_t child_ended_{};
  bool is_sound_ = true;
};

/// What main() does with its words: serves, if they say so. Behind the addresses the level may
/// follow, and `witness` with the number of one and the size of its areas.
inline bool is_member(int count, char** words) {
  return count >= 4 && std::string(words[1]) == "serve";
}
inline int serve(char** words, std::span<const dolmen::ReplicatedMachine> machines) {
  dolmen::ReplicatedGroup group{.members = {}, .key_file = "group.key"};
  auto level = dolmen::ReplicatedLevel::durable;
  std::size_t area_bytes = dolmen::ReplicatedOptions{}.area_bytes;
  std::chrono::milliseconds lease{0};
  for (char** word = words + 3; *word != nullptr; ++word) {
    const std::string text = *word;
    if (text == "replicated") {
      level = dolmen::ReplicatedLevel::replicated;
    } else if (text == "lease") {
      lease = std::chrono::milliseconds(std::atoi(*++word));
    } else if (text == "witness") {
      group.witnesses.push_back(static_cast<std::uint32_t>(std::atoi(*++word)));
      area_bytes = static_cast<std::size_t>(std::atoi(*++word));
    } else {
      group.members.push_back(text);
    }
  }
  dolmen::ReplicatedOptions options =
      Trio::options(group, static_cast<std::uint32_t>(std::atoi(words[2])));
  options.level = level;
  options.area_bytes = area_bytes;
  options.lease = lease;
  return serve(options, machines);
}
inline int serve(char** words, dolmen::StateMachine& machine) {
  const dolmen::ReplicatedMachine one{.group = 1, .machine = &machine};
  return serve(words, std::span(&one, 1));
}

}  // namespace demo
