// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the header of a region, a bucket, a record and a command, also with checksums that
// fit them: what is accepted is exactly what would be written for it.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "cluster/index_layout.hpp"
#include "cluster/index_record.hpp"

namespace {

using namespace dolmen;
using namespace dolmen::cluster;

constexpr IndexGeometry kGeometry{.table = {1, 2},
                                  .seed = 3,
                                  .heap_bytes = 1 << 20,
                                  .bucket_count = 100,
                                  .depth_max = 9,
                                  .kind = IndexKind::records};
constexpr BucketNumber kNumber = 7;
constexpr std::uint64_t kRecordMagic = 0x52494C44;

std::uint64_t seed_of(std::uint64_t magic, std::uint64_t number) {
  const std::uint64_t table = base::mix_seed(magic, kGeometry.table.high);
  return base::mix_seed(base::mix_seed(table, kGeometry.table.low), number);
}

void check_geometry(base::Bytes front) {
  const auto found = decode_geometry(front, std::uint64_t{1} << 40);
  if (!found) return;
  std::vector<std::byte> written(kGeometryBytes);
  encode_geometry(written, *found);
  DOLMEN_ASSERT(std::ranges::equal(written, front.first(kGeometryBytes)));
}

void check_bucket(base::Bytes bytes) {
  const auto found = decode_bucket(bytes, kNumber, kGeometry);
  for (const std::uint32_t position : {0u, 0x80000000u, 0x12345678u}) {
    const auto judged = judge_bucket(bytes, kNumber, position, 4, kGeometry);
    DOLMEN_ASSERT((judged.verdict == BucketVerdict::torn) == !found);
    if (judged.verdict == BucketVerdict::forward || judged.verdict == BucketVerdict::sibling) {
      DOLMEN_ASSERT_CMP(judged.bucket.link, <=, kGeometry.bucket_count);
      DOLMEN_ASSERT_CMP(judged.bucket.link, !=, kNoBucket);
    }
  }
  if (!found) return;
  DOLMEN_ASSERT(std::ranges::equal(encode_bucket(*found, kNumber, kGeometry), bytes));
}

void check_record(base::Bytes bytes, std::uint64_t generation) {
  const RecordPlace place{
      .granule = 5, .bytes = static_cast<std::uint32_t>(bytes.size()), .generation = generation};
  const auto found = decode_record(bytes, place, kGeometry);
  if (!found) return;
  DOLMEN_ASSERT(
      std::ranges::equal(encode_record(found->key, found->value, place, kGeometry), bytes));
}

void check_command(base::Bytes bytes, IndexKind kind) {
  const auto found = decode_index_command(bytes, kind);
  if (!found) return;
  DOLMEN_ASSERT(std::ranges::equal(encode_index_command(*found, kind), bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto all = std::as_bytes(std::span(data, size));
  std::vector<std::byte> bytes(all.begin(), all.end());
  check_command(bytes, IndexKind::homes);
  check_command(bytes, IndexKind::records);
  check_geometry(bytes);
  check_bucket(bytes);
  if (size >= kGeometryBytes) {
    base::store(bytes, 56, base::checksum64(base::Bytes(bytes).first(56), kIndexMagic));
    check_geometry(bytes);
  }
  if (size >= 16) {
    bytes.assign(all.begin(), all.end());
    bytes.resize(bytes.size() / 8 * 8);
    const auto generation = base::load<std::uint64_t>(bytes, 8);
    check_record(bytes, generation);
    const base::Bytes body = base::Bytes(bytes).subspan(8);
    base::store(bytes, 0, base::checksum64(body, seed_of(kRecordMagic, 5)));
    check_record(bytes, generation);
    bytes.resize(kBucketBytes);
    const base::Bytes rest = base::Bytes(bytes).subspan(8);
    base::store(bytes, 0, base::checksum64(rest, seed_of(kIndexMagic, kNumber)));
    check_bucket(bytes);
  }
  return 0;
}
