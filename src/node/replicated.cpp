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
  std::unique_ptr<fabric::TcpEndpoint> endpoint;
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
  DOLMEN_TRY(const auto names, disk->list());
  if (names.empty()) {
    return fail(Errc::not_found, interned(options.directory + ": an empty directory, no member"));
  }
  DOLMEN_TRY(auto journal, replication::Journal::open(env, std::move(disk), {}));

  const fabric::NodeId self{options.member};
  fabric::TcpOptions tcp{
      // A later life has a higher number, as long as the wall clock is not set back below the
      // last start: then the others say "superseded" until it is right.
      .self = {.node = self, .incarnation = env.clock->wall_ns()},
      .key = plan.key,
      .listen = plan.members[options.member - 1].address,
      .wait = {.spin_ns = static_cast<std::uint64_t>(options.spin.count()) * 1000}};
  for (const fabric::TcpPeer& peer : plan.members) {
    if (peer.node != self) tcp.peers.push_back(peer);
  }
  auto impl = std::make_unique<Impl>();
  DOLMEN_TRY(impl->endpoint,
             fabric::TcpEndpoint::make(
                 tcp, {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  impl->member = std::make_unique<replication::Member>(env, *impl->endpoint, std::move(journal),
                                                       replication::MemberOptions{});
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
  return impl_->member->journal().close();
}

void Replicated::stop() noexcept {
  impl_->is_stopping = true;
  impl_->endpoint->wake();
}

}  // namespace dolmen
