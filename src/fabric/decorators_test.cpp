// SPDX-License-Identifier: Apache-2.0
// The decorators, each around tcp endpoints in a simulated network: held to what a backend is held
// to, and to what each of them promises.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "fabric/conformance.hpp"
#include "fabric/faulty.hpp"
#include "fabric/metered.hpp"
#include "fabric/tcp_sim_world.hpp"
#include "fabric/traced.hpp"

namespace dolmen::fabric {
namespace {

using MadeEndpoint = std::unique_ptr<Endpoint>;

struct MeteredWorld : TcpSimWorld {
  MadeEndpoint make(const NodeName& name) override {
    return std::make_unique<Metered>(TcpSimWorld::make(name), clock());
  }
};

/// Late, and nothing else: the suite expects sends to be taken and connections to stay.
struct LateWorld : TcpSimWorld {
  MadeEndpoint make(const NodeName& name) override {
    const FaultOptions faults{.seed = name.incarnation, .delay_max_ns = 500'000};
    return std::make_unique<Faulty>(TcpSimWorld::make(name), faults, clock());
  }
};

struct TracedWorld : TcpSimWorld {
  MadeEndpoint make(const NodeName& name) override {
    return std::make_unique<Traced>(TcpSimWorld::make(name),
                                    [](std::string_view line) { EXPECT_FALSE(line.empty()); });
  }
};

struct AllWorld : LateWorld {
  MadeEndpoint make(const NodeName& name) override {
    return std::make_unique<Traced>(std::make_unique<Metered>(LateWorld::make(name), clock()),
                                    [](std::string_view line) { EXPECT_FALSE(line.empty()); });
  }
};

// --- What each promises. ---

constexpr NodeName kAliceName{kAlice, 1};
constexpr NodeName kBobName{kBob, 1};

/// Alice with a decorator, Bob without; Bob has a region in which Alice may read and write.
class Pair {
 public:
  template <class Decorate>
  explicit Pair(const Decorate& decorate) {
    alice = decorate(world.make(kAliceName), world.clock());
    bob = world.make(kBobName);
    EXPECT_TRUE(bob->make_region(kRegion, 64));
    EXPECT_TRUE(bob->grant(kRegion, kAlice, {.read = true, .write = true, .atomic = false}));
  }
  ~Pair() {
    world.before_end(kAlice);
    world.before_end(kBob);
  }
  template <class Done>
  [[nodiscard]] bool until(const Done& done) {
    for (int i = 0; i < 1'000'000 && !done(); ++i) step();
    return done();
  }
  void step() {
    EXPECT_TRUE(alice->poll(to_alice));
    EXPECT_TRUE(bob->poll(to_bob));
    world.pass_time();
  }
  [[nodiscard]] bool is_up() { return to_alice.up.contains(kBob) && to_bob.up.contains(kAlice); }

