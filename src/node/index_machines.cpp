// SPDX-License-Identifier: Apache-2.0
#include "node/index_machines.hpp"

namespace dolmen::node {

Result<StateMachine*> IndexMachines::open(cluster::GroupNumber number,
                                          const cluster::RootGroup& group) {
  if (!group.shape) return others_.open(number, group);
  const auto geometry = group.shape->geometry();
  if (!geometry) return nullptr;  // a later version's
  auto& shard = shards_[number];
  shard = std::make_unique<IndexMachine>(clock_, *geometry, kGraceNs);
  return shard.get();
}

Result<void> IndexMachines::clear(cluster::GroupNumber number) {
  if (shards_.erase(number) != 0) return {};
  return others_.clear(number);
}

const IndexMachine* IndexMachines::find(cluster::GroupNumber number) const {
  const auto found = shards_.find(number);
  return found == shards_.end() ? nullptr : found->second.get();
}

}  // namespace dolmen::node
