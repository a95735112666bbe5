// SPDX-License-Identifier: Apache-2.0
//
// Connections through a fabric that both sides declare trusted: proved as any, and not encrypted
// then; and nobody between them brings that about.
#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/tcp_link_world.hpp"

namespace dolmen::fabric {
namespace {

using security::filled_secret;
using security::kSaysClear;

constexpr NodeName kOne{NodeId{1}, 10};
constexpr NodeName kTwo{NodeId{2}, 20};
constexpr std::string_view kText = "what is said to each other";

/// Both sides of a connection without sockets; what each ended with.
class TrustedPair {
 public:
  TrustedPair(const LinkCluster& cluster, std::uint8_t dialler_says, std::uint8_t acceptor_says)
      : dialler(TcpChannel::Side::dialler, kOne, kTwo.node, with(cluster, kOne, dialler_says),
                filled_secret(2)),
        acceptor(TcpChannel::Side::acceptor, kTwo, NodeId::nobody,
                 with(cluster, kTwo, acceptor_says), filled_secret(3)) {}

  /// With a key that they share.
  TrustedPair(std::uint8_t dialler_says, std::uint8_t acceptor_says)
      : dialler(TcpChannel::Side::dialler, kOne, kTwo.node, filled_secret(1), filled_secret(2),
                dialler_says),
        acceptor(TcpChannel::Side::acceptor, kTwo, NodeId::nobody, filled_secret(1),
                 filled_secret(3), acceptor_says) {}

  static security::LinkSelf with(const LinkCluster& cluster, const NodeName& name,
                                 std::uint8_t says) {
    security::LinkSelf link = cluster.link(name.node);
    link.says = says;
    return link;
  }
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
        if (*what == TcpChannel::What::nothing) break;
        if (*what == TcpChannel::What::greeted) {
          channel.answer(channel.agrees() ? Errc{} : Errc::unsupported);
        }
        if (*what == TcpChannel::What::unit) {
          const Bytes body = channel.unit().body;
          heard.assign(body.begin(), body.end());
        }
      }
    }
    return {};
  }
  /// Until nobody has anything to say; bit `flip` of what the acceptor says is changed on the way.
  std::pair<Errc, Errc> speak(std::size_t flip = ~std::size_t{0}) {
    std::pair<Errc, Errc> ended;
    for (;;) {
      const auto said = take(dialler);
      if (ended.second == Errc{}) ended.second = feed(acceptor, said);
      auto answered = take(acceptor);
      if (flip / 8 >= from_acceptor && flip / 8 < from_acceptor + answered.size()) {
        answered[flip / 8 - from_acceptor] ^= std::byte{1} << (flip % 8);
      }
      from_acceptor += answered.size();
      if (ended.first == Errc{}) ended.first = feed(dialler, answered);
      if (said.empty() && answered.empty()) return ended;
    }
  }
  static std::vector<std::byte> take(TcpChannel& channel) {
    const Bytes bytes = channel.to_write();
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    channel.written(copy.size());
    return copy;
  }
  /// The record in which the dialler says kText.
  std::vector<std::byte> record() {
    dialler.append({.kind = UnitKind::message}, base::as_bytes(kText));
    return take(dialler);
  }

  TcpChannel dialler;
  TcpChannel acceptor;
  std::size_t from_acceptor = 0;  ///< bytes
  std::vector<std::byte> heard{};
};

bool is_readable(Bytes record) {
  return !std::ranges::search(record, base::as_bytes(kText)).empty();
}

/// Both say `says`: they are connected, and what one says is readable exactly then.
void expect_connected(TrustedPair& pair, std::uint8_t says) {
  ASSERT_EQ(pair.speak(), std::pair(Errc{}, Errc{}));
  ASSERT_TRUE(pair.dialler.is_open() && pair.acceptor.is_open());
  const auto record = pair.record();
  EXPECT_EQ(is_readable(record), says == kSaysClear);
  EXPECT_EQ(pair.feed(pair.acceptor, record), Errc{});
  EXPECT_TRUE(std::ranges::equal(pair.heard, base::as_bytes(kText)));
  EXPECT_EQ(pair.feed(pair.acceptor, record), Errc::corrupt) << "it came twice";
}

TEST(TcpTrusted, OnlyWhereBothSaySoIsAnythingReadable) {
  const LinkCluster cluster;
  for (const std::uint8_t says : {std::uint8_t{0}, kSaysClear}) {
    TrustedPair pair(cluster, says, says);
    ASSERT_NO_FATAL_FAILURE(expect_connected(pair, says));
  }
}

TEST(TcpTrusted, WhereOneAloneSaysSoBothAreTold) {
  const LinkCluster cluster;
  for (const std::uint8_t first : {std::uint8_t{0}, kSaysClear}) {
    TrustedPair pair(cluster, first, first ^ kSaysClear);
    EXPECT_EQ(pair.speak().first, Errc::unsupported);
    EXPECT_FALSE(pair.acceptor.agrees());
    EXPECT_FALSE(pair.dialler.is_open());
    EXPECT_FALSE(pair.acceptor.is_open());
  }
}

TEST(TcpTrusted, WithASharedKeyBothSayItOrDoNotUnderstandEachOther) {
  for (const std::uint8_t says : {std::uint8_t{0}, kSaysClear}) {
    TrustedPair pair(says, says);
    ASSERT_NO_FATAL_FAILURE(expect_connected(pair, says));
    TrustedPair apart(says, says ^ kSaysClear);
    EXPECT_EQ(apart.speak(), std::pair(Errc::not_authentic, Errc::not_authentic));
    EXPECT_FALSE(apart.dialler.is_open() || apart.acceptor.is_open());
  }
}

TEST(TcpTrusted, NobodyBetweenThemChangesWhatTheySay) {
  const LinkCluster cluster;
  // Whatever bit is changed of what the acceptor says until it is open, it is no connection.
  const std::size_t bits = 8 * [&] {
    TrustedPair whole(cluster, 0, 0);
    EXPECT_EQ(whole.speak(), std::pair(Errc{}, Errc{}));
    return whole.from_acceptor;
  }();
  for (std::size_t bit = 0; bit < bits; bit += 3) {
    TrustedPair pair(cluster, 0, 0);
    (void)pair.speak(bit);
    ASSERT_FALSE(pair.dialler.is_open()) << bit;
  }
}

TEST(TcpTrusted, DamageIsNoticed) {
  const LinkCluster cluster;
  const std::size_t bits = 8 * (kRecordLengthBytes + kUnitHeaderBytes + kText.size() + kTagBytes);
  for (std::size_t bit = 16; bit < bits; bit += 5) {
    TrustedPair pair(cluster, kSaysClear, kSaysClear);
    ASSERT_EQ(pair.speak(), std::pair(Errc{}, Errc{}));
    auto record = pair.record();
    record[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_EQ(pair.feed(pair.acceptor, record), Errc::corrupt) << bit;
    ASSERT_TRUE(pair.heard.empty());
  }
  TrustedPair pair(cluster, kSaysClear, kSaysClear);
  ASSERT_EQ(pair.speak(), std::pair(Errc{}, Errc{}));
  const auto record = pair.record();
  EXPECT_EQ(pair.feed(pair.acceptor, record), Errc{});
  EXPECT_EQ(pair.feed(pair.acceptor, record), Errc::corrupt) << "it came twice";
}

}  // namespace
}  // namespace dolmen::fabric
