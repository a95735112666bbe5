// SPDX-License-Identifier: Apache-2.0
//
// What the root group knows (docs/cluster.md): the nodes of the cluster, its groups and who is a
// member of them, and which group serves which shard of the directory. A replicated value: it
// changes only by entries of the root group's log, so that all replicas have the same, bit for bit.
// It decides nothing by itself: root_planner.hpp says what is to be done next.
//
// Bytes: docs/formats/root.md.
//
// Threads: one.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/index_shape.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

/// From 1 on, never given twice. 0: nobody.
using NodeNumber = std::uint32_t;
/// From 1 on, never given twice. 0: none.
using GroupNumber = std::uint32_t;
inline constexpr GroupNumber kRootGroup = 1;
/// Which of the lives of a node's disk this is: another one has forgotten what it promised. Drawn
/// by the node; 0: not known.
using NodeLife = std::uint32_t;
/// Of a seat: whichever disk it was that the node had then, it has another one now.
inline constexpr NodeLife kGoneLife = ~NodeLife{0};
/// A node's public key. All zero: none.
using NodeIdentity = std::array<std::byte, 32>;

inline constexpr std::size_t kNodeNameBytesMax = 63;
inline constexpr std::size_t kNodeAddressBytesMax = 255;
inline constexpr std::size_t kGroupNameBytesMax = 63;
/// Of nodes that were not removed.
inline constexpr std::size_t kNodesMax = 1024;
/// Of removed ones that are remembered; beyond it the oldest is forgotten, but not its number.
inline constexpr std::size_t kRemovedNodesMax = 1024;
inline constexpr std::size_t kGroupsMax = 4096;
inline constexpr std::uint32_t kGroupSizeMax = 9;
/// Of a group that has more than it shall have.
inline constexpr std::size_t kGroupMembersMax = 16;
inline constexpr std::uint32_t kNodeWeightMax = 1024;
inline constexpr std::uint32_t kShardBitsMax = 12;
/// Of a directory that is made as a whole.
inline constexpr std::uint32_t kDirectoryBitsMax = 8;
/// Most of a lease.
inline constexpr std::uint32_t kGroupLeaseMsMax = 10'000;
/// Of clients, revoked ones included: those may not come back. And of tokens, beyond which the
/// oldest is forgotten.
inline constexpr std::size_t kClientsMax = 2048;
inline constexpr std::size_t kRootTokensMax = 256;
/// Of clients below it; the token that lets node N join is client kTokenNumbers + N.
using ClientNumber = std::uint32_t;
inline constexpr ClientNumber kTokenNumbers = 0x4000'0000;
/// Of a key's holder, over what root_keys.hpp says. All zero: none.
using RootSignature = std::array<std::byte, 64>;

enum class NodeState : std::uint8_t {
  active = 1,
  draining = 2,  ///< gives its seats to others, and gets none
  removed = 3,   ///< only a memory of it: its number and its identity are used up
};

struct RootNode {
  std::string name{};     ///< 1 to kNodeNameBytesMax; unique among those that were not removed
  std::string address{};  ///< where it listens; removed: empty
  NodeIdentity identity{};
  NodeState state = NodeState::active;
  bool is_lost = false;  ///< an entry said so, and none said that it is back
  NodeLife life = 0;
  std::uint32_t weight = 1;  ///< how many seats it should have, compared with others
  friend bool operator==(const RootNode&, const RootNode&) = default;
};

/// What a client may ask for: nothing but the map, who is a member and how all that is, or whatever
/// there is.
enum class ClientRights : std::uint8_t { none = 0, owner = 1 };
/// Of groups that a client has made, shards of indexes among them, if nobody says another number.
inline constexpr std::uint32_t kClientGroupsDefault = 1024;

/// Who may connect beside the nodes, by a key of its own.
struct RootClient {
  std::string name{};
  NodeIdentity key{};
  std::uint64_t expires_s = 0;               ///< a token's: since 1970 (UTC); 0: never
  bool is_spent = false;                     ///< a client: revoked, for ever; a token: used
  ClientRights rights = ClientRights::none;  ///< a token: none
  /// How often that was said: whoever shows its right says as of when it has it. From 1 on.
  std::uint32_t generation = 1;
  std::uint32_t groups_max = kClientGroupsDefault;  ///< that it may make
  friend bool operator==(const RootClient&, const RootClient&) = default;
};

