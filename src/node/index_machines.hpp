// SPDX-License-Identifier: Apache-2.0
//
// What keeps the shards of indexes that a node has seats of (docs/index.md, In a cluster). Tables
// are in memory alone: each is made from its group's log and snapshot whenever its replica is
// hosted.
//
// Threads: one.
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "node/cluster_core.hpp"
#include "node/index_machine.hpp"

namespace dolmen::node {

class IndexMachines final : public GroupMachines {
 public:
  /// Memory of what was replaced is used again after this.
  static constexpr std::uint64_t kGraceNs = 20'000'000;

  /// Groups of other kinds are `others`' business. All outlive it.
  IndexMachines(sys::Clock& clock, GroupMachines& others) : clock_(clock), others_(others) {}

  Result<StateMachine*> open(cluster::GroupNumber number, const cluster::RootGroup& group) override;
  Result<void> clear(cluster::GroupNumber number) override;
  void use_mail(MailPart::Find find) override { others_.use_mail(std::move(find)); }
  MailPart* mail_of(cluster::GroupNumber number) override {
    return shards_.contains(number) ? nullptr : others_.mail_of(number);
  }
  /// Null: there is none, or nothing was executed yet.
  [[nodiscard]] const IndexMachine* find(cluster::GroupNumber number) const;

 private:
  sys::Clock& clock_;
  GroupMachines& others_;
  std::map<cluster::GroupNumber, std::unique_ptr<IndexMachine>> shards_;
};

}  // namespace dolmen::node
