// SPDX-License-Identifier: Apache-2.0
//
// Members that are added, removed and replaced, and several groups on the same members.
#include <map>
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

/// A second group that members make, host and drop while they serve the first.
class MadeGroup {
 public:
  explicit MadeGroup(MemberWorld& world) : world_(world) {
    for (std::size_t i = 0; i < world.size(); ++i) {
      first_.voters.push_back(MemberWorld::replica(i));
    }
    for (std::size_t i = 0; i < world.size(); ++i) make(i, MemberWorld::replica(i));
  }
  void make(std::size_t i, log::ReplicaId self) {
    const auto made = world_.member(i).make(kOtherGroup, self, first_);
    ASSERT_TRUE(made) << made.error().message();
    EXPECT_EQ(world_.member(i).found(), std::vector<GroupId>{kOtherGroup});
    host(i);
    EXPECT_EQ(world_.member(i).replicas().at(kOtherGroup), self);
  }
  void host(std::size_t i) {
    machines_[i] = std::make_unique<Tally>();
    const auto hosted = world_.member(i).host(kOtherGroup, *machines_[i]);
    ASSERT_TRUE(hosted) << hosted.error().message();
    EXPECT_TRUE(world_.member(i).found().empty());
  }
  /// As carry_out().
  void change(const Change& change) {
    EXPECT_TRUE(world_.run([&] {
      for (std::size_t i = 0; i < world_.size(); ++i) {
        if (!world_.member(i).leads(kOtherGroup)) continue;
        return world_.member(i).change(kOtherGroup, change).status == ChangeStatus::done;
      }
      return false;
    }));
  }
  [[nodiscard]] std::size_t leader() {
    std::optional<std::size_t> found;
    EXPECT_TRUE(world_.run([&] {
      for (std::size_t i = 0; i < world_.size(); ++i) {
        if (world_.is_up(i) && world_.member(i).leads(kOtherGroup)) found = i;
      }
      return found.has_value();
    }));
    return found.value_or(0);
  }
  [[nodiscard]] std::optional<std::uint64_t> add(std::uint64_t amount, std::size_t padding = 0) {
    const auto told = submit(world_, leader(), amount, padding, kOtherGroup);
    EXPECT_TRUE(world_.run([&] { return told->has_value(); }));
    if (!*told || (*told)->status != ReplyStatus::done) return std::nullopt;
    return Tally::value_of((*told)->result);
  }
  [[nodiscard]] std::uint64_t value(std::size_t i) const { return machines_.at(i)->value(); }

 private:
  MemberWorld& world_;
  log::Configuration first_;
  std::map<std::size_t, std::unique_ptr<Tally>> machines_;
};

TEST(MemberMake, AGroupIsMadeWhileTheMemberServesOthers) {
  MemberWorld world({});
  ASSERT_EQ(add(world, 5), 5u);
  MadeGroup made(world);
  EXPECT_EQ(world.member(1).replicas(),
            (std::map<GroupId, log::ReplicaId>{{kTestGroup, MemberWorld::replica(1)},
                                               {kOtherGroup, MemberWorld::replica(1)}}));
  const auto again = world.member(1).make(kOtherGroup, replica_of(MemberWorld::id(1), 9),
                                          {.voters = {MemberWorld::replica(1)}});
  EXPECT_EQ(again.error().code(), Errc::already_exists);
  EXPECT_EQ(made.add(3), 3u);
  EXPECT_EQ(add(world, 1), 6u);
  const auto is_everywhere = [&] {
    return made.value(0) == 3 && made.value(1) == 3 && made.value(2) == 3;
  };
  ASSERT_TRUE(world.run(is_everywhere))
      << made.value(0) << " " << made.value(1) << " " << made.value(2);
  // Durable before anything was executed in it; a member that starts again finds it.
  for (std::size_t i = 0; i < 3; ++i) {
    world.crash(i);
    world.start(i);
    EXPECT_EQ(world.member(i).found(), std::vector<GroupId>{kOtherGroup});
    EXPECT_EQ(world.member(i).replicas().at(kOtherGroup), MemberWorld::replica(i));
    made.host(i);
  }
  EXPECT_EQ(made.add(4), 7u);
  EXPECT_EQ(add(world, 0), 6u);
  EXPECT_EQ(world.violation(), "");
}

