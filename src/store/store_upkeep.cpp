// SPDX-License-Identifier: Apache-2.0
//
// DurableStore's upkeep: checkpoints, scrub, counters, closing.
#include <algorithm>
#include <new>

#include "base/hooks.hpp"
#include "store/durable_store.hpp"
#include "store/reader_pins.hpp"

namespace dolmen::store {

namespace {

// Room in the page file that pinned readers may keep from reuse, in log tails.
constexpr std::uint64_t kPinnedTailsMax = 4;
// A checkpoint is due before the root's list of segments is full, however small they are.
constexpr std::size_t kSegmentsDue = kLogSegmentsMax * 3 / 4;

}  // namespace

std::uint64_t DurableStore::tail_bytes() const noexcept {
  const std::uint64_t appended = log_ ? log_->bytes_appended() : 0;
  return recovered_tail_bytes_ + appended - checkpointed_log_bytes_;
}

bool DurableStore::checkpoint_due() const noexcept {
  if (read_only_) return false;
  return tail_bytes() > opened_root_.tail_bytes_max || log_->segment_count() > kSegmentsDue ||
         log_->list_full();
}

void DurableStore::hold_blocks_for_readers() {
  bool hold = any_reader_pin(*disk_);
  if (hold) {
    DOLMEN_PROBE("store.reader_pinned");
    const auto stats = pages_->stats();
    const std::uint64_t most =
        pinned_bytes_max_ > 0 ? pinned_bytes_max_ : kPinnedTailsMax * opened_root_.tail_bytes_max;
    if (stats && stats->file_bytes_allocated > stats->live_bytes + most) {
      DOLMEN_PROBE("store.reader_pin_ignored");
      hold = false;
    }
  }
  pages_->hold_reuse(hold);
}

Result<CheckpointStats> DurableStore::checkpoint(const CheckpointRequest& request) {
  if (read_only_) return fail(Errc::read_only, "checkpoint");
  if (closed_) return fail(Errc::closed, "checkpoint");
  if (failed()) return fail(Errc::store_failed, "checkpoint");
  if (request.as_of < checkpoint_index_ || request.as_of < recovered_end_ ||
      request.as_of > log_->last_index()) {
    return fail(Errc::invalid_argument, "checkpoint: as_of", request.as_of);
  }
  DOLMEN_CHECK(log_->wait_durable(request.as_of));
  // The blocks that this root's tree does not use may be those of an older root.
  if (auto settled = keeper_->settle(); !settled) {
    log_->fail_from_now();
    return std::unexpected(settled.error());
  }
  if (request.is_durable) {
    DOLMEN_CHECK(settle());
  } else {
    is_unsettled_ = true;
    keeper_->defer_syncs();
  }
  CheckpointStats stats;
  stats.as_of = request.as_of;
  DOLMEN_TRY(const TreeRoot tree, pages_->write_checkpoint(request, stats));
  // Crash window: everything is written, nothing refers to it.
  std::vector<std::uint32_t> dropped;
  try {
    DOLMEN_CHECK(switch_to_checkpoint(request.as_of, tree, dropped));
  } catch (const std::bad_alloc&) {
    pages_->discard();  // the root was not touched
    return fail(Errc::out_of_memory, "a checkpoint");
  }
  try {
    take_on(request.as_of, tree, dropped);
  } catch (const std::bad_alloc&) {
    // The disk has the new root, and who reads does not: no way back.
    log_->fail_from_now();
    return fail(Errc::store_failed, "a checkpoint without memory");
  }
  return stats;
}

/// What the root says now, for those who read here.
void DurableStore::take_on(Index as_of, const TreeRoot& tree,
                           const std::vector<std::uint32_t>& dropped) {
  hold_blocks_for_readers();  // after the switch: a reader that comes later reads the new root
  std::shared_ptr<const TailIndex> passed;  // freed outside the lock: it may be large
  const std::uint64_t log_bytes = log_->bytes_up_to(as_of);
  log_->list_shortened();
  {
    const base::Lock lock(state_mutex_);
    pages_->publish(tree);
    passed.swap(tail_);
    has_tail_.store(false, std::memory_order_release);
  }
  pages_->recycle();  // outside the lock: it punches holes
  forgotten_pages_.clear();
  checkpoint_index_ = as_of;
  checkpointed_log_bytes_ = log_bytes;
  recovered_tail_bytes_ = 0;
  for (const std::uint32_t file : dropped) pool_->recycle(file);
}

Result<void> DurableStore::switch_to_checkpoint(Index as_of, const TreeRoot& tree,
                                                std::vector<std::uint32_t>& dropped) {
  const std::function<void(Root&)> change = [&](Root& root) {
    root.checkpoint_index = as_of;
    root.tree = tree;
    root.durable_index = std::max({root.durable_index, as_of, log_->durable_index()});
    std::vector<SegmentRef>& segments = root.segments;
    while (!segments.empty()) {
      // as_of is at or above the recovered end, so segments from before opening hold nothing new.
      const bool recovered = segments.front().incarnation < log_->first_incarnation();
      const bool passed = segments.size() > 1 && segments[1].first_index <= as_of + 1;
      if (!recovered && !passed) break;
      segments.erase(segments.begin());
    }
  };
  if (DOLMEN_PLANTED("store.reuse_segment_early")) overwrite_dropped_headers(change);
  auto switched = keeper_->switch_root(change, &dropped);
  if (!switched) log_->fail_from_now();
  return switched;
}

// A bug for the crash campaign: segments are used again before the root has given them up.
void DurableStore::overwrite_dropped_headers(const std::function<void(Root&)>& change) {
  const Root before = keeper_->root();
  Root after = before;
  change(after);
  const std::vector<std::byte> zeros(kSegmentHeaderBytes);
  for (const SegmentRef& old : before.segments) {
    if (std::ranges::find(after.segments, old) != after.segments.end()) continue;
    if (auto file = disk_->open(segment_name(old.file), sys::OpenMode::read_write)) {
      (void)(*file)->write(0, zeros);
    }
  }
}

Result<ScrubReport> DurableStore::scrub(
    const std::function<void(std::uint64_t done, std::uint64_t total)>& progress) {
  ScrubReport report;
  if (keeper_) {
    DOLMEN_CHECK(keeper_->verify(report));
  } else {
    DOLMEN_TRY(const auto file, disk_->open(kRootFile, sys::OpenMode::read_only));
    DOLMEN_CHECK(RootKeeper::verify_file(*file, {}, report));
  }
  DOLMEN_CHECK(scrub_log(report));
  DOLMEN_CHECK(pages_->scrub(report, progress));
  return report;
}

Result<void> DurableStore::scrub_log(ScrubReport& report) {
  const auto scanned = read_only_ ? scan_beside_writer() : scan_own_log();
  if (scanned) {
    report.records_verified += scanned->record_count;
    report.bytes_verified += scanned->tail_bytes;
    return {};
  }
  if (scanned.error().code() != Errc::corrupt) return std::unexpected(scanned.error());
  report.damage.push_back({"log", std::string(scanned.error().context()), {}, {}});
  return {};
}

Result<LogScan> DurableStore::scan_own_log() {
  // Taken before the root: the root then names the segments of everything up to here.
  const LogScanOptions options{.stop_after = durable_index()};
  return scan_log(*disk_, keeper_->root(), {}, options);
}

Result<LogScan> DurableStore::scan_beside_writer() {
  // Not what this reader opened: its segments may be in use for other records by now.
  DOLMEN_TRY(Recovered recovered, recover_beside_writer(*disk_, nullptr, opened_root_.contents));
  return std::move(recovered.scan);
}

StoreStats DurableStore::stats() {
  StoreStats stats;
  stats.space_id = opened_root_.space;
  stats.last_index = last_index();
  stats.durable_index = durable_index();
  stats.checkpoint_index = checkpoint_index_;
  stats.log_tail_bytes = tail_bytes();
  stats.log_segments = log_ ? log_->segment_count() : opened_root_.segments.size();
  const std::size_t free_segments = pool_ ? pool_->file_count() : 0;
  stats.log_disk_bytes = (stats.log_segments + free_segments) * opened_root_.segment_bytes;
  if (const auto pages = pages_->stats()) {
    stats.pages_disk_bytes = pages->file_bytes_allocated;
    stats.pages_live_bytes = pages->live_bytes;
    stats.object_count = pages->object_count;
  }
  if (read_only_) {
    const auto scratch = disk_->open(kScratchFile, sys::OpenMode::read_only);
    if (scratch) stats.scratch_disk_bytes = (*scratch)->allocated_bytes().value_or(0);
  }
  if (log_) {
    stats.syncs = log_->sync_count() + keeper_->sync_count();
    stats.records_appended = log_->record_count();
  }
  return stats;
}

Result<std::unique_ptr<sys::File>> DurableStore::scratch_file() {
  if (read_only_) return fail(Errc::read_only, "scratch_file");
  if (closed_) return fail(Errc::closed, "scratch_file");
  has_scratch_ = true;
  DOLMEN_TRY(auto file, disk_->open(kScratchFile, sys::OpenMode::create_or_open));
  DOLMEN_CHECK(file->resize(0));
  return file;
}

Result<void> DurableStore::settle() {
  if (!is_unsettled_) return {};
  if (failed()) return fail(Errc::store_failed, "settle");
  Result<void> synced;
  if (!DOLMEN_PLANTED("store.skip_settling_pages")) synced = pages_->sync();
  if (synced) synced = keeper_->sync();
  if (!synced) {
    // Another attempt may find nothing left to write, of what never got there.
    log_->fail_from_now();
    return fail(Errc::store_failed, "settle", synced.error().detail());
  }
  is_unsettled_ = false;
  return {};
}

Result<void> DurableStore::finish() {
  if (read_only_) return fail(Errc::read_only, "finish");
  DOLMEN_CHECK(settle());
  return publish_root(*disk_, kUnfinishedRootFile);
}

Result<void> DurableStore::close() {
  if (read_only_ || closed_) return {};
  DOLMEN_CHECK(log_->wait_durable(log_->last_index()));
  if (keeper_->root().durable_index < log_->durable_index()) {
    // So that a last record that is damaged later is not taken for a torn tail.
    DOLMEN_CHECK(keeper_->switch_root(
        [&](Root& root) { root.durable_index = log_->durable_index(); }, nullptr));
  }
  closed_ = true;
  if (has_scratch_) (void)disk_->remove(kScratchFile);  // else the next writer does
  lock_.reset();
  return {};
}

}  // namespace dolmen::store
