// SPDX-License-Identifier: Apache-2.0
//
// What two joined endpoints say to each other before they are connected, byte by byte
// (docs/formats/fabric-joined.md). Values; pure functions; decoders never believe a length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"

namespace dolmen::fabric {

inline constexpr std::uint8_t kJoinedVersion = 1;

enum class JoinedKind : std::uint8_t {
  offer = 1,  ///< by tcp, the first thing that either side says
  tcp = 2,    ///< by tcp, of who chooses: what follows goes here
  token = 3,  ///< in shared memory: the other side's offer, shown again
  begin = 4,  ///< in shared memory, of who chooses: what follows goes here
};

using JoinedToken = std::array<std::byte, 16>;
/// Where a side may be met, and what whoever comes there has to show.
struct JoinedOffer {
  std::array<std::uint64_t, 2> exchange{};
  NodeName name{};  ///< in the exchange; of no other meaning
  JoinedToken token{};
  friend bool operator==(const JoinedOffer&, const JoinedOffer&) = default;
};
struct JoinedMessage {
  JoinedKind kind = JoinedKind::offer;
  JoinedOffer offer{};  ///< of an offer; of a token, its token
  friend bool operator==(const JoinedMessage&, const JoinedMessage&) = default;
};
inline constexpr std::size_t kJoinedHeadBytes = 8;
inline constexpr std::size_t kJoinedOfferBytes = kJoinedHeadBytes + 48;

/// Of 8, 24 or 56 bytes.
struct JoinedBytes {
  std::array<std::byte, kJoinedOfferBytes> all{};
  std::size_t size = 0;
  [[nodiscard]] Bytes bytes() const noexcept { return Bytes(all).first(size); }
};
[[nodiscard]] JoinedBytes encode(const JoinedMessage& message) noexcept;
/// Errors: corrupt; version_unsupported (detail: the other side's).
[[nodiscard]] Result<JoinedMessage> decode_joined(Bytes bytes);

}  // namespace dolmen::fabric
