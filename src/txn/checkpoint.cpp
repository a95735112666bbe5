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
  if (options_.read_only) return fail(Errc::read_only);
  store::CheckpointRequest request;
  struct Start {
    SpaceCore* core;
    store::CheckpointRequest* request;
  } start{this, &request};
  store_->with_append_lock(
      [](void* argument, Index last) {
        auto& self = *static_cast<Start*>(argument);
        SpaceCore& core = *self.core;
        self.request->as_of = last;
        core.versions_.add_snapshot(last, txn::Holder::checkpoint);
        self.request->pages.swap(core.dirty_pages_);
        self.request->capacity_log2.swap(core.dirty_created_);
        self.request->erased.swap(core.dirty_erased_);
        ++core.dirty_generation_;
      },
      &start);
  request.source = this;
  request.bytes_per_second_max = bytes_per_second_max;
  request.cancelled = cancelled;

  const auto write = [&]() -> Result<void> {
    DOLMEN_CHECK(store_->wait_durable(request.as_of));
    // What the recovered log tail changed is not in the checkpoint on disk either.
    store::CheckpointRequest whole = request;
    for (const store::PageKey& key : store_->recovered_dirty_pages()) whole.pages.push_back(key);
    // Before the request's own: of an object's capacities the last counts.
    whole.capacity_log2.clear();
    for (const store::ObjectInfo& info : store_->recovered_created()) {
      whole.capacity_log2.emplace_back(info.object, info.capacity_log2);
    }
    whole.capacity_log2.insert(whole.capacity_log2.end(), request.capacity_log2.begin(),
                               request.capacity_log2.end());
    const auto tail_erased = store_->recovered_erased();
    whole.erased.insert(whole.erased.end(), tail_erased.begin(), tail_erased.end());
    // Objects made and erased within the interval never reach the disk.
    std::unordered_set<ObjectId> gone(whole.erased.begin(), whole.erased.end());
    {
      const MapUser user(*this);
      std::erase_if(whole.capacity_log2, [&](const auto& created) {
        return gone.contains(created.first) && find_image(created.first, whole.as_of) == nullptr;
      });
    }
    std::unordered_set<ObjectId> again;
    for (const auto& created : whole.capacity_log2) again.insert(created.first);
    std::erase_if(whole.pages, [&](const store::PageKey& key) {
      return gone.contains(key.object) && !again.contains(key.object);
    });
    preserve_erased(whole.erased);
    versions_.make_room();
    const auto stats = store_->checkpoint(whole);
    if (!stats) return std::unexpected(stats.error());
    return {};
  };
  const auto written = [&]() -> Result<void> {
    try {
      return write();
    } catch (const std::bad_alloc&) {
      return fail(Errc::out_of_memory, "checkpoint");
    }
  }();
  if (written) {
    const base::Lock guard(map_mutex_);
    std::erase_if(erased_ids_, [&](const auto& entry) { return entry.second <= request.as_of; });
  } else {
    DOLMEN_PROBE("txn.checkpoint_failed");
    store_->with_append_lock(
        [](void* argument, Index) {
          auto& self = *static_cast<Start*>(argument);
          SpaceCore& core = *self.core;
          const auto put_back = [](auto& to, const auto& from) {
            to.insert(to.begin(), from.begin(), from.end());  // what came meanwhile is newer
          };
          put_back(core.dirty_pages_, self.request->pages);
          put_back(core.dirty_created_, self.request->capacity_log2);
          put_back(core.dirty_erased_, self.request->erased);
        },
        &start);
  }
  versions_.remove_snapshot(request.as_of, txn::Holder::checkpoint);
  collect_images(request.as_of);
  return written;
}

}  // namespace dolmen::detail
