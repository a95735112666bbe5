// SPDX-License-Identifier: Apache-2.0
//
// What one commit changed, as bytes: the payload of a log record. Store, txn, log and view all need
// it; nobody else interprets a log. A payload is a sequence of sections, one per object and kind of
// change, applied in order; writes are byte ranges of the object. docs/formats/commit-record.md has
// the table.
//
//   section   := u8 kind, u8 capacity_log2, u16 zero, u32 run_count, u64 id.high, u64 id.low, run*
//   run       := u32 offset, u32 length, length bytes, zero padding to a multiple of 8
//   kind      := 1 write | 2 create (an all-zero object; capacity_log2 says its size) | 3 erase |
//                4 resize (to capacity_log2)
//   Only kind 1 has runs. Sections and runs start at multiples of 8.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"

namespace dolmen::base {

enum class ChangeKind : std::uint8_t { write = 1, create = 2, erase = 3, resize = 4 };

inline constexpr std::uint32_t kMaxObjectBytes = 1u << 30;
inline constexpr unsigned kMinCapacityLog2 = 9;
inline constexpr unsigned kMaxCapacityLog2 = 30;

inline constexpr std::size_t kSectionHeaderBytes = 24;
inline constexpr std::size_t kRunHeaderBytes = 8;

/// Builds a payload. Not thread-safe; reuse one per thread (clear() keeps the memory).
class CommitRecordWriter {
 public:
  void clear() noexcept {
    size_ = 0;
    section_ = kNone;
  }
  void create(const ObjectId& object, unsigned capacity_log2) {
    begin(ChangeKind::create, object, capacity_log2);
  }
  void erase(const ObjectId& object) { begin(ChangeKind::erase, object, 0); }
  void resize(const ObjectId& object, unsigned capacity_log2) {
    begin(ChangeKind::resize, object, capacity_log2);
  }
  /// Opens the section that following run() calls belong to.
  void write(const ObjectId& object) { begin(ChangeKind::write, object, 0); }
  /// Requires: an open write section; offset + bytes.size() <= kMaxObjectBytes.
  void run(std::uint32_t offset, Bytes bytes);
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Bytes bytes() const noexcept { return {room_.data(), size_}; }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  void begin(ChangeKind kind, const ObjectId& object, unsigned capacity_log2);
  /// `bytes` more at the end, of any contents.
  [[nodiscard]] MutableBytes extend(std::size_t bytes) {
    if (bytes > room_.size() - size_) [[unlikely]]
      grow(bytes);
    size_ += bytes;
    return {room_.data() + size_ - bytes, bytes};
  }
  void grow(std::size_t bytes);

  std::vector<std::byte> room_;  // its first size_ bytes are the payload
  std::size_t size_ = 0;
  std::size_t section_ = kNone;
};

struct CommitSection {
  ChangeKind kind{};
  unsigned capacity_log2 = 0;
  std::uint32_t run_count = 0;
  ObjectId object;
};

struct CommitRun {
  std::uint32_t offset = 0;
  Bytes bytes;
};

/// Reads a payload, bounded: hostile bytes give an error, never a read outside.
///   CommitRecordReader reader(payload);
///   while (reader.next_section(section)) while (reader.next_run(run)) …;
///   if (reader.failed()) …corrupt
class CommitRecordReader {
 public:
  explicit CommitRecordReader(Bytes payload) noexcept : reader_(payload) {}
  /// Skips runs of the former section that were not read.
  [[nodiscard]] bool next_section(CommitSection& section) noexcept;
  [[nodiscard]] bool next_run(CommitRun& run) noexcept;
  [[nodiscard]] bool failed() const noexcept { return reader_.failed(); }

 private:
  ByteReader reader_;
  std::uint32_t runs_left_ = 0;
};

}  // namespace dolmen::base
