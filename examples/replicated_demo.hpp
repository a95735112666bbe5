// SPDX-License-Identifier: Apache-2.0
//
// What the examples of replicated state machines share: this program runs three members of itself
// on the loopback interface, kills whoever leads with SIGKILL while clients are at work, and starts
// it again.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dolmen/replicated.hpp>

namespace demo {

inline dolmen::Replicated* running = nullptr;

/// The member `options` until SIGTERM.
inline int serve(const dolmen::ReplicatedOptions& options,
                 std::span<const dolmen::ReplicatedMachine> machines) {
  auto member = dolmen::Replicated::start(options, machines);
  if (!member) {
    std::fprintf(stderr, "member %u: %s\n", options.member, member.error().message().c_str());
    return 1;
  }
  running = &*member;
  std::signal(SIGTERM, [](int) { running->stop(); });
  const auto ended = member->run();
  if (!ended)
    std::fprintf(stderr, "member %u: %s\n", options.member, ended.error().message().c_str());
  return ended ? 0 : 1;
}

/// "127.0.0.1:port", of a port that is free now.
inline std::string free_address() {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  auto* const raw = static_cast<sockaddr*>(static_cast<void*>(&address));
  if (::bind(probe, raw, bytes) != 0 || ::getsockname(probe, raw, &bytes) != 0) std::abort();
  ::close(probe);
  return "127.0.0.1:" + std::to_string(::ntohs(address.sin_port));
}

/// Three members, each a process of its own: this program with the words
/// `serve <member> <address> <address> <address>`. Requires: an empty current directory.
class Trio {
 public:
  /// With so many groups, numbered from 1.
  explicit Trio(std::uint64_t groups = 1) {
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t number = 1; number <= groups; ++number) numbers.push_back(number);
    ::umask(077);  // the key is nobody else's
    {
      // `dolmen log key group.key` does the same.
      std::ofstream key("group.key");
      std::ifstream random("/dev/urandom", std::ios::binary);
      for (int i = 0; i < 64; ++i) key << "0123456789abcdef"[random.get() & 15];
    }
    for (int i = 0; i < 3; ++i) group_.members.push_back(free_address());
    group_.key_file = "group.key";
    for (std::uint32_t member = 1; member <= 3; ++member) {
      dolmen::Replicated::create(options(group_, member), numbers).value();
      start(member);
    }
  }
  ~Trio() {
    for (std::uint32_t member = 1; member <= 3; ++member) end(member, SIGTERM);
  }
  Trio(const Trio&) = delete;
  Trio& operator=(const Trio&) = delete;

  [[nodiscard]] const dolmen::ReplicatedGroup& group() const { return group_; }
  static dolmen::ReplicatedOptions options(const dolmen::ReplicatedGroup& group,
                                           std::uint32_t member) {
    return {.group = group, .member = member, .directory = "member" + std::to_string(member)};
  }

  void start(std::uint32_t member) {
    std::string words[] = {"/proc/self/exe",  "serve",           std::to_string(member),
                           group_.members[0], group_.members[1], group_.members[2]};
    char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                         words[4].data(), words[5].data(), nullptr};
    const pid_t child = ::fork();
    if (child == 0) {
      ::execv(arguments[0], arguments);
      ::_exit(127);
    }
    pids_[member] = child;
  }
  void end(std::uint32_t member, int signal) {
    const pid_t pid = std::exchange(pids_[member], 0);
    if (pid == 0) return;
    ::kill(pid, signal);
    ::waitpid(pid, nullptr, 0);
  }
  /// kill -9 of whoever leads, which is started again; its number, 0 if nobody leads.
  std::uint32_t kill_leader(dolmen::ReplicatedClient& client) {
    const auto statuses = client.status(std::chrono::milliseconds(500));
    if (!statuses) return 0;
    for (const dolmen::ReplicatedStatus& status : *statuses) {
      if (status.role != "leader") continue;
      end(status.member, SIGKILL);
      start(status.member);
      return status.member;
    }
    return 0;
  }

 private:
  dolmen::ReplicatedGroup group_;
  std::vector<pid_t> pids_ = std::vector<pid_t>(4, 0);
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
  for (char** word = words + 3; *word != nullptr; ++word) {
    const std::string text = *word;
    if (text == "replicated") {
      level = dolmen::ReplicatedLevel::replicated;
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
  return serve(options, machines);
}
inline int serve(char** words, dolmen::StateMachine& machine) {
  const dolmen::ReplicatedMachine one{.group = 1, .machine = &machine};
  return serve(words, std::span(&one, 1));
}

}  // namespace demo
