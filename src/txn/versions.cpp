// SPDX-License-Identifier: Apache-2.0
#include "txn/versions.hpp"

#include <algorithm>
#include <cstring>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::txn {

Index Versions::oldest_snapshot() const {
  const base::Lock guard(mutex_);
  return snapshots_.empty() ? ~Index{0} : snapshots_.begin()->first;
}

std::size_t Versions::live() const {
  const base::Lock guard(mutex_);
  std::size_t count = 0;
  for (const auto& [index, holders] : snapshots_) count += holders;
  return count;
}

Index Versions::next_snapshot(Index index) const {
  const base::Lock guard(mutex_);
  const auto next = snapshots_.upper_bound(index);
  return next == snapshots_.end() ? ~Index{0} : next->first;
}

bool Versions::has_snapshot(Index lo, Index hi) const {
  const base::Lock guard(mutex_);
  const auto snapshot = snapshots_.lower_bound(lo);
  return snapshot != snapshots_.end() && snapshot->first < hi;
}

void Versions::add_snapshot(Index index) {
  const base::Lock guard(mutex_);
  ++snapshots_[index];
  // A snapshot of an empty history (index 0) still needs the versions before commit 1, so "none"
  // and "index 0" must differ: newest_ holds index + 1.
  newest_.store(snapshots_.rbegin()->first + 1, std::memory_order_release);
}

void Versions::remove_snapshot(Index index) {
  const base::Lock guard(mutex_);
  const auto found = snapshots_.find(index);
  DOLMEN_ASSERT(found != snapshots_.end());
  if (--found->second == 0) snapshots_.erase(found);
  newest_.store(snapshots_.empty() ? 0 : snapshots_.rbegin()->first + 1, std::memory_order_release);
  purge();
}

void Versions::keep(const PageKey& key, Index lo, Index hi, std::unique_ptr<std::byte[]> page,
                    std::uint32_t bytes) {
  DOLMEN_ASSERT_CMP(lo, <, hi);
  const base::Lock guard(mutex_);
  auto& list = pages_[key];
  DOLMEN_ASSERT(list.empty() || list.back().hi <= lo);
  list.push_back(Version{lo, hi, std::move(page), bytes});
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_release);
}

bool Versions::find(const PageKey& key, Index index, base::MutableBytes out) const {
  if (count_.load(std::memory_order_acquire) == 0) return false;
  const base::Lock guard(mutex_);
  const auto found = pages_.find(key);
  if (found == pages_.end()) return false;
  const auto& list = found->second;
  const auto version = std::partition_point(list.begin(), list.end(),
                                            [&](const Version& v) { return v.hi <= index; });
  if (version == list.end() || version->lo > index) return false;
  std::memcpy(out.data(), version->page.get(), std::min<std::size_t>(out.size(), version->bytes));
  return true;
}

/// A version is needed by a snapshot s if lo <= s < hi.
void Versions::purge() {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  for (auto entry = pages_.begin(); entry != pages_.end();) {
    auto& list = entry->second;
    std::erase_if(list, [&](const Version& version) DOLMEN_REQUIRES(mutex_) {
      const auto snapshot = snapshots_.lower_bound(version.lo);
      if (snapshot != snapshots_.end() && snapshot->first < version.hi) return false;
      bytes_.fetch_sub(version.bytes, std::memory_order_relaxed);
      count_.fetch_sub(1, std::memory_order_relaxed);
      return true;
    });
    entry = list.empty() ? pages_.erase(entry) : std::next(entry);
  }
}

}  // namespace dolmen::txn
