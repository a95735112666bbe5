// SPDX-License-Identifier: Apache-2.0
//
// Connections between holders of keys of their own: who gets in, as whom, and what is not believed.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance_cluster.hpp"
#include "fabric/tcp_link_world.hpp"

namespace dolmen::fabric {
namespace {

using security::filled_secret;

constexpr NodeName kOne{NodeId{1}, 10};
constexpr NodeName kTwo{NodeId{2}, 20};
const NodeName kClient{client_node(1, 77), 1};

/// Both sides of a connection without sockets, and all that they say.
struct LinkPair {
  TcpChannel dialler;
  TcpChannel acceptor;
  std::vector<std::byte> from_dialler;
  std::vector<std::byte> from_acceptor;

  explicit LinkPair(const LinkCluster& cluster, unsigned char ephemeral = 3)
      : dialler(TcpChannel::Side::dialler, kOne, kTwo.node, cluster.link(kOne.node),
                filled_secret(2)),
        acceptor(TcpChannel::Side::acceptor, kTwo, NodeId::nobody, cluster.link(kTwo.node),
                 filled_secret(ephemeral)) {}

  /// What becomes of a channel that gets these bytes.
  static Errc feed(TcpChannel& channel, Bytes bytes, Errc verdict = {}) {
    while (!bytes.empty()) {
      const MutableBytes room = channel.room();
      if (room.empty()) return Errc::limit;
      const Bytes now = bytes.first(std::min(bytes.size(), room.size()));
      std::ranges::copy(now, room.begin());
      channel.received(now.size());
      bytes = bytes.subspan(now.size());
      for (;;) {
        const auto what = channel.next();
        if (!what) return what.error().code();
        if (*what == TcpChannel::What::nothing) break;
        if (*what == TcpChannel::What::greeted) channel.answer(verdict);
      }
    }
    return {};
  }
  static std::vector<std::byte> take(TcpChannel& channel) {
    const Bytes bytes = channel.to_write();
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    channel.written(copy.size());
    return copy;
  }
  /// Lets them speak until one has nothing to say; what either side ended with.
  std::pair<Errc, Errc> speak(Errc verdict = {}) {
    std::pair<Errc, Errc> ended;
    for (;;) {
      const auto said = take(dialler);
      from_dialler.insert(from_dialler.end(), said.begin(), said.end());
      if (ended.second == Errc{}) ended.second = feed(acceptor, said, verdict);
      const auto answered = take(acceptor);
      from_acceptor.insert(from_acceptor.end(), answered.begin(), answered.end());
      if (ended.first == Errc{}) ended.first = feed(dialler, answered);
      if (said.empty() && answered.empty()) return ended;
    }
  }
};

class TcpLinkChannelTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(prepare_cryptography()); }
  LinkCluster cluster_;
};

TEST_F(TcpLinkChannelTest, IsTheGoldenFile) {
  LinkPair pair(cluster_);
  ASSERT_EQ(pair.speak(), (std::pair<Errc, Errc>{}));
  ASSERT_TRUE(pair.dialler.is_open() && pair.acceptor.is_open());
  EXPECT_EQ(pair.dialler.peer(), kTwo);
  EXPECT_EQ(pair.acceptor.peer(), kOne);
  EXPECT_EQ(pair.acceptor.proved()->key, cluster_.node(1).public_key());
  pair.dialler.append({.kind = UnitKind::message}, base::as_bytes("lock the door"));
  pair.acceptor.append({.kind = UnitKind::message}, base::as_bytes("it is"));
  ASSERT_EQ(pair.speak(), (std::pair<Errc, Errc>{}));
  std::vector<std::byte> bytes = pair.from_dialler;
  bytes.insert(bytes.end(), pair.from_acceptor.begin(), pair.from_acceptor.end());
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "fabric_tcp_link_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(bytes)));
}

