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

/// The group with this number among those of a Replicated.
[[nodiscard]] constexpr replication::GroupId group_of(std::uint64_t number) {
  return {0x646F6C6D656E, number};
}

struct GroupPlan {
  fabric::Secret key;
  std::vector<fabric::TcpPeer> members;  ///< ascending by number
  replication::Addresses addresses;      ///< the same as text
  [[nodiscard]] const fabric::TcpPeer* find(std::uint32_t member) const;
};

/// Errors: invalid_argument (an address, a member twice, a key that is none), not_found, io_error.
[[nodiscard]] Result<GroupPlan> plan(const ReplicatedGroup& group);

/// The replicas that the group begins with.
[[nodiscard]] log::Configuration first_members(const GroupPlan& plan);
/// Where `text` says: "192.0.2.7:7400" or "[2001:db8::7]:7400". Errors: invalid_argument.
[[nodiscard]] Result<sys::NetworkAddress> address(const std::string& text);
/// Those whose address is one, but `self`.
[[nodiscard]] std::vector<fabric::TcpPeer> peers_at(const replication::Addresses& addresses,
                                                    fabric::NodeId self);

[[nodiscard]] inline std::uint32_t member_of(log::ReplicaId id) {
  return static_cast<std::uint32_t>(replication::node_of(id));
}

}  // namespace dolmen::node
