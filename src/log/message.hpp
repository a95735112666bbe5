// SPDX-License-Identifier: Apache-2.0
//
// What replicas of one group say to each other on the agent path, and its bytes
// (docs/formats/log-message.md). Values; pure functions.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "log/configuration.hpp"

namespace dolmen::log {

/// A term of leadership: only rises, at most one leader each.
using Epoch = std::uint64_t;
/// No message of a higher one is believed, so that there is always a next.
inline constexpr Epoch kEpochMax = std::uint64_t{1} << 62;
/// Place of an entry in the group's log; the first is 1, 0 is before it.
using Index = std::uint64_t;
/// No higher one is believed, so that there is always a next.
inline constexpr Index kIndexMax = std::uint64_t{1} << 62;
/// The end of a log. The later one holds everything that may have been decided in the other:
/// compared by origin, then by index.
struct Position {
  Epoch origin = 0;  ///< epoch in which the entry there was proposed
  Index index = 0;
  friend constexpr auto operator<=>(const Position&, const Position&) = default;
};

enum class EntryKind : std::uint8_t {
  command = 1,        ///< bytes of the state machine
  opening = 2,        ///< the first entry of an epoch's leader; empty
  configuration = 3,  ///< encode(Configuration): who decides from here on
  settled = 4,        ///< the configuration before it is decided; empty
};

/// (origin, index) names the entry: in two logs it is the same, and so is everything before it.
struct Entry {
  Epoch origin = 0;
  Index index = 0;
  EntryKind kind = EntryKind::command;
  std::vector<std::byte> payload{};

  [[nodiscard]] Position position() const noexcept { return {origin, index}; }
  friend bool operator==(const Entry&, const Entry&) = default;
};

/// Whether the payload is one of the entry's kind.
[[nodiscard]] bool is_well_formed(const Entry& entry);

enum class MessageKind : std::uint8_t {
  probe = 1,            ///< would you grant `epoch`? Changes nothing
  probe_yes = 2,        ///< yes: I have not heard from a leader lately
  ask = 3,              ///< grant me `epoch`
  grant = 4,            ///< done and durable; my log ends at `position`
  refuse = 5,           ///< my epoch is `epoch`, which is higher than the one you spoke in
  fetch = 6,            ///< your entries behind `position.index`, as granted in `epoch`
  fetched = 7,          ///< `entries` follow on `position` in my log
  append = 8,           ///< `entries` follow on `position`; what is up to `stable` is decided
  appended = 9,         ///< my log equals yours up to `position.index`, durably
  mismatch = 10,        ///< my log differs before that: append from behind `position.index`
  snapshot = 11,        ///< `part` of the bytes of my snapshot, which ends at `position`
  snapshot_taken = 12,  ///< of the one that ends at `position` I have `stable` bytes
  want_lane = 13,       ///< give me your lane number `position.index` of `epoch`
  lane = 14,            ///< you have it; it takes `stable` bytes
  fetched_part = 15,    ///< instead of fetched, where the entries are gone: as snapshot
  hand_over = 16,       ///< I led `epoch` and lead it no more: what was promised me there is void
};

/// Every message carries the sender's epoch, probe and probe_yes the one that would be asked for;
/// what else a kind uses is said above. A fetch says in `stable` how many bytes of a snapshot of
/// the other it has, in case the entries are gone there.
struct Message {
  MessageKind kind = MessageKind::probe;
  Epoch epoch = 0;
  Position position{};
  Index stable = 0;
  std::vector<Entry> entries{};  ///< contiguous, ascending
  /// Of a snapshot's bytes, from byte `stable` on, of `part_of` in all.
  std::vector<std::byte> part{};
  std::uint64_t part_of = 0;
  /// Of append: the sender's latest round of readers (Replica::begin_read()). Of appended and
  /// mismatch that answer it: the same again. Else 0.
  std::uint64_t round = 0;
  friend bool operator==(const Message&, const Message&) = default;
};

inline constexpr std::uint32_t kMessageVersion = 2;
/// "DLMG": the first bytes of a message, and what its checksum is seeded with.
inline constexpr std::uint32_t kMessageMagic = 0x474D4C44;
inline constexpr std::uint64_t kMessageSeed = kMessageMagic;
/// What an entry takes beside its payload.
inline constexpr std::size_t kEntryHeaderBytes = 16;
/// Most bytes of an entry's payload.
inline constexpr std::size_t kPayloadBytesMax = 8u << 20;
/// Most bytes of a message, and so most that a decoder looks at.
inline constexpr std::size_t kMessageBytesMax = 16u << 20;

/// Requires: what the message's kind says of it, and at most kMessageBytesMax.
[[nodiscard]] std::vector<std::byte> encode(const Message& message);
/// Errors: corrupt (cut, changed, impossible), version_unsupported. Never more memory than the
/// bytes are long.
[[nodiscard]] Result<Message> decode_message(base::Bytes bytes);

}  // namespace dolmen::log
