// SPDX-License-Identifier: Apache-2.0
//
// The simulated fabric: what becomes of processes and their memory.
#include <algorithm>
#include <array>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_fabric_fixture.hpp"

namespace dolmen::sim {
namespace {

FabricModel persistent() {
  FabricModel model;
  model.traits.level_max = Level::durable;
  model.memory = MemoryKind::persistent;
  return model;
}

TEST(SimFabric, ACardServesTheMemoryOfAPausedAndOfADeadProcess) {
  Nodes nodes(2);
  (void)nodes.share(1, 64);
  const Place word = nodes.place(1, 0);
  nodes.pause(1, true);
  ASSERT_TRUE(nodes.at(2).fetch_add(OpId{1}, word, 1));
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(1) == 1; }));
  nodes.world.linger(Nodes::id(1));
  nodes.end(1);
  nodes.run_for(500 * kMs);
  EXPECT_TRUE(nodes.heard(2).lost.empty()) << "nobody hears of it";
  ASSERT_TRUE(nodes.at(2).fetch_add(OpId{2}, word, 1));
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(2) == 1; }));
  std::array<std::byte, 8> into{};
  ASSERT_TRUE(nodes.at(2).read(OpId{3}, word, into));
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(3) == 1; }));
  EXPECT_EQ(base::load<std::uint64_t>(into), 2u);
  nodes.world.stop_nic(Nodes::id(1));
  ASSERT_TRUE(nodes.at(2).fetch_add(OpId{4}, word, 1));
  nodes.run_for(500 * kMs);
  EXPECT_EQ(nodes.heard(2).count(4), 0u);
  nodes.start(1);
  ASSERT_TRUE(nodes.run([&] { return nodes.is_meshed(); }));
  EXPECT_EQ(nodes.heard(2).completed.back(), std::pair(std::uint64_t{4}, Errc::connection_lost));
}

TEST(SimFabric, MessagesToADeadProcessWhoseCardLivesMakeTheSenderBusy) {
  Nodes nodes(2);
  nodes.world.linger(Nodes::id(1));
  const NodeName dead = nodes.at(1).self();
  nodes.end(1);
  const std::vector<std::byte> message(100'000);
  Result<void> sent;
  for (int i = 0; i < 100 && sent; ++i) {
    sent = nodes.at(2).send(dead, message);
    nodes.run_for(kMs);
  }
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), Errc::busy);
}

TEST(SimFabric, AProcessThatEndsTearsWhatWasLanding) {
  FabricModel model;
  model.memory = MemoryKind::of_host;
  model.nic.line_ns = 10 * kUs;
  Nodes nodes(2, model);
  const base::MutableBytes memory = nodes.share(1, 64 * kLineBytes);
  const std::vector<std::byte> bytes(memory.size(), std::byte{1});
  ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::placed));
  ASSERT_TRUE(nodes.run([&] { return memory[0] == std::byte{1}; }));
  nodes.run_for(100 * kUs);
  nodes.end(1);
  ASSERT_TRUE(nodes.run([&] { return !nodes.heard(2).lost.empty(); }));
  EXPECT_EQ(nodes.heard(2).completed.back().second, Errc::connection_lost);
  nodes.start(1);
  ASSERT_TRUE(nodes.run([&] { return nodes.is_meshed(); }));
  const base::MutableBytes kept = nodes.share(1, 64 * kLineBytes);
  const std::size_t lines = lines_of(kept, std::byte{1});
  EXPECT_GT(lines, 5u);
  EXPECT_LT(lines, 30u);
  nodes.run_for(kMs);
  EXPECT_EQ(lines_of(kept, std::byte{1}), lines) << "nothing lands in a later life";
}

