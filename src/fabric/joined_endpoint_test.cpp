// SPDX-License-Identifier: Apache-2.0
//
// Two fabrics as one endpoint: which link a connection takes, and what becomes of it when one of
// them, a key or a process ends.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "fabric/joined_world.hpp"

namespace dolmen::fabric {
namespace {

using security::kSaysShared;

class JoinedTest : public testing::Test {
 protected:
  struct Node {
    std::unique_ptr<JoinedEndpoint> endpoint;
    Recorder heard{};

    JoinedEndpoint* operator->() const { return endpoint.get(); }
    bool poll() {
      const auto polled = endpoint->poll(heard);
      EXPECT_TRUE(polled) << polled.error().message();
      return polled.value_or(false);
    }
    [[nodiscard]] std::string text(std::size_t message) const {
      std::string text;
      for (const std::byte one : heard.messages[message].bytes) text += static_cast<char>(one);
      return text;
    }
  };

  Node join(const JoinedOptions& options) {
    auto made = JoinedWorld::open(options, exchange_);
    EXPECT_TRUE(made) << made.error().message();
    return {made ? std::move(*made) : nullptr};
  }
  Node join(std::uint64_t node, std::uint64_t incarnation = 1) {
    return join(world_.options({NodeId{node}, incarnation}));
  }
  static void introduce(Node& one, Node& other) {
    EXPECT_TRUE(one->tcp().set_peers({{other->self().node, *other->tcp().address()}}));
    EXPECT_TRUE(other->tcp().set_peers({{one->self().node, *one->tcp().address()}}));
  }
  template <class Done, class... Nodes>
  [[nodiscard]] bool pump(const Done& done, Nodes&... nodes) {
    const std::uint64_t end_ns = world_.now_ns() + 30'000'000'000;
    while (!done()) {
      if (world_.now_ns() > end_ns) return false;
      const bool did = (static_cast<int>(nodes.poll()) + ...) > 0;
      if (!did) std::this_thread::yield();
    }
    return true;
  }
  [[nodiscard]] bool connect(Node& one, Node& other) {
    introduce(one, other);
    return pump([&] { return !one.heard.up.empty() && !other.heard.up.empty(); }, one, other);
  }
  [[nodiscard]] std::vector<std::string> objects() const {
    return exchange_.open()->list().value();
  }

  JoinedWorld world_;
  sys::test::SharedScratch exchange_;
  sys::test::SharedScratch elsewhere_;
};

TEST_F(JoinedTest, WhoMeetsIsSpokenToThere) {
  Node one = join(1);
  Node two = join(2);
  ASSERT_TRUE(connect(one, two));
  EXPECT_EQ(one->carrier(NodeId{2}), Carrier::shared);
  EXPECT_EQ(two->carrier(NodeId{1}), Carrier::shared);
  EXPECT_EQ(one->carrier(NodeId{3}), std::nullopt);
  // It says so from a thread of its own, which begins in a moment.
  EXPECT_TRUE(pump([&] { return one->lives(two->self()); }, one, two));
  ASSERT_TRUE(one->send(two->self(), base::as_bytes("there")));
  ASSERT_TRUE(pump([&] { return !two.heard.messages.empty(); }, two));
  EXPECT_EQ(two.text(0), "there");
}

TEST_F(JoinedTest, WhoIsElsewhereIsSpokenToByTcp) {
  Node one = join(1);
  auto made = JoinedWorld::open(world_.options({NodeId{2}, 1}), elsewhere_);
  ASSERT_TRUE(made);
  Node two{std::move(*made)};
  ASSERT_TRUE(connect(one, two));
  EXPECT_EQ(one->carrier(NodeId{2}), Carrier::tcp);
  EXPECT_EQ(two->carrier(NodeId{1}), Carrier::tcp);
  EXPECT_FALSE(one->lives(two->self())) << "nothing of it is mapped";
}

TEST_F(JoinedTest, WhoHasNoExchangeIsSpokenToByTcp) {
  Node two = join(2);
  TcpOptions options = world_.options({NodeId{1}, 1}).tcp;
  options.peers = {{NodeId{2}, *two->tcp().address()}};
  const auto one = TcpEndpoint::make(options, linux_world());
  ASSERT_TRUE(one);
  Recorder heard;
  ASSERT_TRUE(pump(
      [&] {
        EXPECT_TRUE((*one)->poll(heard));
        return !two.heard.up.empty() && !heard.up.empty();
      },
      two));
  EXPECT_EQ(two->carrier(NodeId{1}), Carrier::tcp);
  ASSERT_TRUE(two->send((*one)->self(), base::as_bytes("plain")));
  ASSERT_TRUE(pump(
      [&] {
        EXPECT_TRUE((*one)->poll(heard));
        return !heard.messages.empty();
      },
      two));
  EXPECT_EQ(heard.messages[0].bytes.size(), 5u) << "and nothing else was said to it";
}

/// Who holds a key, and takes part in the exchange as he likes.
struct Stranger {
  std::unique_ptr<TcpEndpoint> tcp;
  std::unique_ptr<shm::ShmEndpoint> shared;
  NodeName name{NodeId{777}, 5};  ///< in the exchange
  Recorder by_tcp{};
  Recorder there{};
  std::optional<JoinedOffer> offer{};

