// SPDX-License-Identifier: Apache-2.0
//
// Members in memory alone: a life that ends is lost with all it had, and the next one is taken in.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

MemberWorldOptions in_memory(std::size_t members, bool is_mapped) {
  MemberWorldOptions options{
      .members = members, .is_in_memory = true, .is_mapped = is_mapped, .step_ns = 100'000};
  options.member.memory_log_bytes = 4u << 10;
  options.member.replica.lane_bytes = 16u << 10;
  return options;
}

/// Of both ways to reach others' memories: messages, and mapped lanes.
class MemberMemory : public testing::TestWithParam<bool> {
 protected:
  void make(std::size_t members) { world_.emplace(in_memory(members, GetParam())); }
  MemberWorld& world() { return *world_; }

  std::optional<std::uint64_t> add(std::uint64_t amount, std::size_t padding = 0) {
    auto told = std::make_shared<std::optional<Executor::Outcome>>();
    const std::vector<std::byte> command = Tally::add(amount, padding);
    world().member(world().lead()).submit(kTestGroup, command, [told](const auto& outcome) {
      *told = outcome;
    });
    EXPECT_TRUE(world().run([&] { return told->has_value(); }));
    if (!*told || (*told)->status != ReplyStatus::done) return std::nullopt;
    return Tally::value_of((*told)->result);
  }
  log::Configuration configuration() { return world().status(world().lead()).configuration; }
  log::ReplicaId self(std::size_t i) { return world().status(i).self; }
  bool is_in(std::size_t i) {
    const auto leader = world().leader();
    return leader && world().is_up(i) && world().status(*leader).configuration.is_voter(self(i));
  }
  bool all_are_in() {
    for (std::size_t i = 0; i < world().size(); ++i) {
      if (!is_in(i)) return false;
    }
    return true;
  }
  void expect_value(std::uint64_t value) {
    ASSERT_TRUE(world().run([&] { return world().agrees(); }));
    for (std::size_t i = 0; i < world().size(); ++i) {
      if (!world().is_up(i)) continue;
      EXPECT_EQ(world().machine(i).value(), value) << "member " << i;
    }
  }
  std::size_t follower() { return (world().lead() + 1) % world().size(); }

 private:
  std::optional<MemberWorld> world_;
};
INSTANTIATE_TEST_SUITE_P(Both, MemberMemory, testing::Bool(),
                         [](const auto& one) { return one.param ? "Mapped" : "Messages"; });

TEST_P(MemberMemory, KeepsNothingOnADiskAndExecutesOnAll) {
  const sim::SimHooks hooks({.buggify = false});
  make(3);
  for (std::uint64_t i = 1; i <= 50; ++i) ASSERT_EQ(add(1, 100), i);
  expect_value(50);
  for (std::size_t i = 0; i < world().size(); ++i) {
    EXPECT_EQ(world().status(i).level, Level::replicated);
    EXPECT_EQ(world().disk(i).op_count(), 0u);
  }
  EXPECT_EQ(hooks.probes().contains("log.direct"), GetParam());
}

TEST_P(MemberMemory, EachMemberInTurnIsLostAndTakenInAgain) {
  make(3);
  std::uint64_t sum = 0;
  for (std::size_t round = 0; round < 6; ++round) {
    const std::size_t lost = round % 3;
    ASSERT_EQ(add(1, 500), ++sum);
    const log::ReplicaId before = self(lost);
    world().crash(lost);
    ASSERT_EQ(add(1, 500), ++sum) << "without " << lost;
    world().start(lost);
    ASSERT_TRUE(world().run([&] { return is_in(lost); })) << "round " << round;
    EXPECT_GT(self(lost), before);
    EXPECT_FALSE(configuration().is_voter(before));
    EXPECT_TRUE(configuration().learners.empty());
    ASSERT_TRUE(world().run([&] { return world().member(lost).roster(kTestGroup).is_settled; }));
    expect_value(sum);
  }
}

TEST_P(MemberMemory, AMajorityThatIsLostIsNotReplacedByLivesThatHaveNothing) {
  make(3);
  ASSERT_EQ(add(7), 7u);
  expect_value(7);
  const std::size_t left = world().lead();
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != left) world().crash(i);
  }
  ASSERT_TRUE(world().run([&] { return world().status(left).role != log::Role::leader; }));
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != left) world().start(i);
  }
  world().run_for(3'000 * kMs);
  for (std::size_t i = 0; i < 3; ++i) {
    if (i == left) continue;
    EXPECT_NE(world().status(i).role, log::Role::leader);
    EXPECT_EQ(world().status(i).stable, 0u);
    EXPECT_EQ(world().machine(i).value(), 0u);
  }
  EXPECT_FALSE(world().leader()) << "it stands still rather than forget";
}

