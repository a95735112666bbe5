// SPDX-License-Identifier: Apache-2.0
//
// One node's durable memory: a redo log, a checkpoint, and how both become one state again. The
// store knows objects as numbered pages of at most 4 KiB and commit records as payloads; it never
// sees the arena. The log is the only truth: a checkpoint is pages as of one index, written to
// fresh blocks, and published by one switch of the root.
//
//   read_page(object, page) = checkpoint page, verified  +  ranges of the log tail, in order
//
// Invariants:
//   1. A record acknowledged by wait_durable() is in every later recovery of this directory.
//   2. A record is in a recovery wholly or not at all, and only if every earlier one is.
//   3. Nothing reachable from the durable root or needed by its tail is ever overwritten.
//   4. Recovery changes nothing until one root switch publishes its result (it may write the end
//      of the log again, as it was read); run twice it gives the same.
//   5. After a failed write or sync nothing more is acknowledged: every call gives store_failed.
//
// Threads: append(), wait_durable(), read_page[s](), find() and the counters from any thread;
// checkpoint(), scrub() and close() from one at a time. read_page() and find() take no lock that is
// held while anything outside the store is called, and may run inside the arena's fault handler.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "base/commit_record.hpp"
#include "sys/env.hpp"

namespace dolmen::store {

inline constexpr std::uint32_t kPageBytes = 4096;

/// Position of a record in the log; 0 = before the first. Never reused within a space.
using Index = std::uint64_t;

[[nodiscard]] constexpr std::uint32_t page_bytes(unsigned capacity_log2) noexcept {
  return capacity_log2 < 12 ? 1u << capacity_log2 : kPageBytes;
}

struct PageKey {
  ObjectId object;
  std::uint32_t page = 0;
  friend constexpr auto operator<=>(const PageKey&, const PageKey&) = default;
};

/// What the records of a log are.
enum class Contents : std::uint32_t {
  objects = 0,  ///< commit records, which change pages of objects: a space
  journal = 1,  ///< bytes that only their owner understands, and that change no page
};

struct CreateOptions {
  Contents contents = Contents::objects;
  std::uint32_t segment_bytes = 16u << 20;   ///< size of one log segment; multiple of 4 KiB
  std::uint64_t tail_bytes_max = 64u << 20;  ///< log kept before a checkpoint is due
  /// Of a copy: the space that it is one of, and the index of the last record that is in it
  /// already; the first one that is appended gets the next. Else null and 0: a space of its own.
  ObjectId space{};
  std::uint64_t base_index = 0;
  /// The space is filled first: nobody can open it before finish(), and after a crash nobody ever.
  bool unfinished = false;
};

struct OpenOptions {
  bool read_only = false;
  /// Space kept aside for erasing and checkpoints when the disk is full; 0 in tests that need none.
  std::uint32_t reserve_segments = 1;
  /// Blocks that readers may keep from reuse; 0: four log tails. Behind that they lose what they
  /// read.
  std::uint64_t pinned_bytes_max = 0;
  /// What it has to hold.
  Contents contents = Contents::objects;
  /// Of a journal: gets each record behind the checkpoint, in order, while it is opened. The bytes
  /// are valid during the call. An error of it ends the opening.
  std::function<Result<void>(Index index, base::Bytes record)> tail{};
};

/// Who may use the last reserve of log space.
enum class Reserve : std::uint8_t { keep, use };

/// How a checkpoint asks for contents; implemented by txn over the running images.
class PageSource {
 public:
  virtual ~PageSource() = default;
  /// The page as of the checkpoint's index into `out` (page_bytes of the object's class).
  [[nodiscard]] virtual Result<void> read_page_as_of(const PageKey& key, Index as_of,
                                                     base::MutableBytes out) = 0;
  /// The same bytes where they lie, if they do and stay until the checkpoint ends; else nothing,
  /// and they are read.
  [[nodiscard]] virtual std::optional<base::Bytes> lend_page(const PageKey& key, Index as_of) {
    (void)key;
    (void)as_of;
    return std::nullopt;
  }
};

struct CheckpointRequest {
  Index as_of = 0;  ///< durable when the checkpoint starts
  /// Objects that exist as of `as_of` and were created or resized after the last checkpoint.
  std::vector<std::pair<ObjectId, std::uint8_t>> capacity_log2;
  std::vector<ObjectId> erased;  ///< existed in the last checkpoint, do not exist as of `as_of`
  std::vector<PageKey> pages;  ///< changed since the last checkpoint; any order, duplicates allowed
  PageSource* source = nullptr;
  std::uint64_t bytes_per_second_max = 0;  ///< 0 = no limit
  std::function<bool()> cancelled;  ///< polled; true abandons the checkpoint (nothing changes)
  /// False: of a space that is unfinished. It becomes durable with settle(), and meanwhile is on
  /// its way to the disk.
  bool is_durable = true;
};

struct CheckpointStats {
  std::uint64_t pages_written = 0;
  std::uint64_t bytes_written = 0;
  Index as_of = 0;
};

/// What damage scrub or check found, one entry per bad place.
struct Damage {
  /// Bytes of a file in the space's directory.
  struct Place {
    std::string file;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  std::string what;             ///< "page", "tree node", "page tree", "root slot", "log"
  std::string where;            ///< "pages file, block 1234" or "log segment 7 at byte 4096"
  std::optional<PageKey> page;  ///< that lies there; of a tree node the first one below it
  std::optional<Place> place;
};

struct ScrubReport {
  std::uint64_t blocks_verified = 0;
  std::uint64_t bytes_verified = 0;
  std::uint64_t records_verified = 0;
  std::vector<Damage> damage;
};

struct StoreStats {
  ObjectId space_id;
  Index last_index = 0;
  Index durable_index = 0;
  Index checkpoint_index = 0;
  std::uint64_t log_tail_bytes = 0;
  std::uint64_t log_segments = 0;
  std::uint64_t log_disk_bytes = 0;      ///< including pre-written and reserved segments
  std::uint64_t pages_disk_bytes = 0;    ///< occupied by the page file
  std::uint64_t pages_live_bytes = 0;    ///< referenced by the current checkpoint
  std::uint64_t scratch_disk_bytes = 0;  ///< of a reader: the writer's scratch_file()
  std::uint64_t object_count = 0;        ///< in the last checkpoint
  std::uint64_t syncs = 0;
  std::uint64_t records_appended = 0;
};

/// An object known to the store when it was opened or checkpointed.
struct ObjectInfo {
  ObjectId object;
  std::uint8_t capacity_log2 = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  /// Makes an empty space in an empty directory, or one that holds what an unfinished creation
  /// left. Durable on return. Errors: already_exists, held, io_error, no_space.
  [[nodiscard]] static Result<std::unique_ptr<Store>> create(const sys::Env& env,
                                                             std::unique_ptr<sys::Disk> disk,
                                                             const CreateOptions& options,
                                                             const OpenOptions& open_options = {});
  /// Opens and recovers. A writer takes the writer lock (held: the holder's pid, host and command
  /// line are the error's context). A reader works beside a writer: it recovers privately, as of
  /// the last durable record it sees, and pins what it uses. Errors: not_a_space (also where it
  /// holds something else than options.contents), unfinished, version_unsupported, held, corrupt,
  /// io_error. Cost: verification of the log tail; independent of the space's size.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(const sys::Env& env,
                                                           std::unique_ptr<sys::Disk> disk,
                                                           const OpenOptions& options = {});
  /// Removes what a creation that never finished left; the directory is then empty but for the lock
  /// file. Requires: its Store is gone. Errors: already_exists (a finished space), held, io_error.
  [[nodiscard]] static Result<void> remove_unfinished(const sys::Env& env, sys::Disk& disk);

