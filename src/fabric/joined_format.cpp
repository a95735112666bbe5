// SPDX-License-Identifier: Apache-2.0
#include "fabric/joined_format.hpp"

#include <algorithm>

namespace dolmen::fabric {

JoinedBytes encode(const JoinedMessage& message) noexcept {
  JoinedBytes out;
  const MutableBytes all(out.all);
  base::store(all, 0, kJoinedVersion);
  base::store(all, 1, message.kind);
  out.size = kJoinedHeadBytes;
  const JoinedOffer& offer = message.offer;
  if (message.kind == JoinedKind::token) {
    base::store(all, kJoinedHeadBytes, offer.token);
    out.size += offer.token.size();
  } else if (message.kind == JoinedKind::offer) {
    base::store(all, 8, offer.exchange[0]);
    base::store(all, 16, offer.exchange[1]);
    base::store(all, 24, offer.name.node);
    base::store(all, 32, offer.name.incarnation);
    base::store(all, 40, offer.token);
    out.size = kJoinedOfferBytes;
  }
  return out;
}

Result<JoinedMessage> decode_joined(Bytes bytes) {
  base::ByteReader in(bytes);
  const auto version = in.get<std::uint8_t>();
  JoinedMessage message{.kind = static_cast<JoinedKind>(in.get<std::uint8_t>())};
  const bool spare = in.get<std::uint16_t>() != 0 || in.get<std::uint32_t>() != 0;
  const auto damaged = [] { return fail(Errc::corrupt, "what a joined endpoint says"); };
  if (in.failed()) return damaged();
  if (version != kJoinedVersion) {
    return fail(Errc::version_unsupported, "the other side's joined endpoint", version);
  }
  if (spare || message.kind < JoinedKind::offer || message.kind > JoinedKind::begin) {
    return damaged();
  }
  JoinedOffer& offer = message.offer;
  if (message.kind == JoinedKind::offer) {
    offer.exchange[0] = in.get<std::uint64_t>();
    offer.exchange[1] = in.get<std::uint64_t>();
    offer.name.node = NodeId{in.get<std::uint64_t>()};
    offer.name.incarnation = in.get<std::uint64_t>();
  }
  if (message.kind == JoinedKind::offer || message.kind == JoinedKind::token) {
    const Bytes token = in.take(offer.token.size());
    if (in.failed()) return damaged();
    std::ranges::copy(token, offer.token.begin());
  }
  if (!in.finished()) return damaged();
  if (message.kind == JoinedKind::offer && offer.name.node == NodeId::nobody) return damaged();
  return message;
}

}  // namespace dolmen::fabric
