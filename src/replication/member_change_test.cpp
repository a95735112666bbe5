// SPDX-License-Identifier: Apache-2.0
//
// Members that are added, removed and replaced, and several groups on the same members.
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

using Outcome = Executor::Outcome;

std::shared_ptr<std::optional<Outcome>> submit(MemberWorld& world, std::size_t member,
                                               std::uint64_t amount, std::size_t padding = 0,
                                               const GroupId& group = kTestGroup) {
  auto told = std::make_shared<std::optional<Outcome>>();
  world.member(member).submit(group, Tally::add(amount, padding),
                              [told](const Outcome& outcome) { *told = outcome; });
  return told;
}
std::optional<std::uint64_t> add(MemberWorld& world, std::uint64_t amount, std::size_t padding = 0,
                                 const GroupId& group = kTestGroup) {
  EXPECT_TRUE(world.run([&] { return world.leader(group).has_value(); }));
  const auto told = submit(world, world.leader(group).value_or(0), amount, padding, group);
  EXPECT_TRUE(world.run([&] { return told->has_value(); }));
  if (!*told || (*told)->status != ReplyStatus::done) return std::nullopt;
  return Tally::value_of((*told)->result);
}
ChangeStatus ask(MemberWorld& world, const Change& change) {
  return world.member(world.lead()).change(kTestGroup, change).status;
}
/// Asks until it is done, or says something that waiting does not help.
ChangeStatus carry_out(MemberWorld& world, const Change& change) {
  ChangeStatus status{};
  const std::uint64_t begun_ns = world.now_ns();
  EXPECT_TRUE(world.run([&] {
    if (!world.leader()) return false;
    status = ask(world, change);
    // A new leader has to hear from the others first.
    if (status == ChangeStatus::no_majority) return world.now_ns() > begun_ns + 2'000'000'000;
    return status != ChangeStatus::under_way && status != ChangeStatus::behind &&
           status != ChangeStatus::busy && status != ChangeStatus::not_leader;
  }));
  return status;
}
log::ReplicaId joiner(std::size_t member) {
  return replica_of(MemberWorld::id(member), MemberWorld::kJoinedLife);
}
Change learn(log::ReplicaId id, const std::string& address = {}) {
  return {.kind = ChangeKind::learn, .replica = id, .instead = {}, .address = address};
}
Change vote(log::ReplicaId id, log::ReplicaId instead = {}) {
  return {.kind = ChangeKind::vote, .replica = id, .instead = instead};
}
Change leave(log::ReplicaId id) { return {.kind = ChangeKind::leave, .replica = id}; }

void expect_same_values(MemberWorld& world, std::uint64_t value) {
  ASSERT_TRUE(world.run([&] { return world.agrees(); }));
  for (std::size_t i = 0; i < world.size(); ++i) {
    if (!world.is_up(i)) continue;
    EXPECT_EQ(world.machine(i).value(), value) << "member " << i;
  }
}

TEST(MemberChange, ANewMemberLearnsAndThenVotes) {
  for (const bool is_ahead : {false, true}) {
    MemberWorld world({.members = 4, .founders = 3, .is_ahead = is_ahead});
    std::uint64_t sum = 0;
    for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_EQ(add(world, i, 200), sum += i);
    EXPECT_GT(world.status(world.lead()).base, 0u) << "it needs a snapshot";
    EXPECT_EQ(world.status(3).end.index, 0u);
    EXPECT_EQ(ask(world, vote(joiner(3))), ChangeStatus::unknown);
    EXPECT_EQ(ask(world, learn(joiner(3), MemberWorld::address(3))), ChangeStatus::under_way);
    const ChangeReply early = world.member(world.lead()).change(kTestGroup, vote(joiner(3)));
    EXPECT_EQ(early.status, ChangeStatus::behind);
    EXPECT_GE(early.value, 200u);
    EXPECT_EQ(carry_out(world, learn(joiner(3))), ChangeStatus::done);
    EXPECT_EQ(carry_out(world, vote(joiner(3))), ChangeStatus::done);
    EXPECT_EQ(world.status(world.lead()).configuration.voters.size(), 4u);
    EXPECT_EQ(add(world, 1), sum + 1);
    expect_same_values(world, sum + 1);
    // Everybody knows where it is, and so does who starts again.
    for (int life = 0; life < 2; ++life) {
      for (std::size_t i = 0; i < 4; ++i) {
        ASSERT_EQ(world.member(i).roster(kTestGroup).addresses.size(), 4u);
        EXPECT_EQ(world.addresses(i).at(MemberWorld::id(3)), MemberWorld::address(3));
        world.end(i);
        world.start(i);
        world.step();
        EXPECT_EQ(world.addresses(i).at(MemberWorld::id(3)), MemberWorld::address(3));
        EXPECT_EQ(world.member(i).roster(kTestGroup).configuration->voters.size(), 4u);
      }
      for (std::uint64_t i = 1; life == 0 && i <= 200; ++i) (void)add(world, 0, 200);
      ASSERT_TRUE(world.run([&] { return world.agrees(); }));
    }
  }
}

