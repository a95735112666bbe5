// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the snapshot of a small table, with checksums that fit them: what is accepted is
// sound, whatever is done to it afterwards; and readers who look at what was restored come to an
// end.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "cluster/hash_index.hpp"
#include "cluster/index_golden.hpp"
#include "cluster/index_reader.hpp"

namespace {

using namespace dolmen;
using namespace dolmen::cluster;

constexpr std::uint64_t kRecordMagic = 0x52494C44;
constexpr std::uint64_t kSnapshotMagic = 0x53494C44;
constexpr std::size_t kBefore = 8;  ///< magic and version

std::uint64_t seed_of(const IndexGeometry& geometry, std::uint64_t magic, std::uint64_t number) {
  const std::uint64_t table = base::mix_seed(magic, geometry.table.high);
  return base::mix_seed(base::mix_seed(table, geometry.table.low), number);
}

/// Gives everything in a snapshot the checksum that fits it, as far as the lengths lead.
void seal(base::MutableBytes snapshot, const IndexGeometry& geometry) {
  base::store(snapshot, 0, static_cast<std::uint32_t>(kSnapshotMagic));
  base::store(snapshot, 4, kIndexVersion);
  const base::MutableBytes ranges = snapshot.subspan(kBefore, snapshot.size() - kBefore - 8);
  encode_geometry(ranges, geometry);
  const auto state = base::load<IndexState>(ranges, kIndexStateAt);
  const std::size_t buckets_at = kDirectoryAt + (std::size_t{8} << std::min(state.depth, 4u));
  const std::size_t heap_at = buckets_at + std::size_t{state.buckets_used % 8} * kBucketBytes;
  if (heap_at <= ranges.size()) {
    const base::MutableBytes heap = ranges.subspan(heap_at);
    for (std::uint32_t number = 1; number <= state.buckets_used % 8; ++number) {
      const auto bucket = ranges.subspan(buckets_at + (number - 1) * kBucketBytes, kBucketBytes);
      for (std::size_t at = kBucketHeaderBytes; at < kBucketBytes; at += kSlotBytes) {
        const auto word = base::load<std::uint64_t>(bucket, at + 16);
        const std::uint64_t begin = (word & 0xFFFFFFFF) * kHeapGranuleBytes;
        const std::uint64_t bytes = word >> 32;
        if (bytes < 24 || begin > heap.size() || bytes > heap.size() - begin) continue;
        const base::Bytes body = heap.subspan(begin + 8, bytes - 8);
        base::store(heap, begin,
                    base::checksum64(body, seed_of(geometry, kRecordMagic, word & 0xFFFFFFFF)));
      }
      base::store(bucket, 0,
                  base::checksum64(bucket.subspan(8), seed_of(geometry, kIndexMagic, number)));
    }
  }
  const base::MutableBytes body = snapshot.first(snapshot.size() - 8);
  base::store(snapshot, body.size(), base::checksum64(body, kSnapshotMagic));
}

void look_at(Table& table, std::uint64_t key) {
  const std::uint32_t epoch = table.index().epoch();
  IndexHints hints(table.geometry());
  IndexLookup lookup =
      table.is_homes() ? IndexLookup(table.geometry(), epoch, hints, id_of(key), ReadLevel::lease)
                       : IndexLookup(table.geometry(), epoch, hints, base::as_bytes(text_of(key)),
                                     ReadLevel::lease);
  while (lookup.state() == LookupState::reading) {
    std::vector<base::Bytes> bytes;
    for (const IndexRead& read : lookup.reads()) {
      bytes.push_back(base::Bytes(table.region()).subspan(read.offset, read.bytes));
    }
    lookup.arrived(bytes, {.completed_ns = 1, .lease_until_ns = 2});
  }
  const bool is_there = table.is_homes()
                            ? table.index().find(id_of(key)).has_value()
                            : table.index().find(base::as_bytes(text_of(key))).has_value();
  DOLMEN_ASSERT(lookup.state() == LookupState::ask ||
                (lookup.state() == LookupState::found) == is_there);
}

void check(IndexKind kind, base::Bytes bytes) {
  Table table(golden_sizes(kind));
  static_cast<void>(table.index().restore(bytes));
  if (bytes.size() < kBefore + kDirectoryAt + 8) return;
  std::vector<std::byte> sealed(bytes.begin(), bytes.end());
  seal(sealed, table.geometry());
  static_cast<void>(table.index().restore(sealed));
  DOLMEN_ASSERT(table.index().check().has_value());
  if (table.index().applied() >= log::kIndexMax - 100) return;
  table.goes_on_at(table.index().applied());
  for (std::uint64_t key = 0; key < 20; ++key) {
    look_at(table, key);
    table.apply(key % 3 == 0 ? table.erase_command(key) : table.put_command(key, key + 1));
  }
  table.apply(IndexCommand::release(table.last()));
  for (std::uint64_t key = 0; key < 20; ++key) table.apply(table.erase_command(key));
  DOLMEN_ASSERT(table.index().check().has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  check(IndexKind::homes, bytes);
  check(IndexKind::records, bytes);
  return 0;
}
