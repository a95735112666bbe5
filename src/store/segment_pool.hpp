// SPDX-License-Identifier: Apache-2.0
//
// The log segments that hold nothing: pre-written files waiting to become the log's next part. A
// file is made under a temporary name, written in full, synced, and renamed, so that a file with a
// segment's name always has all its room. Recycled segments keep their old bytes: overwriting
// allocated blocks is what makes an append cheap, and cannot run out of space.
//
// Invariants:
//   1. No file in the pool is named by the durable root; every name that take() gives is durable.
//      A leftover of an earlier opening may owe its name to a failed directory sync: it gets a new
//      one before it is used.
//   2. What the durable root may still name is neither removed nor renamed: leftovers are touched
//      only after the root that was read is certainly durable.
//   3. A failure here harms nothing: the half-made file is removed, the log goes on without it.
//
// Threads: any. take() does no input or output.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/mutex.hpp"
#include "store/root.hpp"
#include "sys/disk.hpp"

namespace dolmen::store {

struct FreeSegment {
  std::uint32_t file = 0;
  std::unique_ptr<sys::File> handle;
};

class SegmentPool {
 public:
  /// `keep_max`: recycled files beyond this many are removed.
  SegmentPool(sys::Disk& disk, std::uint32_t segment_bytes, std::size_t keep_max)
      : disk_(disk), segment_bytes_(segment_bytes), keep_max_(keep_max) {}

  /// Notes the segment files that the root does not name, and removes half-made ones. `settle` is
  /// called before the first of them is used: it makes the root that was read durable.
  [[nodiscard]] Result<void> adopt(const Root& root, std::function<Result<void>()> settle);
  /// Makes one more, of a leftover if there is one. Errors: no_space, io_error, limit, settle()'s.
  [[nodiscard]] Result<void> prepare();
  [[nodiscard]] std::optional<FreeSegment> take();
  /// A file that the durable root names no more: kept for reuse, or removed.
  void recycle(std::uint32_t file) noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(); }
  /// Files that are not part of the log, leftovers included.
  [[nodiscard]] std::size_t file_count() const noexcept { return size() + leftover_count_.load(); }

 private:
  [[nodiscard]] Result<std::unique_ptr<sys::File>> make(std::string_view name)
      DOLMEN_REQUIRES(prepare_mutex_);
  [[nodiscard]] Result<std::unique_ptr<sys::File>> rename_leftover(std::uint32_t new_file)
      DOLMEN_REQUIRES(prepare_mutex_);
  void remove_excess_leftovers() DOLMEN_REQUIRES(prepare_mutex_);
  void add(FreeSegment segment);

  sys::Disk& disk_;
  const std::uint32_t segment_bytes_;
  const std::size_t keep_max_;
  base::Mutex prepare_mutex_;  // one file is made at a time; taken before mutex_
  base::Mutex mutex_;
  std::deque<FreeSegment> free_ DOLMEN_GUARDED_BY(mutex_);
  std::vector<std::uint32_t> leftovers_ DOLMEN_GUARDED_BY(prepare_mutex_);
  std::function<Result<void>()> settle_ DOLMEN_GUARDED_BY(prepare_mutex_);
  std::uint32_t next_file_ DOLMEN_GUARDED_BY(prepare_mutex_) = 1;
  std::atomic<std::size_t> leftover_count_{0};
  std::atomic<std::size_t> size_{0};
};

}  // namespace dolmen::store
