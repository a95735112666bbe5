// SPDX-License-Identifier: Apache-2.0
#include "txn/page_pool.hpp"

#include <bit>
#include <new>

#include <dolmen/assert.hpp>

namespace dolmen::txn {

PagePool::~PagePool() {
  if (left_) return;
  DOLMEN_ASSERT_CMP(empty_.size(), ==, chunks_.size());
  for (std::byte* region : regions_) memory_.release(region, kChunksPerRegion * kChunkBytes);
}

void PagePool::GiveBack::operator()(std::byte* page) const noexcept {
  if (pool == nullptr) {
    delete[] page;
  } else {
    pool->give_back(*chunk, page);
  }
}

PagePool::Page PagePool::take(std::uint32_t bytes) {
  if (bytes < store::kPageBytes) return Page(new std::byte[bytes]);
  DOLMEN_ASSERT_CMP(bytes, ==, store::kPageBytes);
  const base::Lock guard(mutex_);
  Chunk& chunk = chunk_with_room();
  std::uint32_t word = 0;
  while (chunk.taken[word] == ~std::uint64_t{0}) ++word;
  const auto bit = static_cast<std::uint32_t>(std::countr_one(chunk.taken[word]));
  chunk.taken[word] |= std::uint64_t{1} << bit;
  ++chunk.used;
  return Page(chunk.begin + std::size_t{word * 64 + bit} * store::kPageBytes, {this, &chunk});
}

PagePool::Chunk& PagePool::chunk_with_room() {
  while (!open_.empty()) {
    Chunk& chunk = *open_.back();
    if (chunk.used < kPagesPerChunk) return chunk;
    chunk.listed = false;
    open_.pop_back();
  }
  if (empty_.empty()) empty_.push_back(&add_chunk());
  Chunk& chunk = *empty_.back();
  empty_.pop_back();
  chunk.listed = true;
  open_.push_back(&chunk);
  return chunk;
}

/// All lists get room for all chunks here: giving back needs no memory.
PagePool::Chunk& PagePool::add_chunk() {
  const std::size_t number = chunks_.size();
  open_.reserve(std::bit_ceil(number + 1));
  empty_.reserve(std::bit_ceil(number + 1));
  if (number == regions_.size() * kChunksPerRegion) {
    regions_.reserve(regions_.size() + 1);
    const auto region = memory_.reserve(kChunksPerRegion * kChunkBytes, store::kPageBytes);
    if (!region) throw std::bad_alloc();
    regions_.push_back(*region);
  }
  std::byte* const begin = regions_.back() + number % kChunksPerRegion * kChunkBytes;
  if (!memory_.activate(begin, kChunkBytes)) throw std::bad_alloc();
  return chunks_.emplace_back(Chunk{.begin = begin});
}

void PagePool::give_back(Chunk& chunk, const std::byte* page) noexcept {
  if (left_) return;  // who held the mutex may not be here
  const base::Lock guard(mutex_);
  const auto number = static_cast<std::size_t>(page - chunk.begin) / store::kPageBytes;
  std::uint64_t& word = chunk.taken[number / 64];
  const std::uint64_t bit = std::uint64_t{1} << (number % 64);
  DOLMEN_ASSERT((word & bit) != 0);
  word &= ~bit;
  --chunk.used;
  if (chunk.used == 0) {
    if (chunk.listed) std::erase(open_, &chunk);
    chunk.listed = false;
    empty_.push_back(&chunk);
    memory_.discard(chunk.begin, kChunkBytes);
  } else if (!chunk.listed) {
    chunk.listed = true;
    open_.push_back(&chunk);
  }
}

std::uint64_t PagePool::chunk_bytes() const {
  const base::Lock guard(mutex_);
  return (chunks_.size() - empty_.size()) * kChunkBytes;
}

}  // namespace dolmen::txn
