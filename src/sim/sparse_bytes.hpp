// SPDX-License-Identifier: Apache-2.0
//
// The contents of one simulated file: bytes that are zero until written, and which of their sectors
// occupy room. Copies share chunks until one of them changes, so that a crash state costs what
// differs and not what the disk holds.
//
// Threads: one at a time per object; copies are independent only where somebody orders their use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "sys/disk.hpp"

namespace dolmen::sim {

using sys::kSectorBytes;

class SparseBytes {
 public:
  void read(std::uint64_t offset, base::MutableBytes out) const noexcept;
  void write(std::uint64_t offset, base::Bytes bytes);
  /// Whole sectors give their room back.
  void zero(std::uint64_t offset, std::uint64_t bytes);
  void allocate(std::uint64_t offset, std::uint64_t bytes);
  /// Forgets everything from `size` on.
  void truncate(std::uint64_t size);
  [[nodiscard]] std::uint64_t allocated_sectors() const noexcept { return allocated_; }
  /// Sectors of the range that have no room yet.
  [[nodiscard]] std::uint64_t unallocated_sectors(std::uint64_t offset,
                                                  std::uint64_t bytes) const noexcept;

 private:
  static constexpr std::size_t kChunkBytes = 16 << 10;
  static constexpr std::size_t kChunkSectors = kChunkBytes / kSectorBytes;
  static_assert(kChunkSectors == 32, "one bit of Entry::allocated per sector");

  using Chunk = std::array<std::byte, kChunkBytes>;
  struct Entry {
    std::shared_ptr<Chunk> data;  // null reads as zeros
    std::uint32_t allocated = 0;
  };
  using Entries = std::vector<Entry>;

  [[nodiscard]] std::size_t chunk_count() const noexcept { return entries_ ? entries_->size() : 0; }
  [[nodiscard]] Entries& own_entries(std::size_t count_min);
  [[nodiscard]] static Chunk& own_chunk(Entry& entry);
  void set_allocated(Entry& entry, std::uint32_t allocated) noexcept;
  /// Calls `call(chunk index, offset in it, bytes)` for every chunk of the range.
  template <class Call>
  static void for_each_part(std::uint64_t offset, std::uint64_t bytes, Call call);

  std::shared_ptr<Entries> entries_;
  std::uint64_t allocated_ = 0;
};

}  // namespace dolmen::sim
