// SPDX-License-Identifier: Apache-2.0
#include "txn/spill_file.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

namespace dolmen::txn {

namespace {

/// Shorter holes are not given back to the disk: they are the first to be used again.
constexpr std::uint32_t kHoleSlots = 8;

std::uint64_t offset_of(std::uint32_t slot) noexcept {
  return std::uint64_t{slot} * SpillFile::kSlotBytes;
}

}  // namespace

SpillFile::Run SpillFile::take(std::uint32_t count) {
  DOLMEN_ASSERT_CMP(count, >, 0u);
  if (free_.empty()) {
    const Run run{end_, count};
    end_ += count;
    return run;
  }
  // The lowest ones, so that the file's end becomes free.
  const auto lowest = free_.begin();
  const Run run{lowest->first, std::min(count, lowest->second)};
  const std::uint32_t rest = lowest->second - run.count;
  free_.erase(lowest);
  if (rest != 0) free_.emplace(run.first + run.count, rest);
  free_count_ -= run.count;
  return run;
}

Result<void> SpillFile::write(const Run& run, base::Bytes pages) {
  DOLMEN_ASSERT_CMP(pages.size(), ==, offset_of(run.count));
  if (!file_) {
    DOLMEN_TRY(file_, make_());
  }
  return file_->write(offset_of(run.first), pages);
}

Result<void> SpillFile::read(std::uint32_t slot, base::MutableBytes out) const noexcept {
  DOLMEN_TRY(const std::size_t count, file_->read(offset_of(slot), out));
  if (count != out.size()) return fail(Errc::io_error, "the file of page versions is too short");
  return {};
}

void SpillFile::add_free(const Run& run) {
  auto [entry, added] = free_.emplace(run.first, run.count);
  free_count_ += run.count;
  DOLMEN_ASSERT(added);
  if (const auto next = std::next(entry);
      next != free_.end() && entry->first + entry->second == next->first) {
    entry->second += next->second;
    free_.erase(next);
  }
  if (entry == free_.begin()) return;
  const auto before = std::prev(entry);
  if (before->first + before->second != entry->first) return;
  before->second += entry->second;
  free_.erase(entry);
}

void SpillFile::give_back(std::vector<std::uint32_t>& slots) {
  if (slots.empty()) return;
  std::ranges::sort(slots);
  std::vector<Run> holes;
  for (const std::uint32_t slot : slots) {
    if (!holes.empty() && holes.back().first + holes.back().count == slot) {
      ++holes.back().count;
    } else {
      holes.push_back(Run{slot, 1});
    }
  }
  for (const Run& hole : holes) add_free(hole);
  const std::uint32_t former_end = end_;
  if (!free_.empty()) {
    const auto last = std::prev(free_.end());
    if (last->first + last->second == end_) {
      end_ = last->first;
      free_count_ -= last->second;
      free_.erase(last);
    }
  }
  if (!file_) return;
  // Room that cannot be given back now is used again, or goes with the file.
  if (end_ != former_end) (void)file_->resize(offset_of(end_));
  for (const Run& hole : holes) {
    if (hole.count < kHoleSlots || hole.first >= end_) continue;
    (void)file_->punch(offset_of(hole.first), offset_of(hole.count));
  }
}

}  // namespace dolmen::txn
