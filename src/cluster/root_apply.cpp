// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "cluster/root.hpp"

namespace dolmen::cluster {

namespace {

constexpr RootReply kUnchanged{RootStatus::unchanged};

bool is_address(std::string_view text) { return is_word(text, kNodeAddressBytesMax); }
bool is_weight(std::uint32_t weight) { return weight >= 1 && weight <= kNodeWeightMax; }
bool is_size(std::uint32_t size) { return size >= 1 && size <= kGroupSizeMax; }
bool is_group_name(std::string_view name) {
  return name.empty() || is_word(name, kGroupNameBytesMax);
}

}  // namespace

/// One command. Each overload refuses before it changes anything, and says `done` only if it did.
struct RootExecutor {
  RootState& state;
  log::Index index = 0;
  ClientNumber client = 0;  ///< whose command it is

  RootReply operator()(const root::Init& init) {
    if (state.is_begun()) {
      return {init.cluster == state.cluster_ ? RootStatus::unchanged : RootStatus::begun};
    }
    if (init.cluster.is_null() || init.nodes.empty() || !is_size(init.size) ||
        init.nodes.size() > kGroupMembersMax || init.shard_bits > kShardBitsMax ||
        init.lease_ms > kGroupLeaseMsMax) {
      return {RootStatus::invalid};
    }
    // Built aside: what is refused leaves no trace.
    RootState begun;
    RootGroup group{.kind = GroupKind::root, .name = "root", .size = init.size};
    for (const root::Founder& founder : init.nodes) {
      RootExecutor executor{begun, index};
      const RootReply reply = executor.add({.name = founder.name,
                                            .address = founder.address,
                                            .identity = founder.identity,
                                            .weight = 1});
      if (reply.status != RootStatus::done) return reply;
      const auto number = static_cast<NodeNumber>(reply.value);
      group.members.emplace(number, NodeLife{0});
      group.founders.push_back(number);
    }
    begun.owner_ = init.owner;
    for (const root::FirstClient& first : init.clients) {
      RootExecutor executor{begun, index};
      const RootReply reply = executor(root::AddClient{
          .client = first.client, .name = first.name, .key = first.key, .rights = first.rights});
      if (reply.status != RootStatus::done) return reply;
    }
    if (begun.holder_of(begun.owner_)) return {RootStatus::identity_taken};
    begun.cluster_ = init.cluster;
    begun.lease_ms_ = init.lease_ms;
    begun.next_group_ = kRootGroup + 1;
    begun.groups_.emplace(kRootGroup, std::move(group));
    begun.shards_.assign(std::size_t{1} << init.shard_bits, 0);
    state = std::move(begun);
    return {};
  }

  RootReply operator()(const root::AddNode& command) {
    if (state.owner_ != NodeIdentity{}) return {RootStatus::not_signed};
    const NodeNumber known = state.node_with(command.identity);
    const NodeNumber named = state.node_named(command.name);
    // Who has no key is known by its name alone.
    const bool is_again = named != 0 && state.nodes_.at(named).identity == command.identity;
    if (!is_again) return add(command);
    DOLMEN_ASSERT(known == 0 || known == named);
    if (!is_address(command.address) || !is_weight(command.weight)) return {RootStatus::invalid};
    RootNode& node = state.nodes_.at(named);
    const bool is_same = node.address == command.address && node.weight == command.weight;
    node.address = command.address;
    node.weight = command.weight;
    return {is_same ? RootStatus::unchanged : RootStatus::done, named};
  }

