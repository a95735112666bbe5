// SPDX-License-Identifier: Apache-2.0
#include "cluster/hash_index.hpp"

#include <algorithm>
#include <bit>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

void add_slot(Bucket& bucket, const IndexSlot& slot, bool is_second) {
  bucket.slots[bucket.count] = slot;
  bucket.second = static_cast<std::uint8_t>(bucket.second | (is_second ? 1u : 0u) << bucket.count);
  ++bucket.count;
}

void remove_slot(Bucket& bucket, std::size_t slot) {
  const std::size_t last = bucket.count - 1u;
  bucket.slots[slot] = bucket.slots[last];
  const unsigned of_last = bucket.second >> last & 1u;
  const unsigned others = bucket.second & ~(1u << slot) & ~(1u << last);
  bucket.second = static_cast<std::uint8_t>(slot == last ? others : others | of_last << slot);
  bucket.slots[last] = {};
  --bucket.count;
}

}  // namespace

Result<HashIndex> HashIndex::make(base::MutableBytes region, const IndexGeometry& geometry,
                                  std::uint32_t epoch) {
  if (!geometry.is_possible(region.size())) {
    return fail(Errc::invalid_argument, "the geometry of an index", region.size());
  }
  HashIndex index(region, geometry);
  index.start(epoch);
  return index;
}

void HashIndex::start(std::uint32_t epoch) {
  state_ = {.epoch = epoch, .buckets_used = 1, .buckets_live = 1};
  if (geometry().kind == IndexKind::records) state_.heap.used = kHeapFirst;
  memory_.write_bucket(1, {.epoch = epoch, .state = BucketState::live});
  memory_.store_half(IndexGeometry::directory_word_at(0, 0), 1);
  memory_.write_state(state_);
  std::array<std::byte, kGeometryBytes> front;
  encode_geometry(front, geometry());
  memory_.store_bytes(0, front);
}

IndexOutcome HashIndex::apply(log::Index index, const IndexChange& command) {
  DOLMEN_ASSERT_CMP(index, >, state_.applied);
  state_.applied = index;
  IndexOutcome outcome = IndexOutcome::done;
  switch (command.kind) {
    case IndexCommand::Kind::put:
      outcome = put(command);
      break;
    case IndexCommand::Kind::erase:
      outcome = erase(command);
      break;
    case IndexCommand::Kind::release:
      release(command.upto);
      break;
    case IndexCommand::Kind::restamp:
      restamp(command.epoch);
      break;
  }
  memory_.write_state(state_);
  return outcome;
}

ObjectId HashIndex::slot_key_of(const IndexChange& command) const {
  return geometry().kind == IndexKind::homes ? command.id
                                             : hash_of_key(command.key, geometry().seed);
}

IndexOutcome HashIndex::put(const IndexChange& command) {
  const ObjectId slot_key = slot_key_of(command);
  auto found = locate(slot_key, command.key);
  const Positions positions = positions_of(slot_key, geometry().seed);
  const auto growth = found ? Growth{} : room_for(positions);
  if (!growth) return IndexOutcome::no_space;
  const auto slot = make_slot(command, slot_key);
  if (!slot) return IndexOutcome::no_space;
  if (found) {
    const IndexSlot former = found->bucket.slots[found->slot];
    found->bucket.slots[found->slot] = *slot;
    memory_.write_bucket(found->number, found->bucket);
    if (geometry().kind == IndexKind::records) retire_record(former);
    return IndexOutcome::replaced;
  }
  for (std::uint32_t i = 0; i < growth->splits; ++i) split(directory(growth->position));
  place(*slot, positions);
  ++state_.keys;
  return IndexOutcome::created;
}

IndexOutcome HashIndex::erase(const IndexChange& command) {
  auto found = locate(slot_key_of(command), command.key);
  if (!found) return IndexOutcome::absent;
  const IndexSlot former = found->bucket.slots[found->slot];
  remove_slot(found->bucket, found->slot);
  memory_.write_bucket(found->number, found->bucket);
  if (geometry().kind == IndexKind::records) retire_record(former);
  --state_.keys;
  merge(found->number);
  return IndexOutcome::erased;
}

