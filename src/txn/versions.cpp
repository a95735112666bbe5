// SPDX-License-Identifier: Apache-2.0
#include "txn/versions.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <string>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"

namespace dolmen::txn {

namespace {

std::uint64_t seed_of(const PageKey& key, Index hi) noexcept {
  const std::uint64_t object = base::mix_seed(base::mix_seed(hi, key.object.high), key.object.low);
  return base::mix_seed(object, key.page);
}

}  // namespace

/// Versions on their way into the file.
struct Versions::Batch {
  struct Item {
    Place place;
    std::uint32_t bytes = 0;
    std::uint64_t checksum = 0;
  };
  std::array<Item, kBatchPages> items{};
  std::uint32_t count = 0;
};

// --- snapshots ---------------------------------------------------------------------------------

Index Versions::oldest_snapshot() const {
  const base::Lock guard(mutex_);
  return snapshots_.empty() ? ~Index{0} : snapshots_.begin()->first;
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

std::size_t Versions::live() const {
  const base::Lock guard(mutex_);
  std::size_t count = 0;
  for (const auto& [index, snapshot] : snapshots_) count += snapshot.views + snapshot.checkpoints;
  return count;
}

void Versions::add_snapshot(Index index, Holder holder) {
  const base::Lock guard(mutex_);
  Snapshot& snapshot = snapshots_[index];
  ++(holder == Holder::view ? snapshot.views : snapshot.checkpoints);
  publish_newest();
}

/// A snapshot of an empty history (index 0) still needs the versions before commit 1, so "none" and
/// "index 0" must differ: newest_ holds index + 1.
void Versions::publish_newest() {
  Index newest = 0;
  for (const auto& [index, snapshot] : snapshots_) {
    if (!snapshot.given_up) newest = index + 1;
  }
  newest_.store(newest, std::memory_order_release);
}

void Versions::remove_snapshot(Index index, Holder holder) noexcept {
  {
    const base::Lock guard(mutex_);
    const auto found = snapshots_.find(index);
    DOLMEN_ASSERT(found != snapshots_.end());
    Snapshot& snapshot = found->second;
    std::uint32_t& holders = holder == Holder::view ? snapshot.views : snapshot.checkpoints;
    DOLMEN_ASSERT(holders > 0);
    --holders;
    if (snapshot.views + snapshot.checkpoints != 0) return;
    if (snapshot.given_up) given_up_.fetch_sub(1, std::memory_order_relaxed);
    snapshots_.erase(found);
    publish_newest();
  }
  std::vector<std::uint32_t> slots;
  purge(index, slots);
  give_back(slots);
}

/// Without memory the slots are not used again; they go with the file, when the space is closed.
void Versions::give_back(std::vector<std::uint32_t>& slots) noexcept {
  if (slots.empty()) return;
  const base::Lock guard(file_mutex_);
  try {
    file_.give_back(slots);
  } catch (const std::bad_alloc&) {
    DOLMEN_PROBE("txn.slots_lost");
  }
}

Result<void> Versions::usable(Index index) const noexcept {
  if (given_up_.load(std::memory_order_acquire) == 0) [[likely]]
    return {};
  const base::Lock guard(mutex_);
  const auto found = snapshots_.find(index);
  if (found == snapshots_.end() || !found->second.given_up) return {};
  return std::unexpected(*found->second.given_up);
}

void Versions::give_up(Snapshot& snapshot, const Error& error) {
  DOLMEN_PROBE("txn.snapshot_given_up");
  snapshot.given_up = error;
  // Before a commit can learn that nothing is to be kept for it any more.
  given_up_.fetch_add(1, std::memory_order_release);
  publish_newest();
}

void Versions::give_up(Index lo, Index hi, const Error& error) {
  const base::Lock guard(mutex_);
  for (auto entry = snapshots_.lower_bound(lo); entry != snapshots_.end() && entry->first < hi;
       ++entry) {
    if (!entry->second.given_up) give_up(entry->second, error);
  }
}

// --- versions ----------------------------------------------------------------------------------

bool Versions::is_needed(Index lo, Index hi) const {
  for (auto entry = snapshots_.lower_bound(lo); entry != snapshots_.end() && entry->first < hi;
       ++entry) {
    if (!entry->second.given_up) return true;
  }
  return false;
}

void Versions::keep(const PageKey& key, Index lo, Index hi, PagePool::Page page,
                    std::uint32_t bytes) {
  DOLMEN_ASSERT_CMP(lo, <, hi);
  const base::Lock guard(mutex_);
  if (!is_needed(lo, hi)) return;
  const auto [entry, added] = pages_.try_emplace(Place{key, hi});
  DOLMEN_ASSERT(added);
  DOLMEN_ASSERT(entry == pages_.begin() || std::prev(entry)->first.page != key ||
                std::prev(entry)->first.hi <= lo);
  try {
    by_end_.insert(&*entry);
  } catch (...) {
    pages_.erase(entry);
    throw;
  }
  entry->second.lo = lo;
  entry->second.page = std::move(page);
  entry->second.bytes = bytes;
  spilled_below_ = std::min(spilled_below_, hi);
  memory_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_release);
}

const Versions::Pages::value_type* Versions::find_entry(const PageKey& key, Index index) const {
  const auto entry = pages_.upper_bound(Place{key, index});  // the first that ends after it
  if (entry == pages_.end() || entry->first.page != key || entry->second.lo > index) return nullptr;
  return &*entry;
}

bool Versions::contains(const PageKey& key, Index index) const {
  const base::Lock guard(mutex_);
  return find_entry(key, index) != nullptr;
}

Result<bool> Versions::find(const PageKey& key, Index index,
                            base::MutableBytes out) const noexcept {
  if (count_.load(std::memory_order_acquire) == 0) return false;
  std::uint32_t slot = 0;
  std::uint32_t bytes = 0;
  std::uint64_t checksum = 0;
  Index hi = 0;
  {
    const base::Lock guard(mutex_);
    const auto* const entry = find_entry(key, index);
    if (entry == nullptr) return false;
    const Version& version = entry->second;
    if (version.page) {
      std::memcpy(out.data(), version.page.get(), std::min<std::size_t>(out.size(), version.bytes));
      return true;
    }
    slot = version.slot;
    bytes = version.bytes;
    checksum = version.checksum;
    hi = entry->first.hi;
  }
  // The snapshot lives, so the slot stays as it is, unless the snapshot is given up meanwhile.
  alignas(8) std::byte buffer[SpillFile::kSlotBytes];
  const base::MutableBytes page(buffer, bytes);
  if (const auto read = file_.read(slot, page); !read) {
    DOLMEN_CHECK(usable(index));
    return std::unexpected(read.error());
  }
  if (base::checksum64(page, seed_of(key, hi)) != checksum) {
    DOLMEN_CHECK(usable(index));
    return fail(Errc::corrupt, interned("page " + std::to_string(key.page) + " of object " +
                                        key.object.to_string() + " as kept for a view"));
  }
  std::memcpy(out.data(), buffer, std::min(out.size(), page.size()));
  return true;
}

void Versions::drop(const Pages::value_type& entry, std::vector<std::uint32_t>& slots) {
  if (entry.second.page) {
    memory_bytes_.fetch_sub(entry.second.bytes, std::memory_order_relaxed);
  } else {
    try {
      slots.push_back(entry.second.slot);
    } catch (const std::bad_alloc&) {
      DOLMEN_PROBE("txn.slots_lost");  // see give_back()
    }
    file_bytes_.fetch_sub(SpillFile::kSlotBytes, std::memory_order_relaxed);
  }
  by_end_.erase(&entry);
  pages_.erase(pages_.find(entry.first));
  // Who finds none any more also finds that its snapshot was given up.
  count_.fetch_sub(1, std::memory_order_release);
}

/// Drops what only the snapshot `ended` needed. All of it ended above that one, and at or below the
/// next. A few at a time, so that commits do not wait.
void Versions::purge(Index ended, std::vector<std::uint32_t>& slots) {
  constexpr std::size_t kAtATime = 128;
  for (Index above = ended;;) {
    const base::Lock guard(mutex_);
    auto next = snapshots_.upper_bound(ended);
    while (next != snapshots_.end() && next->second.given_up) ++next;
    const Index upto = next == snapshots_.end() ? ~Index{0} : next->first;
    std::size_t seen = 0;
    auto entry = by_end_.upper_bound(above);
    while (entry != by_end_.end() && (*entry)->first.hi <= upto) {
      const auto& version = **entry;
      if (seen++ >= kAtATime && version.first.hi != above) break;
      above = version.first.hi;
      ++entry;
      if (!is_needed(version.second.lo, version.first.hi)) drop(version, slots);
    }
    if (entry == by_end_.end() || (*entry)->first.hi > upto) return;
  }
}

// --- the file ----------------------------------------------------------------------------------

void Versions::spill() {
  const base::Lock guard(file_mutex_);
  try {
    while (memory_bytes() > memory_max_ && spill_batch()) {
    }
  } catch (const std::bad_alloc&) {
    DOLMEN_PROBE("txn.spill_without_memory");  // the next commit tries again
  }
}

/// Copies the oldest versions in memory, with their places.
void Versions::choose(Batch& batch, std::byte* pages) {
  bool first = true;
  for (auto entry = by_end_.lower_bound(spilled_below_);
       entry != by_end_.end() && batch.count < kBatchPages; ++entry) {
    const auto& [place, version] = **entry;
    if (!version.page) continue;
    if (first) spilled_below_ = place.hi;
    first = false;
    std::byte* const to = pages + std::size_t{batch.count} * SpillFile::kSlotBytes;
    std::memcpy(to, version.page.get(), version.bytes);
    std::memset(to + version.bytes, 0, SpillFile::kSlotBytes - version.bytes);
    batch.items[batch.count++] = Batch::Item{place, version.bytes, 0};
  }
}

/// What was written is in the file from now on, if it is still needed.
void Versions::settle(const Batch& batch, const SpillFile::Run& run,
                      std::vector<std::uint32_t>& unused) {
  for (std::uint32_t i = 0; i < run.count; ++i) {
    const std::uint32_t slot = run.first + i;
    const auto entry = pages_.find(batch.items[i].place);
    if (entry == pages_.end() || !entry->second.page) {
      unused.push_back(slot);
      continue;
    }
    Version& version = entry->second;
    version.slot = slot;
    version.checksum = batch.items[i].checksum;
    version.page.reset();
    memory_bytes_.fetch_sub(version.bytes, std::memory_order_relaxed);
    file_bytes_.fetch_add(SpillFile::kSlotBytes, std::memory_order_relaxed);
  }
}

/// Gives false when there is nothing (more) that can leave the memory.
bool Versions::spill_batch() {
  if (!batch_) {
    batch_ = std::make_unique_for_overwrite<std::byte[]>(std::size_t{kBatchPages} *
                                                         SpillFile::kSlotBytes);
  }
  Batch batch;
  {
    const base::Lock guard(mutex_);
    choose(batch, batch_.get());
  }
  if (batch.count == 0) return false;
  std::vector<std::uint32_t> unused;
  unused.reserve(kBatchPages);
  const SpillFile::Run run = file_.take(batch.count);
  for (std::uint32_t i = 0; i < run.count; ++i) {
    Batch::Item& item = batch.items[i];
    const base::Bytes page(batch_.get() + std::size_t{i} * SpillFile::kSlotBytes, item.bytes);
    item.checksum = base::checksum64(page, seed_of(item.place.page, item.place.hi));
  }
  const auto written =
      file_.write(run, base::Bytes(batch_.get(), std::size_t{run.count} * SpillFile::kSlotBytes));
  bool more = true;
  if (written) {
    const base::Lock guard(mutex_);
    settle(batch, run, unused);
  } else {
    DOLMEN_PROBE("txn.spill_failed");
    for (std::uint32_t i = 0; i < run.count; ++i) unused.push_back(run.first + i);
    const auto given_up = give_up_oldest_view(written.error());
    if (given_up) purge(*given_up, unused);
    more = given_up.has_value();
  }
  file_.give_back(unused);
  return more;
}

/// The oldest view's snapshot for which memory holds something. A checkpoint needs little, and not
/// for long: it keeps what it needs.
std::optional<Index> Versions::give_up_oldest_view(const Error& error) {
  const base::Lock guard(mutex_);
  for (auto& [index, snapshot] : snapshots_) {
    if (snapshot.given_up || snapshot.checkpoints != 0) continue;
    const auto holds = [at = index](const Pages::value_type* entry) {
      return entry->second.lo <= at && entry->second.page != nullptr;
    };
    if (std::none_of(by_end_.upper_bound(index), by_end_.end(), holds)) continue;
    give_up(snapshot, error);
    return index;
  }
  return std::nullopt;
}

}  // namespace dolmen::txn
