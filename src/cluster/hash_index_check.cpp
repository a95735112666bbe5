// SPDX-License-Identifier: Apache-2.0
//
// Snapshots of a hash index, and the look at everything that a snapshot has to pass.
#include <algorithm>
#include <limits>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "cluster/hash_index.hpp"
#include "cluster/index_snapshot.hpp"

namespace dolmen::cluster {

namespace {

/// "DLIS".
constexpr IndexSnapshotKind kSnapshotKind{.magic = 0x53494C44, .version = kIndexVersion};

std::unexpected<Error> bad_index(const char* what, std::uint64_t where) {
  return fail(Errc::corrupt, what, where);
}

}  // namespace

std::uint64_t HashIndex::fingerprint() const {
  const auto of = [&](std::size_t at, std::size_t size, std::uint64_t seed) {
    return base::checksum64(memory_.bytes(at, size), seed);
  };
  std::uint64_t sum = of(0, kDirectoryAt + directory_bytes(), kIndexMagic);
  sum = of(geometry().buckets_at(), state_.buckets_used * kBucketBytes, sum);
  return of(geometry().heap_at(), state_.heap.bytes_used(), sum);
}

std::vector<std::byte> HashIndex::snapshot() const {
  return seal_index_snapshot(
      kSnapshotKind, {memory_.bytes(0, kDirectoryAt + directory_bytes()),
                      memory_.bytes(geometry().buckets_at(), state_.buckets_used * kBucketBytes),
                      memory_.bytes(geometry().heap_at(), state_.heap.bytes_used())});
}

bool HashIndex::is_possible(const IndexState& state) const noexcept {
  const IndexGeometry& all = geometry();
  const bool has_heap = all.kind == IndexKind::records;
  const std::uint64_t heap = state.heap.bytes_used();
  const std::uint64_t counted = std::uint64_t{state.buckets_live} + state.buckets_retired;
  return state.applied <= log::kIndexMax && state.depth <= all.depth_max &&
         state.buckets_used >= 1 && state.buckets_used <= all.bucket_count &&
         state.buckets_live >= 1 && counted <= state.buckets_used && heap <= all.heap_bytes &&
         state.heap.used >= (has_heap ? kHeapFirst : 0) && state.heap.reserved == 0 &&
         state.heap.padding == 0;
}

Result<void> HashIndex::restore(base::Bytes snapshot) {
  const auto bad = [] { return bad_index("the snapshot of an index", 0); };
  DOLMEN_TRY(const base::Bytes ranges, open_index_snapshot(kSnapshotKind, snapshot));
  if (ranges.size() < kDirectoryAt) return bad();
  DOLMEN_TRY(const IndexGeometry of, decode_geometry(ranges, geometry().region_bytes()));
  const auto state = base::load<IndexState>(ranges, kIndexStateAt);
  if (of != geometry() || !is_possible(state)) return bad();
  const std::size_t expected = kDirectoryAt + (std::size_t{8} << state.depth) +
                               state.buckets_used * kBucketBytes + state.heap.bytes_used();
  if (ranges.size() != expected) return bad();
  const std::uint32_t former_epoch = state_.epoch;
  become(state, ranges);
  auto checked = check();
  if (!checked) {
    become({}, {});
    start(former_epoch);
  }
  return checked;
}

/// The ranges of a snapshot; or empty, and the region is all zero.
void HashIndex::become(const IndexState& state, base::Bytes ranges) {
  for (BucketNumber number = 1; number <= state_.buckets_used; ++number) {
    memory_.spoil_bucket(number);
  }
  const auto range = [&](std::size_t at, std::size_t former, std::size_t size) {
    memory_.store_bytes(at, ranges.first(size));
    ranges = ranges.subspan(size);
    if (former > size) memory_.clear(at + size, former - size);
  };
  const std::size_t front = ranges.empty() ? 0 : kDirectoryAt + (std::size_t{8} << state.depth);
  range(0, kDirectoryAt + directory_bytes(), front);
  range(geometry().buckets_at(), state_.buckets_used * kBucketBytes,
        state.buckets_used * kBucketBytes);
  range(geometry().heap_at(), state_.heap.bytes_used(), state.heap.bytes_used());
  state_ = state;
}

Result<void> HashIndex::check() const {
  constexpr std::size_t kSpareAt = kIndexStateAt + sizeof(IndexState);
  const bool is_spare_empty = std::ranges::all_of(memory_.bytes(kSpareAt, kDirectoryAt - kSpareAt),
                                                  [](std::byte b) { return b == std::byte{0}; });
  if (!is_possible(state_) || memory_.half(kDepthAt) != state_.depth || !is_spare_empty) {
    return bad_index("the state of an index", 0);
  }
  DOLMEN_CHECK(check_buckets());
  DOLMEN_CHECK(check_directory());
  DOLMEN_CHECK(check_queues());
  DOLMEN_CHECK(check_keys());
  return check_heap();
}

Result<void> HashIndex::check_bucket(BucketNumber number, const Bucket& bucket) const {
  const auto bad = [&] { return bad_index("a bucket of an index", number); };
  const auto state_of = [&](BucketNumber other) {
    const auto found =
        decode_bucket(memory_.bytes(geometry().bucket_at(other), kBucketBytes), other, geometry());
    return found ? found->state : BucketState::free;
  };
  if (bucket.epoch != state_.epoch || bucket.link > state_.buckets_used ||
      bucket.next > state_.buckets_used || bucket.retired_at > state_.applied) {
    return bad();
  }
  // X4: nothing leads to what is free, and of what is live nothing to what is retired.
  if (bucket.link != kNoBucket) {
    const BucketState other = state_of(bucket.link);
    if (other == BucketState::free) return bad();
    if (bucket.state == BucketState::live && other != BucketState::live) return bad();
  }
  if (bucket.state == BucketState::live && bucket.depth > state_.depth) return bad();
  for (std::size_t slot = 0; slot < bucket.count; ++slot) {
    if (!bucket.covers(position_in(bucket, slot))) return bad();
    if (geometry().kind == IndexKind::homes) {
      if (!Home::of(bucket.slots[slot])) return bad();
      continue;
    }
    const auto record = record_of(bucket.slots[slot]);
    if (!record || bucket.slots[slot].tail > state_.applied ||
        hash_of_key(record->key, geometry().seed) != bucket.slots[slot].key) {
      return bad();
    }
  }
  return {};
}

Result<void> HashIndex::check_buckets() const {
  std::uint32_t live = 0;
  std::uint32_t retired = 0;
  std::uint64_t keys = 0;
  for (BucketNumber number = 1; number <= state_.buckets_used; ++number) {
    const auto bucket = decode_bucket(memory_.bytes(geometry().bucket_at(number), kBucketBytes),
                                      number, geometry());
    if (!bucket) return bad_index("a bucket of an index", number);
    DOLMEN_CHECK(check_bucket(number, *bucket));
    live += bucket->state == BucketState::live ? 1 : 0;
    retired += bucket->state == BucketState::forward ? 1 : 0;
    keys += bucket->count;
  }
  if (live != state_.buckets_live || retired != state_.buckets_retired || keys != state_.keys) {
    return bad_index("the counts of an index", 0);
  }
  return {};
}

// Each live bucket's words lead to it, and together they are all words.
Result<void> HashIndex::check_directory() const {
  std::uint64_t words = 0;
  for (BucketNumber number = 1; number <= state_.buckets_used; ++number) {
    const Bucket bucket = memory_.bucket(number);
    if (bucket.state != BucketState::live) continue;
    const std::uint32_t below = state_.depth - bucket.depth;
    const std::uint64_t first =
        (std::uint64_t{1} << state_.depth) + (std::uint64_t{bucket.prefix} << below);
    for (std::uint64_t word = first; word < first + (std::uint64_t{1} << below); ++word) {
      if (memory_.half(kDirectoryAt + 4 * word) != number) {
        return bad_index("the directory of an index", word);
      }
    }
    words += std::uint64_t{1} << below;
  }
  if (words != std::uint64_t{1} << state_.depth) return bad_index("the directory of an index", 0);
  return {};
}

Result<void> HashIndex::check_queues() const {
  const auto bad = [](BucketNumber number) { return bad_index("a queue of an index", number); };
  std::uint32_t expected = state_.buckets_used - state_.buckets_live - state_.buckets_retired;
  BucketNumber number = state_.free_bucket;
  for (; expected != 0; --expected) {
    if (number == kNoBucket || number > state_.buckets_used) return bad(number);
    const Bucket bucket = memory_.bucket(number);
    if (bucket.state != BucketState::free) return bad(number);
    number = bucket.next;
  }
  if (number != kNoBucket) return bad(number);
  log::Index before = 0;
  BucketNumber last = kNoBucket;
  number = state_.retired_first;
  for (expected = state_.buckets_retired; expected != 0; --expected) {
    if (number == kNoBucket || number > state_.buckets_used) return bad(number);
    const Bucket bucket = memory_.bucket(number);
    if (bucket.state != BucketState::forward || bucket.retired_at < before) return bad(number);
    before = bucket.retired_at;
    last = number;
    number = bucket.next;
  }
  if (number != kNoBucket || last != state_.retired_last) return bad(number);
  return {};
}

Result<void> HashIndex::check_keys() const {
  std::vector<IndexSlot> slots;
  slots.reserve(state_.keys);
  for (BucketNumber number = 1; number <= state_.buckets_used; ++number) {
    const Bucket bucket = memory_.bucket(number);
    slots.insert(slots.end(), bucket.slots.begin(), bucket.slots.begin() + bucket.count);
  }
  std::ranges::sort(slots, {}, &IndexSlot::key);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    for (std::size_t j = i + 1; j < slots.size() && slots[j].key == slots[i].key; ++j) {
      const bool is_same = geometry().kind == IndexKind::homes ||
                           std::ranges::equal(record_of(slots[i])->key, record_of(slots[j])->key);
      if (is_same) return bad_index("a key of an index that is there twice", slots[i].key.high);
    }
  }
  return {};
}

Result<void> HashIndex::check_heap() const {
  const HeapState& heap = state_.heap;
  if (geometry().kind == IndexKind::homes) {
    const bool is_none = heap.retired_first == kNoBlock && heap.retired_last == kNoBlock &&
                         heap.record_bytes == 0 &&
                         std::ranges::all_of(heap.free, [](HeapGranule b) { return b == 0; });
    return is_none ? Result<void>{} : bad_index("the heap of an index", 0);
  }
  std::vector<RecordPlace> places;
  places.reserve(state_.keys);
  for (BucketNumber number = 1; number <= state_.buckets_used; ++number) {
    const Bucket bucket = memory_.bucket(number);
    for (std::size_t slot = 0; slot < bucket.count; ++slot) {
      places.push_back(*RecordPlace::of(bucket.slots[slot], geometry()));
    }
  }
  return heap_.check(heap, places, state_.applied);
}

}  // namespace dolmen::cluster
