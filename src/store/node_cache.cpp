// SPDX-License-Identifier: Apache-2.0
#include "store/node_cache.hpp"

#include <algorithm>

#include "base/hooks.hpp"

namespace dolmen::store {

NodeCache::NodeCache(std::size_t bytes_max)
    : slots_max_(std::max<std::size_t>(1, bytes_max / kNodeBytes / kShards)) {}

void NodeCache::insert(std::uint64_t unit, std::uint64_t checksum,
                       std::unique_ptr<NodeFrame> frame) {
  Shard& shard = shard_of(unit);
  const base::Lock lock(shard.mutex);
  std::size_t place = 0;
  if (const auto found = shard.index.find(unit); found != shard.index.end()) {
    place = found->second;
  } else if (shard.slots.size() < slots_max_ && !DOLMEN_BUGGIFY("store.node_cache_full")) {
    place = shard.slots.size();
    shard.slots.emplace_back();
  } else if (shard.slots.empty()) {
    return;
  } else {
    // At most two turns: the first may only clear marks.
    while (shard.slots[shard.hand].referenced) {
      shard.slots[shard.hand].referenced = false;
      shard.hand = (shard.hand + 1) % shard.slots.size();
    }
    place = shard.hand;
    shard.hand = (shard.hand + 1) % shard.slots.size();
    shard.index.erase(shard.slots[place].unit);
    DOLMEN_PROBE("store.node_evicted");
  }
  Slot& slot = shard.slots[place];
  slot.unit = unit;
  slot.checksum = checksum;
  slot.frame.swap(frame);
  slot.referenced = false;
  shard.index[unit] = place;
}

std::size_t NodeCache::node_count() {
  std::size_t count = 0;
  for (Shard& shard : shards_) {
    const base::Lock lock(shard.mutex);
    count += shard.slots.size();
  }
  return count;
}

}  // namespace dolmen::store
