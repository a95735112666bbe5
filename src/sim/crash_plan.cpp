// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_plan.hpp"

#include <algorithm>

#include "base/random.hpp"
#include "sys/disk.hpp"

namespace dolmen::sim {

std::string CrashPlan::to_string() const {
  const std::string number = std::to_string(argument);
  const std::string torn =
      torn_bytes != 0 ? " torn at byte " + std::to_string(torn_bytes) : std::string();
  switch (kind) {
    case Kind::none:
      return "none";
    case Kind::all:
      return "all";
    case Kind::prefix:
      return "prefix of " + number + torn;
    case Kind::all_but:
      return "all but unit " + number + torn;
    case Kind::random:
      return "random subset " + number;
  }
  return "?";
}

UnitChoice::UnitChoice(const CrashPlan& plan, std::uint64_t unit_count) : plan_(plan) {
  if (plan.kind == CrashPlan::Kind::prefix || plan.kind == CrashPlan::Kind::all_but) {
    torn_unit_ = plan.argument;
    torn_bytes_ = plan.torn_bytes;
  }
  if (plan.kind != CrashPlan::Kind::random || unit_count == 0) return;
  base::Random random(plan.argument);
  // Sparse, even and dense subsets find different bugs.
  const std::uint64_t eighths = std::uint64_t{1} << random.below(3);  // 1, 2, 4 …
  const std::uint64_t keep = random.chance(1, 2) ? eighths : 8 - eighths;
  drawn_.resize(unit_count);
  for (std::uint64_t unit = 0; unit < unit_count; ++unit) drawn_[unit] = random.chance(keep, 8);
  if (random.chance(1, 2)) {
    torn_unit_ = random.below(unit_count);
    torn_bytes_ = static_cast<std::uint32_t>(random.between(1, sys::kSectorBytes - 1));
  }
}

std::uint32_t UnitChoice::kept_bytes(std::uint64_t unit) const noexcept {
  if (unit == torn_unit_) return torn_bytes_;
  bool kept = false;
  switch (plan_.kind) {
    case CrashPlan::Kind::none:
      break;
    case CrashPlan::Kind::all:
    case CrashPlan::Kind::all_but:
      kept = true;
      break;
    case CrashPlan::Kind::prefix:
      kept = unit < plan_.argument;
      break;
    case CrashPlan::Kind::random:
      kept = drawn_[unit];
      break;
  }
  return kept ? kWhole : 0;
}

bool UnitChoice::keeps_all(std::uint64_t first, std::uint64_t count) const noexcept {
  if (torn_unit_ - first < count) return false;
  switch (plan_.kind) {
    case CrashPlan::Kind::none:
      return count == 0;
    case CrashPlan::Kind::all:
    case CrashPlan::Kind::all_but:
      return true;
    case CrashPlan::Kind::prefix:
      return first + count <= plan_.argument;
    case CrashPlan::Kind::random:
      return std::all_of(drawn_.begin() + static_cast<std::ptrdiff_t>(first),
                         drawn_.begin() + static_cast<std::ptrdiff_t>(first + count),
                         [](bool kept) { return kept; });
  }
  return false;
}

bool UnitChoice::keeps_none(std::uint64_t first, std::uint64_t count) const noexcept {
  if (torn_unit_ - first < count && torn_bytes_ != 0) return false;
  switch (plan_.kind) {
    case CrashPlan::Kind::none:
      return true;
    case CrashPlan::Kind::prefix:
      return first >= plan_.argument;
    default:
      return false;
  }
}

}  // namespace dolmen::sim
