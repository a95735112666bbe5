// SPDX-License-Identifier: Apache-2.0
//
// The simulated fabric: how operations land, in order and not, early and late.
#include <algorithm>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_fabric_fixture.hpp"

namespace dolmen::sim {
namespace {

TEST(SimFabric, ALongWriteLandsLineByLineInAscendingOrder) {
  FabricModel model;
  model.nic.line_ns = 2 * kUs;
  Nodes nodes(2, model);
  const base::MutableBytes memory = nodes.share(1, 64 * kLineBytes);
  const std::vector<std::byte> bytes(memory.size(), std::byte{1});
  ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::placed));
  std::set<std::size_t> seen;
  ASSERT_TRUE(nodes.run([&] {
    const std::size_t lines = lines_of(memory, std::byte{1});
    seen.insert(lines);
    EXPECT_EQ(lines_of(memory.first(lines * kLineBytes), std::byte{1}), lines) << "not ascending";
    return nodes.heard(2).count(1) == 1;
  }));
  EXPECT_EQ(seen.size(), 65u);
}

TEST(SimFabric, WithoutOrderLinesAndOperationsOvertakeEachOther) {
  FabricModel model;
  model.traits.ordered = false;
  model.nic.line_ns = kUs;
  model.nic.scatter_ns = 2 * kUs;
  Nodes nodes(2, model);
  const base::MutableBytes memory = nodes.share(1, 64 * kLineBytes);
  bool lines_did = false;
  bool writes_did = false;
  for (int round = 0; round < 20; ++round) {
    std::ranges::fill(memory, std::byte{0});
    nodes.heard(2).completed.clear();
    const std::vector<std::byte> one(memory.size() - kLineBytes, std::byte{1});
    const std::vector<std::byte> two(kLineBytes, std::byte{2});
    ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), one, Level::placed));
    ASSERT_TRUE(nodes.at(2).write(OpId{2}, nodes.place(1, one.size()), two, Level::placed));
    ASSERT_TRUE(nodes.run([&] {
      const std::size_t lines = lines_of(memory, std::byte{1});
      lines_did |= lines_of(base::Bytes(memory).first(lines * kLineBytes), std::byte{1}) < lines;
      writes_did |= memory.back() == std::byte{2} && lines < 63;
      return nodes.heard(2).completed.size() == 2;
    }));
    EXPECT_EQ(lines_of(memory, std::byte{1}), 63u) << "completed, and not all of it is there";
  }
  EXPECT_TRUE(lines_did);
  EXPECT_TRUE(writes_did);
}

TEST(SimFabric, InOrderNothingOfAnInitiatorOvertakesAWriteThatLands) {
  FabricModel model;
  model.nic.line_ns = 2 * kUs;
  Nodes nodes(3, model);
  const base::MutableBytes memory = nodes.share(1, 64 * kLineBytes);
  const std::vector<std::byte> long_one(63 * kLineBytes, std::byte{1});
  const std::vector<std::byte> short_one(8, std::byte{2});
  ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), long_one, Level::local));
  ASSERT_TRUE(
      nodes.at(2).write(OpId{2}, nodes.place(1, 63 * kLineBytes), short_one, Level::placed));
  nodes.send(2, 1, 5);
  nodes.send(3, 1, 6);  // another initiator's does
  bool other_did = false;
  ASSERT_TRUE(nodes.run([&] {
    const bool landed = lines_of(memory.first(63 * kLineBytes), std::byte{1}) == 63;
    if (memory[63 * kLineBytes] == std::byte{2} || nodes.heard(2).count(2) == 1 ||
        std::ranges::count(nodes.heard(1).messages, 5u) == 1) {
      EXPECT_TRUE(landed);
    }
    other_did |= std::ranges::count(nodes.heard(1).messages, 6u) == 1 && !landed;
    return nodes.heard(1).messages.size() == 2 && nodes.heard(2).count(2) == 1;
  }));
  EXPECT_TRUE(other_did);
}

