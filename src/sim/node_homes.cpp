// SPDX-License-Identifier: Apache-2.0
//
// What has to be true of objects and the directory of a cluster of nodes in the end.
#include <algorithm>
#include <set>
#include <string>

#include "sim/node_run.hpp"

namespace dolmen::sim {

/// Why homes are not at rest; empty: they are. Requires: every group has a leader.
std::string NodeRun::homes_unrest() const {
  if (has_directory_ && root_.shards()[0] == 0) return "no directory";
  for (const auto& [number, group] : root_.groups()) {
    if (group.is_directory()) {
      const auto* const directory = nodes_[*leader_of(number)]->machines.directory(number);
      if (directory == nullptr) return "the directory has no table";
      if (directory->mail().mailbox().bytes() != 0) return "the directory's mail did not arrive";
    }
    if (group.kind != cluster::GroupKind::space) continue;
    const MailBank& bank = *nodes_[*leader_of(number)]->banks.bank(number);
    for (const auto& [id, row] : bank.homes().rows()) {
      if (row.state != cluster::HomeState::here || !row.is_registered) {
        return "group " + std::to_string(number) + ": an object that the directory does not know";
      }
    }
  }
  return "";
}

/// Every object that was published and not erased is in the directory, at its home, and nothing
/// else is.
void NodeRun::judge_homes() {
  std::uint64_t expected = 0;
  const cluster::GroupNumber number = root_.shards()[0];
  const node::DirectoryMachine* const directory =
      number == 0 ? nullptr : nodes_[*leader_of(number)]->machines.directory(number);
  for (const auto& [group, one] : root_.groups()) {
    if (one.kind != cluster::GroupKind::space) continue;
    const MailBank& bank = *nodes_[*leader_of(group)]->banks.bank(group);
    result_.published += bank.published().size();
    if (!bank.published().empty() && directory == nullptr) return violated("no directory knows it");
    for (const ObjectId& id : bank.published()) {
      const auto entry = directory->find(id);
      const bool is_erased = bank.erased().contains(id);
      expected += is_erased ? 0 : 1;
      if (is_erased == entry.has_value() || (entry && entry->group != group)) {
        return violated("the directory is wrong about an object of group " + std::to_string(group));
      }
      if (is_erased == bank.homes().rows().contains(id)) {
        return violated("group " + std::to_string(group) + " is wrong about an object of its own");
      }
    }
  }
  if (directory != nullptr && directory->objects() != expected) {
    violated("the directory knows objects that nobody has");
  }
}

}  // namespace dolmen::sim
