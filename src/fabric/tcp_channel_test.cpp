// SPDX-License-Identifier: Apache-2.0
#include "fabric/tcp_channel.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/sanitizers.hpp"
#include "fabric/tcp_hand_made_peer_test.hpp"

namespace dolmen::fabric {
namespace {

using What = TcpChannel::What;

constexpr NodeName kDialler{NodeId{1}, 10};
constexpr NodeName kAcceptor{NodeId{2}, 20};

Secret filled(unsigned char with) {
  std::array<std::byte, 32> bytes{};
  bytes.fill(std::byte{with});
  return Secret(bytes);
}

class TcpChannelTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(prepare_cryptography()); }
};

struct Pair {
  TcpChannel dialler;
  TcpChannel acceptor;
  std::vector<std::byte> from_dialler;
  std::vector<std::byte> from_acceptor;

  explicit Pair(unsigned char acceptor_key = 1, NodeId target = kAcceptor.node)
      : dialler(TcpChannel::Side::dialler, kDialler, target, filled(1), filled(2)),
        acceptor(TcpChannel::Side::acceptor, kAcceptor, NodeId::nobody, filled(acceptor_key),
                 filled(3)) {}

  /// Moves what `from` has to write, at most `most` bytes; false when there is nothing.
  bool move(TcpChannel& from, TcpChannel& to, std::size_t most) {
    const Bytes bytes = from.to_write();
    if (bytes.empty()) return false;
    const MutableBytes room = to.room();
    const Bytes now = bytes.first(std::min({most, bytes.size(), room.size()}));
    std::ranges::copy(now, room.begin());
    to.received(now.size());
    auto& log = &from == &dialler ? from_dialler : from_acceptor;
    log.insert(log.end(), now.begin(), now.end());
    from.written(now.size());
    return true;
  }
  void open(std::size_t most = 1'000'000) {
    while (!dialler.is_open() || !acceptor.is_open()) {
      (void)move(dialler, acceptor, most);
      const auto here = acceptor.next();
      ASSERT_TRUE(here) << here.error().message();
      if (*here == What::greeted) acceptor.answer({});
      (void)move(acceptor, dialler, most);
      const auto there = dialler.next();
      ASSERT_TRUE(there) << there.error().message();
    }
  }
  /// What becomes of the acceptor when it gets these bytes.
  Errc feed(TcpChannel& channel, Bytes bytes) {
    while (!bytes.empty()) {
      const MutableBytes room = channel.room();
      const Bytes now = bytes.first(std::min(bytes.size(), room.size()));
      std::ranges::copy(now, room.begin());
      channel.received(now.size());
      bytes = bytes.subspan(now.size());
      for (;;) {
        const auto what = channel.next();
        if (!what) return what.error().code();
        if (*what == What::nothing) break;
        if (*what == What::greeted) channel.answer({});
      }
    }
    return {};
  }
};

