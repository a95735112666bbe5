// SPDX-License-Identifier: Apache-2.0
//
// A member: its journal, its endpoint and its loop.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <set>
#include <utility>

#include <dolmen/replicated.hpp>

#include "node/hand_over.hpp"
#include "node/replicated_group.hpp"
#include "replication/memory_witness.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

struct Replicated::Impl {
  std::unique_ptr<sys::Disk> disk;      // of a memory-only member
  std::unique_ptr<sys::FileLock> lock;  // on it
  std::unique_ptr<fabric::Endpoint> endpoint;
  std::unique_ptr<replication::Member> member;                 // goes before its endpoint
  std::unique_ptr<replication::MemoryWitness> memory_witness;  // instead
  std::atomic<bool> is_stopping{false};
};

namespace {

constexpr std::chrono::milliseconds kLeaseMax = std::chrono::seconds(10);
constexpr std::uint32_t kDriftMaxPpm = 100'000;

Result<node::GroupPlan> plan_of(const ReplicatedOptions& options) {
  if (options.member == 0 || options.member > options.group.members.size()) {
    return fail(Errc::invalid_argument, "member: a number from 1 to how many there are",
                options.member);
  }
  DOLMEN_TRY(node::GroupPlan plan, node::plan(options.group));
  if (plan.find(options.member) == nullptr) {
    return fail(Errc::invalid_argument, "member: it has no address in the list", options.member);
  }
  return plan;
}

/// Of who was never there before, also where another one with its number was.
std::uint32_t new_life(sys::Entropy& entropy) {
  std::array<std::byte, 4> random{};
  std::uint32_t life = 0;
  while (life <= replication::kFirstLife) {
    entropy.fill(random);
    life = base::load<std::uint32_t>(random);
  }
  return life;
}

Result<void> check_witnesses(const ReplicatedOptions& options, const node::GroupPlan& plan) {
  const bool is_in_memory = options.level == ReplicatedLevel::replicated;
  if (options.group.witnesses.empty() || !is_in_memory) return {};
  if (plan.shared_directory.empty()) {
    return fail(Errc::invalid_argument,
                "witnesses: a memory-only group has them in shared memory alone (shm:)");
  }
  return replication::check_area_bytes(options.area_bytes);
}

/// A witness that is memory alone, of these groups. A start with wrong options costs no life.
Result<std::unique_ptr<replication::MemoryWitness>> keep_memory(
    const ReplicatedOptions& options, const node::GroupPlan& plan, fabric::Endpoint& endpoint,
    sys::Disk& disk, std::span<const std::uint64_t> groups) {
  std::vector<std::uint32_t> witnesses = options.group.witnesses;
  if (witnesses.empty()) witnesses.push_back(options.member);
  const log::Configuration first = node::first_members(plan, witnesses);
  const fabric::NodeId self{options.member};
  if (!is_valid(first) ||
      !first.is_witness(replication::replica_of(self, replication::kFirstLife))) {
    return fail(Errc::invalid_argument, "a witness: the group has this member as a server");
  }
  DOLMEN_TRY(auto witness, replication::MemoryWitness::make(sys::linux_env(), endpoint,
                                                            {.area_bytes = options.area_bytes}));
  const std::set<std::uint64_t> numbers(groups.begin(), groups.end());
  if (numbers.contains(0) || numbers.size() != groups.size()) {
    return fail(Errc::invalid_argument, "groups: numbers from 1, none twice", groups.size());
  }
  DOLMEN_TRY(const std::uint32_t life, node::begin_life(disk));
  for (const std::uint64_t number : numbers) {
    DOLMEN_CHECK(witness->add(node::group_of(number), replication::replica_of(self, life), first));
  }
  return witness;
}

/// Until it is stopped.
template <class Kept>
Result<void> run_until(const std::atomic<bool>& is_stopping, Kept& kept) {
  while (!is_stopping.load(std::memory_order_relaxed)) {
    DOLMEN_TRY(const bool was_busy, kept.turn());
    if (!was_busy) DOLMEN_CHECK(kept.wait());
  }
  return {};
}

/// What came of hosting a group, and whether it is this member's.
Result<void> check(const Result<void>& hosted, const ReplicatedOptions& options,
                   const replication::Member& member, std::uint64_t number) {
  if (!hosted) return fail(hosted.error().code(), interned(hosted.error().context()), number);
  const auto status = member.status(node::group_of(number));
  if (node::member_of(status->self) == options.member) return {};
  return fail(Errc::invalid_argument,
              interned(options.directory + ": of another member, with this number"),
              node::member_of(status->self));
}

}  // namespace

