// SPDX-License-Identifier: Apache-2.0
#include "cluster/record_heap.hpp"

#include <algorithm>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// The blocks of a heap, each of which is found once.
class BlockCensus {
 public:
  void add(HeapGranule block, std::uint32_t block_class) { rows_.push_back({block, block_class}); }
  /// Its class, if there is such a block and it was not counted yet.
  std::optional<std::uint32_t> count(HeapGranule block) {
    const auto row = std::ranges::lower_bound(rows_, block, {}, &Row::block);
    if (row == rows_.end() || row->block != block || row->is_counted) return std::nullopt;
    row->is_counted = true;
    return row->block_class;
  }
  [[nodiscard]] bool is_complete() const {
    return std::ranges::all_of(rows_, [](const Row& row) { return row.is_counted; });
  }

 private:
  struct Row {
    HeapGranule block = kNoBlock;
    std::uint32_t block_class = 0;
    bool is_counted = false;
  };
  std::vector<Row> rows_;
};

}  // namespace

void SharedWords::store(std::size_t at, std::uint64_t value) noexcept {
  auto* const place =
      static_cast<std::uint64_t*>(static_cast<void*>(region_.subspan(at, sizeof value).data()));
  __atomic_store_n(place, value, __ATOMIC_RELEASE);
  DOLMEN_STEP("cluster.index_store");
}

void SharedWords::store_half(std::size_t at, std::uint32_t value) noexcept {
  auto* const place =
      static_cast<std::uint32_t*>(static_cast<void*>(region_.subspan(at, sizeof value).data()));
  __atomic_store_n(place, value, __ATOMIC_RELEASE);
  DOLMEN_STEP("cluster.index_store");
}

void SharedWords::store_bytes(std::size_t at, base::Bytes bytes) noexcept {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const auto value = base::load<std::uint64_t>(bytes, i);
    if (word(at + i) != value) store(at + i, value);
  }
}

void SharedWords::clear(std::size_t at, std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; i += sizeof(std::uint64_t)) {
    if (word(at + i) != 0) store(at + i, 0);
  }
}

void SharedWords::store_piece(std::size_t at, base::Bytes image) noexcept {
  store(at + 8, word(at + 8) | 1);
  store_bytes(at + 16, image.subspan(16));
  store(at, base::load<std::uint64_t>(image));
  store(at + 8, base::load<std::uint64_t>(image, 8));
}

std::optional<RecordPlace> RecordHeap::write(HeapState& state, base::Bytes key, base::Bytes value,
                                             log::Index generation) {
  const std::size_t bytes = record_bytes(key.size(), value.size());
  const auto block_class = block_class_for(kBlockHeaderBytes + bytes);
  DOLMEN_ASSERT(block_class);
  const auto block = take_block(state, *block_class);
  if (!block) return std::nullopt;
  const std::size_t begin = block_at(*block);
  memory_.store(begin + kBlockRetiredAt, 0);
  memory_.store(begin + kBlockNextAt, std::uint64_t{*block_class} << 32);
  const RecordPlace place{
      .granule = *block + 1, .bytes = static_cast<std::uint32_t>(bytes), .generation = generation};
  memory_.store_bytes(at(place), encode_record(key, value, place, geometry_));
  state.record_bytes += bytes;
  return place;
}

std::optional<RecordView> RecordHeap::read(const RecordPlace& place) const {
  return decode_record(memory_.bytes(at(place), place.bytes), place, geometry_);
}

void RecordHeap::share(const RecordPlace& place) noexcept {
  const std::size_t next = block_at(place.granule - 1) + kBlockNextAt;
  memory_.store_half(next, memory_.half(next) + 1);
}

void RecordHeap::drop(HeapState& state, const RecordPlace& place, log::Index now) noexcept {
  const HeapGranule block = place.granule - 1;
  const std::size_t next = block_at(block) + kBlockNextAt;
  if (const HeapGranule others = memory_.half(next); others > 0) {
    return memory_.store_half(next, others - 1);
  }
  memory_.store(block_at(block) + kBlockRetiredAt, now);
  if (state.retired_last == kNoBlock) {
    state.retired_first = block;
  } else {
    memory_.store_half(block_at(state.retired_last) + kBlockNextAt, block);
  }
  state.retired_last = block;
  state.record_bytes -= place.bytes;
}

