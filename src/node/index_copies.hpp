// SPDX-License-Identifier: Apache-2.0
//
// Whose memory a client of a shard reads, by what members said of theirs (docs/index.md, As a
// service). Pure functions.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "cluster/index_reader.hpp"
#include "replication/envelope.hpp"
#include "replication/membership.hpp"

namespace dolmen::node {

/// What a member said of its memory.
struct IndexCopy {
  fabric::NodeName name{};
  log::ReplicaId replica{};
  replication::MemoryReply said{};
};

/// What is read: of the leader all, of the others of a majority the lines.
struct IndexLed {
  cluster::LedEpoch epoch{};
  std::vector<IndexCopy> lines{};  ///< the leader's first
};

/// A majority of the configuration that the latest leader counts with, as far as they answered.
[[nodiscard]] std::optional<IndexLed> choose_copies(
    const std::map<fabric::NodeId, IndexCopy>& copies);

}  // namespace dolmen::node
