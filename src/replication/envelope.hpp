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
inline constexpr std::uint16_t kEnvelopeVersion = 3;
inline constexpr std::size_t kEnvelopeBytes = 48;

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
  join = 10,        ///< nothing follows: `from` is a new life of a node whose earlier one votes
  ask_memory = 11,  ///< nothing follows; the asker may read the memory from then on
  memory = 12,      ///< encode(MemoryReply)
  // Between nodes of a cluster, and from clients to them: node/cluster_message.hpp.
  ask_map = 13,
  map = 14,
  read_request = 15,  ///< of a client that changes nothing; its answer is a reply
  // 16 is nobody's.
  ask_state = 17,  ///< state_message.hpp
  state = 18,
  order = 19,  ///< as ask_map
  report = 20,
  mail = 21,         ///< cluster/mail.hpp, to nodes of the group that `group` says
  ask_copy = 22,     ///< as ask_state, of a client; the answers are `state`
  ask_entries = 23,  ///< entries_message.hpp: of a client that looks at the log
  entries = 24,
  // 25 to 29 are nobody's.
  ask_metrics = 30,  ///< nothing follows; of a node of a cluster, whatever its groups
  metrics = 31,      ///< its figures as text (node/metrics_text.hpp)
  // 32 to 36 are nobody's.
  denied = 37,  ///< encode(Denied): of a question, to who may not ask it
  // 38 is nobody's.
  ask_lease = 39,  ///< lease_message.hpp: of a client that reads the leader's memory alone
  lease = 40,
  ask_outcome = 41,  ///< of a client: a request without a command; what became of one with it
};

/// What clients say: everything else is between nodes, and dropped when a client says it.
[[nodiscard]] constexpr bool is_of_clients(EnvelopeKind kind) noexcept {
  switch (kind) {
    case EnvelopeKind::request:
    case EnvelopeKind::ask_status:
    case EnvelopeKind::ask_roster:
    case EnvelopeKind::change:
    case EnvelopeKind::ask_memory:
    case EnvelopeKind::ask_map:
    case EnvelopeKind::read_request:
    case EnvelopeKind::ask_copy:
    case EnvelopeKind::ask_entries:
    case EnvelopeKind::ask_metrics:
    case EnvelopeKind::ask_lease:
    case EnvelopeKind::ask_outcome:
      return true;
    default:
      return false;
  }
}

/// What clients say under a right that they name; the rest is open to whoever may connect.
[[nodiscard]] constexpr bool needs_right(EnvelopeKind kind) noexcept {
  switch (kind) {
    case EnvelopeKind::request:
    case EnvelopeKind::read_request:
    case EnvelopeKind::change:
    case EnvelopeKind::ask_memory:
    case EnvelopeKind::ask_lease:
    case EnvelopeKind::ask_copy:
    case EnvelopeKind::ask_entries:
    case EnvelopeKind::ask_outcome:
      return true;
    default:
      return false;
  }
}

/// What is asked for under: which right of the asker's key, and in which generation it has it
/// (docs/links.md). It is shown, and proves nothing: whoever takes it compares it with what it
/// knows of the key that the connection proved.
struct Capability {
  std::uint32_t index = 0;       ///< 0: none is shown
  std::uint32_t generation = 0;  ///< 0 exactly if index is
  friend bool operator==(const Capability&, const Capability&) = default;
};
/// The only one there is: whatever the cluster's owner lets clients do.
inline constexpr std::uint32_t kWholeCluster = 1;

/// What there is to what was shown.
enum class Right : std::uint8_t {
  held = 1,
  none = 2,   ///< the key has no such right
  stale = 3,  ///< it was shown as of another generation: the right was changed since, or is newer;
              ///< or who is asked has no map yet
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
  Capability shown{};
  friend bool operator==(const Envelope&, const Envelope&) = default;
};

/// Sessions from here on are no client's (executor.hpp).
inline constexpr std::uint64_t kReservedSession = ~std::uint64_t{0} - 2;

/// A client's request. Session 0 asks for a session.
struct Request {
  std::uint64_t number = 0;  ///< the client's own, repeated in the reply
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;  ///< 1, 2, … within the session; the same again for a retry
  base::Bytes command{};
};

enum class ReadLevel : std::uint8_t {
  linearizable = 1,  ///< at the leader: all that was answered to anybody before it was asked
  stale = 2,         ///< whatever the member that is asked has executed
  lease = 3,         ///< as linearizable; by the leader's lease, while it has one, at once
};

