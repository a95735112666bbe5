// SPDX-License-Identifier: Apache-2.0
//
// A client of one shard of an ordered index: keys and ranges in the leader's memory. Threads: one
// at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/ordered_index.hpp>

#include "cluster/ordered_reader.hpp"
#include "node/index_changed.hpp"
#include "node/ordered_machine.hpp"
#include "node/region_reads.hpp"

namespace dolmen::node {

class OrderedReads final : public RegionReads {
 public:
  using RegionReads::RegionReads;
  using Value = std::vector<std::byte>;

  // Nothing: it is to be asked for by message. Errors: the endpoint's.
  [[nodiscard]] Result<std::optional<std::optional<Value>>> read(base::Bytes key,
                                                                 std::uint64_t deadline_ns);
  /// Requires: it is not backward.
  [[nodiscard]] Result<std::optional<cluster::OrderedPage>> scan(const cluster::OrderedRange& range,
                                                                 std::size_t limit,
                                                                 std::size_t bytes,
                                                                 std::uint64_t deadline_ns);

 private:
  [[nodiscard]] Result<bool> learn_region(std::uint64_t region_bytes,
                                          std::uint64_t deadline_ns) override;
  template <class Lookup, class Make, class Take>
  [[nodiscard]] Result<void> read_one(const Make& make, const Take& take,
                                      std::uint64_t deadline_ns);

  std::optional<cluster::OrderedGeometry> geometry_;
  std::optional<cluster::OrderedHints> hints_;
};

}  // namespace dolmen::node

namespace dolmen {

struct OrderedIndex::Impl {
  struct Part {
    node::OrderedReads* reads;  ///< within the client
    ReplicatedClient client;
  };
  std::vector<Part> parts;
  std::vector<Value> splits;
  IndexCounts counts;
  node::IndexChanged changed{};

  [[nodiscard]] std::size_t part_of(Bytes key) const;
  /// The next shard: this group. Errors: as make().
  [[nodiscard]] Result<void> add(const node::GroupPlan& plan, std::uint64_t number,
                                 const IndexOptions& options);
  /// Whether its outcome is the wanted one. Errors: those of OrderedIndex::put().
  [[nodiscard]] Result<bool> change(Bytes key, const cluster::IndexChange& change,
                                    cluster::IndexOutcome wanted,
                                    std::chrono::milliseconds patience);
  [[nodiscard]] Result<cluster::OrderedPage> ask(std::size_t part, cluster::OrderedRange range,
                                                 std::size_t limit,
                                                 std::chrono::milliseconds patience);
};

}  // namespace dolmen
