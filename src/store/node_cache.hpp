// SPDX-License-Identifier: Apache-2.0
//
// Verified tree nodes in memory, bounded, dropped by the clock algorithm. A node is found by its
// block and the checksum that its parent gives, so a recycled block never answers for its former
// content.
//
// Threads: any, also inside the arena's fault handler: a shard's lock is held for a search in one
// node, never while the disk or foreign code runs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/bytes.hpp"
#include "base/mutex.hpp"
#include "store/page_node.hpp"

namespace dolmen::store {

/// Room for one node's bytes.
using NodeFrame = std::array<std::byte, kNodeBytes>;

class NodeCache {
 public:
  explicit NodeCache(std::size_t bytes_max);

  /// Calls `use(const NodeView&)` under the shard's lock if the node is here.
  template <class Use>
  bool visit(std::uint64_t unit, std::uint64_t checksum, Use&& use) {
    Shard& shard = shard_of(unit);
    const base::Lock lock(shard.mutex);
    const auto found = shard.index.find(unit);
    if (found == shard.index.end()) return false;
    Slot& slot = shard.slots[found->second];
    if (slot.checksum != checksum) return false;
    slot.referenced = true;
    use(NodeView(*slot.frame));
    return true;
  }
  /// Keeps a node that was verified against `checksum`; may drop another.
  void insert(std::uint64_t unit, std::uint64_t checksum, std::unique_ptr<NodeFrame> frame);
  [[nodiscard]] std::size_t node_count();

 private:
  struct Slot {
    std::uint64_t unit = 0;
    std::uint64_t checksum = 0;
    std::unique_ptr<NodeFrame> frame;
    bool referenced = false;
  };
  struct alignas(64) Shard {
    base::Mutex mutex;
    std::vector<Slot> slots DOLMEN_GUARDED_BY(mutex);
    std::unordered_map<std::uint64_t, std::size_t> index DOLMEN_GUARDED_BY(mutex);  // unit → slot
    std::size_t hand DOLMEN_GUARDED_BY(mutex) = 0;
  };
  static constexpr std::size_t kShards = 16;

  [[nodiscard]] Shard& shard_of(std::uint64_t unit) noexcept {
    return shards_[(unit >> kNodeSizeLog2) * 0x9E3779B97F4A7C15ull >> 60];
  }

  std::array<Shard, kShards> shards_;
  std::size_t slots_max_;  // per shard
};

}  // namespace dolmen::store