  RootReply operator()(const root::AddClient& command) {
    const bool is_token = command.client >= kTokenNumbers;
    if (command.client == 0 || !is_word(command.name, kNodeNameBytesMax) ||
        command.key == NodeIdentity{} || is_token != (command.expires_s != 0) ||
        command.generation == 0 || (is_token && command.rights != ClientRights::none)) {
      return {RootStatus::invalid};
    }
    const RootClient told{.name = command.name,
                          .key = command.key,
                          .expires_s = command.expires_s,
                          .rights = command.rights,
                          .generation = command.generation,
                          .groups_max = command.groups_max};
    if (const auto found = state.clients_.find(command.client); found != state.clients_.end()) {
      // Also of one that was used or revoked: it does not come back.
      if (found->second == told) return kUnchanged;
      return grant(found->second, told, command.client);
    }
    if (command.generation != 1) return {RootStatus::outdated};
    if (command.key == state.owner_ || state.holder_of(command.key)) {
      return {RootStatus::identity_taken};
    }
    const auto first_token = state.clients_.lower_bound(kTokenNumbers);
    const auto tokens = static_cast<std::size_t>(std::distance(first_token, state.clients_.end()));
    if (!is_token) {
      if (state.client_named(command.name) != 0) return {RootStatus::name_taken};
      if (state.clients_.size() - tokens >= kClientsMax) return {RootStatus::full};
      state.clients_.emplace(command.client, told);
      return {RootStatus::done, command.client};
    }
    // The number is the token's from here on; if nobody uses it, nobody gets it.
    if (command.client - kTokenNumbers != state.next_node_) {
      return {RootStatus::outdated, state.next_node_};
    }
    if (count_removed() + kNodesMax <= state.nodes_.size() ||
        state.next_node_ >= kTokenNumbers - 1) {
      return {RootStatus::full};
    }
    if (tokens >= kRootTokensMax) state.clients_.erase(first_token);
    ++state.next_node_;
    state.clients_.emplace(command.client, told);
    return {RootStatus::done, command.client};
  }

  RootReply operator()(const root::RevokeClient& command) {
    const auto found = state.clients_.find(command.client);
    if (found == state.clients_.end()) return {RootStatus::unknown_client};
    if (command.client >= kTokenNumbers) {
      state.clients_.erase(found);
      return {};
    }
    if (found->second.is_spent) return kUnchanged;
    if (is_last_with_rights(command.client)) return {RootStatus::last_client};
    found->second.is_spent = true;
    return {};
  }

  RootReply operator()(const root::Join& command) {
    const auto token = state.clients_.find(command.token);
    if (command.token < kTokenNumbers || token == state.clients_.end()) {
      return {RootStatus::unknown_token};
    }
    const NodeNumber number = command.token - kTokenNumbers;
    if (token->second.is_spent) {
      const RootNode* const node = state.node(number);
      const bool is_again = node != nullptr && node->identity == command.identity;
      return {is_again ? RootStatus::unchanged : RootStatus::token_used, number};
    }
    if (command.identity == NodeIdentity{}) return {RootStatus::invalid};
    if (command.identity == state.owner_ || state.holder_of(command.identity)) {
      return {RootStatus::identity_taken};
    }
    const RootReply reply = add({.name = command.name,
                                 .address = command.address,
                                 .identity = command.identity,
                                 .weight = 1},
                                number);
    if (reply.status == RootStatus::done) token->second.is_spent = true;
    return reply;
  }

  RootReply operator()(const root::SetAddress& command) {
    if (!is_address(command.address)) return {RootStatus::invalid};
    return change(command.node, [&](RootNode& node) { node.address = command.address; });
  }
  RootReply operator()(const root::NodeLost& command) {
    return change(command.node, [](RootNode& node) { node.is_lost = true; });
  }
  RootReply operator()(const root::NodeBack& command) {
    return change(command.node, [](RootNode& node) { node.is_lost = false; });
  }
  RootReply operator()(const root::Drain& command) {
    return change(command.node, [](RootNode& node) { node.state = NodeState::draining; });
  }
  RootReply operator()(const root::Undrain& command) {
    return change(command.node, [](RootNode& node) { node.state = NodeState::active; });
  }

