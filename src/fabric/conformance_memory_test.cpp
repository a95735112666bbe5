// SPDX-License-Identifier: Apache-2.0
//
// Part of conformance.hpp: regions and one-sided operations.
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance.hpp"

namespace dolmen::fabric {
namespace {

TEST_P(FabricConformance, OneSidedOperationsDoWhatTheySay) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  const MutableBytes memory = share(kAlice, kBob, 1000);
  ASSERT_EQ(memory.size(), 1000u);
  EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte b) { return b == std::byte{0}; }));
  Endpoint& bob = cluster.at(kBob);
  std::vector<std::byte> image(1000);
  base::Random random(3);
  for (int i = 0; i < 300; ++i) {
    const std::size_t offset = random.below(1000);
    const std::size_t bytes = random.below(1001 - offset);
    const std::vector<std::byte> data = numbered(i, bytes);
    const Bytes wanted = Bytes(data).first(bytes);
    ASSERT_TRUE(bob.write(kOp, place(kAlice, offset), wanted, Level::placed));
    ASSERT_EQ(cluster.outcome(kBob, kOp).error, Errc{});
    std::ranges::copy(wanted, image.begin() + static_cast<std::ptrdiff_t>(offset));
    ASSERT_TRUE(std::ranges::equal(memory, image));
    std::vector<std::byte> into(random.below(1001));
    const std::size_t from = random.below(1001 - into.size());
    ASSERT_TRUE(bob.read(kOp, place(kAlice, from), into));
    ASSERT_EQ(cluster.outcome(kBob, kOp).error, Errc{});
    ASSERT_TRUE(std::ranges::equal(into, Bytes(image).subspan(from, into.size())));
  }
  base::store(memory, 8, std::uint64_t{40});
  const Place word = place(kAlice, 8);
  ASSERT_TRUE(bob.fetch_add(kOp, word, 2));
  EXPECT_EQ(cluster.outcome(kBob, kOp).former, 40u);
  ASSERT_TRUE(bob.compare_and_swap(kOp, word, 41, 7));
  EXPECT_EQ(cluster.outcome(kBob, kOp).former, 42u);
  EXPECT_EQ(base::load<std::uint64_t>(memory, 8), 42u);
  ASSERT_TRUE(bob.compare_and_swap(kOp, word, 42, 7));
  EXPECT_EQ(cluster.outcome(kBob, kOp).former, 42u);
  EXPECT_EQ(base::load<std::uint64_t>(memory, 8), 7u);
  ASSERT_TRUE(bob.fetch_add(kOp, word, ~std::uint64_t{0}));
  EXPECT_EQ(cluster.outcome(kBob, kOp).former, 7u);
  EXPECT_EQ(base::load<std::uint64_t>(memory, 8), 6u);
  EXPECT_EQ(code(bob.fetch_add(kOp, place(kAlice, 4), 1)), Errc::invalid_argument);
  EXPECT_EQ(code(bob.compare_and_swap(kOp, place(kAlice, 1), 0, 1)), Errc::invalid_argument);
}

TEST_P(FabricConformance, LargeReadsAndWritesArriveWhole) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  const std::size_t most = std::min<std::size_t>(cluster.at(kBob).traits().operation_bytes_max,
                                                 is_real_time() ? 16u << 20 : 1u << 20);
  const MutableBytes memory = share(kAlice, kBob, most + 1);
  const std::vector<std::byte> data = numbered(1, most);
  ASSERT_TRUE(cluster.at(kBob).write(kOp, place(kAlice, 1), data, Level::placed));
  ASSERT_EQ(cluster.outcome(kBob, kOp).error, Errc{});
  EXPECT_TRUE(std::ranges::equal(memory.subspan(1), data));
  std::vector<std::byte> into(most);
  ASSERT_TRUE(cluster.at(kBob).read(kOp, place(kAlice, 1), into));
  ASSERT_EQ(cluster.outcome(kBob, kOp).error, Errc{});
  EXPECT_TRUE(into == data);
  if (most == cluster.at(kBob).traits().operation_bytes_max) {
    std::vector<std::byte> more(most + 1);
    const Place start = place(kAlice, 0);
    EXPECT_EQ(code(cluster.at(kBob).write(kOp, start, more, Level::placed)), Errc::too_large);
    EXPECT_EQ(code(cluster.at(kBob).read(kOp, start, more)), Errc::too_large);
  }
}