TEST_F(TcpLinkChannelTest, AnyChangedBitEndsTheConnection) {
  LinkPair whole(cluster_);
  ASSERT_EQ(whole.speak(), (std::pair<Errc, Errc>{}));
  whole.dialler.append({.kind = UnitKind::message}, base::as_bytes("lock the door"));
  whole.acceptor.append({.kind = UnitKind::message}, base::as_bytes("it is"));
  ASSERT_EQ(whole.speak(), (std::pair<Errc, Errc>{}));
  // A longer length than there are bytes makes it wait: more bytes show it.
  const auto changed = [](std::vector<std::byte> bytes, std::size_t bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    bytes.resize(bytes.size() + 70'000);
    return bytes;
  };
  for (std::size_t bit = 0; bit < whole.from_dialler.size() * 8; ++bit) {
    LinkPair pair(cluster_);
    EXPECT_NE(LinkPair::feed(pair.acceptor, changed(whole.from_dialler, bit)), Errc{}) << bit;
  }
  for (std::size_t bit = 0; bit < whole.from_acceptor.size() * 8; ++bit) {
    LinkPair pair(cluster_);
    EXPECT_NE(LinkPair::feed(pair.dialler, changed(whole.from_acceptor, bit)), Errc{}) << bit;
  }
}

TEST_F(TcpLinkChannelTest, WhatWasSaidOnceOpensNothing) {
  LinkPair first(cluster_);
  ASSERT_EQ(first.speak(), (std::pair<Errc, Errc>{}));
  LinkPair again(cluster_, 4);
  EXPECT_EQ(LinkPair::feed(again.acceptor, first.from_dialler), Errc::not_authentic);
  EXPECT_FALSE(again.acceptor.is_open());
  EXPECT_EQ(again.acceptor.peer().node, NodeId::nobody);
}

TEST_F(TcpLinkChannelTest, AVerdictIsToldUnderTheSeal) {
  for (const Errc why : {Errc::superseded, Errc::limit, Errc::already_exists}) {
    LinkPair pair(cluster_);
    EXPECT_EQ(pair.speak(why), (std::pair{why, Errc{}}));
    EXPECT_FALSE(pair.dialler.is_open() || pair.acceptor.is_open());
  }
  EXPECT_FALSE(decode_verdict(encode_verdict(Errc::null_pointer)));
  EXPECT_FALSE(decode_verdict(Bytes(encode_verdict({})).first(7)));
  EXPECT_EQ(decode_verdict(encode_verdict({})).value(), Errc{});
}

TEST_F(TcpLinkChannelTest, ANameThatTheKeyDoesNotProveIsRefused) {
  const auto outcome = [&](const security::Key& key, const NodeName& name) {
    LinkPair pair(cluster_);
    const auto head = [](GreetingKind kind, std::size_t bytes) {
      return encode(Greeting{kind, static_cast<std::uint16_t>(bytes)});
    };
    const auto framed = [&](GreetingKind kind, const std::vector<std::byte>& body) {
      const auto front = head(kind, body.size());
      std::vector<std::byte> bytes(front.begin(), front.end());
      bytes.insert(bytes.end(), body.begin(), body.end());
      return bytes;
    };
    security::Handshake hand(security::Handshake::Side::initiator, cluster_.link(key),
                             {security::Role::node, 2}, encode_name(name), filled_secret(9),
                             head(GreetingKind::link_hello, security::kHelloBytes));
    const auto hello = framed(GreetingKind::link_hello, hand.step({})->out);
    EXPECT_EQ(LinkPair::feed(pair.acceptor, hello), Errc{});
    const auto answer = LinkPair::take(pair.acceptor);
    const auto proof = hand.step(Bytes(answer).subspan(kGreetingBytes));
    EXPECT_TRUE(proof);
    return LinkPair::feed(pair.acceptor, framed(GreetingKind::link_proof, proof->out));
  };
  EXPECT_EQ(outcome(cluster_.node(1), kOne), Errc{});
  EXPECT_EQ(outcome(cluster_.node(1), {NodeId{3}, 1}), Errc::not_authentic);
  EXPECT_EQ(outcome(cluster_.node(1), {client_node(1, 0), 1}), Errc::not_authentic);
  EXPECT_EQ(outcome(cluster_.client(1), kClient), Errc{});
  EXPECT_EQ(outcome(cluster_.client(1), {client_node(2, 0), 1}), Errc::not_authentic);
  EXPECT_EQ(outcome(cluster_.client(1), kOne), Errc::not_authentic) << "a client as a node";
  EXPECT_EQ(outcome(cluster_.client(1), {NodeId::nobody, 1}), Errc::corrupt);
}

TEST_F(TcpLinkChannelTest, NamesSayWhoseKeyProvesThem) {
  using security::Identity;
  using security::Role;
  EXPECT_EQ(identity_of(NodeId{1}), (Identity{Role::node, 1}));
  EXPECT_EQ(identity_of(NodeId{security::kNumberMax}), (Identity{Role::node, 0x7FFFFFFF}));
  EXPECT_EQ(identity_of(NodeId{std::uint64_t{1} << 31}), std::nullopt);
  EXPECT_EQ(identity_of(NodeId::nobody), std::nullopt);
  EXPECT_EQ(identity_of(client_node(5, ~0u)), (Identity{Role::client, 5}));
  EXPECT_EQ(identity_of(client_node(security::kNumberMax, 0)),
            (Identity{Role::client, 0x7FFFFFFF}));
  EXPECT_EQ(identity_of(NodeId{std::uint64_t{1} << 63 | 9}), std::nullopt);
}

struct Member {
  std::unique_ptr<TcpEndpoint> endpoint;
  Recorder sink;

  explicit Member(std::unique_ptr<TcpEndpoint> its) : endpoint(std::move(its)) {}
  [[nodiscard]] bool is_refused(Errc why) const {
    return std::ranges::any_of(sink.refused, [&](const auto& one) { return one.why == why; });
  }
};

class TcpLinkTest : public testing::Test {
 protected:
  bool run(std::initializer_list<Member*> members, const std::function<bool()>& done) {
    const std::uint64_t end_ns = world_.now_ns() + 20'000'000'000;
    while (!done()) {
      if (world_.now_ns() > end_ns) return false;
      bool did_something = false;
      for (Member* const member : members) {
        const auto polled = member->endpoint->poll(member->sink);
        EXPECT_TRUE(polled);
        did_something = did_something || polled.value_or(false);
      }
      if (!did_something) world_.pass_time();
    }
    return true;
  }
  Member server() { return Member(world_.alone(world_.options(kTwo))); }
  /// Dials the server and does not listen.
  TcpOptions dialler(const NodeName& name, const Member& to, const security::LinkSelf& link) {
    TcpOptions options = TcpSimWorld::options(name);
    options.listen.reset();
    options.link = link;
    options.peers = {{to.endpoint->self().node, *to.endpoint->address()}};
    return options;
  }
  TcpOptions dialler(const NodeName& name, const Member& to) {
    return dialler(name, to, world_.cluster().link(name.node));
  }
  static bool are_connected(const Member& a, const Member& b) {
    return a.sink.up.contains(b.endpoint->self().node) &&
           b.sink.up.contains(a.endpoint->self().node);
  }
  std::shared_ptr<const security::Trust> without(const security::Key& key) {
    security::Trust trust = world_.cluster().trust;
    EXPECT_TRUE(trust.revoke(key.public_key()));
    EXPECT_TRUE(trust.sign(world_.cluster().owner));  // a later serial
    return std::make_shared<const security::Trust>(trust);
  }

  TcpLinkSim world_{7};
};

TEST_F(TcpLinkTest, NodesAndClientsAreWhoTheirKeysProve) {
  Member two = server();
  Member one(world_.alone(dialler(kOne, two)));
  Member client(world_.alone(dialler(kClient, two)));
  Member again(world_.alone(dialler({client_node(1, 78), 1}, two)));
  ASSERT_TRUE(run({&two, &one, &client, &again}, [&] {
    return are_connected(two, one) && are_connected(two, client) && are_connected(two, again);
  })) << "a client may have several endpoints";
  ASSERT_TRUE(two.endpoint->send(kClient, base::as_bytes("welcome")));
  ASSERT_TRUE(run({&two, &client}, [&] { return client.sink.messages.size() == 1; }));
}

// Whoever does not know yet which node listens where.
TEST_F(TcpLinkTest, AnybodyWhoIsDialledIsAnyNodeThatIsTrusted) {
  Member two = server();
  TcpOptions to_anybody = dialler(kClient, two);
  to_anybody.peers[0].node = NodeId::nobody;
  Member client(world_.alone(to_anybody));
  ASSERT_TRUE(run({&two, &client}, [&] { return are_connected(two, client); }));
  EXPECT_EQ(client.endpoint->connected(kTwo.node), kTwo);
  // Of the same cluster, and not trusted by who dials.
  TcpOptions wary = to_anybody;
  wary.self.node = client_node(1, 79);
  wary.link->trust = without(world_.cluster().node(2));
  Member other(world_.alone(wary));
  ASSERT_TRUE(run({&two, &other}, [&] { return other.is_refused(Errc::not_authentic); }));
  EXPECT_FALSE(other.endpoint->connected(kTwo.node));
}

TEST_F(TcpLinkTest, WhoIsNotTrustedIsRefusedAndTold) {
  const LinkCluster& cluster = world_.cluster();
  const auto refused = [&](const NodeName& name, const security::Key& key) {
    Member two = server();
    Member other(world_.alone(dialler(name, two, cluster.link(key))));
    const bool both = run({&two, &other}, [&] {
      return two.is_refused(Errc::not_authentic) && other.is_refused(Errc::not_authentic);
    });
    EXPECT_EQ(two.sink.refused.empty() ? kTwo.node : two.sink.refused[0].peer.node, NodeId::nobody);
    EXPECT_TRUE(two.sink.connects.empty() && other.sink.connects.empty());
    return both;
  };
  EXPECT_TRUE(refused({NodeId{50}, 1}, cluster.node(50))) << "unknown";
  EXPECT_TRUE(refused(kOne, cluster.key({security::Role::node, 1}, 0x11))) << "a client's key";
  EXPECT_TRUE(refused({client_node(1, 0), 1}, cluster.key({security::Role::client, 1}, 1)))
      << "a node's key";
  EXPECT_TRUE(refused({NodeId{3}, 1}, cluster.key({security::Role::node, 3}, 1))) << "another's";
}

TEST_F(TcpLinkTest, ASharedKeyAndKeysOfTheirOwnDoNotMix) {
  Member two = server();
  TcpOptions shared = dialler(kOne, two);
  shared.link.reset();
  Member other(world_.alone(shared));
  ASSERT_TRUE(run({&two, &other}, [&] {
    return two.is_refused(Errc::not_authentic) && other.is_refused(Errc::not_authentic);
  }));
  Member with_shared(world_.alone(TcpSimWorld::options({NodeId{4}, 1})));
  Member with_own(world_.alone(dialler(kOne, with_shared)));
  ASSERT_TRUE(run({&with_shared, &with_own}, [&] {
    return with_shared.is_refused(Errc::not_authentic) && with_own.is_refused(Errc::not_authentic);
  }));
}

TEST_F(TcpLinkTest, AnEndpointIsNotMadeUnderANameThatItsKeyDoesNotProve) {
  const TcpWorld world{
      .network = &world_.streams().host("10.0.0.1"), .clock = &world_.clock(), .entropy = nullptr};
  const auto outcome = [&](const NodeName& name, const security::LinkSelf& link) {
    TcpOptions options = TcpSimWorld::options(name);
    options.link = link;
    const auto made = TcpEndpoint::make(options, world);
    return made ? Errc{} : made.error().code();
  };
  const LinkCluster& cluster = world_.cluster();
  EXPECT_EQ(outcome({NodeId{3}, 1}, cluster.link(kOne.node)), Errc::invalid_argument);
  EXPECT_EQ(outcome(kClient, cluster.link(kOne.node)), Errc::invalid_argument);
  EXPECT_EQ(outcome(kOne, cluster.link(kClient.node)), Errc::invalid_argument);
  EXPECT_EQ(outcome(kOne, {}), Errc::invalid_argument);
  EXPECT_EQ(outcome(kOne, cluster.link(cluster.owner)), Errc::invalid_argument);
  Member two = server();
  EXPECT_EQ(two.endpoint->set_peers({{kClient.node, {"10.0.0.9", 1}}}).error().code(),
            Errc::invalid_argument)
      << "clients are not dialled";
}

TEST_F(TcpLinkTest, ARevokedKeyLosesItsConnectionAtOnceAndGetsNoOther) {
  Member two = server();
  Member one(world_.alone(dialler(kOne, two)));
  Member client(world_.alone(dialler(kClient, two)));
  ASSERT_TRUE(run({&two, &one, &client},
                  [&] { return are_connected(two, one) && are_connected(two, client); }));
  ASSERT_TRUE(two.endpoint->set_trust(without(world_.cluster().client(1))));
  ASSERT_TRUE(run({&two, &one, &client}, [&] { return client.is_refused(Errc::not_authentic); }));
  ASSERT_EQ(two.sink.lost.size(), 1u);
  EXPECT_EQ(two.sink.lost[0].peer, kClient);
  EXPECT_EQ(two.sink.lost[0].why, Errc::not_authentic);
  EXPECT_FALSE(two.sink.up.contains(kClient.node));
  EXPECT_TRUE(are_connected(two, one)) << "the others stay";
  // No way back to an earlier file, nor to one of another cluster, nor without keys.
  EXPECT_EQ(two.endpoint->set_trust(world_.cluster().shared).error().code(),
            Errc::invalid_argument);
  EXPECT_FALSE(two.endpoint->set_trust(nullptr));
  const security::TestCluster other(0xC2);
  EXPECT_FALSE(two.endpoint->set_trust(std::make_shared<const security::Trust>(other.trust)));
  Member shared(world_.alone(TcpSimWorld::options({NodeId{4}, 1})));
  EXPECT_FALSE(shared.endpoint->set_trust(world_.cluster().shared));
}

TEST_F(TcpLinkTest, AKeyThatIsRevokedDuringTheHandshakeDoesNotGetThrough) {
  // At every moment of the handshake in turn.
  for (int polls = 0; polls < 40; ++polls) {
    Member two = server();
    Member one(world_.alone(dialler({NodeId{1}, static_cast<std::uint64_t>(polls)}, two)));
    for (int i = 0; i < polls; ++i) {
      for (Member* const member : {&two, &one}) {
        ASSERT_TRUE(member->endpoint->poll(member->sink));
        world_.pass_time();
      }
    }
    ASSERT_TRUE(two.endpoint->set_trust(without(world_.cluster().node(1))));
    ASSERT_TRUE(run({&two, &one}, [&] { return one.is_refused(Errc::not_authentic); })) << polls;
    EXPECT_FALSE(two.sink.up.contains(NodeId{1})) << polls;
  }
}

TEST_F(TcpLinkTest, AnOlderLifeIsRefusedAndToldWhy) {
  Member two = server();
  Member newer(world_.alone(dialler({NodeId{1}, 8}, two)));
  ASSERT_TRUE(run({&two, &newer}, [&] { return are_connected(two, newer); }));
  Member older(world_.alone(dialler({NodeId{1}, 7}, two)));
  ASSERT_TRUE(run({&two, &newer, &older}, [&] {
    return older.is_refused(Errc::superseded) && two.is_refused(Errc::superseded);
  }));
  EXPECT_TRUE(two.sink.lost.empty() && older.sink.connects.empty());
}

}  // namespace
}  // namespace dolmen::fabric