enum class GroupKind : std::uint8_t { root = 1, space = 2, index = 3 };
enum class GroupLevel : std::uint8_t { durable = 1 };

/// What is being done to a group. `add` is added first and `leave` removed then; if both are the
/// same, the node lost its disk and gets its seat again.
struct GroupChange {
  NodeNumber add = 0;     ///< 0: nobody
  NodeLife add_life = 0;  ///< in which `add` was when this began
  NodeNumber leave = 0;   ///< 0: nobody
  log::Index since = 0;   ///< the entry that began it: no other change has it
  friend bool operator==(const GroupChange&, const GroupChange&) = default;
};

struct RootGroup {
  GroupKind kind = GroupKind::space;
  GroupLevel level = GroupLevel::durable;
  std::string name{};      ///< unique, but for the empty one
  std::uint32_t size = 1;  ///< how many voters it shall have
  /// Who votes, and the life for which it got its seat.
  std::map<NodeNumber, NodeLife> members{};
  std::vector<NodeNumber> founders{};  ///< the members that it began with; ascending
  log::Index as_of = 0;                ///< of the group's own log: `members` are from there
  ClientNumber maker = 0;              ///< whose command made it; 0: a node's
  std::optional<GroupChange> change{};
  std::optional<IndexShape> shape{};  ///< of a shard of an index
  /// Its table is a shard of the directory, or may be one.
  [[nodiscard]] bool is_directory() const noexcept { return kind == GroupKind::index && !shape; }
  friend bool operator==(const RootGroup&, const RootGroup&) = default;
};

// ------------------------------------------------------------------------------------- commands