std::vector<std::byte> some_bytes(std::uint64_t seed, std::size_t count) {
  base::Random random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

TEST_F(TcpChannelTest, UnitsComeOutAsTheyWentInHoweverTheBytesAreCut) {
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 6 : 30); ++seed) {
    base::Random random(seed);
    Pair pair;
    ASSERT_NO_FATAL_FAILURE(pair.open(1 + random.below(100)));
    EXPECT_EQ(pair.acceptor.peer(), kDialler);
    EXPECT_EQ(pair.dialler.peer(), kAcceptor);
    const std::size_t most = seed % 3 == 0 ? 7 : 90'000;
    std::uint64_t sent = 0;
    std::uint64_t seen = 0;
    std::vector<std::vector<std::byte>> bodies;
    while (seen < 100) {
      while (sent < 100 && random.chance(1, 2)) {
        const bool is_large = seed % 3 != 0 && random.chance(1, 10);
        bodies.push_back(some_bytes(sent, is_large ? 200'000 : random.below(200)));
        const Bytes body(bodies.back());
        const std::array<Bytes, 2> parts{body.first(body.size() / 3),
                                         body.subspan(body.size() / 3)};
        pair.dialler.append({.kind = UnitKind::message}, parts);
        ++sent;
      }
      (void)pair.move(pair.dialler, pair.acceptor, 1 + random.below(most));
      for (;;) {
        const auto what = pair.acceptor.next();
        ASSERT_TRUE(what) << what.error().message();
        if (*what == What::nothing) break;
        ASSERT_EQ(*what, What::unit);
        EXPECT_EQ(pair.acceptor.unit().header.kind, UnitKind::message);
        EXPECT_TRUE(std::ranges::equal(pair.acceptor.unit().body, bodies[seen]));
        ++seen;
      }
    }
    EXPECT_EQ(pair.dialler.queued(), 0u);
  }
}

TEST_F(TcpChannelTest, IsTheGoldenFile) {
  Pair pair;
  ASSERT_NO_FATAL_FAILURE(pair.open());
  pair.dialler.append({.kind = UnitKind::message}, base::as_bytes("lock the door"));
  const auto head = encode(RequestHead{.offset = 16, .region = RegionId{3}, .count = 0});
  const std::array<std::uint64_t, 2> words{1, 2};
  const std::array<Bytes, 2> swap{head, std::as_bytes(std::span(words))};
  pair.dialler.append({.kind = UnitKind::swap, .number = 5}, swap);
  (void)pair.move(pair.dialler, pair.acceptor, 1'000);
  while (pair.acceptor.next().value() != What::nothing) {
  }
  pair.acceptor.append({.kind = UnitKind::done, .detail = 2, .number = 5}, Bytes{});
  (void)pair.move(pair.acceptor, pair.dialler, 1'000);
  std::vector<std::byte> bytes = pair.from_dialler;
  bytes.insert(bytes.end(), pair.from_acceptor.begin(), pair.from_acceptor.end());
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "fabric_tcp_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(bytes)));
}

TEST_F(TcpChannelTest, AnotherKeyIsRefusedAndTheDiallerIsTold) {
  Pair pair(9);
  (void)pair.move(pair.dialler, pair.acceptor, 1'000);
  EXPECT_EQ(pair.acceptor.next().error().code(), Errc::not_authentic);
  (void)pair.move(pair.acceptor, pair.dialler, 1'000);
  const auto told = pair.dialler.next();
  ASSERT_FALSE(told);
  EXPECT_EQ(told.error().code(), Errc::not_authentic);
  EXPECT_EQ(told.error().context(), "the other node refuses this one's key");
}

TEST_F(TcpChannelTest, AnotherNodeAtTheAddressIsNotTheOneThatIsMeant) {
  Pair pair(1, NodeId{77});
  (void)pair.move(pair.dialler, pair.acceptor, 1'000);
  EXPECT_EQ(pair.acceptor.next().error().code(), Errc::invalid_argument);
  (void)pair.move(pair.acceptor, pair.dialler, 1'000);
  EXPECT_EQ(pair.dialler.next().error().code(), Errc::invalid_argument);
}

TEST_F(TcpChannelTest, RefusalsInAnAnswerCannotBeForged) {
  for (const Errc why : {Errc::superseded, Errc::limit, Errc::already_exists}) {
    Pair pair;
    (void)pair.move(pair.dialler, pair.acceptor, 1'000);
    ASSERT_EQ(pair.acceptor.next().value(), What::greeted);
    pair.acceptor.answer(why);
    (void)pair.move(pair.acceptor, pair.dialler, 1'000);
    EXPECT_EQ(pair.dialler.next().error().code(), why);
  }
  Pair pair;
  const auto head = encode(Greeting{GreetingKind::refusal, kRefusalBytes});
  const auto body = encode_refusal(Errc::superseded);
  EXPECT_EQ(pair.feed(pair.dialler, head), Errc{});
  EXPECT_EQ(pair.feed(pair.dialler, body), Errc::corrupt);
}

TEST_F(TcpChannelTest, AnotherVersionIsNamedOnBothSides) {
  Pair pair;
  std::vector<std::byte> hello(pair.dialler.to_write().begin(), pair.dialler.to_write().end());
  hello[4] = std::byte{2};
  EXPECT_EQ(pair.feed(pair.acceptor, hello), Errc::version_unsupported);
  std::vector<std::byte> refusal(pair.acceptor.to_write().begin(), pair.acceptor.to_write().end());
  refusal[4] = std::byte{7};  // of whatever version
  ASSERT_EQ(refusal.size(), kGreetingBytes + kRefusalBytes);
  EXPECT_EQ(pair.feed(pair.dialler, refusal), Errc::version_unsupported);
}

TEST_F(TcpChannelTest, AnyChangedBitEndsTheConnection) {
  std::vector<std::byte> bytes;
  {
    Pair pair;
    ASSERT_NO_FATAL_FAILURE(pair.open());
    pair.dialler.append({.kind = UnitKind::message}, base::as_bytes("lock the door"));
    (void)pair.move(pair.dialler, pair.acceptor, 1'000);
    bytes = pair.from_dialler;
  }
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    Pair pair;
    std::vector<std::byte> changed = bytes;
    changed[bit / 8] ^= std::byte{1} << (bit % 8);
    // A longer length than there are bytes makes it wait: more bytes show it.
    changed.resize(changed.size() + 70'000);
    EXPECT_NE(pair.feed(pair.acceptor, changed), Errc{}) << bit;
  }
}

TEST_F(TcpChannelTest, ARepeatedHelloOpensNothing) {
  Pair first;
  ASSERT_NO_FATAL_FAILURE(first.open());
  first.dialler.append({.kind = UnitKind::message}, base::as_bytes("pay"));
  (void)first.move(first.dialler, first.acceptor, 1'000);
  // Everything that the dialler said, once more, to an acceptor with an ephemeral key of its own.
  Pair again;
  TcpChannel acceptor(TcpChannel::Side::acceptor, kAcceptor, NodeId::nobody, filled(1), filled(4));
  EXPECT_EQ(again.feed(acceptor, first.from_dialler), Errc::corrupt);
  EXPECT_FALSE(acceptor.is_open());
}

TEST_F(TcpChannelTest, UnitsThatNobodySendsEndTheConnection) {
  const auto outcome = [](Bytes plain, bool with_ready = true) {
    Pair pair;
    HandMadePeer peer(filled(1), filled(2));
    EXPECT_EQ(pair.feed(pair.acceptor, peer.hello({kDialler, kAcceptor.node})), Errc{});
    Answer answer;
    EXPECT_TRUE(peer.take_answer({pair.acceptor.to_write().begin(), pair.acceptor.to_write().end()},
                                 answer));
    if (with_ready) {
      EXPECT_EQ(pair.feed(pair.acceptor, peer.ready()), Errc{});
    }
    return pair.feed(pair.acceptor, peer.record(plain));
  };
  const auto header = [&](std::uint32_t bytes, unsigned kind, unsigned detail, unsigned number) {
    return encode(UnitHeader{.body_bytes = bytes,
                             .kind = static_cast<UnitKind>(kind),
                             .detail = static_cast<std::uint8_t>(detail),
                             .number = static_cast<std::uint16_t>(number)});
  };
  EXPECT_EQ(outcome(header(0, 2, 0, 0)), Errc{});
  EXPECT_EQ(outcome(header(0, 2, 0, 0), false), Errc::corrupt) << "before it is ready";
  EXPECT_EQ(outcome(header(0, 1, 0, 0)), Errc::corrupt) << "ready again";
  EXPECT_EQ(outcome(header(0, 0, 0, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(0, 8, 0, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(kTcpBytesMax + 1, 2, 0, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(0, 2, 1, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(0, 2, 0, 1)), Errc::corrupt);
  EXPECT_EQ(outcome(header(15, 3, 0, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(16, 3, 2, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(17, 4, 0, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(24, 5, 0, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(32, 6, 0, 0)), Errc::corrupt);
  EXPECT_EQ(outcome(header(0, 7, 4, 0)), Errc::corrupt);
}

TEST_F(TcpChannelTest, PayloadsAndHeadsComeBackAndImpossibleOnesDoNot) {
  const Hello hello{kDialler, kAcceptor.node};
  EXPECT_EQ(decode_hello(encode(hello)).value(), hello);
  EXPECT_FALSE(decode_hello(encode(Hello{{NodeId::nobody, 1}, NodeId{2}})));
  const Hello to_anybody{kDialler, NodeId::nobody};
  EXPECT_EQ(decode_hello(encode(to_anybody)).value(), to_anybody);
  EXPECT_FALSE(decode_hello(Bytes(encode(hello)).first(23)));
  const Answer answer{kAcceptor, Errc::superseded};
  EXPECT_EQ(decode_answer(encode(answer)).value(), answer);
  EXPECT_FALSE(decode_answer(encode(Answer{kAcceptor, Errc::null_pointer})));
  const RequestHead head{.offset = 8, .region = RegionId{3}, .count = 9};
  const auto bytes = encode(head);
  EXPECT_EQ(decode_request_head(UnitKind::read, bytes).value(), head);
  EXPECT_FALSE(decode_request_head(UnitKind::write, bytes)) << "a count";
  EXPECT_FALSE(decode_request_head(UnitKind::read, encode(RequestHead{.count = kTcpBytesMax + 1})));
  EXPECT_FALSE(decode_request_head(UnitKind::swap, encode(RequestHead{.offset = 4})));
}

}  // namespace
}  // namespace dolmen::fabric
