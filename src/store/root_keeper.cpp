// SPDX-License-Identifier: Apache-2.0
#include "store/root_keeper.hpp"

#include <algorithm>
#include <array>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::store {

namespace {

constexpr unsigned kVerifyLooks = 3;

}  // namespace

Result<void> publish_root(sys::Disk& disk, std::string_view from) {
  DOLMEN_CHECK(disk.rename(from, kRootFile));
  if (auto synced = disk.sync_directory(); !synced) {
    // Nobody may open what a crash could still take away.
    (void)disk.rename(kRootFile, from);
    return std::unexpected(synced.error());
  }
  return {};
}

Result<void> RootKeeper::write_first(sys::File& file, const Root& root) {
  DOLMEN_ASSERT(root.generation == 1);
  std::vector<std::byte> bytes(kRootFileBytes);
  const base::MutableBytes all(bytes);
  const unsigned pair = root_pair(root.generation);
  encode_root(root, all.subspan(pair * kRootSlotBytes, kRootSlotBytes));
  encode_root(root, all.subspan((pair + 1) * kRootSlotBytes, kRootSlotBytes));
  DOLMEN_CHECK(file.write(0, bytes));
  return file.sync();
}

Result<RootChoice> RootKeeper::read(sys::File& file) {
  std::vector<std::byte> bytes(kRootFileBytes);
  DOLMEN_TRY(const std::size_t count, file.read(0, bytes));
  return choose_root(base::Bytes(bytes).first(count));
}

RootKeeper::RootKeeper(std::unique_ptr<sys::File> file, RootChoice choice)
    : file_(std::move(file)), choice_(std::move(choice)) {
  segment_count_ = choice_.root.segments.size();
}

Root RootKeeper::root() const {
  const base::Lock lock(mutex_);
  return choice_.root;
}

Result<void> RootKeeper::verify(ScrubReport& report) {
  const base::Lock lock(mutex_);
  // What a crash left unfinished at opening is repaired before the next switch: no damage.
  return verify_file(*file_, choice_.bad, report);
}

Result<void> RootKeeper::verify_file(sys::File& file,
                                     const std::array<bool, kRootSlots>& unfinished,
                                     ScrubReport& report) {
  std::array<bool, kRootSlots> bad{};
  bad.fill(true);
  for (unsigned look = 0; look < kVerifyLooks; ++look) {
    const auto found = read(file);
    if (!found && found.error().code() == Errc::io_error) return std::unexpected(found.error());
    if (!found) continue;
    for (unsigned slot = 0; slot < kRootSlots; ++slot) bad[slot] &= found->bad[slot];
  }
  report.bytes_verified += kRootFileBytes;
  for (unsigned slot = 0; slot < kRootSlots; ++slot) {
    if (!bad[slot] || unfinished[slot]) continue;
    report.damage.push_back(
        {.what = "root slot",
         .where = "space: root slot " + std::to_string(slot),
         .page = {},
         .place = Damage::Place{std::string(kRootFile), slot * std::uint64_t{kRootSlotBytes},
                                kRootSlotBytes}});
  }
  return {};
}

void RootKeeper::drop_segments_above(Index end) {
  const base::Lock lock(mutex_);
  recovered_end_ = end;
}

Result<void> RootKeeper::switch_root(const std::function<void(Root&)>& change,
                                     std::vector<std::uint32_t>* dropped) {
  const base::Lock lock(mutex_);
  if (failed_) return fail(Errc::store_failed, "root switch");
  Root next = choice_.root;
  std::erase_if(next.segments, [&](const SegmentRef& s) DOLMEN_REQUIRES(mutex_) {
    return s.first_index > recovered_end_;
  });
  // Parts without a trailer may have been known durable; they are no part of the recovered log.
  next.durable_index = std::min(next.durable_index, recovered_end_);
  change(next);
  next.generation = choice_.root.generation + 1;
  // Memory first: once it is written, it is in force.
  if (dropped != nullptr) dropped->reserve(choice_.root.segments.size());
  auto written = settle_read_root();
  if (written) written = write_pair(next);
  if (!written) {
    failed_ = true;
    return fail(Errc::store_failed, "root switch", written.error().detail());
  }
  for (const SegmentRef& old : choice_.root.segments) {
    const bool kept =
        std::ranges::any_of(next.segments, [&](const SegmentRef& s) { return s.file == old.file; });
    if (!kept && dropped != nullptr) dropped->push_back(old.file);
  }
  choice_.root = std::move(next);
  recovered_end_ = ~Index{0};
  segment_count_ = choice_.root.segments.size();
  return {};
}

Result<void> RootKeeper::write_slot(unsigned slot, base::Bytes bytes) {
  DOLMEN_CHECK(file_->write(slot * kRootSlotBytes, bytes));
  if (defers_syncs_ || DOLMEN_PLANTED("store.skip_root_sync")) return {};
  ++sync_count_;
  return file_->sync();
}

Result<void> RootKeeper::copy_twin(unsigned slot) {
  DOLMEN_PROBE("store.root_slot_repaired");
  std::vector<std::byte> twin(kRootSlotBytes);
  DOLMEN_TRY(const std::size_t count, file_->read((slot ^ 1u) * kRootSlotBytes, twin));
  if (count != twin.size()) return fail(Errc::corrupt, "space: short file");
  return write_slot(slot, twin);
}

Result<void> RootKeeper::write_pair(const Root& root) {
  std::vector<std::byte> bytes(kRootSlotBytes);
  encode_root(root, bytes);
  DOLMEN_CHECK(write_slot(root_pair(root.generation), bytes));
  // Crash window: this generation is in force already, in one slot.
  return write_slot(root_pair(root.generation) + 1, bytes);
}

// The bad slot first: a crash must never leave two. Then what was read is written once more: a
// killed process may have left its second slot unwritten, and after a failed sync the system may
// give back what is not on the disk. The slots of the next generation are safe to write, and what
// older roots name is safe to use again, only when this one is certainly in two places.
Result<void> RootKeeper::settle_read_root() {
  if (settled_) return {};
  for (unsigned slot = 0; slot < kRootSlots; ++slot) {
    if (choice_.bad[slot]) DOLMEN_CHECK(copy_twin(slot));
  }
  choice_.bad = {};
  DOLMEN_CHECK(write_pair(choice_.root));
  settled_ = true;
  return {};
}

void RootKeeper::defer_syncs() {
  const base::Lock lock(mutex_);
  defers_syncs_ = true;
}

Result<void> RootKeeper::sync() {
  const base::Lock lock(mutex_);
  if (failed_) return fail(Errc::store_failed, "root");
  ++sync_count_;
  if (const auto synced = file_->sync(); !synced) {
    failed_ = true;
    return fail(Errc::store_failed, "root", synced.error().detail());
  }
  defers_syncs_ = false;
  return {};
}

Result<void> RootKeeper::settle() {
  const base::Lock lock(mutex_);
  if (failed_) return fail(Errc::store_failed, "root");
  if (auto settled = settle_read_root(); !settled) {
    failed_ = true;
    return fail(Errc::store_failed, "root", settled.error().detail());
  }
  return {};
}

}  // namespace dolmen::store