  void poll() {
    EXPECT_TRUE(tcp->poll(by_tcp));
    EXPECT_TRUE(shared->poll(there));
    if (offer || by_tcp.messages.empty()) return;
    const auto said = decode_joined(by_tcp.messages[0].bytes);
    if (said && said->kind == JoinedKind::offer) offer = said->offer;
  }
  void say(const NodeName& to, const JoinedMessage& message) {
    EXPECT_TRUE(tcp->send(to, encode(message).bytes()));
  }
};

TEST_F(JoinedTest, WhoDoesNotShowTheTokenIsNotHeard) {
  JoinedOptions options = world_.options({NodeId{1}, 1});
  options.meet_ns = 100'000'000;
  Node one = join(options);
  TcpOptions its = world_.options({NodeId{2}, 1}).tcp;
  its.link->says |= kSaysShared;
  Stranger stranger;
  stranger.tcp = TcpEndpoint::make(its, linux_world()).value();
  stranger.shared = shm::open(sys::linux_env(), exchange_.open(),
                              {.self = stranger.name, .wait = {}, .by_introduction = true})
                        .value();
  ASSERT_TRUE(one->tcp().set_peers({{NodeId{2}, *stranger.tcp->address()}}));
  const auto with = [&](const auto& done) {
    return pump(
        [&] {
          stranger.poll();
          return done();
        },
        one);
  };
  ASSERT_TRUE(with([&] { return stranger.offer.has_value(); }));
  stranger.shared->introduce(stranger.offer->name);
  stranger.say(one->self(), {.kind = JoinedKind::offer,
                             .offer = {.exchange = stranger.offer->exchange,
                                       .name = stranger.name,
                                       .token = JoinedToken{}}});
  ASSERT_TRUE(with([&] { return !stranger.there.up.empty(); }));
  // Guessed, and then spoken as if it had been let in.
  JoinedToken guess = stranger.offer->token;
  guess[15] ^= std::byte{1};
  const auto tell = [&](const JoinedMessage& message) {
    const auto bytes = encode(message);
    (void)stranger.shared->send(stranger.offer->name, std::array{bytes.bytes()});
  };
  tell({.kind = JoinedKind::token, .offer = {.token = guess}});
  tell({.kind = JoinedKind::begin});
  tell({.kind = JoinedKind::tcp});
  ASSERT_TRUE(with([&] { return !one.heard.up.empty(); }));
  EXPECT_EQ(one->carrier(NodeId{2}), Carrier::tcp) << "by which it had proved who it is";
  EXPECT_TRUE(one.heard.messages.empty());
  ASSERT_TRUE(with([&] { return stranger.there.up.empty(); })) << "cut off there";
}

TEST_F(JoinedTest, ARevokedKeyIsCutOffInTheExchangeToo) {
  Node one = join(1);
  Node two = join(2);
  ASSERT_TRUE(connect(one, two));
  ASSERT_EQ(one->carrier(NodeId{2}), Carrier::shared);
  ASSERT_TRUE(two->send(one->self(), base::as_bytes("before")));
  security::Trust without(world_.cluster().id, world_.cluster().owner.public_key());
  const auto key = world_.cluster().node(1);
  ASSERT_TRUE(without.add(key.identity(), key.name(), key.public_key()));
  ASSERT_TRUE(one->tcp().set_trust(std::make_shared<const security::Trust>(without)));
  ASSERT_TRUE(two->send(one->self(), base::as_bytes("after")));
  ASSERT_TRUE(pump([&] { return !one.heard.lost.empty() && !two.heard.lost.empty(); }, one, two));
  EXPECT_EQ(one.heard.lost[0].why, Errc::not_authentic);
  EXPECT_EQ(one->connected(NodeId{2}), std::nullopt);
  EXPECT_EQ(code(two->send(one->self(), base::as_bytes("x"))), Errc::not_connected);
  ASSERT_TRUE(pump([&] { return !one.heard.refused.empty(); }, one, two)) << "it tries again";
  EXPECT_TRUE(one.heard.up.empty());
}

TEST_F(JoinedTest, WhatWasSaidBeforeAnOrderlyEndArrives) {
  Node one = join(1);
  Node two = join(2);
  ASSERT_TRUE(connect(one, two));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(two->send(one->self(), base::as_bytes("last words")));
  two.endpoint.reset();
  ASSERT_TRUE(pump([&] { return !one.heard.lost.empty(); }, one));
  EXPECT_EQ(one.heard.messages.size(), 100u);
  EXPECT_EQ(one.heard.lost.size(), 1u);
  EXPECT_EQ(one.heard.lost[0].why, Errc::connection_lost);
}

TEST_F(JoinedTest, EitherLinksEndEndsBothOnceAndTheyMeetAgain) {
  Node one = join(1);
  Node two = join(2);
  ASSERT_TRUE(connect(one, two));
  for (std::size_t round = 1; round <= 4; ++round) {
    // Of tcp, as if the network had been reset; or of all, on purpose.
    if (round % 2 == 0) {
      one->tcp().disconnect(NodeId{2});
    } else {
      two->disconnect(NodeId{1});
    }
    ASSERT_TRUE(
        pump([&] { return one.heard.lost.size() == round && two.heard.lost.size() == round; }, one,
             two));
    ASSERT_TRUE(pump([&] { return !one.heard.up.empty() && !two.heard.up.empty(); }, one, two));
    EXPECT_EQ(one->carrier(NodeId{2}), Carrier::shared) << round;
    EXPECT_EQ(two->carrier(NodeId{1}), Carrier::shared) << round;
    ASSERT_TRUE(one->send(two->self(), base::as_bytes(std::to_string(round))));
    ASSERT_TRUE(pump([&] { return two.heard.messages.size() == round; }, one, two));
    EXPECT_EQ(two.text(round - 1), std::to_string(round));
  }
}

TEST_F(JoinedTest, ARegionThatIsClosedIsFoundByNobody) {
  Node one = join(1);
  Node two = join(2);
  ASSERT_TRUE(connect(one, two));
  ASSERT_TRUE(one->make_region(kRegion, 64));
  ASSERT_TRUE(one->grant(kRegion, NodeId{2}, {.read = true}));
  std::vector<std::byte> into(8);
  const auto read = [&] {
    two.heard.completed.clear();
    EXPECT_TRUE(two->read(kOp, {one->self(), kRegion, 0}, into));
    EXPECT_TRUE(pump([&] { return !two.heard.completed.empty(); }, one, two));
    return two.heard.completed[0].error;
  };
  EXPECT_EQ(read(), Errc{});
  EXPECT_TRUE(two->map(one->self(), kRegion));
  ASSERT_TRUE(one->close_region(kRegion));
  EXPECT_EQ(read(), Errc::not_found) << "though it has it mapped yet";
  EXPECT_FALSE(two->map(one->self(), kRegion));
  two->unmap(one->self(), kRegion);
  ASSERT_TRUE(one->make_region(RegionId{8}, 64));
}

/// How often this process has regions of others mapped: its own have no such names.
std::size_t mapped_regions() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("/region-") != line.npos ? 1 : 0;
  }
  return count;
}

