// SPDX-License-Identifier: Apache-2.0
//
// The space's background thread: prepares log segments ahead of need, makes deferred commits
// durable within a bounded time, and writes checkpoints when the log tail has grown. Without it
// (simulation, or SpaceOptions::background = false) the owner calls Space::checkpoint() and
// Space::sync().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include <dolmen/error.hpp>

#include "sys/env.hpp"

namespace dolmen::detail {
class SpaceCore;
}

namespace dolmen::node {

class Upkeep {
 public:
  /// Errors: unsupported (no threads in this world), out_of_memory.
  [[nodiscard]] static Result<std::unique_ptr<Upkeep>> start(const sys::Env& env,
                                                             detail::SpaceCore& core);
  /// Stops the thread; a running checkpoint is abandoned.
  ~Upkeep();

 private:
  Upkeep(const sys::Env& env, detail::SpaceCore& core) noexcept : env_(env), core_(core) {}
  void run();
  void prepare();
  void sync(std::uint64_t now_ns);
  void checkpoint(std::uint64_t now_ns);
  [[nodiscard]] bool stopped() const noexcept { return stop_.load(std::memory_order_acquire); }

  sys::Env env_;
  detail::SpaceCore& core_;
  std::atomic<bool> stop_{false};
  std::uint64_t last_sync_ns_ = 0;   ///< the thread's alone, as the next
  std::uint64_t not_before_ns_ = 0;  ///< when a checkpoint may be tried again
  std::unique_ptr<sys::Thread> thread_;
};

}  // namespace dolmen::node
