// SPDX-License-Identifier: Apache-2.0
//
// An index in three processes, of which the one that leads is killed while clients read its memory
// and put: what all of them saw together is judged.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string_view>
#include <thread>

#include <gtest/gtest.h>

#ifdef DOLMEN_MEMBER_PROGRAM  // builds with examples
#include <dolmen/index.hpp>

#include "base/hooks.hpp"
#include "tests/index_clients.hpp"
#include "tests/replicated_members.hpp"

namespace {

using namespace dolmen::members;
IndexClients::Open open(const dolmen::ReplicatedGroup& group,
                        dolmen::IndexReads reads = dolmen::IndexReads::linearizable) {
  return [group, reads] {
    constexpr std::uint64_t kShards[] = {1};
    return dolmen::Index::make(group, kShards, {.reads = reads}).value();
  };
}

void judge(IndexClients& clients, int kills) {
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  // How many are asked for by message depends on how long nobody is known to lead.
  EXPECT_GT(clients.one_sided(), 0u);
  std::printf("%d kills, %lu answers, %lu read, %lu asked for\n", kills, clients.answered(),
              clients.one_sided(), clients.asked());
}

TEST(IndexProcess, WhatIsReadInMemoryIsTheLatestWhoeverLeads) {
  const auto kills = static_cast<int>(dolmen::base::budget("index_kills"));
  Members members(loopback(), {});
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  IndexClients clients(open(members.group()), 4, 5);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  for (int kill = 0; kill < kills; ++kill) {
    members.kill_leader(status);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(100));
  }
  judge(clients, kills);
}

/// Kills whoever leads a group in memory alone, one after the other.
void kill_leaders(Members& members, IndexClients& clients, int kills) {
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  Whole whole;
  for (int kill = 0; kill < kills; ++kill) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::uint32_t leader = 0;
    while ((leader = leader_of_whole(status, whole)) == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "never whole";
      std::this_thread::sleep_for(milliseconds(5));
    }
    members.end(leader, SIGKILL);
    members.start(leader);
    whole.end = 0;
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(100));
  }
}

// Nobody's memory is unmapped when its process dies.
TEST(IndexProcess, MappedMemoryOfADeadLeaderIsNotBelieved) {
  const auto kills = static_cast<int>(dolmen::base::budget("index_kills"));
  const SharedFolder folder;
  Members members(folder.addresses(), {}, dolmen::ReplicatedLevel::replicated);
  IndexClients clients(open(members.group()), 4, 5);
  ASSERT_NO_FATAL_FAILURE(kill_leaders(members, clients, kills));
  judge(clients, kills);
}

constexpr milliseconds kLease(60);

// It stands still for many times its lease, and goes on as if nothing had been.
TEST(IndexProcess, WhatIsReadByALeaseIsTheLatestWhoeverStandsStill) {
  const auto stops = static_cast<int>(dolmen::base::budget("index_kills") / 2);
  Members members(loopback(), {}, dolmen::ReplicatedLevel::durable, 0, {1}, kLease);
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  IndexClients clients(open(members.group(), dolmen::IndexReads::lease), 4);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  for (int stop = 0; stop < stops; ++stop) {
    const std::uint32_t leader = members.leader(status);
    if (leader != 0) members.signal(leader, SIGSTOP);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
    if (leader != 0) members.signal(leader, SIGCONT);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  }
  judge(clients, stops);
  EXPECT_GT(clients.by_lease(), 0u);
}

TEST(IndexProcess, WhatIsReadByALeaseInMappedMemoryIsTheLatestWhoeverDies) {
  const auto kills = static_cast<int>(dolmen::base::budget("index_kills") / 2);
  const SharedFolder folder;
  Members members(folder.addresses(), {}, dolmen::ReplicatedLevel::replicated, 0, {1}, kLease);
  IndexClients clients(open(members.group(), dolmen::IndexReads::lease), 4);
  ASSERT_NO_FATAL_FAILURE(kill_leaders(members, clients, kills));
  judge(clients, kills);
  EXPECT_GT(clients.by_lease(), 0u);
}

class BelievingHooks final : public dolmen::base::Hooks {
 public:
  BelievingHooks() : former_(dolmen::base::install_hooks(this)) {}
  ~BelievingHooks() override { dolmen::base::install_hooks(former_); }
  BelievingHooks(const BelievingHooks&) = delete;
  BelievingHooks& operator=(const BelievingHooks&) = delete;
  bool buggify(std::string_view) override { return false; }
  void probe(std::string_view) override {}
  bool planted(std::string_view bug) override { return bug == "cluster.lines_not_looked_at"; }
  void step(std::string_view) override {}

 private:
  dolmen::base::Hooks* former_;
};

// That a leader is dead shows without its line; that it stands still does not.
TEST(IndexProcess, AReaderWhoLooksAtNoLinesIsSeen) {
  if (dolmen::base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  const BelievingHooks hooks;
  const SharedFolder folder;
  Members members(folder.addresses(), {}, dolmen::ReplicatedLevel::replicated);
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  IndexClients clients(open(members.group()), 4);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  const std::uint32_t leader = members.leader(status);
  ASSERT_NE(leader, 0u);
  members.signal(leader, SIGSTOP);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (members.leader(status) == leader || members.leader(status) == 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << "nobody else leads";
  }
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(500));
  members.signal(leader, SIGCONT);
  clients.stop();
  EXPECT_NE(clients.judge(), "");
}

}  // namespace
#endif