// Or a table that was given up would take memory as long as whoever once read it is connected.
TEST_F(JoinedTest, MemoryOfARegionThatIsClosedIsGivenBack) {
  Node one = join(1);
  Node two = join(2);
  ASSERT_TRUE(connect(one, two));
  const auto read = [&](RegionId region) {
    std::vector<std::byte> into(8);
    two.heard.completed.clear();
    EXPECT_TRUE(two->read(kOp, {one->self(), region, 0}, into));
    EXPECT_TRUE(pump([&] { return !two.heard.completed.empty(); }, one, two));
    EXPECT_EQ(two.heard.completed[0].error, Errc{});
  };
  const auto use = [&](RegionId region) {
    EXPECT_TRUE(one->make_region(region, 64));
    EXPECT_TRUE(one->grant(region, NodeId{2}, {.read = true}));
    read(region);
  };
  use(kRegion);
  // A process says a moment after it has begun that it lives; until then it is asked by tcp.
  const auto is_mapped = [&] {
    read(kRegion);
    return mapped_regions() > 0;
  };
  ASSERT_TRUE(pump(is_mapped, one, two));
  EXPECT_TRUE(two->map(one->self(), kRegion));
  ASSERT_TRUE(one->close_region(kRegion));
  EXPECT_GT(mapped_regions(), 0u) << "what was handed out stays";
  two->unmap(one->self(), kRegion);
  EXPECT_EQ(mapped_regions(), 0u);
  use(RegionId{8});
  ASSERT_TRUE(one->close_region(RegionId{8}));
  use(RegionId{9});
  EXPECT_EQ(mapped_regions(), 1u) << "the last one";
}

