// SPDX-License-Identifier: Apache-2.0
//
// Two servers and a witness.
#include <memory>
#include <optional>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

constexpr std::size_t kWitness = 2;

class Witness : public testing::Test {
 protected:
  /// What the leader answers.
  std::optional<std::uint64_t> add(std::uint64_t amount, std::size_t padding = 0) {
    auto told = std::make_shared<std::optional<Executor::Outcome>>();
    const std::vector<std::byte> command = Tally::add(amount, padding);
    world_.member(world_.lead()).submit(kTestGroup, command, [told](const auto& outcome) {
      *told = outcome;
    });
    EXPECT_TRUE(world_.run([&] { return told->has_value(); }));
    if (!*told || (*told)->status != ReplyStatus::done) return std::nullopt;
    return Tally::value_of((*told)->result);
  }
  void expect_value(std::uint64_t value) {
    ASSERT_TRUE(world_.run([&] { return world_.agrees(); }));
    for (std::size_t i = 0; i < kWitness; ++i) {
      if (!world_.is_up(i)) continue;
      EXPECT_EQ(world_.machine(i).value(), value) << "server " << i;
    }
  }

  MemberWorld world_{{.has_witness = true}};
};

TEST_F(Witness, KeepsEverythingAndExecutesNothing) {
  for (std::uint64_t i = 1; i <= 10; ++i) ASSERT_EQ(add(1), i);
  expect_value(10);
  const MemberStatus status = world_.status(kWitness);
  EXPECT_EQ(status.role, log::Role::follower);
  EXPECT_EQ(status.applied, 0u);
  EXPECT_EQ(world_.machine(kWitness).value(), 0u);
  EXPECT_GE(status.stable, 10u);
  EXPECT_TRUE(status.configuration.is_witness(MemberWorld::replica(kWitness)));
}

TEST_F(Witness, WithItOneServerIsEnoughAndWithoutItTwoAre) {
  std::uint64_t sum = 0;
  for (int round = 0; round < 6; ++round) {
    const std::size_t gone = round % 3;
    world_.crash(gone);
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(add(1), ++sum) << "without " << gone;
    world_.start(gone);
    expect_value(sum);
  }
}

// The other server was away while much happened, and then whoever led is gone for good: only the
// witness has what was acknowledged.
TEST_F(Witness, SuppliesTheOtherServerWhenTheLeaderIsGone) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false});
  for (const std::uint64_t commands : {20, 400}) {
    std::uint64_t sum = *add(0);
    const std::size_t leader = world_.lead();
    const std::size_t behind = 1 - leader;
    world_.crash(behind);
    for (std::uint64_t i = 1; i <= commands; ++i) ASSERT_EQ(add(i, 200), sum += i);
    world_.run_for(1'000'000'000);  // the witness gets snapshots when the leader has some
    world_.crash(leader);
    world_.start(behind);
    ASSERT_EQ(add(0), sum) << commands << " commands behind";
    EXPECT_EQ(world_.lead(), behind);
    world_.start(leader);
    expect_value(sum);
  }
  const auto probes = hooks.probes();
  EXPECT_TRUE(probes.contains("log.fetched"));
  EXPECT_TRUE(probes.contains("log.snapshot_lent"));
  EXPECT_TRUE(probes.contains("log.installed"));
}

TEST_F(Witness, ItsLogIsCutBehindTheLeadersSnapshots) {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 1; i <= 400; ++i) ASSERT_EQ(add(i, 200), sum += i);
  world_.run_for(1'000'000'000);
  expect_value(sum);
  EXPECT_GT(world_.status(kWitness).base, 200u);
  // And it finds that again.
  world_.crash(kWitness);
  world_.start(kWitness);
  EXPECT_GT(world_.status(kWitness).base, 200u);
  expect_value(sum);
}

TEST_F(Witness, GetsASnapshotWhenItWasAwayForLong) {
  world_.crash(kWitness);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 1; i <= 300; ++i) ASSERT_EQ(add(i, 200), sum += i);
  world_.start(kWitness);
  expect_value(sum);
  EXPECT_GT(world_.status(kWitness).base, 100u);
  world_.crash(world_.lead());
  ASSERT_EQ(add(1), sum + 1);
}

TEST_F(Witness, NeverLeads) {
  for (std::size_t i = 0; i < kWitness; ++i) world_.crash(i);
  world_.run_for(5'000'000'000);
  EXPECT_EQ(world_.status(kWitness).role, log::Role::follower);
  EXPECT_EQ(world_.status(kWitness).epoch, world_.status(kWitness).end.origin);
}

TEST_F(Witness, IsNotRunAsAServerNorAServerAsAWitness) {
  world_.end(kWitness);
  world_.end(0);
  Tally machine;
  const auto as_server = world_.open(kWitness)->host(kTestGroup, machine);
  ASSERT_FALSE(as_server);
  EXPECT_EQ(as_server.error().code(), Errc::invalid_argument);
  world_.end(kWitness);
  const auto as_witness = world_.open(0)->host_witness(kTestGroup);
  ASSERT_FALSE(as_witness);
  EXPECT_EQ(as_witness.error().code(), Errc::invalid_argument);
}

}  // namespace
}  // namespace dolmen::replication
