// SPDX-License-Identifier: Apache-2.0
//
// The end of the log, where records are appended and made durable. append() copies into a buffer in
// memory; the first thread that waits for durability becomes leader: it takes the buffer, writes
// it, syncs once for all who wait, and wakes them (group commit, on the callers' own threads).
//
// Invariants:
//   1. Indices are consecutive; a record's place is settled when append() gives its index, so that
//      nothing accepted can fail for lack of room later.
//   2. Before the first record of a segment is written, all records before it are durable and the
//      durable root names the segment.
//   3. durable_index() never exceeds what was written and synced.
//   4. The first failed write or sync ends the log: durable_index() stands still for ever.
//
// Threads: any. `on_index` and `body` run under the append mutex, and must not call the log.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.hpp"
#include "store/log_buffer.hpp"
#include "store/log_scan.hpp"
#include "store/root_keeper.hpp"
#include "store/segment_pool.hpp"

namespace dolmen::store {

struct LogOptions {
  std::uint32_t reserve_segments = 1;
  std::size_t flush_bytes = std::size_t{256} << 10;  ///< buffered bytes that append() writes out
  std::size_t buffered_bytes_max = std::size_t{8} << 20;  ///< append() waits for a slow leader
};

class Log {
 public:
  /// Goes on behind `end`, the recovered end, of the log that the keeper's root names.
  Log(const Root& root, RootKeeper& keeper, SegmentPool& pool, sys::Disk& disk, Index end,
      const LogOptions& options);

  /// Writes again what recovery read and nothing proves to be on the disk, so that nobody is shown
  /// what a loss of power could still take. Requires: nothing was appended yet. Errors: io_error.
  [[nodiscard]] Result<void> rewrite_unproven(const UnprovenTail& unproven);
  [[nodiscard]] Result<Index> append(base::Bytes payload, Reserve reserve,
                                     void (*on_index)(void*, Index), void* argument);
  void with_append_lock(void (*body)(void*, Index), void* argument);
  [[nodiscard]] Result<void> wait_durable(Index index);
  /// Makes free segments until the next ones and the reserve are there. Errors: no_space, io_error.
  [[nodiscard]] Result<void> prepare_segments();

  [[nodiscard]] Index last_index() const noexcept { return last_index_.load(); }
  [[nodiscard]] Index durable_index() const noexcept { return durable_index_.load(); }
  [[nodiscard]] bool failed() const noexcept { return failed_.load(); }
  [[nodiscard]] const std::atomic<bool>& failed_flag() const noexcept { return failed_; }
  /// Ends the log: a write that its readers depend on failed elsewhere.
  void fail_from_now() noexcept { failed_ = true; }
  [[nodiscard]] std::uint64_t sync_count() const noexcept { return sync_count_.load(); }
  [[nodiscard]] std::uint64_t record_count() const noexcept { return record_count_.load(); }
  /// Segments of the log: those that the root names, and those that appended records go to next.
  [[nodiscard]] std::size_t segment_count() const noexcept {
    return keeper_.segment_count() + unlisted_segments_.load();
  }
  /// Whether an append was refused until a checkpoint shortens the root's list of segments.
  [[nodiscard]] bool list_full() const noexcept {
    return list_full_.load(std::memory_order_relaxed);
  }
  void list_shortened() noexcept { list_full_.store(false, std::memory_order_relaxed); }
  /// Incarnation of this Log's first segment: lower ones are from before recovery.
  [[nodiscard]] std::uint64_t first_incarnation() const noexcept { return first_incarnation_; }

  /// Bytes that this Log appended up to `index`, to within 64 KiB. Forgets smaller indices.
  [[nodiscard]] std::uint64_t bytes_up_to(Index index);
  [[nodiscard]] std::uint64_t bytes_appended() const noexcept { return bytes_appended_.load(); }

 private:
  /// Where in the record stream an index lies; kept sparsely.
  struct Mark {
    Index index;
    std::uint64_t bytes;
  };

  [[nodiscard]] std::uint32_t part_payload_max() const noexcept;
  [[nodiscard]] std::size_t segments_needed(std::uint64_t payload_bytes) const noexcept
      DOLMEN_REQUIRES(mutex_);
  /// Ensures that free segments for this payload are there; makes them with the mutex given up
  /// meanwhile. Errors: no_space, store_failed.
  [[nodiscard]] Result<void> make_room(std::uint64_t payload_bytes, Reserve reserve)
      DOLMEN_REQUIRES(mutex_);
  void start_segment() DOLMEN_REQUIRES(mutex_);
  void put_record(base::Bytes payload, std::uint64_t payload_sum, RecordKind kind)
      DOLMEN_REQUIRES(mutex_);
  void put_parts(base::Bytes payload, std::uint64_t first_sum) noexcept DOLMEN_REQUIRES(mutex_);
  [[nodiscard]] bool large_enough_to_flush() DOLMEN_REQUIRES(mutex_);

  enum class Sync : std::uint8_t { no, yes };
  struct Flushed {
    std::uint64_t number;
    bool ok;
  };
  /// Writes the buffer as leader, with the mutex given up meanwhile. Requires: no leader.
  /// The caller wakes the others, when it has given the mutex up.
  [[nodiscard]] Flushed flush(Sync sync) DOLMEN_REQUIRES(mutex_);
  void wake(Flushed flushed) DOLMEN_EXCLUDES(mutex_);
  [[nodiscard]] Result<void> write_out(LogBuffer& buffer, Sync sync);
  [[nodiscard]] Result<void> activate(LogSegment& segment);
  [[nodiscard]] Result<void> sync_file(LogSegment& segment);

  const ObjectId space_;
  const std::uint32_t segment_bytes_;
  /// What a checkpoint may count too much as left behind it: less than a tail that asks for the
  /// next.
  const std::uint64_t mark_bytes_ = std::min<std::uint64_t>(segment_bytes_, 64u << 10);
  RootKeeper& keeper_;
  SegmentPool& pool_;
  sys::Disk& disk_;
  const LogOptions options_;
  const std::uint64_t first_incarnation_;

  base::Mutex mutex_;        // the append critical section
  base::Condition done_[2];  // by parity of the flush that a waiter waits for
  // What is appended and not yet taken by a leader.
  LogBuffer active_ DOLMEN_GUARDED_BY(mutex_);
  std::shared_ptr<LogSegment> current_ DOLMEN_GUARDED_BY(mutex_);
  std::uint32_t position_ DOLMEN_GUARDED_BY(mutex_) = 0;  // of the next record in current_
  std::uint64_t next_incarnation_ DOLMEN_GUARDED_BY(mutex_);
  std::deque<Mark> marks_ DOLMEN_GUARDED_BY(mutex_);
  std::uint64_t flush_number_ DOLMEN_GUARDED_BY(mutex_) = 0;
  bool leader_active_ DOLMEN_GUARDED_BY(mutex_) = false;
  // What the running flush makes durable.
  Index flush_target_ DOLMEN_GUARDED_BY(mutex_) = 0;

  // Of the leader, one at a time: an empty buffer, where it wrote last.
  LogBuffer spare_;
  std::shared_ptr<LogSegment> written_;

  std::atomic<Index> last_index_;
  std::atomic<Index> durable_index_;
  std::atomic<bool> failed_{false};
  std::atomic<bool> list_full_{false};
  std::atomic<std::size_t> unlisted_segments_{0};  // taken, not yet named by the root
  std::atomic<std::uint64_t> sync_count_{0};
  std::atomic<std::uint64_t> record_count_{0};
  std::atomic<std::uint64_t> bytes_appended_{0};
};

}  // namespace dolmen::store