// As somebody who clears /dev/shm does, or the system when the user logs out.
TEST_F(JoinedTest, WithoutItsDirectoryAllGoesOnByTcp) {
  Node one = join(1);
  Node two = join(2);
  ASSERT_TRUE(connect(one, two));
  ASSERT_EQ(two->carrier(NodeId{1}), Carrier::shared);
  std::filesystem::remove_all(exchange_.path());
  ASSERT_TRUE(one->send(two->self(), base::as_bytes("there")));
  ASSERT_TRUE(pump([&] { return !two.heard.messages.empty(); }, one, two));
  const auto made = one->make_region(kRegion, 64);
  ASSERT_TRUE(made) << made.error().message();
  ASSERT_TRUE(one->grant(kRegion, NodeId{2}, {.read = true}));
  std::vector<std::byte> into(8);
  ASSERT_TRUE(two->read(kOp, {one->self(), kRegion, 0}, into));
  ASSERT_TRUE(pump([&] { return !two.heard.completed.empty(); }, one, two));
  EXPECT_EQ(two.heard.completed[0].error, Errc{});
  two->disconnect(NodeId{1});
  ASSERT_TRUE(pump([&] { return one.heard.connects.size() == 2 && two.heard.connects.size() == 2; },
                   one, two));
  EXPECT_EQ(two->carrier(NodeId{1}), Carrier::tcp);
}

TEST_F(JoinedTest, PlacesForGrantsAreFreeWhenTheirNodesAreGone) {
  const auto owner = shm::open(sys::linux_env(), exchange_.open(),
                               {.self = {NodeId{1}, 1}, .wait = {}, .by_introduction = true})
                         .value();
  ASSERT_TRUE(owner->make_region(kRegion, 64));
  for (std::uint64_t node = 2; node < 2 + 3 * shm::kGrantsMax; ++node) {
    ASSERT_TRUE(owner->grant(kRegion, NodeId{node}, {.read = true})) << node;
    ASSERT_TRUE(owner->grant(kRegion, NodeId{node}, {.read = true, .write = true})) << node;
    if (node % 2 == 0) owner->forget_grant(kRegion, NodeId{node});
    if (node % 2 == 1) owner->forget_grants(NodeId{node});
  }
  for (std::uint64_t node = 2; node < 2 + shm::kGrantsMax; ++node) {
    ASSERT_TRUE(owner->grant(kRegion, NodeId{node}, {.read = true})) << node;
  }
  EXPECT_EQ(code(owner->grant(kRegion, NodeId{1'000}, {.read = true})), Errc::limit);
}

/// Node 1 in a process of its own: it shares a region, and says its life until it is killed.
[[noreturn]] void live(const JoinedOptions& options, const sys::test::SharedScratch& exchange) {
  auto made = JoinedWorld::open(options, exchange);
  if (!made) ::_exit(3);
  JoinedEndpoint& endpoint = **made;
  if (!endpoint.make_region(kRegion, 64)) ::_exit(4);
  if (!endpoint.grant(kRegion, NodeId{2}, {.read = true})) ::_exit(5);
  Recorder heard;
  const std::string life = std::to_string(options.tcp.self.incarnation);
  for (;;) {
    if (!endpoint.poll(heard)) ::_exit(6);
    for (const auto& [node, name] : heard.up) (void)endpoint.send(name, base::as_bytes(life));
    if (!endpoint.wait(sys::linux_env().clock->monotonic_ns() + 1'000'000)) ::_exit(7);
  }
}

TEST_F(JoinedTest, AKilledNodeIsLostOnceAndItsNextLifeIsMet) {
  Node two = join(2);
  const std::size_t own = objects().size();
  for (std::uint64_t incarnation = 1; incarnation <= 4; ++incarnation) {
    JoinedOptions options = world_.options({NodeId{1}, incarnation});
    options.tcp.peers = {{NodeId{2}, *two->tcp().address()}};
    two.heard.forget();
    const pid_t child = ::fork();
    if (child == 0) live(options, exchange_);
    ASSERT_GT(child, 0);
    ASSERT_TRUE(pump([&] { return two.heard.messages.size() >= 3; }, two));
    const NodeName name{NodeId{1}, incarnation};
    EXPECT_EQ(two->carrier(NodeId{1}), Carrier::shared);
    EXPECT_TRUE(two->map(name, kRegion));
    EXPECT_TRUE(pump([&] { return two->lives(name); }, two));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(!two->traits().tells_lives || !two->lives(name)) << "and nobody has polled";
    ASSERT_TRUE(pump([&] { return !two.heard.lost.empty(); }, two));
    EXPECT_EQ(two.heard.connects.size(), 1u);
    EXPECT_EQ(two.heard.lost.size(), 1u);
    for (const Recorder::Message& message : two.heard.messages) EXPECT_EQ(message.from, name);
    two->unmap(name, kRegion);
  }
  ASSERT_TRUE(pump([&] { return objects().size() == own; }, two)) << "what it left is taken away";
}

}  // namespace
}  // namespace dolmen::fabric
