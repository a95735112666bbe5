// SPDX-License-Identifier: Apache-2.0
//
// The simulated fabric: what faults of links do, each alone; time, and equal runs. What the
// interface promises is held to by fabric/sim_conformance_test.cpp.
#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_fabric_fixture.hpp"

namespace dolmen::sim {
namespace {

// --- links ---------------------------------------------------------------------------------------

TEST(SimFabric, LossAndRepetitionDelayAndNothingElse) {
  Nodes nodes(2);
  nodes.world.set_faults({.loss_ppm = 300'000, .repeat_ppm = 300'000});
  for (std::uint64_t i = 1; i <= 500; ++i) nodes.send(1, 2, i);
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).messages.size() == 500; }));
  for (std::uint64_t i = 1; i <= 500; ++i) EXPECT_EQ(nodes.heard(2).messages[i - 1], i);
  const base::MutableBytes memory = nodes.share(2, 8);
  for (std::uint64_t i = 0; i < 500; ++i) {
    ASSERT_TRUE(nodes.at(1).fetch_add(OpId{i}, nodes.place(2, 0), 1));
  }
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(1).completed.size() == 500; }));
  EXPECT_EQ(base::load<std::uint64_t>(memory), 500u);
  EXPECT_TRUE(nodes.heard(1).lost.empty());
  EXPECT_GT(nodes.world.counts().lost, 300u);
  EXPECT_GT(nodes.world.counts().repeated, 300u);
}

TEST(SimFabric, AMessageThatIsOvertakenEndsTheConnectionAndNeverArrivesLate) {
  Nodes nodes(2);
  nodes.world.set_faults({.overtaken_ppm = 20'000});
  std::uint64_t sent = 0;
  ASSERT_TRUE(nodes.run([&] {
    if (nodes.heard(1).up.contains(Nodes::id(2)) && sent < 2'000) {
      const std::array<std::uint64_t, 1> word{sent + 1};
      if (nodes.at(1).send(nodes.at(2).self(), std::as_bytes(std::span(word)))) ++sent;
    }
    return sent == 2'000;
  }));
  nodes.run_for(100 * kMs);
  std::uint64_t before = 0;
  for (const std::uint64_t number : nodes.heard(2).messages) {
    EXPECT_GT(number, before);
    before = number;
  }
  EXPECT_LT(nodes.heard(2).messages.size(), 2'000u);
  ASSERT_GT(nodes.heard(2).lost.size(), 3u);
  EXPECT_EQ(nodes.heard(2).lost[0].second, Errc::corrupt);
  EXPECT_EQ(nodes.heard(1).lost[0].second, Errc::connection_lost);
}

TEST(SimFabric, ACutOfOneDirectionHoldsBackThatDirection) {
  Nodes nodes(2);
  nodes.world.cut(Nodes::id(1), Nodes::id(2), 50 * kMs);
  const std::uint64_t begun_ns = nodes.world.now_ns();
  nodes.send(1, 2, 1);
  nodes.send(2, 1, 2);
  ASSERT_TRUE(nodes.run([&] { return !nodes.heard(1).messages.empty(); }));
  EXPECT_LT(nodes.world.now_ns() - begun_ns, kMs);
  ASSERT_TRUE(nodes.run([&] { return !nodes.heard(2).messages.empty(); }));
  EXPECT_GE(nodes.world.now_ns() - begun_ns, 50 * kMs);
  EXPECT_TRUE(nodes.heard(1).lost.empty());
}

TEST(SimFabric, AFlappingLinkLetsThroughWhatComesWhenItIsWhole) {
  Nodes nodes(2);
  nodes.world.flap(Nodes::id(1), Nodes::id(2), 5 * kMs, 5 * kMs, 100 * kMs);
  std::uint64_t late = 0;
  for (std::uint64_t i = 1; i <= 50; ++i) {
    const std::uint64_t sent_ns = nodes.world.now_ns();
    nodes.send(1, 2, i);
    ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).messages.size() == i; }));
    late += nodes.world.now_ns() - sent_ns > 100 * kUs;
    nodes.run_for(2 * kMs);
  }
  EXPECT_GE(late, 5u);
  EXPECT_LT(late, 30u);
}