TEST(MemberChange, TheLeaderItselfMayLeave) {
  MemberWorld world({});
  ASSERT_EQ(add(world, 5), 5u);
  const std::size_t old = world.lead();
  EXPECT_EQ(ask(world, leave(MemberWorld::replica(old))), ChangeStatus::under_way);
  ASSERT_TRUE(world.run([&] { return world.leader() && *world.leader() != old; }));
  EXPECT_EQ(carry_out(world, leave(MemberWorld::replica(old))), ChangeStatus::done);
  world.end(old);
  EXPECT_EQ(add(world, 1), 6u);
  const std::size_t second = world.lead();
  const std::size_t third = 3 - old - second;
  EXPECT_EQ(carry_out(world, leave(MemberWorld::replica(third))), ChangeStatus::done);
  world.end(third);
  EXPECT_EQ(add(world, 1), 7u);
  EXPECT_EQ(carry_out(world, leave(MemberWorld::replica(second))), ChangeStatus::last_voter);
  EXPECT_EQ(add(world, 1), 8u);
}

TEST(MemberChange, AReplicaThatLostItsDiskIsAnother) {
  MemberWorld world({});
  std::uint64_t sum = 0;
  for (std::uint64_t i = 1; i <= 50; ++i) ASSERT_EQ(add(world, i, 200), sum += i);
  for (std::uint32_t life = 20; life < 26; ++life) {
    const std::size_t lost = life % 3;  // also who leads
    const log::ReplicaId old = world.status(lost).self;
    const log::ReplicaId next = replica_of(MemberWorld::id(lost), life);
    world.crash(lost);
    world.lose_disk(lost, life);
    world.start(lost);
    EXPECT_EQ(carry_out(world, learn(next)), ChangeStatus::done);
    EXPECT_EQ(carry_out(world, vote(next, old)), ChangeStatus::done);
    const auto configuration = world.status(world.lead()).configuration;
    EXPECT_TRUE(configuration.is_voter(next) && configuration.voters.size() == 3);
    EXPECT_EQ(add(world, life), sum += life);
    expect_same_values(world, sum);
  }
}

TEST(MemberChange, WhatCannotBeIsRefused) {
  MemberWorld world({.members = 5, .founders = 3});
  ASSERT_EQ(add(world, 5), 5u);
  const std::size_t leader = world.lead();
  const std::size_t other = (leader + 1) % 3;
  const std::size_t third = (leader + 2) % 3;
  const ChangeReply elsewhere = world.member(other).change(kTestGroup, learn(joiner(3)));
  EXPECT_EQ(elsewhere.status, ChangeStatus::not_leader);
  EXPECT_EQ(elsewhere.value, static_cast<std::uint64_t>(MemberWorld::id(leader)));
  EXPECT_EQ(world.member(leader).change(kOtherGroup, learn(joiner(3))).status,
            ChangeStatus::not_leader);
  EXPECT_EQ(ask(world, learn(replica_of(MemberWorld::id(3), kFirstLife))), ChangeStatus::founder);
  EXPECT_EQ(ask(world, learn(joiner(3))), ChangeStatus::under_way);
  EXPECT_EQ(ask(world, learn(joiner(4))), ChangeStatus::busy);
  EXPECT_EQ(ask(world, learn(joiner(3))), ChangeStatus::under_way);
  EXPECT_EQ(carry_out(world, learn(joiner(3))), ChangeStatus::done);
  EXPECT_EQ(carry_out(world, learn(joiner(3))), ChangeStatus::done) << "the same again";
  EXPECT_EQ(carry_out(world, leave(joiner(3))), ChangeStatus::done);
  EXPECT_EQ(carry_out(world, leave(joiner(3))), ChangeStatus::done);
  // Of two of whom one is away there is no majority.
  world.end(third);
  ASSERT_EQ(add(world, 1), 6u);
  EXPECT_EQ(carry_out(world, leave(MemberWorld::replica(other))), ChangeStatus::no_majority);
  EXPECT_EQ(carry_out(world, leave(MemberWorld::replica(third))), ChangeStatus::done);
  EXPECT_EQ(add(world, 1), 7u);
}

