// SPDX-License-Identifier: Apache-2.0
//
// Who may say what to a node: nodes everything, clients what clients say, and whoever has a token
// nothing but that it joins. A pure function.
#pragma once

#include <cstdint>

#include "cluster/root.hpp"
#include "fabric/fabric.hpp"
#include "replication/envelope.hpp"

namespace dolmen::node {

/// `from` as the link has proved it. `has_owner`: everybody has a key of its own; where nobody has
/// one, clients' names are above all nodes' and prove nothing. `now_s`: since 1970 (UTC).
[[nodiscard]] bool may_say(const cluster::RootState& map, bool has_owner, std::uint64_t now_s,
                           const fabric::NodeName& from, const replication::Envelope& envelope,
                           base::Bytes body);

}  // namespace dolmen::node
