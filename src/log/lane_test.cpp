// SPDX-License-Identifier: Apache-2.0
#include "log/lane.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"

namespace dolmen::log {
namespace {

std::vector<std::byte> payload(std::string_view text) {
  const base::Bytes bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

constexpr Epoch kEpoch = 9;
constexpr LaneHeader kHeader{
    .owner = ReplicaId{3}, .writer = ReplicaId{1}, .name = {kEpoch, 2}, .bytes = 256};

class Lane : public testing::Test {
 protected:
  Lane() {
    encode_lane_header(lane(), kHeader);
    for (const Entry& entry : entries_) {
      encode_lane_entry(lane().subspan(end_), entry, entry.index - 1, kEpoch);
      end_ += lane_entry_bytes(entry.payload.size());
    }
  }
  base::MutableBytes lane() { return std::as_writable_bytes(std::span(words_)); }
  auto entry_at(std::size_t offset, Index index = 0) {
    return decode_lane_entry(lane(), offset, kEpoch, index);
  }
  /// The first entry with a field changed and a checksum that fits.
  bool is_refused(std::size_t offset, std::uint64_t value, std::size_t bytes) {
    const std::vector<std::uint64_t> before = words_;
    for (std::size_t i = 0; i < bytes; ++i) {
      lane()[kLaneHeaderBytes + offset + i] = static_cast<std::byte>(value >> (8 * i));
    }
    const std::size_t size = lane_entry_bytes(entries_[0].payload.size());
    const base::Bytes body = lane().subspan(kLaneHeaderBytes + 8, size - 8);
    base::store(lane(), kLaneHeaderBytes,
                base::checksum64(body, base::mix_seed(kLaneMagic, kEpoch)));
    const bool is_found = entry_at(kLaneHeaderBytes).has_value();
    words_ = before;
    return !is_found;
  }

  const std::vector<Entry> entries_{{.origin = 8, .index = 42, .payload = payload("lock the door")},
                                    {.origin = 9, .index = 43, .kind = EntryKind::opening},
                                    {.origin = 9, .index = 44, .payload = payload("12345678")}};
  std::vector<std::uint64_t> words_ = std::vector<std::uint64_t>(kHeader.bytes / 8);
  std::size_t end_ = kLaneHeaderBytes;
};

TEST_F(Lane, ComesBackAsItWas) {
  EXPECT_EQ(decode_lane_header(lane()).value(), kHeader);
  std::size_t offset = kLaneHeaderBytes;
  for (const Entry& entry : entries_) {
    const auto found = entry_at(offset, entry.index);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->entry, entry);
    EXPECT_EQ(found->stable, entry.index - 1);
    offset += found->bytes;
  }
  EXPECT_EQ(offset, end_);
  EXPECT_FALSE(entry_at(offset));
}

TEST_F(Lane, IsTheGoldenFile) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "lane_v1.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), lane()));
}

TEST_F(Lane, AnEntryIsOfOneEpochAndOneIndex) {
  EXPECT_FALSE(decode_lane_entry(lane(), kLaneHeaderBytes, kEpoch + 1, 0));
  EXPECT_FALSE(entry_at(kLaneHeaderBytes, 43));
  EXPECT_FALSE(entry_at(kLaneHeaderBytes + 8));
  EXPECT_FALSE(entry_at(lane().size()));
  EXPECT_FALSE(entry_at(lane().size() + 8));
}

TEST_F(Lane, NothingIsThereUntilAllOfItIs) {
  const std::size_t size = lane_entry_bytes(entries_[0].payload.size());
  std::vector<std::uint64_t> whole = words_;
  // Whichever word is missing, and whichever bit is wrong.
  for (std::size_t word = kLaneHeaderBytes / 8; word < (kLaneHeaderBytes + size) / 8; ++word) {
    words_[word] = 0;
    EXPECT_EQ(entry_at(kLaneHeaderBytes).has_value(), whole[word] == 0) << word;
    for (unsigned bit = 0; bit < 64; ++bit) {
      words_[word] = whole[word] ^ (std::uint64_t{1} << bit);
      EXPECT_FALSE(entry_at(kLaneHeaderBytes)) << word << " " << bit;
    }
    words_ = whole;
  }
}

TEST_F(Lane, AHeaderWithAnyBitFlippedIsRefused) {
  for (std::size_t bit = 0; bit < kLaneHeaderBytes * 8; ++bit) {
    lane()[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(decode_lane_header(lane())) << bit;
    lane()[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  EXPECT_FALSE(decode_lane_header(lane().first(kLaneHeaderBytes - 8)));
  EXPECT_FALSE(decode_lane_header(lane().first(kHeader.bytes - 8)));
}

TEST_F(Lane, AnImpossibleHeaderIsRefusedThoughItsChecksumFits) {
  const auto error_of = [&](const LaneHeader& header) {
    encode_lane_header(lane(), header);
    const auto result = decode_lane_header(lane());
    return result ? Errc{} : result.error().code();
  };
  const auto with = [&](auto change) {
    LaneHeader header = kHeader;
    change(header);
    return error_of(header);
  };
  EXPECT_EQ(with([](LaneHeader&) {}), Errc{});
  EXPECT_EQ(with([](LaneHeader& header) { header.owner = kNobody; }), Errc::corrupt);
  EXPECT_EQ(with([](LaneHeader& header) { header.writer = kNobody; }), Errc::corrupt);
  EXPECT_EQ(with([](LaneHeader& header) { header.name.number = 0; }), Errc::corrupt);
  EXPECT_EQ(with([](LaneHeader& header) { header.name.epoch = 0; }), Errc::corrupt);
  EXPECT_EQ(with([](LaneHeader& header) { header.name.epoch = kEpochMax + 1; }), Errc::corrupt);
  EXPECT_EQ(with([](LaneHeader& header) { header.bytes = 56; }), Errc::corrupt);
  EXPECT_EQ(with([](LaneHeader& header) { header.bytes = 250; }), Errc::corrupt);
  EXPECT_EQ(with([](LaneHeader& header) { header.bytes = 264; }), Errc::corrupt);
  encode_lane_header(lane(), kHeader);
  base::store(lane(), 4, kLaneVersion + 1);
  base::store(lane(), 48, base::checksum64(lane().first(48), kLaneMagic));
  EXPECT_EQ(decode_lane_header(lane()).error().code(), Errc::version_unsupported);
}

TEST_F(Lane, AnImpossibleEntryIsRefusedThoughItsChecksumFits) {
  EXPECT_FALSE(is_refused(8, 7, 8)) << "another index is one";
  EXPECT_TRUE(is_refused(8, 0, 8)) << "no index";
  EXPECT_TRUE(is_refused(8, kIndexMax + 1, 8)) << "an index that has no next";
  EXPECT_TRUE(is_refused(16, 0, 8)) << "no origin";
  EXPECT_TRUE(is_refused(16, kEpoch + 1, 8)) << "an origin of a later epoch";
  EXPECT_TRUE(is_refused(32, 1000, 4)) << "an entry longer than the lane";
  EXPECT_TRUE(is_refused(32, 0xFFFFFFFF, 4)) << "one longer than any";
  EXPECT_TRUE(is_refused(32, 12, 4)) << "a padding that is not zero";
  EXPECT_TRUE(is_refused(36, 0, 1)) << "no kind";
  EXPECT_TRUE(is_refused(36, 5, 1)) << "an unknown kind";
  EXPECT_TRUE(is_refused(36, 4, 1)) << "a settlement with a payload";
  EXPECT_TRUE(is_refused(36, 3, 1)) << "a configuration that is none";
  EXPECT_TRUE(is_refused(37, 1, 1)) << "a spare byte";
}

}  // namespace
}  // namespace dolmen::log
