// SPDX-License-Identifier: Apache-2.0
//
// Part of conformance.hpp: connections and messages.
#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "fabric/conformance.hpp"

namespace dolmen::fabric {
namespace {

TEST_P(FabricConformance, MessagesArriveInOrderAndOnce) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob, kCarol}));
  const std::array ids{kAlice, kBob, kCarol};
  base::Random random(11);
  const std::uint64_t each = base::kSanitized && !is_real_time() ? 60 : 400;
  for (std::uint64_t i = 0; i < each; ++i) {
    for (const NodeId from : ids) {
      for (const NodeId to : ids) {
        if (from == to) continue;
        const std::size_t bytes = random.chance(1, 20) ? 100'000 : random.below(300);
        ASSERT_TRUE(cluster.deliver(from, cluster.name(to), numbered(i, bytes)));
      }
    }
    if (random.chance(1, 3)) cluster.poll_all();
  }
  ASSERT_TRUE(cluster.pump([&] {
    return std::ranges::all_of(
        ids, [&](NodeId id) { return cluster.heard(id).messages.size() >= 2 * each; });
  }));
  cluster.settle();
  for (const NodeId id : ids) {
    std::map<NodeId, std::uint64_t> next;
    for (const Recorder::Message& message : cluster.heard(id).messages) {
      const auto number = base::load<std::uint64_t>(message.bytes);
      EXPECT_EQ(number, next[message.from.node]++);
      EXPECT_EQ(message.bytes, numbered(number, message.bytes.size()));
    }
    for (const NodeId other : ids) EXPECT_EQ(next[other], other == id ? 0 : each);
    EXPECT_TRUE(cluster.heard(id).lost.empty());
  }
}

TEST_P(FabricConformance, MessagesOfEveryLengthArriveWhole) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  const std::size_t most = cluster.at(kAlice).traits().message_bytes_max;
  std::vector<std::size_t> sizes{0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, most - 1, most};
  for (std::size_t near : {65'511u, 65'519u, 65'535u, 131'038u}) {  // records, pages, rings
    for (std::size_t bytes = near - 4; bytes < near + 4; ++bytes) sizes.push_back(bytes);
  }
  for (const std::size_t bytes : sizes) {
    if (bytes > most || (!is_real_time() && bytes > 1u << 20)) continue;  // they are slow
    std::vector<std::byte> message = numbered(bytes, bytes);
    message.resize(bytes);
    ASSERT_TRUE(cluster.deliver(kAlice, cluster.name(kBob), message)) << bytes;
    auto& messages = cluster.heard(kBob).messages;
    ASSERT_TRUE(cluster.pump([&] { return !messages.empty(); }));
    EXPECT_TRUE(messages.back().bytes == message) << bytes;
    messages.clear();
  }
  const std::vector<std::byte> too_long(most + 1);
  EXPECT_EQ(code(cluster.at(kAlice).send(cluster.name(kBob), too_long)), Errc::too_large);
  const std::array<Bytes, 2> parts{Bytes(too_long).first(most), Bytes(too_long).first(1)};
  EXPECT_EQ(code(cluster.at(kAlice).send(cluster.name(kBob), parts)), Errc::too_large);
}

TEST_P(FabricConformance, PartsAreOneMessageAndCopied) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  std::string first = "first ";
  std::string second = "second";
  const std::array<Bytes, 3> parts{base::as_bytes(first), Bytes{}, base::as_bytes(second)};
  ASSERT_TRUE(cluster.at(kAlice).send(cluster.name(kBob), parts));
  first.assign(first.size(), 'x');
  second.assign(second.size(), 'x');
  auto& messages = cluster.heard(kBob).messages;
  ASSERT_TRUE(cluster.pump([&] { return !messages.empty(); }));
  EXPECT_TRUE(std::ranges::equal(messages[0].bytes, base::as_bytes("first second")));
}