void RecordHeap::take_back(HeapState& state, const RecordPlace& place) noexcept {
  state.record_bytes -= place.bytes;
  free_block(state, place.granule - 1);
}

std::optional<HeapGranule> RecordHeap::take_block(HeapState& state, std::uint32_t block_class) {
  HeapGranule& first = state.free[block_class];
  if (first != kNoBlock) {
    const HeapGranule block = first;
    first = memory_.half(block_at(block) + kBlockNextAt);
    // It was last looked at a grace ago, and is what the next record of that length is written to.
    if (first != kNoBlock) memory_.expect_store(block_at(first));
    return block;
  }
  if (state.bytes_used() + block_bytes(block_class) > geometry_.heap_bytes) return std::nullopt;
  const HeapGranule block = state.used;
  state.used += static_cast<HeapGranule>(block_bytes(block_class) / kHeapGranuleBytes);
  return block;
}

void RecordHeap::free_block(HeapState& state, HeapGranule block) noexcept {
  const std::size_t begin = block_at(block);
  HeapGranule& first = state.free[memory_.half(begin + kBlockClassAt)];
  memory_.store(begin + kBlockRetiredAt, 0);
  memory_.store_half(begin + kBlockNextAt, first);
  first = block;
}

void RecordHeap::release(HeapState& state, log::Index upto) noexcept {
  while (state.retired_first != kNoBlock) {
    const HeapGranule block = state.retired_first;
    const std::size_t begin = block_at(block);
    if (memory_.word(begin + kBlockRetiredAt) > upto) break;
    const HeapGranule next = memory_.half(begin + kBlockNextAt);
    state.retired_first = next;
    if (next == kNoBlock) state.retired_last = kNoBlock;
    free_block(state, block);
  }
}

Result<void> RecordHeap::check(const HeapState& state, std::span<RecordPlace> places,
                               log::Index applied) const {
  const auto bad = [](HeapGranule block) {
    return fail(Errc::corrupt, "the heap of an index", block);
  };
  BlockCensus blocks;
  for (std::uint64_t block = kHeapFirst; block < state.used;) {
    const std::uint32_t block_class =
        memory_.half(block_at(static_cast<HeapGranule>(block)) + kBlockClassAt);
    if (block_class >= kBlockClasses) return bad(static_cast<HeapGranule>(block));
    blocks.add(static_cast<HeapGranule>(block), block_class);
    block += block_bytes(block_class) / kHeapGranuleBytes;
    if (block > state.used) return bad(static_cast<HeapGranule>(block));
  }
  std::uint64_t record_bytes_found = 0;
  std::ranges::sort(places, {}, &RecordPlace::granule);
  for (std::size_t i = 0; i < places.size();) {
    const RecordPlace& place = places[i];
    std::size_t leading = 0;
    for (; i < places.size() && places[i].granule == place.granule; ++i, ++leading) {
      if (places[i] != place) return bad(place.granule);
    }
    const auto block_class = place.granule == 0 ? std::nullopt : blocks.count(place.granule - 1);
    if (!block_class || kBlockHeaderBytes + place.bytes > block_bytes(*block_class) ||
        memory_.half(block_at(place.granule - 1) + kBlockNextAt) != leading - 1) {
      return bad(place.granule);
    }
    record_bytes_found += place.bytes;
  }
  if (record_bytes_found != state.record_bytes) return bad(0);
  HeapGranule last = kNoBlock;
  log::Index before = 0;
  for (HeapGranule block = state.retired_first; block != kNoBlock;) {
    if (!blocks.count(block)) return bad(block);
    const log::Index retired_at = memory_.word(block_at(block) + kBlockRetiredAt);
    if (retired_at < before || retired_at > applied) return bad(block);
    before = retired_at;
    last = block;
    block = memory_.half(block_at(block) + kBlockNextAt);
  }
  if (last != state.retired_last) return bad(last);
  for (std::uint32_t block_class = 0; block_class < kBlockClasses; ++block_class) {
    for (HeapGranule block = state.free[block_class]; block != kNoBlock;) {
      if (blocks.count(block) != block_class) return bad(block);
      block = memory_.half(block_at(block) + kBlockNextAt);
    }
  }
  return blocks.is_complete() ? Result<void>{} : bad(0);
}

}  // namespace dolmen::cluster
