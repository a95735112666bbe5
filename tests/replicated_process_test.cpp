// SPDX-License-Identifier: Apache-2.0
//
// Three real members, each a process of its own, killed, stopped and cut off while clients count.
// Every answer is judged by who saw only the clients: whether one counter could have given them.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
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

#ifdef DOLMEN_MEMBER_PROGRAM  // builds with examples
namespace {

namespace fs = std::filesystem;
using dolmen::sim::CounterModel;
using std::chrono::milliseconds;

constexpr std::uint32_t kMembers = 3;
#ifdef DOLMEN_WITNESS_PROGRAM
constexpr const char* kWitnessProgram = DOLMEN_WITNESS_PROGRAM;
#else
constexpr const char* kWitnessProgram = nullptr;  // builds without the command
#endif

bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

/// Members in processes: where a namespace is given, each in its own.
class Members {
 public:
  /// `witness`: which of them is one; 0: none.
  Members(std::vector<std::string> addresses, std::vector<std::string> namespaces,
          dolmen::ReplicatedLevel level = dolmen::ReplicatedLevel::durable,
          std::uint32_t witness = 0)
      : namespaces_(std::move(namespaces)), level_(level), witness_(witness) {
    std::string pattern = (fs::temp_directory_path() / "dolmen-members-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    std::ofstream(root_ + "/group.key") << std::string(64, '7');
    group_ = {.members = std::move(addresses), .key_file = root_ + "/group.key"};
    if (witness != 0) group_.witnesses = {witness};
    for (std::uint32_t member = 1; member <= kMembers; ++member) {
      dolmen::Replicated::create(
          {.group = group_, .member = member, .directory = directory(member), .level = level_})
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
    } else {
      words.insert(words.end(), {DOLMEN_MEMBER_PROGRAM, "serve", std::to_string(member)});
      // Who was there at first knows only those; who came later itself as well.
      for (const std::string& address : addresses_for(member)) words.push_back(address);
      if (level_ == dolmen::ReplicatedLevel::replicated) words.push_back("replicated");
    }
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      if (::chdir(root_.c_str()) == 0) ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
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
  /// kill -9, and a new life after a while.
  void kill_leader(dolmen::ReplicatedClient& client) {
    const auto statuses = client.status(milliseconds(200));
    if (!statuses) return;
    for (const dolmen::ReplicatedStatus& status : *statuses) {
      if (status.role != "leader" || !pids_.contains(status.member)) continue;
      end(status.member, SIGKILL);
      std::this_thread::sleep_for(milliseconds(50));
      start(status.member);
      return;
    }
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
  void work(const dolmen::ReplicatedGroup& group, unsigned number) {
    dolmen::base::Random random(number);
    auto client = dolmen::ReplicatedClient::make(group).value();
    while (!is_stopping_) {
      // Different amounts, so that no two orders look alike.
      const std::uint64_t amount = 1 + random.below(1'000'000);
      std::size_t place = 0;
      {
        const std::lock_guard lock(mutex_);
        place = history_.invoke(number, {.added = amount});
      }
      const auto answer =
          client.call(std::as_bytes(std::span(&amount, 1)), std::chrono::seconds(20));
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
  }

  std::mutex mutex_;
  dolmen::sim::History<CounterModel::Operation> history_;
  std::string broken_;
  std::atomic<std::uint64_t> answered_{0};
  std::atomic<bool> is_stopping_{false};
  std::vector<std::thread> threads_;
};

/// Until the clients have had so many more answers.
void wait_for_answers(const Clients& clients, std::uint64_t more) {
  const std::uint64_t wanted = clients.answered() + more;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (clients.answered() < wanted) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << "the group stands still";
    std::this_thread::sleep_for(milliseconds(2));
  }
}

std::vector<std::string> loopback(std::uint16_t first_port) {
  std::vector<std::string> addresses;
  for (std::uint32_t i = 0; i < kMembers; ++i) {
    addresses.push_back("127.0.0.1:" + std::to_string(first_port + i));
  }
  return addresses;
}

std::uint16_t some_port() { return static_cast<std::uint16_t>(20'000 + ::getpid() % 20'000); }

TEST(ReplicatedProcess, NothingAcknowledgedIsLostWhenMembersAreKilled) {
  const auto kills = static_cast<int>(dolmen::base::budget("process_kills"));
  Members members(loopback(some_port()), {});
  Clients clients(members.group(), 4);
  dolmen::base::Random random(1);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (int kill = 0; kill < kills; ++kill) {
    const auto member = static_cast<std::uint32_t>(1 + random.below(kMembers));
    members.end(member, SIGKILL);
    // Sometimes a second one: then nobody goes on until one is back.
    const auto other = static_cast<std::uint32_t>(1 + random.below(kMembers));
    if (random.below(4) == 0) members.end(other, SIGKILL);
    std::this_thread::sleep_for(milliseconds(random.below(150)));
    for (const std::uint32_t ended : {member, other}) {
      members.end(ended, SIGKILL);
      members.start(ended);
    }
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, random.below(40)));
  }
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%d kills, %lu answers\n", kills, clients.answered());
  dolmen::base::say_bound("process_kills", static_cast<std::uint64_t>(kills));
}

// Each of two servers and a witness in turn; and each server while the other one is behind, so that
// only the witness has what was acknowledged last.
TEST(ReplicatedProcess, TwoServersAndAWitnessSurviveAnyOneFailure) {
  if (kWitnessProgram == nullptr) GTEST_SKIP() << "builds without the command dolmen";
  const auto rounds = static_cast<std::uint32_t>(dolmen::base::budget("witness_rounds"));
  constexpr std::uint32_t kWitness = 3;
  Members members(loopback(static_cast<std::uint16_t>(some_port() + 20)), {},
                  dolmen::ReplicatedLevel::durable, kWitness);
  Clients clients(members.group(), 4);
  dolmen::base::Random random(4);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (std::uint32_t round = 0; round < rounds; ++round) {
    for (std::uint32_t gone = 1; gone <= kMembers; ++gone) {
      members.end(gone, SIGKILL);
      ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 1 + random.below(40)));
      const std::uint32_t other = 3 - gone;
      if (gone != kWitness && random.below(2) == 0) {
        members.end(other, SIGKILL);  // and `gone` has nothing of what was just answered
        members.start(gone);
        ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 1 + random.below(20)));
        members.start(other);
      } else {
        members.start(gone);
      }
      ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, random.below(20)));
    }
  }
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  for (const dolmen::ReplicatedStatus& status : client.status().value()) {
    if (!status.is_reached) continue;
    EXPECT_EQ(status.witnesses, std::vector{kWitness});
    EXPECT_NE(status.leader, kWitness);
  }
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%u kills, %lu answers\n", rounds * 3, clients.answered());
}