TEST_P(FabricConformance, AReaderThatDoesNotReadMakesTheSenderBusy) {
  if (base::kSanitized && !is_real_time()) {
    GTEST_SKIP() << "megabytes, a few simulated bytes at a time: the release build has time for it";
  }
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  cluster.suspend(kBob);
  constexpr std::size_t kBytes = 50'000;
  constexpr std::uint64_t kMost = 10'000;  // 500 MB: no limit at all
  std::uint64_t sent = 0;
  for (int refusals = 0; refusals < 100 && sent < kMost;) {
    const auto result = cluster.at(kAlice).send(cluster.name(kBob), numbered(sent, kBytes));
    if (result) {
      ++sent;
      refusals = 0;
      continue;
    }
    ASSERT_EQ(result.error().code(), Errc::busy);
    EXPECT_EQ(result.error().retry(), Retry::safe);
    ++refusals;
    cluster.poll_all();
    cluster.world().pass_time();
  }
  ASSERT_GT(sent, 0u);
  ASSERT_LT(sent, kMost);
  cluster.resume(kBob);
  ASSERT_TRUE(cluster.pump([&] { return cluster.heard(kBob).messages.size() == sent; }));
  ASSERT_TRUE(cluster.deliver(kAlice, cluster.name(kBob), numbered(sent, kBytes)));
  ASSERT_TRUE(cluster.pump([&] { return cluster.heard(kBob).messages.size() == sent + 1; }));
  for (std::uint64_t i = 0; i <= sent; ++i) {
    EXPECT_EQ(base::load<std::uint64_t>(cluster.heard(kBob).messages[i].bytes), i);
  }
}

TEST_P(FabricConformance, NobodyElseIsReached) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  Endpoint& alice = cluster.at(kAlice);
  NodeName former = cluster.name(kBob);
  --former.incarnation;
  NodeName later = cluster.name(kBob);
  ++later.incarnation;
  std::array<std::byte, 8> into{};
  for (const NodeName& nobody : {NodeName{NodeId{99}, 1}, former, later, alice.self()}) {
    EXPECT_EQ(code(alice.send(nobody, base::as_bytes("x"))), Errc::not_connected);
    const Place there{nobody, kRegion, 0};
    EXPECT_EQ(code(alice.write(kOp, there, into, Level::placed)), Errc::not_connected);
    EXPECT_EQ(code(alice.read(kOp, there, into)), Errc::not_connected);
    EXPECT_EQ(code(alice.compare_and_swap(kOp, there, 0, 1)), Errc::not_connected);
    EXPECT_EQ(code(alice.fetch_add(kOp, there, 1)), Errc::not_connected);
  }
  EXPECT_EQ(alice.connected(kBob), cluster.name(kBob));
  EXPECT_EQ(alice.connected(NodeId{99}), std::nullopt);
  cluster.settle();
  EXPECT_TRUE(cluster.heard(kAlice).completed.empty());
  EXPECT_TRUE(cluster.heard(kBob).messages.empty());
}

TEST_P(FabricConformance, ALostConnectionIsReportedAndMadeAgain) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  for (const NodeId ends : {kAlice, kBob}) {
    const NodeId other = ends == kAlice ? kBob : kAlice;
    for (const NodeId id : {kAlice, kBob}) cluster.heard(id).forget();
    cluster.at(ends).disconnect(other);
    EXPECT_EQ(code(cluster.at(ends).send(cluster.name(other), base::as_bytes("x"))),
              Errc::not_connected);
    ASSERT_TRUE(cluster.pump([&] {
      return !cluster.heard(kAlice).connects.empty() && !cluster.heard(kBob).connects.empty();
    }));
    ASSERT_EQ(cluster.heard(ends).lost.size(), 1u);
    EXPECT_EQ(cluster.heard(ends).lost[0].why, Errc::closed);
    ASSERT_EQ(cluster.heard(other).lost.size(), 1u);
    EXPECT_EQ(cluster.heard(other).lost[0].why, Errc::connection_lost);
    ASSERT_TRUE(cluster.deliver(kAlice, cluster.name(kBob), base::as_bytes("to bob")));
    ASSERT_TRUE(cluster.deliver(kBob, cluster.name(kAlice), base::as_bytes("to alice")));
    ASSERT_TRUE(cluster.pump([&] {
      return cluster.heard(kAlice).messages.size() + cluster.heard(kBob).messages.size() == 2;
    }));
  }
}

