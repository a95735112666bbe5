// SPDX-License-Identifier: Apache-2.0
//
// Snapshots and the page versions that they need. A version [lo, hi) is a page as it was from
// commit lo up to, not including, commit hi; it is kept when hi is committed while some snapshot s
// with lo <= s < hi may live, and dies with the last such snapshot.
//
// Threads: safe from any thread; find() may run inside the arena's fault handler. The mutex is
// never held while arena memory is touched.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/bytes.hpp"
#include "base/mutex.hpp"
#include "store/store.hpp"

namespace dolmen::txn {

using store::Index;
using store::PageKey;

struct PageKeyHash {
  std::size_t operator()(const PageKey& key) const noexcept {
    return std::hash<ObjectId>{}(key.object) ^ (key.page * 0x9E3779B97F4A7C15ull);
  }
};

class Versions {
 public:
  /// The newest live snapshot plus one, 0 if there is none.
  [[nodiscard]] Index newest_snapshot() const noexcept {
    return newest_.load(std::memory_order_acquire);
  }
  /// The oldest live snapshot, or the largest index if there is none.
  [[nodiscard]] Index oldest_snapshot() const;
  /// Requires: called in the append critical section, `index` is the last appended one.
  void add_snapshot(Index index);
  /// Versions that only this snapshot needed are freed.
  void remove_snapshot(Index index);
  [[nodiscard]] std::size_t live() const;
  /// The oldest snapshot above `index`, or the largest index.
  [[nodiscard]] Index next_snapshot(Index index) const;
  /// Whether a snapshot lives in [lo, hi).
  [[nodiscard]] bool has_snapshot(Index lo, Index hi) const;

  /// Keeps the page's contents as valid in [lo, hi).
  void keep(const PageKey& key, Index lo, Index hi, std::unique_ptr<std::byte[]> page,
            std::uint32_t bytes);
  /// Copies the version valid at `index`, if there is one.
  [[nodiscard]] bool find(const PageKey& key, Index index, base::MutableBytes out) const;
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    return bytes_.load(std::memory_order_relaxed);
  }

 private:
  struct Version {
    Index lo;
    Index hi;
    std::unique_ptr<std::byte[]> page;
    std::uint32_t bytes;
  };
  void purge() DOLMEN_REQUIRES(mutex_);

  mutable base::Mutex mutex_;
  std::map<Index, std::uint32_t> snapshots_ DOLMEN_GUARDED_BY(mutex_);
  std::unordered_map<PageKey, std::vector<Version>, PageKeyHash> pages_ DOLMEN_GUARDED_BY(mutex_);
  std::atomic<Index> newest_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace dolmen::txn
