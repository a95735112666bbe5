// SPDX-License-Identifier: Apache-2.0
//
// The typed allocator inside one object. All of its state lies in the object; a Heap is a cheap
// view made per use. Every allocation has a type tag, so that at(offset) can tell what lies
// anywhere in the object. The unit is a run of equal slots with a bitmap;
// docs/adr/0004-object-heap.md says why.
//
// Threads: like the object: many readers (HeapReader) or one writer (Heap).
// Invariants:
//   1. Each byte of the object that changes was given to WriteLog before it changed.
//   2. Whatever the object's bytes are, only [base, base + 2^capacity_log2) is touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "object/heap_layout.hpp"
#include "object/object_header.hpp"

namespace dolmen::object {

/// Is told each range of object memory before it is changed. May throw (a transaction that has
/// become too large): the change is then incomplete and the caller restores the logged pre-images.
class WriteLog {
 public:
  virtual ~WriteLog() = default;
  virtual void log(const void* address, std::size_t bytes) = 0;
  /// The same for memory that was free: nobody reads it before it is handed out zero-filled again.
  /// So its pre-image need not be kept, unless freed() named it in the same transaction: then an
  /// abort brings back what lay there. It is a change all the same.
  virtual void log_fresh(const void* address, std::size_t bytes) { log(address, bytes); }
  /// This memory was in use and is free from now on (its bytes do not change yet).
  virtual void freed(const void* /*address*/, std::size_t /*bytes*/) {}
};

/// Type tags 1 … 15 are the object's own; user types' tags are larger.
enum ReservedTag : std::uint32_t {
  kFotTag = 1,
  kBinsTag = 2,
  kHeapStateTag = 3,
  kPageTableTag = 4,
  kFirstUserTag = 16,
};

struct Allocation {
  std::uint32_t offset = 0;  ///< of its first byte in the object
  std::uint32_t bytes = 0;   ///< usable bytes
  std::uint32_t type_tag = 0;
  std::uint32_t element_bytes = 0;  ///< of one element of the type, as given to allocate()
  std::uint32_t count = 0;          ///< elements that fit
  bool is_array = false;
  friend bool operator==(const Allocation&, const Allocation&) = default;
};

struct HeapStats {
  std::uint64_t allocations = 0;
  std::uint64_t allocated_bytes = 0;  ///< usable bytes of all allocations
  std::uint64_t run_bytes = 0;        ///< space of all runs, headers and free slots included
  std::uint64_t free_extent_bytes = 0;
  std::uint64_t untouched_bytes = 0;  ///< never used so far
  std::uint32_t runs = 0;
  std::uint32_t bins = 0;
};

/// Bytes that an array allocation of `bytes` really gives; pure. At most 12.5 % more from 128 bytes
/// on.
[[nodiscard]] std::uint64_t allocation_bytes(std::uint64_t bytes) noexcept;

class HeapReader {
 public:
  /// `base`: an object of 2^capacity_log2 readable bytes, whatever their contents; 16-byte aligned.
  HeapReader(const std::byte* base, unsigned capacity_log2) noexcept
      : base_(base), capacity_(std::uint32_t{1} << capacity_log2), capacity_log2_(capacity_log2) {}

  [[nodiscard]] const std::byte* base() const noexcept { return base_; }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] unsigned capacity_log2() const noexcept { return capacity_log2_; }

  /// The live allocation that contains the byte at `offset`; none if it is free, internal or
  /// corrupt. The FOT and the heap's own tables are found too (by their reserved tags). Cost: O(1)
  /// (about 10 ns); in the first, compact page a walk over at most a few dozen runs.
  [[nodiscard]] std::optional<Allocation> at(std::uint64_t offset) const noexcept;
  /// Usable bytes of the allocation that begins at `offset`; 0 if there is none.
  [[nodiscard]] std::uint32_t usable(std::uint64_t offset) const noexcept;

  /// Calls `visitor(const Allocation&)` for every live allocation, reserved tags included, by
  /// ascending address but for those of the compact page, which come first. The visitor may return
  /// bool: false stops. Errors: corrupt.
  template <class Visitor>
  Result<void> for_each_allocation(Visitor&& visitor) const {
    using V = std::remove_reference_t<Visitor>;
    return walk(
        [](void* context, const Allocation& allocation) {
          V& call = *static_cast<V*>(context);
          if constexpr (std::is_void_v<std::invoke_result_t<V&, const Allocation&>>) {
            call(allocation);
            return true;
          } else {
            return static_cast<bool>(call(allocation));
          }
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(visitor))));
  }

  /// Every invariant of the heap's structures; O(allocations). Errors: corrupt (detail = offset).
  [[nodiscard]] Result<void> verify() const;
  [[nodiscard]] Result<HeapStats> stats() const;

 protected:
  using Step = bool (*)(void* context, const Allocation& allocation);
  Result<void> walk(Step step, void* context) const;

  const std::byte* base_;
  std::uint32_t capacity_;
  unsigned capacity_log2_;
};

class Heap : public HeapReader {
 public:
  /// Requires: `log` outlives the Heap. The object is formatted, or allocate() says corrupt.
  Heap(std::byte* base, unsigned capacity_log2, WriteLog& log) noexcept
      : HeapReader(base, capacity_log2), writable_(base), log_(&log) {}

  /// Makes an empty object (header and heap) of zero-filled memory.
  /// Requires: 2^capacity_log2 bytes at `base` read zero.
  static void format(std::byte* base, unsigned capacity_log2, const ObjectIdSeed& seed,
                     WriteLog& log);

  /// Zero-filled memory for `count` elements; its offset. Aligned to the largest power of two that
  /// divides `element_bytes`, at most 16; one element takes its size rounded up to 8, more are an
  /// array of allocation_bytes(element_bytes * count). An array > 16 KiB is 64-byte aligned.
  /// Errors: object_full (detail = bytes), invalid_argument (tag 0, no bytes), corrupt.
  /// Cost: O(1); 20-30 ns plus zeroing, new runs aside.
  [[nodiscard]] Result<std::uint32_t> allocate(std::uint32_t type_tag, std::uint32_t element_bytes,
                                               std::uint64_t count = 1);
  /// Requires: nobody follows pointers to it any more.
  /// Errors: invalid_argument (no live allocation begins at `offset`), corrupt.
  [[nodiscard]] Result<void> deallocate(std::uint64_t offset);

  /// Changes the capacity; no allocation moves. Requires: at `base` lie as many writable bytes as
  /// the larger of both capacities, and those above the old one read zero. After shrinking, the
  /// bytes above the new capacity no longer belong to the object. Errors: object_full (something
  /// lies above the new capacity), invalid_argument, corrupt.
  [[nodiscard]] Result<void> resize_capacity(unsigned new_log2);

  /// Logs and changes header fields (root, FOT).
  void set_root(std::uint32_t offset, std::uint32_t type_tag);
  void set_fot(std::uint32_t offset, std::uint32_t count);

  [[nodiscard]] std::byte* writable() const noexcept { return writable_; }
  [[nodiscard]] WriteLog& log() const noexcept { return *log_; }

 private:
  std::byte* writable_;
  WriteLog* log_;
};

}  // namespace dolmen::object
