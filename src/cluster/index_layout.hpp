// SPDX-License-Identifier: Apache-2.0
//
// The bytes of one shard of the hash index (docs/index.md), which others read while they change:
// where things are in its region, buckets with their slots, and the header that says all this to
// readers. The bytes: docs/formats/index.md.
//
// Values and pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"

namespace dolmen::cluster {

inline constexpr std::uint32_t kIndexVersion = 1;
/// "DLIX": the first bytes of a region, and what its checksums are seeded with.
inline constexpr std::uint32_t kIndexMagic = 0x58494C44;
inline constexpr std::size_t kGeometryBytes = 64;
/// Where the words that change are: see hash_index.hpp.
inline constexpr std::size_t kIndexStateAt = kGeometryBytes;
inline constexpr std::size_t kDirectoryAt = 1024;
inline constexpr std::size_t kBucketBytes = 256;
inline constexpr std::size_t kBucketHeaderBytes = 32;
inline constexpr std::size_t kSlotBytes = 32;
inline constexpr std::size_t kSlotsOfBucket = 7;
static_assert(kBucketHeaderBytes + kSlotsOfBucket * kSlotBytes == kBucketBytes);
/// Most bits of a directory.
inline constexpr std::uint32_t kIndexDepthMax = 28;
/// Places in the heap are multiples of this.
inline constexpr std::size_t kHeapGranuleBytes = 16;
inline constexpr std::uint64_t kHeapBytesMax = std::uint64_t{1} << 35;

/// Buckets are numbered from 1.
using BucketNumber = std::uint32_t;
inline constexpr BucketNumber kNoBucket = 0;

enum class IndexKind : std::uint8_t {
  homes = 1,    ///< a slot holds the value
  records = 2,  ///< a slot leads to a record
};

/// What a region holds, and where. It never changes while the region is that table's.
struct IndexGeometry {
  ObjectId table{};        ///< the shard's identity; not null
  std::uint64_t seed = 0;  ///< of its hashes; who knows it can make keys that collide
  std::uint64_t heap_bytes = 0;
  std::uint32_t bucket_count = 0;
  std::uint8_t depth_max = 0;  ///< of the directory; it has room for twice that many words
  IndexKind kind = IndexKind::homes;

  friend bool operator==(const IndexGeometry&, const IndexGeometry&) = default;
  /// Sizes within the limits, and together no more than `region_bytes`.
  [[nodiscard]] bool is_possible(std::uint64_t region_bytes) const noexcept;
  /// The directory of depth g begins at word 2^g of one array, so that each keeps its place when
  /// there is a deeper one.
  [[nodiscard]] static constexpr std::size_t directory_word_at(std::uint32_t depth,
                                                               std::uint32_t position) noexcept {
    const std::size_t first = std::size_t{1} << depth;
    return kDirectoryAt + 4 * (first + (depth == 0 ? 0 : position >> (32 - depth)));
  }
  [[nodiscard]] constexpr std::size_t buckets_at() const noexcept {
    const std::size_t end = kDirectoryAt + (std::size_t{8} << depth_max);
    return (end + kBucketBytes - 1) / kBucketBytes * kBucketBytes;
  }
  [[nodiscard]] constexpr std::size_t bucket_at(BucketNumber number) const noexcept {
    return buckets_at() + std::size_t{number - 1} * kBucketBytes;
  }
  [[nodiscard]] constexpr std::size_t heap_at() const noexcept {
    return buckets_at() + std::size_t{bucket_count} * kBucketBytes;
  }
  [[nodiscard]] constexpr std::size_t region_bytes() const noexcept {
    return heap_at() + heap_bytes;
  }
};

/// A directory that is seldom the reason why a table of so many buckets is full.
[[nodiscard]] std::uint8_t depth_for(std::uint32_t bucket_count) noexcept;

/// Requires: region.size() >= kGeometryBytes; geometry.is_possible().
void encode_geometry(base::MutableBytes region, const IndexGeometry& geometry);
/// Of the first bytes of a region, as they came from afar; `region_bytes` is how long it is as a
/// whole. Errors: corrupt, version_unsupported.
[[nodiscard]] Result<IndexGeometry> decode_geometry(base::Bytes front, std::uint64_t region_bytes);

/// Where a key may be: in the bucket of either position.
using Positions = std::array<std::uint32_t, 2>;
[[nodiscard]] Positions positions_of(const ObjectId& key, std::uint64_t seed) noexcept;
/// What stands for the key of a record in its slot.
[[nodiscard]] ObjectId hash_of_key(base::Bytes key, std::uint64_t seed) noexcept;

struct IndexSlot {
  ObjectId key{};
  std::uint64_t word = 0;
  std::uint64_t tail = 0;
  friend bool operator==(const IndexSlot&, const IndexSlot&) = default;
};

/// Where an object is.
struct Home {
  std::uint64_t location = 0;
  std::uint16_t node = 0;
  std::uint16_t generation = 0;    ///< a filter; the object's header has all of it
  std::uint16_t length_class = 0;  ///< how much to read
  friend bool operator==(const Home&, const Home&) = default;

