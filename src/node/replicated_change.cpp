// SPDX-License-Identifier: Apache-2.0
//
// Changing the members of a group from outside: what the leader is asked for, step by step.
#include <algorithm>

#include "node/places.hpp"
#include "node/replicated_client.hpp"

namespace dolmen {

namespace {

using replication::Change;
using replication::ChangeKind;
using replication::ChangeStatus;
using replication::EnvelopeKind;

/// Between two looks at how far something is.
constexpr std::uint64_t kLookNs = 50'000'000;
/// For so long another change, or voters that are away, may be about to be over.
constexpr std::uint64_t kWayNs = 5'000'000'000;

void tell(const ReplicatedProgressSink& progress, log::ReplicaId id, const char* doing,
          std::uint64_t entries = 0) {
  if (progress) progress({.member = node::member_of(id), .doing = doing, .entries = entries});
}

/// The replica of this node among `ids`; 0: none.
log::ReplicaId of_node(const std::vector<log::ReplicaId>& ids, fabric::NodeId node) {
  const auto found = std::ranges::find(ids, node, replication::node_of);
  return found == ids.end() ? log::ReplicaId{} : *found;
}

}  // namespace

Result<log::Configuration> ReplicatedClient::Impl::members_now(std::uint64_t deadline_ns) {
  roster.configuration.reset();
  bool is_first = true;
  while (now_ns() < deadline_ns) {
    DOLMEN_CHECK(look_after_roster(std::exchange(is_first, false)));
    if (roster.configuration) {
      DOLMEN_CHECK(know_nodes());
      return *roster.configuration;
    }
    DOLMEN_CHECK(poll_until(std::min(deadline_ns, now_ns() + kPauseNs)));
  }
  if (refusal) return std::unexpected(*refusal);
  return fail(Errc::timed_out, "no member of the group answered");
}

Result<log::ReplicaId> ReplicatedClient::Impl::replica_at(fabric::NodeId node,
                                                          const std::string& address,
                                                          std::uint64_t deadline_ns,
                                                          const ReplicatedProgressSink& progress) {
  if (!address.empty()) {
    DOLMEN_CHECK(node::address(address));
    // Above what the group knows, which may be where it was before.
    roster.addresses.insert_or_assign(node, address);
  }
  DOLMEN_CHECK(know_nodes());
  endpoint->disconnect(node);  // it may be open to who was there before
  statuses.clear();
  std::uint64_t asked_ns = 0;
  const std::uint64_t until_ns = std::min(deadline_ns, now_ns() + 2 * kWayNs);
  while (now_ns() < until_ns) {
    if (now_ns() >= asked_ns + kLookNs) {
      asked_ns = now_ns();
      tell(progress, replication::replica_of(node, 0), "reaching");
      // It may have been started with an old list, and have to dial those that are not in it.
      (void)send(node, EnvelopeKind::roster, encode(replication::Roster{.addresses = dialled}));
      (void)send(node, EnvelopeKind::ask_status, {});
    }
    DOLMEN_CHECK(poll_until(std::min(until_ns, now_ns() + kPauseNs)));
    if (const auto found = statuses.find(node); found != statuses.end()) return found->second.self;
  }
  if (refusal) return std::unexpected(*refusal);
  return fail(Errc::not_connected, "the new member does not answer: start it there first",
              static_cast<std::uint64_t>(node));
}

Result<void> ReplicatedClient::Impl::carry_out(Change change, const char* doing,
                                               std::uint64_t deadline_ns,
                                               const ReplicatedProgressSink& progress) {
  std::uint64_t in_the_way_ns = 0;  // since when something else is
  std::uint64_t lacks = 0;
  tell(progress, change.replica, doing);
  while (now_ns() < deadline_ns) {
    DOLMEN_CHECK(look_after_roster());
    change.number = ++number;
    change_reply.reset();
    DOLMEN_TRY(const bool is_answered, ask(EnvelopeKind::change, encode(change), deadline_ns,
                                           [this] { return change_reply.has_value(); }));
    if (!is_answered) {
      ask_next();
      continue;
    }
    const bool is_in_the_way = change_reply->status == ChangeStatus::busy ||
                               change_reply->status == ChangeStatus::no_majority;
    if (!is_in_the_way) in_the_way_ns = 0;
    if (is_in_the_way && in_the_way_ns == 0) in_the_way_ns = now_ns();
    const bool is_for_long = is_in_the_way && now_ns() > in_the_way_ns + kWayNs;
    switch (change_reply->status) {
      case ChangeStatus::done:
        return {};
      case ChangeStatus::under_way:
        DOLMEN_CHECK(pause(deadline_ns));
        break;
      case ChangeStatus::not_leader:
        if (ask_who_leads(change_reply->value)) break;
        ask_next();
        DOLMEN_CHECK(pause(deadline_ns));
        break;
      case ChangeStatus::busy:
        if (is_for_long) {
          return fail(Errc::busy,
                      "another change of members is under way: let it end, or repeat it");
        }
        DOLMEN_CHECK(pause(deadline_ns));
        break;
      case ChangeStatus::no_majority:
        if (is_for_long) {
          return fail(Errc::not_connected,
                      "of those who would vote no majority is there and up to date: start them");
        }
        DOLMEN_CHECK(pause(deadline_ns, kLookNs));
        break;
      case ChangeStatus::behind:
        lacks = change_reply->value;
        tell(progress, change.replica, "catching up", lacks);
        DOLMEN_CHECK(pause(deadline_ns, kLookNs));
        break;
      case ChangeStatus::unknown:
        return fail(Errc::not_found, "the new member was taken out meanwhile: begin again");
      case ChangeStatus::last_voter:
        return fail(Errc::invalid_argument, "the last member that votes: add another one first");
      case ChangeStatus::founder:
        return fail(Errc::invalid_argument,
                    "the new member was not made to join: make its directory with --joins");
      case ChangeStatus::full:
        return fail(Errc::invalid_argument, "as many members as there may be", log::kMembersMax);
    }
  }
  if (refusal) return std::unexpected(*refusal);
  if (lacks != 0) {
    return fail(Errc::timed_out, "the new member lacks entries yet: repeat, and it goes on", lacks);
  }
  return fail(Errc::timed_out, "no leader of the group carried it out: is a majority there?");
}

Result<void> ReplicatedClient::Impl::take_in(const log::Configuration& now, log::ReplicaId id,
                                             log::ReplicaId instead, const std::string& address,
                                             std::uint64_t deadline_ns,
                                             const ReplicatedProgressSink& progress) {
  // One that came as far as this before, and was lost again.
  const log::ReplicaId lost = of_node(now.learners, replication::node_of(id));
  if (lost != log::ReplicaId{} && lost != id) {
    DOLMEN_CHECK(
        carry_out({.kind = ChangeKind::leave, .replica = lost}, "leaving", deadline_ns, progress));
  }
  DOLMEN_CHECK(
      carry_out({.kind = ChangeKind::learn, .replica = id, .instead = {}, .address = address},
                "learning", deadline_ns, progress));
  return carry_out({.kind = ChangeKind::vote, .replica = id, .instead = instead}, "voting",
                   deadline_ns, progress);
}

Result<void> ReplicatedClient::add_member(std::uint32_t member, const std::string& address,
                                          std::chrono::milliseconds patience,
                                          const ReplicatedProgressSink& progress) {
  const std::uint64_t deadline_ns = Impl::deadline_in(patience);
  const fabric::NodeId node{member};
  if (member == 0) return fail(Errc::invalid_argument, "a member's number", member);
  DOLMEN_TRY(const std::string place, node::place_of(*sys::linux_env().network, address));
  DOLMEN_TRY(const log::Configuration now, impl_->members_now(deadline_ns));
  if (of_node(now.voters, node) != log::ReplicaId{}) {
    return fail(Errc::already_exists, "a member with this number, which votes", member);
  }
  DOLMEN_TRY(const log::ReplicaId id, impl_->replica_at(node, place, deadline_ns, progress));
  return impl_->take_in(now, id, {}, place, deadline_ns, progress);
}

Result<void> ReplicatedClient::remove_member(std::uint32_t member,
                                             std::chrono::milliseconds patience,
                                             const ReplicatedProgressSink& progress) {
  const std::uint64_t deadline_ns = Impl::deadline_in(patience);
  const fabric::NodeId node{member};
  DOLMEN_TRY(const log::Configuration now, impl_->members_now(deadline_ns));
  bool is_known = false;
  for (const auto& ids : {now.learners, now.voters}) {
    const log::ReplicaId id = of_node(ids, node);
    if (id == log::ReplicaId{}) continue;
    is_known = true;
    DOLMEN_CHECK(impl_->carry_out({.kind = ChangeKind::leave, .replica = id}, "leaving",
                                  deadline_ns, progress));
  }
  if (!is_known) return fail(Errc::not_found, "a member with this number", member);
  return {};
}

Result<void> ReplicatedClient::replace_member(std::uint32_t member, const std::string& address,
                                              std::chrono::milliseconds patience,
                                              const ReplicatedProgressSink& progress) {
  const std::uint64_t deadline_ns = Impl::deadline_in(patience);
  const fabric::NodeId node{member};
  std::string place;  // none: where it was
  if (!address.empty()) {
    DOLMEN_TRY(place, node::place_of(*sys::linux_env().network, address));
  }
  DOLMEN_TRY(const log::Configuration now, impl_->members_now(deadline_ns));
  const log::ReplicaId old = of_node(now.voters, node);
  if (old == log::ReplicaId{}) {
    return fail(Errc::not_found, "a member with this number, which votes", member);
  }
  DOLMEN_TRY(const log::ReplicaId id, impl_->replica_at(node, place, deadline_ns, progress));
  if (id == old) {
    return fail(Errc::already_exists,
                "the member that runs there is the one that votes, and has its disk", member);
  }
  return impl_->take_in(now, id, old, place, deadline_ns, progress);
}

}  // namespace dolmen
