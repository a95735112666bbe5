// SPDX-License-Identifier: Apache-2.0
//
// Who may say what to a node: nodes everything, until they are removed; clients what clients say,
// but nothing that is decided by whoever leads the root group; and whoever has a token nothing but
// that it joins. A pure function.
#pragma once

#include <cstdint>

#include "cluster/root.hpp"
#include "fabric/fabric.hpp"
#include "replication/envelope.hpp"
#include "replication/executor.hpp"

namespace dolmen::node {

/// `from` as the link has proved it. `has_owner`: everybody has a key of its own; where nobody has
/// one, clients' names are above all nodes' and prove nothing. `now_s`: since 1970 (UTC).
[[nodiscard]] bool may_say(const cluster::RootState& map, bool has_owner, std::uint64_t now_s,
                           const fabric::NodeName& from, const replication::Envelope& envelope,
                           base::Bytes body);

/// What the map says that the client may show; nothing to show: it has no right.
[[nodiscard]] replication::Capability handle_of(const cluster::RootState& map,
                                                cluster::ClientNumber client);
/// What the key of `from` has of what it shows. A comparison: the link has proved the key, and the
/// map is the owner's word; where there is none yet, it is stale. Who has a token may say nothing
/// but what may_say() lets it.
[[nodiscard]] replication::Right right_of(const cluster::RootState& map, bool has_owner,
                                          const fabric::NodeName& from,
                                          const replication::Capability& shown);
/// Whose key `from` has proved: a client's number; 0: a node.
[[nodiscard]] replication::Holder holder_of(const fabric::NodeName& from);

}  // namespace dolmen::node