namespace root {

struct Founder {
  std::string name{};
  std::string address{};
  NodeIdentity identity{};
  friend bool operator==(const Founder&, const Founder&) = default;
};
/// One of the clients that a cluster begins with.
struct FirstClient {
  ClientNumber client = 0;
  std::string name{};
  NodeIdentity key{};
  ClientRights rights = ClientRights::owner;
  friend bool operator==(const FirstClient&, const FirstClient&) = default;
};
/// The cluster begins: nodes 1, 2, … and group 1 of them. The same cluster again: unchanged.
struct Init {
  ObjectId cluster{};
  NodeIdentity owner{};  ///< its owner's public key; none: nobody has a key, as in a simulation
  std::vector<Founder> nodes{};  ///< 1 to kGroupMembersMax
  std::uint32_t size = 1;        ///< of the root group
  std::uint32_t shard_bits = 0;  ///< of the directory: 2^shard_bits shards
  std::vector<FirstClient> clients{};
  std::uint32_t lease_ms = 0;  ///< of all groups but the root; 0: they have none
  friend bool operator==(const Init&, const Init&) = default;
};
/// Value of the reply: the node's number. The same name and identity again: the same number, and
/// this address and weight. Where there is an owner nodes Join instead.
struct AddNode {
  std::string name{};
  std::string address{};
  NodeIdentity identity{};
  std::uint32_t weight = 1;
  friend bool operator==(const AddNode&, const AddNode&) = default;
};
struct SetAddress {
  NodeNumber node = 0;
  std::string address{};
  friend bool operator==(const SetAddress&, const SetAddress&) = default;
};
struct NodeLost {
  NodeNumber node = 0;
  friend bool operator==(const NodeLost&, const NodeLost&) = default;
};
struct NodeBack {
  NodeNumber node = 0;
  friend bool operator==(const NodeBack&, const NodeBack&) = default;
};
/// The node lives with this disk. Seats that it got with another one have to be given to it anew;
/// the first life that is known is that of the seats which it has.
struct SetLife {
  NodeNumber node = 0;
  NodeLife life = 0;
  friend bool operator==(const SetLife&, const SetLife&) = default;
};
struct Drain {
  NodeNumber node = 0;
  friend bool operator==(const Drain&, const Drain&) = default;
};
struct Undrain {
  NodeNumber node = 0;
  friend bool operator==(const Undrain&, const Undrain&) = default;
};
/// Refused while a group has it, or is about to. Signed by the owner, if there is one.
struct RemoveNode {
  NodeNumber node = 0;
  RootSignature signature{};
  friend bool operator==(const RemoveNode&, const RemoveNode&) = default;
};
/// Value of the reply: the group's number; also if the name is taken. Its founders are the least
/// loaded nodes, as many of `size` as there are.
struct CreateGroup {
  GroupKind kind = GroupKind::space;
  std::string name{};
  std::uint32_t size = 1;
  friend bool operator==(const CreateGroup&, const CreateGroup&) = default;
};
/// An index of so many groups, all of them in one entry: there is never a part of one. Value of the
/// reply: the first one's number; also if it is there already, of as many shards of these sizes and
/// splits (unchanged: its seed and its groups' size stay as they are), or its name is taken.
struct CreateIndex {
  std::string name{};
  std::uint32_t size = 1;  ///< of each group
  std::uint32_t shards = 1;
  std::uint64_t seed = 0;
  std::uint64_t bucket_bytes = 0;  ///< of each shard; ordered: of its nodes
  std::uint64_t record_bytes = 0;
  TableKind table = TableKind::hash;
  std::vector<std::string> splits{};  ///< ordered: the first key of each shard but the first
  friend bool operator==(const CreateIndex&, const CreateIndex&) = default;
};
struct SetSize {
  GroupNumber group = 0;
  std::uint32_t size = 1;
  friend bool operator==(const SetSize&, const SetSize&) = default;
};
/// Value of the reply: `since` of the change.
struct BeginChange {
  GroupNumber group = 0;
  NodeNumber add = 0;
  NodeNumber leave = 0;
  friend bool operator==(const BeginChange&, const BeginChange&) = default;
};
/// A member, and the life of its disk with which it votes: its own if it has that disk yet, and
/// kGoneLife if not; 0: whoever says it does not know.
struct Seat {
  NodeNumber node = 0;
  NodeLife life = 0;
  friend bool operator==(const Seat&, const Seat&) = default;
};
/// Who is a member is what the group itself says, settled, as of an index of its own log: so that
/// a change that was given up half-way, or repeated by who does not lead the root any more, cannot
/// make this state say what is not so.
struct EndChange {
  GroupNumber group = 0;
  log::Index since = 0;  ///< of the change that ends; 0: none is under way, and it is a correction
  log::Index as_of = 0;  ///< not below what is known; other members than before: above it
  bool is_done = false;  ///< false: given up
  std::vector<Seat> members{};  ///< ascending
  friend bool operator==(const EndChange&, const EndChange&) = default;
};
/// A client's is refused where another group serves the shard: what that knows would be gone.
struct AssignShard {
  std::uint32_t shard = 0;
  GroupNumber group = 0;  ///< of kind index, and no shard of an index; 0: none
  friend bool operator==(const AssignShard&, const AssignShard&) = default;
};

/// A client, or the token of the node that comes next: signed by the owner. Of a client that is
/// there, with the generation behind its own: it has these rights from now on.
struct AddClient {
  ClientNumber client = 0;  ///< a token's: kTokenNumbers and the next node's number
  std::string name{};
  NodeIdentity key{};
  std::uint64_t expires_s = 0;
  ClientRights rights = ClientRights::none;
  std::uint32_t generation = 1;
  std::uint32_t groups_max = kClientGroupsDefault;
  RootSignature signature{};
  friend bool operator==(const AddClient&, const AddClient&) = default;
};
/// A token is forgotten, a client is revoked: signed by the owner.
struct RevokeClient {
  ClientNumber client = 0;
  RootSignature signature{};
  friend bool operator==(const RevokeClient&, const RevokeClient&) = default;
};
/// The node for which the token was made, signed with the token's key. Value of the reply: its
/// number. The same identity again: unchanged.
struct Join {
  ClientNumber token = 0;
  std::string name{};
  std::string address{};
  NodeIdentity identity{};
  RootSignature signature{};
  friend bool operator==(const Join&, const Join&) = default;
};

/// The name is free again, and the group has none: as of a space whose import was given up, which
/// nobody can open. Of a space alone. Refused unless the group has that name.
struct ReleaseName {
  GroupNumber group = 0;
  std::string name{};
  friend bool operator==(const ReleaseName&, const ReleaseName&) = default;
};

/// The directory, of 2^bits shards, for ever: a group for each, "directory-0" and so on, all of
/// them in one entry. Shards that are served stay with who serves them, and a group of a shard's
/// name that may be its own is taken, and grows to the size: so what was left half made is made
/// whole. Value of the reply: the first one's group. Refused where a shard is served and there are
/// others than so many.
struct CreateDirectory {
  std::uint32_t bits = 0;
  std::uint32_t size = 1;  ///< of each group
  friend bool operator==(const CreateDirectory&, const CreateDirectory&) = default;
};

using Command =
    std::variant<Init, AddNode, SetAddress, NodeLost, NodeBack, SetLife, Drain, Undrain, RemoveNode,
                 CreateGroup, SetSize, BeginChange, EndChange, AssignShard, AddClient, RevokeClient,
                 Join, CreateIndex, ReleaseName, CreateDirectory>;
/// In the bytes; those between are nobody's.
inline constexpr std::size_t kReleaseNameKind = 22;
inline constexpr std::size_t kCreateDirectoryKind = 23;

}  // namespace root

