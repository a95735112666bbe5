// SPDX-License-Identifier: Apache-2.0
//
// Which replicas a member has, which of them it runs, and how they are.
#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <dolmen/assert.hpp>

#include "replication/member.hpp"

namespace dolmen::replication {

Result<void> Member::host(const GroupId& group, StateMachine& machine,
                          std::optional<std::uint64_t> lease_ns) {
  return add(group, &machine, lease_ns);
}

Result<void> Member::host_witness(const GroupId& group) { return add(group, nullptr); }

Result<void> Member::add(const GroupId& group, StateMachine* machine,
                         std::optional<std::uint64_t> lease_ns) {
  const auto found = found_.find(group);
  if (found == found_.end()) return fail(Errc::not_found, "a replica of this group on this node");
  look_at_clock();
  std::array<std::byte, 8> seed{};
  env_.entropy->fill(seed);
  Hosted& hosted = found->second;
  const log::SnapshotPtr snapshot = hosted.state.snapshot;
  std::unique_ptr<SharedLanes> lanes;
  if (!journal_ && endpoint_.traits().mapped) {
    DOLMEN_TRY(lanes, SharedLanes::make(endpoint_, next_region_, group, hosted.self));
  }
  log::ReplicaOptions options = options_.replica;
  options.lease_ns = lease_ns.value_or(options.lease_ns);
  options.has_machine = machine != nullptr;
  options.has_disk = journal_ != nullptr;
  options.snapshots_refer = machine != nullptr && machine->keeps_state();
  log::Replica replica(hosted.self, hosted.first, options, hosted.state,
                       base::load<std::uint64_t>(seed), now_ns(), lanes.get());
  // One that is no member yet becomes what it was made to stand in for.
  if (machine == nullptr && !replica.is_witness() &&
      replica.deciding().back().is_voter(replica.self())) {
    return fail(Errc::invalid_argument, "a witness: the group has this member as a server");
  }
  if (machine != nullptr && replica.is_witness()) {
    return fail(Errc::invalid_argument, "a server: the group has this member as a witness");
  }
  const auto place = groups_.try_emplace(group, machine, std::move(replica), hosted.first,
                                         std::move(lanes), options_);
  DOLMEN_ASSERT(place.second);
  if (place.first->second.lanes) {
    place.first->second.writer = std::make_unique<LaneWriter>(endpoint_, group);
  }
  Hosting& hosting = place.first->second;
  hosting.cut_at = snapshot ? snapshot->last().index : 0;
  if (options.snapshots_refer) {
    hosting.server = std::make_unique<StateServer>(machine, options_.transfer);
  }
  if (hosting.executor) {
    if (const auto made = make_memory(hosting); !made) {
      groups_.erase(place.first);  // it is found yet, as before
      return made;
    }
    DOLMEN_CHECK(hosting.executor->restore(snapshot.get()));
    hosting.addresses = hosting.executor->addresses();
  }
  found_.erase(found);
  // Also of what is not known to be decided: a hint is better than none.
  const log::Replica& its = hosting.replica;
  for (log::Index i = its.base().index + 1; i <= its.end().index; ++i) {
    if (auto told = address_in(its.at(i)))
      hosting.addresses.insert_or_assign(told->first, told->second);
  }
  has_new_addresses_ = true;
  return {};
}

Result<void> Member::make(const GroupId& group, log::ReplicaId self,
                          const log::Configuration& first) {
  DOLMEN_ASSERT(journal_ != nullptr);
  DOLMEN_CHECK(journal_->add(group, self, first));
  found_.merge(journal_->take_recovered());
  return {};
}

Result<void> Member::drop(const GroupId& group) {
  DOLMEN_ASSERT(journal_ != nullptr);
  const auto hosted = groups_.find(group);
  if (hosted == groups_.end() && !found_.contains(group)) {
    return fail(Errc::not_found, "a replica of this group on this node");
  }
  DOLMEN_CHECK(journal_->remove(group));
  found_.erase(group);
  if (hosted == groups_.end()) return {};
  // Out of reach first: who is told may ask for something else at once.
  auto gone = groups_.extract(hosted);
  Hosting& hosting = gone.mapped();
  for (const Pending& pending : hosting.pending) {
    answer(group, hosting, pending, {.status = ReplyStatus::lost});
  }
  while (!hosting.requests.empty()) {
    const Waiting waiting = hosting.requests.pop(now_ns()).item;
    answer(group, hosting, waiting.pending, {.status = ReplyStatus::lost});
  }
  give_up_ahead(group, hosting, 0);
  const auto tell = [&](const Reader& reader) {
    answer_reader(group, hosting, reader, {.status = ReplyStatus::not_leader});
  };
  for (const Asking& asking : hosting.asking) tell(asking.reader);
  while (!hosting.reads.empty()) tell(hosting.reads.pop(now_ns()).item);
  // Nobody is told of it any more.
  if (!hosting.memory.empty()) retire_memory(hosting);
  return {};
}

std::vector<GroupId> Member::found() const {
  std::vector<GroupId> groups;
  for (const auto& [group, hosted] : found_) groups.push_back(group);
  return groups;
}

std::map<GroupId, log::ReplicaId> Member::replicas() const {
  std::map<GroupId, log::ReplicaId> all;
  for (const auto& [group, hosted] : found_) all.emplace(group, hosted.self);
  for (const auto& [group, hosting] : groups_) all.emplace(group, hosting.replica.self());
  return all;
}

bool Member::leads(const GroupId& group) const {
  const auto found = groups_.find(group);
  return found != groups_.end() && leads(found->second);
}

bool Member::leads(const Hosting& hosting) {
  const log::Replica& replica = hosting.replica;
  const log::Position decided = replica.stable() > replica.base().index
                                    ? replica.at(replica.stable()).position()
                                    : replica.base();
  return replica.role() == log::Role::leader && decided.origin == replica.epoch();
}

std::optional<MemberStatus> Member::status(const GroupId& group) const {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return std::nullopt;
  return status_of(found->second);
}

MemberStatus Member::status_of(const Hosting& hosting) const {
  const log::Replica& replica = hosting.replica;
  MemberStatus status{.self = replica.self(),
                      .role = replica.role(),
                      .epoch = replica.epoch(),
                      .leader = replica.leader().value_or(log::ReplicaId{}),
                      .end = replica.end(),
                      .stable = replica.stable(),
                      .applied = hosting.executor ? hosting.executor->executed() : 0,
                      .base = replica.base().index,
                      .configuration = replica.deciding().back(),
                      .level = journal_ ? Level::durable : Level::replicated};
  if (replica.role() != log::Role::leader) return status;
  const auto add = [&](log::ReplicaId id) {
    status.followers.push_back({.id = id, .matched = replica.matched(id)});
  };
  std::ranges::for_each(status.configuration.voters, add);
  std::ranges::for_each(status.configuration.learners, add);
  return status;
}

}  // namespace dolmen::replication
