// SPDX-License-Identifier: Apache-2.0
//
// The bytes of docs/formats/root.md.
#include <algorithm>
#include <set>
#include <utility>

#include <dolmen/assert.hpp>

#include "cluster/root.hpp"

namespace dolmen::cluster {

namespace {

std::unexpected<Error> damaged_state() { return fail(Errc::corrupt, "the state of a root group"); }

constexpr std::uint16_t kIsBegun = 1;
constexpr std::uint16_t kHasLease = 2;
constexpr std::uint8_t kIsLost = 1;
constexpr std::uint8_t kIsSpent = 1;
constexpr std::uint8_t kHasChange = 1;
constexpr std::uint8_t kHasShape = 2;

void put_identity(base::ByteWriter& out, const NodeIdentity& identity) { out.put_bytes(identity); }

void get_identity(base::ByteReader& in, NodeIdentity& identity) {
  const base::Bytes bytes = in.take(identity.size());
  if (!in.failed()) std::ranges::copy(bytes, identity.begin());
}

/// More bytes than `most`: `in` fails.
std::string get_bounded(base::ByteReader& in, std::size_t most) {
  const std::string_view text = in.get_string();
  if (text.size() > most) in.fail();
  return std::string(in.failed() ? std::string_view{} : text);
}

void put_node(base::ByteWriter& out, NodeNumber number, const RootNode& node) {
  out.put(number);
  out.put(static_cast<std::uint8_t>(node.state));
  out.put(node.is_lost ? kIsLost : std::uint8_t{0});
  out.put(static_cast<std::uint16_t>(node.weight));
  out.put(node.life);
  put_identity(out, node.identity);
  out.put_string(node.name);
  out.put_string(node.address);
}

void put_group(base::ByteWriter& out, GroupNumber number, const RootGroup& group) {
  out.put(number);
  out.put(static_cast<std::uint8_t>(group.kind));
  out.put(static_cast<std::uint8_t>(group.level));
  out.put(static_cast<std::uint8_t>(group.size));
  out.put(
      static_cast<std::uint8_t>((group.change ? kHasChange : 0) | (group.shape ? kHasShape : 0)));
  out.put(group.as_of);
  out.put(group.maker);
  out.put_string(group.name);
  out.put(static_cast<std::uint8_t>(group.members.size()));
  out.put(static_cast<std::uint8_t>(group.founders.size()));
  for (const auto& [member, life] : group.members) {
    out.put(member);
    out.put(life);
  }
  for (const NodeNumber founder : group.founders) out.put(founder);
  if (group.change) {
    out.put(group.change->add);
    out.put(group.change->add_life);
    out.put(group.change->leave);
    out.put(group.change->since);
  }
  if (group.shape) {
    out.put(static_cast<std::uint16_t>(group.shape->shard));
    out.put(static_cast<std::uint16_t>(group.shape->shards));
    out.put(group.shape->seed);
    out.put(group.shape->bucket_bytes);
    out.put(group.shape->record_bytes);
    out.put(static_cast<std::uint8_t>(group.shape->table));
    if (group.shape->table == TableKind::ordered) out.put_string(group.shape->from);
  }
}

}  // namespace

/// What decode_root() has read so far, and whether it can be.
struct RootFormat {
  base::ByteReader in;
  RootState state{};
  std::set<std::string, std::less<>> names{};
  std::set<NodeIdentity> identities{};
  std::set<std::string, std::less<>> group_names{};

  [[nodiscard]] bool take_head(std::uint16_t flags) {
    state.cluster_ = in.get_id();
    state.version_ = in.get<std::uint64_t>();
    state.next_node_ = in.get<std::uint32_t>();
    state.next_group_ = in.get<std::uint32_t>();
    if ((flags & kHasLease) != 0) {
      state.lease_ms_ = in.get<std::uint32_t>();
      if (state.lease_ms_ == 0 || state.lease_ms_ > kGroupLeaseMsMax) return false;
    }
    if (in.failed() || flags > (kIsBegun | kHasLease)) return false;
    if ((flags & kIsBegun) == 0) return state == RootState{};
    return !state.cluster_.is_null() && state.version_ != 0 && state.next_node_ > 1 &&
           state.next_group_ > kRootGroup;
  }

