// SPDX-License-Identifier: Apache-2.0
//
// Carries out what the root group decided about who is a member of a group: that takes as long as
// it takes to send the group's state, and happens beside the node's loop, by the same calls that
// people make (dolmen/replicated.hpp). Each may be made again by whoever leads the root group next.
//
// Threads: one of its own; the calls from one other.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "cluster/root_controller.hpp"
#include "node/replicated_group.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

class GroupChanges {
 public:
  struct Job {
    cluster::ChangeOrder order{};
    GroupPlan plan{};  ///< how the group is reached
  };

  /// `wake` is called on its thread when there is something to take. Errors: as start_thread().
  [[nodiscard]] static Result<std::unique_ptr<GroupChanges>> start(const sys::Env& env,
                                                                   std::function<void()> wake);
  /// Gives up what it is doing: takes up to kSlice.
  ~GroupChanges();
  GroupChanges(const GroupChanges&) = delete;
  GroupChanges& operator=(const GroupChanges&) = delete;

  void submit(Job job);
  [[nodiscard]] std::vector<cluster::ChangeReport> take_reports();
  [[nodiscard]] bool has_reports();

  /// A call is made for so long, and then again.
  static constexpr std::chrono::milliseconds kSlice{1000};
  /// After so long a job ends without being done; whoever gave it gives it again.
  static constexpr std::chrono::milliseconds kPatience{30'000};

 private:
  GroupChanges(const sys::Env& env, std::function<void()> wake)
      : env_(env), wake_(std::move(wake)) {}
  void run();
  [[nodiscard]] cluster::ChangeReport carry_out(const Job& job) const;

  const sys::Env& env_;
  const std::function<void()> wake_;
  std::atomic<bool> is_stopping_{false};
  base::Mutex mutex_;
  base::Condition has_work_;
  std::deque<Job> jobs_ DOLMEN_GUARDED_BY(mutex_);
  std::vector<cluster::ChangeReport> reports_ DOLMEN_GUARDED_BY(mutex_);
  std::unique_ptr<sys::Thread> thread_;
};

}  // namespace dolmen::node