TEST(ReplicatedProcess, AMemberThatStoodStillDoesNotAnswerFromThePast) {
  const auto pauses = static_cast<int>(dolmen::base::budget("process_pauses"));
  Members members(loopback(static_cast<std::uint16_t>(some_port() + 10)), {});
  Clients clients(members.group(), 4);
  dolmen::base::Random random(2);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (int pause = 0; pause < pauses; ++pause) {
    const auto member = static_cast<std::uint32_t>(1 + random.below(kMembers));
    members.signal(member, SIGSTOP);
    std::this_thread::sleep_for(milliseconds(300 + random.below(400)));  // above any patience
    members.signal(member, SIGCONT);
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, random.below(100)));
  }
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
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

/// Who leads; 0: nobody does, or not all three vote in its eyes, or one lacks something.
std::uint32_t leader_of_whole(dolmen::ReplicatedClient& client, std::uint64_t& epoch) {
  const auto statuses = client.status(milliseconds(500));
  if (!statuses) return 0;
  for (const dolmen::ReplicatedStatus& status : *statuses) {
    if (status.role != "leader" || status.epoch < epoch || !status.learners.empty()) continue;
    epoch = status.epoch;
    // A life that is not a voter yet says so itself.
    for (const dolmen::ReplicatedStatus& other : *statuses) {
      if (!other.is_reached || other.epoch != epoch || !other.is_voter) return 0;
    }
    return status.member;
  }
  return 0;
}

