// SPDX-License-Identifier: Apache-2.0
//
// Memory that the processes of one simulated host have mapped, beside whatever carries their
// messages: an endpoint whose regions are reached by map() alone, as over shared memory. What a
// process has mapped outlives the process that made it; the next life begins without. No cut of a
// link keeps anybody from memory.
//
// Threads: one.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "fabric/decorated.hpp"

namespace dolmen::sim {

/// The regions of all endpoints of a host; outlives them.
class MappedMemory {
 public:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  struct Region {
    std::vector<Line> lines;
    std::size_t bytes = 0;
    std::map<fabric::NodeId, fabric::Rights> rights{};
    [[nodiscard]] base::MutableBytes memory() noexcept {
      return std::as_writable_bytes(std::span(lines)).first(bytes);
    }
  };
  using Key = std::pair<fabric::NodeName, fabric::RegionId>;

 private:
  friend class MappedEndpoint;
  std::map<Key, std::shared_ptr<Region>> regions_;
};

/// Messages are `inner`'s. One-sided operations find none of the regions.
class MappedEndpoint final : public fabric::Decorated {
 public:
  /// Requires: not null. `memory` outlives it.
  MappedEndpoint(std::unique_ptr<fabric::Endpoint> inner, MappedMemory& memory);
  ~MappedEndpoint() override;

  [[nodiscard]] const fabric::Traits& traits() const noexcept override { return traits_; }
  [[nodiscard]] Result<base::MutableBytes> make_region(fabric::RegionId region,
                                                       std::size_t bytes) override;
  [[nodiscard]] Result<void> close_region(fabric::RegionId region) override;
  [[nodiscard]] Result<void> grant(fabric::RegionId region, fabric::NodeId node,
                                   fabric::Rights rights) override;
  [[nodiscard]] Result<void> revoke(fabric::RegionId region, fabric::NodeId node) override;
  [[nodiscard]] Result<base::MutableBytes> map(const fabric::NodeName& target,
                                               fabric::RegionId region) override;
  /// Of all owners, also such that are gone.
  [[nodiscard]] std::size_t mapped() const noexcept { return mapped_.size(); }
  /// What was mapped is gone with its owner's.
  void unmap(const fabric::NodeName& target, fabric::RegionId region) noexcept override;

 private:
  MappedMemory& memory_;
  fabric::Traits traits_;
  std::map<MappedMemory::Key, std::shared_ptr<MappedMemory::Region>> mapped_;
};

}  // namespace dolmen::sim