TEST_P(FabricConformance, WhatIsBeyondARegionOrNotGrantedIsRefusedAndChangesNothing) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  Endpoint& bob = cluster.at(kBob);
  const MutableBytes memory = share(kAlice, kBob, 100);
  std::array<std::byte, 200> bytes{};
  bytes.fill(std::byte{9});
  const auto write = [&](const Place& place, std::size_t count) {
    EXPECT_TRUE(bob.write(kOp, place, Bytes(bytes).first(count), Level::placed));
    return cluster.outcome(kBob, kOp).error;
  };
  const auto read = [&](const Place& place, std::size_t count) {
    EXPECT_TRUE(bob.read(kOp, place, MutableBytes(bytes).first(count)));
    return cluster.outcome(kBob, kOp).error;
  };
  const auto swap = [&](const Place& place) {
    EXPECT_TRUE(bob.compare_and_swap(kOp, place, 0, 1));
    return cluster.outcome(kBob, kOp).error;
  };
  const auto add = [&](const Place& place) {
    EXPECT_TRUE(bob.fetch_add(kOp, place, 1));
    return cluster.outcome(kBob, kOp).error;
  };
  constexpr std::uint64_t kFar = ~std::uint64_t{0};
  struct Range {
    std::uint64_t offset;
    std::size_t bytes;
    Errc expected;
  };
  for (const auto& [offset, count, expected] :
       {Range{100, 0, Errc{}}, Range{101, 0, Errc::out_of_bounds},
        Range{100, 1, Errc::out_of_bounds}, Range{0, 101, Errc::out_of_bounds},
        Range{99, 2, Errc::out_of_bounds}, Range{kFar, 1, Errc::out_of_bounds},
        Range{kFar - 7, 16, Errc::out_of_bounds}, Range{kFar - 99, 100, Errc::out_of_bounds}}) {
    EXPECT_EQ(write(place(kAlice, offset), count), expected) << offset << " " << count;
    EXPECT_EQ(read(place(kAlice, offset), count), expected) << offset << " " << count;
  }
  for (const std::uint64_t offset : {std::uint64_t{96}, std::uint64_t{104}, kFar - 7}) {
    EXPECT_EQ(swap(place(kAlice, offset)), Errc::out_of_bounds) << offset;
    EXPECT_EQ(add(place(kAlice, offset)), Errc::out_of_bounds) << offset;
  }
  EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte b) { return b == std::byte{0}; }));

  const Place nowhere = place(kAlice, 0, RegionId{8});
  EXPECT_EQ(write(nowhere, 8), Errc::not_found);
  EXPECT_EQ(read(nowhere, 8), Errc::not_found);
  EXPECT_EQ(swap(nowhere), Errc::not_found);
  EXPECT_EQ(add(nowhere), Errc::not_found);

  // Each right alone, in a region of its own: rights need not be revocable for that.
  for (int right = 0; right < 4; ++right) {
    const RegionId region{100u + static_cast<unsigned>(right)};
    const auto other = cluster.at(kAlice).make_region(region, 64);
    ASSERT_TRUE(other);
    const Rights rights{.read = right == 1, .write = right == 2, .atomic = right == 3};
    ASSERT_TRUE(cluster.at(kAlice).grant(region, kBob, rights));
    ASSERT_TRUE(cluster.at(kAlice).grant(region, kCarol, kAllRights));  // of no use to Bob
    const Place there = place(kAlice, 0, region);
    EXPECT_EQ(read(there, 8), right == 1 ? Errc{} : Errc::no_right);
    EXPECT_EQ(write(there, 8), right == 2 ? Errc{} : Errc::no_right);
    EXPECT_EQ(swap(there), right == 3 ? Errc{} : Errc::no_right);
    EXPECT_EQ(add(there), right == 3 ? Errc{} : Errc::no_right);
    if (right < 2) {
      EXPECT_TRUE(std::ranges::all_of(*other, [](std::byte b) { return b == std::byte{0}; }));
    }
  }
}

