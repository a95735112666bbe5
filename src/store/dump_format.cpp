// SPDX-License-Identifier: Apache-2.0
#include "store/dump_format.hpp"

#include <algorithm>
#include <array>
#include <string>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/commit_record.hpp"

namespace dolmen::store {

namespace {

constexpr std::uint64_t kMagic = 0x31504D444D4C4F44;  // "DOLMDMP1"
constexpr std::uint64_t kHeaderSeed = 0x64756D7020312E30;
constexpr std::uint64_t kChainSeed = 0x64756D7020312E31;
constexpr std::size_t kHeaderChecksumAt = kDumpHeaderBytes - 8;
constexpr std::size_t kFrameHeadBytes = 8;
constexpr std::size_t kObjectBytes = 24;
constexpr std::size_t kPagesHeadBytes = 8;
constexpr std::size_t kEndBytes = 24;
constexpr std::size_t kWriteBytes = std::size_t{256} << 10;

std::uint32_t page_limit(unsigned capacity_log2) noexcept {
  return capacity_log2 <= 12 ? 1 : 1u << (capacity_log2 - 12);
}

bool is_zero(base::Bytes bytes) noexcept {
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    if (base::load<std::uint64_t>(bytes, at) != 0) return false;
  }
  return true;
}

}  // namespace

enum class DumpWriter::FrameKind : std::uint32_t { object = 1, pages = 2, name = 3, end = 4 };

// --- writing -------------------------------------------------------------------------------------

DumpWriter::DumpWriter(ByteSink& sink) : sink_(sink), chain_(kChainSeed) {}

Result<void> DumpWriter::flush() {
  DOLMEN_CHECK(sink_.write(buffer_));
  buffer_.clear();
  return {};
}

Result<void> DumpWriter::begin(const DumpHeader& header) {
  std::array<std::byte, kDumpHeaderBytes> bytes{};
  base::store(bytes, 0, kMagic);
  base::store(bytes, 8, kDumpVersion);
  base::store(bytes, 16, header.space.high);
  base::store(bytes, 24, header.space.low);
  base::store(bytes, 32, header.commit);
  base::store(bytes, kHeaderChecksumAt,
              base::checksum64(base::Bytes(bytes).first(kHeaderChecksumAt), kHeaderSeed));
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  bytes_ += bytes.size();
  return {};
}

Result<void> DumpWriter::frame(FrameKind kind, base::Bytes head, base::Bytes body) {
  const std::size_t start = buffer_.size();
  const std::size_t payload = head.size() + body.size();
  DOLMEN_ASSERT_CMP(payload, <=, kDumpPayloadMax);
  buffer_.resize(start + kFrameHeadBytes);
  base::store(buffer_, start, static_cast<std::uint32_t>(kind));
  base::store(buffer_, start + 4, static_cast<std::uint32_t>(payload));
  buffer_.insert(buffer_.end(), head.begin(), head.end());
  buffer_.insert(buffer_.end(), body.begin(), body.end());
  chain_ = base::checksum64(base::Bytes(buffer_).subspan(start), chain_);
  buffer_.resize(buffer_.size() + sizeof chain_);
  base::store(buffer_, buffer_.size() - sizeof chain_, chain_);
  bytes_ += buffer_.size() - start;
  return buffer_.size() < kWriteBytes ? Result<void>() : flush();
}

Result<void> DumpWriter::object(const ObjectInfo& object) {
  std::array<std::byte, kObjectBytes> head{};
  base::store(head, 0, object.object.high);
  base::store(head, 8, object.object.low);
  base::store(head, 16, object.capacity_log2);
  page_bytes_ = page_bytes(object.capacity_log2);
  ++counts_.objects;
  return frame(FrameKind::object, head, {});
}

Result<void> DumpWriter::pages(std::uint32_t first, base::Bytes contents) {
  DOLMEN_ASSERT(!contents.empty() && contents.size() % page_bytes_ == 0);
  const std::uint64_t count = contents.size() / page_bytes_;
  std::array<std::byte, kPagesHeadBytes> head{};
  base::store(head, 0, first);
  base::store(head, 4, static_cast<std::uint32_t>(count));
  counts_.pages += count;
  return frame(FrameKind::pages, head, contents);
}