TEST_P(FabricConformance, MessagesBeforeALossArriveUpToOneAndNeverTwice) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  std::uint64_t sent = 0;
  base::Random random(5);
  for (int round = 0; round < 10; ++round) {
    ASSERT_TRUE(cluster.pump([&] { return cluster.is_meshed(); }));
    for (std::uint64_t i = random.below(50); i > 0; --i) {
      if (cluster.at(kAlice).send(cluster.name(kBob), numbered(sent, 1000))) ++sent;
      if (random.chance(1, 10)) cluster.poll_all();
    }
    cluster.at(round % 2 == 0 ? kAlice : kBob).disconnect(round % 2 == 0 ? kBob : kAlice);
    const std::size_t connects = cluster.heard(kBob).connects.size();
    ASSERT_TRUE(cluster.pump([&] { return cluster.heard(kBob).connects.size() > connects; }));
  }
  cluster.settle();
  // Ascending: no repetition, no change of order. Holes are what the losses took.
  std::uint64_t least = 0;
  for (const Recorder::Message& message : cluster.heard(kBob).messages) {
    const auto number = base::load<std::uint64_t>(message.bytes);
    EXPECT_GE(number, least);
    least = number + 1;
  }
  EXPECT_LE(least, sent);
}

TEST_P(FabricConformance, ANewLifeIsAnotherPeer) {
  for (const NodeId dies : {kAlice, kBob}) {
    const NodeId stays = dies == kAlice ? kBob : kAlice;
    Cluster pair(GetParam().make());
    ASSERT_NO_FATAL_FAILURE(pair.connect({kAlice, kBob}));
    const NodeName former = pair.name(dies);
    ASSERT_TRUE(pair.at(dies).make_region(kRegion, 64));
    ASSERT_TRUE(pair.at(dies).grant(kRegion, stays, kAllRights));
    pair.end(dies);
    ASSERT_TRUE(pair.pump([&] { return !pair.heard(stays).lost.empty(); }));
    EXPECT_EQ(pair.heard(stays).lost[0].peer, former);
    pair.start(dies, former.incarnation + 1);
    ASSERT_TRUE(pair.pump([&] { return pair.is_meshed(); }));
    EXPECT_EQ(pair.heard(stays).connects.back(), pair.name(dies));
    EXPECT_EQ(code(pair.at(stays).send(former, base::as_bytes("x"))), Errc::not_connected);
    std::array<std::byte, 8> bytes{};
    EXPECT_EQ(code(pair.at(stays).write(kOp, {former, kRegion, 0}, bytes, Level::placed)),
              Errc::not_connected);
    // The new life has no regions of the former one.
    ASSERT_TRUE(pair.at(stays).write(kOp, {pair.name(dies), kRegion, 0}, bytes, Level::placed));
    EXPECT_EQ(pair.outcome(stays, kOp).error, Errc::not_found);
  }
}

TEST_P(FabricConformance, AGrantHoldsInEachLifeOfTheNode) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  const MutableBytes memory = share(kAlice, kBob, 64);
  cluster.end(kBob);
  cluster.start(kBob, 2);
  ASSERT_TRUE(cluster.pump([&] { return cluster.is_meshed(); }));
  const std::vector<std::byte> bytes(8, std::byte{5});
  ASSERT_TRUE(cluster.at(kBob).write(kOp, place(kAlice, 8), bytes, Level::placed));
  EXPECT_EQ(cluster.outcome(kBob, kOp).error, Errc{});
  EXPECT_TRUE(std::ranges::equal(memory.subspan(8, 8), bytes));
}

TEST_P(FabricConformance, ASinkMayUseItsEndpoint) {
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  class Echo final : public Recorder {
   public:
    explicit Echo(Endpoint& endpoint) : endpoint_(endpoint) {}
    void on_message(const NodeName& from, Bytes message) override {
      Recorder::on_message(from, message);
      EXPECT_TRUE(endpoint_.send(from, message));
      if (messages.size() == 100) endpoint_.disconnect(from.node);
    }

   private:
    Endpoint& endpoint_;
  };
  cluster.suspend(kBob);
  Echo echo(cluster.at(kBob));
  echo.up = cluster.heard(kBob).up;
  auto& answers = cluster.heard(kAlice).messages;
  std::uint64_t sent = 0;
  ASSERT_TRUE(cluster.pump([&] {
    if (sent < 150 && cluster.at(kAlice).send(cluster.name(kBob), numbered(sent, 64))) ++sent;
    EXPECT_TRUE(cluster.at(kBob).poll(echo));
    return !echo.lost.empty() && !cluster.heard(kAlice).lost.empty();
  }));
  EXPECT_EQ(echo.messages.size(), 100u) << "nothing of it comes after the end";
  EXPECT_EQ(echo.lost[0].why, Errc::closed);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(base::load<std::uint64_t>(answers[i].bytes), i);
  }
}

}  // namespace
}  // namespace dolmen::fabric
