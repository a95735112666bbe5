// SPDX-License-Identifier: Apache-2.0
//
// Enumerates what crashes may leave, from a recorded history: walks it forward once and offers the
// crash states of every moment. A sync window ends before a sync (of a file or of the directory)
// and at the end of the history: there the most is pending.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "sim/sim_disk.hpp"

namespace dolmen::sim {

struct CrashOptions {
  bool boundaries = true;  ///< after every change: nothing of it, and everything, survived
  bool prefixes = true;    ///< per window: every prefix of what the sync covers, clean and torn
  bool lost_sectors =
      true;  ///< per window: all but one unit of what the sync covers, clean and torn
  unsigned random_subsets = 64;                 ///< per window: of everything that is pending
  std::uint64_t units_max = ~std::uint64_t{0};  ///< per window and kind; beyond it a seeded sample
  std::uint64_t seed = 1;                       ///< of samples, subsets and torn bytes
};

/// One crash: after change number `op`, with this plan. Valid during the visit only.
struct CrashState {
  std::uint64_t op = 0;
  CrashPlan plan;
  const DiskModel* before = nullptr;  ///< the disk at that moment
  const DiskOp* next = nullptr;       ///< the change that the crash prevented; null at the end

  [[nodiscard]] std::unique_ptr<SimDisk> disk(std::uint64_t seed = 0) const {
    return std::make_unique<SimDisk>(before->crash(plan), seed, "crashed disk");
  }
  /// "after change 17, before sync log-1: prefix of 3 torn at byte 100".
  [[nodiscard]] std::string to_string() const;
};

struct CrashCounts {
  std::uint64_t windows = 0;
  std::uint64_t boundary_states = 0;
  std::uint64_t prefix_states = 0;
  std::uint64_t lost_sector_states = 0;
  std::uint64_t random_states = 0;
  std::uint64_t sampled_out = 0;  ///< units that units_max left out

  [[nodiscard]] std::uint64_t states() const noexcept {
    return boundary_states + prefix_states + lost_sector_states + random_states;
  }
};

/// Moves through a history, one change at a time.
class HistoryWalk {
 public:
  /// Requires: the history outlives the walk.
  explicit HistoryWalk(const DiskHistory& history) : history_(history), model_(history.start) {}
  /// Makes the next change; false at the end.
  bool step() {
    if (next() == nullptr) return false;
    model_.apply(history_.ops[position_++]);
    return true;
  }
  [[nodiscard]] const DiskModel& model() const noexcept { return model_; }
  /// The disk's op_count() at this moment.
  [[nodiscard]] std::uint64_t op() const noexcept { return history_.first_op + position_; }
  [[nodiscard]] const DiskOp* next() const noexcept {
    return position_ < history_.ops.size() ? history_.ops[position_].get() : nullptr;
  }

 private:
  const DiskHistory& history_;
  DiskModel model_;
  std::size_t position_ = 0;
};

/// Calls `visit` for every state that the options ask for, in order; it returns false to stop.
CrashCounts for_each_crash_state(const DiskHistory& history, const CrashOptions& options,
                                 const std::function<bool(const CrashState&)>& visit);

/// One state again, from what to_string() said. Requires: `op` lies within the history.
[[nodiscard]] std::unique_ptr<SimDisk> crash_state_at(const DiskHistory& history, std::uint64_t op,
                                                      const CrashPlan& plan,
                                                      std::uint64_t seed = 0);

}  // namespace dolmen::sim
