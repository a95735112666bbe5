// SPDX-License-Identifier: Apache-2.0
//
// Whatever a peer sends: to an acceptor, to a dialler, and sealed with the right keys to an open
// channel, with a shared key and with keys of their own. The first byte says which.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "fabric/tcp_channel.hpp"
#include "fabric/tcp_hand_made_peer_test.hpp"
#include "security/test_cluster.hpp"

namespace {

using dolmen::base::Bytes;
using dolmen::fabric::TcpChannel;

dolmen::fabric::Secret filled(unsigned char with) {
  std::array<std::byte, 32> bytes{};
  bytes.fill(std::byte{with});
  return dolmen::fabric::Secret(bytes);
}

constexpr dolmen::fabric::NodeName kDialler{dolmen::fabric::NodeId{1}, 10};
constexpr dolmen::fabric::NodeName kAcceptor{dolmen::fabric::NodeId{2}, 20};

/// False: the channel ended with an error.
bool feed(TcpChannel& channel, Bytes bytes) {
  while (!bytes.empty()) {
    const auto room = channel.room();
    const Bytes now = bytes.first(std::min(bytes.size(), room.size()));
    std::ranges::copy(now, room.begin());
    channel.received(now.size());
    bytes = bytes.subspan(now.size());
    for (;;) {
      const auto what = channel.next();
      if (!what) return false;
      if (*what == TcpChannel::What::nothing) break;
      if (*what == TcpChannel::What::greeted) channel.answer({});
      if (*what == TcpChannel::What::unit) {
        const auto& unit = channel.unit();
        DOLMEN_ASSERT_CMP(unit.body.size(), ==, unit.header.body_bytes);
        (void)decode_request_head(unit.header.kind, unit.body);
      }
    }
    if (channel.room().empty()) return false;
  }
  return true;
}

/// The same between holders of keys of their own.
void feed_link(unsigned mode, Bytes input) {
  static const dolmen::security::TestCluster cluster;
  static const auto one = cluster.self(cluster.node(1));
  static const auto two = cluster.self(cluster.node(2));
  TcpChannel dialler(TcpChannel::Side::dialler, kDialler, kAcceptor.node, one, filled(2));
  if (mode == 3) {
    (void)feed(dialler, input);
    (void)dialler.to_write();
    return;
  }
  TcpChannel acceptor(TcpChannel::Side::acceptor, kAcceptor, dolmen::fabric::NodeId::nobody, two,
                      filled(3));
  if (mode == 5) {
    // It has proved itself, and says what it likes under the seal of its verdict.
    const auto say = [](TcpChannel& from, TcpChannel& to) {
      const Bytes bytes = from.to_write();
      DOLMEN_ASSERT(feed(to, bytes));
      from.written(bytes.size());
    };
    say(dialler, acceptor);
    say(acceptor, dialler);
    say(dialler, acceptor);
    (void)feed(dialler, input);
    (void)dolmen::fabric::decode_verdict(input);
    (void)dolmen::fabric::decode_name(input);
    return;
  }
  (void)feed(acceptor, input);
  (void)acceptor.to_write();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || !dolmen::fabric::prepare_cryptography()) return 0;
  const Bytes input = std::as_bytes(std::span(data, size)).subspan(1);
  const unsigned mode = data[0] % 6;
  if (mode > 2) {
    feed_link(mode, input);
    return 0;
  }
  if (mode == 0) {
    TcpChannel dialler(TcpChannel::Side::dialler, kDialler, kAcceptor.node, filled(1), filled(2));
    (void)feed(dialler, input);
    (void)dialler.to_write();
    return 0;
  }
  TcpChannel acceptor(TcpChannel::Side::acceptor, kAcceptor, dolmen::fabric::NodeId::nobody,
                      filled(1), filled(3));
  if (mode == 1) {
    (void)feed(acceptor, input);
    (void)acceptor.to_write();
    return 0;
  }
  dolmen::fabric::HandMadePeer peer(filled(1), filled(2));
  DOLMEN_ASSERT(feed(acceptor, peer.hello({kDialler, kAcceptor.node})));
  dolmen::fabric::Answer answer;
  const Bytes answered = acceptor.to_write();
  DOLMEN_ASSERT(peer.take_answer({answered.begin(), answered.end()}, answer));
  DOLMEN_ASSERT(feed(acceptor, peer.ready()));
  // Records of the length that the first two bytes of each say.
  for (Bytes rest = input; rest.size() > 2;) {
    const std::size_t wanted = dolmen::base::load<std::uint16_t>(rest) % 2'000 + 1;
    rest = rest.subspan(2);
    const Bytes plain = rest.first(std::min(rest.size(), wanted));
    if (!feed(acceptor, peer.record(plain))) break;
    rest = rest.subspan(plain.size());
  }
  return 0;
}
