// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_walk.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/random.hpp"

namespace dolmen::sim {
namespace {

using Kind = CrashPlan::Kind;

bool is_directory_sync(const DiskOp& op) noexcept {
  return op.kind == OpKind::sync_directory || op.kind == OpKind::sync_directory_failed;
}

bool is_sync(const DiskOp& op) noexcept {
  return op.kind == OpKind::sync || op.kind == OpKind::sync_failed || is_directory_sync(op);
}

bool changes_names(const DiskOp& op) noexcept {
  return op.kind == OpKind::create || op.kind == OpKind::rename || op.kind == OpKind::remove;
}

/// Whether this sync is what the pending change waits for; at the end all of them are looked at.
bool is_covered(const DiskOp& pending, const DiskOp* sync) noexcept {
  if (sync == nullptr) return true;
  if (is_directory_sync(*sync)) return changes_names(pending);
  return !changes_names(pending) && pending.inode == sync->inode;
}

class Enumeration {
 public:
  Enumeration(const DiskHistory& history, const CrashOptions& options,
              const std::function<bool(const CrashState&)>& visit)
      : walk_(history), options_(options), visit_(visit), random_(options.seed) {}

  CrashCounts run() {
    boundary(Kind::none);  // what was durable when the recording began
    if (walk_.model().pending_units() > 0) boundary(Kind::all);
    for (const DiskOp* next = nullptr; !stopped_;) {
      next = walk_.next();
      if (next == nullptr || is_sync(*next)) window(next);
      if (stopped_ || next == nullptr || !walk_.step()) break;
      // Only a sync changes what is certain, and it changes nothing that the program sees.
      boundary(is_sync(*next) || next->kind == OpKind::flip_bit ? Kind::none : Kind::all);
    }
    return counts_;
  }

 private:
  void emit(const CrashPlan& plan, std::uint64_t& count) {
    if (stopped_) return;
    ++count;
    const CrashState state{walk_.op(), plan, &walk_.model(), walk_.next()};
    stopped_ = !visit_(state);
  }

  void boundary(Kind kind) {
    if (options_.boundaries) emit({kind, 0, 0}, counts_.boundary_states);
  }

  [[nodiscard]] std::uint32_t torn_byte() {
    return static_cast<std::uint32_t>(random_.between(1, kSectorBytes - 1));
  }

  void window(const DiskOp* sync) {
    const std::vector<UnitRange> pending = walk_.model().pending();
    std::vector<std::uint64_t> units;
    for (const UnitRange& range : pending) {
      if (!is_covered(*range.op, sync)) continue;
      for (std::uint64_t unit = 0; unit < range.count; ++unit) units.push_back(range.first + unit);
    }
    if (units.empty()) return;
    ++counts_.windows;
    sample(units);
    for (const std::uint64_t unit : units) {
      if (options_.prefixes) {
        emit({Kind::prefix, unit, 0}, counts_.prefix_states);
        emit({Kind::prefix, unit, torn_byte()}, counts_.prefix_states);
      }
      if (options_.lost_sectors) {
        emit({Kind::all_but, unit, 0}, counts_.lost_sector_states);
        emit({Kind::all_but, unit, torn_byte()}, counts_.lost_sector_states);
      }
    }
    for (unsigned i = 0; i < options_.random_subsets; ++i) {
      emit({Kind::random, random_(), 0}, counts_.random_states);
    }
  }

  /// Keeps the first and the last unit and a random part of the others, in order.
  void sample(std::vector<std::uint64_t>& units) {
    const std::uint64_t keep = std::max<std::uint64_t>(options_.units_max, 2);
    if (units.size() <= keep) return;
    counts_.sampled_out += units.size() - keep;
    for (std::uint64_t i = 1; i + 1 < keep; ++i) {
      std::swap(units[i], units[random_.between(i, units.size() - 2)]);
    }
    units[keep - 1] = units.back();
    units.resize(keep);
    std::ranges::sort(units);
  }

  HistoryWalk walk_;
  const CrashOptions& options_;
  const std::function<bool(const CrashState&)>& visit_;
  base::Random random_;
  CrashCounts counts_;
  bool stopped_ = false;
};

}  // namespace

std::string CrashState::to_string() const {
  return "after change " + std::to_string(op) + ", " +
         (next != nullptr ? "before " + next->to_string() : std::string("at the end")) + ": " +
         plan.to_string();
}

CrashCounts for_each_crash_state(const DiskHistory& history, const CrashOptions& options,
                                 const std::function<bool(const CrashState&)>& visit) {
  return Enumeration(history, options, visit).run();
}

std::unique_ptr<SimDisk> crash_state_at(const DiskHistory& history, std::uint64_t op,
                                        const CrashPlan& plan, std::uint64_t seed) {
  HistoryWalk walk(history);
  while (walk.op() < op) DOLMEN_ASSERT(walk.step());
  DOLMEN_ASSERT_CMP(walk.op(), ==, op);
  return std::make_unique<SimDisk>(walk.model().crash(plan), seed, "crashed disk");
}

}  // namespace dolmen::sim