TEST(SimFabric, ALocalCompletionSaysNothingOfTheTarget) {
  FabricModel model;
  model.nic.line_ns = 100 * kUs;
  Nodes nodes(2, model);
  const base::MutableBytes memory = nodes.share(1, kLineBytes);
  std::vector<std::byte> bytes(kLineBytes, std::byte{1});
  ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::local));
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(1) == 1; }));
  EXPECT_EQ(memory[0], std::byte{0});
  std::ranges::fill(bytes, std::byte{9});  // they are the caller's again
  nodes.run_for(200 * kUs);
  EXPECT_EQ(memory[0], std::byte{1});
}

TEST(SimFabric, BytesThatAreChangedBeforeTheCompletionAreWhatIsSent) {
  Nodes nodes(2);
  const base::MutableBytes memory = nodes.share(1, kLineBytes);
  std::vector<std::byte> bytes(kLineBytes, std::byte{1});
  ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::placed));
  std::ranges::fill(bytes, std::byte{9});
  ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(1) == 1; }));
  EXPECT_EQ(memory[0], std::byte{9});
}

TEST(SimFabric, PlacedIsReportedBeforeTheBytesAreThereWhereTheModelSaysSo) {
  for (const bool is_early : {false, true}) {
    FabricModel model;
    model.nic.line_ns = 100 * kUs;
    model.places_early = is_early;
    Nodes nodes(2, model);
    const base::MutableBytes memory = nodes.share(1, kLineBytes);
    const std::vector<std::byte> bytes(kLineBytes, std::byte{1});
    ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::placed));
    ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(1) == 1; }));
    EXPECT_EQ(memory[0], is_early ? std::byte{0} : std::byte{1});
    nodes.run_for(kMs);
    EXPECT_EQ(memory[0], std::byte{1});
    EXPECT_EQ(nodes.heard(2).completed.size(), 1u);
  }
}

TEST(SimFabric, ARevocationThatDoesNotDrainLetsBytesLandBehindIt) {
  for (const bool is_early : {false, true}) {
    FabricModel model;
    model.nic.line_ns = 10 * kUs;
    model.revokes_early = is_early;
    Nodes nodes(2, model);
    const base::MutableBytes memory = nodes.share(1, 32 * kLineBytes);
    const std::vector<std::byte> bytes(memory.size(), std::byte{1});
    ASSERT_TRUE(nodes.at(2).write(OpId{1}, nodes.place(1, 0), bytes, Level::placed));
    ASSERT_TRUE(nodes.run([&] { return memory[0] == std::byte{1}; }));
    ASSERT_LT(lines_of(memory, std::byte{1}), 32u);
    ASSERT_TRUE(nodes.at(1).revoke(kRegion, Nodes::id(2)));
    const std::size_t then = lines_of(memory, std::byte{1});
    ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(1) == 1; }));
    EXPECT_EQ(lines_of(memory, std::byte{1}) != then, is_early);
    ASSERT_TRUE(nodes.at(2).write(OpId{2}, nodes.place(1, 0), bytes, Level::placed));
    ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).completed.size() == 2; }));
    EXPECT_EQ(nodes.heard(2).completed[1].second, Errc::no_right);
  }
}

TEST(SimFabric, AProcessorsStoreIsLostWithinTheCardsAtomicUnlessTheyAreAtomicTowardsIt) {
  for (const bool is_atomic : {false, true}) {
    FabricModel model;
    model.traits.atomic_with_cpu = is_atomic;
    model.nic.atomic_ns = 50 * kUs;
    Nodes nodes(2, model);
    const base::MutableBytes memory = nodes.share(1, 8);
    ASSERT_TRUE(nodes.at(2).fetch_add(OpId{1}, nodes.place(1, 0), 1));
    nodes.run_for(10 * kUs);
    base::store(memory, 0, base::load<std::uint64_t>(memory) + 100);
    ASSERT_TRUE(nodes.run([&] { return nodes.heard(2).count(1) == 1; }));
    EXPECT_EQ(base::load<std::uint64_t>(memory), is_atomic ? 101u : 1u);
  }
}

}  // namespace
}  // namespace dolmen::sim