  // --- the log -------------------------------------------------------------------------------

  /// Puts a record (a commit-record payload; of a journal anything) at the end of the log, in
  /// memory. Gives its index; later appends get higher ones. Nothing is durable yet. `payload` of
  /// any size up to max_transaction_bytes: larger than a segment goes in parts closed by a commit
  /// trailer. `on_index`, if given, is called with the index inside the append critical section.
  /// Errors: no_space, io_error (nothing appended), store_failed, read_only.
  /// Cost: a copy and a checksum; no system call unless the buffer or a segment is full.
  [[nodiscard]] virtual Result<Index> append(base::Bytes payload, Reserve reserve = Reserve::keep,
                                             void (*on_index)(void*, Index) = nullptr,
                                             void* argument = nullptr) = 0;
  /// Runs `body(argument)` inside the append critical section, with the last appended index.
  virtual void with_append_lock(void (*body)(void*, Index), void* argument) = 0;
  /// Returns when the record and all before it are durable. The first waiter writes and syncs for
  /// all who wait (group commit). Errors: store_failed.
  [[nodiscard]] virtual Result<void> wait_durable(Index index) = 0;
  /// Makes free log segments ahead of need, so that append() seldom has to. For a background
  /// thread; cheap when there is nothing to do. Errors: no_space, io_error (neither harms the
  /// store), read_only.
  [[nodiscard]] virtual Result<void> prepare_segments() = 0;
  [[nodiscard]] virtual Index last_index() const noexcept = 0;
  [[nodiscard]] virtual Index durable_index() const noexcept = 0;
  /// True after a failed write or sync, for ever.
  [[nodiscard]] bool failed() const noexcept { return failed_flag().load(); }
  /// The same, for who asks often. Lives as long as the store.
  [[nodiscard]] virtual const std::atomic<bool>& failed_flag() const noexcept = 0;