void HashIndex::restamp(std::uint32_t epoch) {
  state_.epoch = epoch;
  for (BucketNumber number = 1; number <= state_.buckets_used; ++number) {
    Bucket bucket = memory_.bucket(number);
    bucket.epoch = epoch;
    memory_.write_bucket(number, bucket);
  }
}

BucketNumber HashIndex::directory(std::uint32_t position) const noexcept {
  return memory_.half(IndexGeometry::directory_word_at(state_.depth, position));
}

std::optional<RecordView> HashIndex::record_of(const IndexSlot& slot) const {
  const auto place = RecordPlace::of(slot, geometry());
  if (!place) return std::nullopt;
  return heap_.read(*place);
}

bool HashIndex::holds(const IndexSlot& slot, const ObjectId& slot_key, base::Bytes key) const {
  if (slot.key != slot_key) return false;
  if (geometry().kind == IndexKind::homes) return true;
  const auto place = RecordPlace::of(slot, geometry());
  DOLMEN_ASSERT(place && "a slot leads to its record");
  const auto record = heap_.view(*place);
  DOLMEN_ASSERT(record && "a slot leads to its record");
  return std::ranges::equal(record->key, key);
}

std::optional<HashIndex::Found> HashIndex::locate(const ObjectId& slot_key, base::Bytes key) const {
  BucketNumber former = kNoBucket;
  for (const std::uint32_t position : positions_of(slot_key, geometry().seed)) {
    const BucketNumber number = directory(position);
    if (number == former || (former != kNoBucket && DOLMEN_PLANTED("cluster.put_looks_once"))) {
      break;
    }
    former = number;
    const Bucket bucket = memory_.bucket(number);
    for (std::size_t slot = 0; slot < bucket.count; ++slot) {
      if (holds(bucket.slots[slot], slot_key, key)) return Found{number, bucket, slot};
    }
  }
  return std::nullopt;
}

std::optional<Home> HashIndex::find(const ObjectId& id) const {
  DOLMEN_ASSERT(geometry().kind == IndexKind::homes);
  const auto found = locate(id, {});
  return found ? Home::of(found->bucket.slots[found->slot]) : std::nullopt;
}

std::optional<std::vector<std::byte>> HashIndex::find(base::Bytes key) const {
  DOLMEN_ASSERT(geometry().kind == IndexKind::records);
  const auto found = locate(hash_of_key(key, geometry().seed), key);
  if (!found) return std::nullopt;
  const auto record = record_of(found->bucket.slots[found->slot]);
  DOLMEN_ASSERT(record && "the region is written by its owner alone");
  return std::vector<std::byte>(record->value.begin(), record->value.end());
}

std::uint32_t HashIndex::position_in(const Bucket& bucket, std::size_t slot) const {
  return positions_of(bucket.slots[slot].key, geometry().seed)[bucket.second >> slot & 1u];
}

std::optional<HashIndex::Growth> HashIndex::room_for(const Positions& positions) const {
  std::optional<Growth> best;
  BucketNumber former = kNoBucket;
  for (const std::uint32_t position : positions) {
    const BucketNumber number = directory(position);
    if (number == former) break;
    former = number;
    const auto splits = splits_for(memory_.bucket(number), position);
    if (splits && (!best || *splits < best->splits)) best = Growth{position, *splits};
  }
  return best;
}

std::optional<std::uint32_t> HashIndex::splits_for(const Bucket& bucket,
                                                   std::uint32_t position) const {
  if (bucket.count < kSlotsOfBucket) return 0;
  // As many as it takes for one of those there to part from the new one.
  std::uint32_t depth = geometry().depth_max + 1u;
  for (std::size_t slot = 0; slot < bucket.count; ++slot) {
    const auto common =
        static_cast<std::uint32_t>(std::countl_zero(position_in(bucket, slot) ^ position));
    depth = std::min(depth, common + 1);
  }
  if (depth > geometry().depth_max) return std::nullopt;
  const std::uint32_t splits = depth - bucket.depth;
  if (splits > buckets_at_hand()) return std::nullopt;
  return splits;
}

