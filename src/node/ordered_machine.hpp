// SPDX-License-Identifier: Apache-2.0
//
// A shard of an ordered index as a replicated state machine (docs/ordered-index.md).
//
// Threads: one (the member's).
#pragma once

#include <dolmen/error.hpp>
#include <dolmen/ordered_index.hpp>

#include "cluster/index_shape.hpp"
#include "cluster/ordered_tree.hpp"
#include "node/shard_machine.hpp"

namespace dolmen::node {

class OrderedMachine final : public ShardMachine<cluster::OrderedTree, cluster::OrderedGeometry> {
 public:
  /// Errors: invalid_argument.
  [[nodiscard]] static Result<cluster::OrderedGeometry> geometry_of(
      const OrderedShardOptions& options);
  using ShardMachine::ShardMachine;
};

}  // namespace dolmen::node
