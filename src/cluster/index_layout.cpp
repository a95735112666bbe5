// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_layout.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

constexpr std::size_t kGeometryChecksumAt = 56;
constexpr std::uint64_t kSecondHash = 0x9E3779B97F4A7C15ull;

std::uint64_t bucket_seed(BucketNumber number, const IndexGeometry& geometry) noexcept {
  const std::uint64_t of_table = base::mix_seed(kIndexMagic, geometry.table.high);
  return base::mix_seed(base::mix_seed(of_table, geometry.table.low), number);
}

std::unexpected<Error> bad_geometry() { return fail(Errc::corrupt, "the header of an index"); }

/// Everything that a bucket's fields owe to each other, but for its checksum.
bool is_consistent(const Bucket& bucket, BucketNumber number, const IndexGeometry& geometry) {
  if (bucket.sequence % 2 != 0 || bucket.depth > geometry.depth_max) return false;
  if (bucket.prefix >> bucket.depth != 0 || bucket.count > kSlotsOfBucket) return false;
  if (bucket.link > geometry.bucket_count || bucket.link == number) return false;
  if (bucket.next > geometry.bucket_count || bucket.next == number) return false;
  const bool is_live = bucket.state == BucketState::live;
  if (!is_live && bucket.count != 0) return false;
  if (bucket.second >> bucket.count != 0) return false;
  if ((bucket.state == BucketState::forward) != (!is_live && bucket.link != kNoBucket))
    return false;
  if (bucket.state != BucketState::forward && bucket.retired_at != 0) return false;
  for (std::size_t i = 0; i < bucket.count; ++i) {
    if (bucket.slots[i].key.is_null()) return false;
  }
  return true;
}

bool decode_into(Bucket& bucket, base::Bytes bytes, BucketNumber number,
                 const IndexGeometry& geometry) {
  if (bytes.size() != kBucketBytes || number == kNoBucket) return false;
  const auto checksum = base::load<std::uint64_t>(bytes);
  if (checksum != base::checksum64(bytes.subspan(8), bucket_seed(number, geometry)) &&
      !DOLMEN_PLANTED("cluster.bucket_unchecked")) {
    return false;
  }
  return view_bucket(bucket, bytes, number, geometry);
}

BucketVerdict verdict_of(const Bucket& bucket, std::uint32_t position, std::uint32_t epoch) {
  if (bucket.epoch != epoch) return BucketVerdict::wrong_epoch;
  if (bucket.state == BucketState::forward) return BucketVerdict::forward;
  if (bucket.state == BucketState::free) return BucketVerdict::elsewhere;
  if (bucket.covers(position) || DOLMEN_PLANTED("cluster.prefix_unchecked")) {
    return BucketVerdict::speaks;
  }
  const bool is_other_half =
      bucket.depth != 0 && position >> (32 - bucket.depth) == (bucket.prefix ^ 1);
  const bool is_sibling = is_other_half && bucket.link != kNoBucket;
  return is_sibling ? BucketVerdict::sibling : BucketVerdict::elsewhere;
}

}  // namespace

bool IndexGeometry::is_possible(std::uint64_t region_bytes_max) const noexcept {
  return !table.is_null() && depth_max >= 1 && depth_max <= kIndexDepthMax && bucket_count >= 1 &&
         bucket_count < (1u << kIndexDepthMax) && heap_bytes <= kHeapBytesMax &&
         heap_bytes % kHeapGranuleBytes == 0 &&
         ((kind == IndexKind::records && heap_bytes >= 64) ||
          (kind == IndexKind::homes && heap_bytes == 0)) &&
         region_bytes() <= region_bytes_max;
}

std::uint8_t depth_for(std::uint32_t bucket_count) noexcept {
  return static_cast<std::uint8_t>(
      std::clamp<int>(std::bit_width(bucket_count) + 2, 1, kIndexDepthMax));
}

