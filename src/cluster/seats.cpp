// SPDX-License-Identifier: Apache-2.0
#include "cluster/seats.hpp"

#include <algorithm>
#include <optional>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// The replica that the node should have, if that is known; else it keeps what it has.
std::optional<ReplicaLife> life_to_be(GroupNumber number, const RootGroup& group, NodeNumber self,
                                      NodeLife life) {
  if (group.change && group.change->add == self) {
    // In another life it would be given a seat with what this one does not have.
    if (group.change->add_life != 0 && group.change->add_life != life) return std::nullopt;
    return added_life(group.change->since);
  }
  const auto seat = group.members.find(self);
  const bool founds = std::ranges::find(group.founders, self) != group.founders.end();
  if (!founds || seat == group.members.end() || number == kRootGroup) return std::nullopt;
  // Whoever had the seat with another directory promised what this one does not know of.
  if (seat->second != 0 && seat->second != life) return std::nullopt;
  return kFounderLife;
}

}  // namespace

ReplicaLife added_life(log::Index since) noexcept {
  if (DOLMEN_PLANTED("cluster.life_again")) return kFounderLife + 1;
  return static_cast<ReplicaLife>(since) + 1;
}

std::vector<SeatStep> seats_to_take(const RootState& map, NodeNumber self, NodeLife life,
                                    const std::map<GroupNumber, ReplicaLife>& have) {
  std::vector<SeatStep> steps;
  for (const auto& [number, group] : map.groups()) {
    const auto own = have.find(number);
    const bool is_adding = group.change && group.change->add == self;
    if (!is_adding && !group.members.contains(self)) {
      if (own != have.end()) steps.push_back({SeatStep::Kind::drop, number, own->second});
      continue;
    }
    const auto wanted = life_to_be(number, group, self, life);
    if (!wanted) continue;
    // A member that was added later than a founder keeps what it was added with.
    if (own != have.end() && (own->second == *wanted || !is_adding)) continue;
    if (own != have.end() && DOLMEN_PLANTED("cluster.keeps_old_replica")) continue;
    if (own != have.end()) steps.push_back({SeatStep::Kind::drop, number, own->second});
    steps.push_back({SeatStep::Kind::make, number, *wanted});
  }
  return steps;
}

}  // namespace dolmen::cluster
