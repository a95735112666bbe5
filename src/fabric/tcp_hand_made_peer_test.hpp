// SPDX-License-Identifier: Apache-2.0
//
// A peer that speaks the protocol by hand, well or badly: for tests of what a hostile one can do.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "fabric/noise.hpp"
#include "fabric/tcp_format.hpp"

namespace dolmen::fabric {

/// The dialling side, byte by byte.
class HandMadePeer {
 public:
  HandMadePeer(const Secret& key, const Secret& ephemeral)
      : handshake_(true, key, ephemeral,
                   encode(Greeting{GreetingKind::hello, kHandshakeOverhead + kHelloBytes})) {}

  [[nodiscard]] std::vector<std::byte> hello(const Hello& hello) {
    const auto head = encode(Greeting{GreetingKind::hello, kHandshakeOverhead + kHelloBytes});
    std::vector<std::byte> bytes(head.size() + kHandshakeOverhead + kHelloBytes);
    std::ranges::copy(head, bytes.begin());
    (void)handshake_.write(encode(hello), MutableBytes(bytes).subspan(head.size()));
    return bytes;
  }
  static constexpr std::size_t kAnswerLength = kGreetingBytes + kHandshakeOverhead + kAnswerBytes;
  /// False: no answer to this peer.
  [[nodiscard]] bool take_answer(std::vector<std::byte> bytes, Answer& answer) {
    if (bytes.size() != kAnswerLength) return false;
    Bytes payload;
    if (!handshake_.read(MutableBytes(bytes).subspan(kGreetingBytes), payload)) return false;
    const Result<Answer> decoded = decode_answer(payload);
    if (!decoded) return false;
    answer = *decoded;
    ciphers_ = handshake_.split();
    return true;
  }
  /// One record. Requires: 1 to kRecordPlainMax bytes.
  [[nodiscard]] std::vector<std::byte> record(Bytes plain) {
    std::vector<std::byte> bytes(kRecordLengthBytes + plain.size() + kTagBytes);
    base::store(MutableBytes(bytes), 0, static_cast<std::uint16_t>(plain.size() + kTagBytes));
    const MutableBytes sealed = MutableBytes(bytes).subspan(kRecordLengthBytes);
    std::ranges::copy(plain, sealed.begin());
    ciphers_.send.seal(sealed.first(plain.size()), sealed.last(kTagBytes));
    return bytes;
  }
  [[nodiscard]] std::vector<std::byte> ready() {
    return record(encode(UnitHeader{.kind = UnitKind::ready}));
  }

 private:
  Handshake handshake_;
  Handshake::Ciphers ciphers_;
};

}  // namespace dolmen::fabric
