// SPDX-License-Identifier: Apache-2.0
//
// The simulated world beside the disk: virtual time, seeded randomness and a process that has one
// thread. Memory is real (the arena needs an address space) and passed in.
//
// Threads: safe from any; deterministic when called in a fixed order.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.hpp"
#include "base/random.hpp"
#include "sys/env.hpp"

namespace dolmen::sim {

/// Time moves only when somebody sleeps or advances it.
class SimClock final : public sys::Clock {
 public:
  std::uint64_t monotonic_ns() noexcept override { return now_ns_.load(); }
  std::uint64_t wall_ns() noexcept override {
    return kWallStartNs + now_ns_.load() + skew_ns_.load();
  }
  void sleep_ns(std::uint64_t duration_ns) noexcept override { advance_ns(duration_ns); }
  void advance_ns(std::uint64_t duration_ns) noexcept { now_ns_.fetch_add(duration_ns); }
  /// Lets the wall clock jump; negative values wrap to the past.
  void skew_wall_ns(std::int64_t by_ns) noexcept {
    skew_ns_.fetch_add(static_cast<std::uint64_t>(by_ns));
  }

 private:
  static constexpr std::uint64_t kWallStartNs = 1'700'000'000ull * 1'000'000'000;

  std::atomic<std::uint64_t> now_ns_{1};
  std::atomic<std::uint64_t> skew_ns_{0};
};

class SimEntropy final : public sys::Entropy {
 public:
  explicit SimEntropy(std::uint64_t seed) noexcept : random_(seed) {}
  void fill(base::MutableBytes out) noexcept override;

 private:
  base::Mutex mutex_;
  base::Random random_ DOLMEN_GUARDED_BY(mutex_);
};

/// Nobody forks here, and background threads are refused: their work is driven by the caller.
class SimProcess final : public sys::Process {
 public:
  explicit SimProcess(std::uint64_t pid) noexcept : pid_(pid) {}
  std::uint64_t pid() noexcept override { return pid_; }
  std::string host_name() override { return "simulated-host"; }
  std::string command_line() override { return "simulated-program"; }
  std::string environment(const char* /*name*/) override { return {}; }
  unsigned cpu_count() noexcept override { return 1; }
  Result<std::unique_ptr<sys::Thread>> start_thread(const char* name,
                                                    std::function<void()> body) override;
  Result<void> on_fork_child(void (*callback)(void*), void* argument) override;
  bool fence_threads() noexcept override { return false; }
  bool is_alive(std::uint64_t pid) noexcept override { return pid == pid_; }
  std::uint64_t resident_bytes() noexcept override { return 0; }
  std::uint64_t machine_bytes() noexcept override { return 0; }

 private:
  const std::uint64_t pid_;
};

/// One process of a simulated world.
class SimEnv {
 public:
  SimEnv(std::uint64_t seed, sys::Memory& memory, std::uint64_t pid = 1000) noexcept;
  SimEnv(const SimEnv&) = delete;
  SimEnv& operator=(const SimEnv&) = delete;

  /// Valid as long as this object.
  [[nodiscard]] const sys::Env& env() const noexcept { return env_; }
  [[nodiscard]] SimClock& clock() noexcept { return clock_; }

 private:
  SimClock clock_;
  SimEntropy entropy_;
  SimProcess process_;
  sys::Env env_;
};

}  // namespace dolmen::sim
