// SPDX-License-Identifier: Apache-2.0
//
// A member's snapshots, by which its log can be cut, and the checkpoints of its journal.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/hooks.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

Result<void> Member::tell_decided(Hosting& hosting) {
  if (!hosting.executor) return {};
  const log::Index decided = std::min(hosting.replica.stable(), hosting.executor->executed());
  if (decided <= hosting.told_decided && !hosting.machine->waits_for_decided()) return {};
  hosting.told_decided = decided;
  return hosting.machine->decided(decided);
}

/// False: the machine is ahead of what is decided, and has to wait for it.
Result<bool> Member::compact(Hosting& hosting) {
  if (!hosting.executor) return compact_witness(hosting);
  log::Replica& replica = hosting.replica;
  const log::Index executed = hosting.executor->executed();
  hosting.is_draining = executed > replica.stable();
  if (hosting.is_draining) return false;
  const log::Index known = replica.snapshot() ? replica.snapshot()->last().index : 0;
  if (executed <= known) return true;
  DOLMEN_CHECK(tell_decided(hosting));
  auto state = hosting.executor->snapshot();
  if (!state) {
    const Errc code = state.error().code();
    if (code != Errc::too_large && code != Errc::busy) return std::unexpected(state.error());
  }
  if (state) {
    auto snapshot = log::Snapshot::make(replica.place_at(executed), std::move(*state));
    if (snapshot) {
      replica.compact(std::move(*snapshot));
      return true;
    }
  }
  // Too large: the log stays, which is all that is lost by it.
  hosting.snapshot_not_before_ns = now_ns() + options_.checkpoint_retry_ns;
  return true;
}

/// False: it waits for the leader's snapshot. Not for ever, for other groups are on this disk too:
/// then its entries are kept once more as they are.
bool Member::compact_witness(Hosting& hosting) {
  const log::Replica& replica = hosting.replica;
  const log::Index known = replica.snapshot() ? replica.snapshot()->last().index : 0;
  if (known <= hosting.cut_at) {
    if (hosting.waits_ns == 0) hosting.waits_ns = now_ns();
    if (now_ns() >= hosting.asked_ns + options_.snapshot_retry_ns) {
      hosting.asked_ns = now_ns();
      hosting.replica.ask_for_snapshot();
    }
    if (now_ns() < hosting.waits_ns + options_.checkpoint_retry_ns) return false;
  }
  DOLMEN_PROBE("replication.witness_compacted");
  hosting.cut_at = known;
  hosting.waits_ns = 0;
  return true;
}

bool Member::is_checkpoint_due() {
  constexpr std::uint64_t kEarlyBytes = 2u << 10;
  return journal_->checkpoint_due() || (DOLMEN_BUGGIFY("replication.checkpoint_early") &&
                                        journal_->stats().log_tail_bytes >= kEarlyBytes);
}

Result<void> Member::look_after_journal() {
  if (checkpoint_done_.load(std::memory_order_acquire)) {
    checkpoint_thread_.reset();
    checkpoint_done_ = false;
    const Errc code = checkpoint_result_ ? Errc{} : checkpoint_result_.error().code();
    if (code == Errc::store_failed) return checkpoint_result_;
    if (code != Errc{}) checkpoint_not_before_ns_ = now_ns() + options_.checkpoint_retry_ns;
  }
  if (checkpoint_thread_) return {};
  if (!is_checkpoint_due() || now_ns() < checkpoint_not_before_ns_ || holds_log()) {
    // Who waits to be cut does not wait for a state that is being sent.
    for (auto& [group, hosting] : groups_) {
      if (!DOLMEN_PLANTED("replication.waits_for_transfer")) hosting.is_draining = false;
    }
    return {};
  }
  DOLMEN_CHECK(carry_out_all());
  bool can_start = true;
  for (auto& [group, hosting] : groups_) {
    DOLMEN_TRY(const bool is_compact, compact(hosting));
    can_start &= is_compact;
  }
  if (!can_start) return {};
  // Replicas that nobody runs are kept as they were found.
  std::map<GroupId, Hosted> replicas = found_;
  for (const auto& [group, hosting] : groups_) {
    replicas[group] = {.self = hosting.replica.self(),
                       .first = hosting.first,
                       .state = hosting.replica.durable_state()};
  }
  auto checkpoint =
      std::make_shared<const Journal::Checkpoint>(journal_->start_checkpoint(std::move(replicas)));
  const auto write = [this, checkpoint] {
    checkpoint_result_ = journal_->write_checkpoint(*checkpoint);
    checkpoint_done_.store(true, std::memory_order_release);
  };
  auto thread = env_.process->start_thread("dolmen-cut", write);
  if (thread) {
    checkpoint_thread_ = std::move(*thread);
  } else {
    write();
  }
  return {};
}

}  // namespace dolmen::replication
