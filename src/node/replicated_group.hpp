// SPDX-License-Identifier: Apache-2.0
//
// What members and clients of a group make of its addresses and its key. Values.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/replicated.hpp>

#include "fabric/noise.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "replication/member.hpp"

namespace dolmen::node {

/// The one group that a Replicated serves.
inline constexpr replication::GroupId kReplicatedGroup{0x646F6C6D656E, 1};

struct GroupPlan {
  fabric::Secret key;
  std::vector<fabric::TcpPeer> members;  ///< member i + 1 at i
};

/// Errors: invalid_argument (an address, a member twice, a key that is none, witnesses that are no
/// members or all of them), not_found, io_error.
[[nodiscard]] Result<GroupPlan> plan(const ReplicatedGroup& group);

/// The replicas that the group begins with. Requires: plan() took the group.
[[nodiscard]] log::Configuration first_members(std::size_t count,
                                               std::vector<std::uint32_t> witnesses);

[[nodiscard]] inline std::uint32_t member_of(log::ReplicaId id) {
  return static_cast<std::uint32_t>(replication::node_of(id));
}

}  // namespace dolmen::node