  RootReply operator()(const root::SetLife& command) {
    if (command.life == 0 || command.life == kGoneLife) return {RootStatus::invalid};
    const RootNode* const node = state.node(command.node);
    const bool is_first = node != nullptr && node->life == 0;
    const RootReply reply =
        change(command.node, [&](RootNode& changed) { changed.life = command.life; });
    if (reply.status != RootStatus::done || !is_first) return reply;
    for (auto& [number, group] : state.groups_) {
      const auto seat = group.members.find(command.node);
      if (seat != group.members.end()) seat->second = command.life;
      if (group.change && group.change->add == command.node) group.change->add_life = command.life;
    }
    return reply;
  }

  RootReply operator()(const root::RemoveNode& command) {
    const auto found = state.nodes_.find(command.node);
    if (found == state.nodes_.end()) return {RootStatus::unknown_node};
    if (found->second.state == NodeState::removed) return kUnchanged;
    for (const auto& [number, group] : state.groups_) {
      if (group.members.contains(command.node) ||
          (group.change && group.change->add == command.node)) {
        return {RootStatus::has_seats, number};
      }
    }
    found->second = {.name = std::move(found->second.name),
                     .identity = found->second.identity,
                     .state = NodeState::removed};
    forget_oldest_removed();
    if (DOLMEN_PLANTED("cluster.number_again") && command.node + 1 == state.next_node_) {
      state.nodes_.erase(command.node);
      state.next_node_ = command.node;
    }
    return {};
  }

  RootReply operator()(const root::CreateGroup& command) {
    if (command.kind == GroupKind::root) return {RootStatus::wrong_kind};
    if (!is_size(command.size) || !is_group_name(command.name)) return {RootStatus::invalid};
    if (const GroupNumber taken = state.group_named(command.name)) {
      return {RootStatus::name_taken, taken};
    }
    if (state.groups_.size() >= kGroupsMax) return {RootStatus::full};
    RootGroup group{.kind = command.kind, .name = command.name, .size = command.size};
    if (const auto most = groups_left(1)) return *most;
    auto seats = state.seats();
    if (state.least_loaded(command.size, seats).empty()) return {RootStatus::no_nodes};
    return {RootStatus::done, add(std::move(group), seats)};
  }

  RootReply operator()(const root::CreateIndex& command) {
    const IndexShape shape{.shards = command.shards,
                           .seed = command.seed,
                           .bucket_bytes = command.bucket_bytes,
                           .record_bytes = command.record_bytes,
                           .table = command.table};
    const bool is_ordered = command.table == TableKind::ordered;
    if (command.splits.size() + 1 != (is_ordered ? command.shards : 1) ||
        !are_splits(command.splits)) {
      return {RootStatus::invalid};
    }
    if (!is_size(command.size) || !is_index_name(command.name) || !shape.is_possible()) {
      return {RootStatus::invalid};
    }
    if (const GroupNumber taken = state.group_named(shard_name(command.name, 0))) {
      IndexShape known = state.groups_.at(taken).shape.value_or(IndexShape{});
      known.seed = shape.seed;
      const bool is_again = known == shape && are_those_of(command.name, command.splits);
      return {is_again ? RootStatus::unchanged : RootStatus::name_taken, taken};
    }
    std::map<std::string_view, GroupNumber> names;
    for (const auto& [number, group] : state.groups_) names.emplace(group.name, number);
    for (std::uint32_t shard = 1; shard < command.shards; ++shard) {
      const auto taken = names.find(shard_name(command.name, shard));
      if (taken != names.end()) return {RootStatus::name_taken, taken->second};
    }
    if (state.groups_.size() + command.shards > kGroupsMax) return {RootStatus::full};
    if (const auto most = groups_left(command.shards)) return *most;
    auto seats = state.seats();
    if (state.least_loaded(command.size, seats).empty()) return {RootStatus::no_nodes};
    const GroupNumber first = state.next_group_;
    for (std::uint32_t shard = 0; shard < command.shards; ++shard) {
      RootGroup group{.kind = GroupKind::index,
                      .name = shard_name(command.name, shard),
                      .size = command.size,
                      .shape = shape};
      group.shape->shard = shard;
      if (is_ordered && shard > 0) group.shape->from = command.splits[shard - 1];
      add(std::move(group), seats);
    }
    return {RootStatus::done, first};
  }

