// SPDX-License-Identifier: Apache-2.0
#include "node/group_changes.hpp"

#include <algorithm>
#include <utility>

#include "node/replicated_client.hpp"

namespace dolmen::node {

Result<std::unique_ptr<GroupChanges>> GroupChanges::start(const sys::Env& env,
                                                          std::function<void()> wake) {
  std::unique_ptr<GroupChanges> changes(new GroupChanges(env, std::move(wake)));
  DOLMEN_TRY(changes->thread_,
             env.process->start_thread("dolmen-changes", [self = changes.get()] { self->run(); }));
  return changes;
}

GroupChanges::~GroupChanges() {
  is_stopping_ = true;
  {
    const base::Lock lock(mutex_);
    has_work_.notify_all();
  }
  thread_.reset();
}

void GroupChanges::submit(Job job) {
  const base::Lock lock(mutex_);
  jobs_.push_back(std::move(job));
  has_work_.notify_all();
}

std::vector<cluster::ChangeReport> GroupChanges::take_reports() {
  const base::Lock lock(mutex_);
  return std::exchange(reports_, {});
}

bool GroupChanges::has_reports() {
  const base::Lock lock(mutex_);
  return !reports_.empty();
}

void GroupChanges::run() {
  for (;;) {
    Job job;
    {
      base::Lock lock(mutex_);
      while (jobs_.empty() && !is_stopping_) has_work_.wait(mutex_);
      if (is_stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    cluster::ChangeReport report = carry_out(job);
    {
      const base::Lock lock(mutex_);
      reports_.push_back(std::move(report));
    }
    wake_();
  }
}

cluster::ChangeReport GroupChanges::carry_out(const Job& job) const {
  const cluster::ChangeOrder& order = job.order;
  cluster::ChangeReport report{.group = order.group, .since = order.since};
  auto client = ClientOf::make(job.plan, order.group);
  if (!client) return report;
  const std::uint64_t until_ns =
      env_.clock->monotonic_ns() + static_cast<std::uint64_t>(kPatience.count()) * 1'000'000;
  // Each call goes on where the one before was cut short.
  const auto until_done = [&](Errc settled_otherwise, const auto& call) {
    while (!is_stopping_ && env_.clock->monotonic_ns() < until_ns) {
      const Result<void> made = call();
      if (made || made.error().code() == settled_otherwise) return true;
      if (made.error().code() == Errc::invalid_argument) return false;
      constexpr std::uint64_t kPauseNs = 20'000'000;
      env_.clock->sleep_ns(kPauseNs);
    }
    return false;
  };
  const auto add = [&] {
    return until_done(Errc::already_exists,
                      [&] { return client->add_member(order.add, order.address, kSlice); });
  };
  const auto replace = [&] {
    return until_done(Errc::already_exists,
                      [&] { return client->replace_member(order.add, order.address, kSlice); });
  };
  const auto remove = [&](cluster::NodeNumber node) {
    return until_done(Errc::not_found, [&] { return client->remove_member(node, kSlice); });
  };
  const bool is_in_place = order.add == order.leave;
  if (order.is_undo) {
    report.is_done = order.add == 0 || is_in_place || remove(order.add);
  } else if (is_in_place) {
    report.is_done = replace();
  } else {
    report.is_done = (order.add == 0 || add()) && (order.leave == 0 || remove(order.leave));
  }
  const auto members = client->status(kSlice);
  if (!members) return report;
  for (const ReplicatedStatus& member : *members) {
    if (!member.is_reached || member.role != "leader" || member.stable_index <= report.as_of) {
      continue;
    }
    report.as_of = member.stable_index;
    report.members = member.voters;
    std::ranges::sort(report.members);
  }
  return report;
}

}  // namespace dolmen::node
