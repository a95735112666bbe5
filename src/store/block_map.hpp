// SPDX-License-Identifier: Apache-2.0
//
// Which 512-byte units of the page file are in use, in memory: one bit per unit, and one per 4 KiB
// frame that says whether the frame may occupy disk. Blocks are 1, 2, 4 or 8 units, aligned to
// their size, so a frame's units are one byte of the map.
//
// Invariant: a unit is free only if no tree that may still be read or recovered reaches it.
//
// Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "store/page_node.hpp"

namespace dolmen::store {

inline constexpr std::uint64_t kFrameUnits = 8;

/// Neighbouring units, or neighbouring frames.
struct BlockRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// Appends a block's units, as part of the last run where they follow it.
void append_run(std::vector<BlockRun>& runs, BlockLoc loc);

class BlockMap {
 public:
  /// A file of this size, whose frames all may occupy disk, with every unit free.
  explicit BlockMap(std::uint64_t file_bytes);

  /// Takes units of the present file for a known block. False: outside the file, or taken already.
  [[nodiscard]] bool mark(BlockLoc loc);
  void mark_everything();
  /// The lowest fitting free block at or above what this round has allocated; grows the file's end.
  [[nodiscard]] std::uint64_t allocate(unsigned size_log2);
  /// The next allocations begin at the start of the file again.
  void rewind() noexcept { cursor_.fill(0); }
  void release(const BlockRun& units);
  /// Every free run below the file's end, taken.
  [[nodiscard]] std::vector<BlockRun> take_free();

  /// Free frames that may occupy disk, the longest runs first.
  [[nodiscard]] std::vector<BlockRun> idle_frames() const;
  /// Drops the free frames at the file's end; gives the file's new size if there are any.
  [[nodiscard]] std::optional<std::uint64_t> cut_tail();
  /// These free frames do not occupy disk any more.
  void given_back(const BlockRun& frames);

  [[nodiscard]] std::uint64_t used_units() const noexcept { return used_units_; }
  [[nodiscard]] std::uint64_t frame_count() const noexcept { return frames_.size(); }

 private:
  std::vector<std::uint8_t> frames_;  // a set bit is a used unit
  std::vector<bool> backed_;
  std::array<std::uint64_t, 4> cursor_{};  // frame, by size
  std::uint64_t used_units_ = 0;
};

}  // namespace dolmen::store