TEST(SimFabric, WhatMemoryANextLifeFinds) {
  struct Case {
    MemoryKind kind;
    bool loses_power;
    bool is_lost;
    bool is_found;
  };
  for (const auto& [kind, loses_power, is_lost, is_found] :
       {Case{MemoryKind::of_process, false, false, false},
        Case{MemoryKind::of_host, false, false, true},
        Case{MemoryKind::of_host, true, false, false},
        Case{MemoryKind::of_host, false, true, false},
        Case{MemoryKind::persistent, false, false, true},
        Case{MemoryKind::persistent, false, true, false}}) {
    FabricModel model;
    model.memory = kind;
    Nodes nodes(2, model);
    base::store(nodes.share(1, 64), 0, std::uint64_t{77});
    if (loses_power) nodes.world.power_off(Nodes::id(1));
    nodes.end(1);
    if (is_lost) nodes.world.lose_memory(Nodes::id(1));
    nodes.start(1);
    ASSERT_TRUE(nodes.run([&] { return nodes.is_meshed(); }));
    EXPECT_EQ(base::load<std::uint64_t>(nodes.share(1, 64)), is_found ? 77u : 0u);
  }
}

TEST(SimFabric, ThePowersEndTakesWhatWasPlacedAndNotFlushed) {
  std::set<std::uint64_t> survivors;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    for (const std::uint32_t survives_ppm : {0u, 500'000u, 1'000'000u}) {
      Nodes nodes(2, persistent(), seed);
      const base::MutableBytes memory = nodes.share(1, 64 * kLineBytes);
      const std::vector<std::byte> bytes(32 * kLineBytes, std::byte{1});
      const std::uint64_t half = bytes.size();
      ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::durable));
      ASSERT_TRUE(nodes.at(2).write(OpId{2}, nodes.place(1, half), bytes, Level::placed));
      ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).completed.size() == 2; }));
      EXPECT_EQ(lines_of(memory, std::byte{1}), 64u);
      base::store(memory.subspan(half), 0, std::uint64_t{5});  // the owner's own, flushed
      ASSERT_TRUE(nodes.world.flush(Nodes::id(1), kRegion, half, 8));
      nodes.world.power_off(Nodes::id(1), survives_ppm);
      nodes.end(1);
      nodes.start(1);
      ASSERT_TRUE(nodes.run([&] { return nodes.is_meshed(); }));
      const base::MutableBytes left = nodes.share(1, 64 * kLineBytes);
      EXPECT_EQ(lines_of(left.first(half), std::byte{1}), 32u) << "a durable write was lost";
      EXPECT_EQ(base::load<std::uint64_t>(left.subspan(half)), 5u);
      const std::size_t lines = lines_of(left.subspan(half + kLineBytes), std::byte{1});
      if (survives_ppm == 500'000) {
        survivors.insert(lines);
      } else {
        EXPECT_EQ(lines, survives_ppm == 0 ? 0u : 31u);
      }
    }
  }
  EXPECT_GT(survivors.size(), 3u);
}

TEST(SimFabric, ADurableWriteIsNotReportedBeforeItIsFlushed) {
  FabricModel model = persistent();
  model.nic.flush_ns = 100 * kUs;
  Nodes nodes(2, model);
  const base::MutableBytes memory = nodes.share(1, kLineBytes);
  const std::vector<std::byte> bytes(kLineBytes, std::byte{1});
  ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::durable));
  ASSERT_TRUE(nodes.run([&] { return memory[0] == std::byte{1}; }));
  nodes.run_for(50 * kUs);
  EXPECT_TRUE(nodes.heard(2).completed.empty());
  nodes.world.power_off(Nodes::id(1));
  nodes.end(1);
  nodes.run_for(kMs);
  EXPECT_TRUE(nodes.heard(2).completed.empty());
  nodes.start(1);
  ASSERT_TRUE(nodes.run([&] { return nodes.is_meshed(); }));
  EXPECT_EQ(nodes.share(1, kLineBytes)[0], std::byte{0});
}

TEST(SimFabric, OfTwoLivesAtOnceTheLaterOneStays) {
  Nodes nodes(2);
  auto later = nodes.world.make({.self = {Nodes::id(1), 2}});
  Heard later_heard;
  ASSERT_TRUE(nodes.run([&] {
    EXPECT_TRUE(later->poll(later_heard));
    return later_heard.up.size() == 1 && nodes.heard(1).lost.size() == 1;
  }));
  EXPECT_EQ(nodes.heard(1).lost[0].second, Errc::superseded);
  EXPECT_EQ(nodes.heard(2).lost.size(), 1u);
  EXPECT_EQ(nodes.heard(2).up.at(Nodes::id(1)).incarnation, 2u);
}

}  // namespace
}  // namespace dolmen::sim
