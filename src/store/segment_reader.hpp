// SPDX-License-Identifier: Apache-2.0
//
// One segment file's bytes, read from its start as far as they are asked for. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "store/log_format.hpp"
#include "store/root.hpp"
#include "sys/disk.hpp"

namespace dolmen::store {

class SegmentReader {
 public:
  /// Opens the file and verifies its header; reads into `memory` (root.segment_bytes of it).
  /// Errors: corrupt, io_error.
  [[nodiscard]] static Result<SegmentReader> open(sys::Disk& disk, base::MutableBytes memory,
                                                  const Root& root, const SegmentRef& segment);

  [[nodiscard]] const SegmentRef& ref() const noexcept { return ref_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  /// `count` bytes at `offset`, in the memory given to open().
  /// Requires: offset + count <= size(). Errors: io_error, corrupt (the file is short).
  [[nodiscard]] Result<base::Bytes> bytes(std::uint32_t offset, std::uint32_t count);
  /// The verified record with exactly this index at `offset`; nothing if there is none.
  struct Record {
    RecordHeader header;
    base::Bytes payload;
  };
  [[nodiscard]] Result<std::optional<Record>> record_at(std::uint32_t offset, Index index);

  /// What a search behind a bad record found.
  struct Found {
    std::uint32_t offset = 0;  ///< 0: nothing
    Index index = 0;
  };
  /// The first valid record behind `offset`, where record `index` should be, whose index is at most
  /// `index_max` and whose durable index is at least `durable_min`. Gives up with corrupt when
  /// hostile bytes would make it read for ever.
  [[nodiscard]] Result<Found> search(std::uint32_t offset, Index index, Index index_max,
                                     Index durable_min);
  /// "log segment 7 at byte 4096" as an error.
  [[nodiscard]] std::unexpected<Error> damage(std::uint32_t offset, const char* what) const;
  [[nodiscard]] Result<void> sync() { return file_->sync(); }

 private:
  SegmentReader(SegmentRef ref, std::uint32_t size, std::uint64_t seed,
                std::unique_ptr<sys::File> file, base::MutableBytes memory);

  SegmentRef ref_;
  std::uint32_t size_;
  std::uint64_t seed_;
  std::unique_ptr<sys::File> file_;
  base::MutableBytes memory_;
  std::uint32_t loaded_ = 0;
};

}  // namespace dolmen::store
