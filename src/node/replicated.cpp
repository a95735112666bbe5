// SPDX-License-Identifier: Apache-2.0
//
// A member: its journal, its endpoint and its loop.
#include <array>
#include <atomic>
#include <set>
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
  log::Configuration first = node::first_members(plan);
  const fabric::NodeId self{options.member};
  log::ReplicaId replica = replication::replica_of(self, replication::kFirstLife);
  if (options.joins) {
    std::erase(first.voters, replica);
    if (first.voters.empty()) return fail(Errc::invalid_argument, "members: nobody to join");
    replica = replication::replica_of(self, new_life(*sys::linux_env().entropy));
  }
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(auto disk, sys::open_directory(options.directory, sys::DirectoryMode::open_or_create));
  DOLMEN_TRY(const auto names, disk->list());
  if (!names.empty()) return fail(Errc::already_exists, interned(options.directory));
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
  DOLMEN_TRY(const node::GroupPlan plan, plan_of(options));
  std::set<std::uint64_t> numbers;
  for (const auto& [number, machine] : machines) {
    const bool is_new = numbers.insert(number).second;
    if (machine == nullptr || number == 0 || !is_new) {
      return fail(Errc::invalid_argument, "a group and its state machine", number);
    }
  }
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
      .listen = plan.find(options.member)->address,
      .wait = {.spin_ns = static_cast<std::uint64_t>(options.spin.count()) * 1000}};
  for (const fabric::TcpPeer& peer : plan.members) {
    if (peer.node != self) tcp.peers.push_back(peer);
  }
  auto impl = std::make_unique<Impl>();
  DOLMEN_TRY(impl->endpoint,
             fabric::TcpEndpoint::make(
                 tcp, {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  replication::MemberOptions member_options{.addresses = plan.addresses};
  member_options.on_addresses = [endpoint = impl->endpoint.get(),
                                 self](const replication::Addresses& addresses) {
    // What is no peer was left out; there is nothing else that could be wrong.
    (void)endpoint->set_peers(node::peers_at(addresses, self));
  };
  impl->member = std::make_unique<replication::Member>(env, *impl->endpoint, std::move(journal),
                                                       member_options);
  for (const auto& [number, machine] : machines) {
    const auto hosted = impl->member->host(node::group_of(number), *machine);
    if (!hosted) return fail(hosted.error().code(), interned(hosted.error().context()), number);
    const auto status = impl->member->status(node::group_of(number));
    if (node::member_of(status->self) != options.member) {
      return fail(Errc::invalid_argument,
                  interned(options.directory + ": of another member, with this number"),
                  node::member_of(status->self));
    }
  }
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
