// SPDX-License-Identifier: Apache-2.0
//
// What the recovered log tail changed, by page. Built once while the log is scanned, then only
// read: a page is its checkpointed bytes with the tail's ranges laid over them in order. Dropped as
// a whole when the first checkpoint after recovery is durable. Compact, because a tail of small
// records has half a million ranges: one 16-byte entry per range and page, one 16-byte table slot
// per page, no nodes.
//
// Invariant: entries of a page are linked in log order; those before the object's `floor` (its last
// creation or erasure in the tail) do not count.
//
// Threads: add() from one; afterwards everything from any, without a lock and without allocating in
// apply().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "store/store.hpp"
#include "store/tail_memory.hpp"

namespace dolmen::store {

class TailIndex {
 public:
  struct Object {
    ObjectId id;
    std::uint32_t floor = 0;         ///< entries before this one are of an earlier life
    std::uint32_t page_limit = 0;    ///< highest page with an entry that counts, plus one
    std::uint8_t capacity_log2 = 0;  ///< set by the tail; 0 = as checkpointed
    bool fresh = false;              ///< checkpointed contents do not count: created or erased
    bool born = false;               ///< the tail's first word about it is its creation
    bool erased = false;             ///< does not exist at the end
    bool resized = false;            ///< has entries in resizes()
  };

  /// Takes a transaction's payload; its bytes stay in place as long as the index.
  /// Errors: corrupt; limit (2^32 ranges).
  [[nodiscard]] Result<void> add(base::Bytes payload);
  /// Keeps the memory alive that the payloads lie in.
  void own(std::unique_ptr<TailMemory> memory) { memory_ = std::move(memory); }

  [[nodiscard]] const Object* find(const ObjectId& id) const noexcept;
  /// In the order in which the tail first names them.
  [[nodiscard]] const std::vector<Object>& objects() const noexcept { return objects_; }
  /// Lays the tail's changes of this page over `page`, which holds the checkpointed bytes (zeros
  /// for a fresh object). `object` is find(key.object).
  void apply(const Object& object, std::uint32_t page, base::MutableBytes out) const noexcept;
  /// Pages that changed, of objects that exist at the end; unordered.
  [[nodiscard]] std::vector<PageKey> changed_pages() const;
  [[nodiscard]] bool empty() const noexcept { return objects_.empty(); }
  [[nodiscard]] std::size_t entry_count() const noexcept { return entries_.size(); }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Entry {
    const std::byte* run;  // its header in the payload: offset, length, bytes
    std::uint32_t next;    // entry of the same page, or kNone
  };
  struct Slot {
    std::uint64_t key = ~std::uint64_t{0};  // object's ordinal << 32 | page
    std::uint32_t head = kNone;
    std::uint32_t last = kNone;
  };
  struct Resize {
    std::uint32_t ordinal;
    std::uint32_t floor;  // entries from here on came after it
    std::uint64_t bytes;
  };

  [[nodiscard]] std::uint32_t ordinal_of(const ObjectId& id);
  [[nodiscard]] Result<void> add_run(std::uint32_t ordinal, std::uint32_t offset,
                                     base::Bytes bytes);
  [[nodiscard]] Slot& slot_for(std::uint64_t key);
  [[nodiscard]] const Slot* find_slot(std::uint64_t key) const noexcept;
  void grow_slots();
  void grow_ordinals();

  std::vector<Object> objects_;
  std::vector<std::uint32_t> ordinals_;  // open addressing over objects_; kNone = free
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing by page
  std::size_t slot_count_ = 0;
  std::uint32_t last_ordinal_ = kNone;
  std::vector<Resize> resizes_;
  std::unique_ptr<TailMemory> memory_;
};

}  // namespace dolmen::store
