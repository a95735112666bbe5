// SPDX-License-Identifier: Apache-2.0
#include "sim/disk_model.hpp"

#include <algorithm>
#include <array>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::sim {
namespace {

bool changes_names(OpKind kind) noexcept {
  return kind == OpKind::create || kind == OpKind::rename || kind == OpKind::remove;
}

}  // namespace

std::string DiskOp::to_string() const {
  static constexpr std::array<const char*, 12> kNames = {
      "create", "write",  "resize", "allocate",       "punch",           "sync",
      "sync!",  "rename", "remove", "sync_directory", "sync_directory!", "flip_bit"};
  std::string text = kNames[static_cast<std::size_t>(kind)];
  if (!name.empty()) text += " " + name;
  if (!to.empty()) text += " to " + to;
  if (kind == OpKind::resize) text += " to " + std::to_string(size);
  if (kind == OpKind::write || kind == OpKind::punch || kind == OpKind::allocate) {
    text += " [" + std::to_string(offset) + ", +" + std::to_string(bytes) + ")";
  }
  return text;
}

void DiskModel::apply_to_names(const DiskOp& op, Names& names) {
  switch (op.kind) {
    case OpKind::create:
      names[op.name] = op.inode;
      break;
    case OpKind::rename:
      names[op.to] = op.inode;
      [[fallthrough]];
    case OpKind::remove:
      // Only that very file: the name may be another's when earlier changes are lost.
      if (const auto found = names.find(op.name);
          found != names.end() && found->second == op.inode) {
        names.erase(found);
      }
      break;
    default:
      DOLMEN_UNREACHABLE("not a change of names");
  }
}

void DiskModel::apply_to_image(const Pending& pending, Image& image) {
  const DiskOp& op = *pending.op;
  switch (op.kind) {
    case OpKind::write:
      image.contents.write(op.offset, *op.data);
      if (pending.resizes) image.size = std::max(image.size, op.size);
      break;
    case OpKind::resize:
      image.contents.truncate(op.size);
      image.size = op.size;
      break;
    case OpKind::allocate:
      image.contents.allocate(op.offset, op.bytes);
      image.size = std::max(image.size, op.offset + op.bytes);
      break;
    case OpKind::punch:
      image.contents.zero(op.offset, op.bytes);
      break;
    default:
      DOLMEN_UNREACHABLE("not a change of a file");
  }
}

void DiskModel::apply_units(const Pending& pending, std::uint64_t first_unit,
                            const UnitChoice& choice, Image& image) {
  const DiskOp& op = *pending.op;
  if (choice.keeps_none(first_unit, pending.units)) return;
  if (choice.keeps_all(first_unit, pending.units)) return apply_to_image(pending, image);
  if (op.kind != OpKind::write) {
    if (choice.kept_bytes(first_unit) == UnitChoice::kWhole) apply_to_image(pending, image);
    return;
  }
  std::uint64_t unit = first_unit;
  if (pending.resizes && choice.kept_bytes(unit++) == UnitChoice::kWhole) {
    image.size = std::max(image.size, op.size);
  }
  for (std::size_t at = 0; at < op.data->size(); at += kSectorBytes, ++unit) {
    const std::size_t kept = std::min<std::size_t>(choice.kept_bytes(unit), kSectorBytes);
    image.contents.write(op.offset + at, base::Bytes(*op.data).subspan(at, kept));
  }
}

void DiskModel::apply(const DiskOpPtr& shared) {
  const DiskOp& op = *shared;
  switch (op.kind) {
    case OpKind::create:
      DOLMEN_ASSERT_CMP(op.inode, ==, next_inode_);
      inodes_[next_inode_++];
      [[fallthrough]];
    case OpKind::rename:
    case OpKind::remove:
      apply_to_names(op, names_);
      pending_.push_back({shared, 1, false});
      break;
    case OpKind::write: {
      Inode& inode = inodes_.at(op.inode);
      const bool resizes = op.size > inode.current.size;
      pending_.push_back({shared, op.data->size() / kSectorBytes + (resizes ? 1 : 0), resizes});
      apply_to_image(pending_.back(), inode.current);
      break;
    }
    case OpKind::resize:
    case OpKind::allocate:
    case OpKind::punch:
      pending_.push_back({shared, 1, false});
      apply_to_image(pending_.back(), inodes_.at(op.inode).current);
      break;
    case OpKind::sync:
      sync(op.inode);
      break;
    case OpKind::sync_failed:
      fail_sync(op.inode, op.seed);
      break;
    case OpKind::sync_directory:
      sync_names(nullptr);
      break;
    case OpKind::sync_directory_failed: {
      const UnitChoice choice({CrashPlan::Kind::random, op.seed, 0}, pending_.size());
      sync_names(&choice);
      break;
    }
    case OpKind::flip_bit: {
      Inode& inode = inodes_.at(op.inode);
      for (Image* image : {&inode.current, &inode.durable}) {
        std::byte value{};
        image->contents.read(op.offset, base::MutableBytes(&value, 1));
        value ^= static_cast<std::byte>(1u << op.bytes);
        image->contents.write(op.offset, base::Bytes(&value, 1));
      }
      break;
    }
  }
}

