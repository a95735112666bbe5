// SPDX-License-Identifier: Apache-2.0
#include "cluster/root.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "base/hooks.hpp"

namespace dolmen::cluster {

bool is_word(std::string_view text, std::size_t most) noexcept {
  return !text.empty() && text.size() <= most && std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte <= 0x20 || byte == 0x7F;
  });
}

std::string_view text(RootStatus status) noexcept {
  switch (status) {
    case RootStatus::done:
      return "done";
    case RootStatus::unchanged:
      return "it was so before";
    case RootStatus::not_begun:
      return "the cluster has not begun";
    case RootStatus::begun:
      return "this is another cluster";
    case RootStatus::invalid:
      return "a name, an address or a number is none";
    case RootStatus::name_taken:
      return "the name is taken";
    case RootStatus::identity_taken:
      return "another node has this key, or had it";
    case RootStatus::unknown_node:
      return "there is no such node";
    case RootStatus::removed:
      return "the node was removed";
    case RootStatus::has_seats:
      return "the node is a member of a group yet; drain it first";
    case RootStatus::unknown_group:
      return "there is no such group";
    case RootStatus::under_way:
      return "another change of the group is under way";
    case RootStatus::unavailable:
      return "the node is draining or lost";
    case RootStatus::is_member:
      return "the node is a member already";
    case RootStatus::no_member:
      return "the node is no member";
    case RootStatus::too_few:
      return "the group would have too few members";
    case RootStatus::no_majority:
      return "of the members too few are there";
    case RootStatus::no_nodes:
      return "no node is there to take a seat";
    case RootStatus::full:
      return "there are as many as there may be";
    case RootStatus::unknown_shard:
      return "there is no such shard";
    case RootStatus::wrong_kind:
      return "the group is of another kind";
    case RootStatus::other_change:
      return "that change is not under way";
    case RootStatus::outdated:
      return "something later is known";
    case RootStatus::not_signed:
      return "who is trusted, or is no more, is signed by the cluster's owner; who joins by its "
             "token's key";
    case RootStatus::unknown_token:
      return "this cluster does not know the token";
    case RootStatus::token_used:
      return "the token was used";
    case RootStatus::unknown_client:
      return "there is no such client";
    case RootStatus::too_many:
      return "this client has made as many groups as it may";
    case RootStatus::shard_taken:
      return "another group serves the shard";
    case RootStatus::other_shards:
      return "the cluster has a directory of another number of shards";
    case RootStatus::last_client:
      return "nobody else could do anything afterwards: first add another client with the rights "
             "of the owner";
  }
  return "a reason that this program does not know";
}

std::string directory_name(std::uint32_t shard) { return "directory-" + std::to_string(shard); }

bool RootState::has_directory() const noexcept {
  return std::ranges::any_of(shards_, [](GroupNumber group) { return group != 0; });
}

const RootNode* RootState::node(NodeNumber number) const {
  const auto found = nodes_.find(number);
  if (found == nodes_.end() || found->second.state == NodeState::removed) return nullptr;
  return &found->second;
}

const RootGroup* RootState::group(GroupNumber number) const {
  const auto found = groups_.find(number);
  return found == groups_.end() ? nullptr : &found->second;
}

GroupNumber RootState::group_named(std::string_view name) const {
  if (name.empty()) return 0;
  for (const auto& [number, group] : groups_) {
    if (group.name == name) return number;
  }
  return 0;
}

std::vector<GroupNumber> RootState::index_named(std::string_view name) const {
  std::map<std::uint32_t, GroupNumber> found;
  std::uint32_t shards = 1;
  for (const auto& [number, group] : groups_) {
    if (!group.shape || index_of_shard(group.name, group.shape->shard) != name) continue;
    found.emplace(group.shape->shard, number);
    shards = group.shape->shards;
  }
  if (name.empty() || found.size() != shards) return {};
  std::vector<GroupNumber> all;
  for (const auto& [shard, number] : found) all.push_back(number);
  return all;
}

NodeNumber RootState::node_named(std::string_view name) const {
  for (const auto& [number, node] : nodes_) {
    if (node.state != NodeState::removed && node.name == name) return number;
  }
  return 0;
}

NodeNumber RootState::node_with(const NodeIdentity& identity) const {
  if (identity == NodeIdentity{}) return 0;
  for (const auto& [number, node] : nodes_) {
    if (node.identity == identity) return number;
  }
  return 0;
}