  [[nodiscard]] bool take_node() {
    const auto number = in.get<std::uint32_t>();
    const auto node_state = in.get<std::uint8_t>();
    const auto lost = in.get<std::uint8_t>();
    RootNode node{.state = static_cast<NodeState>(node_state), .is_lost = lost == kIsLost};
    node.weight = in.get<std::uint16_t>();
    node.life = in.get<std::uint32_t>();
    get_identity(in, node.identity);
    node.name = get_bounded(in, kNodeNameBytesMax);
    node.address = get_bounded(in, kNodeAddressBytesMax);
    if (in.failed() || number == 0 || number >= state.next_node_ || lost > kIsLost) return false;
    if (!state.nodes_.empty() && number <= state.nodes_.rbegin()->first) return false;
    if (!is_word(node.name, kNodeNameBytesMax)) return false;
    if (!is_new(node.identity)) return false;
    if (node.state == NodeState::removed) {
      const RootNode removed{
          .name = node.name, .identity = node.identity, .state = NodeState::removed};
      if (node != removed) return false;
    } else {
      if (node.state != NodeState::active && node.state != NodeState::draining) return false;
      if (node.life == kGoneLife) return false;
      if (node.weight < 1 || node.weight > kNodeWeightMax) return false;
      if (!is_word(node.address, kNodeAddressBytesMax)) return false;
      if (!names.insert(node.name).second) return false;
    }
    state.nodes_.emplace_hint(state.nodes_.end(), number, std::move(node));
    return true;
  }

  [[nodiscard]] bool take_nodes() {
    const auto count = in.get<std::uint32_t>();
    if (in.failed() || count > kNodesMax + kRemovedNodesMax) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (!take_node()) return false;
    }
    return names.size() <= kNodesMax && state.nodes_.size() - names.size() <= kRemovedNodesMax;
  }

  [[nodiscard]] bool take_clients() {
    get_identity(in, state.owner_);
    const auto count = in.get<std::uint32_t>();
    if (in.failed() || count > kClientsMax + kRootTokensMax) return false;
    if (!is_new(state.owner_)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto number = in.get<std::uint32_t>();
      const auto spent = in.get<std::uint8_t>();
      const auto rights = in.get<std::uint8_t>();
      RootClient client{.is_spent = spent == kIsSpent, .rights = static_cast<ClientRights>(rights)};
      client.generation = in.get<std::uint32_t>();
      client.groups_max = in.get<std::uint32_t>();
      client.expires_s = in.get<std::uint64_t>();
      get_identity(in, client.key);
      client.name = get_bounded(in, kNodeNameBytesMax);
      if (in.failed() || number == 0 || spent > kIsSpent) return false;
      if (client.generation == 0 || rights > static_cast<std::uint8_t>(ClientRights::owner)) {
        return false;
      }
      if (!state.clients_.empty() && number <= state.clients_.rbegin()->first) return false;
      const bool is_token = number >= kTokenNumbers;
      if (is_token && (number == kTokenNumbers || number - kTokenNumbers >= state.next_node_)) {
        return false;
      }
      if (is_token && (client.rights != ClientRights::none || client.generation != 1)) return false;
      if (is_token != (client.expires_s != 0) || !is_word(client.name, kNodeNameBytesMax)) {
        return false;
      }
      if (client.key == NodeIdentity{} || !is_new(client.key)) return false;
      state.clients_.emplace_hint(state.clients_.end(), number, std::move(client));
    }
    const auto tokens =
        std::distance(state.clients_.lower_bound(kTokenNumbers), state.clients_.end());
    return static_cast<std::size_t>(tokens) <= kRootTokensMax &&
           state.clients_.size() - static_cast<std::size_t>(tokens) <= kClientsMax;
  }
  [[nodiscard]] bool is_new(const NodeIdentity& key) {
    return key == NodeIdentity{} || identities.insert(key).second;
  }

