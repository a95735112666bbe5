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

#include "node/cluster_message.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

/// The id of the cluster that the holders of a key found.
[[nodiscard]] ObjectId cluster_of(const fabric::Secret& key);

/// How a client reaches a group's members (and whoever is about to be one).
[[nodiscard]] GroupPlan plan_of(const cluster::RootState& map, cluster::GroupNumber group,
                                const fabric::Secret& key);

/// A name for a client, that nobody else has.
[[nodiscard]] fabric::NodeName client_name();

/// Asks whoever listens at the addresses, one after the other, until one has a map of a cluster
/// that has begun. Errors: timed_out (none answered in time), not_authentic, invalid_argument (an
/// address), io_error.
[[nodiscard]] Result<cluster::RootState> fetch_map(const std::vector<std::string>& addresses,
                                                   const fabric::Secret& key,
                                                   std::uint64_t deadline_ns);
/// Whether a cluster has begun at the addresses; nothing: it has not, for nobody listens at any of
/// them, or nodes of no cluster yet. Errors: timed_out (that is not known), not_authentic, as
/// above.
[[nodiscard]] Result<std::optional<cluster::RootState>> look_for_cluster(
    const std::vector<std::string>& addresses, const fabric::Secret& key,
    std::uint64_t deadline_ns);
/// One command to the root group. Errors: those of ReplicatedClient::call(), corrupt.
[[nodiscard]] Result<cluster::RootReply> call_root(const cluster::RootState& map,
                                                   const fabric::Secret& key,
                                                   const cluster::RootCommand& command,
                                                   std::chrono::milliseconds patience);

}  // namespace dolmen::node
