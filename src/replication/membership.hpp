// SPDX-License-Identifier: Apache-2.0
//
// Who belongs to a group and where they are: what is asked and told of it, and how it is changed
// (docs/formats/replication.md). Values and their bytes; pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "fabric/fabric.hpp"
#include "replication/journal_format.hpp"

namespace dolmen::replication {

/// A replica's id says which node it is on, and which of the lives of that node's disk or, without
/// one, of its process.
[[nodiscard]] constexpr log::ReplicaId replica_of(fabric::NodeId node, std::uint32_t life) {
  return log::ReplicaId{(static_cast<std::uint64_t>(node) << 32) | life};
}
[[nodiscard]] constexpr fabric::NodeId node_of(log::ReplicaId id) {
  return fabric::NodeId{static_cast<std::uint64_t>(id) >> 32};
}
[[nodiscard]] constexpr std::uint32_t life_of(log::ReplicaId id) {
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(id));
}
/// The life of those that a group begins with. Who joins later drew another.
inline constexpr std::uint32_t kFirstLife = 1;

/// Where nodes listen, as text; what it means is the dialler's business. Hints: a wrong one costs
/// a connection, never more. Empty: forgotten.
using Addresses = std::map<fabric::NodeId, std::string>;
inline constexpr std::size_t kAddressBytesMax = 255;
inline constexpr std::size_t kAddressesMax = 1024;

/// What a member knows of its group's members.
struct Roster {
  log::Index as_of = 0;  ///< of two rosters the one with the higher is the later
  bool is_settled = false;
  std::optional<log::Configuration> configuration{};  ///< nothing: no replica of the group is here
  Addresses addresses{};
  std::vector<GroupId> groups{};  ///< all that this node serves; ascending
  friend bool operator==(const Roster&, const Roster&) = default;
};

enum class ChangeKind : std::uint8_t {
  learn = 1,  ///< `replica`, at `address`, becomes a learner
  vote = 2,   ///< the learner `replica` becomes a voter; `instead` is a member no more
  leave = 3,  ///< `replica` is a member no more
};

/// One step. The same again is no second one: it asks how far the first is.
struct Change {
  std::uint64_t number = 0;  ///< the asker's own, repeated in the reply
  ChangeKind kind = ChangeKind::learn;
  log::ReplicaId replica{};
  log::ReplicaId instead{};  ///< 0: nobody
  std::string address{};     ///< of learn; empty: as it is known
  friend bool operator==(const Change&, const Change&) = default;
};

enum class ChangeStatus : std::uint8_t {
  done = 1,         ///< it is so, and settled: who left may be taken away
  under_way = 2,    ///< proposed, and not settled yet
  not_leader = 3,   ///< `value`: the node that leads, as far as is known; 0: nobody
  busy = 4,         ///< another change is not settled yet
  behind = 5,       ///< the learner lacks `value` entries yet
  unknown = 6,      ///< no such learner
  last_voter = 7,   ///< nobody would be left
  no_majority = 8,  ///< of the voters to be, too few are there
  founder = 9,      ///< it was not made to join a group, and may hold a log of its own
  full = 10,        ///< there are as many members as there may be
};

struct ChangeReply {
  std::uint64_t number = 0;
  ChangeStatus status = ChangeStatus::done;
  std::uint64_t value = 0;
  friend bool operator==(const ChangeReply&, const ChangeReply&) = default;
};

/// Requires: addresses of at most kAddressBytesMax, at most kAddressesMax of them.
[[nodiscard]] std::vector<std::byte> encode(const Roster& roster);
[[nodiscard]] std::vector<std::byte> encode(const Change& change);
[[nodiscard]] std::vector<std::byte> encode(const ChangeReply& reply);
/// Errors of all: corrupt.
[[nodiscard]] Result<Roster> decode_roster(base::Bytes body);
[[nodiscard]] Result<Change> decode_change(base::Bytes body);
[[nodiscard]] Result<ChangeReply> decode_change_reply(base::Bytes body);

/// Addresses, as a state holds them.
void put_addresses(base::ByteWriter& out, const Addresses& addresses);
/// `count` of them, ascending by node. Nothing: these are none, or `in` failed.
[[nodiscard]] std::optional<Addresses> take_addresses(base::ByteReader& in, std::size_t count);

}  // namespace dolmen::replication
