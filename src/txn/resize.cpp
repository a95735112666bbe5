// SPDX-License-Identifier: Apache-2.0
//
// Changing an object's capacity: the image moves to a slot of another size. The object's id, its
// pointers and everything that points to it stay as they are; only addresses change, so every
// translation table is looked at again. Pages keep their numbers, versions are kept by id and page.
#include <algorithm>
#include <bit>
#include <cstring>

#include <dolmen/assert.hpp>

#include "object/arena.hpp"
#include "object/heap.hpp"
#include "txn/space_core.hpp"
#include "txn/txn_log.hpp"

namespace dolmen::detail {

using txn::HomeObject;

namespace {

/// Copies what is not zero, so that untouched pages of a sparse object stay untouched.
void copy_sparse(std::byte* to, const std::byte* from, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += store::kPageBytes) {
    const std::size_t length = std::min<std::size_t>(store::kPageBytes, bytes - at);
    const bool zero = std::all_of(from + at, from + at + length,
                                  [](std::byte byte) { return byte == std::byte{0}; });
    if (!zero) std::memcpy(to + at, from + at, length);
  }
}

}  // namespace

Result<void> SpaceCore::resize_object(const ObjectId& id, std::uint64_t capacity_bytes) {
  if (ambient.kind != SectionKind::none) return fail(Errc::nested, "resize inside a section");
  if (options_.read_only) return fail(Errc::read_only);
  if (capacity_bytes > (std::uint64_t{1} << kMaxClass)) {
    return fail(Errc::too_large, "object capacity above 1 GiB", capacity_bytes);
  }
  const unsigned wanted = std::max(
      static_cast<unsigned>(std::bit_width(std::max<std::uint64_t>(capacity_bytes, 1) - 1)),
      kMinClass);
  Named named{id, nullptr, nullptr};
  struct Move {
    SpaceCore& core;
    const ObjectId& id;
    unsigned wanted;
  } move{*this, id, wanted};
  const base::Lock no_checkpoint(checkpoint_mutex_);
  const base::Lock gate(snapshot_gate_);
  if (versions_.live() != 0) return fail(Errc::conflict, "resize while a view is open");
  return run_transact(std::span(&named, 1), false, TransactOptions{},
                      Body{&move, [](void* context) -> Result<void> {
                             auto& self = *static_cast<Move*>(context);
                             return self.core.move_to_class(self.id, self.wanted);
                           }});
}

/// Runs inside a transaction that holds the object and nothing else.
Result<void> SpaceCore::move_to_class(const ObjectId& id, unsigned capacity_log2) {
  txn::Transaction& transaction = *current_section()->transaction;
  DOLMEN_TRY(HomeObject* const object, home(id));
  const unsigned old_log2 = object->capacity_log2();
  if (old_log2 == capacity_log2) return {};
  if (object->damaged.load(std::memory_order_acquire)) return fail(Errc::corrupt, "object");
  load_all(*object);
  const unsigned larger = std::max(old_log2, capacity_log2);
  const std::size_t old_bytes = std::size_t{1} << old_log2;
  const std::size_t new_bytes = std::size_t{1} << capacity_log2;

  // Work on a copy in a slot of the larger class, then bring it into a fresh image of the new
  // class.
  DOLMEN_TRY(std::byte* const scratch, object::allocate_slot(larger, object::SlotKind::plain));
  struct FreeSlot {
    std::byte* base;
    ~FreeSlot() { object::free_slot(base); }
  } const free_scratch{scratch};
  copy_sparse(scratch, object->base, old_bytes);
  class NoLog final : public object::WriteLog {
   public:
    void log(const void*, std::size_t) override {}
  } no_log;
  object::Heap heap(scratch, old_log2, no_log);
  DOLMEN_CHECK(heap.resize_capacity(capacity_log2));

  HomeObject* image = nullptr;
  {
    const base::Lock guard(map_mutex_);
    DOLMEN_TRY(image, make_image(id, capacity_log2, true));
  }
  transaction.resized = txn::Resized{object, image};
  image->fresh = true;
  image->created.store(object->created.load(std::memory_order_relaxed), std::memory_order_relaxed);
  image->writer.store(&transaction, std::memory_order_release);
  // The whole content is redo: every page that is, or was, not zero.
  const auto is_zero = [](const std::byte* page, std::size_t bytes) {
    return std::all_of(page, page + bytes, [](std::byte byte) { return byte == std::byte{0}; });
  };
  for (std::size_t at = 0; at < new_bytes; at += store::kPageBytes) {
    const std::size_t length = std::min<std::size_t>(store::kPageBytes, new_bytes - at);
    const std::size_t old_length = at < old_bytes ? std::min(length, old_bytes - at) : 0;
    if (is_zero(scratch + at, length) && is_zero(object->base + at, old_length)) continue;
    if (!transaction.log(*image, image->base + at, length)) {
      return fail(Errc::too_large, "resize of a large object");
    }
    std::memcpy(image->base + at, scratch + at, length);
  }
  return {};
}

void SpaceCore::finish_resize(txn::Transaction& transaction, bool committed) {
  auto [old_image, new_image] = *transaction.resized;
  new_image->writer.store(nullptr, std::memory_order_release);
  new_image->fresh = false;
  const base::Lock guard(map_mutex_);
  if (committed) {
    objects_.unlink(*old_image);
    objects_.link(*new_image);
    old_image->retired.store(true, std::memory_order_release);
    invalidate_tables();
  }
  dropped_.emplace_back(locks_->end_epoch(), committed ? old_image : new_image);
  dropped_count_.store(dropped_.size(), std::memory_order_release);
}

}  // namespace dolmen::detail