TEST(SimFabric, WhatIsOnItsWayForTooLongEndsTheConnection) {
  FabricModel model;
  model.give_up_ns = 20 * kMs;
  Nodes nodes(3, model);
  // A cut.
  nodes.world.cut(Nodes::id(1), Nodes::id(2), 100 * kMs);
  nodes.send(1, 2, 1);
  ASSERT_TRUE(nodes.run([&] { return !nodes.heard(1).lost.empty(); }));
  EXPECT_EQ(nodes.heard(1).lost[0].second, Errc::connection_lost);
  EXPECT_TRUE(nodes.heard(2).lost.empty()) << "the other side cannot know yet";
  ASSERT_TRUE(nodes.run([&] { return !nodes.heard(2).lost.empty(); }));
  EXPECT_TRUE(nodes.heard(2).messages.empty());
  ASSERT_TRUE(nodes.run([&] { return nodes.is_meshed(); }));
  // A node without power: who asks it hears of it, who does not, does not.
  nodes.world.power_off(Nodes::id(3));
  const NodeName silent = nodes.at(3).self();
  nodes.end(3);
  std::array<std::byte, 8> into{};
  ASSERT_TRUE(nodes.at(1).read(OpId{1}, {silent, kRegion, 0}, into));
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(1).lost.size() == 2; }));
  EXPECT_EQ(nodes.heard(1).completed.back().second, Errc::connection_lost);
  EXPECT_EQ(nodes.heard(2).lost.size(), 1u);
}

TEST(SimFabric, ANewLifeIsConnectedHoweverLongItWasCutOff) {
  FabricModel model;
  model.give_up_ns = 20 * kMs;
  Nodes nodes(2, model);
  for (const std::uint64_t starts : {1u, 2u}) {
    nodes.world.linger(Nodes::id(starts));
    nodes.end(starts);
    nodes.world.cut(Nodes::id(1), Nodes::id(2), 300 * kMs);
    nodes.world.cut(Nodes::id(2), Nodes::id(1), 300 * kMs);
    nodes.start(starts);
    ASSERT_TRUE(nodes.run([&] { return nodes.is_meshed(); })) << starts;
  }
}

TEST(SimFabric, ABrokenConnectionIsMadeAgain) {
  Nodes nodes(3);
  nodes.world.break_connection(Nodes::id(1), Nodes::id(2));
  ASSERT_TRUE(nodes.run([&] {
    return nodes.heard(1).lost.size() == 1 && nodes.heard(2).lost.size() == 1 && nodes.is_meshed();
  }));
  EXPECT_TRUE(nodes.heard(3).lost.empty());
}

TEST(SimFabric, LinksDiffer) {
  Nodes nodes(3);
  nodes.world.set_faults(Nodes::id(1), Nodes::id(3),
                         {.delay_min_ns = 5 * kMs, .delay_max_ns = 6 * kMs});
  nodes.send(1, 2, 1);
  nodes.send(1, 3, 1);
  const std::uint64_t begun_ns = nodes.world.now_ns();
  ASSERT_TRUE(nodes.run([&] { return !nodes.heard(2).messages.empty(); }));
  EXPECT_LT(nodes.world.now_ns() - begun_ns, kMs);
  ASSERT_TRUE(nodes.run([&] { return !nodes.heard(3).messages.empty(); }));
  EXPECT_GE(nodes.world.now_ns() - begun_ns, 5 * kMs);
}

TEST(SimFabric, ClientsDialEverybodyButEachOther) {
  Nodes nodes(2);
  auto one = nodes.world.make({.self = {NodeId{50}, 1}, .is_client = true});
  auto other = nodes.world.make({.self = {NodeId{51}, 1}, .is_client = true});
  Heard one_heard;
  Heard other_heard;
  EXPECT_FALSE(nodes.run(
      [&] {
        EXPECT_TRUE(one->poll(one_heard));
        EXPECT_TRUE(other->poll(other_heard));
        return one_heard.up.size() > 2 || other_heard.up.size() > 2;
      },
      50 * kMs));
  EXPECT_EQ(one_heard.up.size(), 2u);
  EXPECT_EQ(other_heard.up.size(), 2u);
}