  [[nodiscard]] bool is_possible(const RootGroup& group, const GroupChange& change) const {
    const auto& [add, add_life, leave, since] = change;
    if (since == 0 || since > state.version_ || (add == 0 && leave == 0)) return false;
    if (add == 0 && add_life != 0) return false;
    if (add != 0 && state.node(add) == nullptr) return false;
    if (add != leave && group.members.contains(add)) return false;
    return leave == 0 || group.members.contains(leave);
  }

  /// The shards of an index are made together, and an ordered one's begin one behind the other.
  [[nodiscard]] bool is_behind(GroupNumber number, const RootGroup& group) const {
    const IndexShape& shape = *group.shape;
    if (shape.shard == 0) return true;
    const auto& [before, left] = *state.groups_.rbegin();
    if (before + 1 != number || !left.shape || left.shape->from >= shape.from) return false;
    IndexShape expected = shape;
    --expected.shard;
    expected.from = left.shape->from;
    return *left.shape == expected &&
           index_of_shard(left.name, expected.shard) == index_of_shard(group.name, shape.shard);
  }

  [[nodiscard]] bool take_group() {
    const auto number = in.get<std::uint32_t>();
    RootGroup group{.kind = static_cast<GroupKind>(in.get<std::uint8_t>()),
                    .level = static_cast<GroupLevel>(in.get<std::uint8_t>())};
    group.size = in.get<std::uint8_t>();
    const auto has = in.get<std::uint8_t>();
    group.as_of = in.get<std::uint64_t>();
    group.maker = in.get<std::uint32_t>();
    group.name = get_bounded(in, kGroupNameBytesMax);
    const std::size_t members = in.get<std::uint8_t>();
    const std::size_t founders = in.get<std::uint8_t>();
    if (in.failed() || number >= state.next_group_) return false;
    if (has > (kHasChange | kHasShape)) return false;
    // The root is the first one, and the only one of its kind.
    const bool is_root = state.groups_.empty();
    if (is_root ? number != kRootGroup : number <= state.groups_.rbegin()->first) return false;
    if (is_root != (group.kind == GroupKind::root)) return false;
    if (!is_root && group.kind != GroupKind::space && group.kind != GroupKind::index) return false;
    if (group.level != GroupLevel::durable) return false;
    if (group.size < 1 || group.size > kGroupSizeMax) return false;
    if (!group.name.empty() &&
        (!is_word(group.name, kGroupNameBytesMax) || !group_names.insert(group.name).second)) {
      return false;
    }
    if (members < 1 || members > kGroupMembersMax) return false;
    if (founders < 1 || founders > kGroupMembersMax) return false;
    for (std::size_t i = 0; i < members; ++i) {
      const auto member = in.get<std::uint32_t>();
      const auto life = in.get<std::uint32_t>();
      if (!group.members.empty() && member <= group.members.rbegin()->first) return false;
      if (state.node(member) == nullptr) return false;
      group.members.emplace_hint(group.members.end(), member, life);
    }
    for (std::size_t i = 0; i < founders; ++i) {
      const auto founder = in.get<std::uint32_t>();
      if (founder <= (group.founders.empty() ? 0 : group.founders.back())) return false;
      if (founder >= state.next_node_) return false;
      group.founders.push_back(founder);
    }
    if ((has & kHasChange) != 0) {
      GroupChange change{.add = in.get<std::uint32_t>()};
      change.add_life = in.get<std::uint32_t>();
      change.leave = in.get<std::uint32_t>();
      change.since = in.get<std::uint64_t>();
      if (in.failed() || !is_possible(group, change)) return false;
      group.change = change;
    }
    if ((has & kHasShape) != 0) {
      IndexShape shape{.shard = in.get<std::uint16_t>()};
      shape.shards = in.get<std::uint16_t>();
      shape.seed = in.get<std::uint64_t>();
      shape.bucket_bytes = in.get<std::uint64_t>();
      shape.record_bytes = in.get<std::uint64_t>();
      shape.table = static_cast<TableKind>(in.get<std::uint8_t>());
      if (shape.table != TableKind::hash && shape.table != TableKind::ordered) return false;
      if (shape.table == TableKind::ordered) shape.from = get_bounded(in, kSplitBytesMax);
      if (in.failed() || group.kind != GroupKind::index || !shape.is_possible()) return false;
      if (index_of_shard(group.name, shape.shard).empty()) return false;
      group.shape = std::move(shape);
      if (group.shape->table == TableKind::ordered && !is_behind(number, group)) return false;
    }
    state.groups_.emplace_hint(state.groups_.end(), number, std::move(group));
    return !in.failed();
  }