TEST(MemberDrop, WhoWaitsIsToldThatItIsLost) {
  MemberWorld world({});
  MadeGroup made(world);
  ASSERT_EQ(add(world, 5), 5u);
  ASSERT_EQ(made.add(1), 1u);
  const std::size_t leader = made.leader();
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != leader) world.end(i);
  }
  const auto proposed = submit(world, leader, 1, 0, kOtherGroup);
  for (int turn = 0; turn < 3; ++turn) ASSERT_TRUE(world.member(leader).turn());
  const auto waiting = submit(world, leader, 1, 0, kOtherGroup);
  ASSERT_FALSE(proposed->has_value());
  ASSERT_FALSE(waiting->has_value());
  // Who is told may ask again at once: nobody is there any more.
  std::optional<Outcome> asked_again;
  world.member(leader).submit(kOtherGroup, Tally::add(1), [&](const Outcome& outcome) {
    EXPECT_EQ(outcome.status, ReplyStatus::lost);
    world.member(leader).submit(kOtherGroup, Tally::add(1),
                                [&](const Outcome& later) { asked_again = later; });
  });
  ASSERT_TRUE(world.member(leader).drop(kOtherGroup));
  ASSERT_TRUE(proposed->has_value() && waiting->has_value() && asked_again.has_value());
  EXPECT_EQ((*proposed)->status, ReplyStatus::lost);
  EXPECT_EQ((*waiting)->status, ReplyStatus::lost);
  EXPECT_EQ(asked_again->status, ReplyStatus::not_leader);

  EXPECT_EQ(world.member(leader).replicas().size(), 1u);
  EXPECT_FALSE(world.member(leader).inside(kOtherGroup).has_value());
  EXPECT_EQ(world.member(leader).drop(kOtherGroup).error().code(), Errc::not_found);
  for (std::size_t i = 0; i < 3; ++i) {
    if (i == leader) continue;
    world.start(i);
    // Also one that nobody runs.
    EXPECT_TRUE(world.member(i).drop(kOtherGroup));
    EXPECT_TRUE(world.member(i).found().empty());
  }
  EXPECT_EQ(add(world, 1), 6u) << "the other group goes on";
}

TEST(MemberDrop, WhatWasDroppedIsForgottenAndAnotherLifeTakesItsPlace) {
  MemberWorld world({});
  MadeGroup made(world);
  std::uint64_t sum = 0;
  std::uint64_t other_sum = 0;
  // So much that checkpoints are written, with the replica and without it.
  const auto fill = [&] {
    for (std::uint64_t i = 1; i <= 60; ++i) {
      ASSERT_EQ(add(world, i, 200), sum += i);
      ASSERT_EQ(made.add(2 * i, 200), other_sum += 2 * i);
    }
  };
  std::map<std::size_t, log::ReplicaId> ids;
  for (std::size_t i = 0; i < 3; ++i) ids[i] = MemberWorld::replica(i);
  for (std::uint32_t life = 20; life < 24; ++life) {
    fill();
    EXPECT_GT(world.member(0).journal().stats().checkpoint_index, 0u);
    // A follower: of a leader the others would have to hear first.
    const std::size_t leaves = (made.leader() + 1) % 3;
    made.change(leave(ids[leaves]));
    ASSERT_TRUE(world.member(leaves).drop(kOtherGroup));
    if (life % 2 == 0) fill();
    world.crash(leaves);
    world.start(leaves);
    EXPECT_TRUE(world.member(leaves).found().empty());
    if (life % 2 == 0) fill();
    ids[leaves] = replica_of(MemberWorld::id(leaves), life);
    made.make(leaves, ids[leaves]);
    EXPECT_EQ(made.value(leaves), 0u) << "nothing is left of the earlier one";
    made.change(learn(ids[leaves]));
    made.change(vote(ids[leaves]));
    ASSERT_TRUE(world.run([&] { return made.value(leaves) == other_sum; }));
    world.crash(leaves);
    world.start(leaves);
    EXPECT_EQ(world.member(leaves).replicas().at(kOtherGroup), ids[leaves]);
    made.host(leaves);
    ASSERT_TRUE(world.run([&] { return made.value(leaves) == other_sum; }));
  }
  expect_same_values(world, sum);
  EXPECT_EQ(world.violation(), "");
}

}  // namespace
}  // namespace dolmen::replication