  RootReply operator()(const root::SetSize& command) {
    const auto found = state.groups_.find(command.group);
    if (found == state.groups_.end()) return {RootStatus::unknown_group};
    if (!is_size(command.size)) return {RootStatus::invalid};
    if (found->second.size == command.size) return kUnchanged;
    found->second.size = command.size;
    return {};
  }

  RootReply operator()(const root::BeginChange& command) {
    const RootReply reply = state.judge(command);
    if (reply.status != RootStatus::done) return reply;
    state.groups_.at(command.group).change = {
        .add = command.add,
        .add_life = command.add == 0 ? NodeLife{0} : state.nodes_.at(command.add).life,
        .leave = command.leave,
        .since = index};
    return {RootStatus::done, index};
  }

  RootReply operator()(const root::EndChange& command) {
    const auto found = state.groups_.find(command.group);
    if (found == state.groups_.end()) return {RootStatus::unknown_group};
    RootGroup& group = found->second;
    const log::Index since = group.change ? group.change->since : 0;
    if (command.since != since && !DOLMEN_PLANTED("cluster.any_change_ended")) {
      return {RootStatus::other_change, since};
    }
    if (const RootStatus status = judge(group, command); status != RootStatus::done) {
      return {status};
    }
    std::map<NodeNumber, NodeLife> members;
    for (const auto& [number, life] : command.members) {
      members.emplace_hint(members.end(), number,
                           life != 0 ? life : believed_life(group, number, command.is_done));
    }
    if (!group.change && members == group.members) return kUnchanged;
    group.members = std::move(members);
    group.as_of = command.as_of;
    group.change.reset();
    return {};
  }

  RootReply operator()(const root::AssignShard& command) {
    if (command.shard >= state.shards_.size()) return {RootStatus::unknown_shard};
    if (command.group != 0) {
      const RootGroup* const group = state.group(command.group);
      if (group == nullptr) return {RootStatus::unknown_group};
      if (!group->is_directory()) return {RootStatus::wrong_kind};
    }
    if (state.shards_[command.shard] == command.group) return kUnchanged;
    if (client != 0 && state.shards_[command.shard] != 0) {
      return {RootStatus::shard_taken, state.shards_[command.shard]};
    }
    state.shards_[command.shard] = command.group;
    return {};
  }

  RootReply operator()(const root::CreateDirectory& command) {
    if (command.bits > kDirectoryBitsMax || !is_size(command.size)) return {RootStatus::invalid};
    const std::size_t count = std::size_t{1} << command.bits;
    std::vector<GroupNumber> shards = state.shards_;
    if (shards.size() != count && state.has_directory()) {
      return {RootStatus::other_shards, shards.size()};
    }
    shards.resize(count, 0);
    std::map<std::string_view, GroupNumber> names;
    for (const auto& [number, group] : state.groups_) names.emplace(group.name, number);
    std::vector<std::uint32_t> missing;
    std::vector<GroupNumber> taken;
    for (std::uint32_t shard = 0; shard < count; ++shard) {
      if (shards[shard] != 0) continue;
      const auto named = names.find(directory_name(shard));
      if (named == names.end()) {
        missing.push_back(shard);
        continue;
      }
      const GroupNumber number = named->second;
      const bool is_free = state.groups_.at(number).is_directory() &&
                           std::ranges::find(shards, number) == shards.end();
      if (!is_free) return {RootStatus::name_taken, number};
      shards[shard] = number;
      taken.push_back(number);
    }
    if (state.groups_.size() + missing.size() > kGroupsMax) return {RootStatus::full};
    if (!missing.empty()) {
      if (const auto most = groups_left(missing.size())) return *most;
    }
    auto seats = state.seats();
    if (!missing.empty() && state.least_loaded(command.size, seats).empty()) {
      return {RootStatus::no_nodes};
    }
    for (const std::uint32_t shard : missing) {
      shards[shard] = add(
          {.kind = GroupKind::index, .name = directory_name(shard), .size = command.size}, seats);
    }
    // Whoever made it, what the directory says is kept by as many as was asked for.
    for (const GroupNumber number : taken) {
      RootGroup& group = state.groups_.at(number);
      group.size = std::max(group.size, command.size);
    }
    if (shards == state.shards_) return {RootStatus::unchanged, shards.front()};
    state.shards_ = std::move(shards);
    return {RootStatus::done, state.shards_.front()};
  }

