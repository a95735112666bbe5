// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint is a snapshot written to the disk: exact as of one commit, replay starts behind it.
#include <algorithm>
#include <new>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "txn/space_core.hpp"

namespace dolmen::detail {

using store::Index;

Result<void> SpaceCore::checkpoint(std::uint64_t bytes_per_second_max,
                                   const std::function<bool()>& cancelled) {
  if (forked()) return fail(Errc::forked, "checkpoint");  // who held the mutex is not here
  const base::Lock one_at_a_time(checkpoint_mutex_);
  DOLMEN_CHECK(usable());
  if (options_.read_only) return fail(Errc::read_only, options_.how_to_write);
  Index as_of = 0;
  try {
    as_of = take_changes();
  } catch (const std::bad_alloc&) {
    return fail(Errc::out_of_memory, "checkpoint");
  }
  const auto written = [&]() DOLMEN_REQUIRES(checkpoint_mutex_) -> Result<void> {
    try {
      return write_checkpoint(as_of, bytes_per_second_max, cancelled);
    } catch (const std::bad_alloc&) {
      return fail(Errc::out_of_memory, "checkpoint");
    }
  }();
  if (written) {
    unwritten_.clear();
    const base::Lock guard(map_mutex_);
    std::erase_if(erased_ids_, [&](const auto& entry) { return entry.second <= as_of; });
  } else {
    DOLMEN_PROBE("txn.checkpoint_failed");
  }
  versions_.remove_snapshot(as_of, txn::Holder::checkpoint);
  collect_images(as_of);
  return written;
}

/// Makes the snapshot, and moves all changes up to it to the unwritten ones.
Index SpaceCore::take_changes() {
  std::list<Changes> taken(1);
  struct Start {
    SpaceCore* core;
    Changes* changes;
    Index as_of;
  } start{this, &taken.front(), 0};
  store_->with_append_lock(
      [](void* argument, Index last) {
        auto& self = *static_cast<Start*>(argument);
        self.as_of = last;
        self.core->versions_.add_snapshot(last, txn::Holder::checkpoint);
        std::swap(*self.changes, self.core->changes_);
        ++self.core->dirty_generation_;
      },
      &start);
  unwritten_.splice(unwritten_.end(), taken);
  return start.as_of;
}

Result<void> SpaceCore::write_checkpoint(Index as_of, std::uint64_t bytes_per_second_max,
                                         const std::function<bool()>& cancelled) {
  DOLMEN_CHECK(store_->wait_durable(as_of));
  store::CheckpointRequest request;
  request.as_of = as_of;
  request.source = this;
  request.bytes_per_second_max = bytes_per_second_max;
  request.cancelled = cancelled;
  // What the recovered log tail changed is not in the checkpoint on disk either. It comes first: of
  // an object's capacities the last counts.
  request.pages = store_->recovered_dirty_pages();
  for (const store::ObjectInfo& info : store_->recovered_created()) {
    request.capacity_log2.emplace_back(info.object, info.capacity_log2);
  }
  request.erased = store_->recovered_erased();
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  for (const Changes& changes : unwritten_) {
    append(request.pages, changes.pages);
    append(request.capacity_log2, changes.capacity_log2);
    append(request.erased, changes.erased);
  }
  // Objects made and erased within the interval never reach the disk.
  std::unordered_set<ObjectId> gone(request.erased.begin(), request.erased.end());
  {
    const MapUser user(*this);
    std::erase_if(request.capacity_log2, [&](const auto& created) {
      return gone.contains(created.first) && find_image(created.first, as_of) == nullptr;
    });
  }
  std::unordered_set<ObjectId> again;
  for (const auto& created : request.capacity_log2) again.insert(created.first);
  std::erase_if(request.pages, [&](const store::PageKey& key) {
    return gone.contains(key.object) && !again.contains(key.object);
  });
  preserve_erased(request.erased);
  versions_.make_room();
  DOLMEN_CHECK(store_->checkpoint(request));
  return {};
}

}  // namespace dolmen::detail
