// SPDX-License-Identifier: Apache-2.0
//
// A client of one shard of a hash table of either kind, in the leader's memory: what it has to know
// of the region before it looks anything up (docs/index.md). Threads: one at a time.
#pragma once

#include <cstdint>
#include <optional>

#include "cluster/index_layout.hpp"
#include "cluster/index_reader.hpp"
#include "node/region_reads.hpp"

namespace dolmen::node {

struct HashReads : RegionReads {
  HashReads(const IndexOptions& its_options, IndexCounts& its_counts, cluster::IndexKind its_kind)
      : RegionReads(its_options, its_counts), kind(its_kind) {}

 protected:
  [[nodiscard]] Result<bool> learn_region(std::uint64_t region_bytes,
                                          std::uint64_t deadline_ns) override;
  [[nodiscard]] cluster::Candidates candidates() const {
    return is_mapped() ? cluster::Candidates::in_turn : cluster::Candidates::together;
  }

  const cluster::IndexKind kind;
  std::optional<cluster::IndexGeometry> geometry;
  std::optional<cluster::IndexHints> hints;
};

}  // namespace dolmen::node
