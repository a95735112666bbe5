// SPDX-License-Identifier: Apache-2.0
//
// What nodes and clients of a cluster say to each other beside what its groups do
// (docs/formats/node.md). Values and their bytes; pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cluster/root_controller.hpp"
#include "cluster/seats.hpp"
#include "node/node_file.hpp"
#include "replication/membership.hpp"

namespace dolmen::node {

/// Asks for a later map. That a node asks says that it is there; and what it knows, which is for
/// whoever leads the root group.
struct AskMap {
  /// A group that the node leads, as its log says it, settled.
  struct Led {
    cluster::GroupNumber group = 0;
    log::Index as_of = 0;
    std::vector<cluster::NodeNumber> members{};  ///< who votes; ascending
    friend bool operator==(const Led&, const Led&) = default;
  };
  std::uint64_t version = 0;                  ///< of the map that is known; 0: none
  cluster::NodeLife life = 0;                 ///< 0: a client
  std::vector<cluster::GroupNumber> holds{};  ///< groups of which it has a replica; ascending
  std::vector<Led> leads{};
  friend bool operator==(const AskMap&, const AskMap&) = default;
};

/// All nodes that were not removed, and where they are.
[[nodiscard]] replication::Addresses addresses_in(const cluster::RootState& map);

/// Of whoever leads the group, about an order: that it is carried out, or goes on.
struct Reported {
  cluster::ChangeReport report{};
  bool is_stop = false;  ///< as the order says
};

/// Requires: at most kGroupsMax groups, and kGroupMembersMax members of each.
[[nodiscard]] std::vector<std::byte> encode(const AskMap& ask);
/// Requires: an address of at most kAddressBytesMax.
[[nodiscard]] std::vector<std::byte> encode(const cluster::ChangeOrder& order);
/// Requires: at most kGroupMembersMax members.
[[nodiscard]] std::vector<std::byte> encode(const Reported& reported);
/// Errors of all: corrupt.
[[nodiscard]] Result<AskMap> decode_ask_map(base::Bytes body);
[[nodiscard]] Result<cluster::ChangeOrder> decode_order(base::Bytes body);
[[nodiscard]] Result<Reported> decode_report(base::Bytes body);

/// The replica that a change which began with this entry adds.
[[nodiscard]] inline log::ReplicaId added_replica(cluster::NodeNumber node, log::Index since) {
  return replication::replica_of(fabric::NodeId{node}, cluster::added_life(since));
}

/// The next step of an order for a group whose last configuration this is; nothing: it is carried
/// out, when that is settled.
[[nodiscard]] std::optional<replication::Change> next_step(const cluster::ChangeOrder& order,
                                                           const log::Configuration& now);

}  // namespace dolmen::node
