// SPDX-License-Identifier: Apache-2.0
#include "sim/log_disk.hpp"

#include <iterator>

#include <dolmen/assert.hpp>

#include "sim/crash_plan.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::sim {

namespace {
constexpr replication::GroupId kGroup{1, 1};

/// Hooks may call a disk full that has room: then it has at one of the next tries.
template <class Call>
auto again(const Call& call) {
  auto result = call();
  for (int i = 0; i < 100 && !result && result.error().code() == Errc::no_space; ++i) {
    result = call();
  }
  DOLMEN_ASSERT(result.has_value());
  return result;
}
}  // namespace

LogDisk::LogDisk(log::ReplicaId self, const log::Configuration& first, std::uint64_t seed)
    : random_(seed),
      entropy_(seed),
      self_(self),
      first_(first),
      disk_(std::make_unique<SimDisk>(seed)) {
  (void)open();
  (void)again([&] { return journal_->add(kGroup, self_, first_); });
}

log::DurableState LogDisk::open() {
  const sys::Env env{&clock_, &entropy_, nullptr, &process_};
  auto journal = again([&] {
    return replication::Journal::open(env, std::make_unique<sys::BorrowedDisk>(*disk_),
                                      {.segment_bytes = 8u << 10, .tail_bytes_max = 24u << 10});
  });
  journal_ = std::move(*journal);
  auto replicas = journal_->take_recovered();
  return replicas.contains(kGroup) ? std::move(replicas[kGroup].state) : log::DurableState{};
}

void LogDisk::append(const std::vector<log::Record>& records) {
  (void)again([&] { return journal_->append(kGroup, records); });
}

void LogDisk::sync() { DOLMEN_ASSERT(journal_->sync().has_value()); }

void LogDisk::checkpoint(log::DurableState state) {
  const auto checkpoint = journal_->start_checkpoint(
      {{kGroup, {.self = self_, .first = first_, .state = std::move(state)}}});
  (void)again([&] { return journal_->write_checkpoint(checkpoint); });
}

log::DurableState LogDisk::crash() {
  using Kind = CrashPlan::Kind;
  constexpr Kind kKinds[] = {Kind::none, Kind::all, Kind::prefix, Kind::all_but, Kind::random};
  CrashPlan plan{.kind = kKinds[random_.below(std::size(kKinds))], .argument = random_()};
  const std::uint64_t units = disk_->model().pending_units();
  if (plan.kind == Kind::prefix || plan.kind == Kind::all_but) {
    if (units == 0) plan.kind = Kind::none;
    plan.argument %= units + 1;
    if (plan.argument == units) plan.argument = 0;
    plan.torn_bytes = static_cast<std::uint32_t>(random_.below(512));
  }
  auto left = disk_->crash(plan, random_());
  disk_->power_off();
  journal_.reset();
  disk_ = std::move(left);
  return open();
}

}  // namespace dolmen::sim