  TcpSimWorld world;
  Recorder to_alice;
  Recorder to_bob;
  std::unique_ptr<Endpoint> bob;
  std::unique_ptr<Endpoint> alice;
};

auto metered() {
  return [](MadeEndpoint inner, sys::Clock& clock) {
    return std::make_unique<Metered>(std::move(inner), clock);
  };
}
auto faulty(const FaultOptions& faults) {
  return [faults](MadeEndpoint inner, sys::Clock& clock) {
    return std::make_unique<Faulty>(std::move(inner), faults, clock);
  };
}

TEST(Metered, CountsWhatPassesPerNodeAndKind) {
  Pair pair(metered());
  auto& meter = dynamic_cast<Metered&>(*pair.alice);
  ASSERT_TRUE(pair.until([&] { return pair.is_up(); }));
  const std::vector<std::byte> bytes(8, std::byte{1});
  std::vector<std::byte> into(16);
  const std::array<Bytes, 2> parts{Bytes(bytes), Bytes(bytes).first(3)};
  ASSERT_TRUE(pair.alice->send(kBobName, parts));
  EXPECT_EQ(code(pair.alice->send({kBob, 9}, bytes)), Errc::not_connected);
  EXPECT_EQ(code(pair.alice->send({kCarol, 1}, bytes)), Errc::not_connected);
  const Place place{kBobName, kRegion, 0};
  // One name for all of them: the caller may.
  ASSERT_TRUE(pair.alice->write(OpId{77}, place, bytes, Level::placed));
  ASSERT_TRUE(pair.alice->read(OpId{77}, place, into));
  ASSERT_TRUE(pair.alice->read(OpId{77}, place, into));
  ASSERT_TRUE(pair.alice->fetch_add(OpId{77}, place, 1));  // no right
  ASSERT_TRUE(pair.until([&] { return pair.to_alice.completed.size() == 4; }));
  for (const auto& done : pair.to_alice.completed) EXPECT_EQ(done.op, OpId{77});
  ASSERT_TRUE(pair.bob->send(kAliceName, Bytes(bytes)));
  ASSERT_TRUE(pair.until([&] { return pair.to_alice.messages.size() == 1; }));

  ASSERT_EQ(meter.meters().size(), 2u);
  const PeerMeter& nobody = meter.meters()[0];
  EXPECT_EQ(nobody.sent.failed, 1u);
  const PeerMeter& bob = meter.meters()[1];
  EXPECT_EQ(bob.node, kBob);
  EXPECT_EQ(bob.connects, 1u);
  EXPECT_EQ(bob.losses, 0u);
  EXPECT_EQ(bob.sent.count, 1u);
  EXPECT_EQ(bob.sent.bytes, 11u);
  EXPECT_EQ(bob.sent.failed, 1u);
  EXPECT_EQ(bob.received.count, 1u);
  EXPECT_EQ(bob.received.bytes, 8u);
  EXPECT_EQ(bob.of(OpKind::write).count, 1u);
  EXPECT_EQ(bob.of(OpKind::write).bytes, 8u);
  EXPECT_EQ(bob.of(OpKind::write).latency.count(), 1u);
  EXPECT_EQ(bob.of(OpKind::read).count, 2u);
  EXPECT_EQ(bob.of(OpKind::read).bytes, 32u);
  EXPECT_EQ(bob.of(OpKind::read).latency.count(), 2u);
  EXPECT_GE(bob.of(OpKind::read).latency.below_ns(50), 20'000u) << "a step of this world";
  EXPECT_EQ(bob.of(OpKind::fetch_add).count, 1u);
  EXPECT_EQ(bob.of(OpKind::fetch_add).failed, 1u);
  EXPECT_EQ(bob.of(OpKind::fetch_add).latency.count(), 0u);
  EXPECT_EQ(bob.of(OpKind::compare_and_swap).count, 0u);

  pair.alice->disconnect(kBob);
  ASSERT_TRUE(pair.until([&] { return meter.meters()[1].connects == 2; }));
  EXPECT_EQ(meter.meters()[1].losses, 1u);
}

// However many clients come and go, nothing is kept of each.
TEST(Metered, NodesAboveTheLastAreCountedTogether) {
  Pair pair([](MadeEndpoint inner, sys::Clock& clock) {
    return std::make_unique<Metered>(std::move(inner), clock, kAlice);
  });
  ASSERT_GT(kBob, kAlice);
  ASSERT_TRUE(pair.until([&] { return pair.is_up(); }));
  const std::array<std::byte, 8> bytes{};
  ASSERT_TRUE(pair.alice->send(kBobName, Bytes(bytes)));
  ASSERT_TRUE(pair.bob->send(kAliceName, Bytes(bytes)));
  ASSERT_TRUE(pair.until([&] { return pair.to_alice.messages.size() == 1; }));
  const auto& meter = dynamic_cast<Metered&>(*pair.alice);
  ASSERT_EQ(meter.meters().size(), 1u);
  const PeerMeter& all = meter.meters()[0];
  EXPECT_EQ(all.node, NodeId::nobody);
  EXPECT_EQ(all.connects, 1u);
  EXPECT_EQ(all.sent.bytes, 8u);
  EXPECT_EQ(all.received.count, 1u);
}

TEST(Metered, ARefusalAsBusyIsCountedAsSuch) {
  Pair pair([](MadeEndpoint inner, sys::Clock& clock) {
    const FaultOptions faults{.seed = 3, .busy_per_1000 = 1000};
    return std::make_unique<Metered>(std::make_unique<Faulty>(std::move(inner), faults, clock),
                                     clock);
  });
  ASSERT_TRUE(pair.until([&] { return pair.is_up(); }));
  const std::array<std::byte, 8> bytes{};
  EXPECT_EQ(code(pair.alice->send(kBobName, Bytes(bytes))), Errc::busy);
  EXPECT_EQ(code(pair.alice->write(kOp, {kBobName, kRegion, 0}, bytes, Level::placed)), Errc::busy);
  const PeerMeter& bob = dynamic_cast<Metered&>(*pair.alice).meters()[1];
  EXPECT_EQ(bob.sent.busy, 1u);
  EXPECT_EQ(bob.sent.failed, 0u);
  EXPECT_EQ(bob.of(OpKind::write).busy, 1u);
}

TEST(Histogram, ATimeIsInTheBucketOfItsPowerOfTwo) {
  Histogram times;
  EXPECT_EQ(times.below_ns(50), 0u);
  for (const std::uint64_t ns : {0u, 1u, 2u, 3u, 1023u, 1024u}) times.add(ns);
  times.add(~std::uint64_t{0});
  EXPECT_EQ(times.sum_ns(), 0u + 1 + 2 + 3 + 1023 + 1024 + ~std::uint64_t{0});
  EXPECT_EQ(times.buckets()[0], 2u);
  EXPECT_EQ(times.buckets()[1], 2u);
  EXPECT_EQ(times.buckets()[9], 1u);
  EXPECT_EQ(times.buckets()[10], 1u);
  EXPECT_EQ(times.buckets()[Histogram::kBuckets - 1], 1u);
  EXPECT_EQ(times.count(), 7u);
  EXPECT_EQ(times.below_ns(50), 4u);
  EXPECT_EQ(times.below_ns(100), std::uint64_t{1} << Histogram::kBuckets);
}

TEST(Faulty, DelaysWhatArrivesAndKeepsItsOrder) {
  Pair pair(faulty({.seed = 5, .delay_max_ns = 50'000'000}));
  ASSERT_TRUE(pair.until([&] { return pair.is_up(); }));
  std::uint64_t late = 0;
  for (std::uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(pair.bob->send(kAliceName, numbered(i, 8)));
    const std::uint64_t sent_ns = pair.world.now_ns();
    ASSERT_TRUE(pair.until([&] { return pair.to_alice.messages.size() == i + 1; }));
    if (pair.world.now_ns() - sent_ns > 10'000'000) ++late;
    EXPECT_EQ(base::load<std::uint64_t>(pair.to_alice.messages.back().bytes), i);
  }
  EXPECT_GT(late, 20u);
}

TEST(Faulty, RefusesAsOftenAsItIsTold) {
  Pair pair(faulty({.seed = 5, .busy_per_1000 = 300}));
  ASSERT_TRUE(pair.until([&] { return pair.is_up(); }));
  std::uint64_t sent = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto outcome = pair.alice->send(kBobName, numbered(i, 8));
    if (outcome) {
      ++sent;
    } else {
      EXPECT_EQ(outcome.error().code(), Errc::busy);
    }
  }
  EXPECT_GT(sent, 600u);
  EXPECT_LT(sent, 800u);
  ASSERT_TRUE(pair.until([&] { return pair.to_bob.messages.size() == sent; }));
}

TEST(Faulty, LosesConnectionsAndTheyAreMadeAgain) {
  // All faults at once; what the interface promises holds all the same.
  Pair pair(faulty(
      {.seed = 7, .delay_max_ns = 1'000'000, .busy_per_1000 = 100, .loss_per_million = 5'000}));
  std::uint64_t asked = 0;
  std::uint64_t sent = 0;
  const std::vector<std::byte> bytes(8, std::byte{9});
  ASSERT_TRUE(pair.until([&] {
    if (pair.alice->send(kBobName, numbered(sent, 8))) ++sent;
    if (pair.alice->write(OpId{asked}, {kBobName, kRegion, 0}, bytes, Level::placed)) ++asked;
    return pair.to_alice.lost.size() >= 20;
  }));
  dynamic_cast<Faulty&>(*pair.alice).set_faults({});
  ASSERT_TRUE(pair.until([&] { return pair.is_up() && pair.to_alice.completed.size() == asked; }));
  for (int i = 0; i < 10'000; ++i) pair.step();
  EXPECT_GT(asked, 100u);
  EXPECT_EQ(pair.to_alice.completed.size(), asked) << "one end for each";
  std::vector<bool> ended(asked);
  std::size_t lost = 0;
  for (const auto& one : pair.to_alice.completed) {
    EXPECT_FALSE(ended[static_cast<std::size_t>(one.op)]);
    ended[static_cast<std::size_t>(one.op)] = true;
    if (one.error == Errc{}) continue;
    EXPECT_EQ(one.error, Errc::connection_lost);
    ++lost;
  }
  EXPECT_GT(lost, 0u);
  for (const auto& one : pair.to_alice.lost) EXPECT_EQ(one.why, Errc::connection_lost);
  std::uint64_t least = 0;
  for (const auto& message : pair.to_bob.messages) {
    const auto number = base::load<std::uint64_t>(message.bytes);
    EXPECT_GE(number, least) << "twice, or out of order";
    least = number + 1;
  }
}

TEST(Faulty, OneSeedIsOneCourse) {
  const auto course = [](std::uint64_t seed) {
    Pair pair(faulty(
        {.seed = seed, .delay_max_ns = 300'000, .busy_per_1000 = 200, .loss_per_million = 10'000}));
    std::string all;
    for (std::uint64_t i = 0; i < 3000; ++i) {
      all += pair.alice->send(kBobName, numbered(i, 8)) ? 's' : '-';
      pair.step();
      all += std::to_string(pair.to_bob.messages.size() + pair.to_alice.lost.size());
    }
    return all;
  };
  EXPECT_EQ(course(1), course(1));
  EXPECT_NE(course(1), course(2));
}

TEST(Traced, WritesALineForEachCallAndEvent) {
  std::vector<std::string> lines;
  Pair pair([&](MadeEndpoint inner, sys::Clock&) {
    return std::make_unique<Traced>(std::move(inner),
                                    [&](std::string_view line) { lines.emplace_back(line); });
  });
  ASSERT_TRUE(pair.until([&] { return pair.is_up(); }));
  const std::vector<std::byte> bytes(8);
  const Place place{kBobName, kRegion, 16};
  ASSERT_TRUE(pair.alice->send(kBobName, bytes));
  ASSERT_TRUE(pair.alice->write(OpId{5}, place, bytes, Level::placed));
  ASSERT_FALSE(pair.alice->send({kCarol, 1}, bytes));
  ASSERT_TRUE(pair.until([&] { return !pair.to_alice.completed.empty(); }));
  ASSERT_TRUE(pair.bob->send(kAliceName, bytes));
  ASSERT_TRUE(pair.until([&] { return !pair.to_alice.messages.empty(); }));
  pair.alice->disconnect(kBob);
  ASSERT_TRUE(pair.until([&] { return !pair.to_alice.lost.empty(); }));
  ASSERT_EQ(lines.size(), 8u);
  EXPECT_EQ(lines[0], "1/1 connected 2/1");
  EXPECT_EQ(lines[1], "1/1 send 2/1, 8 bytes: ok");
  EXPECT_EQ(lines[2], "1/1 write 2/1 region 7 at 16, 8 bytes, op 5, placed: ok");
  EXPECT_TRUE(lines[3].starts_with("1/1 send 3/1, 8 bytes: not_connected")) << lines[3];
  EXPECT_EQ(lines[4], "1/1 completed op 5: 0");
  EXPECT_EQ(lines[5], "1/1 message from 2/1, 8 bytes");
  EXPECT_EQ(lines[6], "1/1 disconnect 2");
  EXPECT_TRUE(lines[7].starts_with("1/1 lost 2/1: closed")) << lines[7];
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Decorated, FabricConformance,
                         testing::Values(world<MeteredWorld>("Metered"), world<LateWorld>("Late"),
                                         world<TracedWorld>("Traced"), world<AllWorld>("All")),
                         world_name);

}  // namespace dolmen::fabric
