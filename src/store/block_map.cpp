// SPDX-License-Identifier: Apache-2.0
#include "store/block_map.hpp"

#include <algorithm>
#include <cstring>

#include <dolmen/assert.hpp>

namespace dolmen::store {
namespace {

constexpr std::uint8_t kFull = 0xFF;
constexpr std::uint64_t kFrameBytes = kFrameUnits * kUnitBytes;

// The units [from, from + count) of one frame as bits.
constexpr std::uint8_t mask(std::uint64_t from, std::uint64_t count) noexcept {
  return static_cast<std::uint8_t>(((1u << count) - 1) << from);
}

// The first aligned free place for a block in a frame, or kFrameUnits.
constexpr std::uint64_t place_in(std::uint8_t taken, unsigned size_log2) noexcept {
  const std::uint64_t units = std::uint64_t{1} << size_log2;
  for (std::uint64_t at = 0; at < kFrameUnits; at += units) {
    if ((taken & mask(at, units)) == 0) return at;
  }
  return kFrameUnits;
}

constexpr auto kPlaces = [] {
  std::array<std::array<std::uint8_t, 256>, 4> places{};
  for (unsigned size = 0; size < 4; ++size) {
    for (unsigned taken = 0; taken < 256; ++taken) {
      places[size][taken] =
          static_cast<std::uint8_t>(place_in(static_cast<std::uint8_t>(taken), size));
    }
  }
  return places;
}();

}  // namespace

void append_run(std::vector<BlockRun>& runs, BlockLoc loc) {
  if (!runs.empty() && runs.back().first + runs.back().count == loc.unit()) {
    runs.back().count += loc.units();
  } else {
    runs.push_back({loc.unit(), loc.units()});
  }
}

BlockMap::BlockMap(std::uint64_t file_bytes)
    : frames_((file_bytes + kFrameBytes - 1) / kFrameBytes), backed_(frames_.size(), true) {}

bool BlockMap::mark(BlockLoc loc) {
  const std::uint64_t frame = loc.unit() / kFrameUnits;
  if (frame >= frames_.size()) return false;
  const std::uint8_t bits = mask(loc.unit() % kFrameUnits, loc.units());
  if ((frames_[frame] & bits) != 0) return false;
  frames_[frame] |= bits;
  used_units_ += loc.units();
  return true;
}

void BlockMap::mark_everything() {
  std::ranges::fill(frames_, kFull);
  used_units_ = frames_.size() * kFrameUnits;
}

std::uint64_t BlockMap::allocate(unsigned size_log2) {
  DOLMEN_ASSERT_CMP(size_log2, <, 4u);
  std::uint64_t frame = cursor_[size_log2];
  const auto& places = kPlaces[size_log2];
  if (size_log2 == kNodeSizeLog2 && frame < frames_.size()) {
    const void* const found = std::memchr(&frames_[frame], 0, frames_.size() - frame);
    frame =
        found == nullptr
            ? frames_.size()
            : static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(found) - frames_.data());
  } else {
    while (frame < frames_.size() && places[frames_[frame]] == kFrameUnits) ++frame;
  }
  if (frame == frames_.size()) {
    backed_.resize(frames_.size() + 1);  // one more than frames, if there is no memory for the next
    frames_.push_back(0);
  }
  cursor_[size_log2] = frame;
  const std::uint64_t place = places[frames_[frame]];
  const std::uint64_t units = std::uint64_t{1} << size_log2;
  DOLMEN_ASSERT(place + units <= kFrameUnits);
  frames_[frame] |= mask(place, units);
  backed_[frame] = true;
  used_units_ += units;
  return frame * kFrameUnits + place;
}

void BlockMap::release(const BlockRun& units) {
  const std::uint64_t end = units.first + units.count;
  for (std::uint64_t at = units.first; at < end;) {
    const std::uint64_t frame = at / kFrameUnits;
    const std::uint64_t count = std::min(kFrameUnits - at % kFrameUnits, end - at);
    const std::uint8_t bits = mask(at % kFrameUnits, count);
    DOLMEN_ASSERT(frame < frames_.size() && (frames_[frame] & bits) == bits);
    frames_[frame] &= static_cast<std::uint8_t>(~bits);
    at += count;
  }
  used_units_ -= units.count;
}

std::vector<BlockRun> BlockMap::take_free() {
  std::vector<BlockRun> runs;
  for (std::uint64_t unit = 0; unit < frames_.size() * kFrameUnits; ++unit) {
    if ((frames_[unit / kFrameUnits] & mask(unit % kFrameUnits, 1)) == 0) {
      append_run(runs, BlockLoc(unit, 0, 0));
    }
  }
  mark_everything();
  return runs;
}

std::vector<BlockRun> BlockMap::idle_frames() const {
  std::vector<BlockRun> runs;
  for (std::uint64_t frame = 0; frame < frames_.size(); ++frame) {
    if (frames_[frame] != 0 || !backed_[frame]) continue;
    if (!runs.empty() && runs.back().first + runs.back().count == frame) {
      ++runs.back().count;
    } else {
      runs.push_back({frame, 1});
    }
  }
  std::ranges::sort(runs, [](const BlockRun& a, const BlockRun& b) {
    return a.count != b.count ? a.count > b.count : a.first > b.first;
  });
  return runs;
}

std::optional<std::uint64_t> BlockMap::cut_tail() {
  std::uint64_t end = frames_.size();
  while (end > 0 && frames_[end - 1] == 0) --end;
  if (end == frames_.size()) return std::nullopt;
  frames_.resize(end);
  backed_.resize(end);
  return end * kFrameBytes;
}

void BlockMap::given_back(const BlockRun& frames) {
  for (std::uint64_t frame = frames.first; frame < frames.first + frames.count; ++frame) {
    DOLMEN_ASSERT(frames_[frame] == 0);
    backed_[frame] = false;
  }
}

}  // namespace dolmen::store
