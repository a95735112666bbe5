// SPDX-License-Identifier: Apache-2.0
//
// What is to be changed next in the cluster (docs/cluster.md): a pure function of what the root
// group knows and of who holds data of which group. It never asks for what the state would refuse.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>

#include "cluster/root.hpp"

namespace dolmen::cluster {

/// Who holds data of a group, a member or not. A hint: who does gets the seat before others.
using Holdings = std::map<GroupNumber, std::set<NodeNumber>>;

struct PlanOptions {
  std::size_t changes_max = 2;  ///< under way at the same time, in the whole cluster
};

/// The next change; nothing: all is as it should be, or enough is under way, or nothing can be
/// done. Cost: all seats and all nodes, n log n.
[[nodiscard]] std::optional<root::BeginChange> plan(const RootState& state,
                                                    const Holdings& holdings = {},
                                                    const PlanOptions& options = {});

}  // namespace dolmen::cluster
