// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a dump: a space's objects and names as of one commit, as one stream. A header, then
// frames whose checksums are chained, so that none can be left out, moved or exchanged; the last
// one says that nothing is missing. docs/formats/dump.md has the tables.
//
// A stream is read and written from front to end with a buffer of fixed size, whatever it says.
//
// Threads: one per reader or writer.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "store/store.hpp"

namespace dolmen::store {

inline constexpr std::uint32_t kDumpVersion = 1;
inline constexpr std::size_t kDumpHeaderBytes = 64;
inline constexpr std::size_t kDumpFrameBytes = 16;  ///< around a payload: kind, length, checksum
inline constexpr std::size_t kDumpPayloadMax = std::size_t{1} << 20;
inline constexpr std::size_t kDumpNameMax = kDumpPayloadMax - sizeof(ObjectId);

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  [[nodiscard]] virtual Result<void> write(base::Bytes bytes) = 0;
};

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Up to out.size() bytes, at least one but at the end; gives the count.
  [[nodiscard]] virtual Result<std::size_t> read(base::MutableBytes out) = 0;
};

/// Which state the dump holds.
struct DumpHeader {
  ObjectId space;
  Index commit = 0;
  friend bool operator==(const DumpHeader&, const DumpHeader&) = default;
};

struct DumpCounts {
  std::uint64_t objects = 0;
  std::uint64_t pages = 0;
  std::uint64_t names = 0;
  friend bool operator==(const DumpCounts&, const DumpCounts&) = default;
};

class DumpWriter {
 public:
  explicit DumpWriter(ByteSink& sink);

  // In this order; objects by ascending id, their pages by ascending number, names ascending.
  [[nodiscard]] Result<void> begin(const DumpHeader& header);
  [[nodiscard]] Result<void> object(const ObjectInfo& object);
  /// Whole pages of the last object, side by side, none of them all zero.
  /// Requires: contents.size() <= kDumpPayloadMax - 8.
  [[nodiscard]] Result<void> pages(std::uint32_t first, base::Bytes contents);
  /// Requires: name.size() <= kDumpNameMax.
  [[nodiscard]] Result<void> name(std::string_view name, const ObjectId& object);
  /// Everything is with the sink afterwards.
  [[nodiscard]] Result<void> end();

  [[nodiscard]] const DumpCounts& counts() const noexcept { return counts_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  enum class FrameKind : std::uint32_t;
  friend class DumpReader;
  [[nodiscard]] Result<void> frame(FrameKind kind, base::Bytes head, base::Bytes body);
  [[nodiscard]] Result<void> flush();

  ByteSink& sink_;
  std::vector<std::byte> buffer_;
  std::uint64_t chain_;
  std::uint64_t bytes_ = 0;
  std::uint32_t page_bytes_ = 0;
  DumpCounts counts_;
};

struct DumpItem {
  enum class Kind : std::uint8_t { object, pages, name, end };
  Kind kind = Kind::end;
  ObjectInfo object;             ///< object and pages: the object; name: its id
  std::uint32_t first_page = 0;  ///< pages
  std::uint32_t page_count = 0;
  base::Bytes contents;  ///< pages: page_count of them, side by side
  std::string_view name;
};

/// Gives a stream's items in order; every one has been verified, alone and in its place: checksum,
/// bounds, order, counts. Errors name the place in bytes from the stream's start: corrupt,
/// version_unsupported, the source's own. After an error the reader gives that error again.
class DumpReader {
 public:
  explicit DumpReader(ByteSource& source);

  [[nodiscard]] Result<DumpHeader> begin();
  /// Views in the item are good until the next call. After `end` the stream is read to its end.
  [[nodiscard]] Result<DumpItem> next();

  [[nodiscard]] const DumpCounts& counts() const noexcept { return counts_; }
  /// Bytes read so far.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return frame_at_ + frame_bytes_; }
  /// Where the last item's frame begins.
  [[nodiscard]] std::uint64_t position() const noexcept { return frame_at_; }
  /// An error about the last item, found by whoever looks at its contents.
  [[nodiscard]] std::unexpected<Error> damaged(std::string_view what) const;

 private:
  [[nodiscard]] Result<bool> have(std::size_t bytes);
  [[nodiscard]] Result<DumpItem> decode(DumpWriter::FrameKind kind, base::Bytes payload);
  [[nodiscard]] Result<DumpItem> decode_object(base::Bytes payload);
  [[nodiscard]] Result<DumpItem> decode_pages(base::Bytes payload);
  [[nodiscard]] Result<DumpItem> decode_name(base::Bytes payload);
  [[nodiscard]] Result<DumpItem> decode_end(base::Bytes payload);

  ByteSource& source_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;  // of what is read and not used, in the buffer
  std::size_t end_ = 0;
  std::uint64_t frame_at_ = 0;
  std::uint64_t frame_bytes_ = 0;
  std::uint64_t chain_;
  ObjectInfo object_;
  std::uint32_t page_bytes_ = 0;
  std::uint32_t pages_end_ = 0;  // of the object
  std::uint32_t next_page_ = 0;  // the lowest that may follow
  std::vector<char> name_;       // the last one
  DumpCounts counts_;
};

}  // namespace dolmen::store
