// SPDX-License-Identifier: Apache-2.0
//
// What two verbs endpoints say to each other, byte by byte (docs/formats/fabric-verbs.md): control
// messages, which travel encrypted over tcp, and the head of each piece of a message. Values; pure
// functions; decoders never believe a length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "sys/rdma.hpp"

namespace dolmen::fabric {

inline constexpr std::uint8_t kVerbsVersion = 1;
/// Of one piece of a message, its head included.
inline constexpr std::size_t kVerbsPieceBytes = 8192;
inline constexpr std::size_t kVerbsMessageMax = 16u << 20;
/// Pieces that a side must be able to take before it was polled; beside them it has room for
/// kVerbsSpare more, which give back credits and nothing else.
inline constexpr std::uint32_t kVerbsBuffersMin = 8;
inline constexpr std::uint32_t kVerbsBuffersMax = 4096;
inline constexpr std::uint32_t kVerbsSpare = 4;

struct VerbsControl {
  enum class Kind : std::uint8_t {
    hello = 1,      ///< the queue for messages, and its buffers
    ready = 2,      ///< that queue takes messages
    ask = 3,        ///< may this be done? and if there is a queue: a lane, please
    answer = 4,     ///< status, and the lane
    withdrawn = 5,  ///< from the owner: the lane allows nothing any more
    closed = 6,     ///< from the user: the lane is done with
  };
  enum class Status : std::uint8_t { ok = 0, not_found = 1, no_right = 2, out_of_bounds = 3 };

  Kind kind = Kind::hello;
  Status status = Status::ok;
  Rights rights{};  ///< ask: the one that is needed; answer: those of the lane
  std::uint32_t lane = 0;
  RegionId region{};
  std::uint32_t key = 0;
  std::uint32_t buffers = 0;  ///< of hello
  std::uint64_t start = 0;    ///< ask: an offset; answer: the region's address
  std::uint64_t bytes = 0;
  sys::RdmaAddress queue{};  ///< no queue: all zero
  friend bool operator==(const VerbsControl&, const VerbsControl&) = default;
};
inline constexpr std::size_t kVerbsControlBytes = 64;

[[nodiscard]] std::array<std::byte, kVerbsControlBytes> encode(
    const VerbsControl& control) noexcept;
/// Errors: corrupt; version_unsupported (detail: the other side's).
[[nodiscard]] Result<VerbsControl> decode_verbs_control(Bytes bytes);

struct VerbsPieceHead {
  std::uint32_t left = 0;     ///< bytes of the message from this piece on
  std::uint16_t credits = 0;  ///< buffers that are free again
  bool is_data = false;       ///< or it gives back credits and nothing else
  friend bool operator==(const VerbsPieceHead&, const VerbsPieceHead&) = default;
};
inline constexpr std::size_t kVerbsPieceHeadBytes = 8;
inline constexpr std::size_t kVerbsPieceData = kVerbsPieceBytes - kVerbsPieceHeadBytes;

[[nodiscard]] std::array<std::byte, kVerbsPieceHeadBytes> encode(
    const VerbsPieceHead& head) noexcept;
/// Of a whole piece, whose length it compares with what the head says. Errors: corrupt.
[[nodiscard]] Result<VerbsPieceHead> decode_verbs_piece(Bytes piece);

}  // namespace dolmen::fabric
