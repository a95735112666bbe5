// SPDX-License-Identifier: Apache-2.0
//
// The state of a simulated disk as a value: for every file what the running program reads and what
// is certainly durable, and in between the pending operations, of which a crash may keep any part.
// This is the storage-fault model of sys/disk.hpp, and nothing else decides what a crash may leave.
//
// A pending operation consists of *units* that persist independently of each other:
//   write    one unit for the new size if it grew the file, then one per 512-byte sector, as the
//   sector
//            was in the cache after this write (so it brings along what earlier writes put there)
//   others   one unit: a name (create, rename, remove), a size, a punched or allocated range
//
// Invariants:
//   1. A file's contents are its durable ones with its pending operations applied in order, unless
//   a
//      sync of it ever failed: then earlier writes may be lost although the program still reads
//      them.
//   2. A successful sync leaves no pending operation of that file, and no other file's changes.
//   3. The same operations, with the same seeds, give the same state.
//
// Threads: a value; one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/crash_plan.hpp"
#include "sim/sparse_bytes.hpp"

namespace dolmen::sim {

using InodeId = std::uint64_t;  ///< identity of a file whatever its name; never reused on a disk

enum class OpKind : std::uint8_t {
  create,
  write,
  resize,
  allocate,
  punch,
  sync,
  sync_failed,
  rename,
  remove,
  sync_directory,
  sync_directory_failed,
  flip_bit,
};

/// One change, complete enough to be applied again to an equal state.
struct DiskOp {
  OpKind kind{};
  InodeId inode = 0;
  std::uint64_t offset = 0;  ///< write: a multiple of the sector size; flip_bit: of the byte
  std::uint64_t bytes = 0;   ///< write: whole sectors; flip_bit: number of the bit
  std::uint64_t size = 0;    ///< write, resize, allocate: size of the file afterwards
  std::uint64_t seed = 0;    ///< failed syncs: chooses what persisted
  std::string name = {};     ///< name changes: the name; else that of the file when it was opened
  std::string to = {};       ///< rename
  std::shared_ptr<const std::vector<std::byte>> data =
      {};  ///< write: the sectors as they are afterwards

  /// "write log-1 [4096, +512)".
  [[nodiscard]] std::string to_string() const;
};
using DiskOpPtr = std::shared_ptr<const DiskOp>;

/// Units of one pending operation, counted over all pending operations in order.
struct UnitRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  const DiskOp* op = nullptr;
};

class DiskModel {
 public:
  void apply(const DiskOpPtr& op);

  /// The file of that name as the running program sees it; 0 = none.
  [[nodiscard]] InodeId find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, InodeId, std::less<>>& names() const noexcept {
    return names_;
  }
  [[nodiscard]] InodeId next_inode() const noexcept { return next_inode_; }
  [[nodiscard]] const SparseBytes& contents(InodeId inode) const;
  [[nodiscard]] std::uint64_t size(InodeId inode) const;
  /// Room that the files with names occupy.
  [[nodiscard]] std::uint64_t allocated_sectors() const noexcept;
  [[nodiscard]] std::size_t file_count() const noexcept { return inodes_.size(); }
  /// Drops files that no crash can bring back, but those that are open (a count each).
  void forget_unreachable(const std::map<InodeId, int>& open);

  [[nodiscard]] std::vector<UnitRange> pending() const;
  [[nodiscard]] std::uint64_t pending_units() const noexcept;
  /// The disk after losing power now: nothing pending, everything durable.
  [[nodiscard]] DiskModel crash(const CrashPlan& plan) const;
  /// Over all names, sizes and contents that the program sees.
  [[nodiscard]] std::uint64_t contents_hash() const;

 private:
  struct Image {
    SparseBytes contents;
    std::uint64_t size = 0;
  };
  struct Inode {
    Image current;
    Image durable;
    bool diverged = false;  // a sync failed: current is not durable + pending any more
  };
  struct Pending {
    DiskOpPtr op;
    std::uint64_t units = 1;
    bool resizes = false;
  };
  using Names = std::map<std::string, InodeId, std::less<>>;

  static void apply_to_names(const DiskOp& op, Names& names);
  static void apply_to_image(const Pending& pending, Image& image);
  static void apply_units(const Pending& pending, std::uint64_t first_unit,
                          const UnitChoice& choice, Image& image);
  [[nodiscard]] bool is_reachable(InodeId inode) const noexcept;
  void forget(InodeId inode);
  void sync(InodeId inode);
  void fail_sync(InodeId inode, std::uint64_t seed);
  void sync_names(const UnitChoice* choice);

  std::map<InodeId, Inode> inodes_;
  Names names_;
  Names durable_names_;
  std::vector<Pending> pending_;
  InodeId next_inode_ = 1;
};

}  // namespace dolmen::sim