Result<void> DumpWriter::name(std::string_view name, const ObjectId& object) {
  std::array<std::byte, sizeof(ObjectId)> head{};
  base::store(head, 0, object.high);
  base::store(head, 8, object.low);
  ++counts_.names;
  return frame(FrameKind::name, head, base::as_bytes(name));
}

Result<void> DumpWriter::end() {
  std::array<std::byte, kEndBytes> head{};
  base::store(head, 0, counts_.objects);
  base::store(head, 8, counts_.pages);
  base::store(head, 16, counts_.names);
  DOLMEN_CHECK(frame(FrameKind::end, head, {}));
  return flush();
}

// --- reading -------------------------------------------------------------------------------------

DumpReader::DumpReader(ByteSource& source)
    : source_(source), buffer_(kDumpPayloadMax + kDumpFrameBytes), chain_(kChainSeed) {}

std::unexpected<Error> DumpReader::damaged(std::string_view what) const {
  return fail(Errc::corrupt,
              interned("dump, byte " + std::to_string(frame_at_) + ": " + std::string(what)));
}

/// Whether the next `bytes` are in the buffer, at begin_; false at the end of the stream.
Result<bool> DumpReader::have(std::size_t bytes) {
  if (buffer_.size() - begin_ < bytes) {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  while (end_ - begin_ < bytes) {
    DOLMEN_TRY(const std::size_t count, source_.read(base::MutableBytes(buffer_).subspan(end_)));
    if (count == 0) return false;
    end_ += count;
  }
  return true;
}

Result<DumpHeader> DumpReader::begin() {
  DOLMEN_TRY(const bool whole, have(kDumpHeaderBytes));
  const base::Bytes bytes = base::Bytes(buffer_).subspan(begin_, end_ - begin_);
  if (bytes.size() < 8 || base::load<std::uint64_t>(bytes) != kMagic) {
    return damaged("this is no dump of a space");
  }
  if (!whole) return damaged("cut off within the header");
  const auto version = base::load<std::uint32_t>(bytes, 8);
  if (base::load<std::uint64_t>(bytes, kHeaderChecksumAt) !=
      base::checksum64(bytes.first(kHeaderChecksumAt), kHeaderSeed)) {
    return damaged("the header's checksum");
  }
  if (version != kDumpVersion) return fail(Errc::version_unsupported, "dump", version);
  const bool reserved = base::load<std::uint32_t>(bytes, 12) != 0 ||
                        base::load<std::uint64_t>(bytes, 40) != 0 ||
                        base::load<std::uint64_t>(bytes, 48) != 0;
  if (reserved) return damaged("the header's reserved bytes");
  DumpHeader header;
  header.space = {base::load<std::uint64_t>(bytes, 16), base::load<std::uint64_t>(bytes, 24)};
  header.commit = base::load<std::uint64_t>(bytes, 32);
  begin_ += kDumpHeaderBytes;
  frame_bytes_ = kDumpHeaderBytes;
  return header;
}

Result<DumpItem> DumpReader::next() {
  frame_at_ += frame_bytes_;
  frame_bytes_ = 0;
  DOLMEN_TRY(const bool has_head, have(kFrameHeadBytes));
  if (!has_head) return damaged("cut off: the stream ends before its last frame");
  const auto word = base::load<std::uint32_t>(buffer_, begin_);
  const auto payload = base::load<std::uint32_t>(buffer_, begin_ + 4);
  if (payload > kDumpPayloadMax) return damaged("a frame's length");
  DOLMEN_TRY(const bool whole, have(payload + kDumpFrameBytes));
  if (!whole) return damaged("cut off within a frame");
  const base::Bytes bytes = base::Bytes(buffer_).subspan(begin_, payload + kDumpFrameBytes);
  const base::Bytes covered = bytes.first(kFrameHeadBytes + payload);
  const std::uint64_t sum = base::checksum64(covered, chain_);
  if (base::load<std::uint64_t>(bytes, covered.size()) != sum) return damaged("checksum");
  DOLMEN_TRY(DumpItem item, decode(DumpWriter::FrameKind{word}, covered.subspan(kFrameHeadBytes)));
  chain_ = sum;
  begin_ += bytes.size();
  frame_bytes_ = bytes.size();
  if (item.kind != DumpItem::Kind::end) return item;
  DOLMEN_TRY(const bool more, have(1));
  if (more) return damaged("bytes follow the last frame");
  return item;
}

Result<DumpItem> DumpReader::decode(DumpWriter::FrameKind kind, base::Bytes payload) {
  switch (kind) {
    case DumpWriter::FrameKind::object:
      return decode_object(payload);
    case DumpWriter::FrameKind::pages:
      return decode_pages(payload);
    case DumpWriter::FrameKind::name:
      return decode_name(payload);
    case DumpWriter::FrameKind::end:
      return decode_end(payload);
  }
  return damaged("a frame of unknown kind");
}

Result<DumpItem> DumpReader::decode_object(base::Bytes payload) {
  base::ByteReader in(payload);
  const ObjectId id = in.get_id();
  const auto capacity_log2 = in.get<std::uint64_t>();  // one byte and seven zeros
  if (!in.finished() || capacity_log2 < base::kMinCapacityLog2 ||
      capacity_log2 > base::kMaxCapacityLog2) {
    return damaged("an object that cannot be");
  }
  if (counts_.names != 0) return damaged("an object behind the names");
  // The null id, the lowest, is none.
  if (!(object_.object < id)) return damaged("objects out of order");
  object_ = {id, static_cast<std::uint8_t>(capacity_log2)};
  page_bytes_ = page_bytes(object_.capacity_log2);
  pages_end_ = page_limit(object_.capacity_log2);
  next_page_ = 0;
  ++counts_.objects;
  DumpItem item;
  item.kind = DumpItem::Kind::object;
  item.object = object_;
  return item;
}

Result<DumpItem> DumpReader::decode_pages(base::Bytes payload) {
  base::ByteReader in(payload);
  DumpItem item;
  item.kind = DumpItem::Kind::pages;
  item.object = object_;
  item.first_page = in.get<std::uint32_t>();
  item.page_count = in.get<std::uint32_t>();
  item.contents = in.take(in.remaining());
  if (counts_.objects == 0 || counts_.names != 0) return damaged("pages of no object");
  if (in.failed() || item.page_count == 0 ||
      item.contents.size() != std::uint64_t{item.page_count} * page_bytes_) {
    return damaged("pages of another length than said");
  }
  if (item.first_page < next_page_ || item.first_page >= pages_end_ ||
      item.page_count > pages_end_ - item.first_page) {
    return damaged("pages out of order or beyond the object");
  }
  for (std::size_t at = 0; at < item.contents.size(); at += page_bytes_) {
    if (is_zero(item.contents.subspan(at, page_bytes_))) return damaged("a page of zeros");
  }
  next_page_ = item.first_page + item.page_count;
  counts_.pages += item.page_count;
  return item;
}

Result<DumpItem> DumpReader::decode_name(base::Bytes payload) {
  base::ByteReader in(payload);
  DumpItem item;
  item.kind = DumpItem::Kind::name;
  item.object.object = in.get_id();
  const base::Bytes text = in.take(in.remaining());
  if (in.failed()) return damaged("a name that is too short");
  std::vector<char> name(text.size());
  std::ranges::transform(text, name.begin(), [](std::byte b) { return static_cast<char>(b); });
  const auto view = [](const std::vector<char>& chars) {
    return std::string_view(chars.data(), chars.size());
  };
  if (counts_.names != 0 && view(name) <= view(name_)) return damaged("names out of order");
  name_ = std::move(name);
  item.name = view(name_);
  ++counts_.names;
  return item;
}

Result<DumpItem> DumpReader::decode_end(base::Bytes payload) {
  base::ByteReader in(payload);
  DumpCounts said;
  said.objects = in.get<std::uint64_t>();
  said.pages = in.get<std::uint64_t>();
  said.names = in.get<std::uint64_t>();
  if (!in.finished() || said != counts_) return damaged("the counts of the last frame");
  return DumpItem{};
}

}  // namespace dolmen::store
