// SPDX-License-Identifier: Apache-2.0
//
// The root: where recovery starts. The file `space` holds four slots of 4 KiB; generation g lives
// in the slots 2*(g%2) and 2*(g%2)+1, written one after the other, each followed by its own sync.
// So a crash leaves at most one slot that does not verify, and a valid older root beside it; two or
// more such slots are damage. docs/formats/space.md has the bytes.
//
// Pure functions over bytes; safe from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "store/page_tree.hpp"
#include "store/store.hpp"

namespace dolmen::store {

inline constexpr std::uint32_t kRootVersion = 1;
inline constexpr std::size_t kRootSlotBytes = 4096;
inline constexpr unsigned kRootSlots = 4;
inline constexpr std::size_t kRootFileBytes = kRootSlots * kRootSlotBytes;
/// Log segments that one root can name.
inline constexpr std::size_t kLogSegmentsMax = 160;

/// One log segment of a root's list: which file, in which of its lives, from which record on.
struct SegmentRef {
  std::uint32_t file = 0;         ///< the number in its name
  std::uint64_t incarnation = 0;  ///< never used twice in a space
  Index first_index = 0;          ///< all records before it are durable in the segments before it
  friend constexpr bool operator==(const SegmentRef&, const SegmentRef&) = default;
};

struct Root {
  ObjectId space;
  std::uint64_t generation = 0;
  std::uint64_t next_incarnation = 1;
  std::uint64_t created_wall_ns = 0;
  std::uint64_t tail_bytes_max = 0;
  std::uint32_t segment_bytes = 0;
  Contents contents = Contents::objects;
  Index checkpoint_index = 0;  ///< the tree holds everything up to here
  Index durable_index = 0;     ///< known durable when this was written; damage if it is gone
  TreeRoot tree;
  std::vector<SegmentRef> segments;  ///< in order; strictly rising incarnations and first indices
  friend bool operator==(const Root&, const Root&) = default;
};

/// Requires: root.segments.size() <= kLogSegmentsMax; out.size() == kRootSlotBytes.
void encode_root(const Root& root, base::MutableBytes out) noexcept;

/// Errors: corrupt; version_unsupported (it verifies but is of another version).
[[nodiscard]] Result<Root> decode_root(base::Bytes slot);

[[nodiscard]] constexpr unsigned root_pair(std::uint64_t generation) noexcept {
  return static_cast<unsigned>(generation % 2) * 2;
}

/// The root in force and what is to be repaired before the next switch.
struct RootChoice {
  Root root;
  std::array<bool, kRootSlots> bad{};  ///< does not verify, or must not be there; at most one
};

/// Picks the root in force from the contents of the file.
/// Errors: not_a_space, version_unsupported, corrupt.
[[nodiscard]] Result<RootChoice> choose_root(base::Bytes file);

}  // namespace dolmen::store
