// SPDX-License-Identifier: Apache-2.0
#include "store/log.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <new>

#include "base/hooks.hpp"

namespace dolmen::store {

namespace {

constexpr std::uint64_t kPayloadBytesMax = std::uint64_t{1} << 30;
constexpr std::size_t kRewriteBytes = 256u << 10;
constexpr std::size_t kBufferKeepBytes = std::size_t{4} << 20;
// The last places in the root's list are for those who may use the reserve, and for a recovery.
constexpr std::size_t kListedMax = kLogSegmentsMax - 8;
constexpr std::size_t kListedMaxReserve = kLogSegmentsMax - 2;

}  // namespace

Log::Log(const Root& root, RootKeeper& keeper, SegmentPool& pool, sys::Disk& disk, Index end,
         const LogOptions& options)
    : space_(root.space),
      segment_bytes_(root.segment_bytes),
      keeper_(keeper),
      pool_(pool),
      disk_(disk),
      options_(options),
      first_incarnation_(root.next_incarnation),
      next_incarnation_(first_incarnation_),
      last_index_(end),
      durable_index_(end) {}

std::uint32_t Log::part_payload_max() const noexcept {
  return segment_bytes_ - kSegmentHeaderBytes - kRecordHeaderBytes;
}

std::size_t Log::segments_needed(std::uint64_t payload_bytes) const noexcept {
  if (payload_bytes > part_payload_max()) {
    return (payload_bytes + part_payload_max() - 1) / part_payload_max();
  }
  return current_ && position_ + record_bytes(payload_bytes) <= segment_bytes_ ? 0 : 1;
}

Result<void> Log::make_room(std::uint64_t payload_bytes, Reserve reserve) {
  const std::size_t kept = reserve == Reserve::keep ? options_.reserve_segments : 0;
  const std::size_t listed_max = reserve == Reserve::keep ? kListedMax : kListedMaxReserve;
  for (;;) {
    if (failed_) return fail(Errc::store_failed, "log");
    const std::size_t needed = segments_needed(payload_bytes);
    if (needed > 0 && segment_count() + needed > listed_max) {
      DOLMEN_PROBE("store.segment_list_full");
      list_full_.store(true, std::memory_order_relaxed);
      return fail(Errc::no_space, "log: a checkpoint has to come first");
    }
    if (pool_.size() >= needed + kept) return {};
    Result<void> prepared;
    {
      const base::Unlock meanwhile(mutex_);
      prepared = pool_.prepare();
    }
    if (!prepared && prepared.error().code() == Errc::store_failed) {
      failed_ = true;
      return fail(Errc::store_failed, "log segment", prepared.error().detail());
    }
    if (!prepared && prepared.error().code() == Errc::corrupt) continue;  // it is used no more
    if (!prepared) {
      DOLMEN_PROBE("store.append_no_space");
      return std::unexpected(prepared.error());
    }
  }
}

void Log::start_segment() {
  auto segment = std::make_shared<LogSegment>();  // memory first: what is taken is used
  auto free_segment = pool_.take();
  DOLMEN_ASSERT(free_segment.has_value());
  segment->ref = {.file = free_segment->file,
                  .incarnation = next_incarnation_++,
                  .first_index = last_index_ + 1};
  segment->seed = record_seed(space_, segment->ref);
  segment->file = std::move(free_segment->handle);
  ++unlisted_segments_;
  current_ = std::move(segment);
  position_ = kSegmentHeaderBytes;
}

void Log::put_record(base::Bytes payload, std::uint64_t payload_sum, RecordKind kind) {
  const std::size_t bytes = record_bytes(payload.size());
  if (!current_ || position_ + bytes > segment_bytes_) start_segment();
  const Index index = last_index_.load(std::memory_order_relaxed) + 1;
  // Whatever needs memory comes before the first thing that could not be taken back. A mark that is
  // left behind by a failure is the next record's.
  const std::uint64_t before = bytes_appended_.load(std::memory_order_relaxed);
  if (marks_.empty() || before - marks_.back().bytes >= mark_bytes_) {
    marks_.push_back({.index = index, .bytes = before});
  }
  std::byte* const out = active_.extend(current_, position_, bytes);
  encode_record_header({.payload_bytes = static_cast<std::uint32_t>(payload.size()),
                        .kind = kind,
                        .index = index,
                        .durable_index = durable_index_.load(std::memory_order_relaxed)},
                       payload_sum, current_->seed, out);
  const std::size_t end = kRecordHeaderBytes + payload.size();
  if (!payload.empty()) std::memcpy(out + kRecordHeaderBytes, payload.data(), payload.size());
  if (end != bytes) std::memset(out + end, 0, bytes - end);
  bytes_appended_.store(before + bytes, std::memory_order_relaxed);
  position_ += static_cast<std::uint32_t>(bytes);
  last_index_.store(index, std::memory_order_release);
}

/// Parts without their last one would be no transaction: no way back (noexcept).
void Log::put_parts(base::Bytes payload, std::uint64_t first_sum) noexcept {
  DOLMEN_PROBE("store.transaction_in_parts");
  const std::size_t part_max = part_payload_max();
  for (std::size_t at = 0; at < payload.size(); at += part_max) {
    const base::Bytes bytes = payload.subspan(at, std::min(part_max, payload.size() - at));
    put_record(bytes, at == 0 ? first_sum : payload_checksum(bytes),
               at + bytes.size() == payload.size() ? RecordKind::last_part : RecordKind::part);
  }
}

Result<Index> Log::append(base::Bytes payload, Reserve reserve, void (*on_index)(void*, Index),
                          void* argument) {
  if (payload.size() > kPayloadBytesMax) return fail(Errc::too_large, "log", payload.size());
  const std::size_t part_max = part_payload_max();
  const std::size_t part_count =
      payload.size() <= part_max ? 1 : (payload.size() + part_max - 1) / part_max;
  // A checkpoint leaves one segment in the list.
  if (part_count >= (reserve == Reserve::keep ? kListedMax : kListedMaxReserve)) {
    DOLMEN_PROBE("store.transaction_above_list");
    return fail(Errc::too_large, "log: a transaction of so many segments", part_count);
  }
  const std::uint64_t first_sum =
      payload_checksum(payload.first(std::min(part_max, payload.size())));

  base::Lock lock(mutex_);
  DOLMEN_CHECK(make_room(payload.size(), reserve));
  if (DOLMEN_BUGGIFY("store.rotate_early") && part_count == 1 &&
      pool_.size() > options_.reserve_segments && segment_count() < kListedMax) {
    start_segment();
  }
  if (part_count == 1) {
    put_record(payload, first_sum, RecordKind::whole);
  } else {
    put_parts(payload, first_sum);
  }
  record_count_.store(record_count_.load(std::memory_order_relaxed) + part_count,
                      std::memory_order_relaxed);
  const Index index = last_index_.load(std::memory_order_relaxed);
  if (on_index != nullptr) on_index(argument, index);
  if (!large_enough_to_flush()) return index;
  while (leader_active_ && active_.size() >= options_.buffered_bytes_max && !failed_) {
    done_[flush_number_ & 1].wait(mutex_);
  }
  if (leader_active_ || failed_) return index;
  const Flushed flushed = flush(Sync::no);
  lock.unlock();
  wake(flushed);
  return index;
}

bool Log::large_enough_to_flush() {
  return active_.size() >= options_.flush_bytes || DOLMEN_BUGGIFY("store.flush_each_append");
}

void Log::with_append_lock(void (*body)(void*, Index), void* argument) {
  const base::Lock lock(mutex_);
  body(argument, last_index_);
}

Result<void> Log::wait_durable(Index index) {
  for (;;) {
    if (durable_index() >= index) return {};
    base::Lock lock(mutex_);
    if (durable_index() >= index) return {};
    if (failed_) return fail(Errc::store_failed, "log");
    DOLMEN_ASSERT_CMP(index, <=, last_index_.load());
    if (DOLMEN_PLANTED("store.ack_before_sync")) {
      durable_index_ = last_index_.load();
      return {};
    }
    if (leader_active_) {
      const std::uint64_t awaited = flush_target_ >= index ? flush_number_ : flush_number_ + 1;
      done_[awaited & 1].wait(mutex_);
      continue;
    }
    const Flushed flushed = flush(Sync::yes);
    lock.unlock();
    wake(flushed);
  }
}

Log::Flushed Log::flush(Sync sync) {
  leader_active_ = true;
  const Index target = last_index_;
  flush_target_ = sync == Sync::yes ? target : 0;
  std::swap(active_, spare_);
  Result<void> written;
  {
    const base::Unlock meanwhile(mutex_);
    try {
      written = write_out(spare_, sync);
    } catch (const std::bad_alloc&) {
      // What is not written cannot be taken back: others saw it.
      written = fail(Errc::out_of_memory, "log");
    }
    spare_.clear(kBufferKeepBytes);
  }
  leader_active_ = false;
  const std::uint64_t number = flush_number_++;
  if (!written) {
    failed_ = true;
  } else if (sync == Sync::yes) {
    durable_index_.store(target, std::memory_order_release);
  }
  return {.number = number, .ok = written.has_value()};
}

void Log::wake(Flushed flushed) {
  done_[flushed.number & 1].notify_all();
  // One of those who came too late for this flush leads the next; after a failure all have to know.
  base::Condition& next = done_[(flushed.number + 1) & 1];
  flushed.ok ? next.notify_one() : next.notify_all();
}

Result<void> Log::write_out(LogBuffer& buffer, Sync sync) {
  for (const LogBuffer::Extent& extent : buffer.extents()) {
    if (written_ != extent.segment) {
      if (written_) DOLMEN_CHECK(sync_file(*written_));
      DOLMEN_CHECK(activate(*extent.segment));
      written_ = extent.segment;
    }
    DOLMEN_CHECK(written_->file->write(extent.offset, buffer.bytes(extent)));
  }
  if (sync == Sync::yes && written_) DOLMEN_CHECK(sync_file(*written_));
  return {};
}

Result<void> Log::sync_file(LogSegment& segment) {
  if (DOLMEN_PLANTED("store.skip_log_sync")) return {};
  sync_count_.fetch_add(1, std::memory_order_relaxed);
  return segment.file->sync();
}

Result<void> Log::rewrite_unproven(const UnprovenTail& unproven) {
  if (unproven.bytes == 0) return {};
  DOLMEN_PROBE("store.unproven_tail_rewritten");
  DOLMEN_TRY(auto file, disk_.open(segment_name(unproven.file), sys::OpenMode::read_write));
  const std::size_t step = std::min<std::size_t>(unproven.bytes, kRewriteBytes);
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(step);
  for (std::size_t done = 0; done < unproven.bytes;) {
    const base::MutableBytes bytes(buffer.get(), std::min(step, unproven.bytes - done));
    DOLMEN_TRY(const std::size_t count, file->read(unproven.offset + done, bytes));
    DOLMEN_CHECK(file->write(unproven.offset + done, bytes.first(count)));
    if (count != bytes.size()) break;
    done += count;
  }
  sync_count_.fetch_add(1, std::memory_order_relaxed);
  return file->sync();
}

Result<void> Log::activate(LogSegment& segment) {
  std::vector<std::byte> header(kSegmentHeaderBytes);
  encode_segment_header(space_, segment.ref, segment_bytes_, header);
  DOLMEN_CHECK(segment.file->write(0, header));
  DOLMEN_CHECK(sync_file(segment));
  // Crash window: the file is still free; its header only says what it is about to be.
  std::vector<std::uint32_t> dropped;
  DOLMEN_CHECK(keeper_.switch_root(
      [&](Root& root) {
        root.segments.push_back(segment.ref);
        root.next_incarnation = segment.ref.incarnation + 1;
        root.durable_index = std::max(root.durable_index, segment.ref.first_index - 1);
      },
      &dropped));
  --unlisted_segments_;
  for (const std::uint32_t file : dropped) pool_.recycle(file);
  return {};
}

Result<void> Log::prepare_segments() {
  while (pool_.size() < options_.reserve_segments + std::size_t{1}) {
    if (segment_count() >= kListedMax) return {};
    auto prepared = pool_.prepare();
    if (!prepared && prepared.error().code() == Errc::store_failed) failed_ = true;
    if (!prepared) return prepared;
  }
  return {};
}

std::uint64_t Log::bytes_up_to(Index index) {
  const base::Lock lock(mutex_);
  std::uint64_t bytes = 0;
  while (!marks_.empty() && marks_.front().index <= index + 1) {
    bytes = marks_.front().bytes;
    if (marks_.size() == 1 || marks_[1].index > index + 1) break;
    marks_.pop_front();
  }
  return bytes;
}

}  // namespace dolmen::store
