// SPDX-License-Identifier: Apache-2.0
//
// A member: its journal, its endpoint and its loop.
#include <atomic>
#include <utility>

#include <dolmen/replicated.hpp>

#include "node/replicated_group.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

struct Replicated::Impl {
  std::unique_ptr<sys::Disk> disk;      // of a memory-only member
  std::unique_ptr<sys::FileLock> lock;  // on it
  std::unique_ptr<fabric::Endpoint> endpoint;
  std::unique_ptr<replication::Member> member;  // goes before its endpoint
  std::atomic<bool> is_stopping{false};
};

namespace {

Result<void> check(const ReplicatedOptions& options) {
  if (options.member == 0 || options.member > options.group.members.size()) {
    return fail(Errc::invalid_argument, "member: a number from 1 to how many there are",
                options.member);
  }
  return {};
}

}  // namespace

Result<void> Replicated::create(const ReplicatedOptions& options) {
  DOLMEN_CHECK(check(options));
  DOLMEN_TRY(const node::GroupPlan plan, node::plan(options.group));
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(auto disk, sys::open_directory(options.directory, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(const auto names, disk->list());
  if (!names.empty()) return fail(Errc::already_exists, interned(options.directory));
  if (options.level == ReplicatedLevel::replicated) return node::make_first_life(*disk);
  DOLMEN_TRY(const auto journal, replication::Journal::open(env, std::move(disk), {}));
  DOLMEN_CHECK(journal->add(node::kReplicatedGroup,
                            replication::replica_of(fabric::NodeId{options.member}, 1),
                            node::first_members(plan.members.size(), options.group.witnesses)));
  return journal->close();
}

Result<Replicated> Replicated::start(const ReplicatedOptions& options, StateMachine& machine) {
  return start(options, &machine);
}

Result<Replicated> Replicated::start_witness(const ReplicatedOptions& options) {
  return start(options, nullptr);
}

Result<Replicated> Replicated::start(const ReplicatedOptions& options, StateMachine* machine) {
  DOLMEN_CHECK(check(options));
  DOLMEN_TRY(const node::GroupPlan plan, node::plan(options.group));
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(auto disk, sys::open_directory(options.directory, sys::DirectoryMode::open_existing));
  auto impl = std::make_unique<Impl>();
  const fabric::NodeId self{options.member};
  std::unique_ptr<replication::Journal> journal;
  if (options.level == ReplicatedLevel::replicated) {
    impl->disk = std::move(disk);
    DOLMEN_TRY(impl->lock, node::lock_lives(*impl->disk));
  } else {
    DOLMEN_TRY(const auto names, disk->list());
    if (names.empty()) {
      return fail(Errc::not_found, interned(options.directory + ": an empty directory, no member"));
    }
    if (node::counts_lives(names)) {
      return fail(Errc::invalid_argument,
                  interned(options.directory + ": the directory of a memory-only member"));
    }
    DOLMEN_TRY(journal, replication::Journal::open(env, std::move(disk), {}));
  }
  // A later life has a higher number, as long as the wall clock is not set back below the last
  // start: then the others say "superseded" until it is right.
  DOLMEN_TRY(
      impl->endpoint,
      node::connect(plan, {.node = self, .incarnation = env.clock->wall_ns()}, options.spin));
  impl->member = std::make_unique<replication::Member>(env, *impl->endpoint, std::move(journal),
                                                       replication::MemberOptions{});
  if (options.level == ReplicatedLevel::replicated) {
    // Last: a start that fails costs no life.
    DOLMEN_TRY(const std::uint32_t life, node::begin_life(*impl->disk));
    impl->member->add_in_memory(node::kReplicatedGroup, replication::replica_of(self, life),
                                node::first_members(plan.members.size(), options.group.witnesses));
  }
  DOLMEN_CHECK(machine == nullptr ? impl->member->host_witness(node::kReplicatedGroup)
                                  : impl->member->host(node::kReplicatedGroup, *machine));
  return Replicated(std::move(impl));
}

Replicated::Replicated(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Replicated::Replicated(Replicated&&) noexcept = default;
Replicated& Replicated::operator=(Replicated&&) noexcept = default;
Replicated::~Replicated() = default;

Result<void> Replicated::run() {
  while (!impl_->is_stopping.load(std::memory_order_relaxed)) {
    DOLMEN_TRY(const bool was_busy, impl_->member->turn());
    if (!was_busy) DOLMEN_CHECK(impl_->member->wait());
  }
  return impl_->member->close();
}

void Replicated::stop() noexcept {
  impl_->is_stopping = true;
  impl_->endpoint->wake();
}

}  // namespace dolmen
