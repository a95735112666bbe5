// SPDX-License-Identifier: Apache-2.0
//
// What keeps the shards of indexes of both kinds, and of the directory, that a node has seats of
// (docs/index.md, In a cluster; docs/homes.md). Tables are in memory alone: each is made from its
// group's log and snapshot whenever its replica is hosted.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "node/cluster_core.hpp"
#include "node/directory_machine.hpp"
#include "node/index_machine.hpp"
#include "node/ordered_machine.hpp"

namespace dolmen::node {

class IndexMachines final : public GroupMachines {
 public:
  /// Memory of what was replaced is used again after this.
  static constexpr std::uint64_t kGraceNs = 20'000'000;

  /// Groups of other kinds are `others`' business. All outlive it. `directory_buckets`: of a shard
  /// of the directory, the same at all nodes.
  IndexMachines(sys::Clock& clock, GroupMachines& others,
                std::uint32_t directory_buckets = kDirectoryBuckets)
      : clock_(clock), others_(others), directory_buckets_(directory_buckets) {}

  Result<StateMachine*> open(cluster::GroupNumber number, const cluster::RootGroup& group) override;
  Result<void> clear(cluster::GroupNumber number) override;
  Result<void> retire(cluster::GroupNumber number) override {
    return is_own(number) ? clear(number) : others_.retire(number);
  }
  Result<void> prepare(cluster::GroupNumber number) override {
    return is_own(number) ? clear(number) : others_.prepare(number);
  }
  bool has_retired(cluster::GroupNumber number) override { return others_.has_retired(number); }
  void make_room() override { others_.make_room(); }
  void use_mail(MailPart::Find find) override { others_.use_mail(std::move(find)); }
  void use_directory(HomePart::Shards shards) override { others_.use_directory(std::move(shards)); }
  MailPart* mail_of(cluster::GroupNumber number) override;
  const HomePart* homes_of(cluster::GroupNumber number) override {
    return others_.homes_of(number);
  }
  std::uint64_t disk_bytes(cluster::GroupNumber number) override {
    return is_own(number) ? 0 : others_.disk_bytes(number);
  }
  std::optional<IndexShardStats> stats_of(cluster::GroupNumber number) override;
  /// Null: there is none, or nothing was executed yet.
  [[nodiscard]] const IndexMachine* find(cluster::GroupNumber number) const;
  [[nodiscard]] const OrderedMachine* ordered(cluster::GroupNumber number) const;
  [[nodiscard]] const DirectoryMachine* directory(cluster::GroupNumber number) const;

 private:
  [[nodiscard]] bool is_own(cluster::GroupNumber number) const {
    return shards_.contains(number) || ordered_.contains(number) || directories_.contains(number);
  }

  sys::Clock& clock_;
  GroupMachines& others_;
  const std::uint32_t directory_buckets_;
  std::map<cluster::GroupNumber, std::unique_ptr<IndexMachine>> shards_;
  std::map<cluster::GroupNumber, std::unique_ptr<OrderedMachine>> ordered_;
  std::map<cluster::GroupNumber, std::unique_ptr<DirectoryMachine>> directories_;
};

}  // namespace dolmen::node
