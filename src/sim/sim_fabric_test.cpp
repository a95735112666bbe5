// SPDX-License-Identifier: Apache-2.0
// What the simulated fabric's faults do, each alone. What the interface promises is held to by
// fabric/sim_conformance_test.cpp.
#include "sim/sim_fabric.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::sim {
namespace {

using fabric::Level;
using fabric::NodeId;
using fabric::NodeName;
using fabric::OpId;
using fabric::Place;
using fabric::RegionId;

constexpr std::uint64_t kUs = 1'000;
constexpr std::uint64_t kMs = 1'000'000;
constexpr RegionId kRegion{7};
constexpr fabric::Rights kAll{.read = true, .write = true, .atomic = true};

struct Heard final : fabric::Sink {
  void on_connected(const NodeName& peer) override { up[peer.node] = peer; }
  void on_lost(const NodeName& peer, const Error& why) override {
    up.erase(peer.node);
    lost.emplace_back(peer, why.code());
  }
  void on_refused(NodeId who, const Error& why) override { refused.emplace_back(who, why.code()); }
  void on_message(const NodeName&, base::Bytes message) override {
    messages.push_back(message.size() < 8 ? 0 : base::load<std::uint64_t>(message));
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    completed.emplace_back(static_cast<std::uint64_t>(op), former ? Errc{} : former.error().code());
  }
  [[nodiscard]] std::size_t count(std::uint64_t op) const {
    return static_cast<std::size_t>(std::ranges::count(completed, std::pair(op, Errc{})));
  }

  std::map<NodeId, NodeName> up;
  std::vector<std::pair<NodeName, Errc>> lost;
  std::vector<std::pair<NodeId, Errc>> refused;
  std::vector<std::uint64_t> messages;
  std::vector<std::pair<std::uint64_t, Errc>> completed;
};

/// Nodes 1 to n, all of which poll every microsecond unless they are paused.
class Nodes {
 public:
  explicit Nodes(std::size_t count, const FabricModel& model = {}, std::uint64_t seed = 1)
      : world(seed, model), model_(model) {
    for (std::size_t i = 1; i <= count; ++i) start(i);
    run([&] { return is_meshed(); });
    EXPECT_TRUE(is_meshed());
  }

  static NodeId id(std::uint64_t i) { return NodeId{i}; }
  void start(std::uint64_t i) {
    Node& node = nodes_[i];
    node.heard = {};
    node.is_paused = false;
    node.endpoint = world.make({.self = {id(i), ++node.incarnation}});
  }
  void end(std::uint64_t i) { nodes_[i].endpoint.reset(); }
  void pause(std::uint64_t i, bool is_paused) { nodes_[i].is_paused = is_paused; }

  bool is_meshed() {
    for (auto& [i, node] : nodes_) {
      for (auto& [k, other] : nodes_) {
        if (i == k || !node.endpoint || !other.endpoint) continue;
        if (!node.heard.up.contains(id(k)) || node.heard.up[id(k)] != other.endpoint->self()) {
          return false;
        }
      }
    }
    return true;
  }
  bool run(const std::function<bool()>& done, std::uint64_t patience_ns = 2'000 * kMs) {
    const std::uint64_t end_ns = world.now_ns() + patience_ns;
    while (!done()) {
      if (world.now_ns() >= end_ns) return false;
      world.run_for(kUs);
      for (auto& [i, node] : nodes_) {
        if (node.endpoint && !node.is_paused) {
          EXPECT_TRUE(node.endpoint->poll(node.heard));
        }
      }
    }
    return true;
  }
  void run_for(std::uint64_t length_ns) {
    (void)run([] { return false; }, length_ns);
  }

  fabric::Endpoint& at(std::uint64_t i) { return *nodes_.at(i).endpoint; }
  Heard& heard(std::uint64_t i) { return nodes_.at(i).heard; }
  Place place(std::uint64_t i, std::uint64_t offset) { return {at(i).self(), kRegion, offset}; }
  /// A region of node `owner` in which all others may do everything.
  base::MutableBytes share(std::uint64_t owner, std::size_t bytes) {
    const auto memory = at(owner).make_region(kRegion, bytes);
    EXPECT_TRUE(memory);
    for (auto& [i, node] : nodes_) {
      if (i != owner) {
        EXPECT_TRUE(at(owner).grant(kRegion, id(i), kAll));
      }
    }
    return memory.value_or(base::MutableBytes{});
  }
  void send(std::uint64_t from, std::uint64_t to, std::uint64_t number) {
    const std::array<std::uint64_t, 1> word{number};
    EXPECT_TRUE(at(from).send(at(to).self(), std::as_bytes(std::span(word))));
  }

 private:
  struct Node {
    Heard heard;
    std::unique_ptr<fabric::Endpoint> endpoint;
    std::uint64_t incarnation = 0;
    bool is_paused = false;
  };

 public:
  SimFabric world;  // outlives the endpoints
 private:
  const FabricModel model_;
  std::map<std::uint64_t, Node> nodes_;
};

std::size_t lines_of(base::Bytes memory, std::byte value) {
  std::size_t lines = 0;
  for (std::size_t at = 0; at + kLineBytes <= memory.size(); at += kLineBytes) {
    const base::Bytes line = memory.subspan(at, kLineBytes);
    const auto of_value = std::ranges::count(line, value);
    EXPECT_TRUE(of_value == 0 || of_value == static_cast<std::ptrdiff_t>(kLineBytes))
        << "a line landed in pieces";
    lines += of_value != 0;
  }
  return lines;
}

FabricModel persistent() {
  FabricModel model;
  model.traits.level_max = Level::durable;
  model.memory = MemoryKind::persistent;
  return model;
}

// --- landing -------------------------------------------------------------------------------------

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

// --- processes and memory ------------------------------------------------------------------------

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

TEST(SimFabric, AWakerSaysWhenThereIsSomethingToDo) {
  SimFabric world(1);
  HostClock fast(world.queue(), 500);
  std::vector<std::uint64_t> told;
  auto one = world.make({.self = {NodeId{1}, 1},
                         .clock = &fast,
                         .waker = [&](std::uint64_t at_ns) { told.push_back(at_ns); }});
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