// --- time ----------------------------------------------------------------------------------------

TEST(SimFabric, AWakerSaysWhenThereIsWork) {
  SimFabric world(1);
  HostClock fast(world.queue(), 500);
  std::vector<std::uint64_t> told;
  auto one = world.make({.self = {NodeId{1}, 1}, .clock = &fast, .waker = [&](std::uint64_t at_ns) {
                           told.push_back(at_ns);
                         }});
  auto two = world.make({.self = {NodeId{2}, 1}});
  Heard heard;
  for (int i = 0; i < 10; ++i) {
    world.run_for(10 * kUs);
    ASSERT_TRUE(one->poll(heard));
    ASSERT_TRUE(two->poll(heard));
  }
  ASSERT_TRUE(one->connected(NodeId{2}));
  told.clear();
  const std::uint64_t until_ns = fast.monotonic_ns() + 10 * kMs;
  ASSERT_TRUE(one->wait(until_ns));
  ASSERT_EQ(told.size(), 1u);
  world.queue().run_until(told[0]);
  EXPECT_GE(fast.monotonic_ns(), until_ns);
  EXPECT_LT(fast.monotonic_ns(), until_ns + kUs);
  told.clear();
  ASSERT_TRUE(two->send(one->self(), base::as_bytes("x")));
  EXPECT_TRUE(told.empty());
  world.run_for(10 * kUs);
  EXPECT_EQ(told.size(), 1u);
  // What takes a host time delays what it sends, and nobody else.
  fast.sleep_ns(5 * kMs);
  ASSERT_TRUE(one->send(two->self(), base::as_bytes("y")));
  heard.messages.clear();
  world.run_for(4 * kMs);
  ASSERT_TRUE(two->poll(heard));
  EXPECT_TRUE(heard.messages.empty());
  world.run_for(2 * kMs);
  ASSERT_TRUE(two->poll(heard));
  EXPECT_EQ(heard.messages.size(), 1u);
}

std::uint64_t hash_of_a_run(std::uint64_t seed) {
  FabricModel model;
  model.traits.ordered = seed % 2 == 0;
  model.nic.scatter_ns = 50;
  model.give_up_ns = 10 * kMs;
  Nodes nodes(5, model, seed);
  nodes.world.set_faults({.late_ppm = 10'000,
                          .late_ns = kMs,
                          .loss_ppm = 10'000,
                          .repeat_ppm = 10'000,
                          .overtaken_ppm = 1'000});
  base::Random random(seed);
  for (std::uint64_t i = 1; i <= 5; ++i) (void)nodes.share(i, 4096);
  const std::vector<std::byte> bytes(1'000, std::byte{3});
  std::array<std::byte, 500> into{};
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t from = random.between(1, 5);
    const std::uint64_t to = random.between(1, 5);
    const auto name = nodes.at(from).connected(Nodes::id(to));
    if (!name) continue;
    const Place there{*name, kRegion, random.below(380) * 8};
    switch (random.below(6)) {
      case 0:
        (void)nodes.at(from).write(OpId{1}, there, bytes, Level::placed);
        break;
      case 1:
        (void)nodes.at(from).read(OpId{1}, there, into);
        break;
      case 2:
        (void)nodes.at(from).fetch_add(OpId{1}, there, 1);
        break;
      case 3:
        nodes.world.cut(Nodes::id(from), Nodes::id(to), random.below(20 * kMs));
        break;
      default:
        (void)nodes.at(from).send(*name, bytes);
    }
    nodes.run_for(random.below(20 * kUs));
  }
  nodes.run_for(50 * kMs);
  return nodes.world.trace_hash();
}

TEST(SimFabric, EqualSeedsGiveEqualRuns) {
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const std::uint64_t hash = hash_of_a_run(seed);
    EXPECT_EQ(hash_of_a_run(seed), hash) << seed;
    hashes.insert(hash);
  }
  EXPECT_EQ(hashes.size(), 6u);
}

}  // namespace
}  // namespace dolmen::sim