TEST_P(MemberMemory, ALifeThatEndsBetweenTheTwoStepsHoldsUpNobody) {
  make(5);
  ASSERT_EQ(add(7), 7u);
  world().lead();
  // The lowest: whoever asks is asked for in that order.
  std::size_t first = 0;
  if (world().lead() == first) {
    world().cut_off(first, 1'000 * kMs);
    ASSERT_TRUE(world().run([&] { return world().leader() && *world().leader() != first; }));
    world().network().streams().heal();
    ASSERT_TRUE(world().run([&] { return world().agrees(); }));
  }
  world().crash(first);
  ASSERT_TRUE(add(1));
  world().start(first);
  const log::ReplicaId second_life = self(first);
  ASSERT_TRUE(world().run([&] { return configuration().is_learner(second_life); }));
  ASSERT_FALSE(configuration().is_voter(second_life));
  world().crash(first);
  // It stays away; another one is lost as well, and comes back.
  const std::size_t other = world().lead() == 4 ? 3 : 4;
  world().crash(other);
  ASSERT_TRUE(add(1));
  world().start(other);
  ASSERT_TRUE(world().run([&] { return is_in(other); }));
  EXPECT_FALSE(is_in(first));
  // And the third life of the first takes the place of both before it.
  world().start(first);
  ASSERT_TRUE(world().run([&] { return all_are_in(); }));
  EXPECT_TRUE(configuration().learners.empty());
  expect_value(9);
}

TEST_P(MemberMemory, ALifeThatEndsAtAnyMomentOfBeingTakenInLosesNothing) {
  for (std::uint64_t moment = 0; moment < 30; ++moment) {
    make(3);
    ASSERT_EQ(add(5, 2000), 5u);
    const std::size_t lost = follower();
    world().crash(lost);
    ASSERT_EQ(add(1, 2000), 6u);
    world().start(lost);
    for (std::uint64_t i = 0; i < 5 * moment; ++i) world().step();
    world().crash(lost);
    ASSERT_EQ(add(1), 7u) << moment;
    world().start(lost);
    ASSERT_TRUE(world().run([&] { return all_are_in(); })) << moment;
    expect_value(7);
  }
}

TEST_P(MemberMemory, ALeaderThatEndsWhileOneIsTakenInHandsThatOn) {
  for (std::uint64_t moment = 0; moment < 12; ++moment) {
    make(5);
    ASSERT_EQ(add(5, 2000), 5u);
    const std::size_t lost = follower();
    world().crash(lost);
    ASSERT_EQ(add(1), 6u);
    world().start(lost);
    for (std::uint64_t i = 0; i < 12 * moment; ++i) world().step();
    const std::size_t leader = world().lead();
    world().crash(leader);
    ASSERT_TRUE(world().run([&] { return is_in(lost); })) << moment;
    ASSERT_EQ(add(1), 7u);
    world().start(leader);
    ASSERT_TRUE(world().run([&] { return all_are_in(); })) << moment;
    expect_value(7);
  }
}

// --- memory that is used again
// ---------------------------------------------------------------------

/// A leader stands still and is cut off with a command in its hand, and goes on when its followers'
/// memory is in use by the next one. Whether all have the same in the end.
bool agrees_after_a_late_leader(MemberWorld& world) {
  const auto submit = [&](std::size_t member) {
    world.member(member).submit(kTestGroup, Tally::add(1, 100), [](const auto&) {});
  };
  const std::size_t late = world.lead();
  for (int i = 0; i < 20; ++i) {
    submit(late);
    world.run_for(1 * kMs);
  }
  submit(late);
  world.pause(late, 60'000 * kMs);
  world.cut_off(late, 2'000 * kMs);  // what is sent meanwhile arrives then
  const auto has_next = [&] { return world.leader() && *world.leader() != late; };
  EXPECT_TRUE(world.run(has_next));
  const std::size_t next = *world.leader();
  const std::size_t follower = 3 - late - next;
  for (int i = 0; i < 5; ++i) {
    submit(next);
    world.run_for(20 * kMs);
  }
  // What the next one lands now is not looked at before the late one has written, too.
  world.pause(follower, 10 * kMs);
  const log::Index before = world.status(next).stable;
  for (int i = 0; i < 60; ++i) submit(next);
  world.run_for(1 * kMs);
  EXPECT_GT(world.status(next).stable, before + 50) << "decided, with what is in that memory";
  world.pause(late, 0);
  world.run_for(1 * kMs);
  world.pause(follower, 0);
  world.run_for(20 * kMs);
  const bool has_all = world.status(follower).end.index == world.status(next).end.index;
  return has_all && world.run([&] { return world.agrees(); });
}

TEST(MemberMappedMemory, ALeaderThatIsLateWritesWhereNobodyReads) {
  const sim::SimHooks hooks({.buggify = false});
  MemberWorld world(in_memory(3, true));
  EXPECT_TRUE(agrees_after_a_late_leader(world));
  EXPECT_EQ(world.machine(0).value(), 85u) << "the command in its hand was never in a log";
}

TEST(MemberMappedMemory, UsedAgainTooSoonItIsDestroyed) {
  const sim::SimHooks hooks({.buggify = false, .planted = "replication.lane_reused"});
  MemberWorld world(in_memory(3, true));
  EXPECT_FALSE(agrees_after_a_late_leader(world));
  EXPECT_GT(hooks.planted_reached(), 0u);
}

// --- what is not to be taken in
// --------------------------------------------------------------------

/// Somebody with the group's key, who asks to join as whomever it likes.
class Stranger final : private fabric::Sink {
 public:
  Stranger(MemberWorld& world, fabric::NodeId self) : world_(world) {
    fabric::TcpOptions options = fabric::TcpSimWorld::options({self, 1});
    options.listen.reset();
    endpoint_ = world.network().make(options);
  }
  ~Stranger() override { world_.network().before_end(endpoint_->self().node); }
  /// False: not connected yet.
  bool ask_to_join(std::size_t member, log::ReplicaId as) {
    EXPECT_TRUE(endpoint_->poll(*this));
    const auto to = endpoint_->connected(MemberWorld::id(member));
    if (!to) return false;
    return endpoint_
        ->send(*to, encode(Envelope{.kind = EnvelopeKind::join, .group = kTestGroup, .from = as}))
        .has_value();
  }

 private:
  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_message(const fabric::NodeName& /*from*/, base::Bytes /*message*/) override {}
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}

  MemberWorld& world_;
  std::unique_ptr<fabric::TcpEndpoint> endpoint_;
};

TEST_P(MemberMemory, NobodyJoinsForAnotherNodeOrWithoutASeat) {
  make(3);
  ASSERT_EQ(add(1), 1u);
  const log::Configuration before = configuration();
  Stranger stranger(world(), fabric::NodeId{50});
  const std::array<log::ReplicaId, 4> names{
      replica_of(MemberWorld::id(0), 9), replica_of(fabric::NodeId{50}, 1),
      replica_of(fabric::NodeId{50}, ~std::uint32_t{0}), log::ReplicaId{0}};
  for (const log::ReplicaId name : names) {
    for (std::size_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(world().run([&] { return stranger.ask_to_join(i, name); }));
    }
  }
  world().run_for(500 * kMs);
  EXPECT_EQ(configuration(), before);
  EXPECT_EQ(add(1), 2u);
}

TEST(MemberMemoryNot, WithJournalsNobodyIsTakenInByItself) {
  MemberWorld world({});
  const log::Configuration before = world.status(world.lead()).configuration;
  const std::size_t lost = (world.lead() + 1) % 3;
  world.end(lost);
  // A life of the same node, of which the group was never told.
  world.lose_disk(lost, 3);
  world.start(lost);
  world.run_for(1'000 * kMs);
  EXPECT_EQ(world.status(world.lead()).configuration, before);
}

}  // namespace
}  // namespace dolmen::replication
