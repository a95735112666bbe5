// SPDX-License-Identifier: Apache-2.0
//
// Members without a journal: later lives that are taken in, and writing into others' memory.
#include <algorithm>
#include <atomic>
#include <span>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

void Member::add_in_memory(const GroupId& group, log::ReplicaId self,
                           const log::Configuration& first) {
  DOLMEN_ASSERT(journal_ == nullptr && !group.is_null());
  const bool is_again = DOLMEN_PLANTED("replication.life_again");
  found_[group] = {.self = is_again ? replica_of(node_of(self), kFirstLife) : self, .first = first};
}

/// Whether this is a new life of a voter's node, as far as its log says.
bool Member::is_outside(const Hosting& hosting) const {
  return journal_ == nullptr && !hosting.replica.is_voter();
}

void Member::ask_to_join(const GroupId& group, Hosting& hosting) {
  if (!is_outside(hosting) || now_ns() < hosting.join_at_ns) return;
  hosting.join_at_ns = now_ns() + options_.join_ns;
  const log::Configuration known = hosting.replica.deciding().back();
  for (const log::ReplicaId voter : known.voters) {
    const auto to = endpoint_.connected(node_of(voter));
    if (!to) continue;
    send(*to, {.kind = EnvelopeKind::join, .group = group, .from = hosting.replica.self()}, {});
  }
}

// What landed in one member's memory counts there when the word behind it is the leader's epoch;
// one fence is for all of them.
void Member::write_lanes(Hosting& hosting) {
  if (!hosting.writer) return;
  for (;;) {
    hosting.replica.take_lane_writes(lane_writes_);
    if (lane_writes_.empty()) return hosting.lanes->carried_out();
    std::erase_if(lane_writes_, [&](const log::LaneWrite& write) {
      if (write.is_raise) {
        raise(hosting, write);
        return true;
      }
      if (hosting.writer->land(write)) return false;
      hosting.replica.lane_failed(now_ns(), write.to, write.lane);
      return true;
    });
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (const log::LaneWrite& write : lane_writes_) {
      hosting.replica.landed(now_ns(), write.to, write.lane, write.end,
                             hosting.writer->word(write.to), write.round);
    }
  }
}

void Member::raise(Hosting& hosting, const log::LaneWrite& write) {
  const auto raised = hosting.writer->raise(write.to, write.lane.epoch);
  if (!raised) return hosting.replica.raise_failed(now_ns(), write.to, write.lane.epoch);
  hosting.replica.raised(now_ns(), write.to, write.lane.epoch, raised->former, raised->areas);
}

bool Member::has_memory_witness(const Hosting& hosting) const {
  return hosting.lanes && options_.replica.witnesses_are_memory &&
         !hosting.replica.last_configuration().witnesses.empty();
}

// Whoever was told of other areas than there are would leave more than fits there.
std::size_t Member::undecided_bytes_max(const Hosting& hosting) const {
  const std::size_t told = options_.undecided_bytes_max;
  return std::min(told, hosting.replica.area_bytes().value_or(4 * told) / 4);
}

// What is not decided has to fit into the areas of witnesses that are memory alone: of one leader
// after the other, so that none adds to what it found before that is decided.
bool Member::can_propose(const Hosting& hosting) const {
  // Who leads no more waits for nothing: what was asked of it is for another.
  if (hosting.replica.role() != log::Role::leader) return true;
  if (hosting.is_draining || !hosting.replica.takes_commands()) return false;
  if (hosting.machine->waits_for_decided() && hosting.told_decided < hosting.replica.end().index) {
    return false;
  }
  if (!has_memory_witness(hosting)) return true;
  return leads(hosting) && hosting.pending_bytes <= undecided_bytes_max(hosting) / 2;
}

