// SPDX-License-Identifier: Apache-2.0
//
// What a member counts (docs/metrics.md): plain numbers, for whoever shows them. Nothing is decided
// by them. They only grow, from the start of the process, or from when the replica was made.
//
// Threads: one (the member's).
#pragma once

#include <array>
#include <cstdint>

#include "fabric/metered.hpp"
#include "log/replica.hpp"
#include "replication/envelope.hpp"

namespace dolmen::replication {

/// What clients were answered.
class AnswerMeter {
 public:
  void answered(ReplyStatus status) noexcept { ++counts_[static_cast<std::size_t>(status)]; }
  [[nodiscard]] std::uint64_t of(ReplyStatus status) const noexcept {
    return counts_[static_cast<std::size_t>(status)];
  }

 private:
  std::array<std::uint64_t, static_cast<std::size_t>(ReplyStatus::aborted) + 1> counts_{};
};

/// Of one replica.
struct GroupMeter {
  AnswerMeter calls{};
  AnswerMeter reads{};
  std::uint64_t reads_by_lease = 0;  ///< of the reads: for which nobody else was asked
  std::uint64_t decided = 0;         ///< entries that it learned to be decided
  std::uint64_t written = 0;         ///< entries that went into the journal, …
  std::uint64_t written_bytes = 0;
  std::uint64_t elections = 0;  ///< times that it began to ask for leadership, …
  std::uint64_t led = 0;        ///< and that it got it
  std::uint64_t leaders = 0;    ///< times that it heard of another leader than the one before
  std::uint64_t states_taken = 0;
  std::uint64_t state_bytes_sent = 0;
  std::uint64_t state_bytes_received = 0;
  std::uint64_t state_pages_received = 0;  ///< of the states taken, …
  std::uint64_t state_pages_kept = 0;      ///< and those that it had itself

  void wrote(const log::Entry& entry) noexcept {
    ++written;
    written_bytes += entry.payload.size();
  }
  /// How the replica is at the end of a turn; what came and went within one is not seen.
  void look(const log::Replica& replica) noexcept {
    const bool leads = replica.role() == log::Role::leader;
    if (replica.role() != log::Role::follower && role_ == log::Role::follower) ++elections;
    if (leads && (role_ != log::Role::leader || epoch_ != replica.epoch())) ++led;
    const log::ReplicaId leader = replica.leader().value_or(log::ReplicaId{});
    if (leader != log::ReplicaId{} && leader != leader_) {
      ++leaders;
      leader_ = leader;
    }
    // Of what was decided before the process began it learns at once, and has counted nothing.
    if (has_looked_ && replica.stable() > stable_) decided += replica.stable() - stable_;
    has_looked_ = true;
    role_ = replica.role();
    epoch_ = replica.epoch();
    stable_ = replica.stable();
  }

 private:
  bool has_looked_ = false;
  log::Role role_ = log::Role::follower;
  log::Epoch epoch_ = 0;
  log::ReplicaId leader_{};
  log::Index stable_ = 0;
};

/// Of all its replicas.
struct MemberMeter {
  fabric::Histogram calls{};  ///< from the arrival of a command to its answer, of those done
  fabric::Histogram reads{};  ///< the same of queries
  fabric::Histogram syncs{};  ///< of the journal
};

}  // namespace dolmen::replication
