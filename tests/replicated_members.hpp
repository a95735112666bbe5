// SPDX-License-Identifier: Apache-2.0
//
// For tests: real members, each a process of its own, and clients that count meanwhile. Every
// answer is judged by who saw only the clients: whether one counter could have given them.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <dolmen/replicated.hpp>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/test_budget.hpp"
#include "sim/linearizability.hpp"
#include "sim/linearizability_models.hpp"

namespace dolmen::members {

namespace fs = std::filesystem;
using dolmen::sim::CounterModel;
using std::chrono::milliseconds;

inline constexpr std::uint32_t kMembers = 3;
/// Of a witness in memory: so little that they are begun anew again and again.
inline constexpr const char* kAreaBytes = "65536";
#ifdef DOLMEN_WITNESS_PROGRAM
inline constexpr const char* kWitnessProgram = DOLMEN_WITNESS_PROGRAM;
#else
inline constexpr const char* kWitnessProgram = nullptr;  // builds without the command
#endif

/// Members in processes: where a namespace is given, each in its own.
class Members {
 public:
  /// `witness`: which of them is one; 0: none.
  Members(std::vector<std::string> addresses, std::vector<std::string> namespaces,
          dolmen::ReplicatedLevel level = dolmen::ReplicatedLevel::durable,
          std::uint32_t witness = 0, const std::vector<std::uint64_t>& groups = {1},
          milliseconds lease = {})
      : namespaces_(std::move(namespaces)), level_(level), witness_(witness), lease_(lease) {
    std::string pattern = (fs::temp_directory_path() / "dolmen-members-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    std::ofstream(root_ + "/group.key") << std::string(64, '7');
    group_ = {.members = std::move(addresses), .key_file = root_ + "/group.key"};
    if (witness != 0) group_.witnesses = {witness};
    for (std::uint32_t member = 1; member <= kMembers; ++member) {
      dolmen::Replicated::create(
          {.group = group_, .member = member, .directory = directory(member), .level = level_},
          groups)
          .value();
      start(member);
    }
  }
  ~Members() {
    while (!pids_.empty()) end(pids_.begin()->first, SIGKILL);
    fs::remove_all(root_);
  }
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  [[nodiscard]] const dolmen::ReplicatedGroup& group() const { return group_; }

  void start(std::uint32_t member) {
    std::vector<std::string> words;
    if (!namespaces_.empty()) words = {"ip", "netns", "exec", namespaces_[member - 1]};
    if (member == witness_) {
      std::string members;
      for (const std::string& address : group_.members) members += "," + address;
      words.insert(
          words.end(),
          {kWitnessProgram, "log", "witness", "member" + std::to_string(member), "--member",
           std::to_string(member), "--members", members.substr(1), "--key", group_.key_file});
      if (level_ == dolmen::ReplicatedLevel::replicated) {
        words.insert(words.end(), {"--level", "replicated", "--area-bytes", kAreaBytes});
      }
    } else {
      words.insert(words.end(), {DOLMEN_MEMBER_PROGRAM, "serve", std::to_string(member)});
      // Who was there at first knows only those; who came later itself as well.
      for (const std::string& address : addresses_for(member)) words.push_back(address);
      if (level_ == dolmen::ReplicatedLevel::replicated) {
        words.push_back("replicated");
        if (witness_ != 0)
          words.insert(words.end(), {"witness", std::to_string(witness_), kAreaBytes});
      }
    }
    if (lease_.count() > 0 && member != witness_) {
      words.insert(words.end(), {"lease", std::to_string(lease_.count())});
    }
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      if (::chdir(root_.c_str()) == 0) ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
    if (child < 0) std::abort();  // kill(-1) would be everybody's
    pids_[member] = child;
  }
  void signal(std::uint32_t member, int number) { ::kill(pids_[member], number); }
  void end(std::uint32_t member, int number) {
    const auto found = pids_.find(member);
    if (found == pids_.end()) return;
    const pid_t pid = found->second;
    pids_.erase(found);
    ::kill(pid, SIGCONT);
    ::kill(pid, number);
    ::waitpid(pid, nullptr, 0);
  }

  /// One that waits to be taken in; its directory, if there is one, is gone.
  void join(std::uint32_t member, const std::string& address) {
    joined_[member] = address;
    end(member, SIGKILL);
    fs::remove_all(directory(member));
    dolmen::Replicated::create(
        {.group = {.members = addresses_for(member), .key_file = group_.key_file},
         .member = member,
         .directory = directory(member),
         .joins = true})
        .value();
    start(member);
  }
  [[nodiscard]] std::string address(std::uint32_t member) const {
    return addresses_for(member)[member - 1];
  }
  /// 0: nobody is known to.
  std::uint32_t leader(dolmen::ReplicatedClient& client) const {
    const auto statuses = client.status(milliseconds(200));
    if (!statuses) return 0;
    for (const dolmen::ReplicatedStatus& status : *statuses) {
      if (status.role == "leader" && pids_.contains(status.member)) return status.member;
    }
    return 0;
  }
  /// kill -9, and a new life after a while.
  void kill_leader(dolmen::ReplicatedClient& client) {
    const std::uint32_t member = leader(client);
    if (member == 0) return;
    end(member, SIGKILL);
    std::this_thread::sleep_for(milliseconds(50));
    start(member);
  }

 private:
  [[nodiscard]] std::string directory(std::uint32_t member) const {
    return root_ + "/member" + std::to_string(member);
  }
  [[nodiscard]] std::vector<std::string> addresses_for(std::uint32_t member) const {
    std::vector<std::string> addresses = group_.members;
    if (const auto found = joined_.find(member); found != joined_.end()) {
      addresses.resize(std::max<std::size_t>(addresses.size(), member), "-");
      addresses[member - 1] = found->second;
    }
    return addresses;
  }

  std::string root_;
  std::vector<std::string> namespaces_;
  dolmen::ReplicatedLevel level_;
  const std::uint32_t witness_;
  const milliseconds lease_;
  dolmen::ReplicatedGroup group_;
  std::map<std::uint32_t, pid_t> pids_;
  std::map<std::uint32_t, std::string> joined_;  ///< addresses
};

/// Clients that count until they are told to stop, and the history of what they saw.
class Clients {
 public:
  Clients(const dolmen::ReplicatedGroup& group, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      threads_.emplace_back([this, &group, i] { work(group, i); });
    }
  }
  void stop() {
    is_stopping_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  ~Clients() { stop(); }
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  [[nodiscard]] std::uint64_t answered() const { return answered_; }
  /// Empty if all is right. Requires: stop().
  [[nodiscard]] std::string judge() const {
    CounterModel model;
    const auto judged = dolmen::sim::check_linearizability(model, history_.operations());
    if (judged.verdict == dolmen::sim::Verdict::linearizable) return {};
    return judged.text;
  }
  [[nodiscard]] std::string broken() const { return broken_; }

 private:
  static dolmen::Result<std::vector<std::byte>> read(dolmen::ReplicatedClient& client) {
    DOLMEN_TRY(dolmen::ReplicatedReading reading,
               client.read({}, dolmen::ReadLevel::linearizable, std::chrono::seconds(20)));
    return std::move(reading.result);
  }
  void work(const dolmen::ReplicatedGroup& group, unsigned number) {
    dolmen::base::Random random(number);
    auto client = dolmen::ReplicatedClient::make(group).value();
    std::uint64_t last_index = 0;
    while (!is_stopping_) {
      // Different amounts, so that no two orders look alike.
      const bool reads = random.chance(1, 3);
      const std::uint64_t amount = reads ? 0 : 1 + random.below(1'000'000);
      std::size_t place = 0;
      {
        const std::lock_guard lock(mutex_);
        place = history_.invoke(number, {.added = amount});
      }
      const auto answer =
          reads ? read(client)
                : client.call(std::as_bytes(std::span(&amount, 1)), std::chrono::seconds(20));
      if (answer && !reads) {
        const std::uint64_t index = client.last_commit().index;
        if (index <= last_index) broken_ = "a command behind an earlier one of its client";
        last_index = index;
      }
      {
        const std::lock_guard lock(mutex_);
        if (answer && answer->size() == sizeof(std::uint64_t)) {
          history_.respond(place).value = dolmen::base::load<std::uint64_t>(*answer);
          ++answered_;
        } else if (answer) {
          broken_ = "an answer of another size";
        } else if (answer.error().code() != dolmen::Errc::timed_out) {
          broken_ = answer.error().message();
        }
      }
      // Over shared memory they would else make histories of millions for the judge.
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  std::mutex mutex_;
  dolmen::sim::History<CounterModel::Operation> history_;
  std::string broken_;
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<bool> is_stopping_{false};
  std::vector<std::thread> threads_;
};

/// Until the clients have had so many more answers.
inline void wait_for_answers(const Clients& clients, std::uint64_t more) {
  const std::uint64_t wanted = clients.answered() + more;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (clients.answered() < wanted) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << "the group stands still";
    std::this_thread::sleep_for(milliseconds(2));
  }
}

/// A directory in memory, for shared memory; removed with what is in it.
class SharedFolder {
 public:
  SharedFolder() {
    std::string pattern = "/dev/shm/dolmen-members-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~SharedFolder() { fs::remove_all(path_); }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  [[nodiscard]] std::vector<std::string> addresses() const {
    return std::vector<std::string>(kMembers, "shm:" + path_);
  }

 private:
  std::string path_;
};

/// Where a leader's log ended when all three voted in its eyes and their own.
struct Whole {
  std::uint64_t epoch = 0;
  std::uint64_t end = 0;  ///< 0: not seen yet
};

/// Who leads; 0: nobody does, or not all three vote, or one does not know that to be decided: while
/// a life's place is not, its former one still counts, and nobody else may be lost.
inline std::uint32_t leader_of_whole(dolmen::ReplicatedClient& client, Whole& seen) {
  const auto statuses = client.status(milliseconds(100));  // one that starts does not answer yet
  if (!statuses) return 0;
  for (const dolmen::ReplicatedStatus& status : *statuses) {
    if (status.role != "leader" || status.epoch < seen.epoch || !status.learners.empty()) continue;
    if (status.epoch > seen.epoch) seen = {.epoch = status.epoch};
    // A life that is not a voter yet says so itself.
    std::uint64_t known = status.stable_index;
    for (const dolmen::ReplicatedStatus& other : *statuses) {
      if (!other.is_reached || other.epoch != seen.epoch || !other.is_voter) return 0;
      known = std::min(known, other.stable_index);
    }
    if (seen.end == 0) seen.end = status.last_index;
    return known >= seen.end ? status.member : 0;
  }
  return 0;
}

/// An address that no other process is given, and a port that none is given without asking for it:
/// a member that was killed finds it free when it comes back.
inline std::string loopback_address(std::uint32_t number) {
  const auto pid = static_cast<std::uint32_t>(::getpid());  // below 2^22
  return "127." + std::to_string(1 + (pid >> 16)) + "." + std::to_string(pid >> 8 & 0xff) + "." +
         std::to_string(pid & 0xff) + ":" + std::to_string(7400 + number);
}
inline std::vector<std::string> loopback() {
  std::vector<std::string> addresses;
  for (std::uint32_t member = 1; member <= kMembers; ++member) {
    addresses.push_back(loopback_address(member));
  }
  return addresses;
}

}  // namespace dolmen::members
