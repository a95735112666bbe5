// SPDX-License-Identifier: Apache-2.0
//
// The space's background thread: prepares log segments ahead of need, makes deferred commits
// durable within a bounded time, and writes checkpoints when the log tail has grown. Without it
// (simulation, or SpaceOptions::background = false) the owner calls Space::checkpoint() and
// Space::sync().
#pragma once

#include <atomic>
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

  sys::Env env_;
  detail::SpaceCore& core_;
  std::atomic<bool> stop_{false};
  std::unique_ptr<sys::Thread> thread_;
};

}  // namespace dolmen::node