/// What memory holds is kept while a majority lives: so one is killed at a time, and the next when
/// the new life of that one counts again.
void kill_one_after_another(const std::vector<std::string>& addresses, int kills) {
  Members members(addresses, {}, dolmen::ReplicatedLevel::replicated);
  Clients clients(members.group(), 4);
  auto watcher = dolmen::ReplicatedClient::make(members.group()).value();
  dolmen::base::Random random(4);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  std::uint64_t epoch = 0;
  int leaders = 0;
  for (int kill = 0; kill < kills; ++kill) {
    std::uint32_t leader = 0;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while ((leader = leader_of_whole(watcher, epoch)) == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "no three voters after " << kill;
      std::this_thread::sleep_for(milliseconds(1));
    }
    // Mostly whoever leads.
    const auto member =
        random.below(4) == 0 ? static_cast<std::uint32_t>(1 + random.below(kMembers)) : leader;
    leaders += member == leader ? 1 : 0;
    members.end(member, SIGKILL);
    std::this_thread::sleep_for(milliseconds(random.below(50)));
    members.start(member);
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, random.below(100)));
  }
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%d kills, %d of them of the leader, %lu answers\n", kills, leaders,
              clients.answered());
}

int kills_in_memory() { return static_cast<int>(dolmen::base::budget("memory_kills")); }

TEST(ReplicatedProcess, NothingAcknowledgedIsLostFromMemoryWhileAMajorityLivesOverShm) {
  const SharedFolder folder;
  kill_one_after_another(folder.addresses(), kills_in_memory());
}

TEST(ReplicatedProcess, NothingAcknowledgedIsLostFromMemoryWhileAMajorityLivesOverTcp) {
  kill_one_after_another(loopback(static_cast<std::uint16_t>(some_port() + 200)),
                         kills_in_memory());
}

/// What `change` gives, while whoever leads is killed, if so wished, at some moment of it.
template <class Change>
dolmen::Result<void> change_members(Members& members, dolmen::ReplicatedClient& watcher,
                                    milliseconds killed_after, const Change& change) {
  std::thread killer([&] {
    if (killed_after == milliseconds(0)) return;
    std::this_thread::sleep_for(killed_after);
    members.kill_leader(watcher);
  });
  auto changed = change();
  killer.join();
  return changed;
}

