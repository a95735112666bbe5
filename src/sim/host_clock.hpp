// SPDX-License-Identifier: Apache-2.0
//
// The clock of one simulated host: it may run too fast or too slow, and it is ahead of the world
// while the host's process is in the middle of something that takes time. Whoever drives the host
// gives it its next turn at true_ns().
//
// Threads: one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "sim/event_queue.hpp"
#include "sys/clock.hpp"

namespace dolmen::sim {

class HostClock final : public sys::Clock {
 public:
  /// `queue` outlives it. Too fast by `drift_ppm`, or too slow where that is negative.
  explicit HostClock(const EventQueue& queue, std::int64_t drift_ppm = 0)
      : queue_(queue), rate_ppm_(static_cast<std::uint64_t>(1'000'000 + drift_ppm)) {}

  std::uint64_t monotonic_ns() noexcept override { return scaled(true_ns(), rate_ppm_, kMillion); }
  std::uint64_t wall_ns() noexcept override { return kWallStartNs + monotonic_ns(); }
  /// The process does nothing else for so long; nobody else's time moves.
  void sleep_ns(std::uint64_t duration_ns) noexcept override {
    busy_until_ns_ = true_ns() + scaled(duration_ns, kMillion, rate_ppm_);
  }

  /// In the world's time: now, or when what the process is doing ends.
  [[nodiscard]] std::uint64_t true_ns() const noexcept {
    return std::max(queue_.now_ns(), busy_until_ns_);
  }
  /// When it will show that time.
  [[nodiscard]] std::uint64_t true_ns_of(std::uint64_t local_ns) const noexcept {
    return local_ns > kFarNs ? ~std::uint64_t{0} : scaled(local_ns, kMillion, rate_ppm_) + 1;
  }

 private:
  static constexpr std::uint64_t kMillion = 1'000'000;
  static constexpr std::uint64_t kFarNs = std::uint64_t{1} << 62;
  static constexpr std::uint64_t kWallStartNs = 1'700'000'000ull * 1'000'000'000;

  /// Exact without wider numbers: the whole millions first.
  static std::uint64_t scaled(std::uint64_t ns, std::uint64_t by, std::uint64_t of) noexcept {
    return ns / of * by + ns % of * by / of;
  }

  const EventQueue& queue_;
  const std::uint64_t rate_ppm_;
  std::uint64_t busy_until_ns_ = 0;
};

}  // namespace dolmen::sim
