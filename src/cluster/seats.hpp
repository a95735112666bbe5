// SPDX-License-Identifier: Apache-2.0
//
// Which replicas a node should have, as the map says it (docs/cluster.md). Pure functions.
//
// Invariants of whoever follows it:
//   1. A replica is made only as one of a group's founders, or for the change that adds the node,
//      whose entry names it: nobody is a member twice with different memories.
//   2. A replica goes only when the map, which says what the group itself said, has the node as no
//      member; or when a change gives the node a new one, and so has said that the old one is none.
#pragma once

#include <map>
#include <vector>

#include "cluster/root.hpp"

namespace dolmen::cluster {

/// Of the lives of a node in a group: what tells its replicas there apart. 1: of a founder.
using ReplicaLife = std::uint32_t;
inline constexpr ReplicaLife kFounderLife = 1;

/// Of the replica that a change which began with this entry of the root's log adds: above a
/// founder's, and another one for each change. Requires: since < 2^32 - 1.
[[nodiscard]] ReplicaLife added_life(log::Index since) noexcept;

struct SeatStep {
  enum class Kind : std::uint8_t {
    drop = 1,  ///< the replica that is there
    make = 2,  ///< one of this life
  };
  Kind kind = Kind::drop;
  GroupNumber group = 0;
  ReplicaLife life = 0;
  friend bool operator==(const SeatStep&, const SeatStep&) = default;
};

/// What the node `self`, whose directory has this life, is to do, in this order; `have` are the
/// replicas that it has. The root group's founders are made with the cluster, never here.
[[nodiscard]] std::vector<SeatStep> seats_to_take(const RootState& map, NodeNumber self,
                                                  NodeLife life,
                                                  const std::map<GroupNumber, ReplicaLife>& have);

}  // namespace dolmen::cluster
