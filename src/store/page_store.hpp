// SPDX-License-Identifier: Apache-2.0
//
// The checkpointed half of a store: one file of pages under one copy-on-write B+-tree. A checkpoint
// writes what changed to fresh blocks and gives the root of a new tree; the caller makes that root
// durable and then publishes it. Until then the former tree is untouched, on the disk and for
// readers.
//
//   write_checkpoint() → caller's durable root switch → publish(), recycle()     or     discard()
//
// Invariants:
//   1. No block that the published root reaches is written, punched or cut off.
//   2. A block given up by a publish is reused only when no reader in this process uses an older
//   root
//      and reuse is not held.
//   3. Every byte that comes from the disk is verified before it is returned or followed.
//   4. Opening reads nothing; free space is derived from the tree when the first checkpoint starts.
//
// Threads: find(), read_page(), page_count(), for_each_object() and stats() from any thread, at any
// time, also inside the arena's fault handler; they hold no lock while the disk or a caller's
// function runs. write_checkpoint(), publish(), discard(), hold_reuse() and scrub() from one thread
// at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "store/page_tree.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"

namespace dolmen::store {

inline constexpr std::string_view kPagesFile = "pages";

struct PageStoreOptions {
  std::size_t node_cache_bytes = std::size_t{32} << 20;
};

struct PageStoreStats {
  std::uint64_t file_bytes_allocated = 0;  ///< of disk, occupied by the page file
  std::uint64_t live_bytes = 0;            ///< reached from the published root
  std::uint64_t object_count = 0;
};

class PageStore {
 public:
  /// Opens the page file, or makes it when it is missing (writers only; its name becomes durable
  /// with the first checkpoint). `disk` outlives the store. Errors: io_error, not_found.
  [[nodiscard]] static Result<std::unique_ptr<PageStore>> open(
      const sys::Env& env, sys::Disk& disk, ObjectId space, const TreeRoot& root, bool read_only,
      const PageStoreOptions& options = {});
  ~PageStore();
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;

  // --- reading the published tree --------------------------------------------------------------

  /// Errors: corrupt, io_error.
  [[nodiscard]] Result<std::optional<ObjectInfo>> find(const ObjectId& object);
  /// The page's bytes; false and zeros when it is absent. Where the stored page and `out` differ in
  /// size (the object was resized since), the common part is copied and the rest is zero.
  /// Errors: corrupt (context names object, page and block), io_error; `out` is then zeros.
  [[nodiscard]] Result<bool> read_page(const PageKey& key, base::MutableBytes out);
  /// The same of several, which ascend, `stride` bytes apart; pages that are absent are zeros. On
  /// an error `out` is of no use, but of one page zeros. Errors: as read_page().
  [[nodiscard]] Result<void> read_pages(const ObjectId& object,
                                        std::span<const std::uint32_t> pages,
                                        std::size_t page_bytes, std::size_t stride,
                                        base::MutableBytes out);
  /// Every object in id order; stops when `visit` returns false. Errors: corrupt, io_error.
  [[nodiscard]] Result<void> for_each_object(const std::function<bool(const ObjectInfo&)>& visit);
  /// The object's highest stored page plus one; 0 when it does not exist. Errors: corrupt,
  /// io_error.
  [[nodiscard]] Result<std::uint32_t> page_count(const ObjectId& object);
  /// The object's pages that are stored, ascending. Errors: corrupt, io_error.
  [[nodiscard]] Result<std::vector<std::uint32_t>> pages_of(const ObjectId& object);

  // --- checkpoints -----------------------------------------------------------------------------

  /// Writes the changed pages and the tree above them to fresh blocks and, if the request is
  /// durable, syncs the file. Nothing refers to them yet. On an error the checkpoint is already
  /// discarded. Requires: the former checkpoint was published or discarded; the request's pages
  /// include those that a smaller size cut off, if the object has grown again since the last
  /// checkpoint. Errors: no_space, io_error, corrupt, read_only, aborted (request.cancelled gave
  /// true), invalid_argument (a page of an object that neither exists nor is created), the source's
  /// own.
  [[nodiscard]] Result<TreeRoot> write_checkpoint(const CheckpointRequest& request,
                                                  CheckpointStats& stats);
  /// Makes durable what checkpoints that were not so have written. Errors: io_error.
  [[nodiscard]] Result<void> sync();
  /// Switches readers to the root given by write_checkpoint() and gives up what only older roots
  /// use. Requires: that root is durable. Its failure to become durable after an attempt calls for
  /// neither publish() nor discard(): which of the two roots a recovery will find is then unknown.
  void publish(const TreeRoot& root);
  /// Makes reusable what was given up and no reader needs any more, and gives room back to the
  /// disk. For after a publish; what it cannot take yet is taken before the next checkpoint. Cost:
  /// up to 50 ms of punching holes.
  void recycle();
  /// Forgets the written checkpoint. Requires: no attempt was made to make its root durable.
  void discard();
  /// While true, what a publish gives up is neither reused nor punched, for another process reads
  /// it. Said before the first checkpoint: nor is anything that the published root does not reach.
  void hold_reuse(bool hold);

  // --- upkeep ----------------------------------------------------------------------------------

  /// Reads and verifies every block that the published root reaches, adding to `report`. Damage is
  /// no error. Errors: io_error.
  [[nodiscard]] Result<void> scrub(
      ScrubReport& report,
      const std::function<void(std::uint64_t done, std::uint64_t total)>& progress = {});
  [[nodiscard]] Result<PageStoreStats> stats();
  [[nodiscard]] TreeRoot root() const;

 private:
  struct Impl;
  explicit PageStore(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dolmen::store
