// SPDX-License-Identifier: Apache-2.0
//
// What tcp promises beyond the conformance suite: who gets in, and what a bad peer or a bad network
// can do.
#include "fabric/tcp_endpoint.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance_cluster.hpp"
#include "fabric/tcp_hand_made_peer_test.hpp"
#include "fabric/tcp_sim_world.hpp"

namespace dolmen::fabric {
namespace {

struct Node {
  std::unique_ptr<TcpEndpoint> endpoint;
  Recorder sink;

  explicit Node(std::unique_ptr<TcpEndpoint> its) : endpoint(std::move(its)) {}
  [[nodiscard]] bool is_refused(Errc why) const {
    return std::ranges::any_of(sink.refused, [&](const auto& one) { return one.why == why; });
  }
};

class TcpEndpointTest : public testing::Test {
 protected:
  /// Polls them until `done`; false when nothing comes of it in so long.
  bool run(std::initializer_list<Node*> nodes, const std::function<bool()>& done,
           std::uint64_t patience_ns = 20'000'000'000) {
    const std::uint64_t end_ns = world_.now_ns() + patience_ns;
    while (!done()) {
      if (world_.now_ns() > end_ns) return false;
      bool did_something = false;
      for (Node* const node : nodes) {
        const auto polled = node->endpoint->poll(node->sink);
        EXPECT_TRUE(polled);
        did_something = did_something || polled.value_or(false);
      }
      if (!did_something) world_.pass_time();
    }
    return true;
  }
  static TcpOptions client(NodeName name, const Node& server) {
    TcpOptions options = TcpSimWorld::options(name);
    options.listen.reset();
    options.peers = {{server.endpoint->self().node, *server.endpoint->address()}};
    return options;
  }
  static bool are_connected(const Node& a, const Node& b) {
    return a.sink.up.contains(b.endpoint->self().node) &&
           b.sink.up.contains(a.endpoint->self().node);
  }

  TcpSimWorld world_{7};
};

constexpr NodeName kServerName{NodeId{5}, 1};

TEST_F(TcpEndpointTest, AnotherKeyIsRefusedWithAClearErrorOnBothSides) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  TcpOptions options = client({NodeId{9}, 1}, server);
  options.key = TcpSimWorld::key(2);
  Node other(world_.alone(options));
  ASSERT_TRUE(run({&server, &other}, [&] {
    return server.is_refused(Errc::not_authentic) && other.is_refused(Errc::not_authentic);
  }));
  EXPECT_EQ(server.sink.refused[0].peer.node, NodeId::nobody) << "a name without proof";
  EXPECT_EQ(other.sink.refused[0].peer.node, kServerName.node);
  EXPECT_NE(other.sink.refused[0].text.find("refuses this one's key"), std::string::npos);
  EXPECT_TRUE(server.sink.connects.empty() && other.sink.connects.empty());
}

TEST_F(TcpEndpointTest, AClientIsKnownByItsHandshakeAlone) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  Node other(world_.alone(client({NodeId{9}, 4}, server)));
  ASSERT_TRUE(run({&server, &other}, [&] { return are_connected(server, other); }));
  ASSERT_TRUE(server.endpoint->send({NodeId{9}, 4}, base::as_bytes("welcome")));
  ASSERT_TRUE(run({&server, &other}, [&] { return other.sink.messages.size() == 1; }));
}

TEST_F(TcpEndpointTest, AnOlderLifeIsRefusedWhileTheNewerOneIsConnectedAndToldWhy) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  Node newer(world_.alone(client({NodeId{9}, 8}, server)));
  ASSERT_TRUE(run({&server, &newer}, [&] { return are_connected(server, newer); }));
  Node older(world_.alone(client({NodeId{9}, 7}, server)));
  ASSERT_TRUE(run({&server, &newer, &older}, [&] {
    return older.is_refused(Errc::superseded) && server.is_refused(Errc::superseded);
  }));
  EXPECT_TRUE(server.sink.lost.empty() && newer.sink.lost.empty());
  Node newest(world_.alone(client({NodeId{9}, 9}, server)));
  ASSERT_TRUE(run({&server, &newest}, [&] { return server.sink.connects.size() == 2; }));
  EXPECT_EQ(server.sink.up[NodeId{9}].incarnation, 9u);
  ASSERT_EQ(server.sink.lost.size(), 1u);
  EXPECT_EQ(server.sink.lost[0].why, Errc::superseded);
  EXPECT_EQ(server.sink.lost[0].peer.incarnation, 8u);
}