void encode_geometry(base::MutableBytes region, const IndexGeometry& geometry) {
  base::ByteWriter out;
  out.put(kIndexMagic);
  out.put(kIndexVersion);
  out.put_id(geometry.table);
  out.put(geometry.seed);
  out.put(geometry.heap_bytes);
  out.put(geometry.bucket_count);
  out.put(geometry.depth_max);
  out.put(static_cast<std::uint8_t>(geometry.kind));
  out.put(std::uint16_t{0});
  out.put(std::uint64_t{0});
  DOLMEN_ASSERT_CMP(out.size(), ==, kGeometryChecksumAt);
  out.put(base::checksum64(out.bytes(), kIndexMagic));
  std::ranges::copy(out.bytes(), region.begin());
}

Result<IndexGeometry> decode_geometry(base::Bytes front, std::uint64_t region_bytes) {
  if (front.size() < kGeometryBytes) return bad_geometry();
  base::ByteReader in(front);
  if (in.get<std::uint32_t>() != kIndexMagic) return bad_geometry();
  const auto version = in.get<std::uint32_t>();
  IndexGeometry geometry;
  geometry.table = in.get_id();
  geometry.seed = in.get<std::uint64_t>();
  geometry.heap_bytes = in.get<std::uint64_t>();
  geometry.bucket_count = in.get<std::uint32_t>();
  geometry.depth_max = in.get<std::uint8_t>();
  geometry.kind = static_cast<IndexKind>(in.get<std::uint8_t>());
  bool is_spare = in.get<std::uint16_t>() != 0;
  is_spare |= in.get<std::uint64_t>() != 0;
  if (in.get<std::uint64_t>() != base::checksum64(front.first(kGeometryChecksumAt), kIndexMagic)) {
    return bad_geometry();
  }
  if (version != kIndexVersion) {
    return fail(Errc::version_unsupported, "the header of an index", version);
  }
  if (is_spare || !geometry.is_possible(region_bytes)) return bad_geometry();
  return geometry;
}

Positions positions_of(const ObjectId& key, std::uint64_t seed) noexcept {
  std::array<std::byte, 16> bytes;
  base::store(bytes, 0, key.high);
  base::store(bytes, 8, key.low);
  const std::uint64_t hash = base::checksum64(bytes, seed);
  return {static_cast<std::uint32_t>(hash >> 32), static_cast<std::uint32_t>(hash)};
}

ObjectId hash_of_key(base::Bytes key, std::uint64_t seed) noexcept {
  const ObjectId hash{base::checksum64(key, seed), base::checksum64(key, seed ^ kSecondHash)};
  return hash.is_null() ? ObjectId{0, 1} : hash;
}

IndexSlot Home::slot_of(const ObjectId& id) const noexcept {
  return {.key = id,
          .word = location,
          .tail = std::uint64_t{node} | std::uint64_t{generation} << 16 |
                  std::uint64_t{length_class} << 32};
}

std::optional<Home> Home::of(const IndexSlot& slot) noexcept {
  if (slot.tail >> 48 != 0) return std::nullopt;
  return Home{.location = slot.word,
              .node = static_cast<std::uint16_t>(slot.tail),
              .generation = static_cast<std::uint16_t>(slot.tail >> 16),
              .length_class = static_cast<std::uint16_t>(slot.tail >> 32)};
}

IndexSlot RecordPlace::slot_of(const ObjectId& key) const noexcept {
  return {
      .key = key, .word = std::uint64_t{granule} | std::uint64_t{bytes} << 32, .tail = generation};
}

std::optional<RecordPlace> RecordPlace::of(const IndexSlot& slot,
                                           const IndexGeometry& geometry) noexcept {
  const RecordPlace place{.granule = static_cast<std::uint32_t>(slot.word),
                          .bytes = static_cast<std::uint32_t>(slot.word >> 32),
                          .generation = slot.tail};
  const std::uint64_t begin = std::uint64_t{place.granule} * kHeapGranuleBytes;
  if (place.bytes % 8 != 0 || begin > geometry.heap_bytes ||
      place.bytes > geometry.heap_bytes - begin) {
    return std::nullopt;
  }
  return place;
}

