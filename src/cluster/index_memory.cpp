// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_memory.hpp"

#include <bit>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

IndexMemory::IndexMemory(base::MutableBytes region, const IndexGeometry& geometry)
    : region_(region), geometry_(geometry) {
  DOLMEN_ASSERT(geometry.is_possible(region.size()));
}

void IndexMemory::store(std::size_t at, std::uint64_t value) noexcept {
  auto* const place =
      static_cast<std::uint64_t*>(static_cast<void*>(region_.subspan(at, sizeof value).data()));
  __atomic_store_n(place, value, __ATOMIC_RELEASE);
  DOLMEN_STEP("cluster.index_store");
}

void IndexMemory::store_half(std::size_t at, std::uint32_t value) noexcept {
  auto* const place =
      static_cast<std::uint32_t*>(static_cast<void*>(region_.subspan(at, sizeof value).data()));
  __atomic_store_n(place, value, __ATOMIC_RELEASE);
  DOLMEN_STEP("cluster.index_store");
}

void IndexMemory::store_bytes(std::size_t at, base::Bytes bytes) noexcept {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const auto value = base::load<std::uint64_t>(bytes, i);
    if (word(at + i) != value) store(at + i, value);
  }
}

void IndexMemory::clear(std::size_t at, std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; i += sizeof(std::uint64_t)) {
    if (word(at + i) != 0) store(at + i, 0);
  }
}

Bucket IndexMemory::bucket(BucketNumber number) const {
  DOLMEN_ASSERT(number != kNoBucket && number <= geometry_.bucket_count);
  const auto found =
      decode_bucket(bytes(geometry_.bucket_at(number), kBucketBytes), number, geometry_);
  DOLMEN_ASSERT(found && "the region is written by its owner alone");
  return *found;
}

void IndexMemory::write_bucket(BucketNumber number, Bucket bucket) {
  const std::size_t at = geometry_.bucket_at(number);
  const std::uint64_t former = word(at + 8);
  bucket.sequence = (former | 1) + 1;
  const BucketImage image = encode_bucket(bucket, number, geometry_);
  store(at + 8, former | 1);
  store_bytes(at + 16, base::Bytes(image).subspan(16));
  store(at, base::load<std::uint64_t>(image));
  store(at + 8, bucket.sequence);
}

void IndexMemory::spoil_bucket(BucketNumber number) noexcept {
  const std::size_t at = geometry_.bucket_at(number);
  store(at + 8, word(at + 8) | 1);
}

IndexState IndexMemory::state() const noexcept {
  return base::load<IndexState>(region_, kIndexStateAt);
}

void IndexMemory::write_state(const IndexState& state) noexcept {
  const auto image = std::bit_cast<std::array<std::byte, sizeof(IndexState)>>(state);
  store_bytes(kIndexStateAt, image);
}

}  // namespace dolmen::cluster
