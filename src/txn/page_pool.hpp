// SPDX-License-Identifier: Apache-2.0
//
// Memory for page versions. They come by the ten thousand while a checkpoint is written, and all go
// at its end. Among what a program keeps on its heap they would leave holes that the C library does
// not give back to the system; here a chunk goes back with its last page.
//
// Threads: safe from any thread. Locks: a leaf.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "store/store.hpp"
#include "sys/memory.hpp"

namespace dolmen::txn {

class PagePool {
  struct Chunk;

 public:
  struct GiveBack {
    PagePool* pool = nullptr;  ///< null: from the heap
    Chunk* chunk = nullptr;
    void operator()(std::byte* page) const noexcept;
  };
  using Page = std::unique_ptr<std::byte[], GiveBack>;

  explicit PagePool(sys::Memory& memory) : memory_(memory) {}
  /// Requires: every page was given back.
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  /// `bytes` (at most a page) of any contents. Parts of a page, as small objects have them, come
  /// from the heap. Throws std::bad_alloc.
  [[nodiscard]] Page take(std::uint32_t bytes);
  /// In a forked child the chunks are not there, and their addresses may be somebody else's.
  void leave_to_parent() noexcept { left_ = true; }
  /// What pages and partly used chunks take.
  [[nodiscard]] std::uint64_t chunk_bytes() const;

  static constexpr std::uint32_t kPagesPerChunk = 256;
  static constexpr std::size_t kChunkBytes = std::size_t{kPagesPerChunk} * store::kPageBytes;

 private:
  static constexpr std::size_t kChunksPerRegion = 256;  // of address space
  struct Chunk {
    std::byte* begin = nullptr;
    std::uint32_t used = 0;
    bool listed = false;  ///< in open_
    std::array<std::uint64_t, kPagesPerChunk / 64> taken{};
  };

  [[nodiscard]] Chunk& chunk_with_room() DOLMEN_REQUIRES(mutex_);
  [[nodiscard]] Chunk& add_chunk() DOLMEN_REQUIRES(mutex_);
  void give_back(Chunk& chunk, const std::byte* page) noexcept;

  sys::Memory& memory_;
  bool left_ = false;
  mutable base::Mutex mutex_;
  std::vector<std::byte*> regions_ DOLMEN_GUARDED_BY(mutex_);
  std::deque<Chunk> chunks_ DOLMEN_GUARDED_BY(mutex_);
  std::vector<Chunk*> open_ DOLMEN_GUARDED_BY(mutex_);   ///< with free pages, perhaps
  std::vector<Chunk*> empty_ DOLMEN_GUARDED_BY(mutex_);  ///< without memory
};

}  // namespace dolmen::txn
