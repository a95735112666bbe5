// SPDX-License-Identifier: Apache-2.0
//
// What two tcp endpoints say to each other, byte by byte (docs/formats/fabric-tcp.md). Values; pure
// functions; decoders never believe a length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "security/handshake.hpp"

namespace dolmen::fabric {

inline constexpr std::uint8_t kTcpVersion = 1;
/// Most bytes of a message, and of a one-sided read or write.
inline constexpr std::size_t kTcpBytesMax = 16u << 20;
/// Most operations under way on one connection and direction, and bytes that they read.
inline constexpr std::size_t kTcpOperationsMax = 4096;
inline constexpr std::size_t kTcpReadBytesMax = kTcpBytesMax;

// --- Who has which name, where everybody has a key of its own. ---

/// Whose key proves this name: below 2^31 the node of that number; a client's has the highest bit,
/// then 31 bits of its number, and the rest as it likes, for each of its endpoints another.
[[nodiscard]] constexpr std::optional<security::Identity> identity_of(NodeId node) noexcept {
  const auto value = static_cast<std::uint64_t>(node);
  const std::uint64_t number = is_client(node) ? (value & ~kClientIds) >> 32 : value;
  if (number == 0 || number > security::kNumberMax) return std::nullopt;
  const auto role = is_client(node) ? security::Role::client : security::Role::node;
  return security::Identity{role, static_cast<std::uint32_t>(number)};
}
/// The name of one endpoint of a client. Requires: number from 1 to kNumberMax.
[[nodiscard]] constexpr NodeId client_node(std::uint32_t number, std::uint32_t endpoint) noexcept {
  return NodeId{kClientIds | std::uint64_t{number} << 32 | endpoint};
}

// --- Greetings: in the clear, before there are keys. ---

enum class GreetingKind : std::uint8_t {
  hello = 1,    ///< dialler: the first handshake message, with Hello
  answer = 2,   ///< acceptor: the second, with Answer
  refusal = 3,  ///< acceptor: no handshake; why, without proof
  // With keys of their own (security/handshake.hpp):
  link_hello = 4,    ///< dialler
  link_answer = 5,   ///< acceptor
  link_proof = 6,    ///< dialler
  link_verdict = 7,  ///< acceptor: the connection's first sealed bytes; welcome, or why not
};
struct Greeting {
  GreetingKind kind = GreetingKind::hello;
  std::uint16_t body_bytes = 0;
};
inline constexpr std::size_t kGreetingBytes = 8;
/// What the dialler says of itself.
struct Hello {
  NodeName self;
  NodeId target = NodeId::nobody;  ///< whom it means to reach
  friend bool operator==(const Hello&, const Hello&) = default;
};
inline constexpr std::size_t kHelloBytes = 24;
struct Answer {
  NodeName self;
  Errc refused{};  ///< none: welcome
  friend bool operator==(const Answer&, const Answer&) = default;
};
inline constexpr std::size_t kAnswerBytes = 24;
inline constexpr std::size_t kRefusalBytes = 4;
inline constexpr std::size_t kVerdictBytes = 8;
inline constexpr std::size_t kSealedVerdictBytes = kVerdictBytes + 16;

[[nodiscard]] std::array<std::byte, kGreetingBytes> encode(const Greeting& greeting) noexcept;
/// Errors: corrupt; version_unsupported (detail: the peer's version). Requires: kGreetingBytes.
[[nodiscard]] Result<Greeting> decode_greeting(Bytes bytes);
[[nodiscard]] std::array<std::byte, kHelloBytes> encode(const Hello& hello) noexcept;
/// Errors: corrupt.
[[nodiscard]] Result<Hello> decode_hello(Bytes bytes);
/// Requires: `refused` is none, or one that an answer can give (refusal_error()).
[[nodiscard]] std::array<std::byte, kAnswerBytes> encode(const Answer& answer) noexcept;
/// Errors: corrupt.
[[nodiscard]] Result<Answer> decode_answer(Bytes bytes);
[[nodiscard]] std::array<std::byte, kRefusalBytes> encode_refusal(Errc why) noexcept;
/// The error that a refusal stands for; corrupt when it is none.
[[nodiscard]] Error decode_refusal(Bytes bytes);
/// Requires: as of an answer.
[[nodiscard]] std::array<std::byte, kVerdictBytes> encode_verdict(Errc refused) noexcept;
/// Why not, or no error: welcome. Errors: corrupt.
[[nodiscard]] Result<Errc> decode_verdict(Bytes bytes);
/// The name that a side proves beside its key.
[[nodiscard]] security::Payload encode_name(const NodeName& name) noexcept;
/// Errors: corrupt.
[[nodiscard]] Result<NodeName> decode_name(Bytes bytes);
/// What the other side's refusal means here; `code` as an Answer holds it.
[[nodiscard]] Error refusal_error(Errc code);

// --- Records: sealed pieces of one stream of units. ---

inline constexpr std::size_t kRecordLengthBytes = 2;
/// Most bytes of a unit stream in one record (Noise's 65,535 without the tag).
inline constexpr std::size_t kRecordPlainMax = 65'519;

// --- Units. ---

enum class UnitKind : std::uint8_t {
  ready = 1,      ///< the dialler's first: it has the keys, so its hello was no repetition
  message = 2,    ///< the body is the message
  write = 3,      ///< RequestHead, then the bytes; detail 1: answer when placed
  read = 4,       ///< RequestHead with count
  swap = 5,       ///< RequestHead, expected, desired
  fetch_add = 6,  ///< RequestHead, delta
  done = 7,       ///< the answer to the oldest request; detail is a Status
};
enum class Status : std::uint8_t { ok = 0, not_found = 1, no_right = 2, out_of_bounds = 3 };

struct UnitHeader {
  std::uint32_t body_bytes = 0;
  UnitKind kind = UnitKind::message;
  std::uint8_t detail = 0;
  std::uint16_t number = 0;  ///< of a request, counted by its issuer; 0 of other kinds
  friend bool operator==(const UnitHeader&, const UnitHeader&) = default;
};
inline constexpr std::size_t kUnitHeaderBytes = 8;
struct RequestHead {
  std::uint64_t offset = 0;
  RegionId region{};
  std::uint32_t count = 0;  ///< of a read; 0 of other kinds
  friend bool operator==(const RequestHead&, const RequestHead&) = default;
};
inline constexpr std::size_t kRequestHeadBytes = 16;

[[nodiscard]] std::array<std::byte, kUnitHeaderBytes> encode(const UnitHeader& header) noexcept;
/// Errors: corrupt (a kind, detail or length that no unit has). Requires: kUnitHeaderBytes.
[[nodiscard]] Result<UnitHeader> decode_unit_header(Bytes bytes);
[[nodiscard]] std::array<std::byte, kRequestHeadBytes> encode(const RequestHead& head) noexcept;
/// Of a unit whose header was decoded. Errors: corrupt (a read of too much, an unaligned word).
[[nodiscard]] Result<RequestHead> decode_request_head(UnitKind kind, Bytes body);

}  // namespace dolmen::fabric
