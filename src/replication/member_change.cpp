// SPDX-License-Identifier: Apache-2.0
//
// Changing the members of a group, one settled step at a time, and telling where they are.
#include <algorithm>
#include <string>
#include <utility>

#include "base/hooks.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

namespace {

/// Who lacks no more than this keeps up: as a voter it will hold nobody up.
constexpr log::Index kLagMax = 256;

void insert(std::vector<log::ReplicaId>& ids, log::ReplicaId id) {
  ids.insert(std::ranges::lower_bound(ids, id), id);
}

}  // namespace

/// Whether it answers and keeps up: a leader's own knowledge.
bool Member::is_there(const Hosting& hosting, log::ReplicaId id) const {
  const log::Replica& replica = hosting.replica;
  if (id == replica.self()) return true;
  const log::Index matched = replica.matched(id);
  return matched > 0 && replica.end().index - std::min(matched, replica.end().index) <= kLagMax &&
         endpoint_.connected(node_of(id)).has_value();
}

ChangeStatus Member::propose_members(Hosting& hosting, const log::Configuration& next) {
  // Else the group would stand still with this very entry, and no other could undo it.
  const auto there =
      std::ranges::count_if(next.voters, [&](log::ReplicaId id) { return is_there(hosting, id); });
  if (2 * static_cast<std::size_t>(there) <= next.voters.size()) return ChangeStatus::no_majority;
  if (!hosting.replica.propose(now_ns(), next)) return ChangeStatus::busy;
  DOLMEN_PROBE("replication.members_changed");
  return ChangeStatus::under_way;
}

void Member::propose_addresses(Hosting& hosting, const Addresses& addresses) {
  for (const auto& [node, text] : addresses) {
    const auto known = hosting.executor->addresses().find(node);
    if (known == hosting.executor->addresses().end() ? text.empty() : known->second == text)
      continue;
    (void)hosting.replica.propose_unsent(
        encode_command(kAddressSession, static_cast<std::uint64_t>(node), base::as_bytes(text)));
  }
  hosting.replica.send_proposed(now_ns());
}

ChangeReply Member::change(const GroupId& group, const Change& change) {
  ChangeReply reply{.number = change.number, .status = ChangeStatus::not_leader};
  const auto found = groups_.find(group);
  if (found == groups_.end()) return reply;
  Hosting& hosting = found->second;
  const log::Replica& replica = hosting.replica;
  if (replica.role() != log::Role::leader) {
    if (replica.leader()) reply.value = static_cast<std::uint64_t>(node_of(*replica.leader()));
    return reply;
  }
  const log::Configuration now = replica.deciding().back();
  const ChangeStatus is_so = replica.settled() ? ChangeStatus::done : ChangeStatus::under_way;
  const bool is_voter = now.is_voter(change.replica);
  const bool is_learner = now.is_learner(change.replica);
  log::Configuration next = now;
  const auto take_out = [&](log::ReplicaId id) {
    std::erase(next.voters, id);
    std::erase(next.learners, id);
    std::erase(next.witnesses, id);
  };
  switch (change.kind) {
    case ChangeKind::learn: {
      if (is_voter || is_learner) {
        reply.status = is_so;
        return reply;
      }
      if (life_of(change.replica) == kFirstLife) {
        reply.status = ChangeStatus::founder;
        return reply;
      }
      if (now.voters.size() + now.learners.size() >= log::kMembersMax) {
        reply.status = ChangeStatus::full;
        return reply;
      }
      insert(next.learners, change.replica);
      break;
    }
    case ChangeKind::vote:
      if (is_voter && !now.is_voter(change.instead) && !now.is_learner(change.instead)) {
        reply.status = is_so;
        return reply;
      }
      if (!is_learner && !is_voter) {
        reply.status = ChangeStatus::unknown;
        return reply;
      }
      if (!is_there(hosting, change.replica)) {
        reply.status = ChangeStatus::behind;
        reply.value =
            replica.end().index - std::min(replica.matched(change.replica), replica.end().index);
        return reply;
      }
      take_out(change.replica);
      take_out(change.instead);
      insert(next.voters, change.replica);
      if (now.is_witness(change.instead)) insert(next.witnesses, change.replica);
      break;
    case ChangeKind::leave:
      if (!is_voter && !is_learner) {
        reply.status = is_so;
        const auto is_of_node = [&](log::ReplicaId id) {
          return node_of(id) == node_of(change.replica);
        };
        if (is_so == ChangeStatus::done && std::ranges::none_of(now.voters, is_of_node) &&
            std::ranges::none_of(now.learners, is_of_node)) {
          propose_addresses(hosting, {{node_of(change.replica), ""}});
        }
        return reply;
      }
      if (is_voter &&
          now.voters.size() == now.witnesses.size() + (now.is_witness(change.replica) ? 0 : 1)) {
        reply.status = ChangeStatus::last_voter;
        return reply;
      }
      take_out(change.replica);
      break;
  }
  if (!replica.settled()) {
    reply.status = ChangeStatus::busy;
    return reply;
  }
  if (change.kind == ChangeKind::learn) {
    // All of them, so that the log alone says where everybody is.
    Addresses addresses = addresses_of(hosting);
    if (!change.address.empty()) addresses[node_of(change.replica)] = change.address;
    propose_addresses(hosting, addresses);
  }
  reply.status = propose_members(hosting, next);
  return reply;
}

