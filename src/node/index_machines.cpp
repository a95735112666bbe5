// SPDX-License-Identifier: Apache-2.0
#include "node/index_machines.hpp"

namespace dolmen::node {

Result<StateMachine*> IndexMachines::open(cluster::GroupNumber number,
                                          const cluster::RootGroup& group) {
  if (group.is_directory()) {
    auto& directory = directories_[number];
    directory = std::make_unique<DirectoryMachine>(number, directory_buckets_);
    return directory.get();
  }
  if (!group.shape) return others_.open(number, group);
  if (const auto geometry = group.shape->ordered_geometry()) {
    auto& shard = ordered_[number];
    shard = std::make_unique<OrderedMachine>(clock_, *geometry, kGraceNs);
    return shard.get();
  }
  const auto geometry = group.shape->geometry();
  if (!geometry) return nullptr;  // a later version's
  auto& shard = shards_[number];
  shard = std::make_unique<IndexMachine>(clock_, *geometry, kGraceNs);
  return shard.get();
}

Result<void> IndexMachines::clear(cluster::GroupNumber number) {
  if (shards_.erase(number) + ordered_.erase(number) + directories_.erase(number) != 0) return {};
  return others_.clear(number);
}

MailPart* IndexMachines::mail_of(cluster::GroupNumber number) {
  if (shards_.contains(number) || ordered_.contains(number)) return nullptr;
  const auto found = directories_.find(number);
  return found == directories_.end() ? others_.mail_of(number) : &found->second->mail();
}

std::optional<IndexShardStats> IndexMachines::stats_of(cluster::GroupNumber number) {
  if (const IndexMachine* const its = find(number); its != nullptr && its->has_table()) {
    return node::stats_of(its->table());
  }
  if (const OrderedMachine* const its = ordered(number); its != nullptr && its->has_table()) {
    return node::stats_of(its->table());
  }
  if (const DirectoryMachine* const its = directory(number)) return node::stats_of(its->planned());
  return std::nullopt;
}

const DirectoryMachine* IndexMachines::directory(cluster::GroupNumber number) const {
  const auto found = directories_.find(number);
  return found == directories_.end() ? nullptr : found->second.get();
}

const OrderedMachine* IndexMachines::ordered(cluster::GroupNumber number) const {
  const auto found = ordered_.find(number);
  return found == ordered_.end() ? nullptr : found->second.get();
}

const IndexMachine* IndexMachines::find(cluster::GroupNumber number) const {
  const auto found = shards_.find(number);
  return found == shards_.end() ? nullptr : found->second.get();
}

}  // namespace dolmen::node
