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
          .record_bytes = state_.heap.record_bytes,
          .heap_bytes_used = state_.heap.bytes_used()};
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

std::optional<IndexSlot> HashIndex::make_slot(const IndexChange& command,
                                              const ObjectId& slot_key) {
  if (geometry().kind == IndexKind::homes) return command.home.slot_of(slot_key);
  const auto place = heap_.write(state_.heap, command.key, command.value, state_.applied);
  if (!place) return std::nullopt;
  return place->slot_of(slot_key);
}

void HashIndex::retire_record(const IndexSlot& slot) {
  const auto place = RecordPlace::of(slot, geometry());
  DOLMEN_ASSERT(place);
  heap_.drop(state_.heap, *place, state_.applied);
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
  heap_.release(state_.heap, upto);
}

}  // namespace dolmen::cluster
