// SPDX-License-Identifier: Apache-2.0
#include "replication/shared_lanes.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/checksum.hpp"
#include "base/hooks.hpp"
#include "fabric/shm_memory.hpp"
#include "log/witness_area.hpp"

namespace dolmen::replication {

namespace {

using fabric::shm::word_at;

/// Of one group on one node, lanes that wait for their writer included.
constexpr std::size_t kLanesMax = 64;

/// Raises it unless it is higher; a full fence behind that. The word as it was.
log::Epoch raise_word(base::MutableBytes directory, log::Epoch epoch) {
  const auto word = word_at<std::uint64_t>(directory, kDirectoryWordAt);
  std::uint64_t before = word.load(std::memory_order_seq_cst);
  while (before < epoch && !word.compare_exchange_weak(before, epoch, std::memory_order_seq_cst)) {
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return before;
}

}  // namespace

fabric::RegionId directory_region(const GroupId& group) {
  // Lanes count from 1.
  constexpr std::uint64_t kDirectory = std::uint64_t{1} << 31;
  const std::uint64_t mixed = base::mix_seed(group.high, group.low);
  return fabric::RegionId{static_cast<std::uint32_t>(kDirectory | (mixed & (kDirectory - 1)))};
}

Result<std::unique_ptr<SharedLanes>> SharedLanes::make(fabric::Endpoint& endpoint,
                                                       std::uint32_t& next_region,
                                                       const GroupId& group, log::ReplicaId self) {
  const fabric::RegionId region = directory_region(group);
  DOLMEN_TRY(const base::MutableBytes directory, endpoint.make_region(region, kDirectoryBytes));
  base::ByteWriter card;
  card.put(kDirectoryMagic);
  card.put(kDirectoryVersion);
  card.put_id(group);
  card.put(static_cast<std::uint64_t>(self));
  // Nobody looks before it was granted.
  std::ranges::copy(card.bytes(), directory.begin() + kDirectoryCardAt);
  return std::unique_ptr<SharedLanes>(
      new SharedLanes(endpoint, next_region, self, region, directory));
}

log::Epoch SharedLanes::word() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return word_at<std::uint64_t>(directory_, kDirectoryWordAt).load(std::memory_order_seq_cst);
}

log::Epoch SharedLanes::raise(log::Epoch epoch) { return raise_word(directory_, epoch); }

base::MutableBytes SharedLanes::make_lane(log::ReplicaId writer, log::LaneName name,
                                          std::size_t bytes) {
  if (writer == self_) return make_own(name, bytes);
  const auto slot = free_slot();
  Lane* const lane = slot ? find_room(bytes) : nullptr;
  if (lane == nullptr) return {};
  const fabric::NodeId node = node_of(writer);
  // Where it was granted before, this changes nothing.
  if (!endpoint_.grant(directory_region_, node, {.read = true, .write = true}) ||
      !endpoint_.grant(lane->region, node, {.read = true, .write = true})) {
    return {};
  }
  lane->use = Use::lane;
  lane->is_clean = false;
  lane->writer = writer;
  lane->name = name;
  lane->slot = *slot;
  write_slot(*slot, name, lane->region);
  return lane->bytes.first(bytes);
}

/// One that is clean, if there is any.
SharedLanes::Lane* SharedLanes::find_room(std::size_t bytes) {
  Lane* room = nullptr;
  for (Lane& lane : lanes_) {
    if (lane.use != Use::free || lane.bytes.size() < bytes) continue;
    const bool is_better = room != nullptr && lane.is_clean && !room->is_clean;
    if (room == nullptr || (is_better && !DOLMEN_PLANTED("replication.lane_reused"))) room = &lane;
  }
  if (room == nullptr) return make_room(bytes);
  if (!room->is_clean) {
    DOLMEN_PROBE("replication.lane_again");
    std::ranges::fill(room->bytes, std::byte{0});
    room->is_clean = true;
  }
  return room;
}

bool SharedLanes::is_prepared(std::size_t bytes) const noexcept {
  if (has_no_room_) return true;
  return !own_.empty() && std::ranges::any_of(lanes_, [&](const Lane& lane) {
    return lane.use == Use::free && lane.is_clean && lane.bytes.size() >= bytes;
  });
}

void SharedLanes::prepare(std::size_t bytes) {
  if (own_.empty()) has_no_room_ = !add_own(bytes);
  if (!is_prepared(bytes)) has_no_room_ = find_room(bytes) == nullptr;
}

SharedLanes::Lane* SharedLanes::make_room(std::size_t bytes) {
  if (lanes_.size() >= kLanesMax) return nullptr;
  const fabric::RegionId region{next_region_};
  const auto made = endpoint_.make_region(region, bytes);
  if (!made) return nullptr;
  ++next_region_;
  lanes_.push_back({.region = region, .bytes = *made});
  return &lanes_.back();
}

std::optional<std::size_t> SharedLanes::free_slot() const noexcept {
  for (std::size_t slot = 0; slot < kDirectorySlots; ++slot) {
    const bool is_used = std::ranges::any_of(
        lanes_, [&](const Lane& lane) { return lane.use == Use::lane && lane.slot == slot; });
    if (!is_used) return slot;
  }
  return std::nullopt;
}

void SharedLanes::write_slot(std::size_t slot, log::LaneName name,
                             fabric::RegionId region) noexcept {
  const std::size_t at = kDirectorySlotsAt + slot * kDirectorySlotBytes;
  word_at<std::uint32_t>(directory_, at + 12)
      .store(static_cast<std::uint32_t>(region), std::memory_order_relaxed);
  word_at<std::uint32_t>(directory_, at + 8).store(name.number, std::memory_order_relaxed);
  word_at<std::uint64_t>(directory_, at).store(name.epoch, std::memory_order_release);
}

// Nobody reads it ahead of what was written there: it need not be zero again.
base::MutableBytes SharedLanes::make_own(log::LaneName name, std::size_t bytes) {
  auto room = std::ranges::find_if(own_, [&](const OwnLane& lane) {
    return lane.use == Use::free && lane.bytes.size() >= bytes;
  });
  if (room == own_.end()) {
    if (!add_own(bytes)) return {};
    room = own_.end() - 1;
  }
  room->use = Use::lane;
  room->name = name;
  return room->bytes.first(bytes);
}

bool SharedLanes::add_own(std::size_t bytes) {
  const auto made = endpoint_.make_region(fabric::RegionId{next_region_}, bytes);
  if (!made) return false;
  ++next_region_;
  own_.push_back({.bytes = *made});
  return true;
}

void SharedLanes::drop_lane(log::LaneName name) {
  for (OwnLane& own : own_) {
    if (own.use == Use::lane && own.name == name) {
      own.use = Use::held;
      return;
    }
  }
  const auto lane = std::ranges::find_if(
      lanes_, [&](const Lane& one) { return one.use == Use::lane && one.name == name; });
  if (lane == lanes_.end()) return;
  // In an epoch that goes on, its writer has gone on to the next lane, or given it up. In one that
  // is over it may write, as somebody who does not know that yet.
  const bool is_over = word() > name.epoch && !DOLMEN_PLANTED("replication.lane_reused");
  lane->use = is_over ? Use::held : Use::free;
  has_no_room_ = has_no_room_ && is_over;
  write_slot(lane->slot, {}, {});
}

void SharedLanes::let_go(log::ReplicaId writer, log::Epoch epoch) noexcept {
  for (Lane& lane : lanes_) {
    const bool is_over = lane.writer == writer
                             ? lane.name.epoch < epoch
                             : node_of(lane.writer) == node_of(writer) && lane.writer < writer;
    if (lane.use != Use::held || !is_over) continue;
    lane.use = Use::free;
    has_no_room_ = false;
  }
}

void SharedLanes::carried_out() noexcept {
  for (OwnLane& own : own_) {
    if (own.use == Use::held) own.use = Use::free;
  }
}

// --- a leader ------------------------------------------------------------------------------------

LaneWriter::Target* LaneWriter::target_of(log::ReplicaId to) {
  const auto found = std::ranges::find(targets_, to, &Target::id);
  return found == targets_.end() ? nullptr : &*found;
}

LaneWriter::Target* LaneWriter::reach(log::ReplicaId to) {
  const auto name = endpoint_.connected(node_of(to));
  if (!name) return nullptr;
  Target* target = target_of(to);
  if (target == nullptr) {
    targets_.push_back({.id = to});
    target = &targets_.back();
  }
  if (target->name == *name) return target;
  if (!open(*target, *name)) return nullptr;
  // What was mapped of earlier lives of the node would stay in memory as long as this process.
  std::erase_if(targets_, [&](Target& earlier) {
    if (node_of(earlier.id) != node_of(to) || earlier.id >= to) return false;
    close(earlier);
    return true;
  });
  return target_of(to);
}

std::optional<base::MutableBytes> LaneWriter::map(Target& target, fabric::RegionId region) const {
  const auto mapped = endpoint_.map(target.name, region);
  if (!mapped) return std::nullopt;
  if (std::ranges::find(target.regions, region) == target.regions.end()) {
    target.regions.push_back(region);
  }
  return *mapped;
}

void LaneWriter::close(Target& target) const noexcept {
  for (const fabric::RegionId region : target.regions) endpoint_.unmap(target.name, region);
  const log::ReplicaId id = target.id;
  target = {.id = id};
}

bool LaneWriter::open(Target& target, const fabric::NodeName& name) const {
  close(target);
  target.name = name;
  if (read_directory(target)) return true;
  close(target);
  return false;
}

bool LaneWriter::read_directory(Target& target) const {
  const auto directory = map(target, directory_region(group_));
  if (!directory || directory->size() < kDirectoryBytes) return false;
  target.directory = *directory;
  std::array<std::byte, kDirectorySlotsAt - kDirectoryCardAt> copy;
  fabric::shm::copy_from_shared(copy, directory->data() + kDirectoryCardAt);
  base::ByteReader card(copy);
  const auto magic = card.get<std::uint32_t>();
  if (magic != kDirectoryMagic && magic != kWitnessDirectoryMagic) return false;
  if (card.get<std::uint32_t>() != kDirectoryVersion) return false;
  if (card.get_id() != group_) return false;
  if (card.get<std::uint64_t>() != static_cast<std::uint64_t>(target.id)) return false;
  return magic == kDirectoryMagic || open_areas(target);
}

bool LaneWriter::open_areas(Target& target) const {
  std::array<std::byte, kWitnessSlots * kDirectorySlotBytes> copy;
  fabric::shm::copy_from_shared(copy, target.directory.data() + kDirectorySlotsAt);
  base::ByteReader slots(copy);
  for (std::size_t slot = 0; slot < kWitnessSlots; ++slot) {
    Area area{.server = fabric::NodeId{slots.get<std::uint64_t>()},
              .number = slots.get<std::uint32_t>()};
    const fabric::RegionId region{slots.get<std::uint32_t>()};
    if (area.server == fabric::NodeId::nobody) continue;
    const auto bytes = map(target, region);
    if (!bytes || area.number >= log::kAreasOfServer || bytes->size() < log::kAreaHeaderBytes) {
      return false;
    }
    area.bytes = bytes->first(bytes->size() / 8 * 8);
    target.areas.push_back(area);
  }
  return true;
}

bool LaneWriter::open_lane(Target& target, log::LaneName name) const {
  target.lane_name = {};
  for (std::size_t slot = 0; slot < kDirectorySlots; ++slot) {
    const std::size_t at = kDirectorySlotsAt + slot * kDirectorySlotBytes;
    const auto epoch = word_at<std::uint64_t>(target.directory, at).load(std::memory_order_acquire);
    const auto number =
        word_at<std::uint32_t>(target.directory, at + 8).load(std::memory_order_relaxed);
    if (epoch != name.epoch || number != name.number) continue;
    const fabric::RegionId region{
        word_at<std::uint32_t>(target.directory, at + 12).load(std::memory_order_relaxed)};
    const auto lane = map(target, region);
    if (!lane) return false;
    const auto header = log::decode_lane_header(*lane);
    if (!header || header->owner != target.id || header->name != name) return false;
    target.lane_name = name;
    target.lane = lane->first(header->bytes);
    return true;
  }
  return false;
}

bool LaneWriter::land(const log::LaneWrite& write) {
  Target* const target = reach(write.to);
  if (target == nullptr) return false;
  base::MutableBytes into;
  if (write.area) {
    const auto area = std::ranges::find_if(target->areas, [&](const Area& one) {
      return one.server == endpoint_.self().node && one.number == *write.area;
    });
    if (area == target->areas.end()) return false;
    into = area->bytes;
  } else {
    if (target->lane_name != write.lane && !open_lane(*target, write.lane)) return false;
    into = target->lane;
  }
  const base::Bytes content = write.content();
  if (write.offset > into.size() || content.size() > into.size() - write.offset) return false;
  fabric::shm::copy_to_shared(into.data() + write.offset, content);
  return true;
}

std::optional<LaneWriter::Raised> LaneWriter::raise(log::ReplicaId to, log::Epoch epoch) {
  Target* const target = reach(to);
  if (target == nullptr || target->areas.empty()) return std::nullopt;
  Raised raised{.former = raise_word(target->directory, epoch)};
  for (const Area& area : target->areas) {
    const bool is_own = area.server == endpoint_.self().node;
    raised.areas.push_back(
        {.own = is_own ? std::optional(area.number) : std::nullopt, .bytes = area.bytes});
  }
  return raised;
}

log::Epoch LaneWriter::word(log::ReplicaId to) {
  Target* const target = target_of(to);
  if (target == nullptr || target->directory.empty()) return 0;
  return word_at<std::uint64_t>(target->directory, kDirectoryWordAt)
      .load(std::memory_order_seq_cst);
}

}  // namespace dolmen::replication
