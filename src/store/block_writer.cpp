// SPDX-License-Identifier: Apache-2.0
#include "store/block_writer.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::store {
namespace {

constexpr std::size_t kGatherBytes = std::size_t{2} << 20;
constexpr std::size_t kWriteBytesMax = std::size_t{1} << 20;
constexpr std::size_t kPacedBytesMin = std::size_t{64} << 10;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

// A paced writer sleeps after each write: several times a second, or its bursts delay the log.
std::size_t write_bytes_max(std::uint64_t bytes_per_second_max) noexcept {
  if (bytes_per_second_max == 0) return kWriteBytesMax;
  return std::clamp<std::size_t>(bytes_per_second_max / 20, kPacedBytesMin, kWriteBytesMax);
}

}  // namespace

BlockWriter::BlockWriter(sys::File& file, BlockMap& map, const Pace& pace)
    : file_(file),
      map_(map),
      pace_(pace),
      write_bytes_max_(write_bytes_max(pace.bytes_per_second_max)) {
  map_.rewind();
}

Result<void> BlockWriter::poll() const {
  const bool given_up = pace_.cancelled != nullptr && *pace_.cancelled && (*pace_.cancelled)();
  if (given_up) return fail(Errc::aborted, "the checkpoint was cancelled");
  return {};
}

Result<BlockLoc> BlockWriter::put(unsigned size_log2, unsigned tag, base::Bytes bytes) {
  // Memory first: what is taken is on the list of what an abandoned checkpoint gives back.
  if (fresh_.size() == fresh_.capacity()) fresh_.reserve(fresh_.size() * 2 + 16);
  const BlockLoc loc(map_.allocate(size_log2), size_log2, tag);
  DOLMEN_ASSERT_CMP(bytes.size(), ==, loc.bytes());
  append_run(fresh_, loc);
  fresh_units_ += loc.units();
  if (gathered_bytes_.capacity() == 0) gathered_bytes_.reserve(kGatherBytes + kUnitBytes * 8);
  gathered_.push_back({loc, gathered_bytes_.size()});
  gathered_bytes_.insert(gathered_bytes_.end(), bytes.begin(), bytes.end());
  const bool full = gathered_bytes_.size() >= kGatherBytes;
  if (full || DOLMEN_BUGGIFY("store.checkpoint_write_early")) DOLMEN_CHECK(flush());
  return loc;
}

Result<void> BlockWriter::flush() {
  std::ranges::sort(gathered_, {}, [](const Gathered& g) { return g.loc.unit(); });
  const base::Bytes all(gathered_bytes_);
  for (std::size_t i = 0; i < gathered_.size();) {
    const std::uint64_t offset = gathered_[i].loc.offset();
    const std::size_t at = gathered_[i].at;
    const std::size_t begin = i;
    std::size_t bytes = 0;
    bool is_one_piece = true;  // as they were gathered: what fills an empty file is
    for (; i < gathered_.size(); ++i) {
      const Gathered& next = gathered_[i];
      const bool adjacent = next.loc.offset() == offset + bytes;
      if (!adjacent || bytes + next.loc.bytes() > write_bytes_max_) break;
      is_one_piece = is_one_piece && next.at == at + bytes;
      bytes += next.loc.bytes();
    }
    if (is_one_piece) {
      DOLMEN_CHECK(write(offset, all.subspan(at, bytes)));
      continue;
    }
    staged_.clear();
    for (std::size_t k = begin; k < i; ++k) {
      const base::Bytes block = all.subspan(gathered_[k].at, gathered_[k].loc.bytes());
      staged_.insert(staged_.end(), block.begin(), block.end());
    }
    DOLMEN_CHECK(write(offset, staged_));
  }
  gathered_.clear();
  gathered_bytes_.clear();
  return {};
}

Result<void> BlockWriter::write(std::uint64_t offset, base::Bytes bytes) {
  DOLMEN_CHECK(poll());
  if (bytes_written_ == 0 && pace_.clock != nullptr) start_ns_ = pace_.clock->monotonic_ns();
  DOLMEN_CHECK(file_.write(offset, bytes));
  bytes_written_ += bytes.size();
  if (pace_.writes_back) file_.write_back(offset, bytes.size());
  if (pace_.bytes_per_second_max == 0 || pace_.clock == nullptr) return {};
  const double seconds =
      static_cast<double>(bytes_written_) / static_cast<double>(pace_.bytes_per_second_max);
  const auto due_ns = static_cast<std::uint64_t>(seconds * static_cast<double>(kSecondNs));
  const std::uint64_t spent_ns = pace_.clock->monotonic_ns() - start_ns_;
  if (due_ns > spent_ns) pace_.clock->sleep_ns(due_ns - spent_ns);
  return {};
}

}  // namespace dolmen::store