Result<void> Replicated::create(const ReplicatedOptions& options) {
  return create(options, std::array{std::uint64_t{1}});
}

Result<void> Replicated::create(const ReplicatedOptions& options,
                                std::span<const std::uint64_t> groups) {
  DOLMEN_TRY(const node::GroupPlan plan, plan_of(options));
  const std::set<std::uint64_t> numbers(groups.begin(), groups.end());
  if (numbers.empty() || numbers.contains(0) || numbers.size() != groups.size()) {
    return fail(Errc::invalid_argument, "groups: numbers from 1, none twice", groups.size());
  }
  const bool is_durable = options.level == ReplicatedLevel::durable;
  if (options.joins && !is_durable) {
    return fail(Errc::invalid_argument,
                "joins: a later life of a memory-only member is taken in by itself");
  }
  DOLMEN_CHECK(check_witnesses(options, plan));
  log::Configuration first = node::first_members(plan, options.group.witnesses);
  const fabric::NodeId self{options.member};
  log::ReplicaId replica = replication::replica_of(self, replication::kFirstLife);
  if (options.joins) {
    std::erase(first.voters, replica);
    std::erase(first.witnesses, replica);
    if (!is_valid(first)) return fail(Errc::invalid_argument, "members: nobody to join");
    replica = replication::replica_of(self, new_life(*sys::linux_env().entropy));
  }
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(auto disk, sys::open_directory(options.directory, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(const auto names, disk->list());
  if (!names.empty()) return fail(Errc::already_exists, interned(options.directory));
  if (!is_durable) return node::make_first_life(*disk);
  DOLMEN_TRY(const auto journal, replication::Journal::open(env, std::move(disk), {}));
  for (const std::uint64_t number : numbers) {
    DOLMEN_CHECK(journal->add(node::group_of(number), replica, first));
  }
  return journal->close();
}

Result<Replicated> Replicated::start(const ReplicatedOptions& options, StateMachine& machine) {
  return start(options, std::array{ReplicatedMachine{.group = 1, .machine = &machine}});
}

Result<Replicated> Replicated::start(const ReplicatedOptions& options,
                                     std::span<const ReplicatedMachine> machines) {
  std::set<std::uint64_t> numbers;
  for (const auto& [number, machine] : machines) {
    const bool is_new = numbers.insert(number).second;
    if (machine == nullptr || number == 0 || !is_new) {
      return fail(Errc::invalid_argument, "a group and its state machine", number);
    }
    // Whose log is gone with its members would find what a former group left.
    if (machine->keeps_state() && options.level != ReplicatedLevel::durable) {
      return fail(Errc::invalid_argument,
                  "a state machine that keeps its state on a disk: the group has to be durable",
                  number);
    }
  }
  DOLMEN_TRY(const node::GroupPlan plan, plan_of(options));
  DOLMEN_CHECK(check_witnesses(options, plan));
  DOLMEN_TRY(auto impl, open(options, plan));
  if (options.level == ReplicatedLevel::replicated) {
    // Last: a start that fails costs no life.
    DOLMEN_TRY(const std::uint32_t life, node::begin_life(*impl->disk));
    for (const std::uint64_t number : numbers) {
      impl->member->add_in_memory(node::group_of(number),
                                  replication::replica_of(fabric::NodeId{options.member}, life),
                                  node::first_members(plan, options.group.witnesses));
    }
  }
  for (const auto& [number, machine] : machines) {
    DOLMEN_CHECK(check(impl->member->host(node::group_of(number), *machine), options, *impl->member,
                       number));
  }
  return Replicated(std::move(impl));
}

Result<Replicated> Replicated::start_witness(const ReplicatedOptions& options,
                                             std::span<const std::uint64_t> groups) {
  DOLMEN_TRY(const node::GroupPlan plan, plan_of(options));
  DOLMEN_CHECK(check_witnesses(options, plan));
  DOLMEN_TRY(auto impl, open(options, plan));
  if (options.level == ReplicatedLevel::replicated) {
    impl->member.reset();
    constexpr std::uint64_t kOne = 1;
    DOLMEN_TRY(impl->memory_witness, keep_memory(options, plan, *impl->endpoint, *impl->disk,
                                                 groups.empty() ? std::span(&kOne, 1) : groups));
    return Replicated(std::move(impl));
  }
  if (!groups.empty()) {
    return fail(Errc::invalid_argument, "groups: a durable witness has those of its journal");
  }
  for (const replication::GroupId& group : impl->member->found()) {
    DOLMEN_CHECK(check(impl->member->host_witness(group), options, *impl->member, group.low));
  }
  return Replicated(std::move(impl));
}

Result<std::unique_ptr<Replicated::Impl>> Replicated::open(const ReplicatedOptions& options,
                                                           const node::GroupPlan& plan) {
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(auto disk, sys::open_directory(options.directory, sys::DirectoryMode::open_existing));
  auto impl = std::make_unique<Impl>();
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
  const auto lease = options.lease;
  if (lease.count() < 0 || lease > kLeaseMax || options.clock_drift_ppm > kDriftMaxPpm) {
    return fail(Errc::invalid_argument, "a lease, or how far clocks drift");
  }
  const fabric::NodeId self{options.member};
  // A later life has a higher number, as long as the wall clock is not set back below the last
  // start: then the others say "superseded" until it is right.
  DOLMEN_TRY(auto joined, node::connect(plan, {.node = self, .incarnation = env.clock->wall_ns()},
                                        options.spin));
  impl->endpoint = std::move(joined.endpoint);
  replication::MemberOptions member_options{.addresses = plan.addresses};
  // A leader is heard by everybody more often than that.
  constexpr std::chrono::microseconds kSpareMax = std::chrono::seconds(1);
  const auto spare = std::clamp(options.spare, std::chrono::microseconds(0), kSpareMax);
  member_options.undecided_bytes_max = options.area_bytes / 4;
  member_options.replica.witnesses_are_memory = !plan.shared_directory.empty();
  member_options.replica.spare_ns = static_cast<std::uint64_t>(spare.count()) * 1000;
  member_options.replica.lease_ns = static_cast<std::uint64_t>(options.lease.count()) * 1'000'000;
  member_options.replica.drift_ppm = options.clock_drift_ppm;
  if (joined.tcp != nullptr) {
    member_options.on_addresses = [endpoint = joined.tcp,
                                   self](const replication::Addresses& addresses) {
      // What is no peer was left out; there is nothing else that could be wrong.
      (void)endpoint->set_peers(node::peers_at(addresses, self));
    };
  }
  impl->member = std::make_unique<replication::Member>(env, *impl->endpoint, std::move(journal),
                                                       member_options);
  return impl;
}

Replicated::Replicated(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Replicated::Replicated(Replicated&&) noexcept = default;
Replicated& Replicated::operator=(Replicated&&) noexcept = default;
Replicated::~Replicated() = default;

Result<void> Replicated::run() {
  if (impl_->memory_witness) return run_until(impl_->is_stopping, *impl_->memory_witness);
  DOLMEN_CHECK(run_until(impl_->is_stopping, *impl_->member));
  DOLMEN_CHECK(node::hand_over(*sys::linux_env().clock, *impl_->member, *impl_->member));
  return impl_->member->close();
}

void Replicated::stop() noexcept {
  impl_->is_stopping = true;
  impl_->endpoint->wake();
}

}  // namespace dolmen
