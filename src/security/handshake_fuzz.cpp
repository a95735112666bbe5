// SPDX-License-Identifier: Apache-2.0
//
// Whatever the other side of a handshake says: to a responder, to an initiator, and what each of
// them finds under the seal. The first byte says which. Nobody gets to its end without a key.
#include <algorithm>
#include <cstdint>
#include <span>

#include <dolmen/assert.hpp>

#include "security/test_cluster.hpp"

namespace {

using namespace dolmen::security;
using dolmen::base::Bytes;

/// The input in pieces as long as the side wants them.
void feed(Handshake& side, Bytes input) {
  while (side.due_bytes() > 0 && !input.empty()) {
    const Bytes message = input.first(std::min(input.size(), side.due_bytes()));
    input = input.subspan(message.size());
    const auto step = side.step(message);
    if (!step) return;
    DOLMEN_ASSERT(step->out.size() <= kAnswerBytes);
    DOLMEN_ASSERT(!step->is_finished);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || !prepare()) return 0;
  static const TestCluster cluster;
  static const LinkSelf one = cluster.self(cluster.node(1));
  static const LinkSelf two = cluster.self(cluster.node(2));
  const Bytes input = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 3) {
    case 0: {
      // Not the keys of the golden file: that may be among the inputs.
      Handshake side(Handshake::Side::responder, two, {}, {}, filled_secret(0x72));
      feed(side, input);
      break;
    }
    case 1: {
      Handshake side(Handshake::Side::initiator, one, {Role::node, 2}, {}, filled_secret(0x71));
      DOLMEN_ASSERT(side.step({}).has_value());
      feed(side, input);
      break;
    }
    default:
      if (const auto claim = decode_claim(input)) {
        DOLMEN_ASSERT(std::ranges::equal(encode(*claim), input));
      }
      break;
  }
  return 0;
}
