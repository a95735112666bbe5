// SPDX-License-Identifier: Apache-2.0
#include "store/log_scan.hpp"

#include <algorithm>
#include <deque>
#include <utility>

#include "base/hooks.hpp"
#include "store/segment_reader.hpp"

namespace dolmen::store {

namespace {

class Scanner {
 public:
  Scanner(sys::Disk& disk, const Root& root, const TransactionSink& sink,
          const LogScanOptions& options)
      : disk_(disk), root_(root), sink_(sink), options_(options) {}

  [[nodiscard]] Result<LogScan> run() {
    const auto& segments = root_.segments;
    result_.memory = std::make_unique<TailMemory>(options_.memory, root_.segment_bytes,
                                                  sink_ ? segments.size() : 1);
    expected_ = segments.empty() ? root_.checkpoint_index + 1 : segments.front().first_index;
    for (std::size_t k = 0; k < segments.size() && !ended_; ++k) {
      const Index next = k + 1 < segments.size() ? segments[k + 1].first_index : 0;
      DOLMEN_CHECK(scan_segment(segments[k], next));
    }
    if (segments.empty() && root_.durable_index > root_.checkpoint_index) {
      return fail(Errc::corrupt, "space: the root names no segment for durable records");
    }
    DOLMEN_CHECK(close_tail());
    result_.end = std::max(result_.end, root_.checkpoint_index);
    return std::move(result_);
  }

 private:
  /// `next`: first index of the segment behind, 0 = this is the last one.
  [[nodiscard]] Result<void> scan_segment(const SegmentRef& segment, Index next) {
    // Without a sink nobody looks back: one block serves all segments.
    if (sink_ || block_.empty()) block_ = result_.memory->next_block();
    DOLMEN_TRY(SegmentReader reader, SegmentReader::open(disk_, block_, root_, segment));
    const Index stop =
        options_.stop_after == ~Index{0} ? options_.stop_after : options_.stop_after + 1;
    const Index limit = next == 0 ? stop : std::min(next, stop);
    std::uint32_t at = kSegmentHeaderBytes;
    while (expected_ < limit && !ended_) {
      DOLMEN_TRY(const auto record, reader.record_at(at, expected_));
      if (record) {
        if (next == 0) note_proofs(record->header, at);
        if (auto taken = take(record->header, record->payload); !taken) {
          if (taken.error().code() != Errc::corrupt) return taken;
          return reader.damage(at, "record's contents");
        }
        at += static_cast<std::uint32_t>(record_bytes(record->header.payload_bytes));
        ++expected_;
        continue;
      }
      const std::uint32_t end = at;
      DOLMEN_TRY(at, judge(reader, at, next));
      if (at != 0) continue;
      if (next == 0 && !doubtful_.empty()) {
        const std::uint32_t begin = doubtful_.front().second;
        result_.unproven = {.file = segment.file, .offset = begin, .bytes = end - begin};
      }
      break;
    }
    if (expected_ >= stop) ended_ = true;
    return {};
  }

  /// Record `expected_` is not at `at`. Gives where to go on, 0 for the next segment or the end.
  [[nodiscard]] Result<std::uint32_t> judge(SegmentReader& reader, std::uint32_t at, Index next) {
    if (DOLMEN_PLANTED("store.bad_checksum_is_end")) {
      ended_ = true;
      return 0u;
    }
    const Index checkpoint = root_.checkpoint_index;
    if (expected_ <= checkpoint) {
      // Damaged, but the checkpoint holds what it said: only what follows is needed.
      DOLMEN_PROBE("store.damage_below_checkpoint");
      DOLMEN_TRY(const auto found, reader.search(at, expected_, checkpoint + 1, 0));
      if (found.offset != 0) {
        expected_ = found.index;
        return found.offset;
      }
      if (next == 0) {
        // Nor is the first record that is needed: was it ever durable?
        DOLMEN_TRY(const auto proof, reader.search(at, expected_, ~Index{0}, checkpoint + 1));
        if (proof.offset != 0) return reader.damage(at, "record is gone, later ones are there");
      }
      if (next != 0 ? next <= checkpoint + 1 : root_.durable_index == checkpoint) {
        expected_ = next != 0 ? next : checkpoint + 1;
        ended_ = next == 0;
        return 0u;
      }
      return reader.damage(at, "record is gone");
    }
    if (next != 0 || expected_ <= root_.durable_index) return reader.damage(at, "record is gone");
    DOLMEN_TRY(const auto found, reader.search(at, expected_, ~Index{0}, expected_));
    if (found.offset != 0) return reader.damage(at, "record is gone, later ones are there");
    DOLMEN_PROBE("store.torn_tail");
    ended_ = true;
    return 0u;
  }

  /// Keeps the records of the last segment that no record behind them calls durable.
  void note_proofs(const RecordHeader& header, std::uint32_t at) {
    doubtful_.emplace_back(header.index, at);
    const Index proven = std::max(root_.durable_index, header.durable_index);
    while (!doubtful_.empty() && doubtful_.front().first <= proven) doubtful_.pop_front();
  }

  [[nodiscard]] Result<void> take(const RecordHeader& header, base::Bytes payload) {
    ++result_.record_count;
    if (header.index <= root_.checkpoint_index) return {};
    result_.tail_bytes += record_bytes(header.payload_bytes);
    if (header.kind == RecordKind::whole) {
      if (!parts_.empty()) return fail(Errc::corrupt, "a record inside parts");
      result_.end = header.index;
      return sink_ ? sink_(header.index, payload) : Result<void>();
    }
    parts_.push_back(payload);
    if (header.kind == RecordKind::part) return {};
    if (parts_.size() == 1) return fail(Errc::corrupt, "a last part alone");
    return deliver_parts(header.index);
  }

  [[nodiscard]] Result<void> deliver_parts(Index index) {
    result_.end = index;
    if (!sink_) {
      parts_.clear();
      return {};
    }
    std::size_t bytes = 0;
    for (const base::Bytes part : parts_) bytes += part.size();
    const base::MutableBytes joined = result_.memory->allocate(bytes);
    std::size_t at = 0;
    for (const base::Bytes part : parts_) {
      if (!part.empty()) std::memcpy(joined.data() + at, part.data(), part.size());
      at += part.size();
    }
    parts_.clear();
    return sink_(index, joined);
  }

  /// Parts without their last one were never a transaction.
  [[nodiscard]] Result<void> close_tail() {
    if (parts_.empty()) return {};
    DOLMEN_PROBE("store.parts_without_trailer");
    if (DOLMEN_PLANTED("store.tail_without_trailer_applied")) return deliver_parts(expected_ - 1);
    return {};
  }

  sys::Disk& disk_;
  const Root& root_;
  const TransactionSink& sink_;
  const LogScanOptions options_;
  LogScan result_;
  Index expected_ = 0;
  bool ended_ = false;
  std::vector<base::Bytes> parts_;
  std::deque<std::pair<Index, std::uint32_t>> doubtful_;  // index and offset
  base::MutableBytes block_;                              // the segment that is read
};

}  // namespace

Result<LogScan> scan_log(sys::Disk& disk, const Root& root, const TransactionSink& sink,
                         const LogScanOptions& options) {
  return Scanner(disk, root, sink, options).run();
}

}  // namespace dolmen::store