TEST_P(FabricConformance, RegionsAreMadeOnceAndClosed) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  Endpoint& alice = cluster.at(kAlice);
  const auto region = alice.make_region(kRegion, 10);
  ASSERT_TRUE(region);
  std::size_t room = 64;
  void* address = region->data();
  EXPECT_EQ(std::align(64, 10, address, room), region->data());
  EXPECT_EQ(alice.make_region(kRegion, 10).error().code(), Errc::already_exists);
  EXPECT_EQ(alice.make_region(RegionId{8}, 0).error().code(), Errc::invalid_argument);
  EXPECT_EQ(code(alice.grant(RegionId{9}, kBob, kAllRights)), Errc::not_found);
  EXPECT_EQ(code(alice.close_region(RegionId{9})), Errc::not_found);
  ASSERT_TRUE(alice.grant(kRegion, kBob, kAllRights));
  const auto closed = alice.close_region(kRegion);
  if (alice.traits().mapped) return;
  ASSERT_TRUE(closed);
  ASSERT_TRUE(cluster.at(kBob).fetch_add(kOp, place(kAlice, 0), 1));
  EXPECT_EQ(cluster.outcome(kBob, kOp).error, Errc::not_found);
  ASSERT_TRUE(alice.make_region(kRegion, 64));  // and of the grants nothing is left
  ASSERT_TRUE(cluster.at(kBob).fetch_add(kOp, place(kAlice, 0), 1));
  EXPECT_EQ(cluster.outcome(kBob, kOp).error, Errc::no_right);
}

TEST_P(FabricConformance, NothingLandsBehindARevocation) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  Endpoint& alice = cluster.at(kAlice);
  const MutableBytes memory = share(kAlice, kBob, 64 * 1000);
  if (!alice.traits().revocable) {
    EXPECT_EQ(code(alice.revoke(kRegion, kBob)), Errc::unsupported);
    return;
  }
  base::Random random(17);
  std::size_t landed_in_all = 0;
  std::size_t refused_in_all = 0;
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(alice.grant(kRegion, kBob, kAllRights));
    std::ranges::fill(memory, std::byte{0});
    constexpr std::size_t kWrites = 1000;
    const std::vector<std::byte> bytes(64, std::byte{1});
    std::size_t asked = 0;
    const std::size_t revoke_at = random.below(kWrites / 2);  // as soon as this one landed
    bool is_revoked = false;
    std::vector<std::byte> image;
    auto& completed = cluster.heard(kBob).completed;
    completed.clear();
    ASSERT_TRUE(cluster.pump([&] {
      for (int i = 0; i < 50 && asked < kWrites; ++i) {
        const Place there = place(kAlice, asked * 64);
        if (!cluster.at(kBob).write(OpId{asked}, there, bytes, Level::placed)) break;
        ++asked;
      }
      if (!is_revoked && memory[revoke_at * 64] == std::byte{1}) {
        EXPECT_TRUE(alice.revoke(kRegion, kBob));
        is_revoked = true;
        image.assign(memory.begin(), memory.end());
      }
      return completed.size() == kWrites;
    }));
    EXPECT_TRUE(std::ranges::equal(memory, image)) << "something landed after the fence";
    for (const Recorder::Completed& one : completed) {
      const bool has_landed = memory[static_cast<std::size_t>(one.op) * 64] == std::byte{1};
      EXPECT_EQ(one.error, has_landed ? Errc{} : Errc::no_right);
      ++(has_landed ? landed_in_all : refused_in_all);
    }
  }
  EXPECT_GT(landed_in_all, 0u);
  EXPECT_GT(refused_in_all, 0u);
  EXPECT_EQ(code(alice.revoke(RegionId{9}, kBob)), Errc::not_found);
}

TEST_P(FabricConformance, OperationsUnderWayEndWithTheConnection) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  (void)share(kAlice, kBob, 64);
  cluster.suspend(kAlice);
  Endpoint& bob = cluster.at(kBob);
  std::vector<std::byte> into(8);
  constexpr std::size_t kCount = 20;
  for (std::size_t i = 0; i < kCount; ++i) {
    const Place word = place(kAlice, 0);
    ASSERT_TRUE(i % 2 == 0 ? bob.fetch_add(OpId{i}, word, 1) : bob.read(OpId{i}, word, into));
  }
  cluster.settle();
  cluster.end(kAlice);
  ASSERT_TRUE(cluster.pump([&] { return !cluster.heard(kBob).lost.empty(); }));
  const auto& completed = cluster.heard(kBob).completed;
  ASSERT_EQ(completed.size(), kCount) << "before the loss is reported";
  const bool is_shared = bob.traits().mapped && cluster.world().shares_memory();
  if (bob.traits().passive_target || is_shared) return;  // they were done without Alice
  for (std::size_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(completed[i].error, Errc::connection_lost);
    EXPECT_EQ(completed[i].op, OpId{i});
  }
}