using RootCommand = root::Command;

enum class RootStatus : std::uint8_t {
  done = 1,
  unchanged = 2,  ///< it was so before
  not_begun = 3,
  begun = 4,  ///< … and is another cluster
  invalid = 5,
  name_taken = 6,      ///< value: by which node or group
  identity_taken = 7,  ///< value: by which node
  unknown_node = 8,
  removed = 9,
  has_seats = 10,  ///< value: in which group
  unknown_group = 11,
  under_way = 12,    ///< value: `since` of the change
  unavailable = 13,  ///< the node to be added is draining or lost
  is_member = 14,
  no_member = 15,
  too_few = 16,
  no_majority = 17,
  no_nodes = 18,
  full = 19,
  unknown_shard = 20,
  wrong_kind = 21,
  other_change = 22,  ///< value: `since` of the one that is under way; 0: none is
  outdated = 23,
  not_signed = 24,
  unknown_token = 25,
  token_used = 26,
  unknown_client = 27,
  too_many = 28,      ///< value: how many groups the client may make
  shard_taken = 29,   ///< value: by which group
  other_shards = 30,  ///< value: so many
  last_client = 31,
};
/// A sentence for people, without a full stop. Unknown ones have one as well.
[[nodiscard]] std::string_view text(RootStatus status) noexcept;

struct RootReply {
  RootStatus status = RootStatus::done;
  std::uint64_t value = 0;
  /// It is as the command says: done, or so before.
  [[nodiscard]] bool is_ok() const noexcept {
    return status == RootStatus::done || status == RootStatus::unchanged;
  }
  friend bool operator==(const RootReply&, const RootReply&) = default;
};

// ---------------------------------------------------------------------------------------- state

class RootState {
 public:
  using Nodes = std::map<NodeNumber, RootNode>;
  using Groups = std::map<GroupNumber, RootGroup>;

  using Clients = std::map<ClientNumber, RootClient>;

  /// Executes the command in the entry at `index`, above that of any before. Total: whatever the
  /// command says; what is refused leaves no trace. Signatures are not looked at: whoever calls
  /// this has verified them. `client`: whose command it is; 0: a node's. Cost: at most the size of
  /// the state.
  RootReply apply(log::Index index, const RootCommand& command, ClientNumber client = 0);

  [[nodiscard]] bool is_begun() const noexcept { return version_ != 0; }
  [[nodiscard]] const ObjectId& cluster() const noexcept { return cluster_; }
  /// The entry that changed anything last; 0: none did. It is the epoch of the map.
  [[nodiscard]] log::Index version() const noexcept { return version_; }
  /// Removed ones, too.
  [[nodiscard]] const Nodes& nodes() const noexcept { return nodes_; }
  [[nodiscard]] const Groups& groups() const noexcept { return groups_; }
  /// Revoked ones and tokens, too.
  [[nodiscard]] const Clients& clients() const noexcept { return clients_; }
  [[nodiscard]] const NodeIdentity& owner() const noexcept { return owner_; }
  /// Of all groups but the root, and for ever: a node that promised more than it knows of when it
  /// starts again would break its promise. 0: none.
  [[nodiscard]] std::uint32_t lease_ms() const noexcept { return lease_ms_; }
  /// 2^bits of them (shard_of(), home.hpp): which group serves each; 0: none yet.
  [[nodiscard]] const std::vector<GroupNumber>& shards() const noexcept { return shards_; }
  /// The numbers that the next ones get.
  [[nodiscard]] NodeNumber next_node() const noexcept { return next_node_; }
  [[nodiscard]] GroupNumber next_group() const noexcept { return next_group_; }
  /// Nullptr: there is none, or it was removed.
  [[nodiscard]] const RootNode* node(NodeNumber number) const;
  [[nodiscard]] const RootGroup* group(GroupNumber number) const;
  /// Whether a group serves one of the shards: then there are as many for ever.
  [[nodiscard]] bool has_directory() const noexcept;
  /// 0: none.
  [[nodiscard]] GroupNumber group_named(std::string_view name) const;
  /// The groups that are the index's shards, in their order; empty: there is none.
  [[nodiscard]] std::vector<GroupNumber> index_named(std::string_view name) const;
  [[nodiscard]] NodeNumber node_named(std::string_view name) const;
  [[nodiscard]] NodeNumber node_with(const NodeIdentity& identity) const;
  /// Of clients that were not revoked; tokens have no names to go by.
  [[nodiscard]] ClientNumber client_named(std::string_view name) const;
  /// Whether a node or client has this key, or had it.
  [[nodiscard]] bool holder_of(const NodeIdentity& key) const;

