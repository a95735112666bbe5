// SPDX-License-Identifier: Apache-2.0
//
// What members say of memory that others read, and what its line shows while leaders change.
#include <algorithm>
#include <cstdint>
#include <optional>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"

namespace dolmen::replication {
namespace {

/// A word of the line in front of the member's state.
std::uint64_t line_of(MemberWorld& world, std::size_t member, std::size_t at) {
  const std::byte* const state = world.machine(member).memory().data();
  return base::load<std::uint64_t>(base::Bytes(state - kMemoryLineBytes, kMemoryLineBytes), at);
}

std::optional<MemoryReply> ask(MemberWorld& world, MemberClient& client, std::size_t member) {
  client.memory().reset();
  bool is_sent = false;
  EXPECT_TRUE(world.run([&] {
    if (!is_sent) is_sent = client.send(member, EnvelopeKind::ask_memory, {});
    return client.memory().has_value();
  }));
  return client.memory();
}

void add(MemberWorld& world, std::size_t leader, std::uint64_t amount) {
  std::optional<ReplyStatus> status;
  world.member(leader).submit(kTestGroup, Tally::add(amount),
                              [&](const Executor::Outcome& outcome) { status = outcome.status; });
  ASSERT_TRUE(world.run([&] { return status.has_value(); }));
  ASSERT_EQ(*status, ReplyStatus::done);
}

TEST(MemberReaders, OnlyWhoLeadsAndHasCaughtUpSaysAnEpoch) {
  for (int kind = 0; kind < 4; ++kind) {
    MemberWorld world({.is_ahead = kind / 2 == 1, .is_read = true, .is_in_memory = kind % 2 == 1});
    MemberClient client(world, fabric::NodeId{100});
    for (int round = 0; round < 3; ++round) {
      const std::size_t leader = world.lead();
      add(world, leader, 5);
      ASSERT_TRUE(world.run([&] { return world.agrees(); }));
      const std::uint64_t epoch = world.status(leader).epoch;
      for (std::size_t i = 0; i < world.size(); ++i) {
        const auto said = ask(world, client, i);
        ASSERT_TRUE(said);
        EXPECT_EQ(said->epoch, i == leader ? epoch : 0) << i;
        EXPECT_EQ(said->leader, static_cast<std::uint64_t>(MemberWorld::id(leader)));
        EXPECT_EQ(said->bytes, 8u);
        EXPECT_EQ(said->configuration, world.status(leader).configuration);
        EXPECT_EQ(line_of(world, i, kEpochWordAt), epoch);
        EXPECT_EQ(line_of(world, i, kConfiguredWordAt), said->configured);
        EXPECT_EQ(base::load<std::uint64_t>(world.machine(i).memory()), 5u * (round + 1));
      }
      world.end(leader);
      ASSERT_TRUE(world.run([&] { return world.leader().has_value(); }));
      world.start(leader);
      ASSERT_TRUE(world.run([&] { return world.agrees(); }));
    }
    EXPECT_EQ(world.violation(), "");
  }
}

// Whoever leads was granted its epoch, and at a majority the line said so before.
TEST(MemberReaders, NobodyLeadsBeforeAMajorityShowsIt) {
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 2 : 10); ++seed) {
    MemberWorld world({.seed = seed, .is_read = true});
    for (int round = 0; round < 4; ++round) {
      const std::uint64_t until_ns = world.now_ns() + 400'000'000;
      while (world.now_ns() < until_ns) {
        world.step();
        for (std::size_t i = 0; i < world.size(); ++i) {
          if (!world.is_up(i) || world.status(i).role != log::Role::leader) continue;
          std::size_t shown = world.size();
          for (std::size_t k = 0; k < world.size(); ++k) {
            if (world.is_up(k) && line_of(world, k, kEpochWordAt) < world.status(i).epoch) --shown;
          }
          ASSERT_GT(2 * shown, world.size()) << "seed " << seed;
        }
      }
      const auto leader = world.leader();
      if (!leader) continue;
      world.end(*leader);
      world.run_for(150'000'000);
      world.start(*leader);
    }
  }
}

// A machine that executes ahead: who is told of something finds it in the leader's memory, and
// nothing that is undone was ever there.
TEST(MemberReaders, WhatIsExecutedAheadIsReadWhenItIsDecidedAndBeforeItIsTold) {
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 2 : 10); ++seed) {
    std::uint64_t told = 0;
    std::uint64_t asked = 0;
    std::uint64_t checks = 0;
    MemberWorld world({.seed = seed, .is_ahead = true, .is_read = true});
    for (int round = 0; round < 4; ++round) {
      const std::size_t leader = world.lead();
      for (int k = 0; k < 5; ++k) {
        ++asked;
        world.member(leader).submit(kTestGroup, Tally::add(1), [&](const Executor::Outcome& done) {
          if (done.status != ReplyStatus::done) return;
          const std::uint64_t value = Tally::value_of(done.result);
          told = std::max(told, value);
          const auto shown = base::load<std::uint64_t>(world.machine(leader).memory());
          EXPECT_GE(shown, value) << "seed " << seed;
          ++checks;
        });
        for (int steps = 0; steps < 20; ++steps) {
          world.step();
          for (std::size_t i = 0; i < world.size(); ++i) {
            if (!world.is_up(i)) continue;
            const auto shown = base::load<std::uint64_t>(world.machine(i).memory());
            EXPECT_LE(shown, asked) << "seed " << seed;
          }
        }
      }
      // Some of it is not decided yet, and what the next leader lacks is undone.
      world.end(leader);
      ASSERT_TRUE(world.run([&] { return world.leader().has_value(); }));
      world.start(leader);
      ASSERT_TRUE(world.run([&] { return world.agrees(); }));
      for (std::size_t i = 0; i < world.size(); ++i) {
        const auto shown = base::load<std::uint64_t>(world.machine(i).memory());
        EXPECT_EQ(shown, world.machine(i).value()) << "seed " << seed;
        EXPECT_GE(shown, told) << "seed " << seed;
      }
    }
    EXPECT_GT(checks, 0u);
    EXPECT_EQ(world.violation(), "");
  }
}

TEST(MemberReaders, AStateThatIsNotReadHasNoMemory) {
  MemberWorld world({});
  MemberClient client(world, fabric::NodeId{100});
  const auto said = ask(world, client, world.lead());
  ASSERT_TRUE(said);
  EXPECT_EQ(said->bytes, 0u);
  EXPECT_EQ(said->epoch, 0u);
}

}  // namespace
}  // namespace dolmen::replication
