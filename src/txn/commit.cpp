// SPDX-License-Identifier: Apache-2.0
//
// The end of a transaction. Order of a commit: difference → record → append (the commit index;
// visible from here) → versions for live snapshots → epochs, undo lists emptied, sequences → locks
// released → wait for durability. A failed append undoes everything before any lock is released.
//
// Want of memory before the commit has its index is an error, and the transaction is undone. From
// there on, and while one is undone, there is no way back and none forward: the process ends
// (noexcept), and what is acknowledged is in the log.
#include <algorithm>
#include <new>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "object/object_header.hpp"
#include "txn/space_core.hpp"

namespace dolmen::detail {

using store::Index;
using txn::HomeObject;
using txn::Transaction;

void SpaceCore::list_dirty(Transaction& transaction, Index index) noexcept {
  for (const txn::TouchedPage& touched : transaction.pages) {
    txn::PageMeta& meta = touched.object->page(touched.page);
    if (meta.dirty_generation == dirty_generation_) continue;
    meta.dirty_generation = dirty_generation_;
    changes_.pages.push_back(store::PageKey{touched.object->id(), touched.page});
  }
  for (const HomeObject* object : transaction.created) {
    if (object->erased.load(std::memory_order_relaxed) != 0) continue;
    changes_.capacity_log2.emplace_back(object->id(),
                                        static_cast<std::uint8_t>(object->capacity_log2()));
  }
  if (transaction.resized) {
    const HomeObject& image = *transaction.resized->new_image;
    changes_.capacity_log2.emplace_back(image.id(),
                                        static_cast<std::uint8_t>(image.capacity_log2()));
  }
  for (const HomeObject* object : transaction.erased) changes_.erased.push_back(object->id());
  commits_.store(commits_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  // Snapshot readers learn the index here, in the critical section in which snapshots are made.
  transaction.newest_snapshot = versions_.newest_snapshot();
  transaction.index.store(index, std::memory_order_release);
}

Result<Index> SpaceCore::commit(Transaction& transaction, bool durable) {
  if (transaction.guarded()) [[unlikely]] {
    if (const auto stray = transaction.find_stray_store()) {
      abort(transaction);
      return std::unexpected(*stray);
    }
  }
  if (all_described(transaction)) return commit_described(transaction, durable);
  // Held to the end of the commit, so that nobody relies on descriptions that are undone.
  const base::Lock one_describer(describe_mutex_);
  const auto described = [&]() DOLMEN_REQUIRES(describe_mutex_) -> Result<void> {
    try {
      return describe_types(transaction);
    } catch (const std::bad_alloc&) {
      return fail(Errc::out_of_memory, "commit");
    }
  }();
  if (!described) {
    abort(transaction);
    return std::unexpected(described.error());
  }
  return commit_described(transaction, durable);
}

Result<Index> SpaceCore::commit_described(Transaction& transaction, bool durable) {
  try {
    return append(transaction, durable);
  } catch (const std::bad_alloc&) {
    DOLMEN_PROBE("txn.commit_without_memory");
    DOLMEN_ASSERT_CMP(transaction.index.load(std::memory_order_relaxed), ==, 0u);
  }
  abort(transaction);
  return fail(Errc::out_of_memory, "commit");
}

Result<Index> SpaceCore::append(Transaction& transaction, bool durable) {
  base::CommitRecordWriter& record = transaction.record;
  record.clear();
  for (const HomeObject* object : transaction.created) {
    if (object->erased.load(std::memory_order_relaxed) == 0) {
      record.create(object->id(), object->capacity_log2());
    }
  }
  if (transaction.resized) {
    const HomeObject& image = *transaction.resized->new_image;
    record.resize(image.id(), image.capacity_log2());
  }
  const bool fits = transaction.encode_changes();
  bool only_erases = record.empty();
  for (const HomeObject* object : transaction.erased) {
    if (object->created.load(std::memory_order_relaxed) != txn::kUncommitted) {
      record.erase(object->id());
    }
  }
  if (!fits || transaction.bytes() > transaction.bytes_max) {
    const std::uint64_t bytes = transaction.bytes();
    abort(transaction);
    return fail(Errc::too_large, "commit record", bytes);
  }
  if (record.empty()) {
    finish(transaction, true, 0);
    return store_->last_index();
  }
  // Catalog pages change when a name goes, so erasing is told by what it does, not by having no
  // writes.
  if (!transaction.erased.empty() && transaction.created.empty()) only_erases = true;
  struct Listed {
    SpaceCore* core;
    Transaction* transaction;
    bool durable;
  } listed{this, &transaction, durable};
  const auto index = store_->append(
      record.bytes(), only_erases ? store::Reserve::use : store::Reserve::keep,
      [](void* argument, Index at) {
        auto& self = *static_cast<Listed*>(argument);
        self.core->list_dirty(*self.transaction, at);
        // In the critical section too: a view that is made next waits for it.
        if (self.durable) self.core->newest_durable_request_.store(at, std::memory_order_release);
      },
      &listed);
  if (!index) {
    DOLMEN_PROBE("txn.append_failed");
    abort(transaction);
    return index;
  }
  DOLMEN_STEP("txn.appended");
  preserve_versions(transaction, *index);
  finish(transaction, true, *index);
  return *index;
}

void SpaceCore::abort(Transaction& transaction) noexcept {
  transaction.undo();
  aborts_.fetch_add(1, std::memory_order_relaxed);
  for (HomeObject* object : transaction.erased) object->erased.store(0, std::memory_order_release);
  for (HomeObject* object : transaction.open) {
    if (object->fot_index) object->fot_index->reset();
  }
  // An index that was reused leads again where it led before.
  for (const auto& [slot, index] : transaction.cells) set_cell(slot, index, 0);
  finish(transaction, false, 0);
}

/// Publishes the end of the transaction to snapshot readers, then lets go of its objects.
void SpaceCore::finish(Transaction& transaction, bool committed, Index index) noexcept {
  if (transaction.guarded()) [[unlikely]]
    transaction.close_pages();
  if (committed && index != 0) {
    for (const txn::TouchedPage& touched : transaction.pages) {
      txn::PageMeta& meta = touched.object->page(touched.page);
      meta.epoch.store(index, std::memory_order_release);
    }
    for (HomeObject* object : transaction.created) {
      object->created.store(index, std::memory_order_release);
      object->fresh = false;
    }
    for (HomeObject* object : transaction.erased) {
      object->erased.store(index, std::memory_order_release);
    }
  }
  if (transaction.resized) settle_resize(*transaction.resized, committed ? index : 0);
  if (index == 0) {
    // Who copied a page before it was undone, or before the body itself put back what it had
    // changed, and finds its undo list empty, must not find the sequence of before. (After a commit
    // with an index there is a version.)
    for (HomeObject* object : transaction.open) {
      object->sequence.fetch_add(1, std::memory_order_acq_rel);
    }
  }
  for (const txn::TouchedPage& touched : transaction.pages) {
    txn::PageMeta& meta = touched.object->page(touched.page);
    meta.logged = 0;
    meta.undo.store(nullptr, std::memory_order_release);
  }
  DOLMEN_STEP("txn.undo_lists_emptied");
  if (transaction.resized) exchange_images(*transaction.resized, committed ? index : 0);
  for (HomeObject* object : transaction.open) {
    // Only the holder of the lock counts. The fence keeps a later transaction's use of these undo
    // lines behind the count: who read one of them anew sees it changed.
    object->sequence.store(object->sequence.load(std::memory_order_relaxed) + 1,
                           std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);
    object->writer.store(nullptr, std::memory_order_release);
  }
  unlink_images(transaction, committed ? index : 0);
  // Readers that start now find empty lists.
  if (transaction.undo_pool().oversized() && !txn::UndoFollower::any()) {
    transaction.undo_pool().trim();
  }
  release_locks(transaction);
}

void SpaceCore::release_locks(Transaction& transaction) {
  locks_->unlock(transaction.stripes, &transaction);
  transaction.stripes.clear();
  transaction.open.clear();
}

Result<void> SpaceCore::wait_observed() {
  if (observed_is_durable()) return {};
  if (forked()) return fail(Errc::forked);  // in the body: the log is the parent's to write
  DOLMEN_STEP("txn.waits_for_observed");
  return store_->wait_durable(newest_durable_request_.load(std::memory_order_acquire));
}

}  // namespace dolmen::detail
