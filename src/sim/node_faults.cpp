// SPDX-License-Identifier: Apache-2.0
//
// The nemesis and the operator of a cluster of nodes.
#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "sim/node_run.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::sim {

using cluster::kRootGroup;

void NodeRun::strike() {
  strike_once();
  const std::uint64_t next_ns = 1 + random_.below(100 * kMs);
  if (now_ns() + next_ns >= options_.faulty_ns) return;
  fabric_.queue().after(next_ns, [this] { strike(); });
}

void NodeRun::kill(std::size_t i) {
  if (!nodes_[i]->core) return;
  ++result_.ended;
  if (has(kNodePowersOff) && random_.chance(1, 2)) {
    power_off(i);
  } else {
    end(i);
  }
  start_later(i);
}

/// Whether every group can do without it for ever, as the map has it; and one more may fail.
bool NodeRun::may_die(std::size_t i) const {
  // A group that is about to be made may have it among its founders.
  if (!root_.is_begun() || root_.groups().size() < groups_wanted_ + 1) return false;
  const auto gone = std::ranges::count_if(nodes_, [](const auto& node) { return node->is_gone; });
  if (gone > 0) return false;
  for (const auto& [number, group] : root_.groups()) {
    if (group.change) return false;
    if (group.members.contains(number_of(i)) && group.members.size() < 3) return false;
  }
  return true;
}