ClientNumber RootState::client_named(std::string_view name) const {
  for (const auto& [number, client] : clients_) {
    if (number < kTokenNumbers && !client.is_spent && client.name == name) return number;
  }
  return 0;
}

bool RootState::holder_of(const NodeIdentity& key) const {
  return node_with(key) != 0 ||
         std::ranges::any_of(clients_, [&](const auto& entry) { return entry.second.key == key; });
}

bool RootState::is_available(NodeNumber number) const {
  const RootNode* const found = node(number);
  if (found == nullptr || found->is_lost) return false;
  return found->state == NodeState::active || DOLMEN_PLANTED("cluster.draining_gets_seats");
}

bool RootState::is_live(const RootGroup& group, NodeNumber member) const {
  const auto seat = group.members.find(member);
  const RootNode* const found = node(member);
  return seat != group.members.end() && found != nullptr && !found->is_lost &&
         (found->life == seat->second || DOLMEN_PLANTED("cluster.life_ignored"));
}

std::map<NodeNumber, std::size_t> RootState::seats() const {
  std::map<NodeNumber, std::size_t> counts;
  for (const auto& [number, group] : groups_) {
    const auto [add, add_life, leave, since] = group.change.value_or(GroupChange{});
    for (const auto& [member, life] : group.members) {
      if (member != leave) ++counts[member];
    }
    if (add != 0) ++counts[add];
  }
  return counts;
}

std::vector<NodeNumber> RootState::least_loaded(
    std::size_t size, const std::map<NodeNumber, std::size_t>& counts) const {
  struct Load {
    std::size_t seats;
    std::uint32_t weight;
    NodeNumber number;
  };
  std::vector<Load> loads;
  for (const auto& [number, node] : nodes_) {
    if (!is_available(number)) continue;
    const auto found = counts.find(number);
    loads.push_back({found == counts.end() ? 0 : found->second, node.weight, number});
  }
  std::ranges::sort(loads, [](const Load& a, const Load& b) {
    if (is_less_loaded(a.seats, a.weight, b.seats, b.weight)) return true;
    if (is_less_loaded(b.seats, b.weight, a.seats, a.weight)) return false;
    return a.number < b.number;
  });
  std::vector<NodeNumber> numbers;
  for (const Load& load : loads) {
    if (numbers.size() == size) break;
    numbers.push_back(load.number);
  }
  std::ranges::sort(numbers);
  return numbers;
}

bool RootState::keeps_majority(const RootGroup& group, NodeNumber add, NodeNumber leave) const {
  const auto& members = group.members;
  const auto live =
      static_cast<std::size_t>(std::ranges::count_if(members, [&](const auto& member) {
        return is_live(group, member.first) || DOLMEN_PLANTED("cluster.lost_counted");
      }));
  const bool is_same = add == leave;
  const std::size_t added = add != 0 ? 1 : 0;
  const std::size_t leaving_live = !is_same && leave != 0 && is_live(group, leave) ? 1 : 0;
  const std::size_t between = members.size() + (is_same ? 0 : added);
  const std::size_t behind = between - (!is_same && leave != 0 ? 1 : 0);
  return live >= majority_of(members.size()) && live + added >= majority_of(between) &&
         live + added - leaving_live >= majority_of(behind);
}

RootReply RootState::judge(const root::BeginChange& change) const {
  const auto& [number, add, leave] = change;
  const RootGroup* const group = this->group(number);
  if (group == nullptr) return {RootStatus::unknown_group};
  if (group->change && !DOLMEN_PLANTED("cluster.second_change")) {
    return {RootStatus::under_way, group->change->since};
  }
  if (add == 0 && leave == 0) return {RootStatus::invalid};
  const auto& members = group->members;
  if (leave != 0 && !members.contains(leave)) return {RootStatus::no_member};
  const bool is_same = add == leave;
  if (add != 0) {
    if (node(add) == nullptr) {
      return {nodes_.contains(add) ? RootStatus::removed : RootStatus::unknown_node};
    }
    if (!is_available(add)) return {RootStatus::unavailable};
    if (members.contains(add) && (!is_same || is_live(*group, add))) {
      return {RootStatus::is_member};
    }
    if (!is_same && members.size() >= kGroupMembersMax) return {RootStatus::full};
  } else if (members.size() <= group->size) {
    return {RootStatus::too_few};
  }
  if (!keeps_majority(*group, add, leave)) return {RootStatus::no_majority};
  return {RootStatus::done};
}

}  // namespace dolmen::cluster
