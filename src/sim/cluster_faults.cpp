// SPDX-License-Identifier: Apache-2.0
//
// The nemesis of a cluster, and failing runs made small.
#include <algorithm>
#include <string>
#include <vector>

#include "sim/cluster_run.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::sim {

void ClusterRun::strike() {
  strike_once();
  const std::uint64_t next_ns = 1 + random_.below(60 * kMs);
  if (now_ns() + next_ns >= strikes_until_ns_) return;
  fabric_.queue().after(next_ns, [this] { strike(); });
}

void ClusterRun::kill(std::size_t i) {
  if (!nodes_[i]->member) return;
  std::vector<std::uint32_t> ways;
  for (const std::uint32_t way : {kKills, kHangs, kPowersOff}) {
    if (has(way)) ways.push_back(way);
  }
  if (ways.empty()) ways.push_back(kKills);
  ++result_.ended;
  switch (ways[random_.below(ways.size())]) {
    case kPowersOff:
      power_off(i);
      break;
    case kHangs:
      fabric_.linger(id_of(i));
      [[fallthrough]];
    default:
      end(i);
  }
  start_later(i);
}

void ClusterRun::strike_once() {
  std::size_t i = random_.below(nodes_.size());
  const std::size_t k = random_.below(nodes_.size());
  // Who leads has the space open, and undoes what it was ahead.
  if (options_.memory != nullptr && random_.chance(1, 2)) i = leader_of(groups_[0]).value_or(i);
  Node& node = *nodes_[i];
  std::vector<std::uint32_t> possible;
  for (std::uint32_t fault = 1; fault < kAllClusterFaults; fault <<= 1) {
    if (has(fault) && fault != kGivesUp && fault != kClockDrift && fault != kChanges) {
      possible.push_back(fault);
    }
  }
  if (possible.empty()) return;
  switch (possible[random_.below(possible.size())]) {
    case kPacketLoss:
    case kPacketLate:
    case kOvertaken: {
      const auto up_to = [&](std::uint32_t fault, std::uint32_t ppm) {
        return has(fault) ? static_cast<std::uint32_t>(random_.below(ppm)) : 0;
      };
      return fabric_.set_faults({.delay_min_ns = 2'000,
                                 .delay_max_ns = 2'000 + random_.below(kMs),
                                 .late_ppm = up_to(kPacketLate, 50'000),
                                 .late_ns = 20 * kMs,
                                 .loss_ppm = up_to(kPacketLoss, 200'000),
                                 .repeat_ppm = up_to(kPacketLoss, 100'000),
                                 .overtaken_ppm = up_to(kOvertaken, 2'000)});
    }
    case kBreaks:
      return fabric_.break_connection(id_of(i), id_of(k));
    case kCutsOneWay:
      return fabric_.cut(id_of(i), id_of(k), random_.below(600 * kMs));
    case kFlaps:
      return fabric_.flap(id_of(i), id_of(k), 1 + random_.below(100 * kMs),
                          1 + random_.below(100 * kMs), random_.below(600 * kMs));
    case kCutsOff:
      for (std::size_t other = 0; other < nodes_.size(); ++other) {
        const std::uint64_t length_ns = random_.below(400 * kMs);
        fabric_.cut(id_of(i), id_of(other), length_ns);
        fabric_.cut(id_of(other), id_of(i), length_ns);
      }
      return;
    case kCutsOffLeaders: {
      const auto leader = leader_of(groups_[random_.below(groups_.size())]);
      const std::uint64_t length_ns = random_.below(500 * kMs);
      for (std::size_t other = 0; leader && other < nodes_.size(); ++other) {
        fabric_.cut(id_of(*leader), id_of(other), length_ns);
        fabric_.cut(id_of(other), id_of(*leader), length_ns);
      }
      return;
    }
    case kKills:
    case kHangs:
    case kPowersOff:
      return kill(i);
    case kPowersOffAll:
      if (!random_.chance(1, 4)) return;
      for (std::size_t one = 0; one < nodes_.size(); ++one) {
        if (!nodes_[one]->member) continue;
        power_off(one);
        start_later(one);
        ++result_.ended;
      }
      return;
    case kKillsLeaders: {
      const auto leader = leader_of(groups_[random_.below(groups_.size())]);
      if (leader) kill(*leader);
      return;
    }
    case kPauses:
      node.paused_until_ns = now_ns() + random_.below(400 * kMs);
      return;
    case kSlowNodes:
      node.turn_ns = node.turn_ns < 10'000 ? 200'000 : 2'000;
      return;
    case kSlowDisks:
      node.sync_ns = node.sync_ns < kMs ? random_.between(kMs, 30 * kMs) : 200'000;
      if (node.member) {
        node.disk->set_latency(node.clock,
                               {.read_ns = 1'000, .write_ns = 2'000, .sync_ns = node.sync_ns});
      }
      return;
    case kDiskErrors:
      if (!node.member) return;
      return spoil(node.space_disk && random_.chance(1, 2) ? *node.space_disk : *node.disk);
    default:
      return;
  }
}

void ClusterRun::spoil(SimDisk& disk) {
  if (random_.chance(1, 3)) {
    return disk.inject(
        {.on = FaultOn::allocate, .nth = 1 + random_.below(3), .code = Errc::no_space});
  }
  disk.inject(
      {.on = random_.chance(1, 2) ? FaultOn::sync : FaultOn::write, .nth = 1 + random_.below(20)});
}

void ClusterRun::change_members() {
  if (!has(kChanges)) return;
  const std::uint64_t next_ns = 1 + random_.below(40 * kMs);
  if (now_ns() + next_ns < strikes_until_ns_) {
    fabric_.queue().after(next_ns, [this] { change_members(); });
  }
  const Group& group = groups_[random_.below(groups_.size())];
  const auto leader = leader_of(group);
  if (!leader) return;
  replication::Member& member = *nodes_[*leader]->member;
  const log::Configuration now = member.status(group.id)->configuration;
  const log::ReplicaId any = group.ids[random_.below(group.ids.size())];
  const bool is_spare = replication::life_of(any) != replication::kFirstLife;
  replication::Change change{.kind = replication::ChangeKind::learn, .replica = any};
  if (!now.learners.empty() && random_.chance(3, 4)) {
    change.kind = replication::ChangeKind::vote;
    change.replica = now.learners[random_.below(now.learners.size())];
    if (random_.chance(1, 2)) change.instead = now.voters[random_.below(now.voters.size())];
  } else if (now.voters.size() > 2 && now.is_voter(any) && random_.chance(1, 2)) {
    change.kind = replication::ChangeKind::leave;
  } else if (!is_spare) {
    return;
  }
  const auto reply = member.change(group.id, change);
  if (reply.status == replication::ChangeStatus::under_way) ++result_.changes;
  schedule(*leader, now_ns());
}

void ClusterRun::heal() {
  if (options_.hooks != nullptr) options_.hooks->calm();
  fabric_.heal();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    Node& node = *nodes_[i];
    node.paused_until_ns = 0;
    node.turn_ns = 2'000;
    node.sync_ns = 200'000;
    node.disk->clear_faults();
    if (node.space_disk) node.space_disk->clear_faults();
    node.disk->set_latency(node.clock,
                           {.read_ns = 1'000, .write_ns = 2'000, .sync_ns = node.sync_ns});
    start(i);
    schedule(i, now_ns());
  }
}

ClusterWorldOptions minimise(const ClusterWorldOptions& options) {
  ClusterWorldOptions smallest = options;
  const auto still_fails = [](const ClusterWorldOptions& candidate) {
    return !run_cluster_world(candidate).violation.empty();
  };
  for (std::uint32_t fault = 1; fault < kAllClusterFaults; fault <<= 1) {
    ClusterWorldOptions candidate = smallest;
    candidate.faults &= ~fault;
    if (candidate.faults != smallest.faults && still_fails(candidate)) smallest = candidate;
  }
  while (smallest.faulty_ns > 100'000'000) {
    ClusterWorldOptions candidate = smallest;
    candidate.faulty_ns = smallest.faulty_ns / 4 * 3;
    if (!still_fails(candidate)) break;
    smallest = candidate;
  }
  return smallest;
}

std::string command_of(const ClusterWorldOptions& options) {
  return "DOLMEN_CLUSTER_SEED=" + std::to_string(options.seed) +
         " DOLMEN_CLUSTER_FAULTS=" + std::to_string(options.faults) +
         " DOLMEN_CLUSTER_MS=" + std::to_string(options.faulty_ns / 1'000'000) +
         " cluster_campaign_test --gtest_filter=ClusterCampaign.OneSeed";
}

}  // namespace dolmen::sim
