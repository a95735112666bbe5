// SPDX-License-Identifier: Apache-2.0
//
// A node's figures (docs/metrics.md): what its parts count, as one text.
//
// Threads: the node's. Cost: a walk over its replicas, and a question to the disk for each space;
// about 3 KiB of text for each replica.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "fabric/joined_endpoint.hpp"
#include "fabric/metered.hpp"
#include "node/cluster_core.hpp"
#include "node/metrics_text.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

/// Whose figures they are.
struct MeteredNode {
  cluster::NodeNumber self = 0;
  ClusterCore& core;
  GroupMachines& machines;
  const fabric::Metered& endpoint;
  const fabric::JoinedEndpoint* joined;  ///< null: by tcp alone
  const sys::Env& env;
  sys::Disk& disk;
  std::uint64_t began_ns = 0;
  std::optional<std::uint64_t> memory_room{};  ///< of the host, for tables; nothing: not known
};

[[nodiscard]] std::string node_metrics(const MeteredNode& node);

/// All that there are, in the order of the text; docs/metrics.md is held to it.
[[nodiscard]] std::span<const MetricFamily> metric_families();

}  // namespace dolmen::node
