// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "node/cluster_node.hpp"
#include "node/replicated_group.hpp"
#include "node/space_machine.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

/// A ReplicatedSpace has no other.
SpaceMachine& machine_of(ReplicatedSpace& space) {
  return static_cast<SpaceMachine&>(space.machine());
}

}  // namespace

Result<StateMachine*> SpaceMachines::open(cluster::GroupNumber number,
                                          const cluster::RootGroup& group) {
  if (group.kind != cluster::GroupKind::space) return nullptr;
  DOLMEN_TRY(auto space, ReplicatedSpace::open(directory_of(number), functions_, options_));
  auto& kept = spaces_[number];
  kept = std::make_unique<ReplicatedSpace>(std::move(space));
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

Result<void> SpaceMachines::clear(cluster::GroupNumber number) {
  spaces_.erase(number);
  const auto disk = sys::open_directory(directory_of(number), sys::DirectoryMode::open_existing);
  if (!disk) return {};
  DOLMEN_TRY(const auto names, (*disk)->list());
  // Without that one the others are nothing, also if this is cut short.
  constexpr const char* kRoot = "space";
  if (std::ranges::find(names, kRoot) != names.end()) {
    DOLMEN_CHECK((*disk)->remove(kRoot));
    DOLMEN_CHECK((*disk)->sync_directory());
  }
  for (const std::string& name : names) {
    if (name != kRoot) DOLMEN_CHECK((*disk)->remove(name));
  }
  return (*disk)->sync_directory();
}

}  // namespace dolmen::node