void DiskModel::sync(InodeId id) {
  Inode& inode = inodes_.at(id);
  for (const Pending& pending : pending_) {
    if (!inode.diverged || pending.op->inode != id || changes_names(pending.op->kind)) continue;
    apply_to_image(pending, inode.durable);
  }
  if (!inode.diverged) inode.durable = inode.current;
  std::erase_if(pending_, [&](const Pending& pending) {
    return pending.op->inode == id && !changes_names(pending.op->kind);
  });
}

// The kernel reports a failed write-out once and forgets it: the pages count as clean although
// nobody knows what reached the disk, and no later sync writes them.
void DiskModel::fail_sync(InodeId id, std::uint64_t seed) {
  Inode& inode = inodes_.at(id);
  inode.diverged = true;
  std::uint64_t units = 0;
  const auto is_ours = [&](const Pending& pending) {
    return pending.op->inode == id && !changes_names(pending.op->kind);
  };
  for (const Pending& pending : pending_) units += is_ours(pending) ? pending.units : 0;
  const UnitChoice choice({CrashPlan::Kind::random, seed, 0}, units);
  std::uint64_t first = 0;
  for (const Pending& pending : pending_) {
    if (!is_ours(pending)) continue;
    apply_units(pending, first, choice, inode.durable);
    first += pending.units;
  }
  std::erase_if(pending_, is_ours);
}

void DiskModel::sync_names(const UnitChoice* choice) {
  std::uint64_t number = 0;
  for (const Pending& pending : pending_) {
    const bool kept = choice == nullptr || choice->kept_bytes(number) == UnitChoice::kWhole;
    if (changes_names(pending.op->kind) && kept) apply_to_names(*pending.op, durable_names_);
    ++number;
  }
  std::erase_if(pending_, [](const Pending& pending) { return changes_names(pending.op->kind); });
}

DiskModel DiskModel::crash(const CrashPlan& plan) const {
  const UnitChoice choice(plan, plan.kind == CrashPlan::Kind::random ? pending_units() : 0);
  DiskModel after;
  after.next_inode_ = next_inode_;
  after.names_ = durable_names_;
  std::uint64_t unit = 0;
  for (const Pending& pending : pending_) {
    if (changes_names(pending.op->kind) && choice.kept_bytes(unit) == UnitChoice::kWhole) {
      apply_to_names(*pending.op, after.names_);
    }
    unit += pending.units;
  }
  for (const auto& [name, id] : after.names_) after.inodes_[id].current = inodes_.at(id).durable;

  unit = 0;
  for (const Pending& pending : pending_) {
    const auto found = after.inodes_.find(pending.op->inode);
    if (!changes_names(pending.op->kind) && found != after.inodes_.end()) {
      apply_units(pending, unit, choice, found->second.current);
    }
    unit += pending.units;
  }
  for (auto& [id, inode] : after.inodes_) {
    inode.current.contents.truncate(inode.current.size);
    inode.durable = inode.current;
  }
  after.durable_names_ = after.names_;
  return after;
}

InodeId DiskModel::find(std::string_view name) const {
  const auto found = names_.find(name);
  return found != names_.end() ? found->second : 0;
}

const SparseBytes& DiskModel::contents(InodeId inode) const {
  return inodes_.at(inode).current.contents;
}

std::uint64_t DiskModel::size(InodeId inode) const { return inodes_.at(inode).current.size; }

std::uint64_t DiskModel::allocated_sectors() const noexcept {
  std::uint64_t sectors = 0;
  for (const auto& [name, id] : names_) {
    sectors += inodes_.at(id).current.contents.allocated_sectors();
  }
  return sectors;
}

void DiskModel::forget_unreachable(const std::map<InodeId, int>& open) {
  for (auto it = inodes_.begin(); it != inodes_.end();) {
    const InodeId id = (it++)->first;
    if (!open.contains(id) && !is_reachable(id)) forget(id);
  }
}

bool DiskModel::is_reachable(InodeId inode) const noexcept {
  const auto is_it = [inode](const auto& entry) { return entry.second == inode; };
  return std::ranges::any_of(names_, is_it) || std::ranges::any_of(durable_names_, is_it) ||
         std::ranges::any_of(pending_, [inode](const Pending& pending) {
           return pending.op->inode == inode && changes_names(pending.op->kind);
         });
}

void DiskModel::forget(InodeId inode) {
  inodes_.erase(inode);
  std::erase_if(pending_, [&](const Pending& pending) { return pending.op->inode == inode; });
}

std::vector<UnitRange> DiskModel::pending() const {
  std::vector<UnitRange> ranges;
  std::uint64_t first = 0;
  for (const Pending& pending : pending_) {
    ranges.push_back({first, pending.units, pending.op.get()});
    first += pending.units;
  }
  return ranges;
}

std::uint64_t DiskModel::pending_units() const noexcept {
  std::uint64_t units = 0;
  for (const Pending& pending : pending_) units += pending.units;
  return units;
}

std::uint64_t DiskModel::contents_hash() const {
  std::uint64_t hash = 0;
  std::vector<std::byte> part(64 << 10);
  for (const auto& [name, id] : names_) {
    const std::uint64_t bytes = size(id);
    hash = base::mix_seed(base::checksum64(base::as_bytes(name), hash), bytes);
    for (std::uint64_t at = 0; at < bytes; at += part.size()) {
      contents(id).read(at, part);
      hash = base::checksum64(part, hash);
    }
  }
  return hash;
}

}  // namespace dolmen::sim
