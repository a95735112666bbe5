// SPDX-License-Identifier: Apache-2.0
//
// Real members whose place others take while clients count: members of groups in memory alone that
// are killed and come back as somebody else, and members that are added, removed and replaced.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <stdlib.h>

#include <gtest/gtest.h>

#ifdef DOLMEN_MEMBER_PROGRAM  // builds with examples
#include "tests/replicated_members.hpp"

namespace {

using namespace dolmen::members;

void print_statuses(dolmen::ReplicatedClient& client) {
  const auto statuses = client.status(milliseconds(2000));
  if (!statuses) return;
  for (const dolmen::ReplicatedStatus& one : *statuses) {
    std::printf("%u: %s, %s, epoch %lu, leader %u, log %lu to %lu, stable %lu, %s\n", one.member,
                one.is_reached ? "reached" : "away", one.role.c_str(), one.epoch, one.leader,
                one.first_index, one.last_index, one.stable_index,
                one.is_voter ? "votes" : "does not vote");
  }
}

/// What memory holds is kept while a majority lives: so one is killed at a time, and the next when
/// the new life of that one counts again.
void kill_one_after_another(const std::vector<std::string>& addresses, int kills,
                            std::uint32_t witness = 0) {
  Members members(addresses, {}, dolmen::ReplicatedLevel::replicated, witness);
  Clients clients(members.group(), 4);
  auto watcher = dolmen::ReplicatedClient::make(members.group()).value();
  dolmen::base::Random random(4);
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  Whole whole;
  int leaders = 0;
  for (int kill = 0; kill < kills; ++kill) {
    std::uint32_t leader = 0;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    whole.end = 0;
    while ((leader = leader_of_whole(watcher, whole)) == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "no three voters after " << kill;
      std::this_thread::sleep_for(milliseconds(1));
    }
    // Mostly whoever leads.
    auto member =
        random.below(4) == 0 ? static_cast<std::uint32_t>(1 + random.below(kMembers)) : leader;
    if (witness != 0 && kill % 3 == 2) member = witness;
    leaders += member == leader ? 1 : 0;
    members.end(member, SIGKILL);
    std::this_thread::sleep_for(milliseconds(random.below(50)));
    members.start(member);
    wait_for_answers(clients, random.below(100));
    if (testing::Test::HasFatalFailure()) {
      std::printf("after kill %d, of %u; leader was %u\n", kill + 1, member, leader);
      return print_statuses(watcher);
    }
  }
  ASSERT_NO_FATAL_FAILURE(wait_for_answers(clients, 10));
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  std::printf("%d kills, %d of them of the leader, %lu answers\n", kills, leaders,
              clients.answered());
}

int kills_in_memory() { return static_cast<int>(dolmen::base::budget("memory_kills")); }

TEST(ReplicatedChange, NothingAcknowledgedIsLostFromMemoryWhileAMajorityLivesOverShm) {
  const SharedFolder folder;
  kill_one_after_another(folder.addresses(), kills_in_memory());
}

TEST(ReplicatedChange, NothingAcknowledgedIsLostFromMemoryWhileAMajorityLivesOverTcp) {
  kill_one_after_another(loopback(), kills_in_memory());
}

// The witness runs no replica: servers write and read its memory, of which each life begins with
// none.
TEST(ReplicatedChange, TwoServersAndAWitnessThatIsMemoryAloneSurviveAnyOneFailureOverShm) {
  if (kWitnessProgram == nullptr) GTEST_SKIP() << "builds without the command dolmen";
  const SharedFolder folder;
  kill_one_after_another(folder.addresses(), kills_in_memory(), 3);
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
TEST(ReplicatedChange, MembersChangeUnderLoadAndNothingAcknowledgedIsLost) {
  const auto rounds = static_cast<std::uint32_t>(dolmen::base::budget("member_change_rounds"));
  Members members(loopback(), {});
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
    // A number is used again long after who had it has left.
    const std::uint32_t added = kMembers + 1 + round % 60;
    members.join(added, loopback_address(added));
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
TEST(ReplicatedChange, AGroupThatStartsAgainFindsTheMembersThatItHad) {
  Members members(loopback(), {});
  auto client = dolmen::ReplicatedClient::make(members.group()).value();
  const std::uint64_t one = 1;
  const auto count = [&] {
    const auto answer = client.call(std::as_bytes(std::span(&one, 1)), std::chrono::seconds(20));
    return answer ? dolmen::base::load<std::uint64_t>(*answer) : 0;
  };
  EXPECT_EQ(count(), 1u);
  for (std::uint32_t member = 4; member <= 5; ++member) {
    members.join(member, loopback_address(member));
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

}  // namespace
#endif
