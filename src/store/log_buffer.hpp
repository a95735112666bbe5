// SPDX-License-Identifier: Apache-2.0
//
// Appended records that are not yet written: their bytes, and for each stretch where it belongs.
// Not thread-safe: the log's append mutex, or the leader that took the buffer, guards it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>

#include "store/log_format.hpp"
#include "store/root.hpp"
#include "sys/disk.hpp"

namespace dolmen::store {

/// A segment that this Log writes.
struct LogSegment {
  SegmentRef ref;
  std::uint64_t seed = 0;
  std::unique_ptr<sys::File> file;
};

class LogBuffer {
 public:
  struct Extent {
    std::shared_ptr<LogSegment> segment;
    std::uint32_t offset;  ///< in the segment
    std::size_t begin;     ///< in the buffer
    std::size_t bytes;
  };

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const std::vector<Extent>& extents() const noexcept { return extents_; }
  [[nodiscard]] base::Bytes bytes(const Extent& extent) const noexcept {
    return {data_.get() + extent.begin, extent.bytes};
  }

  /// Room for `bytes` at `offset` of `segment`, uninitialised.
  [[nodiscard]] std::byte* extend(const std::shared_ptr<LogSegment>& segment, std::uint32_t offset,
                                  std::size_t bytes) {
    if (size_ + bytes > capacity_) grow(size_ + bytes);
    if (extents_.empty() || extents_.back().segment != segment) {
      extents_.push_back({.segment = segment, .offset = offset, .begin = size_, .bytes = 0});
    }
    DOLMEN_ASSERT(extents_.back().offset + extents_.back().bytes == offset);
    extents_.back().bytes += bytes;
    size_ += bytes;
    return data_.get() + size_ - bytes;
  }

  /// Forgets the contents, and the memory too if it is more than `keep_bytes`.
  void clear(std::size_t keep_bytes) noexcept {
    extents_.clear();
    size_ = 0;
    if (capacity_ > keep_bytes) {
      data_.reset();
      capacity_ = 0;
    }
  }

 private:
  void grow(std::size_t needed) {
    std::size_t capacity = capacity_ == 0 ? std::size_t{64} << 10 : capacity_;
    while (capacity < needed) capacity *= 2;
    auto data = std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (size_ != 0) std::memcpy(data.get(), data_.get(), size_);
    data_ = std::move(data);
    capacity_ = capacity;
  }

  std::unique_ptr<std::byte[]> data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
  std::vector<Extent> extents_;
};

}  // namespace dolmen::store
