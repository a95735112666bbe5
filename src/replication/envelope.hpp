// SPDX-License-Identifier: Apache-2.0
//
// What goes between members, and between clients and members, as messages of a fabric: a head that
// says for which replica it is, and what (docs/formats/replication.md). Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "replication/journal_format.hpp"

namespace dolmen::replication {

inline constexpr std::uint32_t kEnvelopeMagic = 0x56454C44;  // "DLEV"
inline constexpr std::uint16_t kEnvelopeVersion = 1;
inline constexpr std::size_t kEnvelopeBytes = 40;

enum class EnvelopeKind : std::uint8_t {
  replica = 1,     ///< a message of log/message.hpp
  request = 2,     ///< of a client
  reply = 3,       ///< to it
  ask_status = 4,  ///< nothing follows
  status = 5,      ///< encode(MemberStatus)
  ask_roster = 6,  ///< nothing follows
  roster = 7,      ///< membership.hpp
  change = 8,
  change_reply = 9,
  join = 10,  ///< nothing follows: `from` is a new life of a node whose earlier one votes
  // 11 … 16 are nobody's yet.
  ask_state = 17,  ///< state_message.hpp
  state = 18,
};

/// What an entry has to outlive to count: see MemberOptions and Member.
enum class Level : std::uint8_t {
  durable = 0,     ///< it is on the disks of a majority
  replicated = 1,  ///< it is in the memories of a majority
};

struct Envelope {
  EnvelopeKind kind = EnvelopeKind::replica;
  GroupId group;
  log::ReplicaId from{};  ///< 0: a client
  log::ReplicaId to{};    ///< 0: whatever replica of the group the node has
  friend bool operator==(const Envelope&, const Envelope&) = default;
};

/// Sessions from here on are no client's (executor.hpp).
inline constexpr std::uint64_t kReservedSession = ~std::uint64_t{0} - 1;

/// A client's request. Session 0 asks for a session.
struct Request {
  std::uint64_t number = 0;  ///< the client's own, repeated in the reply
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;  ///< 1, 2, … within the session; the same again for a retry
  base::Bytes command{};
};

enum class ReplyStatus : std::uint8_t {
  done = 1,  ///< `value`: of a session that was asked for its number; `result` of a command
  not_leader =
      2,        ///< `value`: the node that leads, as far as is known; 0: nobody. Nothing happened
  busy = 3,     ///< too much is under way; nothing happened
  expired = 4,  ///< no such session any more; whether the command was executed is not known
  refused = 5,  ///< the state machine refuses it; nothing happened
  lost = 6,     ///< this member leads no more; whether it will be executed is not known
};

struct Reply {
  std::uint64_t number = 0;
  ReplyStatus status = ReplyStatus::done;
  std::uint64_t value = 0;
  base::Bytes result{};
};

/// How a replica is, for people and monitors.
struct MemberStatus {
  log::ReplicaId self{};
  log::Role role = log::Role::follower;
  log::Epoch epoch = 0;
  log::ReplicaId leader{};  ///< 0: not known
  log::Position end{};
  log::Index stable = 0;
  log::Index applied = 0;
  log::Index base = 0;
  log::Configuration configuration{};
  struct Follower {
    log::ReplicaId id{};
    log::Index matched = 0;
    friend bool operator==(const Follower&, const Follower&) = default;
  };
  std::vector<Follower> followers{};  ///< of a leader
  Level level = Level::durable;
  friend bool operator==(const MemberStatus&, const MemberStatus&) = default;
};

/// The head; the body follows.
[[nodiscard]] std::vector<std::byte> encode(const Envelope& envelope);
[[nodiscard]] std::vector<std::byte> encode(const Request& request);
[[nodiscard]] std::vector<std::byte> encode(const Reply& reply);
[[nodiscard]] std::vector<std::byte> encode(const MemberStatus& status);

struct Opened {
  Envelope envelope;
  base::Bytes body;  ///< in the message
};
/// Errors of all: corrupt, version_unsupported. What they give refers to the bytes.
[[nodiscard]] Result<Opened> decode_envelope(base::Bytes message);
[[nodiscard]] Result<Request> decode_request(base::Bytes body);
[[nodiscard]] Result<Reply> decode_reply(base::Bytes body);
[[nodiscard]] Result<MemberStatus> decode_status(base::Bytes body);

}  // namespace dolmen::replication