// The group is changed until nobody is left of those whom the clients were told of, and they never
// notice.
TEST(ReplicatedProcess, MembersChangeUnderLoadAndNothingAcknowledgedIsLost) {
  const auto rounds = static_cast<std::uint32_t>(dolmen::base::budget("member_change_rounds"));
  Members members(loopback(static_cast<std::uint16_t>(some_port() + 20)), {});
  Clients clients(members.group(), 4);
  auto admin = dolmen::ReplicatedClient::make(members.group()).value();
  auto watcher = dolmen::ReplicatedClient::make(members.group()).value();
  dolmen::base::Random random(4);
  std::vector<std::uint32_t> now{1, 2, 3};
  constexpr auto kPatience = std::chrono::seconds(60);
  const auto killed_after = [&](std::uint32_t round) {
    return milliseconds(round % 2 == 0 ? 0 : 1 + random.below(60));
  };
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (std::uint32_t round = 0; round < rounds; ++round) {
    // Ports are used again where somebody left; numbers are not.
    const std::uint32_t added = kMembers + 1 + round % 60;
    members.join(added, loopback(static_cast<std::uint16_t>(some_port() + 30 + round % 60))[0]);
    const auto is_added = change_members(members, watcher, killed_after(round), [&] {
      return admin.add_member(added, members.address(added), kPatience);
    });
    ASSERT_TRUE(is_added) << is_added.error().message() << " in round " << round;
    now.push_back(added);

    const std::uint32_t removed = now.front();
    now.erase(now.begin());
    const auto is_removed = change_members(members, watcher, killed_after(round),
                                           [&] { return admin.remove_member(removed, kPatience); });
    ASSERT_TRUE(is_removed) << is_removed.error().message() << " in round " << round;
    members.end(removed, SIGKILL);

    const std::uint32_t lost = now[random.below(now.size())];
    members.join(lost, members.address(lost));
    const auto is_replaced = change_members(members, watcher, killed_after(round), [&] {
      return admin.replace_member(lost, {}, kPatience);
    });
    ASSERT_TRUE(is_replaced) << is_replaced.error().message() << " in round " << round;
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
    const auto statuses = watcher.status();
    ASSERT_TRUE(statuses);
    for (const dolmen::ReplicatedStatus& status : *statuses) {
      if (status.role != "leader") continue;
      EXPECT_EQ(std::set(status.voters.begin(), status.voters.end()),
                std::set(now.begin(), now.end()))
          << "in round " << round;
    }
  }
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%u rounds, %lu answers\n", rounds, clients.answered());
}

// Who starts with an old list finds the others by what its journal holds, and a client by asking.
TEST(ReplicatedProcess, AGroupThatStartsAgainFindsTheMembersThatItHad) {
  Members members(loopback(static_cast<std::uint16_t>(some_port() + 100)), {});
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  const std::uint64_t one = 1;
  const auto count = [&] {
    const auto answer = client.call(std::as_bytes(std::span(&one, 1)), std::chrono::seconds(20));
    return answer ? dolmen::base::load<std::uint64_t>(*answer) : 0;
  };
  EXPECT_EQ(count(), 1u);
  for (std::uint32_t member = 4; member <= 5; ++member) {
    members.join(member, loopback(static_cast<std::uint16_t>(some_port() + 100 + member))[0]);
    const auto added = client.add_member(member, members.address(member));
    ASSERT_TRUE(added) << added.error().message();
  }
  EXPECT_EQ(client.add_member(5, members.address(5)).error().code(), dolmen::Errc::already_exists);
  EXPECT_EQ(client.remove_member(9).error().code(), dolmen::Errc::not_found);
  EXPECT_EQ(client.replace_member(2).error().code(), dolmen::Errc::already_exists);
  EXPECT_EQ(count(), 2u);
  for (std::uint32_t member = 1; member <= 5; ++member) members.end(member, SIGKILL);
  // Three of five are a majority; of those that the list has there is one.
  for (const std::uint32_t member : {1, 4, 5}) members.start(member);
  client = dolmen::ReplicatedClient::make(members.group()).value();
  EXPECT_EQ(count(), 3u);
  for (const std::uint32_t gone : {2, 3}) {
    const auto removed = client.remove_member(gone);
    ASSERT_TRUE(removed) << removed.error().message();
  }
  members.end(1, SIGKILL);
  EXPECT_EQ(count(), 4u) << "by those that it was not told of";
  for (const std::uint32_t gone : {1, 4}) {
    const auto removed = client.remove_member(gone);
    ASSERT_TRUE(removed) << removed.error().message();
  }
  members.end(4, SIGKILL);
  EXPECT_EQ(client.remove_member(5).error().code(), dolmen::Errc::invalid_argument)
      << "it is the last one";
  EXPECT_EQ(count(), 5u);
}