  // --- reading -------------------------------------------------------------------------------

  /// Whether the object exists as of recovery plus later checkpoints, and its class. (Objects
  /// created after opening are txn's to know until they are checkpointed.) Errors: corrupt,
  /// io_error.
  [[nodiscard]] virtual Result<std::optional<ObjectInfo>> find(const ObjectId& object) = 0;
  /// Contents as of recovery plus later checkpoints; zeros for a page never written.
  /// Requires: out.size() == page_bytes of the object. Errors: corrupt, io_error.
  /// Cost: a tree walk over cached nodes, one read and one checksum.
  [[nodiscard]] virtual Result<void> read_page(const PageKey& key, base::MutableBytes out) = 0;
  /// The same of several pages of one object, which ascend: into `out`, `stride` bytes apart.
  /// Requires: page_bytes of the object, at most `stride`, and room. Errors: as read_page(); what
  /// is in `out` is of no use then. Cost: neighbours on the disk are one read.
  [[nodiscard]] virtual Result<void> read_pages(const ObjectId& object,
                                                std::span<const std::uint32_t> pages,
                                                std::size_t page_bytes, std::size_t stride,
                                                base::MutableBytes out) = 0;
  /// Every object in id order; stops when `visit` returns false.
  [[nodiscard]] virtual Result<void> for_each_object(
      const std::function<bool(const ObjectInfo&)>& visit) = 0;
  /// Number of the object's highest page that may be non-zero, plus one.
  [[nodiscard]] virtual Result<std::uint32_t> page_count(const ObjectId& object) = 0;
  /// The pages of the object that the last checkpoint keeps, ascending. With
  /// recovered_dirty_pages() that gives every page that is not zeros as of recovery.
  [[nodiscard]] virtual Result<std::vector<std::uint32_t>> checkpointed_pages(
      const ObjectId& object) = 0;
  /// Pages that the recovered log tail changed (they are part of the next checkpoint).
  [[nodiscard]] virtual std::vector<PageKey> recovered_dirty_pages() = 0;
  /// Objects created or resized, and erased, in the recovered log tail.
  [[nodiscard]] virtual std::vector<ObjectInfo> recovered_created() = 0;
  [[nodiscard]] virtual std::vector<ObjectId> recovered_erased() = 0;

  // --- upkeep --------------------------------------------------------------------------------

  /// True when the tail has outgrown tail_bytes_max.
  [[nodiscard]] virtual bool checkpoint_due() const noexcept = 0;
  /// Writes the request's pages to fresh blocks, syncs, switches the root, then recycles log
  /// segments and blocks that nothing needs any more. Appends and reads go on meanwhile. On any
  /// error the last checkpoint stays in force; no_space leaves the store usable.
  [[nodiscard]] virtual Result<CheckpointStats> checkpoint(const CheckpointRequest& request) = 0;
  /// Reads and verifies everything the current root reaches, and the log.
  [[nodiscard]] virtual Result<ScrubReport> scrub(
      const std::function<void(std::uint64_t done, std::uint64_t total)>& progress = {}) = 0;
  [[nodiscard]] virtual StoreStats stats() = 0;
  /// An empty file in the space's directory for what no later process needs. It is removed by
  /// close(), else by the next opening for writing. Errors: io_error, no_space, read_only.
  [[nodiscard]] virtual Result<std::unique_ptr<sys::File>> scratch_file() = 0;
  /// Of a space created `unfinished`: makes checkpoints durable that were not so. Called from
  /// where checkpoint() is. Errors: store_failed, io_error.
  [[nodiscard]] virtual Result<void> settle() = 0;
  /// Of a space created `unfinished`: from now on it can be opened. Durable on return, with
  /// settle() before if that is due. Requires: what is appended is durable. Errors: io_error (it
  /// stays unfinished), as settle().
  [[nodiscard]] virtual Result<void> finish() = 0;
  /// Makes everything appended durable and closes the files. Errors: store_failed.
  [[nodiscard]] virtual Result<void> close() = 0;
};

}  // namespace dolmen::store