void NodeRun::strike_once() {
  const std::size_t i = random_.below(nodes_.size());
  const std::size_t k = random_.below(nodes_.size());
  Node& node = *nodes_[i];
  std::vector<std::uint32_t> possible;
  for (std::uint32_t fault = 1; fault < kAllNodeFaults; fault <<= 1) {
    if (has(fault) && fault != kNodeClockDrift && fault != kNodeOperator) possible.push_back(fault);
  }
  if (possible.empty()) return;
  switch (possible[random_.below(possible.size())]) {
    case kNodePackets:
      return fabric_.set_faults({.delay_min_ns = 2'000,
                                 .delay_max_ns = 2'000 + random_.below(kMs),
                                 .late_ppm = static_cast<std::uint32_t>(random_.below(50'000)),
                                 .late_ns = 20 * kMs,
                                 .loss_ppm = static_cast<std::uint32_t>(random_.below(100'000)),
                                 .repeat_ppm = static_cast<std::uint32_t>(random_.below(100'000))});
    case kNodeCuts:
      if (random_.chance(1, 2)) return fabric_.cut(id_of(i), id_of(k), random_.below(900 * kMs));
      for (std::size_t other = 0; other < nodes_.size(); ++other) {
        const std::uint64_t length_ns = random_.below(900 * kMs);
        fabric_.cut(id_of(i), id_of(other), length_ns);
        fabric_.cut(id_of(other), id_of(i), length_ns);
      }
      return;
    case kNodeKills:
    case kNodePowersOff:
      return kill(i);
    case kNodePowersOffAll:
      if (!random_.chance(1, 4)) return;
      for (std::size_t one = 0; one < nodes_.size(); ++one) {
        if (!nodes_[one]->core) continue;
        power_off(one);
        start_later(one);
        ++result_.ended;
      }
      return;
    case kNodeKillsLeaders: {
      const auto number =
          random_.chance(1, 2) || groups_.empty()
              ? kRootGroup
              : static_cast<cluster::GroupNumber>(1 + random_.below(groups_.size()));
      const auto leader = leader_of(number);
      if (leader) kill(*leader);
      return;
    }
    case kNodePauses:
      node.paused_until_ns = now_ns() + random_.below(900 * kMs);
      return;
    case kNodeSlow:
      node.turn_ns = node.turn_ns < 10'000 ? 200'000 : 2'000;
      node.sync_ns = node.sync_ns < kMs ? random_.between(kMs, 30 * kMs) : 200'000;
      if (node.core) slow_down(node);
      return;
    case kNodeDiskErrors: {
      if (!node.core) return;
      const bool is_space = has_space_ && random_.chance(1, 3);
      SimDisk& disk = is_space               ? *node.space
                      : random_.chance(1, 4) ? *node.directory
                                             : *node.journal;
      if (random_.chance(1, 3)) {
        return disk.inject(
            {.on = FaultOn::allocate, .nth = 1 + random_.below(3), .code = Errc::no_space});
      }
      return disk.inject({.on = random_.chance(1, 2) ? FaultOn::sync : FaultOn::write,
                          .nth = 1 + random_.below(20)});
    }
    case kNodeDies:
      if (!node.core || !may_die(i)) return;
      node.is_gone = true;
      return end(i);
    default:
      return;
  }
}

void NodeRun::heal() {
  if (options_.hooks != nullptr) options_.hooks->calm();
  fabric_.heal();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    Node& node = *nodes_[i];
    node.paused_until_ns = 0;
    node.turn_ns = 2'000;
    node.sync_ns = 200'000;
    node.journal->clear_faults();
    node.directory->clear_faults();
    node.space->clear_faults();
    slow_down(node);
    start(i);
    schedule(i, now_ns());
  }
}

void NodeRun::propose(const cluster::RootCommand& command) {
  const auto leader = leader_of(kRootGroup);
  if (!leader) return;
  nodes_[*leader]->core->member().submit(node::group_of(kRootGroup), cluster::encode(command),
                                         [](const replication::Executor::Outcome&) {});
  schedule(*leader, now_ns());
}

/// The same right, in the next generation: what clients show meanwhile is stale.
void NodeRun::grant_anew() {
  if (!options_.has_intruders || !root_.is_begun() || !rights_.chance(1, 8)) return;
  const auto number = static_cast<cluster::ClientNumber>(1 + rights_.below(kStranger));
  const auto found = root_.clients().find(number);
  if (found == root_.clients().end()) return violated("a client of the beginning is gone");
  const cluster::RootClient& known = found->second;
  propose(cluster::root::AddClient{.client = number,
                                   .name = known.name,
                                   .key = known.key,
                                   .rights = known.rights,
                                   .generation = known.generation + 1,
                                   .groups_max = known.groups_max});
}

void NodeRun::operate() {
  operate_once();
  grant_anew();
  if (has(kNodeOperator) && random_.chance(2, 3) && root_.is_begun()) {
    const auto number = static_cast<cluster::NodeNumber>(1 + random_.below(nodes_.size()));
    const cluster::RootNode* const node = root_.node(number);
    std::size_t available = 0;
    for (const auto& [other, one] : root_.nodes()) available += root_.is_available(other) ? 1 : 0;
    const auto seats = root_.seats();
    if (node == nullptr) {
      // It was removed.
    } else if (node->state == cluster::NodeState::draining) {
      const auto its = seats.find(number);
      if (its == seats.end() || its->second == 0) {
        propose(cluster::root::RemoveNode{.node = number});
      } else if (random_.chance(1, 10)) {
        propose(cluster::root::Undrain{.node = number});
      }
    } else if (available > 3 && random_.chance(1, 3)) {
      propose(cluster::root::Drain{.node = number});
    } else if (nodes_.size() < kNodesMax && asked_names_ + founders_ <= nodes_.size()) {
      ++asked_names_;  // operate_once() does the rest
    }
  }
  const std::uint64_t next_ns = 1 + random_.below(80 * kMs);
  if (now_ns() + next_ns >= options_.faulty_ns) return;
  fabric_.queue().after(next_ns, [this] { operate(); });
}

/// What was asked for and is not there yet.
void NodeRun::operate_once() {
  if (!root_.is_begun()) return;
  if (shards_wanted_ > 0 && root_.index_named("i").empty()) {
    // Larger ones would be looked at for longer than they are used.
    cluster::root::CreateIndex index{.name = "i",
                                     .size = 3,
                                     .shards = shards_wanted_,
                                     .seed = options_.seed,
                                     .bucket_bytes = 4096,
                                     .record_bytes = 32768};
    if (is_ordered_) {
      index.table = cluster::TableKind::ordered;
      index.seed = 0;
      index.bucket_bytes = 32 * cluster::kNodeBytes;
      // Where they begin is its clients' business, and these ask each for all keys.
      if (shards_wanted_ > 1) index.splits = {"m"};
    }
    propose(index);
  } else if (directory_shards_ > 0 && !root_.has_directory()) {
    propose(cluster::root::CreateDirectory{
        .bits = static_cast<std::uint32_t>(std::countr_zero(directory_shards_)), .size = 3});
  } else if (has_space_ && root_.group_named(kSpaceGroup) == 0) {
    propose(cluster::root::CreateGroup{
        .kind = cluster::GroupKind::space, .name = kSpaceGroup, .size = 3});
  } else if (root_.groups().size() < groups_wanted_ + 1) {
    propose(cluster::root::CreateGroup{.kind = cluster::GroupKind::space,
                                       .name = "g" + std::to_string(root_.groups().size()),
                                       .size = 3});
  }
  if (founders_ + asked_names_ <= nodes_.size()) return;
  const std::string name = "joined-" + std::to_string(asked_names_);
  if (root_.node_named(name) == 0) {
    return propose(cluster::root::AddNode{.name = name, .address = "somewhere"});
  }
  // Numbers are given one after the other.
  const std::size_t i = add_node(false);
  if (root_.node_named(name) != number_of(i)) violated("a number that is not the next one");
  start(i);
}

}  // namespace dolmen::sim
