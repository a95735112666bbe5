// SPDX-License-Identifier: Apache-2.0
#include "txn/space_core.hpp"

#include <new>

#include <dolmen/assert.hpp>

#include "object/arena.hpp"
#include "txn/view_core.hpp"

namespace dolmen::detail {

constinit std::atomic<std::uint64_t> fork_generation{0};
[[gnu::tls_model("initial-exec")]] thread_local constinit std::array<LookedUp, 8> looked_up{};

void SpaceCore::on_fork_child(void*) noexcept {
  fork_generation.fetch_add(1, std::memory_order_relaxed);
}

SpaceCore::SpaceCore(const sys::Env& env, std::unique_ptr<store::Store> store,
                     const CoreOptions& options)
    : env_(env),
      store_(std::move(store)),
      store_failed_(store_->failed_flag()),
      options_(options),
      locks_(std::make_unique<txn::LockTable>(this, *env.process)),
      versions_(options.view_memory_bytes, *env.memory, [this] { return store_->scratch_file(); }),
      table_version_(0),
      fork_generation_(fork_generation.load(std::memory_order_relaxed)) {
  invalidate_tables();
}

SpaceCore::~SpaceCore() {
  if (forked()) {
    // Files, threads and pages are the parent's; whatever this would release is not ours.
    (void)store_.release();
    (void)locks_.release();
    versions_.leave_to_parent();
    return;
  }
  const base::Lock guard(map_mutex_);
  for (txn::HomeObject* object : objects_.take_all()) destroy(*object);
  for (const auto& [id, object] : former_) destroy(*object);
  for (const auto& [epoch, object] : dropped_) destroy(*object);
}

Result<void> SpaceCore::close() {
  if (forked()) return {};
  if (closed_.exchange(true)) return closed_with_;
  try {
    closed_with_ = store_->close();
  } catch (const std::bad_alloc&) {
    closed_with_ = fail(Errc::out_of_memory, "close");
  }
  return closed_with_;
}

SpaceStats SpaceCore::stats() {
  if (forked()) return {};  // a thread that is not here may have held the locks
  const store::StoreStats stored = store_->stats();
  SpaceStats stats;
  stats.space_id = stored.space_id;
  stats.last_index = stored.last_index;
  stats.durable_index = stored.durable_index;
  stats.checkpoint_index = stored.checkpoint_index;
  stats.log_tail_bytes = stored.log_tail_bytes;
  stats.log_disk_bytes = stored.log_disk_bytes;
  stats.pages_disk_bytes = stored.pages_disk_bytes;
  stats.pages_live_bytes = stored.pages_live_bytes;
  stats.objects_mapped = objects_.size();
  stats.views_live = versions_.live();
  stats.version_bytes = versions_.memory_bytes();
  stats.version_disk_bytes =
      options_.read_only ? stored.scratch_disk_bytes : versions_.file_bytes();
  stats.commits = commits_.load(std::memory_order_relaxed);
  stats.aborts = aborts_.load(std::memory_order_relaxed);
  stats.syncs = stored.syncs;
  return stats;
}

}  // namespace dolmen::detail
