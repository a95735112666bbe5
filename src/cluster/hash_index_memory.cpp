// SPDX-License-Identifier: Apache-2.0
//
// Where buckets and records of a hash index come from, and where they go.
#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "cluster/hash_index.hpp"

namespace dolmen::cluster {

IndexStatistics HashIndex::statistics() const noexcept {
  return {.keys = state_.keys,
          .depth = state_.depth,
          .buckets_live = state_.buckets_live,
          .buckets_retired = state_.buckets_retired,
          .buckets_free = buckets_at_hand(),
          .record_bytes = state_.record_bytes,
          .heap_bytes_used = std::uint64_t{state_.heap_used} * kHeapGranuleBytes};
}

std::uint32_t HashIndex::buckets_at_hand() const noexcept {
  return geometry().bucket_count - state_.buckets_live - state_.buckets_retired;
}

BucketNumber HashIndex::take_bucket() {
  if (DOLMEN_PLANTED("cluster.reuse_at_once") && state_.retired_first != kNoBucket) {
    const Bucket first = memory_.bucket(state_.retired_first);
    release(first.retired_at);
  }
  if (state_.free_bucket == kNoBucket) {
    DOLMEN_ASSERT_CMP(state_.buckets_used, <, geometry().bucket_count);
    return ++state_.buckets_used;
  }
  const BucketNumber number = state_.free_bucket;
  state_.free_bucket = memory_.bucket(number).next;
  return number;
}

void HashIndex::retire_bucket(BucketNumber number, Bucket bucket, BucketNumber heir) {
  bucket.state = BucketState::forward;
  bucket.link = heir;
  bucket.count = 0;
  bucket.second = 0;
  bucket.retired_at = state_.applied;
  bucket.next = kNoBucket;
  memory_.write_bucket(number, bucket);
  if (state_.retired_last == kNoBucket) {
    state_.retired_first = number;
  } else {
    Bucket last = memory_.bucket(state_.retired_last);
    last.next = number;
    memory_.write_bucket(state_.retired_last, last);
  }
  state_.retired_last = number;
  --state_.buckets_live;
  ++state_.buckets_retired;
}

std::optional<HeapGranule> HashIndex::take_block(std::uint32_t block_class) {
  HeapGranule& first = state_.free_block[block_class];
  if (first != kNoBlock) {
    const HeapGranule block = first;
    first = memory_.half(block_at(block) + kBlockNextAt);
    return block;
  }
  const std::uint64_t begin = std::uint64_t{state_.heap_used} * kHeapGranuleBytes;
  if (begin + block_bytes(block_class) > geometry().heap_bytes) return std::nullopt;
  const HeapGranule block = state_.heap_used;
  state_.heap_used += static_cast<HeapGranule>(block_bytes(block_class) / kHeapGranuleBytes);
  return block;
}

std::optional<IndexSlot> HashIndex::make_slot(const IndexCommand& command,
                                              const ObjectId& slot_key) {
  if (geometry().kind == IndexKind::homes) return command.home.slot_of(slot_key);
  const std::size_t bytes = record_bytes(command.key.size(), command.value.size());
  const auto block_class = block_class_for(kBlockHeaderBytes + bytes);
  DOLMEN_ASSERT(block_class);
  const auto block = take_block(*block_class);
  if (!block) return std::nullopt;
  const std::size_t at = block_at(*block);
  memory_.store(at + kBlockRetiredAt, 0);
  memory_.store(at + kBlockNextAt, std::uint64_t{*block_class} << 32);
  const RecordPlace place{.granule = *block + 1,
                          .bytes = static_cast<std::uint32_t>(bytes),
                          .generation = state_.applied};
  memory_.store_bytes(place.at(geometry()),
                      encode_record(command.key, command.value, place, geometry()));
  state_.record_bytes += bytes;
  return place.slot_of(slot_key);
}

void HashIndex::retire_record(const IndexSlot& slot) {
  const auto place = RecordPlace::of(slot, geometry());
  DOLMEN_ASSERT(place);
  const HeapGranule block = place->granule - 1;
  memory_.store(block_at(block) + kBlockRetiredAt, state_.applied);
  if (state_.block_retired_last == kNoBlock) {
    state_.block_retired_first = block;
  } else {
    memory_.store_half(block_at(state_.block_retired_last) + kBlockNextAt, block);
  }
  state_.block_retired_last = block;
  state_.record_bytes -= place->bytes;
}

void HashIndex::release(log::Index upto) {
  while (state_.retired_first != kNoBucket) {
    const BucketNumber number = state_.retired_first;
    const Bucket bucket = memory_.bucket(number);
    if (bucket.retired_at > upto) break;
    state_.retired_first = bucket.next;
    if (bucket.next == kNoBucket) state_.retired_last = kNoBucket;
    memory_.write_bucket(number, {.epoch = bucket.epoch,
                                  .prefix = bucket.prefix,
                                  .depth = bucket.depth,
                                  .state = BucketState::free,
                                  .next = state_.free_bucket});
    state_.free_bucket = number;
    --state_.buckets_retired;
  }
  while (state_.block_retired_first != kNoBlock) {
    const HeapGranule block = state_.block_retired_first;
    const std::size_t at = block_at(block);
    if (memory_.word(at + kBlockRetiredAt) > upto) break;
    const HeapGranule next = memory_.half(at + kBlockNextAt);
    state_.block_retired_first = next;
    if (next == kNoBlock) state_.block_retired_last = kNoBlock;
    HeapGranule& first = state_.free_block[memory_.half(at + kBlockClassAt)];
    memory_.store(at + kBlockRetiredAt, 0);
    memory_.store_half(at + kBlockNextAt, first);
    first = block;
  }
}

}  // namespace dolmen::cluster
