// SPDX-License-Identifier: Apache-2.0
#include "store/segment_reader.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::store {

namespace {
constexpr std::uint32_t kChunkBytes = 1u << 20;
constexpr std::uint32_t kSearchBytes = 256u << 10;
// Checksums over candidates that a search may compute, in segments: a real log needs none or one.
constexpr std::uint64_t kSearchSegmentsMax = 4;
}  // namespace

SegmentReader::SegmentReader(SegmentRef ref, std::uint32_t size, std::uint64_t seed,
                             std::unique_ptr<sys::File> file, base::MutableBytes memory)
    : ref_(ref), size_(size), seed_(seed), file_(std::move(file)), memory_(memory) {}

Result<SegmentReader> SegmentReader::open(sys::Disk& disk, base::MutableBytes memory,
                                          const Root& root, const SegmentRef& segment) {
  const std::string name = segment_name(segment.file);
  auto file = disk.open(name, sys::OpenMode::read_only);
  if (!file && file.error().code() == Errc::not_found) {
    return fail(Errc::corrupt, interned(name + " is missing"));
  }
  if (!file) return std::unexpected(file.error());
  SegmentReader reader(segment, root.segment_bytes, record_seed(root.space, segment),
                       std::move(*file), memory);
  DOLMEN_TRY(const base::Bytes header, reader.bytes(0, kSegmentHeaderBytes));
  if (!verify_segment_header(header, root.space, segment, root.segment_bytes)) {
    return reader.damage(0, "header");
  }
  return reader;
}

Result<base::Bytes> SegmentReader::bytes(std::uint32_t offset, std::uint32_t count) {
  DOLMEN_ASSERT(count <= size_ && offset <= size_ - count);
  while (loaded_ < offset + count) {
    const std::uint32_t step = std::min(kChunkBytes, size_ - loaded_);
    DOLMEN_TRY(const std::size_t got, file_->read(loaded_, memory_.subspan(loaded_, step)));
    if (got != step) return damage(loaded_ + static_cast<std::uint32_t>(got), "short file");
    loaded_ += step;
  }
  return base::Bytes(memory_).subspan(offset, count);
}

Result<std::optional<SegmentReader::Record>> SegmentReader::record_at(std::uint32_t offset,
                                                                      Index index) {
  if (size_ - offset < kRecordHeaderBytes) return std::nullopt;
  DOLMEN_TRY(const base::Bytes head, bytes(offset, kRecordHeaderBytes));
  const auto header = plausible_record(head, index, size_ - offset);
  if (!header || header->index != index) return std::nullopt;
  const auto length = static_cast<std::uint32_t>(record_bytes(header->payload_bytes));
  DOLMEN_TRY(const base::Bytes whole, bytes(offset, length));
  if (!verify_record(whole, *header, seed_)) return std::nullopt;
  return Record{.header = *header,
                .payload = whole.subspan(kRecordHeaderBytes, header->payload_bytes)};
}

Result<SegmentReader::Found> SegmentReader::search(std::uint32_t offset, Index index,
                                                   Index index_max, Index durable_min) {
  std::vector<std::byte> window(std::min(kSearchBytes, size_) + kRecordHeaderBytes);
  std::uint64_t budget = kSearchSegmentsMax * size_;
  std::uint32_t at = offset + kRecordAlignment;
  while (at < size_ && size_ - at >= kRecordHeaderBytes) {
    DOLMEN_TRY(const std::size_t got, file_->read(at, window));
    if (got < kRecordHeaderBytes) break;
    std::uint32_t step = 0;
    for (; step + kRecordHeaderBytes <= got; step += kRecordAlignment) {
      const std::uint32_t candidate = at + step;
      if (size_ - candidate < kRecordHeaderBytes) return Found{};
      const auto header = plausible_record(base::Bytes(window).subspan(step, kRecordHeaderBytes),
                                           index + 1, size_ - candidate);
      // Each record before it takes at least its header's room.
      if (!header || header->index > index + (candidate - offset) / kRecordHeaderBytes ||
          header->index > index_max || header->durable_index < durable_min) {
        continue;
      }
      const std::uint64_t length = record_bytes(header->payload_bytes);
      if (length > budget) return damage(candidate, "nothing but headers");
      budget -= length;
      DOLMEN_TRY(const auto record, record_at(candidate, header->index));
      if (record) return Found{.offset = candidate, .index = header->index};
    }
    at += step;
  }
  return Found{};
}

std::unexpected<Error> SegmentReader::damage(std::uint32_t offset, const char* what) const {
  return fail(Errc::corrupt, interned("log segment " + std::to_string(ref_.file) + " at byte " +
                                      std::to_string(offset) + ": " + what));
}

}  // namespace dolmen::store