/// Each member in a network name space of its own, on one bridge with the clients. Needs root and
/// iproute2.
class Namespaces {
 public:
  Namespaces() : tag_(std::to_string(::getpid() % 10'000)) {
    is_made_ = run("ip link add dob" + tag_ + " type bridge") &&
               run("ip addr add " + host(254) + "/24 dev dob" + tag_) &&
               run("ip link set dob" + tag_ + " up");
    for (std::uint32_t i = 1; is_made_ && i <= kMembers; ++i) {
      const std::string outer = "dov" + tag_ + "_" + std::to_string(i);
      is_made_ = run("ip netns add " + name(i)) &&
                 run("ip link add " + outer + " type veth peer name eth0 netns " + name(i)) &&
                 run("ip link set " + outer + " master dob" + tag_ + " up") &&
                 in(i, "ip addr add " + host(i) + "/24 dev eth0") && in(i, "ip link set eth0 up") &&
                 in(i, "ip link set lo up");
    }
  }
  ~Namespaces() {
    for (std::uint32_t i = 1; i <= kMembers; ++i) run("ip netns del " + name(i));
    run("ip link del dob" + tag_);
  }
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;

  [[nodiscard]] bool is_made() const { return is_made_; }
  [[nodiscard]] std::string name(std::uint32_t member) const {
    return "don" + tag_ + "_" + std::to_string(member);
  }
  [[nodiscard]] static std::string host(std::uint32_t number) {
    return "10.213.77." + std::to_string(number);
  }
  /// What `from` sends to `to` is dropped; from then on, or no more.
  void cut(std::uint32_t from, std::uint32_t to, bool is_cut) const {
    in(from,
       std::string("ip route ") + (is_cut ? "replace" : "del") + " blackhole " + host(to) + "/32");
  }
  void heal() const {
    for (std::uint32_t from = 1; from <= kMembers; ++from) {
      for (std::uint32_t to = 1; to <= kMembers; ++to) {
        if (from != to) cut(from, to, false);
      }
    }
  }

 private:
  bool in(std::uint32_t member, const std::string& command) const {
    return run("ip netns exec " + name(member) + " " + command);
  }
  const std::string tag_;
  bool is_made_ = false;
};

TEST(ReplicatedProcess, NothingAcknowledgedIsLostWhenLinksAreCut) {
  const Namespaces network;
  if (!network.is_made()) {
    GTEST_SKIP() << "no network name spaces here: that takes root and the package iproute2";
  }
  const auto partitions = static_cast<int>(dolmen::base::budget("process_partitions"));
  std::vector<std::string> addresses;
  std::vector<std::string> names;
  for (std::uint32_t i = 1; i <= kMembers; ++i) {
    addresses.push_back(Namespaces::host(i) + ":7400");
    names.push_back(network.name(i));
  }
  Members members(addresses, names);
  Clients clients(members.group(), 4);
  dolmen::base::Random random(3);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  for (int partition = 0; partition < partitions; ++partition) {
    const auto one = static_cast<std::uint32_t>(1 + random.below(kMembers));
    const std::uint32_t second = one % kMembers + 1;
    const std::uint32_t third = second % kMembers + 1;
    const auto length = milliseconds(300 + random.below(700));
    switch (partition % 5) {
      case 0:  // one is alone
        for (const std::uint32_t other : {second, third}) {
          network.cut(one, other, true);
          network.cut(other, one, true);
        }
        break;
      case 1:  // one is not heard
        network.cut(one, second, true);
        network.cut(one, third, true);
        break;
      case 2:  // two do not hear each other, and both the third
        network.cut(one, second, true);
        network.cut(second, one, true);
        break;
      case 3:  // on and off
        for (int i = 0; i < 4; ++i) {
          network.cut(one, second, true);
          std::this_thread::sleep_for(milliseconds(80));
          network.cut(one, second, false);
          std::this_thread::sleep_for(milliseconds(40));
        }
        break;
      default:  // during a take-over
        members.end(second, SIGKILL);
        network.cut(one, third, true);
        members.start(second);
        break;
    }
    std::this_thread::sleep_for(length);
    network.heal();
    ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 1 + random.below(50)));
  }
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%d partitions, %lu answers\n", partitions, clients.answered());
}

}  // namespace
#endif
