// SPDX-License-Identifier: Apache-2.0
//
// Two servers and a witness that is memory alone, whichever of the three is lost.
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
constexpr std::size_t kWitness = 2;

class MemoryWitnessTest : public testing::Test {
 protected:
  MemoryWitnessTest() : world_(options()) {}
  static MemberWorldOptions options() {
    MemberWorldOptions options{
        .has_witness = true, .is_in_memory = true, .is_mapped = true, .step_ns = 100'000};
    options.member.memory_log_bytes = 1u << 20;
    options.member.replica.lane_bytes = 16u << 10;
    return options;
  }
  std::optional<std::uint64_t> add(std::uint64_t amount, std::size_t padding = 0) {
    auto told = std::make_shared<std::optional<Executor::Outcome>>();
    const std::vector<std::byte> command = Tally::add(amount, padding);
    world_.member(world_.lead()).submit(kTestGroup, command, [told](const auto& outcome) {
      *told = outcome;
    });
    if (!world_.run([&] { return told->has_value(); }, 2'000 * kMs)) return std::nullopt;
    if ((*told)->status != ReplyStatus::done) return std::nullopt;
    return Tally::value_of((*told)->result);
  }
  bool all_are_in() {
    const auto leader = world_.leader();
    if (!leader) return false;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (!world_.is_up(i)) return false;
      for (const std::size_t server : {std::size_t{0}, std::size_t{1}}) {
        const Roster roster = world_.member(server).roster(kTestGroup);
        if (!roster.is_settled || !roster.configuration->is_voter(world_.status(i).self)) {
          return false;
        }
      }
    }
    return true;
  }

  const sim::SimHooks hooks_{{.buggify = false}};
  MemberWorld world_;
};

TEST_F(MemoryWitnessTest, HoldsWhatWasToldAndDecidesNothing) {
  for (std::uint64_t i = 1; i <= 50; ++i) ASSERT_EQ(add(1, 100), i);
  ASSERT_TRUE(world_.run([&] { return world_.agrees(); }));
  const std::size_t leader = world_.lead();
  const MemberStatus status = world_.status(kWitness);
  EXPECT_EQ(status.role, log::Role::follower);
  EXPECT_EQ(status.leader, world_.status(leader).self);
  EXPECT_EQ(status.end, world_.status(leader).end);
  EXPECT_EQ(status.level, Level::replicated);
  EXPECT_TRUE(world_.memory_witness(kWitness).is_taken_in(kTestGroup));
  // Its directory and four areas, and not only when it has to take over.
  EXPECT_TRUE(world_.run([&] { return world_.mapped_regions(1 - leader) >= 5; }));
  EXPECT_EQ(world_.status(leader).configuration.witnesses.size(), 1u);
  EXPECT_EQ(world_.violation(), "");
}

TEST_F(MemoryWitnessTest, EachOfTheThreeInTurnIsLostAndTakenInAgain) {
  std::uint64_t sum = 0;
  for (std::size_t round = 0; round < 9; ++round) {
    const std::size_t lost = round % 3;
    ASSERT_EQ(add(1, 500), ++sum);
    const log::ReplicaId before = world_.status(lost).self;
    world_.crash(lost);
    ASSERT_EQ(add(1, 500), ++sum) << "without " << lost;
    world_.start(lost);
    ASSERT_TRUE(world_.run([&] { return all_are_in(); })) << "round " << round;
    EXPECT_GT(world_.status(lost).self, before);
    ASSERT_TRUE(world_.run([&] { return world_.agrees(); }));
    EXPECT_EQ(world_.violation(), "");
  }
  for (const std::size_t server : {std::size_t{0}, std::size_t{1}}) {
    EXPECT_EQ(world_.machine(server).value(), sum);
  }
}

// The other server stands still from the beginning on: the witness alone has what was told.
TEST_F(MemoryWitnessTest, GivesTheOtherServerWhatItLacks) {
  ASSERT_EQ(add(1), 1u);
  ASSERT_TRUE(world_.run([&] { return world_.agrees(); }));
  const std::size_t leader = world_.lead();
  const std::size_t other = 1 - leader;
  world_.pause(other, 60'000 * kMs);
  for (std::uint64_t i = 2; i <= 200; ++i) ASSERT_EQ(add(1, 1000), i);
  EXPECT_GT(hooks_.probes()["log.memory_lane"], 1u) << "the area never filled";
  world_.crash(leader);
  world_.pause(other, 0);
  ASSERT_EQ(world_.lead(), other);
  ASSERT_EQ(add(1), 201u);
  EXPECT_GT(hooks_.probes()["log.adopted_from_memory"], 0u);
  EXPECT_EQ(world_.violation(), "");
}

// A life of it that is over leaves nothing in the servers' memory.
TEST_F(MemoryWitnessTest, WhatWasMappedOfFormerLivesIsGivenBack) {
  ASSERT_EQ(add(1), 1u);
  ASSERT_TRUE(world_.run([&] { return all_are_in() && world_.agrees(); }));
  const std::size_t leader = world_.lead();
  const std::size_t before = world_.mapped_regions(leader);
  for (std::uint64_t life = 2; life < 6; ++life) {
    world_.crash(kWitness);
    ASSERT_EQ(add(1), life);
    world_.start(kWitness);
    ASSERT_TRUE(world_.run([&] { return all_are_in() && world_.agrees(); }));
    ASSERT_EQ(world_.lead(), leader);
    EXPECT_LE(world_.mapped_regions(leader), before + 2) << "lanes of the other server";
  }
}

TEST_F(MemoryWitnessTest, NothingIsToldWhereOnlyAServerIsLeft) {
  ASSERT_EQ(add(7), 7u);
  ASSERT_TRUE(world_.run([&] { return world_.agrees(); }));
  const std::size_t leader = world_.lead();
  world_.crash(kWitness);
  world_.crash(1 - leader);
  ASSERT_TRUE(world_.run([&] { return world_.status(leader).role != log::Role::leader; }));
  // A new life that has nothing is no witness for anybody.
  world_.start(kWitness);
  world_.run_for(2'000 * kMs);
  EXPECT_NE(world_.status(leader).role, log::Role::leader);
  EXPECT_FALSE(world_.memory_witness(kWitness).is_taken_in(kTestGroup));
}

// The state is what is known of clients' sessions.
TEST(MemoryWitness, StaysBehindWhereTheStateIsLargerThanHalfAnArea) {
  const sim::SimHooks hooks({.buggify = false});
  MemberWorldOptions options{.has_witness = true,
                             .is_in_memory = true,
                             .is_mapped = true,
                             .area_bytes = 4096,
                             .step_ns = 100'000};
  options.member.memory_log_bytes = 1024;
  MemberWorld world(options);
  MemberClient client(world, fabric::NodeId{100});
  for (int i = 0; i < 200; ++i) {
    const std::size_t leader = world.lead();
    std::optional<std::uint64_t> asked;
    ASSERT_TRUE(world.run([&] { return (asked = client.ask(leader, 0, 0, {})).has_value(); }));
    ASSERT_TRUE(world.run([&] { return client.answer_to(*asked).has_value(); })) << i;
  }
  EXPECT_GT(hooks.probes()["log.memory_lacks_room"], 0u);
  const std::size_t leader = world.lead();
  EXPECT_LT(world.status(kWitness).end, world.status(leader).end);
  EXPECT_TRUE(
      world.run([&] { return world.status(1 - leader).stable == world.status(leader).stable; }));
  EXPECT_EQ(world.violation(), "");
}

// A command that is too large for the areas is refused, and as many as there may be wait until what
// came before them is decided.
TEST_F(MemoryWitnessTest, ProposesOnlyWhatFitsIntoAnArea) {
  const std::size_t leader = world_.lead();
  std::vector<ReplyStatus> told;
  const auto submit = [&](std::size_t padding) {
    world_.member(leader).submit(kTestGroup, Tally::add(1, padding),
                                 [&](const auto& outcome) { told.push_back(outcome.status); });
  };
  submit(9000);
  ASSERT_TRUE(world_.run([&] { return told.size() == 1; }));
  EXPECT_EQ(told.front(), ReplyStatus::refused);
  told.clear();
  for (int i = 0; i < 200; ++i) submit(1000);
  ASSERT_TRUE(world_.run([&] { return told.size() == 200; }));
  EXPECT_EQ(std::ranges::count(told, ReplyStatus::done), 200);
  world_.crash(1 - leader);
  for (int i = 0; i < 200; ++i) submit(1000);
  ASSERT_TRUE(world_.run([&] { return told.size() == 400; }));
  EXPECT_EQ(std::ranges::count(told, ReplyStatus::done), 400);
  EXPECT_EQ(world_.machine(leader).value(), 400u);
}

// A server that was told of larger areas goes by those that it finds: what it leaves undecided fits
// there when the other one takes over.
TEST(MemoryWitness, IsNotGivenMoreThanItsAreasTakeByWhoTakesThemForLarger) {
  const sim::SimHooks hooks({.buggify = false});
  MemberWorld world({.has_witness = true,
                     .is_in_memory = true,
                     .is_mapped = true,
                     .area_bytes = 16u << 10,
                     .told_area_bytes = 1u << 20,
                     .step_ns = 100'000});
  const std::size_t leader = world.lead();
  ASSERT_TRUE(world.run([&] { return world.agrees(); }));
  int told = 0;
  for (int i = 0; i < 100; ++i) {
    world.member(leader).submit(kTestGroup, Tally::add(1, 1000), [&](const auto& outcome) {
      told += outcome.status == ReplyStatus::done ? 1 : 0;
    });
  }
  ASSERT_TRUE(world.run([&] { return told > 0; }));
  world.crash(leader);
  const std::size_t other = world.lead();
  ASSERT_EQ(other, 1 - leader);
  EXPECT_TRUE(world.run([&] { return world.member(other).leads(kTestGroup); }));
  EXPECT_GE(world.machine(other).value(), static_cast<std::uint64_t>(told));
  EXPECT_EQ(world.violation(), "");
}

// The server that goes on executed what is not decided, and the witness needs a snapshot for that
// to be decided: it takes back what it executed.
TEST(MemoryWitness, AServerThatExecutedAheadGivesItASnapshot) {
  const sim::SimHooks hooks({.buggify = false});
  MemberWorldOptions options{.has_witness = true,
                             .is_ahead = true,
                             .is_in_memory = true,
                             .is_mapped = true,
                             .area_bytes = 16u << 10,
                             .step_ns = 100'000};
  options.member.memory_log_bytes = 1u << 20;
  options.member.replica.lane_bytes = 1024;  // too short for a command: they travel as messages
  MemberWorld world(options);
  const std::size_t leader = world.lead();
  ASSERT_TRUE(world.run([&] { return world.agrees(); }));
  std::uint64_t asked = 0;
  std::uint64_t done = 0;
  const auto submit = [&] {
    ++asked;
    world.member(leader).submit(kTestGroup, Tally::add(1, 1500), [&](const auto& outcome) {
      done += outcome.status == ReplyStatus::done ? 1 : 0;
    });
  };
  world.crash(kWitness);
  for (int i = 0; i < 40; ++i) {
    submit();
    ASSERT_TRUE(world.run([&] { return done == asked; }));
  }
  world.start(kWitness);
  const log::ReplicaId later = world.status(kWitness).self;
  std::uint64_t last_ns = 0;
  ASSERT_TRUE(world.run([&] {
    if (done == asked && std::exchange(last_ns, world.now_ns()) != world.now_ns()) submit();
    const auto deciding = world.member(leader).inside(kTestGroup)->replica->deciding();
    return done != asked && deciding.size() == 1 && deciding.back().is_voter(later);
  }));
  const auto inside = world.member(leader).inside(kTestGroup);
  ASSERT_GT(inside->executed, inside->replica->stable());
  world.crash(1 - leader);
  world.run_for(1'000 * kMs);  // what it leads of now is another epoch
  EXPECT_TRUE(world.run([&] { return world.member(leader).leads(kTestGroup); }));
  EXPECT_EQ(world.violation(), "");
}

TEST(MemoryWitness, SaysWhatItCannotBe) {
  fabric::TcpSimWorld network(1);
  const sys::Env env{&network.clock(), nullptr, nullptr, nullptr};
  const auto plain = network.make(fabric::TcpSimWorld::options({fabric::NodeId{3}, 1}));
  EXPECT_EQ(MemoryWitness::make(env, *plain, {}).error().code(), Errc::unsupported);
  sim::MappedMemory memory;
  sim::MappedEndpoint mapped(network.make(fabric::TcpSimWorld::options({fabric::NodeId{4}, 1})),
                             memory);
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{4095}, std::size_t{4100}, (std::size_t{1} << 30) + 8}) {
    const auto made = MemoryWitness::make(env, mapped, {.area_bytes = bytes});
    ASSERT_FALSE(made) << bytes;
    EXPECT_EQ(made.error().code(), Errc::invalid_argument);
  }
  auto witness = MemoryWitness::make(env, mapped, {.area_bytes = 4096});
  ASSERT_TRUE(witness);
  const auto id = [](std::uint64_t node) { return replica_of(fabric::NodeId{node}, 1); };
  const log::Configuration as_server{.voters = {id(1), id(2), id(4)}, .witnesses = {id(2)}};
  EXPECT_EQ((*witness)->add(kTestGroup, id(4), as_server).error().code(), Errc::invalid_argument);
  EXPECT_EQ((*witness)->word(kTestGroup), 0u);
  EXPECT_FALSE((*witness)->status(kTestGroup));
  const log::Configuration right{.voters = {id(1), id(2), id(4)}, .witnesses = {id(4)}};
  EXPECT_TRUE((*witness)->add(kTestGroup, id(4), right));
  const auto status = (*witness)->status(kTestGroup);
  ASSERT_TRUE(status);
  const auto sent = decode_status(encode(*status));  // as it is for whoever asks
  ASSERT_TRUE(sent) << sent.error().message();
  EXPECT_EQ(sent->configuration, right);
}

}  // namespace
}  // namespace dolmen::replication
