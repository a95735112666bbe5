// SPDX-License-Identifier: Apache-2.0
//
// One shard of the distributed hash index (docs/index.md): an extendible hash table with two
// choices, as a state machine over the entries of its group's log. It lies in memory of the
// caller's, which others read while it changes (index_reader.hpp).
//
// What stays true after each entry:
//  1. The region is the fold of the entries: equal entries give equal bytes.
//  2. Each key is in one slot of one live bucket, that of one of its two positions, always the
//  same.
//  3. Each word of the directory of the table's depth leads to the live bucket with its prefix.
//  4. Each bucket that was ever used is live, retired or free; so is each block of the heap.
// And between any two stores: a bucket that can be read as a whole is right as of some moment of
// the entry that is being applied.
//
// Threads: one at a time. No clock, randomness or allocation that grows with the table, but where
// that is said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "cluster/index_layout.hpp"
#include "cluster/index_memory.hpp"
#include "cluster/index_record.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

/// Two buckets with no more keys together than this become one.
inline constexpr std::uint32_t kMergeAt = 3;

enum class IndexOutcome : std::uint8_t {
  created,   ///< put: the key was not there
  replaced,  ///< put: it was
  erased,    ///< erase: it was there
  absent,    ///< erase: it was not
  no_space,  ///< put: nothing was changed
  done,      ///< release, restamp
};

struct IndexStatistics {
  std::uint64_t keys = 0;
  std::uint32_t depth = 0;
  std::uint32_t buckets_live = 0;
  std::uint32_t buckets_retired = 0;
  std::uint32_t buckets_free = 0;     ///< those never used among them
  std::uint64_t record_bytes = 0;     ///< of live records
  std::uint64_t heap_bytes_used = 0;  ///< that was ever used
};

class HashIndex {
 public:
  /// An empty table. Requires: the region begins at a multiple of 8, is all zero, stays as long as
  /// the table, and nobody else writes there. Errors: invalid_argument (an impossible geometry, or
  /// more than the region holds).
  [[nodiscard]] static Result<HashIndex> make(base::MutableBytes region,
                                              const IndexGeometry& geometry, std::uint32_t epoch);

  /// Requires: `index` is above that of every earlier one; the command is of the table's kind and
  /// possible, as decode_index_command() gives it. Cost: a few buckets; a doubling of the directory
  /// writes all of it, `restamp` all buckets, `release` what becomes free.
  IndexOutcome apply(log::Index index, const IndexChange& command);

  /// For messages. Requires: a table of homes.
  [[nodiscard]] std::optional<Home> find(const ObjectId& id) const;
  /// Requires: a table of records.
  [[nodiscard]] std::optional<std::vector<std::byte>> find(base::Bytes key) const;

  /// The last entry that was applied; 0: none.
  [[nodiscard]] log::Index applied() const noexcept { return state_.applied; }
  [[nodiscard]] std::uint32_t epoch() const noexcept { return state_.epoch; }
  [[nodiscard]] const IndexGeometry& geometry() const noexcept { return memory_.geometry(); }
  [[nodiscard]] IndexStatistics statistics() const noexcept;

  /// Of all that was ever used of the region: equal on all replicas that applied the same entries.
  /// Cost: it reads all of that.
  [[nodiscard]] std::uint64_t fingerprint() const;
  /// Everything. Cost: a copy of what was ever used.
  [[nodiscard]] std::vector<std::byte> snapshot() const;
  /// Becomes what snapshot() told, possibly in another region, byte for byte. Nobody who reads
  /// meanwhile sees parts of both. Errors: corrupt, and the table is as it was, or empty (applied()
  /// is 0) where a checksum fits and what is inside does not. Cost: as check().
  [[nodiscard]] Result<void> restore(base::Bytes snapshot);
  /// Looks at everything: rules 2 to 4 above, and the counts. Errors: corrupt, with a bucket's
  /// number or a place in the heap. Cost: reads all, and 16 bytes of memory per key and bucket.
  [[nodiscard]] Result<void> check() const;

 private:
  struct Found {
    BucketNumber number = kNoBucket;
    Bucket bucket{};
    std::size_t slot = 0;
  };
  /// How to make room for a key.
  struct Growth {
    std::uint32_t position = 0;  ///< whose bucket is split
    std::uint32_t splits = 0;
  };

  HashIndex(base::MutableBytes region, const IndexGeometry& geometry)
      : memory_(region, geometry), heap_(memory_, geometry, geometry.heap_at()) {}

  void start(std::uint32_t epoch);
  [[nodiscard]] ObjectId slot_key_of(const IndexChange& command) const;
  IndexOutcome put(const IndexChange& command);
  IndexOutcome erase(const IndexChange& command);
  void restamp(std::uint32_t epoch);

  [[nodiscard]] BucketNumber directory(std::uint32_t position) const noexcept;
  [[nodiscard]] std::optional<Found> locate(const ObjectId& slot_key, base::Bytes key) const;
  [[nodiscard]] bool holds(const IndexSlot& slot, const ObjectId& slot_key, base::Bytes key) const;
  [[nodiscard]] std::optional<RecordView> record_of(const IndexSlot& slot) const;
  /// The position by which a slot's key is there.
  [[nodiscard]] std::uint32_t position_in(const Bucket& bucket, std::size_t slot) const;
  [[nodiscard]] std::optional<Growth> room_for(const Positions& positions) const;
  [[nodiscard]] std::optional<std::uint32_t> splits_for(const Bucket& bucket,
                                                        std::uint32_t position) const;
  void place(const IndexSlot& slot, const Positions& positions);
  void split(BucketNumber number);
  void merge(BucketNumber number);
  void lead_to(BucketNumber number, const Bucket& bucket);
  void double_directory();

  [[nodiscard]] std::uint32_t buckets_at_hand() const noexcept;
  BucketNumber take_bucket();
  void retire_bucket(BucketNumber number, Bucket bucket, BucketNumber heir);
  void retire_record(const IndexSlot& slot);
  void release(log::Index upto);
  /// What a put puts into the slot; a record is written then. Nothing: there is no room.
  [[nodiscard]] std::optional<IndexSlot> make_slot(const IndexChange& command,
                                                   const ObjectId& slot_key);

  [[nodiscard]] std::size_t directory_bytes() const noexcept {
    return std::size_t{8} << state_.depth;
  }
  [[nodiscard]] bool is_possible(const IndexState& state) const noexcept;
  [[nodiscard]] Result<void> check_buckets() const;
  [[nodiscard]] Result<void> check_bucket(BucketNumber number, const Bucket& bucket) const;
  [[nodiscard]] Result<void> check_keys() const;
  [[nodiscard]] Result<void> check_directory() const;
  [[nodiscard]] Result<void> check_queues() const;
  [[nodiscard]] Result<void> check_heap() const;
  void become(const IndexState& state, base::Bytes ranges);

  IndexMemory memory_;
  RecordHeap heap_;
  IndexState state_;
};

}  // namespace dolmen::cluster
