// SPDX-License-Identifier: Apache-2.0
//
// Changing an object's capacity: a new image in a slot of another size takes the old one's place,
// with one commit. The object's id, its pointers and everything that points to it stay as they are;
// only addresses change, so every translation table is looked at again. Sections that hold the
// object are waited for, as by any writer. Snapshots are not: those from before the commit go on
// with the old image, which nobody changes any more (ADR 0006).
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include <dolmen/assert.hpp>

#include "object/arena.hpp"
#include "object/heap.hpp"
#include "txn/space_core.hpp"
#include "txn/txn_log.hpp"

namespace dolmen::detail {

using store::Index;
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
  if (options_.read_only) return fail(Errc::read_only, options_.how_to_write);
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
  load_all(*object);
  DOLMEN_CHECK(intact(*object));
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

  DOLMEN_TRY(HomeObject* const image, move_image(transaction, *object, capacity_log2));
  // The whole content is redo: every page that is, or was, not zero.
  const auto is_zero = [](const std::byte* page, std::size_t bytes) {
    return std::all_of(page, page + bytes, [](std::byte byte) { return byte == std::byte{0}; });
  };
  for (std::size_t at = 0; at < new_bytes; at += store::kPageBytes) {
    const std::size_t length = std::min<std::size_t>(store::kPageBytes, new_bytes - at);
    const std::size_t old_length = at < old_bytes ? std::min(length, old_bytes - at) : 0;
    if (is_zero(scratch + at, length) && is_zero(object->base + at, old_length)) continue;
    if (!transaction.log(*image, image->base + at, length)) {
      return std::unexpected(transaction.refusal());
    }
    std::memcpy(image->base + at, scratch + at, length);
  }
  return {};
}

/// A new, empty image that will take the place of `object`. It can be found from now on: a snapshot
/// may be made as soon as the move has its index, before it is finished.
Result<HomeObject*> SpaceCore::move_image(txn::Transaction& transaction, HomeObject& object,
                                          unsigned capacity_log2) {
  const base::Lock guard(map_mutex_);
  // Memory first: a move that is noted in the transaction is among the former images.
  txn::make_room_for_one(transaction.open);
  decltype(former_) one;
  auto node = one.extract(one.emplace(object.id(), nullptr));
  former_.reserve(former_.size() + 1);
  DOLMEN_TRY(HomeObject* const image, make_image(object.id(), capacity_log2, true));
  node.mapped() = image;
  former_.insert(std::move(node));
  image->fresh = true;
  image->created.store(txn::kUncommitted, std::memory_order_relaxed);
  image->writer.store(&transaction, std::memory_order_release);
  transaction.open.push_back(image);
  transaction.resized = txn::Resized{&object, image};
  former_count_.store(former_.size(), std::memory_order_release);
  object.moved.store(txn::kUncommitted, std::memory_order_release);
  return image;
}

/// Says which image is whose, from which commit on; before the objects' sequences grow.
void SpaceCore::settle_resize(const txn::Resized& resized, Index index) {
  const auto [old_image, new_image] = resized;
  old_image->moved.store(index, std::memory_order_release);
  if (index == 0) return;
  for (std::uint32_t page = 0; page < new_image->page_count(); ++page) {
    // Versions of pages that stayed as they were may be kept from here on, not from before.
    new_image->page(page).epoch.store(index, std::memory_order_release);
  }
  new_image->created.store(index, std::memory_order_release);
  new_image->fresh = false;
}

/// Puts the new image in the old one's place, or drops it (index 0).
void SpaceCore::exchange_images(const txn::Resized& resized, Index index) {
  const auto [old_image, new_image] = resized;
  const base::Lock guard(map_mutex_);
  const auto [first, last] = former_.equal_range(new_image->id());
  former_.erase(
      std::find_if(first, last, [&](const auto& entry) { return entry.second == new_image; }));
  HomeObject* unseen = new_image;
  if (index != 0) {
    objects_.link(*new_image);
    objects_.unlink(*old_image);
    const Index created = old_image->created.load(std::memory_order_relaxed);
    unseen = old_image;
    if (versions_.has_snapshot(created, index)) {
      former_.emplace(old_image->id(), old_image);
      former_by_end_.emplace(index, old_image);
      unseen = nullptr;
    }
    invalidate_tables();
  }
  former_count_.store(former_.size(), std::memory_order_release);
  if (unseen == nullptr) return;
  dropped_.emplace_back(locks_->end_epoch(), unseen);
  dropped_count_.store(dropped_.size(), std::memory_order_release);
}

}  // namespace dolmen::detail