TEST_F(TcpEndpointTest, AnotherNodeAtAnAddressIsNotTakenForTheOneThatIsMeant) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  TcpOptions options = client({NodeId{9}, 1}, server);
  options.peers[0].node = NodeId{6};
  Node other(world_.alone(options));
  ASSERT_TRUE(run({&server, &other}, [&] { return other.is_refused(Errc::invalid_argument); }));
  EXPECT_TRUE(server.sink.connects.empty() && other.sink.connects.empty());
}

TEST_F(TcpEndpointTest, WhoKnowsAnAddressAloneLearnsWhoAnswersThere) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  TcpOptions options = client({NodeId{9}, 1}, server);
  options.peers[0].node = NodeId::nobody;
  Node other(world_.alone(options));
  ASSERT_TRUE(run({&server, &other}, [&] { return are_connected(server, other); }));
  EXPECT_EQ(other.endpoint->connected(kServerName.node), kServerName);
  // Once more after it broke, as with a name.
  server.endpoint->disconnect(NodeId{9});
  const auto have_connected = [&](std::size_t times) {
    return other.sink.connects.size() == times && server.sink.connects.size() == times;
  };
  ASSERT_TRUE(run({&server, &other}, [&] { return have_connected(2); }));
  // And no more when it is to be dialled by its name, which it has already.
  ASSERT_TRUE(other.endpoint->set_peers({{kServerName.node, *server.endpoint->address()}}));
  server.endpoint->disconnect(NodeId{9});
  ASSERT_TRUE(run({&server, &other}, [&] { return have_connected(3); }));
  ASSERT_TRUE(server.endpoint->send({NodeId{9}, 1}, base::as_bytes("welcome")));
  ASSERT_TRUE(run({&server, &other}, [&] { return other.sink.messages.size() == 1; }));
  EXPECT_TRUE(other.sink.refused.empty());
}

TEST_F(TcpEndpointTest, NobodyWhoListensDialsWhoeverAnswers) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  EXPECT_EQ(server.endpoint->set_peers({{NodeId::nobody, {"10.0.0.1", 7400}}}).error().code(),
            Errc::invalid_argument);
}

TEST_F(TcpEndpointTest, TooManyClientsAreToldSo) {
  TcpOptions options = TcpSimWorld::options(kServerName);
  options.clients_max = 1;
  Node server(world_.alone(options));
  Node first(world_.alone(client({NodeId{9}, 1}, server)));
  ASSERT_TRUE(run({&server, &first}, [&] { return are_connected(server, first); }));
  Node second(world_.alone(client({NodeId{10}, 1}, server)));
  ASSERT_TRUE(run({&server, &first, &second}, [&] { return second.is_refused(Errc::limit); }));
  EXPECT_TRUE(server.sink.lost.empty());
  first.endpoint.reset();
  ASSERT_TRUE(run({&server, &second}, [&] { return are_connected(server, second); }));
}

