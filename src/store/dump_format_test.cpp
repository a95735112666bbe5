// SPDX-License-Identifier: Apache-2.0
#include "store/dump_format.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "base/sanitizers.hpp"
#include "store/dump_test_stream.hpp"
#include "store/golden_file.hpp"

namespace dolmen::store {
namespace {

constexpr DumpHeader kHeader{{0x0102030405060708, 0x1112131415161718}, 4711};
constexpr ObjectInfo kSmall{{1, 2}, 9};
constexpr ObjectInfo kLarge{{1, 3}, 14};

std::vector<std::byte> page_of(std::uint8_t fill, std::size_t bytes) {
  return std::vector<std::byte>(bytes, std::byte{fill});
}

/// An object of 512 bytes, one of 16 KiB whose page 1 is zeros, and two names.
std::vector<std::byte> example() {
  MemorySink sink;
  DumpWriter writer(sink);
  EXPECT_TRUE(writer.begin(kHeader));
  EXPECT_TRUE(writer.object(kSmall));
  EXPECT_TRUE(writer.pages(0, page_of(0x11, 512)));
  EXPECT_TRUE(writer.object(kLarge));
  EXPECT_TRUE(writer.pages(0, page_of(0x22, 4096)));
  EXPECT_TRUE(writer.pages(2, page_of(0x33, 2 * 4096)));
  EXPECT_TRUE(writer.name("first", kLarge.object));
  EXPECT_TRUE(writer.name("second name", kSmall.object));
  EXPECT_TRUE(writer.end());
  EXPECT_EQ(writer.counts(), (DumpCounts{2, 4, 2}));
  EXPECT_EQ(writer.bytes(), sink.bytes.size());
  return sink.bytes;
}

/// Reads to the end; what it says in a line per item, or the error.
Result<std::vector<std::string>> items_of(base::Bytes bytes, std::size_t step = 4096) {
  MemorySource source(bytes, step);
  DumpReader reader(source);
  DOLMEN_TRY(const DumpHeader header, reader.begin());
  std::vector<std::string> lines{header.space.to_string() + " " + std::to_string(header.commit)};
  for (;;) {
    DOLMEN_TRY(const DumpItem item, reader.next());
    const std::string id = item.object.object.to_string();
    switch (item.kind) {
      case DumpItem::Kind::object:
        lines.push_back("object " + id + " " + std::to_string(item.object.capacity_log2));
        break;
      case DumpItem::Kind::pages:
        lines.push_back("pages " + id + " " + std::to_string(item.first_page) + "+" +
                        std::to_string(item.page_count) + " of " +
                        std::to_string(std::to_integer<int>(item.contents[0])));
        break;
      case DumpItem::Kind::name:
        lines.push_back("name " + std::string(item.name) + " " + id);
        break;
      case DumpItem::Kind::end:
        EXPECT_EQ(reader.bytes(), bytes.size());
        return lines;
    }
  }
}

const std::vector<std::string> kExampleItems{
    "01020304050607081112131415161718 4711",
    "object 00000000000000010000000000000002 9",
    "pages 00000000000000010000000000000002 0+1 of 17",
    "object 00000000000000010000000000000003 14",
    "pages 00000000000000010000000000000003 0+1 of 34",
    "pages 00000000000000010000000000000003 2+2 of 51",
    "name first 00000000000000010000000000000003",
    "name second name 00000000000000010000000000000002",
};

TEST(DumpFormat, IsReadAndWrittenAsItAlwaysWas) {
  const std::vector<std::byte> golden = read_golden("dump_v1.bin");
  const auto items = items_of(golden);
  ASSERT_TRUE(items) << items.error().message();
  EXPECT_EQ(*items, kExampleItems);
  EXPECT_TRUE(golden == example());
}

TEST(DumpFormat, ComesInPiecesOfAnySize) {
  const std::vector<std::byte> bytes = example();
  for (const std::size_t step : {1, 7, 64, 5000, 1 << 21}) {
    const auto items = items_of(bytes, step);
    ASSERT_TRUE(items) << step;
    EXPECT_EQ(*items, kExampleItems);
  }
}

constexpr std::size_t kStep = base::kSanitized ? 13 : 1;

TEST(DumpFormat, EveryChangedByteIsNoticedAndItsFrameNamed) {
  std::vector<std::byte> bytes = example();
  for (std::size_t at = 0; at < bytes.size(); at += at < 800 ? kStep : 97) {
    bytes[at] ^= std::byte{0x40};
    const auto items = items_of(bytes);
    bytes[at] ^= std::byte{0x40};
    ASSERT_FALSE(items) << at;
    ASSERT_EQ(items.error().code(), Errc::corrupt) << at << ": " << items.error().message();
    ASSERT_TRUE(items.error().context().starts_with("dump, byte ")) << items.error().message();
  }
}

TEST(DumpFormat, EveryCutIsNoticed) {
  const std::vector<std::byte> bytes = example();
  for (std::size_t length = 0; length < bytes.size(); length += length < 800 ? kStep : 97) {
    const auto items = items_of(base::Bytes(bytes).first(length));
    ASSERT_FALSE(items) << length;
    ASSERT_EQ(items.error().code(), Errc::corrupt);
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(items_of(longer));
}

TEST(DumpFormat, AFrameVerifiesInItsPlaceOnly) {
  std::vector<std::byte> bytes = example();
  // The first frame once more behind itself; and the second in the place of the first.
  const base::Bytes first = base::Bytes(bytes).subspan(kDumpHeaderBytes, 24 + kDumpFrameBytes);
  std::vector<std::byte> twice(bytes.begin(), bytes.begin() + kDumpHeaderBytes);
  twice.insert(twice.end(), first.begin(), first.end());
  twice.insert(twice.end(), bytes.begin() + kDumpHeaderBytes, bytes.end());
  ASSERT_FALSE(items_of(twice));
  EXPECT_EQ(items_of(twice).error().context(), "dump, byte 104: checksum");
  std::vector<std::byte> without(bytes.begin(), bytes.begin() + kDumpHeaderBytes);
  without.insert(without.end(), bytes.begin() + kDumpHeaderBytes + 24 + kDumpFrameBytes,
                 bytes.end());
  ASSERT_FALSE(items_of(without));
  EXPECT_EQ(items_of(without).error().context(), "dump, byte 64: checksum");
}

TEST(DumpFormat, ANewerVersionIsSaidToBeOne) {
  std::vector<std::byte> bytes = example();
  base::store(bytes, 8, std::uint32_t{2});
  base::store(bytes, 56, base::checksum64(base::Bytes(bytes).first(56), 0x64756D7020312E30));
  const auto items = items_of(bytes);
  ASSERT_FALSE(items);
  EXPECT_EQ(items.error().code(), Errc::version_unsupported);
}

/// A stream with frames of the given kinds and payloads, their checksums right.
class Forged {
 public:
  Forged() {
    MemorySink sink;
    DumpWriter writer(sink);
    EXPECT_TRUE(writer.begin(kHeader));
    EXPECT_TRUE(writer.end());
    bytes_.assign(sink.bytes.begin(), sink.bytes.begin() + kDumpHeaderBytes);
  }
  Forged& frame(std::uint32_t kind, const std::vector<std::uint64_t>& words, std::size_t zeros = 0,
                std::uint8_t fill = 0) {
    std::vector<std::byte> frame(8 + 8 * words.size() + zeros, std::byte{fill});
    base::store(frame, 0, kind);
    base::store(frame, 4, static_cast<std::uint32_t>(frame.size() - 8));
    for (std::size_t i = 0; i < words.size(); ++i) base::store(frame, 8 + 8 * i, words[i]);
    chain_ = base::checksum64(frame, chain_);
    bytes_.insert(bytes_.end(), frame.begin(), frame.end());
    bytes_.resize(bytes_.size() + 8);
    base::store(bytes_, bytes_.size() - 8, chain_);
    return *this;
  }
  Forged& object(std::uint64_t low, std::uint64_t log2 = 9) { return frame(1, {0, low, log2}); }
  Forged& pages(std::uint64_t first, std::uint64_t count, std::size_t bytes) {
    return frame(2, {first | count << 32}, bytes, 1);
  }
  Forged& end(std::uint64_t objects, std::uint64_t pages, std::uint64_t names) {
    return frame(4, {objects, pages, names});
  }
  [[nodiscard]] std::string error() const {
    const auto items = items_of(bytes_);
    return items ? "" : std::string(items.error().context());
  }

 private:
  std::vector<std::byte> bytes_;
  std::uint64_t chain_ = 0x64756D7020312E31;
};

TEST(DumpFormat, RefusesWhatNoWriterWrites) {
  const auto says = [](const Forged& stream, std::string_view what) {
    EXPECT_NE(stream.error().find(what), std::string::npos)
        << "'" << stream.error() << "' instead of '" << what << "'";
  };
  EXPECT_EQ(Forged().end(0, 0, 0).error(), "");
  EXPECT_EQ(Forged().object(1).pages(0, 1, 512).end(1, 1, 0).error(), "");
  says(Forged().object(2).object(2), "objects out of order");
  says(Forged().object(2).object(1), "objects out of order");
  says(Forged().object(0), "objects out of order");
  says(Forged().object(1, 8), "an object that cannot be");
  says(Forged().object(1, 31), "an object that cannot be");
  says(Forged().object(1, 9 | 1u << 8), "an object that cannot be");
  says(Forged().frame(1, {0, 1}), "an object that cannot be");
  says(Forged().pages(0, 1, 512), "pages of no object");
  says(Forged().object(1).pages(0, 0, 0), "another length");
  says(Forged().object(1).pages(0, 1, 511), "another length");
  says(Forged().object(1).pages(0, 1, 4096), "another length");
  says(Forged().object(1).frame(2, {}), "another length");
  says(Forged().object(1).pages(1, 1, 512), "beyond the object");
  says(Forged().object(1, 13).pages(1, 2, 8192), "beyond the object");
  says(Forged().object(1, 13).pages(~0u, 1, 4096), "beyond the object");
  says(Forged().object(1, 13).pages(1, 1, 4096).pages(0, 1, 4096), "out of order");
  says(Forged().object(1, 13).pages(0, 1, 4096).pages(0, 1, 4096), "out of order");
  says(Forged().object(1).frame(2, {std::uint64_t{1} << 32}, 512), "a page of zeros");
  says(Forged().frame(3, {0}), "a name that is too short");
  says(Forged().frame(3, {0, 1}, 2, 'b').frame(3, {0, 1}, 1, 'b'), "names out of order");
  says(Forged().frame(3, {0, 1}, 2, 'b').frame(3, {0, 1}, 2, 'b'), "names out of order");
  says(Forged().frame(3, {0, 1}).object(2), "an object behind the names");
  says(Forged().object(1).frame(3, {0, 1}).pages(0, 1, 512), "pages of no object");
  says(Forged().end(1, 0, 0), "the counts of the last frame");
  says(Forged().end(0, 0, 0).end(0, 0, 0), "bytes follow the last frame");
  says(Forged().frame(5, {}), "a frame of unknown kind");
  says(Forged().frame(0, {}), "a frame of unknown kind");
  says(Forged().frame(3, {}, kDumpPayloadMax + 1), "a frame's length");
}

TEST(DumpFormat, TheLongestNameFits) {
  MemorySink sink;
  DumpWriter writer(sink);
  const std::string name(kDumpNameMax, 'n');
  ASSERT_TRUE(writer.begin(kHeader));
  ASSERT_TRUE(writer.object(kSmall));
  ASSERT_TRUE(writer.name(name, kSmall.object));
  ASSERT_TRUE(writer.end());
  const auto items = items_of(sink.bytes);
  ASSERT_TRUE(items) << items.error().message();
  EXPECT_EQ((*items)[2], "name " + name + " " + kSmall.object.to_string());
}

}  // namespace
}  // namespace dolmen::store
