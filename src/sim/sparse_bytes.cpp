// SPDX-License-Identifier: Apache-2.0
#include "sim/sparse_bytes.hpp"

#include <algorithm>
#include <bit>

namespace dolmen::sim {
namespace {

/// Bits of the sectors that a range inside one chunk touches, wholly or in part.
std::uint32_t touched(std::size_t at, std::size_t bytes) noexcept {
  const std::size_t first = at / kSectorBytes;
  const std::size_t last = (at + bytes - 1) / kSectorBytes;
  return static_cast<std::uint32_t>((std::uint64_t{2} << last) - (std::uint64_t{1} << first));
}

/// Bits of the sectors that lie wholly inside the range.
std::uint32_t covered(std::size_t at, std::size_t bytes) noexcept {
  const std::size_t first = (at + kSectorBytes - 1) / kSectorBytes;
  const std::size_t end = (at + bytes) / kSectorBytes;
  if (first >= end) return 0;
  return static_cast<std::uint32_t>((std::uint64_t{1} << end) - (std::uint64_t{1} << first));
}

}  // namespace

template <class Call>
void SparseBytes::for_each_part(std::uint64_t offset, std::uint64_t bytes, Call call) {
  while (bytes > 0) {
    const std::size_t at = offset % kChunkBytes;
    const std::size_t part = std::min<std::uint64_t>(bytes, kChunkBytes - at);
    call(static_cast<std::size_t>(offset / kChunkBytes), at, part);
    offset += part;
    bytes -= part;
  }
}

void SparseBytes::read(std::uint64_t offset, base::MutableBytes out) const noexcept {
  for_each_part(offset, out.size(), [&](std::size_t chunk, std::size_t at, std::size_t part) {
    if (chunk < chunk_count() && (*entries_)[chunk].data) {
      std::memcpy(out.data(), (*entries_)[chunk].data->data() + at, part);
    } else {
      std::memset(out.data(), 0, part);
    }
    out = out.subspan(part);
  });
}

void SparseBytes::write(std::uint64_t offset, base::Bytes bytes) {
  if (bytes.empty()) return;
  Entries& entries = own_entries((offset + bytes.size() - 1) / kChunkBytes + 1);
  for_each_part(offset, bytes.size(), [&](std::size_t chunk, std::size_t at, std::size_t part) {
    Entry& entry = entries[chunk];
    std::memcpy(own_chunk(entry).data() + at, bytes.data(), part);
    set_allocated(entry, entry.allocated | touched(at, part));
    bytes = bytes.subspan(part);
  });
}

void SparseBytes::zero(std::uint64_t offset, std::uint64_t bytes) {
  const std::uint64_t end = std::uint64_t{chunk_count()} * kChunkBytes;
  if (offset >= end || bytes == 0) return;
  Entries& entries = own_entries(0);
  for_each_part(offset, std::min(bytes, end - offset),
                [&](std::size_t chunk, std::size_t at, std::size_t part) {
                  Entry& entry = entries[chunk];
                  set_allocated(entry, entry.allocated & ~covered(at, part));
                  if (part == kChunkBytes) {
                    entry.data.reset();
                  } else if (entry.data) {
                    std::memset(own_chunk(entry).data() + at, 0, part);
                  }
                });
}

void SparseBytes::allocate(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0) return;
  Entries& entries = own_entries((offset + bytes - 1) / kChunkBytes + 1);
  for_each_part(offset, bytes, [&](std::size_t chunk, std::size_t at, std::size_t part) {
    set_allocated(entries[chunk], entries[chunk].allocated | touched(at, part));
  });
}

void SparseBytes::truncate(std::uint64_t size) {
  const std::uint64_t end = std::uint64_t{chunk_count()} * kChunkBytes;
  if (size < end) zero(size, end - size);
}

std::uint64_t SparseBytes::unallocated_sectors(std::uint64_t offset,
                                               std::uint64_t bytes) const noexcept {
  std::uint64_t count = 0;
  for_each_part(offset, bytes, [&](std::size_t chunk, std::size_t at, std::size_t part) {
    const std::uint32_t has = chunk < chunk_count() ? (*entries_)[chunk].allocated : 0;
    count += static_cast<unsigned>(std::popcount(touched(at, part) & ~has));
  });
  return count;
}

SparseBytes::Entries& SparseBytes::own_entries(std::size_t count_min) {
  if (!entries_) {
    entries_ = std::make_shared<Entries>();
  } else if (entries_.use_count() > 1) {
    entries_ = std::make_shared<Entries>(*entries_);
  }
  if (entries_->size() < count_min) entries_->resize(count_min);
  return *entries_;
}

SparseBytes::Chunk& SparseBytes::own_chunk(Entry& entry) {
  if (!entry.data) {
    entry.data = std::make_shared<Chunk>();
  } else if (entry.data.use_count() > 1) {
    entry.data = std::make_shared<Chunk>(*entry.data);
  }
  return *entry.data;
}

void SparseBytes::set_allocated(Entry& entry, std::uint32_t allocated) noexcept {
  allocated_ += static_cast<unsigned>(std::popcount(allocated));
  allocated_ -= static_cast<unsigned>(std::popcount(entry.allocated));
  entry.allocated = allocated;
}

}  // namespace dolmen::sim
