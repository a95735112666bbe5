// SPDX-License-Identifier: Apache-2.0
//
// The memory that an endpoint lets others reach, and what it allows whom: for backends whose target
// serves one-sided operations itself. Each operation checks and acts in one step.
//
// Thread contract: one thread at a time. The memory may be read and changed by others with atomic
// instructions meanwhile: words are moved as wholes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"

namespace dolmen::fabric {

/// Copies aligned words of the target as wholes, in ascending order.
void copy_words(MutableBytes into, Bytes from) noexcept;

class Regions {
 public:
  Regions() = default;
  Regions(const Regions&) = delete;
  Regions& operator=(const Regions&) = delete;

  /// These four as Endpoint says.
  [[nodiscard]] Result<MutableBytes> make(RegionId region, std::size_t bytes);
  /// … of memory that somebody else keeps, longer than the region is there.
  [[nodiscard]] Result<void> adopt(RegionId region, MutableBytes memory);
  [[nodiscard]] Result<void> close(RegionId region);
  [[nodiscard]] Result<void> grant(RegionId region, NodeId node, Rights rights);
  [[nodiscard]] Result<void> revoke(RegionId region, NodeId node);

  /// A region's memory, which lives as long as this or the region does. Errors: not_found.
  struct Held {
    std::shared_ptr<std::byte> memory;
    std::size_t bytes = 0;
  };
  [[nodiscard]] Result<Held> hold(RegionId region) const;
  /// What `node` may do; nothing where there is no such region.
  [[nodiscard]] Rights rights(RegionId region, NodeId node) const noexcept;
  /// Whether an operation of `node` that needs `right` may be done. Errors: as those below.
  [[nodiscard]] Result<void> check(NodeId node, RegionId region, std::uint64_t offset,
                                   std::uint64_t bytes, bool Rights::* right) const;

  // Operations of `node`. Errors, none of which changes anything: not_found, no_right,
  // out_of_bounds.
  [[nodiscard]] Result<void> write(NodeId node, RegionId region, std::uint64_t offset, Bytes bytes);
  /// In place; good until the region is closed.
  [[nodiscard]] Result<Bytes> read(NodeId node, RegionId region, std::uint64_t offset,
                                   std::size_t bytes) const;
  /// Both give the former word. Requires: offset is a multiple of 8.
  [[nodiscard]] Result<std::uint64_t> compare_and_swap(NodeId node, RegionId region,
                                                       std::uint64_t offset, std::uint64_t expected,
                                                       std::uint64_t desired);
  [[nodiscard]] Result<std::uint64_t> fetch_add(NodeId node, RegionId region, std::uint64_t offset,
                                                std::uint64_t delta);

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  struct Region {
    std::shared_ptr<std::byte> memory;
    std::size_t bytes = 0;
    std::vector<std::pair<NodeId, Rights>> grants;  ///< few; looked through
  };

  [[nodiscard]] Result<Region*> find(RegionId region);
  [[nodiscard]] Result<MutableBytes> reach(NodeId node, RegionId region, std::uint64_t offset,
                                           std::uint64_t bytes, bool Rights::* right) const;

  std::unordered_map<RegionId, Region> regions_;
};

}  // namespace dolmen::fabric
