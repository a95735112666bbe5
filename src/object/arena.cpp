// SPDX-License-Identifier: Apache-2.0
#include "object/arena.hpp"

#include <algorithm>
#include <bit>

#include <dolmen/assert.hpp>

#include "base/mutex.hpp"

namespace dolmen::detail {

// No address has this tag: addresses have at most 57 bits.
constinit std::atomic<std::uintptr_t> arena_tag{~std::uintptr_t{0}};
constinit std::atomic<Translation*> translations{nullptr};
constinit std::atomic<Mapping*> mappings{nullptr};

}  // namespace dolmen::detail

namespace dolmen::object {
namespace {

using detail::kArenaShift;
using detail::kMaxClass;
using detail::kMinClass;
using detail::kRegionShift;
using detail::Mapping;
using detail::Translation;

constexpr unsigned kPageClass = 12;
constexpr std::uint64_t kFirstBatch = std::uint64_t{2} << 20;
constexpr std::uint64_t kLargestBatch = std::uint64_t{1} << 30;
/// Slots of all classes, by heap number.
constexpr std::uint64_t kRecords = std::uint64_t{1} << (kRegionShift - kMinClass + 1);

/// The plain or the demand slots of a class, numbered within the region. Plain ones grow up from
/// slot 1, demand ones down from the last, until they meet.
struct Side {
  std::uint64_t next = 0;       // boundary of the slots handed out so far
  std::uint64_t active = 0;     // boundary of the slots made accessible so far
  std::uint64_t free_head = 0;  // freed slots, linked through Mapping::next_free; 0 ends the list
  std::uint64_t free_count = 0;
  std::uint64_t in_use = 0;
  std::uint64_t batch_bytes = kFirstBatch;
};

class Arena {
 public:
  constexpr Arena() noexcept {
    for (unsigned c = kMinClass; c <= kMaxClass; ++c) {
      side(c, SlotKind::plain) = {.next = 1, .active = 1};
      side(c, SlotKind::demand) = {.next = slots_of(c), .active = slots_of(c)};
    }
  }

  Result<void> ensure(sys::Memory& memory) {
    const base::Lock lock(mutex_);
    if (base_ != nullptr) {
      if (memory_ == &memory) return {};
      return fail(Errc::invalid_argument, "the arena belongs to another Memory");
    }
    constexpr std::uint64_t kBytes = std::uint64_t{1} << kArenaShift;
    DOLMEN_TRY(std::byte* const base, memory.reserve(kBytes, kBytes));
    auto translations = memory.reserve(kRecords * sizeof(Translation), sys::kPageBytes);
    if (!translations) {
      memory.release(base, kBytes);
      return std::unexpected(translations.error());
    }
    auto mappings = memory.reserve(kRecords * sizeof(Mapping), sys::kPageBytes);
    if (!mappings) {
      memory.release(*translations, kRecords * sizeof(Translation));
      memory.release(base, kBytes);
      return std::unexpected(mappings.error());
    }
    memory_ = &memory;
    base_ = base;
    // The records are trivially zero: reading atomics of zero bytes needs no constructor call per
    // record.
    detail::translations.store(static_cast<Translation*>(static_cast<void*>(*translations)),
                               std::memory_order_relaxed);
    detail::mappings.store(static_cast<Mapping*>(static_cast<void*>(*mappings)),
                           std::memory_order_relaxed);
    detail::arena_tag.store(std::bit_cast<std::uintptr_t>(base) >> kArenaShift,
                            std::memory_order_release);
    return {};
  }

  Result<std::byte*> allocate(unsigned c, SlotKind kind) {
    if (kind == SlotKind::alone && c >= kPageClass) kind = SlotKind::plain;
    bool reused = false;
    DOLMEN_TRY(std::byte* const base, take(c, kind, reused));
    // Slots below a page cannot be dropped one by one; zeroing them at reuse touches no cold page.
    const std::size_t bytes = std::size_t{1} << c;
    if (reused && bytes < sys::kPageBytes) std::fill_n(base, bytes, std::byte{0});
    return base;
  }