/// Of the group's members.
Addresses Member::addresses_of(const Hosting& hosting) const {
  Addresses addresses;
  const auto add = [&](log::ReplicaId id) {
    const fabric::NodeId node = node_of(id);
    if (const auto said = hosting.addresses.find(node); said != hosting.addresses.end()) {
      addresses.insert_or_assign(node, said->second);
    } else if (const auto given = options_.addresses.find(node);
               given != options_.addresses.end()) {
      addresses.insert_or_assign(node, given->second);
    }
  };
  for (const log::Configuration& configuration : hosting.replica.deciding()) {
    std::ranges::for_each(configuration.voters, add);
    std::ranges::for_each(configuration.learners, add);
  }
  return addresses;
}

Roster Member::roster(const GroupId& group) const {
  Roster roster;
  for (const auto& [hosted, hosting] : groups_) roster.groups.push_back(hosted);
  const auto found = groups_.find(group);
  if (found == groups_.end()) return roster;
  const Hosting& hosting = found->second;
  roster.as_of = hosting.replica.stable();
  roster.is_settled = hosting.replica.settled();
  roster.configuration = hosting.replica.deciding().back();
  roster.addresses = addresses_of(hosting);
  return roster;
}

void Member::hear_addresses(const Hosting& hosting, const Addresses& addresses) {
  for (const auto& [node, text] : addresses) {
    if (text.empty() || hosting.addresses.contains(node)) continue;
    if (heard_.size() >= kAddressesMax && !heard_.contains(node)) return;
    std::string& known = heard_[node];
    if (known == text) continue;
    known = text;
    has_new_addresses_ = true;
  }
}

void Member::tell_addresses() {
  if (!options_.on_addresses) return;
  Addresses all = options_.addresses;
  for (const auto& [node, text] : heard_) all.insert_or_assign(node, text);
  for (const auto& [group, hosting] : groups_) {
    for (const auto& [node, text] : hosting.addresses) {
      if (!text.empty()) all.insert_or_assign(node, text);
    }
  }
  // Forgotten where no group says otherwise.
  for (const auto& [group, hosting] : groups_) {
    for (const auto& [node, text] : hosting.addresses) {
      const bool is_said = std::ranges::any_of(groups_, [&](const auto& other) {
        const auto said = other.second.addresses.find(node);
        return said != other.second.addresses.end() && !said->second.empty();
      });
      if (!is_said) all.erase(node);
    }
  }
  options_.on_addresses(all);
}

}  // namespace dolmen::replication
