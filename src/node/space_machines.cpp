// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/hooks.hpp"
#include "node/cluster_node.hpp"
#include "node/replicated_group.hpp"
#include "node/space_machine.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

constexpr std::string_view kRoot = "space";
/// The root of one that nobody uses.
constexpr std::string_view kRetiredRoot = "space.retired";
/// What the disk is to have left beside those.
constexpr std::uint64_t kFreeBytesMin = std::uint64_t{2} << 30;

/// A ReplicatedSpace has no other.
SpaceMachine& machine_of(ReplicatedSpace& space) {
  return static_cast<SpaceMachine&>(space.machine());
}

}  // namespace

Result<StateMachine*> SpaceMachines::open(cluster::GroupNumber number,
                                          const cluster::RootGroup& group) {
  if (group.kind != cluster::GroupKind::space) return nullptr;
  auto space = ReplicatedSpace::open(directory_of(number), functions_, options_);
  if (!space) return std::unexpected(about_directory(directory_of(number), space.error()));
  auto& kept = spaces_[number];
  kept = std::make_unique<ReplicatedSpace>(std::move(*space));
  if (find_) machine_of(*kept).use_mail(group_of(number), find_);
  if (find_ && shards_) machine_of(*kept).use_homes(shards_);
  return &kept->machine();
}

MailPart* SpaceMachines::mail_of(cluster::GroupNumber number) {
  const auto found = spaces_.find(number);
  return found == spaces_.end() ? nullptr : machine_of(*found->second).mail();
}

const HomePart* SpaceMachines::homes_of(cluster::GroupNumber number) {
  const auto found = spaces_.find(number);
  return found == spaces_.end() ? nullptr : machine_of(*found->second).homes();
}

Result<void> SpaceMachines::close() {
  for (const auto& [number, space] : spaces_) DOLMEN_CHECK(machine_of(*space).close());
  return {};
}

std::uint64_t SpaceMachines::disk_bytes(cluster::GroupNumber number) {
  const auto found = spaces_.find(number);
  if (found == spaces_.end()) return 0;
  SpaceImage& image = machine_of(*found->second).image();
  if (image.space().is_null()) return 0;
  const store::StoreStats stats = image.store().stats();
  return stats.log_disk_bytes + stats.pages_disk_bytes;
}

Result<void> SpaceMachines::retire(cluster::GroupNumber number) {
  const auto found = spaces_.find(number);
  if (found == spaces_.end()) return clear(number);
  SpaceMachine& machine = machine_of(*found->second);
  // Without its last records it is of use as well.
  const bool is_of_use = machine.image().last_index() > 0 && machine.close().has_value();
  spaces_.erase(found);
  if (!is_of_use) return clear(number);
  DOLMEN_TRY(const auto disk,
             sys::open_directory(directory_of(number), sys::DirectoryMode::open_existing));
  DOLMEN_CHECK(disk->rename(kRoot, kRetiredRoot));
  DOLMEN_CHECK(disk->sync_directory());
  DOLMEN_PROBE("cluster.image_retired");
  retired_[number] = true;
  make_room();
  return {};
}

Result<void> SpaceMachines::prepare(cluster::GroupNumber number) {
  if (!has_retired(number)) return clear(number);
  retired_.erase(number);
  DOLMEN_TRY(auto disk,
             sys::open_directory(directory_of(number), sys::DirectoryMode::open_existing));
  DOLMEN_CHECK(disk->rename(kRetiredRoot, kRoot));
  DOLMEN_CHECK(disk->sync_directory());
  // One that cannot be opened would be in the way of what the group sends.
  auto image = SpaceImage::open(sys::linux_env(), std::move(disk), {});
  if (image && (*image)->last_index() > 0 && (*image)->close()) return {};
  image = fail(Errc::closed, "a retired image");
  return clear(number);
}

bool SpaceMachines::has_retired(cluster::GroupNumber number) {
  if (spaces_.contains(number)) return false;
  const auto [found, is_new] = retired_.try_emplace(number, false);
  if (!is_new) return found->second;
  const auto disk = sys::open_directory(directory_of(number), sys::DirectoryMode::open_existing);
  if (!disk) return false;
  const auto names = (*disk)->list();
  found->second = names && std::ranges::find(*names, kRetiredRoot) != names->end();
  return found->second;
}

void SpaceMachines::make_room() {
  for (auto next = retired_.begin(); next != retired_.end();) {
    const auto [number, is_retired] = *next++;
    if (!is_retired) continue;
    const auto disk = sys::open_directory(directory_of(number), sys::DirectoryMode::open_existing);
    const auto free_bytes = disk ? (*disk)->free_bytes() : Result<std::uint64_t>(0);
    if (free_bytes && *free_bytes >= kFreeBytesMin) return;
    DOLMEN_PROBE("cluster.retired_image_removed");
    (void)clear(number);  // or else before another replica is made
  }
}

Result<void> SpaceMachines::clear(cluster::GroupNumber number) {
  spaces_.erase(number);
  retired_.erase(number);
  const auto disk = sys::open_directory(directory_of(number), sys::DirectoryMode::open_existing);
  if (!disk) return {};
  DOLMEN_TRY(const auto names, (*disk)->list());
  // Without that one the others are nothing, also if this is cut short.
  const auto is_root = [](std::string_view name) { return name == kRoot || name == kRetiredRoot; };
  for (const std::string& name : names) {
    if (!is_root(name)) continue;
    DOLMEN_CHECK((*disk)->remove(name));
    DOLMEN_CHECK((*disk)->sync_directory());
  }
  for (const std::string& name : names) {
    if (!is_root(name)) DOLMEN_CHECK((*disk)->remove(name));
  }
  return (*disk)->sync_directory();
}

}  // namespace dolmen::node
