// SPDX-License-Identifier: Apache-2.0
//
// Snapshots and the page versions that they need. A version [lo, hi) is a page as it was from
// commit lo up to, not including, commit hi; it is kept when hi is committed while some snapshot s
// with lo <= s < hi may live, and dies with the last such snapshot.
//
// Memory holds versions up to a budget; make_room() moves the oldest beyond it to a file. When that
// fails, snapshots of views are given up, the oldest first: whoever reads at one gets an error from
// then on, never another state (ADR 0006).
//
// Threads: safe from any thread; find() may run inside the arena's fault handler. No mutex is held
// while arena memory is touched, and only file_mutex_ while a file is.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/bytes.hpp"
#include "base/mutex.hpp"
#include "store/store.hpp"
#include "txn/page_pool.hpp"
#include "txn/spill_file.hpp"

namespace dolmen::txn {

using store::Index;
using store::PageKey;

/// Who holds a snapshot.
enum class Holder : std::uint8_t { view, checkpoint };

class Versions {
 public:
  Versions(std::uint64_t memory_max, sys::Memory& memory, SpillFile::Make make_file)
      : memory_max_(memory_max), file_(std::move(make_file)), pool_(memory) {}

  /// The newest snapshot that versions are kept for plus one, 0 if there is none.
  [[nodiscard]] Index newest_snapshot() const noexcept {
    return newest_.load(std::memory_order_acquire);
  }
  /// The oldest live snapshot, or the largest index if there is none.
  [[nodiscard]] Index oldest_snapshot() const;
  /// The oldest snapshot above `index`, or the largest index.
  [[nodiscard]] Index next_snapshot(Index index) const;
  /// Whether a snapshot lives in [lo, hi).
  [[nodiscard]] bool has_snapshot(Index lo, Index hi) const;
  /// Requires: called in the append critical section, `index` is the last appended one.
  void add_snapshot(Index index, Holder holder);
  /// Versions that only this snapshot needed are freed.
  void remove_snapshot(Index index, Holder holder) noexcept;
  [[nodiscard]] std::size_t live() const;
  /// Errors, of a snapshot that was given up: why.
  [[nodiscard]] Result<void> usable(Index index) const noexcept;

  /// Memory for a page that is to be kept. Throws std::bad_alloc.
  [[nodiscard]] PagePool::Page new_page(std::uint32_t bytes) { return pool_.take(bytes); }
  /// Keeps the page's contents as valid in [lo, hi), if a snapshot still needs them.
  void keep(const PageKey& key, Index lo, Index hi, PagePool::Page page, std::uint32_t bytes);
  /// Gives the snapshots in [lo, hi) up, for want of what they need.
  void give_up(Index lo, Index hi, const Error& error);
  /// Copies the version valid at `index`, if there is one. Requires: the snapshot lives, given up
  /// or not. Errors: io_error, corrupt (of the file), and those of usable().
  [[nodiscard]] Result<bool> find(const PageKey& key, Index index,
                                  base::MutableBytes out) const noexcept;
  [[nodiscard]] bool contains(const PageKey& key, Index index) const;

  /// In a forked child: nothing of this is its own.
  void leave_to_parent() noexcept { pool_.leave_to_parent(); }

  /// Moves versions to the file until memory holds no more than it may. Called without locks.
  void make_room() {
    if (memory_bytes() > memory_max_) [[unlikely]]
      spill();
  }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return memory_bytes_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept {
    return file_bytes_.load(std::memory_order_relaxed);
  }

 private:
  struct Snapshot {
    std::uint32_t views = 0;
    std::uint32_t checkpoints = 0;
    std::optional<Error> given_up = std::nullopt;
  };
  struct Place {
    PageKey page;
    Index hi = 0;
    friend constexpr auto operator<=>(const Place&, const Place&) = default;
  };
  struct Version {
    Index lo = 0;
    PagePool::Page page;         ///< null: in the file
    std::uint64_t checksum = 0;  ///< in the file
    std::uint32_t slot = 0;      ///< in the file
    std::uint32_t bytes = 0;
  };
  using Pages = std::map<Place, Version>;
  struct ByEnd {
    using is_transparent = void;
    bool operator()(const Pages::value_type* a, const Pages::value_type* b) const noexcept {
      if (a->first.hi != b->first.hi) return a->first.hi < b->first.hi;
      return a->first.page < b->first.page;
    }
    bool operator()(Index a, const Pages::value_type* b) const noexcept { return a < b->first.hi; }
    bool operator()(const Pages::value_type* a, Index b) const noexcept { return a->first.hi < b; }
  };
  struct Batch;
  static constexpr std::uint32_t kBatchPages = 16;

  [[nodiscard]] const Pages::value_type* find_entry(const PageKey& key, Index index) const
      DOLMEN_REQUIRES(mutex_);
  [[nodiscard]] bool is_needed(Index lo, Index hi) const DOLMEN_REQUIRES(mutex_);
  void publish_newest() DOLMEN_REQUIRES(mutex_);
  void give_up(Snapshot& snapshot, const Error& error) DOLMEN_REQUIRES(mutex_);
  void drop(const Pages::value_type& entry, std::vector<std::uint32_t>& slots)
      DOLMEN_REQUIRES(mutex_);
  void purge(Index ended, std::vector<std::uint32_t>& slots) DOLMEN_EXCLUDES(mutex_);
  void give_back(std::vector<std::uint32_t>& slots) noexcept DOLMEN_EXCLUDES(file_mutex_);
  void spill() DOLMEN_EXCLUDES(mutex_);
  [[nodiscard]] bool spill_batch() DOLMEN_REQUIRES(file_mutex_) DOLMEN_EXCLUDES(mutex_);
  void choose(Batch& batch, std::byte* pages) DOLMEN_REQUIRES(mutex_);
  void settle(const Batch& batch, const SpillFile::Run& run, std::vector<std::uint32_t>& unused)
      DOLMEN_REQUIRES(mutex_);
  [[nodiscard]] std::optional<Index> give_up_oldest_view(const Error& error)
      DOLMEN_EXCLUDES(mutex_);

  const std::uint64_t memory_max_;
  /// Taken before mutex_, by who writes to the file or frees slots.
  mutable base::Mutex file_mutex_;
  SpillFile file_;  ///< reads are free, the rest under file_mutex_
  std::unique_ptr<std::byte[]> batch_ DOLMEN_GUARDED_BY(file_mutex_);

  PagePool pool_;  ///< outlives what is in it
  mutable base::Mutex mutex_;
  std::map<Index, Snapshot> snapshots_ DOLMEN_GUARDED_BY(mutex_);
  Pages pages_ DOLMEN_GUARDED_BY(mutex_);
  std::set<const Pages::value_type*, ByEnd> by_end_ DOLMEN_GUARDED_BY(mutex_);
  Index spilled_below_ DOLMEN_GUARDED_BY(mutex_) = 0;  ///< no earlier end has a page in memory
  std::atomic<Index> newest_{0};
  std::atomic<std::uint64_t> memory_bytes_{0};
  std::atomic<std::uint64_t> file_bytes_{0};
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint32_t> given_up_{0};  ///< live snapshots that were
};

}  // namespace dolmen::txn
