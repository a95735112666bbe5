// SPDX-License-Identifier: Apache-2.0
//
// A HomeTable as bytes (docs/formats/homes.md).
#include <bit>
#include <utility>

#include "base/hooks.hpp"
#include "cluster/home_table.hpp"

namespace dolmen::cluster {

namespace {

constexpr std::size_t kHomeRowBytes = 28;
constexpr std::uint8_t kIsRegistered = 1;
constexpr std::uint8_t kIsCancelled = 2;

std::unexpected<Error> damaged_homes() { return fail(Errc::corrupt, "the homes of a group"); }

bool has_peer(HomeState state) noexcept {
  return state == HomeState::leaving || state == HomeState::arriving || state == HomeState::gone;
}
bool is_moving(HomeState state) noexcept {
  return state == HomeState::leaving || state == HomeState::arriving;
}

void put_row(base::ByteWriter& out, const ObjectId& id, const HomeRow& row) {
  out.put_id(id);
  out.put(static_cast<std::uint8_t>(row.state));
  out.put(static_cast<std::uint8_t>((row.is_registered ? kIsRegistered : 0) |
                                    (row.is_cancelled ? kIsCancelled : 0)));
  out.put(row.length_class);
  out.put(row.counter);
  if (has_peer(row.state)) out.put(row.peer);
  if (!is_moving(row.state)) return;
  out.put(row.move);
  out.put(row.object_bytes);
  out.put(row.moved_bytes);
  out.put(row.hash);
  out.put(row.parts);
  if (row.state == HomeState::leaving) {
    out.put(row.part_bytes);
    out.put(row.acknowledged);
  } else {
    out.put(row.moved_hash);
  }
}

bool is_possible(const HomeRow& row, GroupNumber self, MoveNumber moves) {
  if (row.counter == 0 || row.counter > kMoveCounterMax) return false;
  if (has_peer(row.state) && (row.peer == 0 || row.peer == self)) return false;
  const bool may_be_registered = row.state == HomeState::here || row.state == HomeState::erased;
  if (row.is_registered && !may_be_registered && row.state != HomeState::leaving) return false;
  if (row.is_cancelled && (row.state != HomeState::leaving || row.parts == 0)) return false;
  if (row.counter >= kMoveCounterMax && row.state != HomeState::here &&
      row.state != HomeState::erased && row.state != HomeState::gone) {
    return false;
  }
  if (row.state == HomeState::erased && !row.is_registered && row.counter >= kMoveCounterMax) {
    return false;
  }
  if (!is_moving(row.state)) return true;
  if (row.move == 0 || row.object_bytes > kHomeObjectBytesMax) return false;
  if (row.moved_bytes > row.object_bytes) return false;
  if (row.state == HomeState::arriving) {
    return row.parts > 0 && row.moved_bytes < row.object_bytes;
  }
  if (row.move > moves || !row.is_registered) return false;
  if (row.part_bytes == 0 || row.part_bytes > kHomePartBytesMax) return false;
  if (row.acknowledged > row.parts) return false;
  if ((row.object_bytes + row.part_bytes - 1) / row.part_bytes > ~std::uint32_t{0}) return false;
  const std::uint64_t whole = std::uint64_t{row.parts} * row.part_bytes;
  // An object without bytes travels in one part.
  if (row.object_bytes == 0) return row.parts <= 1;
  if (row.moved_bytes == row.object_bytes) {
    return whole >= row.object_bytes && whole - row.object_bytes < row.part_bytes;
  }
  return row.moved_bytes == whole;
}

}  // namespace

std::vector<std::byte> HomeTable::snapshot() const {
  if (!steps_.empty()) {
    HomeTable settled = *this;
    settled.undo(steps_.front().index);
    return settled.snapshot();
  }
  base::ByteWriter out;
  out.put(kHomeTableMagic);
  out.put(static_cast<std::uint16_t>(kHomeTableVersion));
  out.put(static_cast<std::uint16_t>(is_draining_ ? 1 : 0));
  out.put(self_);
  out.put(static_cast<std::uint32_t>(shards_.size()));
  out.put(static_cast<std::uint32_t>(closed_.size()));
  out.put(static_cast<std::uint32_t>(rows_.size()));
  out.put(moves_);
  for (const GroupNumber group : shards_) out.put(group);
  for (const GroupNumber group : closed_) out.put(group);
  for (const auto& [id, row] : rows_) put_row(out, id, row);
  return out.release();
}

Result<void> HomeTable::restore(base::Bytes snapshot) {
  base::ByteReader in(snapshot);
  if (in.get<std::uint32_t>() != kHomeTableMagic) return damaged_homes();
  if (const auto version = in.get<std::uint16_t>(); version != kHomeTableVersion) {
    if (in.failed()) return damaged_homes();
    return fail(Errc::version_unsupported, "the homes of a group", version);
  }
  const auto flags = in.get<std::uint16_t>();
  if (flags > 1 || in.get<GroupNumber>() != self_) return damaged_homes();
  const auto shards = in.get<std::uint32_t>();
  const auto closed = in.get<std::uint32_t>();
  const auto rows = in.get<std::uint32_t>();
  HomeTable read(self_, limits_);
  read.is_draining_ = flags == 1;
  read.moves_ = in.get<MoveNumber>();
  if (in.failed() || shards > 1u << kShardBitsMax || closed > kGroupsMax) return damaged_homes();
  if (shards != 0 && !std::has_single_bit(shards)) return damaged_homes();
  // Every object has somebody who is to be told of it.
  if (rows > limits_.objects_max || (rows > 0 && shards == 0)) return damaged_homes();
  if (read.moves_ >= ~std::uint64_t{0} >> 1) return damaged_homes();
  for (std::uint32_t i = 0; i < shards && !in.failed(); ++i) {
    const auto group = in.get<GroupNumber>();
    if (group == 0 || group == self_) return damaged_homes();
    read.shards_.push_back(group);
  }
  for (std::uint32_t i = 0; i < closed && !in.failed(); ++i) {
    const auto group = in.get<GroupNumber>();
    // Ascending, so that a state that is understood is exactly what snapshot() gives.
    if (group == 0 || group == self_) return damaged_homes();
    if (!read.closed_.empty() && group <= *read.closed_.rbegin()) return damaged_homes();
    read.closed_.insert(group);
  }
  if (rows > in.remaining() / kHomeRowBytes) return damaged_homes();
  for (std::uint32_t i = 0; i < rows; ++i) {
    const ObjectId id = in.get_id();
    const auto state = in.get<std::uint8_t>();
    if (in.failed() || id.is_null() || state < 1 || state > 5) return damaged_homes();
    if (!read.rows_.empty() && id <= read.rows_.rbegin()->first) return damaged_homes();
    HomeRow row{.state = static_cast<HomeState>(state)};
    const auto bits = in.get<std::uint8_t>();
    if (bits > (kIsRegistered | kIsCancelled)) return damaged_homes();
    row.is_registered = (bits & kIsRegistered) != 0;
    row.is_cancelled = (bits & kIsCancelled) != 0;
    row.length_class = in.get<std::uint16_t>();
    row.counter = in.get<MoveCounter>();
    if (has_peer(row.state)) row.peer = in.get<GroupNumber>();
    if (is_moving(row.state)) {
      row.move = in.get<MoveNumber>();
      row.object_bytes = in.get<std::uint64_t>();
      row.moved_bytes = in.get<std::uint64_t>();
      row.hash = in.get<std::uint64_t>();
      row.parts = in.get<std::uint32_t>();
      if (row.state == HomeState::leaving) {
        row.part_bytes = in.get<std::uint32_t>();
        row.acknowledged = in.get<std::uint32_t>();
      } else {
        row.moved_hash = in.get<std::uint64_t>();
      }
    }
    if (in.failed() || !is_possible(row, self_, read.moves_)) return damaged_homes();
    if (row.state == HomeState::arriving && DOLMEN_PLANTED("cluster.home_arrivals_forgotten")) {
      continue;
    }
    read.set_row(id, row);
  }
  if (!in.finished()) return damaged_homes();
  *this = std::move(read);
  return {};
}

}  // namespace dolmen::cluster
