// SPDX-License-Identifier: Apache-2.0
//
// What a node does about the map: which replicas it has.
#include "node/cluster_core.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "base/hooks.hpp"
#include "node/cluster_rights.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

using cluster::GroupNumber;
using cluster::kRootGroup;

namespace {

constexpr const char* kMap = "map";
constexpr const char* kNewMap = "map.new";
constexpr std::size_t kMapBytesMax = std::size_t{4} << 20;
constexpr std::size_t kSumBytes = sizeof(std::uint64_t);

}  // namespace

log::Configuration ClusterCore::founders(std::size_t count) {
  log::Configuration first;
  for (std::size_t number = 1; number <= count; ++number) {
    first.voters.push_back(
        replication::replica_of(fabric::NodeId{number}, replication::kFirstLife));
  }
  return first;
}

Result<cluster::RootState> ClusterCore::read_map(sys::Disk& disk) {
  const auto file = disk.open(kMap, sys::OpenMode::read_only);
  if (!file && file.error().code() == Errc::not_found) return cluster::RootState{};
  if (!file) return std::unexpected(file.error());
  DOLMEN_TRY(const std::uint64_t size, (*file)->size());
  std::vector<std::byte> bytes(std::min<std::uint64_t>(size, kMapBytesMax));
  DOLMEN_TRY(const std::size_t count, (*file)->read(0, bytes));
  // One wrong bit may be a later version, which everybody would take over. Others have the map.
  if (size > kMapBytesMax || count != size || size < kSumBytes) return cluster::RootState{};
  const base::Bytes told = base::Bytes(bytes).first(count - kSumBytes);
  if (base::load<std::uint64_t>(bytes, told.size()) != base::checksum64(told, 0)) {
    return cluster::RootState{};
  }
  auto map = cluster::decode_root(told);
  if (map) return map;
  return fail(map.error().code(), interned(disk.describe() + "/map"), map.error().detail());
}

Result<void> ClusterCore::write_map(sys::Disk& disk, const cluster::RootState& map) {
  {
    DOLMEN_TRY(const auto file, disk.open(kNewMap, sys::OpenMode::create_or_open));
    DOLMEN_CHECK(file->resize(0));
    std::vector<std::byte> bytes = cluster::encode_root(map);
    const std::uint64_t sum = base::checksum64(bytes, 0);
    bytes.resize(bytes.size() + kSumBytes);
    base::store(bytes, bytes.size() - kSumBytes, sum);
    DOLMEN_CHECK(file->write(0, bytes));
    DOLMEN_CHECK(file->sync());
  }
  DOLMEN_CHECK(disk.rename(kNewMap, kMap));
  return disk.sync_directory();
}

Result<std::unique_ptr<ClusterCore>> ClusterCore::open(
    const sys::Env& env, fabric::Endpoint& endpoint, sys::Disk& disk,
    std::unique_ptr<replication::Journal> journal, GroupMachines& machines,
    std::function<void(const replication::Addresses&)> on_addresses,
    const ClusterCoreOptions& options) {
  DOLMEN_ASSERT(options.self != 0 && options.life != 0 && journal != nullptr);
  std::unique_ptr<ClusterCore> core(
      new ClusterCore(env, endpoint, disk, machines, std::move(on_addresses), options));
  DOLMEN_TRY(core->map_, read_map(disk));
  machines.use_mail([its = core.get()](std::string_view name, std::uint64_t number) {
    return ClusterMail::find(its->map_, name, number);
  });
  machines.use_directory([its = core.get()] { return its->map_.shards(); });
  replication::MemberOptions member_options = options.member;
  member_options.addresses = core->addresses();
  member_options.on_cluster =
      [its = core.get()](const fabric::NodeName& from, const replication::Envelope& envelope,
                         base::Bytes body) { its->hear(from, envelope, body); };
  member_options.may_say = [its = core.get()](const fabric::NodeName& from,
                                              const replication::Envelope& envelope,
                                              base::Bytes body) {
    const bool has_owner = its->options_.owner != cluster::NodeIdentity{};
    const std::uint64_t now_s = its->env_.clock->wall_ns() / 1'000'000'000;
    return may_say(its->map_, has_owner, now_s, from, envelope, body);
  };
  member_options.right_of = [its = core.get()](const fabric::NodeName& from,
                                               const replication::Capability& shown) {
    return right_of(its->map_, its->options_.owner != cluster::NodeIdentity{}, from, shown);
  };
  member_options.holder_of = holder_of;
  core->member_ =
      std::make_unique<replication::Member>(env, endpoint, std::move(journal), member_options);
  if (core->replicas().contains(kRootGroup)) DOLMEN_CHECK(core->host(kRootGroup));
  DOLMEN_CHECK(core->follow_map());
  return core;
}

