// SPDX-License-Identifier: Apache-2.0
//
// What groups send each other (docs/mail.md), and its bytes (docs/formats/mail.md): a change of a
// group's mail as its log holds it, and the message between groups. Values; pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"

namespace dolmen::cluster {

/// Of a replica group; null names none.
using GroupId = ObjectId;
/// Place of a mail in its channel, from one group to another; the first is 1, 0 is before it.
using MailSequence = std::uint64_t;
/// No higher one is believed, so that there is always a next.
inline constexpr MailSequence kMailSequenceMax = std::uint64_t{1} << 62;
/// Most bytes of one mail.
inline constexpr std::size_t kMailBytesMax = 1u << 20;
/// Groups that one group may exchange mail with.
inline constexpr std::size_t kMailPeersMax = 4096;

/// A mail that was not yet given its place.
struct Letter {
  GroupId to{};
  std::vector<std::byte> bytes{};
  friend bool operator==(const Letter&, const Letter&) = default;
};

/// What one entry of a group's log does to its mail; all of it or nothing.
struct MailChange {
  struct Received {
    GroupId from{};
    MailSequence sequence = 0;
    std::vector<std::byte> bytes{};
    friend bool operator==(const Received&, const Received&) = default;
  };
  struct Acknowledged {
    GroupId by{};
    MailSequence up_to = 0;
    friend bool operator==(const Acknowledged&, const Acknowledged&) = default;
  };

  /// The mail that this entry consumes; what is posted here is then its consequence.
  std::optional<Received> received{};
  /// Ascending by group.
  std::vector<Acknowledged> acknowledged{};
  /// In the order in which they get their places.
  std::vector<Letter> posted{};
  friend bool operator==(const MailChange&, const MailChange&) = default;
};

inline constexpr std::uint32_t kMailChangeVersion = 1;
/// Most bytes of a change: it fits into an entry of the log, together with what else is in there.
inline constexpr std::size_t kMailChangeBytesMax = 6u << 20;

/// How many bytes encode() gives.
[[nodiscard]] std::size_t encoded_bytes(const MailChange& change) noexcept;
/// Requires: what is said above, and at most kMailChangeBytesMax.
[[nodiscard]] std::vector<std::byte> encode(const MailChange& change);
/// Errors: corrupt (cut, impossible), version_unsupported. Never more memory than a small multiple
/// of what the bytes are long. Damage is not looked for: the log does.
[[nodiscard]] Result<MailChange> decode_mail_change(base::Bytes bytes);

/// From one group to another. Whatever it says is decided in the log of the group that says it: so
/// it stays true for ever, whichever leader said it and however late it arrives.
struct MailMessage {
  GroupId from{};
  GroupId to{};
  /// All mails of `to` up to here were consumed by `from`.
  MailSequence consumed = 0;
  /// Of `mails`; 0 exactly if there are none.
  MailSequence first = 0;
  std::vector<std::vector<std::byte>> mails{};  ///< contiguous, ascending
  friend bool operator==(const MailMessage&, const MailMessage&) = default;
};

inline constexpr std::uint32_t kMailMessageVersion = 1;
/// "DLML": the first bytes of a message, and what its checksum is seeded with.
inline constexpr std::uint32_t kMailMessageMagic = 0x4C4D4C44;
/// Most bytes of a message, and so most that a decoder looks at.
inline constexpr std::size_t kMailMessageBytesMax = 4u << 20;
/// What a message takes beside its mails, and a mail beside its bytes.
inline constexpr std::size_t kMailMessageHeadBytes = 64;
inline constexpr std::size_t kMailHeadBytes = 4;
inline constexpr std::size_t kMailMessageTailBytes = 8;

/// Requires: two groups, and at most kMailMessageBytesMax.
[[nodiscard]] std::vector<std::byte> encode(const MailMessage& message);
/// Errors: corrupt (cut, changed, impossible), version_unsupported. Never more memory than a small
/// multiple of what the bytes are long.
[[nodiscard]] Result<MailMessage> decode_mail_message(base::Bytes bytes);

}  // namespace dolmen::cluster
