// SPDX-License-Identifier: Apache-2.0
//
// A shard of a hash index as a replicated state machine (docs/index.md, As a service).
//
// Threads: one (the member's).
#pragma once

#include <dolmen/error.hpp>
#include <dolmen/index.hpp>

#include "cluster/hash_index.hpp"
#include "cluster/index_shape.hpp"
#include "node/shard_machine.hpp"

namespace dolmen::node {

class IndexMachine final : public ShardMachine<cluster::HashIndex, cluster::IndexGeometry> {
 public:
  /// Errors: invalid_argument.
  [[nodiscard]] static Result<cluster::IndexGeometry> geometry_of(const IndexShardOptions& options);
  using ShardMachine::ShardMachine;
};

}  // namespace dolmen::node