  RootReply operator()(const root::ReleaseName& command) {
    const auto found = state.groups_.find(command.group);
    if (found == state.groups_.end()) return {RootStatus::unknown_group};
    if (found->second.kind != GroupKind::space) return {RootStatus::wrong_kind};
    if (found->second.name.empty()) return kUnchanged;
    if (found->second.name != command.name) return {RootStatus::outdated};
    found->second.name.clear();
    return {RootStatus::done, command.group};
  }

 private:
  /// What was signed once is not said again: each has a generation of its own.
  RootReply grant(RootClient& known, const RootClient& wanted, ClientNumber number) {
    const bool is_it = known.name == wanted.name && known.key == wanted.key &&
                       number < kTokenNumbers && !known.is_spent;
    if (!is_it) return {RootStatus::name_taken, number};
    if (wanted.generation - 1 != known.generation) {
      return {RootStatus::outdated, known.generation};
    }
    if (wanted.rights != ClientRights::owner && is_last_with_rights(number)) {
      return {RootStatus::last_client};
    }
    known = wanted;
    return {RootStatus::done, number};
  }
  /// Without it nobody could change the cluster any more, not even who has its owner's key.
  [[nodiscard]] bool is_last_with_rights(ClientNumber number) const {
    const auto has_rights = [&](const auto& entry) {
      return entry.first < kTokenNumbers && entry.second.rights == ClientRights::owner &&
             !entry.second.is_spent;
    };
    const auto it = state.clients_.find(number);
    return it != state.clients_.end() && has_rights(*it) &&
           std::ranges::count_if(state.clients_, has_rights) == 1;
  }
  /// What the client is told that wants to make more than it may; nothing: it may.
  [[nodiscard]] std::optional<RootReply> groups_left(std::size_t wanted) const {
    const auto found = state.clients_.find(client);
    if (found == state.clients_.end()) return std::nullopt;
    const auto made = static_cast<std::size_t>(std::ranges::count_if(
        state.groups_, [&](const auto& entry) { return entry.second.maker == client; }));
    const std::uint32_t most = found->second.groups_max;
    if (made + wanted <= most) return std::nullopt;
    return RootReply{RootStatus::too_many, most};
  }

  /// Of an index that is there: where its shards begin.
  [[nodiscard]] bool are_those_of(std::string_view name,
                                  const std::vector<std::string>& splits) const {
    const std::vector<GroupNumber> groups = state.index_named(name);
    for (std::size_t i = 0; i < splits.size(); ++i) {
      if (i + 1 >= groups.size()) return false;
      if (state.groups_.at(groups[i + 1]).shape->from != splits[i]) return false;
    }
    return true;
  }

  template <class Body>
  RootReply change(NodeNumber number, const Body& body) {
    const auto found = state.nodes_.find(number);
    if (found == state.nodes_.end()) return {RootStatus::unknown_node};
    if (found->second.state == NodeState::removed) return {RootStatus::removed};
    const RootNode before = found->second;
    body(found->second);
    return {found->second == before ? RootStatus::unchanged : RootStatus::done, number};
  }

  /// A group whose founders are the least loaded nodes. Requires: there is one. `seats`: of all
  /// groups, and then of this one as well.
  GroupNumber add(RootGroup group, std::map<NodeNumber, std::size_t>& seats) {
    group.maker = client;
    group.founders = state.least_loaded(group.size, seats);
    for (const NodeNumber number : group.founders) {
      group.members.emplace(number, state.nodes_.at(number).life);
      ++seats[number];
    }
    const GroupNumber number = state.next_group_++;
    state.groups_.emplace_hint(state.groups_.end(), number, std::move(group));
    return number;
  }