TEST_F(TcpEndpointTest, DiallingIsTriedAgainAtGrowingDistances) {
  TcpOptions options = TcpSimWorld::options({NodeId{1}, 1});
  options.peers = {{NodeId{2}, {TcpSimWorld::host_of(NodeId{2}), 99}}};
  options.redial_first_ns = 10'000'000;
  options.redial_max_ns = 160'000'000;
  Node node(world_.alone(options));
  EXPECT_FALSE(run({&node}, [] { return false; }, 1'000'000'000));
  // 10, 11.25, 12.7 … 160, 160: each between half of that and all of it.
  EXPECT_GE(node.sink.refused.size(), 21u);
  EXPECT_LE(node.sink.refused.size(), 31u);
  EXPECT_TRUE(node.is_refused(Errc::connection_lost));
  EXPECT_FALSE(node.endpoint->set_peers({{NodeId{1}, {"10.0.0.1", 5}}}));
  EXPECT_FALSE(node.endpoint->set_peers({{NodeId{2}, {"10.0.0.1", 0}}}));
}

// A node that is started again waits for those who dial it, however long reading its logs took.
TEST_F(TcpEndpointTest, WhoWasAwayIsFoundSoonAfterItIsBack) {
  const NodeName lower{NodeId{1}, 1};
  const NodeName higher{NodeId{2}, 1};
  TcpOptions options = TcpSimWorld::options(lower);
  options.peers = {{higher.node, {TcpSimWorld::host_of(higher.node), 99}}};
  Node waits(world_.alone(options));
  for (std::uint64_t away_ns = 250'000'000; away_ns <= 4'000'000'000; away_ns *= 2) {
    EXPECT_FALSE(run({&waits}, [] { return false; }, away_ns));
    TcpOptions back = TcpSimWorld::options(higher);
    back.listen->port = 99;
    Node node(world_.alone(back));
    const std::uint64_t since_ns = world_.now_ns();
    ASSERT_TRUE(run({&waits, &node}, [&] { return are_connected(waits, node); }));
    EXPECT_LE(world_.now_ns() - since_ns, away_ns / 7 + options.redial_first_ns);
    node.endpoint.reset();
    ASSERT_TRUE(run({&waits}, [&] { return !waits.sink.up.contains(higher.node); }));
  }
}

class HostilePeer : public TcpEndpointTest {
 protected:
  HostilePeer() : poller_(world_.streams().host("10.9.9.9").make_poller().value()) {}

  std::unique_ptr<sys::Socket> dial(Node& server) {
    auto socket = world_.streams().host("10.9.9.9").connect(*server.endpoint->address()).value();
    EXPECT_TRUE(run({&server}, [&] { return socket->connected().value(); }));
    return socket;
  }
  void say(Node& server, sys::Socket& socket, Bytes bytes) {
    EXPECT_TRUE(run({&server}, [&] {
      const auto count = socket.write(bytes);
      bytes = count ? bytes.subspan(*count) : Bytes{};  // it may have hung up
      return bytes.empty();
    }));
  }
  /// The next `count` bytes that it says, or fewer if it ends the connection.
  std::vector<std::byte> hear(Node& server, sys::Socket& socket, std::size_t count) {
    std::vector<std::byte> heard;
    EXPECT_TRUE(run({&server}, [&] {
      std::array<std::byte, 256> into{};
      const auto read =
          socket.read(MutableBytes(into).first(std::min(into.size(), count - heard.size())));
      if (!read || read->ended) return true;
      heard.insert(heard.end(), into.begin(),
                   into.begin() + static_cast<std::ptrdiff_t>(read->bytes));
      return heard.size() == count;
    }));
    return heard;
  }
  /// A member that speaks by hand, connected.
  HandMadePeer enter(Node& server, sys::Socket& socket, NodeName name) {
    HandMadePeer peer(TcpSimWorld::key(), TcpSimWorld::key(77));
    say(server, socket, peer.hello({name, server.endpoint->self().node}));
    Answer answer;
    EXPECT_TRUE(peer.take_answer(hear(server, socket, HandMadePeer::kAnswerLength), answer));
    EXPECT_EQ(answer.self, server.endpoint->self());
    say(server, socket, peer.ready());
    EXPECT_TRUE(run({&server}, [&] { return server.sink.up.contains(name.node); }));
    return peer;
  }

  std::unique_ptr<sys::Poller> poller_;
};

TEST_F(HostilePeer, WhatIsNoGreetingEndsTheConnectionAtOnce) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  const auto socket = dial(server);
  say(server, *socket, base::as_bytes("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_TRUE(hear(server, *socket, 100).empty());
  EXPECT_TRUE(run({&server}, [&] { return server.is_refused(Errc::corrupt); }));
}

TEST_F(HostilePeer, WhoSaysNothingIsDroppedInTime) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  const auto socket = dial(server);
  const std::uint64_t start_ns = world_.now_ns();
  EXPECT_TRUE(hear(server, *socket, 1).empty());
  EXPECT_TRUE(server.is_refused(Errc::timed_out));
  EXPECT_LT(world_.now_ns() - start_ns, 3'000'000'000u);
}

TEST_F(HostilePeer, ManyWhoSayNothingDoNotKeepAMemberOut) {
  TcpOptions options = TcpSimWorld::options(kServerName);
  options.handshakes_max = 8;
  Node server(world_.alone(options));
  std::vector<std::unique_ptr<sys::Socket>> silent;
  for (int i = 0; i < 50; ++i) silent.push_back(dial(server));
  Node other(world_.alone(client({NodeId{9}, 1}, server)));
  const std::uint64_t start_ns = world_.now_ns();
  ASSERT_TRUE(run({&server, &other}, [&] { return are_connected(server, other); }));
  EXPECT_LT(world_.now_ns() - start_ns, 1'000'000'000u);
  EXPECT_TRUE(server.is_refused(Errc::limit));
}

TEST_F(HostilePeer, ARecordedHelloNeitherEntersNorDrivesAnybodyOut) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  const NodeName member{NodeId{9}, 3};
  HandMadePeer recorded(TcpSimWorld::key(), TcpSimWorld::key(77));
  const std::vector<std::byte> hello = recorded.hello({member, kServerName.node});
  Node other(world_.alone(client(member, server)));
  ASSERT_TRUE(run({&server, &other}, [&] { return are_connected(server, other); }));
  const auto socket = dial(server);
  say(server, *socket, hello);
  EXPECT_EQ(hear(server, *socket, HandMadePeer::kAnswerLength).size(), HandMadePeer::kAnswerLength);
  const std::vector<std::byte> guess(26, std::byte{1});
  say(server, *socket, guess);
  EXPECT_TRUE(hear(server, *socket, 1).empty());
  EXPECT_TRUE(server.sink.lost.empty());
  EXPECT_EQ(server.sink.connects.size(), 1u);
  EXPECT_TRUE(are_connected(server, other));
}

TEST_F(HostilePeer, AMemberThatBreaksTheProtocolLosesItsConnectionOnly) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  Node other(world_.alone(client({NodeId{9}, 1}, server)));
  ASSERT_TRUE(run({&server, &other}, [&] { return are_connected(server, other); }));
  std::vector<std::vector<std::byte>> bad;
  const auto unit = [](const UnitHeader& header, Bytes body) {
    std::vector<std::byte> bytes(kUnitHeaderBytes);
    std::ranges::copy(encode(header), bytes.begin());
    bytes.insert(bytes.end(), body.begin(), body.end());
    return bytes;
  };
  bad.push_back(unit({.body_bytes = 0, .kind = UnitKind::done, .number = 0}, {}));
  bad.push_back(unit({.body_bytes = 0, .kind = static_cast<UnitKind>(99)}, {}));
  bad.push_back(unit({.body_bytes = 16, .kind = UnitKind::read},
                     encode(RequestHead{.count = kTcpBytesMax + 1})));
  const std::array<std::byte, 32> words{};
  std::vector<std::byte> unaligned = unit({.body_bytes = 32, .kind = UnitKind::swap}, words);
  unaligned[kUnitHeaderBytes] = std::byte{4};
  bad.push_back(unaligned);
  for (std::size_t i = 0; i < bad.size(); ++i) {
    const NodeName name{NodeId{100 + i}, 1};
    const auto socket = dial(server);
    HandMadePeer peer = enter(server, *socket, name);
    say(server, *socket, peer.record(bad[i]));
    ASSERT_TRUE(run({&server}, [&] { return !server.sink.up.contains(name.node); })) << i;
    EXPECT_EQ(server.sink.lost.back().why, Errc::corrupt) << i;
  }
  EXPECT_TRUE(are_connected(server, other));
}

TEST_F(HostilePeer, AMemberThatAsksWithoutReadingIsBounded) {
  Node server(world_.alone(TcpSimWorld::options(kServerName)));
  ASSERT_TRUE(server.endpoint->make_region(kRegion, 1u << 20));
  const NodeName name{NodeId{9}, 1};
  ASSERT_TRUE(server.endpoint->grant(kRegion, name.node, kAllRights));
  const auto socket = dial(server);
  HandMadePeer peer = enter(server, *socket, name);
  std::vector<std::byte> ask(kUnitHeaderBytes);
  std::ranges::copy(encode(UnitHeader{.body_bytes = 16, .kind = UnitKind::read}), ask.begin());
  const auto head = encode(RequestHead{.region = kRegion, .count = 1u << 20});
  ask.insert(ask.end(), head.begin(), head.end());
  std::size_t asked = 0;
  while (server.sink.up.contains(name.node) && asked < 1'000) {
    say(server, *socket, peer.record(ask));
    (void)run({&server}, [] { return false; }, 200'000);  // it arrives
    ++asked;
  }
  EXPECT_LT(asked, 100u) << "megabytes that nobody reads";
  ASSERT_FALSE(server.sink.lost.empty());
  EXPECT_EQ(server.sink.lost.back().why, Errc::corrupt);
}

/// Streams that are reset and cut: what was promised holds, and in the end everybody is connected.
TEST_F(TcpEndpointTest, BadNetworksCostConnectionsAndNothingElse) {
  std::uint64_t resets = 0;
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    auto world = std::make_unique<TcpSimWorld>();
    sim::StreamWorld& streams = world->streams();
    Cluster cluster(std::move(world));
    base::Random random(seed);
    ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob, kCarol}));
    const std::array ids{kAlice, kBob, kCarol};
    streams.set_faults({.delay_max_ns = 500'000, .piece_max = 300, .reset_ppm = 5'000});
    const auto memory = cluster.at(kAlice).make_region(kRegion, 8);
    ASSERT_TRUE(memory);
    for (const NodeId id : {kBob, kCarol}) {
      ASSERT_TRUE(cluster.at(kAlice).grant(kRegion, id, kAllRights));
    }
    std::map<NodeId, std::uint64_t> next;
    std::uint64_t operations = 0;
    for (int step = 0; step < 1'500; ++step) {
      const NodeId from = ids[random.below(3)];
      const NodeId to = ids[random.below(3)];
      if (from != to && cluster.heard(from).up.contains(to)) {
        const NodeName there = cluster.heard(from).up[to];
        (void)cluster.at(from).send(there, numbered(next[from]++, random.below(2'000)));
        if (to == kAlice && cluster.at(from).fetch_add(OpId{operations}, {there, kRegion, 0}, 1)) {
          ++operations;
        }
      }
      if (random.chance(1, 200)) {
        streams.cut(TcpSimWorld::host_of(from), TcpSimWorld::host_of(to),
                    random.below(3'000'000'000));
      }
      cluster.poll_all();
      if (random.chance(1, 2)) cluster.world().pass_time();
    }
    resets += streams.resets();
    streams.set_faults({});
    streams.heal();
    ASSERT_TRUE(cluster.pump([&] { return cluster.is_meshed(); })) << seed;
    ASSERT_TRUE(cluster.deliver(kBob, cluster.name(kAlice), numbered(1'000'000, 8)));
    std::uint64_t completed = 0;
    ASSERT_TRUE(cluster.pump([&] {
      completed = cluster.heard(kBob).completed.size() + cluster.heard(kCarol).completed.size();
      return completed >= operations;
    })) << seed;
    cluster.settle();
    EXPECT_EQ(completed, operations) << "each ends once";
    std::uint64_t counted = 0;
    std::uint64_t unknown = 0;
    for (const NodeId id : {kBob, kCarol}) {
      for (const auto& one : cluster.heard(id).completed)
        ++(one.error == Errc{} ? counted : unknown);
    }
    const auto sum = base::load<std::uint64_t>(*memory);
    EXPECT_GE(sum, counted) << "an acknowledged addition is missing";
    EXPECT_LE(sum, counted + unknown) << "something was added twice";
    for (const NodeId id : ids) {
      std::map<NodeId, std::uint64_t> least;
      for (const Recorder::Message& message : cluster.heard(id).messages) {
        const auto number = base::load<std::uint64_t>(message.bytes);
        EXPECT_GE(number, least[message.from.node]) << "seed " << seed;
        EXPECT_TRUE(message.bytes == numbered(number, message.bytes.size()));
        least[message.from.node] = number + 1;
      }
    }
  }
  EXPECT_GT(resets, 30u);
}

}  // namespace
}  // namespace dolmen::fabric