void HashIndex::place(const IndexSlot& slot, const Positions& positions) {
  const std::array<BucketNumber, 2> numbers{directory(positions[0]), directory(positions[1])};
  const std::array<Bucket, 2> buckets{memory_.bucket(numbers[0]), memory_.bucket(numbers[1])};
  const bool is_second = buckets[1].count < buckets[0].count;
  Bucket bucket = buckets[is_second ? 1 : 0];
  DOLMEN_ASSERT(bucket.count < kSlotsOfBucket);
  add_slot(bucket, slot, is_second);
  memory_.write_bucket(numbers[is_second ? 1 : 0], bucket);
}

void HashIndex::split(BucketNumber number) {
  const Bucket whole = memory_.bucket(number);
  if (whole.depth == state_.depth) double_directory();
  const BucketNumber other = take_bucket();
  Bucket lower{.epoch = whole.epoch,
               .prefix = whole.prefix << 1,
               .link = other,
               .depth = static_cast<std::uint8_t>(whole.depth + 1),
               .state = BucketState::live};
  Bucket upper = lower;
  upper.prefix |= 1;
  upper.link = kNoBucket;
  const Bucket nothing = upper;
  for (std::size_t slot = 0; slot < whole.count; ++slot) {
    std::uint32_t position = position_in(whole, slot);
    bool is_second = (whole.second >> slot & 1) != 0;
    if (DOLMEN_PLANTED("cluster.position_forgotten")) {
      const Positions both = positions_of(whole.slots[slot].key, geometry().seed);
      is_second = !whole.covers(both[0]);
      position = both[is_second ? 1 : 0];
    }
    add_slot(upper.covers(position) ? upper : lower, whole.slots[slot], is_second);
  }
  if (DOLMEN_PLANTED("cluster.split_flips_first")) {
    memory_.write_bucket(other, nothing);
    memory_.write_bucket(number, lower);
    lead_to(other, nothing);
  }
  memory_.write_bucket(other, upper);
  memory_.write_bucket(number, lower);
  lead_to(other, upper);
  ++state_.buckets_live;
}

void HashIndex::merge(BucketNumber number) {
  for (;;) {
    const Bucket bucket = memory_.bucket(number);
    if (bucket.depth == 0) return;
    const BucketNumber buddy = directory((bucket.prefix ^ 1) << (32 - bucket.depth));
    const Bucket other = memory_.bucket(buddy);
    if (other.depth != bucket.depth || bucket.count + other.count > kMergeAt) return;
    const bool is_lower = bucket.prefix % 2 == 0;
    Bucket whole = is_lower ? bucket : other;
    const Bucket upper = is_lower ? other : bucket;
    const BucketNumber heir = is_lower ? number : buddy;
    const BucketNumber retired = is_lower ? buddy : number;
    whole.depth = static_cast<std::uint8_t>(whole.depth - 1);
    whole.prefix >>= 1;
    whole.link = kNoBucket;
    const Bucket claimed = whole;
    for (std::size_t slot = 0; slot < upper.count; ++slot) {
      add_slot(whole, upper.slots[slot], (upper.second >> slot & 1) != 0);
    }
    if (DOLMEN_PLANTED("cluster.merge_claims_first")) {
      memory_.write_bucket(heir, claimed);
      retire_bucket(retired, upper, heir);
    }
    memory_.write_bucket(heir, whole);
    if (!DOLMEN_PLANTED("cluster.merge_claims_first")) retire_bucket(retired, upper, heir);
    lead_to(heir, whole);
    number = heir;
  }
}

void HashIndex::lead_to(BucketNumber number, const Bucket& bucket) {
  const std::uint32_t below = state_.depth - bucket.depth;
  const std::size_t first =
      (std::size_t{1} << state_.depth) + (std::size_t{bucket.prefix} << below);
  for (std::size_t word = first; word < first + (std::size_t{1} << below); ++word) {
    const std::size_t at = kDirectoryAt + 4 * word;
    if (memory_.half(at) != number) memory_.store_half(at, number);
  }
}

void HashIndex::double_directory() {
  const std::size_t first = std::size_t{1} << state_.depth;
  for (std::size_t word = 2 * first; word < 4 * first; ++word) {
    memory_.store_half(kDirectoryAt + 4 * word, memory_.half(kDirectoryAt + 4 * (word / 2)));
  }
  ++state_.depth;
  memory_.write_state(state_);
}

}  // namespace dolmen::cluster
