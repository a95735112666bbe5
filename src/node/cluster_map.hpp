// SPDX-License-Identifier: Apache-2.0
//
// The map of a cluster, which is the root group's state, as nodes and clients come by it: whoever
// asks says which version it has, and is told a later one. A map is a hint: that it is old shows
// where it leads.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "node/cluster_identity.hpp"
#include "node/cluster_message.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

/// "root", "space", "index" or "directory".
[[nodiscard]] const char* text_of(const cluster::RootGroup& group) noexcept;
/// The cluster's id as 32 hexadecimal digits.
[[nodiscard]] std::string id_of(const cluster::RootState& map);

/// How `self` reaches a group's members (and whoever is about to be one), whom it trusts as the map
/// says.
[[nodiscard]] GroupPlan plan_of(const cluster::RootState& map, cluster::GroupNumber group,
                                const security::LinkSelf& self);

/// Asks whoever listens at the addresses, one after the other, until one has a map of a cluster
/// that has begun. Errors: timed_out (none answered in time), not_authentic, invalid_argument (an
/// address), io_error.
[[nodiscard]] Result<cluster::RootState> fetch_map(const std::vector<std::string>& addresses,
                                                   const security::LinkSelf& self,
                                                   std::uint64_t deadline_ns);
/// Whether a cluster has begun at the addresses; nothing: it has not, for nobody listens at any of
/// them, or nodes of no cluster yet. Errors: timed_out (that is not known), not_authentic, as
/// above.
[[nodiscard]] Result<std::optional<cluster::RootState>> look_for_cluster(
    const std::vector<std::string>& addresses, const security::LinkSelf& self,
    std::uint64_t deadline_ns);
/// One command to the root group. Errors: those of ReplicatedClient::call(), corrupt.
[[nodiscard]] Result<cluster::RootReply> call_root(const cluster::RootState& map,
                                                   const security::LinkSelf& self,
                                                   const cluster::RootCommand& command,
                                                   std::chrono::milliseconds patience);

}  // namespace dolmen::node