/// A client's question to the state machine.
struct ReadRequest {
  std::uint64_t number = 0;  ///< the client's own, repeated in the reply
  ReadLevel level = ReadLevel::linearizable;
  base::Bytes query{};
};

enum class ReplyStatus : std::uint8_t {
  done = 1,  ///< `value`: of a session that was asked for its number; `result` of a command
  not_leader =
      2,     ///< `value`: the node that leads, as far as is known; 0: nobody. Nothing happened
  busy = 3,  ///< too much is under way; nothing happened. `value`: microseconds until it may not be
  /// `value` 0: no such session any more; kLaterCommand: it has executed a later command, or given
  /// one up. Whether this one was executed is not known; it will not be.
  expired = 4,
  refused = 5,   ///< the state machine refuses it; nothing happened
  lost = 6,      ///< this member leads no more; whether it will be executed is not known
  no_right = 7,  ///< the client's key has no right to that, or it is another's session; nothing
                 ///< happened
  stale = 8,     ///< what it shows is of before its right was changed; nothing happened
  aborted = 9,   ///< it was asked what became of it before it was executed: it never will be
};
inline constexpr std::uint64_t kLaterCommand = 1;
[[nodiscard]] constexpr ReplyStatus refusal_of(Right right) noexcept {
  return right == Right::stale ? ReplyStatus::stale : ReplyStatus::no_right;
}

/// Nothing was done about a question that has no number of its own.
struct Denied {
  EnvelopeKind what = EnvelopeKind::ask_memory;  ///< one that needs a right
  Right why = Right::none;                       ///< not held
  friend bool operator==(const Denied&, const Denied&) = default;
};

struct Reply {
  std::uint64_t number = 0;
  ReplyStatus status = ReplyStatus::done;
  std::uint64_t value = 0;
  /// Of `done`: the command is in the log at this place or before, or what was read is the state
  /// after it; at `level` no member can lose it any more.
  log::Index index = 0;
  Level level = Level::durable;
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

/// What of a group's state may be read at a member one-sidedly (docs/index.md), as it was then.
struct MemoryReply {
  /// The member leads in this epoch and had executed an entry of it, and which members count is
  /// decided; 0: not so.
  log::Epoch epoch = 0;
  std::uint64_t leader = 0;   ///< the node that leads, as far as is known; 0: nobody
  log::Index configured = 0;  ///< the entry of `configuration`
  std::uint64_t bytes = 0;    ///< of the state, behind the line; 0: there is nothing to read
  std::uint32_t region = 0;   ///< which region
  log::Configuration configuration{};  ///< the last one in the member's log
  friend bool operator==(const MemoryReply&, const MemoryReply&) = default;
};
/// In front of the state: what its member promised. Words of 8 bytes: the highest epoch, the entry
/// of the last configuration in its log, and nothing.
inline constexpr std::size_t kMemoryLineBytes = 64;
inline constexpr std::size_t kEpochWordAt = 0;
inline constexpr std::size_t kConfiguredWordAt = 8;

/// The head; the body follows.
[[nodiscard]] std::vector<std::byte> encode(const Envelope& envelope);
[[nodiscard]] std::vector<std::byte> encode(const Request& request);
[[nodiscard]] std::vector<std::byte> encode(const ReadRequest& request);
[[nodiscard]] std::vector<std::byte> encode(const Reply& reply);
[[nodiscard]] std::vector<std::byte> encode(const MemberStatus& status);
[[nodiscard]] std::vector<std::byte> encode(const MemoryReply& reply);
[[nodiscard]] std::vector<std::byte> encode(const Denied& denied);

struct Opened {
  Envelope envelope;
  base::Bytes body;  ///< in the message
};
/// Errors of all: corrupt, version_unsupported. What they give refers to the bytes.
[[nodiscard]] Result<Opened> decode_envelope(base::Bytes message);
[[nodiscard]] Result<Request> decode_request(base::Bytes body);
[[nodiscard]] Result<ReadRequest> decode_read_request(base::Bytes body);
[[nodiscard]] Result<Reply> decode_reply(base::Bytes body);
[[nodiscard]] Result<MemberStatus> decode_status(base::Bytes body);
[[nodiscard]] Result<MemoryReply> decode_memory_reply(base::Bytes body);
[[nodiscard]] Result<Denied> decode_denied(base::Bytes body);

}  // namespace dolmen::replication
