// SPDX-License-Identifier: Apache-2.0
//
// The end of a run, without faults: what the replicas then have to be able to do.
#include <algorithm>

#include "sim/log_run.hpp"

namespace dolmen::sim {

void LogRun::calm_down() {
  network_.set_faults({});
  network_.heal();
  sync_max_ns_ = 300'000;
  if (memory_) memory_->calm_down();
  for (Node& node : replaced_) node.paused_until_ns = 0;
  for (std::size_t number = 0; number < nodes_.size(); ++number) {
    nodes_[number].paused_until_ns = 0;
    restart(number);
  }
  stage_began_ns_ = queue_.now_ns();
  first_acknowledged_ns_ = 0;
}

void LogRun::judge_the_calm() {
  if (!checks_.violation().empty()) return;
  if (first_acknowledged_ns_ == 0) {
    return checks_.fail("nothing was decided although all faults had ended (L1)");
  }
  calm_until_decided_ns_ = first_acknowledged_ns_ - stage_began_ns_;
  if (leading_node() == nullptr) {
    checks_.fail("nobody leads although all faults had ended (L1)");
  }
}

bool LogRun::can_do_without(std::size_t number) {
  const auto configurations = leading_node()->replica->deciding();
  return std::ranges::all_of(configurations, [&](const log::Configuration& configuration) {
    std::size_t left = 0;
    bool has_server = false;
    for (const log::ReplicaId id : configuration.voters) {
      const std::size_t other = node_of(id);
      if (other == number || nodes_[other].is_lost) continue;
      ++left;
      const log::ReplicaId leader = leading_node()->replica->self();
      const bool knows = witness_ == kNone || id == leader ||
                         leading_node()->replica->matched(id) >= leading_node()->stable;
      has_server |= other != witness_ && other != mute_ && knows;
    }
    return has_server && 2 * left > configuration.voters.size();
  });
}

void LogRun::take_one_away() {
  gone_ = kNone;
  if (!checks_.violation().empty()) return;
  const std::size_t leader = node_of(leading_node()->replica->self());
  const std::size_t number = chance(4) ? any_node() : leader;
  if (nodes_[number].is_lost || !can_do_without(number)) return;
  if (nodes_[number].replica == nullptr && !is_memory(number)) return;
  gone_ = number;
  gone_led_ = number == leader;
  gone_crashed_ = chance(2);
  stage_began_ns_ = queue_.now_ns();
  first_acknowledged_ns_ = 0;
  if (is_memory(number)) return memory_->set_away(number, true);
  if (gone_crashed_) return crash(number, ~std::uint64_t{0} / 2);
  for (std::size_t other = 0; other < nodes_.size(); ++other) {
    network_.cut(number, other, ~std::uint64_t{0} / 2);
    network_.cut(other, number, ~std::uint64_t{0} / 2);
  }
}

void LogRun::judge_those_who_stayed() {
  if (!checks_.violation().empty() || gone_ == kNone) return;
  if (first_acknowledged_ns_ == 0) {
    return checks_.fail("one was gone, and the others decided nothing (L2)");
  }
  without_one_until_decided_ns_ = first_acknowledged_ns_ - stage_began_ns_;
  if (has(kCompact)) compact_all();
}

// Whoever has a machine keeps a snapshot of all that is decided, however far behind somebody is.
void LogRun::compact_all() {
  for (std::size_t number = 0; number < nodes_.size(); ++number) {
    Node& node = nodes_[number];
    if (node.replica == nullptr || !node.has_machine || number == gone_) continue;
    log::Replica& replica = *node.replica;
    const log::Index known = replica.snapshot() ? replica.snapshot()->last().index : 0;
    if (node.stable > known) {
      const auto state = node.machine.state_at(node.stable, 0);
      replica.compact(log::Snapshot::make(replica.place_at(node.stable), state).value());
    }
    std::size_t kept = 0;
    for (log::Index i = replica.base().index + 1; i <= node.stable; ++i) {
      kept += log::kEntryHeaderBytes + replica.at(i).payload.size();
    }
    if (kept > replica_options_.trailing_bytes) {
      return checks_.fail("who is gone keeps the others from forgetting entries (L3)");
    }
  }
  if (witness_ != kNone && witness_ != gone_ && nodes_[witness_].replica != nullptr) {
    on(witness_, nodes_[witness_].life, [](Node& node) { node.replica->ask_for_snapshot(); });
  }
}

void LogRun::bring_it_back() {
  if (!checks_.violation().empty() || gone_ == kNone) return;
  network_.heal();
  if (is_memory(gone_)) return memory_->set_away(gone_, false);
  if (gone_crashed_) restart(gone_);
}

log::Index LogRun::stable_everywhere() {
  log::Index everywhere = ~log::Index{0};
  for (const log::Configuration& configuration : leading_node()->replica->deciding()) {
    for (const log::ReplicaId id : configuration.voters) {
      const Node& node = nodes_[node_of(id)];
      if (!node.is_lost && !is_memory(node_of(id))) everywhere = std::min(everywhere, node.stable);
    }
  }
  return everywhere;
}

void LogRun::judge_the_end() {
  if (!checks_.violation().empty()) return;
  if (leading_node() == nullptr) {
    return checks_.fail("nobody leads although all faults had ended (L1)");
  }
  checks_.finished(stable_everywhere());
}

}  // namespace dolmen::sim