  Result<std::byte*> take(unsigned c, SlotKind kind, bool& reused) {
    const base::Lock lock(mutex_);
    DOLMEN_ASSERT(base_ != nullptr);
    Side& s = side(c, kind);
    std::uint64_t slot = s.free_head;
    reused = slot != 0;
    if (reused) {
      Mapping& record = record_of(c, slot);
      s.free_head = record.next_free;
      record.next_free = 0;
      --s.free_count;
    } else {
      if (s.next == s.active) DOLMEN_CHECK(grow(c, kind));
      slot =
          kind == SlotKind::plain ? s.next++ : s.next -= kind == SlotKind::alone ? per_page(c) : 1;
    }
    ++s.in_use;
    return slot_base(c, slot);
  }

  void free(std::byte* base) noexcept {
    const auto address = std::bit_cast<std::uintptr_t>(base);
    DOLMEN_ASSERT(detail::in_arena(address));
    const unsigned c = detail::class_of(address);
    DOLMEN_ASSERT(c >= kMinClass && c <= kMaxClass && detail::base_of(address) == address);
    const std::uint64_t slot = (address & detail::kRegionMask) >> c;
    // Outside the lock: nobody else knows the slot.
    const std::size_t bytes = std::size_t{1} << c;
    if (bytes >= sys::kPageBytes) memory_->discard(base, bytes);
    Mapping& record = record_of(c, slot);
    clear(record);
    clear(detail::translation_of(base));
    const base::Lock lock(mutex_);
    const bool is_plain = slot < side(c, SlotKind::plain).next;
    Side& s = side(c, is_plain ? SlotKind::plain : SlotKind::demand);
    DOLMEN_ASSERT(slot != 0 && (is_plain || slot >= s.next) && s.in_use > 0);
    record.next_free = s.free_head;
    s.free_head = slot;
    ++s.free_count;
    --s.in_use;
  }

  ArenaStats stats() noexcept {
    const base::Lock lock(mutex_);
    ArenaStats stats{.record_bytes_activated = record_bytes_};
    for (unsigned c = kMinClass; c <= kMaxClass; ++c) {
      const Side& plain = side(c, SlotKind::plain);
      const Side& demand = side(c, SlotKind::demand);
      const std::uint64_t active = (plain.active - 1) + (slots_of(c) - demand.active);
      stats.classes[c] = {.plain_in_use = plain.in_use,
                          .demand_in_use = demand.in_use,
                          .free = plain.free_count + demand.free_count,
                          .activated_bytes = active << c};
      stats.slots_in_use += plain.in_use + demand.in_use;
      stats.activated_bytes += active << c;
    }
    return stats;
  }

 private:
  static constexpr std::uint64_t slots_of(unsigned c) noexcept {
    return std::uint64_t{1} << (kRegionShift - c);
  }
  constexpr Side& side(unsigned c, SlotKind kind) noexcept DOLMEN_REQUIRES(mutex_) {
    return sides_[c - kMinClass][kind == SlotKind::plain ? 0 : 1];
  }
  static constexpr std::uint64_t per_page(unsigned c) noexcept {
    return c < kPageClass ? std::uint64_t{1} << (kPageClass - c) : 1;
  }
  [[nodiscard]] std::byte* slot_base(unsigned c, std::uint64_t slot) const noexcept {
    return base_ + (std::uint64_t{c} << kRegionShift) + (slot << c);
  }
  [[nodiscard]] static Mapping* mapping_array() noexcept {
    return detail::mappings.load(std::memory_order_relaxed);
  }
  [[nodiscard]] static Mapping& record_of(unsigned c, std::uint64_t slot) noexcept {
    return mapping_array()[(std::uint64_t{1} << (kRegionShift - c)) + slot];
  }

  static void clear(Mapping& record) noexcept {
    record.table.store(nullptr, std::memory_order_relaxed);
    record.table_size.store(0, std::memory_order_relaxed);
    record.view_stamp = 0;
    record.kind = 0;
    record.capacity_log2 = 0;
    record.record = nullptr;
    record.id = {};
    record.space = nullptr;
    record.next_free = 0;
  }