TEST(MemberChange, AClientAsksForItOverTheFabricAndNonsenseIsDropped) {
  MemberWorld world({.members = 4, .founders = 3});
  MemberClient client(world, fabric::NodeId{50});
  ASSERT_EQ(add(world, 1), 1u);
  const std::size_t leader = world.lead();
  const auto exchange = [&](EnvelopeKind kind, const std::vector<std::byte>& body) {
    EXPECT_TRUE(world.run([&] { return client.send(leader, kind, body); }));
  };
  exchange(EnvelopeKind::change, encode(learn(joiner(3))));
  ASSERT_TRUE(world.run([&] { return client.change_reply().has_value(); }));
  EXPECT_EQ(client.change_reply()->status, ChangeStatus::under_way);
  exchange(EnvelopeKind::ask_roster, {});
  ASSERT_TRUE(world.run([&] { return client.roster().has_value(); }));
  EXPECT_EQ(client.roster()->groups, std::vector<GroupId>{kTestGroup});
  EXPECT_TRUE(client.roster()->configuration->is_learner(joiner(3)));
  base::Random random(3);
  for (int i = 0; i < 300; ++i) {
    std::vector<std::byte> body(random.below(80));
    for (std::byte& byte : body) byte = static_cast<std::byte>(random.below(4));
    exchange(random.below(2) == 0 ? EnvelopeKind::change : EnvelopeKind::roster, body);
  }
  // What somebody says of addresses counts only as long as the log says nothing.
  exchange(EnvelopeKind::roster, encode(Roster{.addresses = {{MemberWorld::id(3), "nowhere"},
                                                             {fabric::NodeId{90}, "far away"}}}));
  ASSERT_TRUE(world.run([&] { return world.addresses(leader).contains(fabric::NodeId{90}); }));
  EXPECT_EQ(carry_out(world, leave(joiner(3))), ChangeStatus::done);
  EXPECT_EQ(carry_out(world, learn(joiner(3), MemberWorld::address(3))), ChangeStatus::done);
  ASSERT_TRUE(world.run(
      [&] { return world.addresses(leader).at(MemberWorld::id(3)) == MemberWorld::address(3); }));
  EXPECT_EQ(add(world, 1), 2u);
}

TEST(MemberGroups, OneSyncIsForAllGroups) {
  MemberWorld world(
      {.has_other_group = true, .journal = {.segment_bytes = 256u << 10}});  // no checkpoint
  // Of a member that leads neither.
  ASSERT_TRUE(world.run([&] { return world.leader() && world.leader(kOtherGroup); }));
  const std::size_t follower =
      3 - *world.leader() -
      (*world.leader() == *world.leader(kOtherGroup) ? (*world.leader() + 1) % 3
                                                     : *world.leader(kOtherGroup));
  ASSERT_NE(follower, *world.leader());
  const auto at_once = [&](bool in_both) {
    std::vector<std::shared_ptr<std::optional<Outcome>>> all;
    const std::uint64_t before = world.member(follower).journal().stats().syncs;
    for (int i = 0; i < 100; ++i) {
      all = {submit(world, *world.leader(), 1)};
      if (in_both) all.push_back(submit(world, *world.leader(kOtherGroup), 1, 0, kOtherGroup));
      EXPECT_TRUE(world.run([&] {
        return std::ranges::all_of(all, [](const auto& told) { return told->has_value(); });
      }));
      world.run_for(1'000'000);
    }
    return world.member(follower).journal().stats().syncs - before;
  };
  const std::uint64_t alone = at_once(false);
  const std::uint64_t both = at_once(true);
  EXPECT_GE(alone, 100u);
  EXPECT_LE(both, alone + alone / 2) << "two logs would sync twice as often";
  EXPECT_TRUE(world.run([&] {
    return world.machine(follower).value() == 200 && world.other_machine(follower).value() == 100;
  }));
}

TEST(MemberGroups, EachHasItsOwnLeaderAndLosesNothing) {
  const sim::SimHooks hooks({.seed = 1});
  int apart = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    MemberWorld world({.seed = seed, .has_other_group = true});
    std::uint64_t sum = 0;
    std::uint64_t other_sum = 0;
    for (std::uint64_t round = 1; round <= 6; ++round) {
      for (std::uint64_t i = 1; i <= 20; ++i) {
        ASSERT_EQ(add(world, i, 100), sum += i) << "seed " << seed;
        ASSERT_EQ(add(world, 2 * i, 100, kOtherGroup), other_sum += 2 * i) << "seed " << seed;
      }
      ASSERT_TRUE(world.run([&] { return world.leader() && world.leader(kOtherGroup); }));
      apart += *world.leader() != *world.leader(kOtherGroup) ? 1 : 0;
      const std::size_t crashed = round % 2 == 0 ? *world.leader() : *world.leader(kOtherGroup);
      world.crash(crashed, {.kind = sim::CrashPlan::Kind::random, .argument = seed * round});
      ASSERT_EQ(add(world, 0), sum);
      ASSERT_EQ(add(world, 0, 0, kOtherGroup), other_sum);
      world.start(crashed);
    }
    const auto is_same = [&] {
      for (std::size_t i = 0; i < 3; ++i) {
        if (world.machine(i).value() != sum || world.other_machine(i).value() != other_sum) {
          return false;
        }
      }
      return true;
    };
    EXPECT_TRUE(world.run(is_same)) << "seed " << seed;
    EXPECT_GT(world.status(0).base, 0u) << "checkpoints were written";
    // A roster names all groups of the member.
    EXPECT_EQ(world.member(0).roster(kTestGroup).groups,
              (std::vector<GroupId>{kTestGroup, kOtherGroup}));
  }
  EXPECT_GT(apart, 3);
}

}  // namespace
}  // namespace dolmen::replication
