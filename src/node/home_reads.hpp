// SPDX-License-Identifier: Apache-2.0
//
// A client of one shard of the directory: homes in the leader's memory (docs/homes.md, Looked up
// from afar). Threads: one at a time.
#pragma once

#include <cstdint>
#include <optional>

#include <dolmen/id.hpp>
#include <dolmen/index.hpp>

#include "cluster/directory.hpp"
#include "node/hash_reads.hpp"

namespace dolmen::node {

struct HomeReads final : HashReads {
  explicit HomeReads(IndexCounts& its_counts)
      : HashReads({}, its_counts, cluster::IndexKind::homes) {}

  struct Answered {
    bool is_settled = false;  ///< else: it is to be asked for by message
    std::optional<cluster::DirectoryEntry> entry{};
  };
  /// Errors: the endpoint's.
  [[nodiscard]] Result<Answered> read(const ObjectId& id, IndexReads reads,
                                      std::uint64_t deadline_ns);

 private:
  [[nodiscard]] cluster::IndexLookup look_up(const ObjectId& id);
};

}  // namespace dolmen::node