TEST_P(FabricConformance, LevelsAreAsTheTraitsSay) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  const MutableBytes memory = share(kAlice, kBob, 64);
  const std::vector<std::byte> bytes(8, std::byte{3});
  for (const Level level : {Level::local, Level::placed, Level::durable}) {
    const auto result = cluster.at(kBob).write(kOp, place(kAlice, 0), bytes, level);
    if (level > cluster.at(kBob).traits().level_max) {
      EXPECT_EQ(code(result), Errc::unsupported);
      continue;
    }
    ASSERT_TRUE(result);
    EXPECT_EQ(cluster.outcome(kBob, kOp).error, Errc{});
    if (level == Level::local) {
      ASSERT_TRUE(cluster.pump([&] { return memory[0] == std::byte{3}; }));
    }
    EXPECT_TRUE(std::ranges::equal(memory.first(8), bytes));
    std::ranges::fill(memory, std::byte{0});
  }
  cluster.settle();
  EXPECT_TRUE(cluster.heard(kBob).completed.empty()) << "one completion each";
}

TEST_P(FabricConformance, WhatWasAskedForFirstHappensFirst) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  if (!cluster.at(kBob).traits().ordered) return;
  const MutableBytes memory = share(kAlice, kBob, 8);
  const auto& messages = cluster.heard(kAlice).messages;
  for (std::uint64_t i = 1; i <= 200; ++i) {
    const std::array<std::uint64_t, 1> word{i};
    ASSERT_TRUE(cluster.at(kBob).write(kOp, place(kAlice, 0), std::as_bytes(std::span(word)),
                                       Level::local));
    ASSERT_TRUE(cluster.at(kBob).send(cluster.name(kAlice), numbered(i, 8)));
    ASSERT_TRUE(cluster.pump([&] { return messages.size() == i; }));
    EXPECT_EQ(base::load<std::uint64_t>(memory), i) << "the message overtook the write";
  }
}

TEST_P(FabricConformance, TooManyOperationsAreBusyAndNoneIsForgotten) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  const MutableBytes memory = share(kAlice, kBob, 8);
  Endpoint& bob = cluster.at(kBob);
  constexpr std::uint64_t kMost = 1'000'000;
  std::uint64_t asked = 0;
  Errc refused{};
  while (asked < kMost && refused == Errc{}) {
    refused = code(bob.fetch_add(OpId{asked}, place(kAlice, 0), 1));
    if (refused == Errc{}) ++asked;
  }
  EXPECT_EQ(refused, Errc::busy);
  const auto& completed = cluster.heard(kBob).completed;
  ASSERT_TRUE(cluster.pump([&] { return completed.size() == asked; }));
  EXPECT_EQ(base::load<std::uint64_t>(memory), asked);
  ASSERT_TRUE(bob.fetch_add(OpId{asked}, place(kAlice, 0), 1));
  EXPECT_EQ(cluster.outcome(kBob, OpId{asked}).former, asked);
}

TEST_P(FabricConformance, FetchAddsOfManyNodesAreAllCounted) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob, kCarol}));
  const MutableBytes memory = share(kAlice, kBob, 8);
  ASSERT_TRUE(cluster.at(kAlice).grant(kRegion, kCarol, kAllRights));
  constexpr std::size_t kEach = 500;
  std::map<NodeId, std::size_t> asked;
  ASSERT_TRUE(cluster.pump([&] {
    for (const NodeId id : {kBob, kCarol}) {
      if (asked[id] < kEach && cluster.at(id).fetch_add(kOp, place(kAlice, 0), 1)) ++asked[id];
    }
    return cluster.heard(kBob).completed.size() + cluster.heard(kCarol).completed.size() ==
           2 * kEach;
  }));
  EXPECT_EQ(base::load<std::uint64_t>(memory), 2 * kEach);
  std::vector<bool> seen(2 * kEach);
  for (const NodeId id : {kBob, kCarol}) {
    for (const Recorder::Completed& one : cluster.heard(id).completed) {
      ASSERT_LT(one.former, seen.size());
      EXPECT_FALSE(seen[one.former]);
      seen[one.former] = true;
    }
  }
}

TEST_P(FabricConformance, MappedMemoryIsTheTargetsMemory) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  const MutableBytes memory = share(kAlice, kBob, 64);
  const auto mapped = cluster.at(kBob).map(cluster.name(kAlice), kRegion);
  if (!cluster.at(kBob).traits().mapped || !cluster.world().shares_memory()) {
    EXPECT_EQ(mapped.error().code(), Errc::unsupported);
    return;
  }
  ASSERT_TRUE(mapped);
  ASSERT_EQ(mapped->size(), 64u);
  (*mapped)[5] = std::byte{77};
  EXPECT_EQ(memory[5], std::byte{77});
  EXPECT_EQ(cluster.at(kBob).map(cluster.name(kAlice), RegionId{9}).error().code(),
            Errc::not_found);
}

}  // namespace
}  // namespace dolmen::fabric
