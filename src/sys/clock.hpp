// SPDX-License-Identifier: Apache-2.0
//
// Time and randomness as interfaces. Nothing outside sys/linux reads a real clock or a real entropy
// source, so that a simulated world decides both. Thread-safe.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"

namespace dolmen::sys {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Nanoseconds since an arbitrary start; never goes back.
  [[nodiscard]] virtual std::uint64_t monotonic_ns() noexcept = 0;
  /// Nanoseconds since 1970 (UTC); may jump. For people to read, never for decisions.
  [[nodiscard]] virtual std::uint64_t wall_ns() noexcept = 0;
  /// Blocks the calling thread. Background work only.
  virtual void sleep_ns(std::uint64_t duration_ns) noexcept = 0;
};

class Entropy {
 public:
  virtual ~Entropy() = default;
  /// Fills with unpredictable bytes. Cannot fail: the process aborts if the system has none.
  virtual void fill(base::MutableBytes out) noexcept = 0;
};

}  // namespace dolmen::sys