BucketImage encode_bucket(const Bucket& bucket, BucketNumber number,
                          const IndexGeometry& geometry) {
  DOLMEN_ASSERT(number != kNoBucket && is_consistent(bucket, number, geometry));
  BucketImage image{};
  base::store(image, 8, bucket.sequence);
  base::store(image, 16, bucket.epoch);
  base::store(image, 20, bucket.prefix);
  base::store(image, 24, bucket.link);
  base::store(image, 28, bucket.depth);
  base::store(image, 29, static_cast<std::uint8_t>(bucket.state));
  base::store(image, 30, bucket.count);
  base::store(image, 31, bucket.second);
  if (bucket.state == BucketState::live) {
    for (std::size_t i = 0; i < bucket.count; ++i) {
      const std::size_t at = kBucketHeaderBytes + i * kSlotBytes;
      base::store(image, at, bucket.slots[i].key.high);
      base::store(image, at + 8, bucket.slots[i].key.low);
      base::store(image, at + 16, bucket.slots[i].word);
      base::store(image, at + 24, bucket.slots[i].tail);
    }
  } else {
    base::store(image, kBucketHeaderBytes, bucket.retired_at);
    base::store(image, kBucketHeaderBytes + 8, bucket.next);
  }
  base::store(image, 0,
              base::checksum64(base::Bytes(image).subspan(8), bucket_seed(number, geometry)));
  return image;
}

bool view_bucket(Bucket& bucket, base::Bytes bytes, BucketNumber number,
                 const IndexGeometry& geometry) {
  if (bytes.size() != kBucketBytes || number == kNoBucket) return false;
  bucket.sequence = base::load<std::uint64_t>(bytes, 8);
  bucket.epoch = base::load<std::uint32_t>(bytes, 16);
  bucket.prefix = base::load<std::uint32_t>(bytes, 20);
  bucket.link = base::load<BucketNumber>(bytes, 24);
  bucket.depth = base::load<std::uint8_t>(bytes, 28);
  const auto state = base::load<std::uint8_t>(bytes, 29);
  bucket.count = base::load<std::uint8_t>(bytes, 30);
  bucket.second = base::load<std::uint8_t>(bytes, 31);
  if (state < 1 || state > 3) return false;
  bucket.state = static_cast<BucketState>(state);
  std::size_t end = kBucketHeaderBytes;
  if (bucket.state == BucketState::live) {
    if (bucket.count > kSlotsOfBucket) return false;
    for (std::size_t i = 0; i < bucket.count; ++i, end += kSlotBytes) {
      bucket.slots[i] = {
          .key = {base::load<std::uint64_t>(bytes, end), base::load<std::uint64_t>(bytes, end + 8)},
          .word = base::load<std::uint64_t>(bytes, end + 16),
          .tail = base::load<std::uint64_t>(bytes, end + 24)};
    }
  } else {
    bucket.retired_at = base::load<std::uint64_t>(bytes, end);
    const auto next = base::load<std::uint64_t>(bytes, end + 8);
    bucket.next = static_cast<BucketNumber>(next);
    if (next != bucket.next && !DOLMEN_PLANTED("cluster.bucket_unchecked")) return false;
    end += 16;
  }
  std::uint64_t rest = 0;
  for (; end < kBucketBytes; end += 8) rest |= base::load<std::uint64_t>(bytes, end);
  if (rest != 0 && !DOLMEN_PLANTED("cluster.bucket_unchecked")) return false;
  return is_consistent(bucket, number, geometry);
}

std::optional<Bucket> decode_bucket(base::Bytes bytes, BucketNumber number,
                                    const IndexGeometry& geometry) {
  std::optional<Bucket> found(std::in_place);
  if (!decode_into(*found, bytes, number, geometry)) found.reset();
  return found;
}

JudgedBucket judge_bucket(base::Bytes bytes, BucketNumber number, std::uint32_t position,
                          std::uint32_t epoch, const IndexGeometry& geometry) {
  // It is filled where it is returned: to copy it costs as much as to look at it.
  JudgedBucket judged;
  if (!decode_into(judged.bucket, bytes, number, geometry)) return judged;
  judged.verdict = verdict_of(judged.bucket, position, epoch);
  return judged;
}

}  // namespace dolmen::cluster
