// SPDX-License-Identifier: Apache-2.0
//
// Queries of members: who answers, what they see, and that nothing is written for them.
#include <memory>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::replication {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

class Reads {
 public:
  explicit Reads(const MemberWorldOptions& options) : world(options) {
    leader = world.lead();
    EXPECT_TRUE(world.run([&] { return world.member(leader).leads(kTestGroup); }));
  }
  /// What became of a command from within the leader's process.
  std::uint64_t add(std::uint64_t amount) {
    const auto told = begin(amount);
    EXPECT_TRUE(world.run([&] { return told->has_value(); }));
    return *told && (*told)->status == ReplyStatus::done ? Tally::value_of((*told)->result) : 0;
  }
  std::shared_ptr<std::optional<Executor::Outcome>> begin(std::uint64_t amount) {
    auto told = std::make_shared<std::optional<Executor::Outcome>>();
    world.member(leader).submit(kTestGroup, Tally::add(amount),
                                [told](const Executor::Outcome& outcome) { *told = outcome; });
    return told;
  }
  MemberClient::Told read(std::size_t member, ReadLevel level = ReadLevel::linearizable,
                          std::uint64_t patience_ns = 10'000 * kMs, base::Bytes query = {}) {
    std::optional<std::uint64_t> number;
    std::optional<MemberClient::Told> told;
    const auto is_told = [&] {
      if (!number) number = client.read(member, level, query);
      if (number) told = client.answer_to(*number);
      return told.has_value();
    };
    EXPECT_TRUE(world.run(is_told, patience_ns));
    return told.value_or(MemberClient::Told{.status = ReplyStatus::lost});
  }

  MemberWorld world;
  MemberClient client{world, fabric::NodeId{50}};
  std::size_t leader = 0;
};

TEST(MemberReads, TheLeaderAnswersWhatWasDecidedAndWritesNothing) {
  for (const bool is_ahead : {false, true}) {
    Reads all({.is_ahead = is_ahead});
    EXPECT_EQ(all.add(5), 5u);
    ASSERT_TRUE(all.world.run([&] { return all.world.agrees(); }));
    const MemberStatus before = all.world.status(all.leader);
    const auto told = all.read(all.leader);
    EXPECT_EQ(told.status, ReplyStatus::done);
    EXPECT_EQ(Tally::value_of(told.result), 5u);
    EXPECT_EQ(told.index, before.stable);
    EXPECT_EQ(told.level, Level::durable);
    EXPECT_EQ(all.world.status(all.leader).end, before.end);
  }
}

TEST(MemberReads, AFollowerAnswersStaleReadsAndNamesTheLeaderForOthers) {
  Reads all({});
  EXPECT_EQ(all.add(5), 5u);
  ASSERT_TRUE(all.world.run([&] { return all.world.agrees(); }));
  const std::size_t other = (all.leader + 1) % 3;
  const auto told = all.read(other);
  EXPECT_EQ(told.status, ReplyStatus::not_leader);
  EXPECT_EQ(told.value, static_cast<std::uint64_t>(MemberWorld::id(all.leader)));
  const auto stale = all.read(other, ReadLevel::stale);
  EXPECT_EQ(stale.status, ReplyStatus::done);
  EXPECT_EQ(Tally::value_of(stale.result), 5u);
  EXPECT_EQ(stale.index, all.world.status(other).applied);
  // Cut off it still answers, as of then.
  all.world.cut_off(other, 1'000 * kMs);
  EXPECT_EQ(all.add(6), 11u);
  const auto late = all.read(other, ReadLevel::stale);
  EXPECT_EQ(Tally::value_of(late.result), 5u);
  EXPECT_EQ(late.index, stale.index);
}

TEST(MemberReads, AQueryThatTheMachineRefusesIsRefused) {
  Reads all({});
  const auto told = all.read(all.leader, ReadLevel::linearizable, 10'000 * kMs, Tally::add(1));
  EXPECT_EQ(told.status, ReplyStatus::refused);
  EXPECT_EQ(told.index, 0u);
}

TEST(MemberReads, ALeaderThatIsCutOffAnswersNothingButThatItLeadsNoMore) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Reads all({.seed = seed});
    EXPECT_EQ(all.add(5), 5u);
    all.world.cut_off(all.leader, 2'000 * kMs);
    const auto told = all.read(all.leader);
    EXPECT_EQ(told.status, ReplyStatus::not_leader) << "seed " << seed;
  }
}

TEST(MemberReads, OneThatAnswersThoughItLeadsNoMoreIsSeen) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "replication.read_deposed"});
  Reads all({});
  EXPECT_EQ(all.add(5), 5u);
  all.world.cut_off(all.leader, 2'000 * kMs);
  EXPECT_EQ(all.read(all.leader).status, ReplyStatus::done) << "the test above does not see it";
}

// What it saw may yet be undone: the answer waits.
TEST(MemberReads, WhatWasExecutedAheadIsToldWhenItIsDecided) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false});
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Reads all({.seed = seed, .is_ahead = true});
    EXPECT_EQ(all.add(5), 5u);
    const auto number = all.client.read(all.leader);
    ASSERT_TRUE(number);
    std::uint64_t sum = 5;
    std::optional<MemberClient::Told> told;
    ASSERT_TRUE(all.world.run([&] {
      if (!told) {
        sum += 1;
        (void)all.begin(1);
        told = all.client.answer_to(*number);
      }
      return told.has_value();
    }));
    EXPECT_EQ(told->status, ReplyStatus::done);
    EXPECT_GE(Tally::value_of(told->result), 5u);
    EXPECT_LE(told->index, all.world.status(all.leader).stable);
  }
  EXPECT_GT(hooks.probes()["replication.read_ahead"], 0u);
}

TEST(MemberReads, AWitnessAnswersNoQueries) {
  Reads all({.has_witness = true});
  const auto told = all.read(2, ReadLevel::stale);
  EXPECT_EQ(told.status, ReplyStatus::not_leader);
  EXPECT_EQ(told.value, static_cast<std::uint64_t>(MemberWorld::id(all.leader)));
}

// Their words say that nobody else leads.
TEST(MemberReads, InMappedMemoryTheOthersMaySleepMeanwhile) {
  for (const bool has_witness : {false, true}) {
    Reads all({.has_witness = has_witness, .is_in_memory = true, .is_mapped = true});
    for (std::uint64_t i = 1; i <= 20; ++i) EXPECT_EQ(all.add(1), i);
    all.world.run_for(50 * kMs);
    for (std::size_t i = 0; i < 3; ++i) {
      if (i != all.leader) all.world.pause(i, 1'000 * kMs);
    }
    const auto told = all.read(all.leader, ReadLevel::linearizable, 5 * kMs);
    EXPECT_EQ(told.status, ReplyStatus::done);
    EXPECT_EQ(Tally::value_of(told.result), 20u);
    EXPECT_EQ(told.level, Level::replicated);
  }
}

TEST(MemberReads, OneAloneAnswersWithoutAnybody) {
  Reads all({.members = 1});
  EXPECT_EQ(all.add(3), 3u);
  EXPECT_EQ(Tally::value_of(all.read(all.leader).result), 3u);
}

}  // namespace
}  // namespace dolmen::replication