  /// A node that was not there. `reserved`: its number, given before; 0: it gets the next one.
  RootReply add(const root::AddNode& command, NodeNumber reserved = 0) {
    if (!is_word(command.name, kNodeNameBytesMax) || !is_address(command.address) ||
        !is_weight(command.weight)) {
      return {RootStatus::invalid};
    }
    if (const NodeNumber taken = state.node_with(command.identity)) {
      return {RootStatus::identity_taken, taken};
    }
    if (const NodeNumber taken = state.node_named(command.name)) {
      return {RootStatus::name_taken, taken};
    }
    if (state.nodes_.contains(reserved)) return {RootStatus::token_used, reserved};
    if (count_removed() + kNodesMax <= state.nodes_.size()) return {RootStatus::full};
    if (state.next_node_ == ~NodeNumber{0}) return {RootStatus::full};
    const NodeNumber number = reserved != 0 ? reserved : state.next_node_++;
    state.nodes_.emplace(number, RootNode{.name = command.name,
                                          .address = command.address,
                                          .identity = command.identity,
                                          .weight = command.weight});
    return {RootStatus::done, number};
  }

  [[nodiscard]] std::size_t count_removed() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        state.nodes_, [](const auto& entry) { return entry.second.state == NodeState::removed; }));
  }
  void forget_oldest_removed() {
    if (count_removed() <= kRemovedNodesMax) return;
    const auto oldest = std::ranges::find_if(
        state.nodes_, [](const auto& entry) { return entry.second.state == NodeState::removed; });
    state.nodes_.erase(oldest);
  }

  [[nodiscard]] NodeLife believed_life(const RootGroup& group, NodeNumber number,
                                       bool is_done) const {
    if (is_done && group.change && group.change->add == number) return group.change->add_life;
    const auto seat = group.members.find(number);
    return seat != group.members.end() ? seat->second : state.nodes_.at(number).life;
  }

  [[nodiscard]] RootStatus judge(const RootGroup& group, const root::EndChange& command) const {
    const auto& members = command.members;
    if (members.empty() || members.size() > kGroupMembersMax) return RootStatus::invalid;
    if (std::ranges::adjacent_find(members, std::ranges::greater_equal{}, &root::Seat::node) !=
        members.end()) {
      return RootStatus::invalid;
    }
    for (const root::Seat& seat : members) {
      if (state.node(seat.node) == nullptr) return RootStatus::unknown_node;
    }
    const bool is_later = command.as_of > group.as_of;
    const bool is_same = std::ranges::equal(members, group.members, {}, &root::Seat::node,
                                            [](const auto& member) { return member.first; });
    const bool is_outdated = command.as_of < group.as_of || (!is_later && !is_same);
    if (is_outdated && !DOLMEN_PLANTED("cluster.outdated_believed")) return RootStatus::outdated;
    if (!group.change) return RootStatus::done;
    const auto& [add, add_life, leave, since] = *group.change;
    const auto has = [&](NodeNumber number) {
      return std::ranges::binary_search(members, number, {}, &root::Seat::node);
    };
    if (command.is_done && ((add != 0 && !has(add)) || (leave != add && has(leave)))) {
      return RootStatus::invalid;
    }
    return RootStatus::done;
  }
};

RootReply RootState::apply(log::Index index, const RootCommand& command, ClientNumber client) {
  DOLMEN_ASSERT(index > version_);
  if (!is_begun() && !std::holds_alternative<root::Init>(command)) return {RootStatus::not_begun};
  const RootReply reply = std::visit(RootExecutor{*this, index, client}, command);
  if (reply.status == RootStatus::done) version_ = index;
  return reply;
}

}  // namespace dolmen::cluster