  /// Whether the node may get seats.
  [[nodiscard]] bool is_available(NodeNumber number) const;
  /// Whether a member votes there as far as is known: it is not lost, and lives with the disk with
  /// which it got the seat.
  [[nodiscard]] bool is_live(const RootGroup& group, NodeNumber member) const;
  /// The seats that each node has when all changes are done. Cost: all groups.
  [[nodiscard]] std::map<NodeNumber, std::size_t> seats() const;
  /// Whether at each point of such a change a majority of the members is live: before, with the
  /// new one and the old one, and behind.
  [[nodiscard]] bool keeps_majority(const RootGroup& group, NodeNumber add, NodeNumber leave) const;
  /// What BeginChange would say.
  [[nodiscard]] RootReply judge(const root::BeginChange& change) const;
  /// Of `size`, the least loaded available nodes, ascending; fewer if there are fewer.
  [[nodiscard]] std::vector<NodeNumber> least_loaded(std::size_t size) const {
    return least_loaded(size, seats());
  }
  /// … where the nodes have so many seats.
  [[nodiscard]] std::vector<NodeNumber> least_loaded(
      std::size_t size, const std::map<NodeNumber, std::size_t>& counts) const;

  friend bool operator==(const RootState&, const RootState&) = default;

 private:
  friend struct RootFormat;
  friend struct RootExecutor;

  ObjectId cluster_{};
  log::Index version_ = 0;
  NodeNumber next_node_ = 1;
  GroupNumber next_group_ = 1;
  Nodes nodes_{};
  Groups groups_{};
  std::vector<GroupNumber> shards_{};
  NodeIdentity owner_{};
  std::uint32_t lease_ms_ = 0;
  Clients clients_{};
};

/// Seats compared with what the node's weight is: whether `a` has fewer for its weight than `b`.
[[nodiscard]] constexpr bool is_less_loaded(std::size_t seats_a, std::uint32_t weight_a,
                                            std::size_t seats_b, std::uint32_t weight_b) noexcept {
  return seats_a * weight_b < seats_b * weight_a;
}
[[nodiscard]] constexpr std::size_t majority_of(std::size_t members) noexcept {
  return members / 2 + 1;
}
/// Of the group of a shard of the directory.
[[nodiscard]] std::string directory_name(std::uint32_t shard);
/// 1 to `most` bytes, none of them a blank or a control character.
[[nodiscard]] bool is_word(std::string_view text, std::size_t most) noexcept;

// ---------------------------------------------------------------------------------------- bytes

inline constexpr std::uint32_t kRootStateVersion = 3;
/// "DLRT": the first bytes of a state.
inline constexpr std::uint32_t kRootStateMagic = 0x54524C44;
inline constexpr std::uint32_t kRootCommandVersion = 3;
/// Most bytes of a command, and so most that a decoder looks at.
inline constexpr std::size_t kRootCommandBytesMax = 8192;

/// The same bytes at every replica. Cost: the size of the state, at most 3 MiB.
[[nodiscard]] std::vector<std::byte> encode_root(const RootState& state);
/// What is understood is exactly what encode_root() gives. Errors: corrupt (cut, impossible),
/// version_unsupported. Damage is not looked for: snapshots and links do.
[[nodiscard]] Result<RootState> decode_root(base::Bytes bytes);
/// Requires: at most 65,535 nodes or members, and strings of at most 65,535 bytes.
[[nodiscard]] std::vector<std::byte> encode(const RootCommand& command);
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<RootCommand> decode_root_command(base::Bytes bytes);
[[nodiscard]] std::vector<std::byte> encode(const RootReply& reply);
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<RootReply> decode_root_reply(base::Bytes bytes);

}  // namespace dolmen::cluster
