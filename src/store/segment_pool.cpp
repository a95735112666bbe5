// SPDX-License-Identifier: Apache-2.0
#include "store/segment_pool.hpp"

#include <algorithm>
#include <new>
#include <set>
#include <vector>

#include "base/hooks.hpp"
#include "store/log_format.hpp"

namespace dolmen::store {

namespace {
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::string_view kHalfMade = "log/new";
}  // namespace

Result<void> SegmentPool::adopt(const Root& root, std::function<Result<void>()> settle) {
  DOLMEN_TRY(const std::vector<std::string> names, disk_.list());
  const base::Lock prepare_lock(prepare_mutex_);
  std::set<std::uint32_t> listed;
  for (const SegmentRef& segment : root.segments) {
    listed.insert(segment.file);
    next_file_ = std::max(next_file_, segment.file + 1);
  }
  for (const std::string& name : names) {
    if (name == kHalfMade) {
      DOLMEN_PROBE("store.half_made_segment_removed");
      (void)disk_.remove(name);
    }
    const auto file = parse_segment_name(name);
    if (!file || segment_name(*file) != name) continue;
    next_file_ = std::max(next_file_, *file + 1);
    if (!listed.contains(*file)) leftovers_.push_back(*file);
  }
  settle_ = std::move(settle);
  leftover_count_ = leftovers_.size();
  return {};
}

void SegmentPool::remove_excess_leftovers() {
  while (leftovers_.size() > std::max<std::size_t>(keep_max_, 1)) {
    DOLMEN_PROBE("store.excess_segment_removed");
    (void)disk_.remove(segment_name(leftovers_.back()));
    leftovers_.pop_back();
  }
}

Result<std::unique_ptr<sys::File>> SegmentPool::make(std::string_view name) {
  DOLMEN_TRY(const std::uint64_t free_bytes, disk_.free_bytes());
  if (free_bytes < segment_bytes_) return fail(Errc::no_space, "log segment");
  DOLMEN_TRY(auto file, disk_.open(kHalfMade, sys::OpenMode::create_or_open));
  const std::vector<std::byte> zeros(std::min<std::size_t>(kChunkBytes, segment_bytes_));
  DOLMEN_CHECK(file->allocate(0, segment_bytes_));
  for (std::uint64_t at = 0; at < segment_bytes_; at += zeros.size()) {
    const std::size_t step = std::min<std::uint64_t>(zeros.size(), segment_bytes_ - at);
    DOLMEN_CHECK(file->write(at, base::Bytes(zeros).first(step)));
  }
  DOLMEN_CHECK(file->sync());
  DOLMEN_CHECK(disk_.rename(kHalfMade, name));
  DOLMEN_CHECK(disk_.sync_directory());
  return file;
}

Result<std::unique_ptr<sys::File>> SegmentPool::rename_leftover(std::uint32_t new_file) {
  // An older root may name it, and be the one on the disk.
  DOLMEN_CHECK(settle_());
  remove_excess_leftovers();
  std::uint32_t& leftover = leftovers_.back();
  DOLMEN_TRY(auto file, disk_.open(segment_name(leftover), sys::OpenMode::read_write));
  DOLMEN_TRY(const std::uint64_t bytes, file->size());
  if (bytes != segment_bytes_) return fail(Errc::corrupt, "log segment: size", bytes);
  DOLMEN_CHECK(disk_.rename(segment_name(leftover), segment_name(new_file)));
  leftover = new_file;  // on a failure below it stays one, under this name
  DOLMEN_CHECK(disk_.sync_directory());
  return file;
}

Result<void> SegmentPool::prepare() {
  const base::Lock prepare_lock(prepare_mutex_);
  if (DOLMEN_BUGGIFY("store.prepare_fails")) return fail(Errc::no_space, "log segment");
  if (next_file_ > kSegmentFileMax) return fail(Errc::limit, "log segment numbers");
  const std::uint32_t file = next_file_++;
  const std::string name = segment_name(file);
  const bool again = !leftovers_.empty();
  auto handle = again ? rename_leftover(file) : make(name);
  if (!handle) {
    DOLMEN_PROBE("store.prepare_failed");
    const Errc code = handle.error().code();
    if (again && (code == Errc::corrupt || code == Errc::not_found)) leftovers_.pop_back();
    if (!again) {
      (void)disk_.remove(kHalfMade);
      (void)disk_.remove(name);
    }
    leftover_count_ = leftovers_.size();
    return std::unexpected(handle.error());
  }
  if (again) leftovers_.pop_back();
  leftover_count_ = leftovers_.size();
  add({.file = file, .handle = std::move(*handle)});
  return {};
}

std::optional<FreeSegment> SegmentPool::take() {
  const base::Lock lock(mutex_);
  if (free_.empty()) return std::nullopt;
  FreeSegment segment = std::move(free_.front());
  free_.pop_front();
  size_ = free_.size();
  return segment;
}

void SegmentPool::add(FreeSegment segment) {
  const base::Lock lock(mutex_);
  free_.push_back(std::move(segment));
  size_ = free_.size();
}

// Left behind on an error, or without memory: the next opening finds it.
void SegmentPool::recycle(std::uint32_t file) noexcept {
  try {
    const std::string name = segment_name(file);
    if (size() < keep_max_) {
      auto handle = disk_.open(name, sys::OpenMode::read_write);
      if (handle) {
        add({.file = file, .handle = std::move(*handle)});
        return;
      }
    }
    (void)disk_.remove(name);
  } catch (const std::bad_alloc&) {
    DOLMEN_PROBE("store.segment_left_behind");
  }
}

}  // namespace dolmen::store