// A new life takes the seat of the one before, in two steps, so that no majority has to wait for
// it: a learner first, and a voter once it has what the others have. Nobody waits for one that has
// ended meanwhile.
void Member::admit(Hosting& hosting) {
  log::Replica& replica = hosting.replica;
  if (hosting.joining.empty()) return;
  if (replica.role() != log::Role::leader) return hosting.joining.clear();
  const log::Configuration now = replica.deciding().back();
  const auto is_earlier = [](log::ReplicaId id, log::ReplicaId self) {
    return node_of(id) == node_of(self) && id < self;
  };
  std::erase_if(hosting.joining, [&](const auto& asked) {
    return std::ranges::none_of(now.voters,
                                [&](log::ReplicaId id) { return is_earlier(id, asked.second); });
  });
  for (const auto& [node, self] : hosting.joining) {
    const auto is_its_earlier = [&](log::ReplicaId id) { return is_earlier(id, self); };
    log::Configuration next = now;
    std::erase_if(next.learners, is_its_earlier);
    if (hosting.lanes && options_.replica.witnesses_are_memory &&
        std::ranges::any_of(now.witnesses, is_its_earlier)) {
      // It can learn nothing: the servers hold what is decided with its vote until it has it.
      std::ranges::replace_if(next.witnesses, is_its_earlier, self);
      std::ranges::replace_if(next.voters, is_its_earlier, self);
      std::ranges::sort(next.witnesses);
      std::ranges::sort(next.voters);
    } else if (!now.is_learner(self)) {
      next.learners.push_back(self);
      std::ranges::sort(next.learners);
    } else {
      // What is under way reaches it before its vote is needed.
      if (replica.matched(self) < replica.stable()) continue;
      std::erase(next.learners, self);
      std::ranges::replace_if(next.voters, is_its_earlier, self);
      std::ranges::sort(next.voters);
    }
    // Nothing comes of it before the last change is settled.
    if (log::is_valid(next) && replica.propose(now_ns(), next)) {
      if (next.is_voter(self)) DOLMEN_PROBE("replication.taken_in");
      return;
    }
  }
}

/// Before there is a leader that waits for it; and not while a new one needs answers.
void Member::prepare_lane(Hosting& hosting) {
  const std::size_t bytes = options_.replica.lane_bytes;
  if (hosting.replica.role() != log::Role::follower || hosting.lanes->is_prepared(bytes)) {
    hosting.prepare_at_ns = 0;
  } else if (hosting.prepare_at_ns == 0) {
    hosting.prepare_at_ns = now_ns() + 2 * options_.replica.heartbeat_ns;
  } else if (now_ns() >= hosting.prepare_at_ns) {
    hosting.lanes->prepare(bytes);
  }
}

/// So that a candidate finds them mapped: that may take longer than all else that it does.
void Member::prepare_witnesses(Hosting& hosting) {
  if (hosting.replica.role() != log::Role::follower || !has_memory_witness(hosting)) return;
  if (now_ns() < hosting.map_at_ns) return;
  hosting.map_at_ns = now_ns() + options_.join_ns;
  for (const log::ReplicaId witness : hosting.replica.last_configuration().witnesses) {
    hosting.writer->prepare(witness);
  }
}

Result<void> Member::look_after_memory(bool is_busy) {
  for (auto& [group, hosting] : groups_) {
    if (!is_busy && hosting.lanes) {
      prepare_lane(hosting);
      prepare_witnesses(hosting);
    }
    const log::SnapshotPtr& last = hosting.replica.snapshot();
    const std::size_t state_bytes = last ? last->state().size() : 0;
    const bool is_wanted =
        hosting.replica.wants_snapshot() && now_ns() >= hosting.snapshot_not_before_ns;
    if (!is_wanted && hosting.bytes_held < std::max(options_.memory_log_bytes, state_bytes)) {
      hosting.is_draining = false;  // a witness that wanted one may be gone
      continue;
    }
    DOLMEN_CHECK(carry_out(group, hosting));
    // What it executed ahead when it led before is decided only with such a snapshot.
    if (is_wanted && hosting.executor && !leads(hosting) &&
        hosting.executor->executed() > hosting.replica.stable()) {
      DOLMEN_CHECK(execute_again(hosting, hosting.replica.stable()));
    }
    DOLMEN_TRY(const bool is_compact, compact(hosting));
    if (is_compact) hosting.bytes_held = 0;
  }
  return {};
}

}  // namespace dolmen::replication