  [[nodiscard]] IndexSlot slot_of(const ObjectId& id) const noexcept;
  /// Nothing: bits are set that mean nothing.
  [[nodiscard]] static std::optional<Home> of(const IndexSlot& slot) noexcept;
};

/// Where a record is.
struct RecordPlace {
  std::uint32_t granule = 0;  ///< from the heap's begin
  std::uint32_t bytes = 0;    ///< of the record, a multiple of 8
  std::uint64_t generation = 0;
  friend bool operator==(const RecordPlace&, const RecordPlace&) = default;

  [[nodiscard]] IndexSlot slot_of(const ObjectId& key) const noexcept;
  /// Nothing: there is no room for such a record in the heap.
  [[nodiscard]] static std::optional<RecordPlace> of(const IndexSlot& slot,
                                                     const IndexGeometry& geometry) noexcept;
  [[nodiscard]] std::size_t at(const IndexGeometry& geometry) const noexcept {
    return geometry.heap_at() + std::size_t{granule} * kHeapGranuleBytes;
  }
};

enum class BucketState : std::uint8_t {
  live = 1,
  forward = 2,  ///< retired: `link` holds what it held
  free = 3,
};

struct Bucket {
  std::uint64_t sequence = 0;  ///< twice the number of times that it was written
  std::uint32_t epoch = 0;     ///< of the shard
  std::uint32_t prefix = 0;    ///< the first `depth` bits of the positions that it speaks for
  /// Live: where its last split put the other half, or none. Forward: who took it in.
  BucketNumber link = kNoBucket;
  std::uint8_t depth = 0;
  BucketState state = BucketState::free;
  std::uint8_t count = 0;
  /// Bit i: slot i is here by its key's second position. It stays so as long as the key is there.
  std::uint8_t second = 0;
  std::array<IndexSlot, kSlotsOfBucket> slots{};  ///< the first `count`; the others are empty
  std::uint64_t retired_at = 0;                   ///< forward: by the entry of that index
  BucketNumber next = kNoBucket;                  ///< forward, free: in their queue
  friend bool operator==(const Bucket&, const Bucket&) = default;

  [[nodiscard]] constexpr bool covers(std::uint32_t position) const noexcept {
    return depth == 0 || position >> (32 - depth) == prefix;
  }
};

using BucketImage = std::array<std::byte, kBucketBytes>;
/// Requires: number != 0; the fields are within their limits.
[[nodiscard]] BucketImage encode_bucket(const Bucket& bucket, BucketNumber number,
                                        const IndexGeometry& geometry);
/// Of a copy of its bytes. Nothing: they are not, as a whole, that bucket of that table.
[[nodiscard]] std::optional<Bucket> decode_bucket(base::Bytes bytes, BucketNumber number,
                                                  const IndexGeometry& geometry);
/// The same for whoever alone writes there: without a look at its checksum, into a new one.
[[nodiscard]] bool view_bucket(Bucket& bucket, base::Bytes bytes, BucketNumber number,
                               const IndexGeometry& geometry);

/// What a read bucket says of a position.
enum class BucketVerdict : std::uint8_t {
  speaks,       ///< for that position, in that epoch
  torn,         ///< it is no bucket, or was being written
  wrong_epoch,  ///< of another map
  forward,      ///< the bucket `link` took it in
  sibling,      ///< the bucket `link` got the half that the position is in
  elsewhere,    ///< it speaks for others, or for nobody
};
struct JudgedBucket {
  BucketVerdict verdict = BucketVerdict::torn;
  Bucket bucket{};  ///< unless it is torn
};
[[nodiscard]] JudgedBucket judge_bucket(base::Bytes bytes, BucketNumber number,
                                        std::uint32_t position, std::uint32_t epoch,
                                        const IndexGeometry& geometry);

}  // namespace dolmen::cluster
