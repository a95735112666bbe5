// SPDX-License-Identifier: Apache-2.0
//
// The region of a hash index as its writer sees it (docs/index.md): words that others read while
// they are stored, each as a whole and in this order. What the writer has to know beside buckets,
// directory and records stands in the region too, so that the region is the whole state.
//
// Threads: one writes; any may read the region through copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/bytes.hpp"
#include "cluster/index_layout.hpp"
#include "cluster/record_heap.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

/// The words at kIndexStateAt. Readers look at the depth, as a hint.
struct IndexState {
  log::Index applied = 0;  ///< the last entry
  std::uint32_t depth = 0;
  std::uint32_t epoch = 0;
  std::uint64_t keys = 0;
  std::uint32_t buckets_used = 0;  ///< that were ever used: the first ones
  std::uint32_t buckets_live = 0;
  std::uint32_t buckets_retired = 0;
  BucketNumber free_bucket = kNoBucket;
  BucketNumber retired_first = kNoBucket;
  BucketNumber retired_last = kNoBucket;
  HeapState heap{};
};
static_assert(std::is_trivially_copyable_v<IndexState> && sizeof(IndexState) % 8 == 0 &&
              std::has_unique_object_representations_v<IndexState>);
static_assert(sizeof(IndexState) == 304 && kIndexStateAt + sizeof(IndexState) <= kDirectoryAt,
              "a part of the format");
/// Where readers find the directory's depth (the low half of a word).
inline constexpr std::size_t kDepthAt = kIndexStateAt + offsetof(IndexState, depth);
static_assert(kDepthAt % 8 == 0);

class IndexMemory : public SharedWords {
 public:
  /// Requires: the region begins at a multiple of 8 and has room for the geometry.
  IndexMemory(base::MutableBytes region, const IndexGeometry& geometry);

  [[nodiscard]] const IndexGeometry& geometry() const noexcept { return geometry_; }

  /// Requires: it was written.
  [[nodiscard]] Bucket bucket(BucketNumber number) const;
  /// Gives it its next sequence number. Readers see what was there, or this, or nothing.
  void write_bucket(BucketNumber number, Bucket bucket);
  /// Readers see nothing until it is written again.
  void spoil_bucket(BucketNumber number) noexcept;

  [[nodiscard]] IndexState state() const noexcept;
  void write_state(const IndexState& state) noexcept;

 private:
  IndexGeometry geometry_;
};

}  // namespace dolmen::cluster