Result<bool> ClusterCore::turn() {
  DOLMEN_TRY(bool was_busy, member_->turn());
  if (failure_) return std::unexpected(*failure_);
  const std::uint64_t now_ns = env_.clock->monotonic_ns();
  if (root_.state().version() > map_.version()) DOLMEN_CHECK(adopt(root_.state()));
  if (is_new_map_) DOLMEN_CHECK(follow_map());
  was_busy |= mail_.turn(now_ns, *member_);
  was_busy |= mover_.turn(now_ns, *member_);
  const bool leads = member_->leads(group_of(kRootGroup));
  if (!leads) {
    controller_.reset();
    ordered_.clear();
  }
  if (now_ns < ask_at_ns_ && !(leads && std::exchange(has_reports_, false))) return was_busy;
  ask_at_ns_ = now_ns + options_.ask_ns;
  machines_.make_room();
  ask_for_map();
  if (leads) lead(now_ns);
  return true;
}

replication::Addresses ClusterCore::addresses() const {
  if (map_.is_begun()) return addresses_in(map_);
  replication::Addresses all;
  for (std::size_t i = 0; i < options_.founders.size(); ++i) {
    all.emplace(fabric::NodeId{i + 1}, options_.founders[i]);
  }
  return all;
}

Result<void> ClusterCore::adopt(cluster::RootState latest) {
  if (latest.version() <= map_.version() && !DOLMEN_PLANTED("cluster.earlier_map")) return {};
  map_ = std::move(latest);
  is_new_map_ = true;
  member_->rights_changed();
  DOLMEN_CHECK(write_map(disk_, map_));
  if (on_addresses_) on_addresses_(addresses());
  return {};
}

std::map<GroupNumber, cluster::ReplicaLife> ClusterCore::replicas() const {
  std::map<GroupNumber, cluster::ReplicaLife> have;
  for (const auto& [group, self] : member_->replicas()) {
    have.emplace(static_cast<GroupNumber>(group.low), replication::life_of(self));
  }
  return have;
}

Result<void> ClusterCore::follow_map() {
  is_new_map_ = false;
  if (!map_.is_begun()) return {};
  // A map that does not know it at all is from before it joined.
  if (map_.node(options_.self) == nullptr && map_.nodes().contains(options_.self)) {
    return fail(Errc::superseded, "this node was removed from the cluster", options_.self);
  }
  // What is to go is looked at first, and so has to be there.
  DOLMEN_CHECK(host_found());
  for (const cluster::SeatStep& step :
       cluster::seats_to_take(map_, options_.self, options_.life, replicas())) {
    DOLMEN_CHECK(step.kind == cluster::SeatStep::Kind::drop ? drop(step.group)
                                                            : make(step.group, step.life));
  }
  return host_found();
}

Result<void> ClusterCore::host_found() {
  for (const replication::GroupId& group : member_->found()) {
    const auto number = static_cast<GroupNumber>(group.low);
    if (map_.group(number) != nullptr) DOLMEN_CHECK(host(number));
  }
  return {};
}

Result<void> ClusterCore::make(GroupNumber number, cluster::ReplicaLife life) {
  const replication::GroupId id = group_of(number);
  // One that could not be dropped yet is in the way; a later map will say more.
  if (member_->replicas().contains(id)) return {};
  log::Configuration first;
  for (const cluster::NodeNumber founder : map_.group(number)->founders) {
    first.voters.push_back(
        replication::replica_of(fabric::NodeId{founder}, replication::kFirstLife));
  }
  if (number != kRootGroup) DOLMEN_CHECK(machines_.prepare(number));
  DOLMEN_PROBE("cluster.replica_made");
  return member_->make(id, replication::replica_of(fabric::NodeId{options_.self}, life), first);
}

Result<void> ClusterCore::host(GroupNumber number) {
  if (number == kRootGroup) return member_->host(group_of(number), root_);
  DOLMEN_TRY(StateMachine* const machine, machines_.open(number, *map_.group(number)));
  if (machine == nullptr) return {};
  const std::uint64_t lease_ns = std::uint64_t{map_.lease_ms()} * 1'000'000;
  if (const auto hosted = member_->host(group_of(number), *machine, lease_ns); !hosted) {
    // A table that is larger than what this machine has: then its log alone is kept here.
    if (map_.group(number)->kind != cluster::GroupKind::index) return hosted;
    return hosted.error().code() == Errc::out_of_memory ? Result<void>() : hosted;
  }
  if (MailPart* const part = machines_.mail_of(number)) mail_.host(number, *part);
  if (const HomePart* const homes = machines_.homes_of(number)) mover_.host(number, *homes);
  return {};
}

Result<void> ClusterCore::drop(GroupNumber number) {
  const replication::GroupId id = group_of(number);
  const cluster::RootGroup* const group = map_.group(number);
  // What the map says of the group may be from before the group took this one in: then a later map
  // will say so, and what it promised must not be forgotten.
  const auto inside = member_->inside(id);
  if (!inside) return {};  // of a kind that a later version knows
  if (inside->replica->is_voter() && group != nullptr &&
      inside->replica->configured_at() > group->as_of) {
    DOLMEN_PROBE("cluster.not_dropped_yet");
    return {};
  }
  DOLMEN_PROBE("cluster.replica_dropped");
  mail_.forget(number);
  mover_.forget(number);
  DOLMEN_CHECK(member_->drop(id));
  if (number != kRootGroup) return machines_.retire(number);
  root_.reset();
  controller_.reset();
  return {};
}

}  // namespace dolmen::node
