// SPDX-License-Identifier: Apache-2.0
//
// A member's snapshots, by which its log can be cut.
#include <algorithm>
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

}  // namespace dolmen::replication
