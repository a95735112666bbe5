// SPDX-License-Identifier: Apache-2.0
//
// Which image of an object who sees, and when an image goes. The map holds the current images.
// Erasing an object takes its image out of the map, and a resize puts another in its place, but
// snapshots from before go on seeing it; when the last of them is gone, nobody can find it any
// more. It is destroyed when every section that may have found it is over.
#include <algorithm>
#include <new>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "object/arena.hpp"
#include "txn/space_core.hpp"

namespace dolmen::detail {

using store::Index;
using txn::HomeObject;
using txn::Transaction;

bool SpaceCore::visible_at(const HomeObject& object, Index index) noexcept {
  const auto reached = [&](Index at) {
    if (at != txn::kUncommitted) return at <= index;
    // Its transaction may have its index already, and be about to write it here.
    const Transaction* writer = object.writer.load(std::memory_order_acquire);
    const Index assigned = writer == nullptr ? 0 : writer->index.load(std::memory_order_acquire);
    return assigned != 0 && assigned <= index;
  };
  for (;;) {
    const std::uint64_t sequence = object.sequence.load(std::memory_order_acquire);
    const Index erased = object.erased.load(std::memory_order_acquire);
    const Index moved = object.moved.load(std::memory_order_acquire);
    const bool visible = reached(object.created.load(std::memory_order_acquire)) &&
                         (erased == 0 || !reached(erased)) && (moved == 0 || !reached(moved));
    std::atomic_thread_fence(std::memory_order_acquire);
    if (object.sequence.load(std::memory_order_relaxed) == sequence) return visible;
  }
}

bool SpaceCore::is_gone(const HomeObject& object, const Transaction* transaction) noexcept {
  const Index erased = object.erased.load(std::memory_order_acquire);
  if (erased == txn::kUncommitted) return transaction != nullptr && transaction->holds(object);
  return erased != 0;
}

HomeObject* SpaceCore::find_image(const ObjectId& id, Index index) {
  HomeObject* current = find_mapped(id);
  if (current != nullptr && visible_at(*current, index)) return current;
  const bool moves = current != nullptr && current->moved.load(std::memory_order_acquire) != 0;
  if (!moves && former_count_.load(std::memory_order_acquire) == 0) return nullptr;
  // Under the lock no image changes its place: the one that is being moved to is a former one until
  // it is the current one.
  const base::Lock guard(map_mutex_);
  current = find_mapped(id);
  if (current != nullptr && visible_at(*current, index)) return current;
  const auto [first, last] = former_.equal_range(id);
  const auto found = std::find_if(
      first, last, [&](const auto& entry) { return visible_at(*entry.second, index); });
  return found == last ? nullptr : found->second;
}

Result<HomeObject*> SpaceCore::image_at(const ObjectId& id, Index index) {
  if (HomeObject* image = find_image(id, index)) return image;
  DOLMEN_TRY(HomeObject* const image, home(id));
  if (!visible_at(*image, index)) return fail(Errc::not_found, "object in view", id.low);
  return image;
}

void SpaceCore::unlink_images(Transaction& transaction, Index index) {
  const bool committed = index != 0;
  std::vector<HomeObject*> unmade;
  for (HomeObject* object : transaction.created) {
    if (object->fresh) unmade.push_back(object);
  }
  if (unmade.empty() && (!committed || transaction.erased.empty())) return;
  const base::Lock guard(map_mutex_);
  for (HomeObject* object : unmade) {
    objects_.unlink(*object);
  }
  if (committed) {
    for (HomeObject* object : transaction.erased) {
      erased_ids_[object->id()] = index;
      former_.emplace(object->id(), object);
      former_by_end_.emplace(index, object);
    }
    // Counted before they leave the map, so that find_image() looks here.
    former_count_.store(former_.size(), std::memory_order_release);
    for (HomeObject* object : transaction.erased) objects_.unlink(*object);
  }
  // Whoever looks up by the new version finds none of them in the map.
  invalidate_tables();
  const std::uint64_t epoch = locks_->end_epoch();
  for (HomeObject* object : unmade) dropped_.emplace_back(epoch, object);
  dropped_count_.store(dropped_.size(), std::memory_order_release);
}

/// A thread that holds a pointer to an image is in a section (or a MapUser) and found the image in
/// the map, in a former list, or in what it looked up under a table version that still stood. All
/// of these come to an end before end_epoch() is called; sections published before that have an
/// epoch that is not later, and are seen here.
void SpaceCore::collect_images(std::optional<Index> ended) {
  if (former_count_.load(std::memory_order_acquire) == 0 &&
      dropped_count_.load(std::memory_order_acquire) == 0) {
    return;
  }
  std::vector<HomeObject*> ready;
  try {
    const base::Lock guard(map_mutex_);
    drop_former(ended);
    ready.reserve(dropped_.size());
    const std::uint64_t running =
        map_users_.load(std::memory_order_seq_cst) == 0 ? locks_->oldest_epoch() : 0;
    std::erase_if(dropped_, [&](const auto& dropped) {
      if (dropped.first >= running) return false;
      ready.push_back(dropped.second);
      return true;
    });
    former_count_.store(former_.size(), std::memory_order_release);
    dropped_count_.store(dropped_.size(), std::memory_order_release);
  } catch (const std::bad_alloc&) {
    DOLMEN_PROBE("txn.images_collected_later");
  }
  for (HomeObject* image : ready) destroy(*image);
}

/// Drops former images that ended before the oldest snapshot; when one ended, also those that only
/// it could see.
void SpaceCore::drop_former(std::optional<Index> ended) {
  std::uint64_t epoch = 0;
  const auto drop = [&](auto entry) DOLMEN_REQUIRES(map_mutex_) {
    txn::make_room_for_one(dropped_);  // memory first: an image is on one list or the other
    HomeObject* const image = entry->second;
    const auto [first, last] = former_.equal_range(image->id());
    former_.erase(std::find_if(first, last, [&](const auto& f) { return f.second == image; }));
    if (epoch == 0) epoch = locks_->end_epoch();
    dropped_.emplace_back(epoch, image);
    return former_by_end_.erase(entry);
  };
  const Index oldest = versions_.oldest_snapshot();
  while (!former_by_end_.empty() && former_by_end_.begin()->first <= oldest) {
    drop(former_by_end_.begin());
  }
  if (!ended) return;
  const Index next = versions_.next_snapshot(*ended);
  for (auto entry = former_by_end_.upper_bound(*ended);
       entry != former_by_end_.end() && entry->first <= next;) {
    const Index created = entry->second->created.load(std::memory_order_relaxed);
    entry = versions_.has_snapshot(created, entry->first) ? std::next(entry) : drop(entry);
  }
}

/// Requires: nobody can find the image or holds a pointer to it.
void SpaceCore::destroy(HomeObject& image) {
  std::byte* base = image.base;
  delete[] mapping_of(base).table.load(std::memory_order_relaxed);
  objects_.destroy(image);
  free_slot(base);
}

Result<std::vector<ObjectId>> SpaceCore::all_objects(Index as_of) {
  const MapUser user(*this);
  std::vector<ObjectId> ids;
  std::unordered_set<ObjectId> gone;
  {
    // Before the store is asked: a checkpoint may drop ids from both.
    const base::Lock guard(map_mutex_);
    for (const auto& [id, index] : erased_ids_) gone.insert(id);
    objects_.for_each([&](HomeObject& object) { ids.push_back(object.id()); });
    for (const auto& [id, image] : former_) ids.push_back(id);
  }
  DOLMEN_CHECK(store_->for_each_object([&](const store::ObjectInfo& info) {
    ids.push_back(info.object);
    return true;
  }));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::erase_if(ids, [&](const ObjectId& id) {
    return find_image(id, as_of) == nullptr && (gone.contains(id) || find_mapped(id) != nullptr);
  });
  return ids;
}

}  // namespace dolmen::detail
