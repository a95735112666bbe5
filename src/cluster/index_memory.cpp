// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_memory.hpp"

#include <array>
#include <bit>

#include <dolmen/assert.hpp>

namespace dolmen::cluster {

IndexMemory::IndexMemory(base::MutableBytes region, const IndexGeometry& geometry)
    : SharedWords(region), geometry_(geometry) {
  DOLMEN_ASSERT(geometry.is_possible(region.size()));
}

Bucket IndexMemory::bucket(BucketNumber number) const {
  DOLMEN_ASSERT(number != kNoBucket && number <= geometry_.bucket_count);
  Bucket found;
  const bool is_one =
      view_bucket(found, bytes(geometry_.bucket_at(number), kBucketBytes), number, geometry_);
  DOLMEN_ASSERT(is_one && "the region is written by its owner alone");
  return found;
}

void IndexMemory::write_bucket(BucketNumber number, Bucket bucket) {
  const std::size_t at = geometry_.bucket_at(number);
  bucket.sequence = next_sequence(at);
  store_piece(at, encode_bucket(bucket, number, geometry_));
}

void IndexMemory::spoil_bucket(BucketNumber number) noexcept {
  spoil_piece(geometry_.bucket_at(number));
}

IndexState IndexMemory::state() const noexcept {
  return base::load<IndexState>(bytes(kIndexStateAt, sizeof(IndexState)));
}

void IndexMemory::write_state(const IndexState& state) noexcept {
  const auto image = std::bit_cast<std::array<std::byte, sizeof(IndexState)>>(state);
  store_bytes(kIndexStateAt, image);
}

}  // namespace dolmen::cluster