  [[nodiscard]] bool take_groups() {
    const auto count = in.get<std::uint32_t>();
    if (in.failed() || count > kGroupsMax || (count != 0) != state.is_begun()) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (!take_group()) return false;
    }
    return true;
  }

  [[nodiscard]] bool take_shards() {
    const auto count = in.get<std::uint32_t>();
    if (in.failed() || count > std::size_t{1} << kShardBitsMax) return false;
    if (state.is_begun() ? !std::has_single_bit(count) : count != 0) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto number = in.get<std::uint32_t>();
      if (number != 0) {
        const RootGroup* const group = state.group(number);
        if (group == nullptr || !group->is_directory()) return false;
      }
      state.shards_.push_back(number);
    }
    return !in.failed();
  }
};

std::vector<std::byte> encode_root(const RootState& state) {
  base::ByteWriter out;
  out.put(kRootStateMagic);
  out.put(static_cast<std::uint16_t>(kRootStateVersion));
  out.put(static_cast<std::uint16_t>((state.is_begun() ? kIsBegun : 0) |
                                     (state.lease_ms() != 0 ? kHasLease : 0)));
  out.put_id(state.cluster());
  out.put(state.version());
  out.put(state.next_node());
  out.put(state.next_group());
  if (state.lease_ms() != 0) out.put(state.lease_ms());
  out.put(static_cast<std::uint32_t>(state.nodes().size()));
  for (const auto& [number, node] : state.nodes()) put_node(out, number, node);
  out.put(static_cast<std::uint32_t>(state.groups().size()));
  for (const auto& [number, group] : state.groups()) put_group(out, number, group);
  out.put(static_cast<std::uint32_t>(state.shards().size()));
  for (const GroupNumber group : state.shards()) out.put(group);
  put_identity(out, state.owner());
  out.put(static_cast<std::uint32_t>(state.clients().size()));
  for (const auto& [number, client] : state.clients()) {
    out.put(number);
    out.put(client.is_spent ? kIsSpent : std::uint8_t{0});
    out.put(static_cast<std::uint8_t>(client.rights));
    out.put(client.generation);
    out.put(client.groups_max);
    out.put(client.expires_s);
    put_identity(out, client.key);
    out.put_string(client.name);
  }
  return out.release();
}

Result<RootState> decode_root(base::Bytes bytes) {
  RootFormat format{.in = base::ByteReader(bytes)};
  base::ByteReader& in = format.in;
  if (in.get<std::uint32_t>() != kRootStateMagic) return damaged_state();
  const auto version = in.get<std::uint16_t>();
  const auto flags = in.get<std::uint16_t>();
  if (in.failed()) return damaged_state();
  if (version != kRootStateVersion) {
    return fail(Errc::version_unsupported, "the state of a root group", version);
  }
  if (!format.take_head(flags) || !format.take_nodes() || !format.take_groups() ||
      !format.take_shards() || !format.take_clients() || !in.finished()) {
    return damaged_state();
  }
  if (!format.state.is_begun() && !(format.state == RootState{})) return damaged_state();
  return std::move(format.state);
}

}  // namespace dolmen::cluster