  static void clear(Translation& record) noexcept {
    const auto zero = [](auto& word) {
      if (word.load(std::memory_order_relaxed) != 0) word.store(0, std::memory_order_relaxed);
    };  // a slot that followed no pointer touches no page of records
    for (auto& word : record.words) zero(word);
  }

  Result<void> grow(unsigned c, SlotKind kind) DOLMEN_REQUIRES(mutex_) {
    Side& s = side(c, kind);
    const std::uint64_t room = side(c, SlotKind::demand).active - side(c, SlotKind::plain).active;
    if (room == 0) return fail(Errc::out_of_memory, "arena slots of one class", c);
    const std::uint64_t slots =
        std::min(std::max<std::uint64_t>(s.batch_bytes >> c, 1), whole_pages(c, room));
    std::uint64_t first = s.active;
    std::uint64_t last = first + slots;
    if (kind != SlotKind::plain) {
      last = s.active;
      first = last - slots;
    } else if (first == 1 && slots > 1) {
      // Slot 0 is unused but activated with its neighbours, so that batches are whole pages.
      first = 0;
      last = slots;
    }
    DOLMEN_CHECK(activate_records(detail::translations, c, first, last));
    DOLMEN_CHECK(activate_records(detail::mappings, c, first, last));
    std::byte* const start = slot_base(c, first);
    const std::uint64_t bytes = (last - first) << c;
    DOLMEN_CHECK(kind == SlotKind::demand ? memory_->demand(start, bytes)
                                          : memory_->activate(start, bytes));
    s.active = kind == SlotKind::plain ? last : first;
    s.batch_bytes = std::min(s.batch_bytes * 2, kLargestBatch);
    return {};
  }

  /// The room less slot 0's part of the last batch: batches of small classes stay whole pages.
  static std::uint64_t whole_pages(unsigned c, std::uint64_t room) noexcept {
    return std::max<std::uint64_t>(room / per_page(c) * per_page(c), 1);
  }

  template <class Record>
  Result<void> activate_records(const std::atomic<Record*>& records, unsigned c,
                                std::uint64_t first, std::uint64_t last) DOLMEN_REQUIRES(mutex_) {
    const std::uint64_t origin = slots_of(c);
    constexpr std::uint64_t kMask = sys::kPageBytes - 1;
    const std::uint64_t begin = (origin + first) * sizeof(Record) & ~kMask;
    const std::uint64_t end = ((origin + last) * sizeof(Record) + kMask) & ~kMask;
    auto* const array =
        static_cast<std::byte*>(static_cast<void*>(records.load(std::memory_order_relaxed)));
    // Neighbours that share a page with a record activated earlier are activated twice: no harm.
    DOLMEN_CHECK(memory_->activate(array + begin, end - begin));
    record_bytes_ += end - begin;
    return {};
  }

  base::Mutex mutex_;
  // Set once, before the first slot is handed out; afterwards any thread may read them.
  sys::Memory* memory_ = nullptr;
  std::byte* base_ = nullptr;
  std::uint64_t record_bytes_ DOLMEN_GUARDED_BY(mutex_) = 0;
  std::array<std::array<Side, 2>, kMaxClass - kMinClass + 1> sides_ DOLMEN_GUARDED_BY(mutex_){};
};

constinit Arena arena;

}  // namespace

Result<void> ensure_arena(sys::Memory& memory) { return arena.ensure(memory); }

Result<std::byte*> allocate_slot(unsigned capacity_log2, SlotKind kind) {
  if (capacity_log2 < kMinClass || capacity_log2 > kMaxClass) {
    return fail(Errc::invalid_argument, "capacity class", capacity_log2);
  }
  // Smaller slots share pages: a page of several objects cannot be filled for one.
  DOLMEN_ASSERT(kind != SlotKind::demand || (std::size_t{1} << capacity_log2) >= sys::kPageBytes);
  return arena.allocate(capacity_log2, kind);
}

void free_slot(std::byte* base) noexcept { arena.free(base); }

ArenaStats arena_stats() noexcept { return arena.stats(); }

}  // namespace dolmen::object
