// SPDX-License-Identifier: Apache-2.0
//
// Which of the pending units of a disk survive a crash. A plan is a small value that prints itself,
// so that a failing crash state is named by (operation, plan) and made again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dolmen::sim {

struct CrashPlan {
  enum class Kind : std::uint8_t {
    none,     ///< only what was synced
    all,      ///< everything, as if the disk had written through
    prefix,   ///< the first `argument` units; the next one torn at `torn_bytes`
    all_but,  ///< all except unit `argument`; of that the first `torn_bytes` bytes
    random,   ///< a subset drawn from the seed `argument`, at times with one torn unit
  };
  Kind kind = Kind::none;
  std::uint64_t argument = 0;
  std::uint32_t torn_bytes = 0;

  [[nodiscard]] std::string to_string() const;
  friend bool operator==(const CrashPlan&, const CrashPlan&) = default;
};

/// A plan applied to a number of units.
class UnitChoice {
 public:
  /// Bytes of the unit that are new: all of a kept one, none of a lost one.
  static constexpr std::uint32_t kWhole = ~std::uint32_t{0};

  UnitChoice(const CrashPlan& plan, std::uint64_t unit_count);
  [[nodiscard]] std::uint32_t kept_bytes(std::uint64_t unit) const noexcept;
  [[nodiscard]] bool keeps_all(std::uint64_t first, std::uint64_t count) const noexcept;
  [[nodiscard]] bool keeps_none(std::uint64_t first, std::uint64_t count) const noexcept;

 private:
  CrashPlan plan_;
  std::vector<bool> drawn_;  // random
  std::uint64_t torn_unit_ = ~std::uint64_t{0};
  std::uint32_t torn_bytes_ = 0;
};

}  // namespace dolmen::sim
