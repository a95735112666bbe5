// SPDX-License-Identifier: Apache-2.0
//
// What the replicas of one node keep on its disk: one log of all their records, with one sync for
// all of them, and checkpoints that let it be cut. It is a store of opaque records; a checkpoint
// keeps each replica as two objects of pages, its snapshot apart from the rest.
//
// Invariants:
//   1. What sync() acknowledged is in every later opening; of what was appended behind it, a
//      prefix may be.
//   2. A batch of records is there wholly or not at all.
//   3. After a failed write or sync every call gives store_failed: what the disk holds is then only
//      known to the next opening.
//
// Threads: one for everything, but for write_checkpoint(), which may run beside the others.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <dolmen/error.hpp>

#include "replication/journal_format.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"

namespace dolmen::replication {

struct JournalOptions {
  /// A batch of records takes less than 152 segments.
  std::uint32_t segment_bytes = 16u << 20;
  std::uint64_t tail_bytes_max = 64u << 20;  ///< log behind the checkpoint before another is due
  bool read_only = false;
};

class Journal {
 public:
  /// Opens the journal in a directory, and makes one where the directory is empty (not read-only).
  /// Errors: held (another process runs these replicas), not_a_space (a space is there, or, when
  /// read-only, nothing), already_exists (something else is there), corrupt, version_unsupported,
  /// io_error, no_space, out_of_memory. Cost: reads the last checkpoint and the log behind it.
  [[nodiscard]] static Result<std::unique_ptr<Journal>> open(const sys::Env& env,
                                                             std::unique_ptr<sys::Disk> disk,
                                                             const JournalOptions& options);
  /// The replicas that were found, and that were added since, once.
  [[nodiscard]] std::map<GroupId, Hosted> take_recovered() { return std::move(recovered_); }

  /// A replica of this node that never was before. Durable on return. Requires: group and self are
  /// not null, is_valid(first). Errors: already_exists (this node has a replica of the group), as
  /// append(), as sync().
  [[nodiscard]] Result<void> add(const GroupId& group, log::ReplicaId self,
                                 const log::Configuration& first);
  /// The replica is gone, with everything that is kept of it; add() may make another one. Durable
  /// on return. Requires: it was added. Errors: as append(), as sync().
  [[nodiscard]] Result<void> remove(const GroupId& group);
  /// Puts the replica's records behind all others, as one; durable with the next sync(). Requires:
  /// it was added. Errors, with nothing appended: no_space, io_error, out_of_memory, too_large (the
  /// batch has more than 1 GiB; a record alone never has: give fewer at once). store_failed.
  [[nodiscard]] Result<void> append(const GroupId& group, const std::vector<log::Record>& records);
  /// Makes everything that was appended durable: one sync of one file for all groups. Errors:
  /// store_failed.
  [[nodiscard]] Result<void> sync();

  /// Whether the log has grown long enough for a checkpoint.
  [[nodiscard]] bool checkpoint_due() const noexcept { return store_->checkpoint_due(); }
  /// Replicas as they are once everything that was appended so far is applied.
  struct Checkpoint {
    store::Index as_of = 0;
    std::map<GroupId, Hosted> replicas;
  };
  /// Requires: they are all that were found or added and not removed, for of others the log would
  /// be cut as well.
  [[nodiscard]] Checkpoint start_checkpoint(std::map<GroupId, Hosted> replicas) const;
  /// Writes it and cuts the log. On an error the last one stays in force, and but for store_failed
  /// the journal is usable. Errors: no_space, io_error, store_failed, out_of_memory, corrupt (the
  /// last one is damaged), too_large (a replica keeps entries of more than 1 GiB). Cost: all
  /// entries and every new snapshot, copied in memory and written.
  [[nodiscard]] Result<void> write_checkpoint(const Checkpoint& checkpoint);

  [[nodiscard]] bool failed() const noexcept { return store_->failed(); }
  [[nodiscard]] store::StoreStats stats() { return store_->stats(); }
  /// Which one it is: drawn when it was made.
  [[nodiscard]] ObjectId id() { return stats().space_id; }
  /// Syncs and closes. Errors: store_failed.
  [[nodiscard]] Result<void> close() { return store_->close(); }

 private:
  explicit Journal(std::unique_ptr<store::Store> store) : store_(std::move(store)) {}
  [[nodiscard]] static Result<std::unique_ptr<Journal>> read(const sys::Env& env,
                                                             std::unique_ptr<sys::Disk> disk,
                                                             const JournalOptions& options);
  [[nodiscard]] Result<void> recover(const std::vector<Batch>& tail);
  [[nodiscard]] Result<void> read_checkpoint();
  [[nodiscard]] Result<std::vector<std::byte>> read_object(const ObjectId& object);
  [[nodiscard]] Result<void> append_bytes(const std::vector<std::byte>& batch);
  [[nodiscard]] Result<void> write(const Checkpoint& checkpoint);

  std::unique_ptr<store::Store> store_;
  std::map<GroupId, Hosted> recovered_;
  std::set<GroupId> groups_;  ///< of all replicas that were found or added, and not removed
  /// Where the last checkpoint keeps a replica.
  struct Slot {
    std::uint32_t number = 0;
    log::ReplicaId self{};
    log::Index snapshot_end = 0;  ///< of the snapshot there; 0: none
  };
  std::map<GroupId, Slot> slots_;
  std::map<ObjectId, std::uint8_t> classes_;  ///< of the objects there
};

}  // namespace dolmen::replication
