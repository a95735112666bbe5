// SPDX-License-Identifier: Apache-2.0
#include "store/log_format.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "store/golden_file.hpp"
#include "store/root.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kSpace{0x0102030405060708, 0x1112131415161718};
constexpr SegmentRef kSegment{.file = 17, .incarnation = 5, .first_index = 900};

std::vector<std::byte> record(std::string_view payload, const RecordHeader& header,
                              const SegmentRef& segment = kSegment) {
  std::vector<std::byte> bytes(record_bytes(payload.size()));
  RecordHeader whole = header;
  whole.payload_bytes = static_cast<std::uint32_t>(payload.size());
  encode_record_header(whole, payload_checksum(base::as_bytes(payload)),
                       record_seed(kSpace, segment), bytes.data());
  std::ranges::copy(base::as_bytes(payload), bytes.begin() + kRecordHeaderBytes);
  return bytes;
}

bool verifies(base::Bytes bytes, Index index, const SegmentRef& segment = kSegment) {
  const auto header = plausible_record(bytes, index, bytes.size());
  return header && header->index == index &&
         verify_record(bytes, *header, record_seed(kSpace, segment));
}

TEST(LogFormat, ARecordVerifiesOnlyAsWhatItIs) {
  const auto bytes = record("twelve bytes", {.index = 901, .durable_index = 900});
  EXPECT_TRUE(verifies(bytes, 901));
  EXPECT_FALSE(verifies(bytes, 902)) << "another index";
  SegmentRef later = kSegment;
  later.incarnation = 6;
  EXPECT_FALSE(verifies(bytes, 901, later)) << "another life of the segment";
  EXPECT_NE(record_seed(kSpace, kSegment), record_seed({1, 2}, kSegment));
  const std::size_t covered = kRecordHeaderBytes + std::string_view("twelve bytes").size();
  for (std::size_t at = 0; at < covered; ++at) {
    auto damaged = bytes;
    damaged[at] ^= std::byte{1};
    EXPECT_FALSE(verifies(damaged, 901)) << at;
  }
}

TEST(LogFormat, AnImplausibleHeaderIsRefusedBeforeItsPayloadIsRead) {
  const auto bytes = record("abc", {.index = 10, .durable_index = 9});
  EXPECT_TRUE(plausible_record(bytes, 10, bytes.size()));
  EXPECT_FALSE(plausible_record(bytes, 11, bytes.size())) << "index too low";
  EXPECT_FALSE(plausible_record(bytes, 10, bytes.size() - 1)) << "does not fit";
  EXPECT_FALSE(plausible_record(record("abc", {.index = 10, .durable_index = 10}), 1, 100));
  EXPECT_FALSE(plausible_record(std::vector<std::byte>(kRecordHeaderBytes), 0, 100)) << "zeros";
  auto kind = bytes;
  kind[4] = std::byte{4};
  EXPECT_FALSE(plausible_record(kind, 10, bytes.size()));
}

TEST(LogFormat, ASegmentHeaderSaysWhichFileOfWhichSpaceInWhichLife) {
  std::vector<std::byte> header(kSegmentHeaderBytes);
  encode_segment_header(kSpace, kSegment, 64u << 10, header);
  EXPECT_TRUE(verify_segment_header(header, kSpace, kSegment, 64u << 10));
  EXPECT_FALSE(verify_segment_header(header, {1, 2}, kSegment, 64u << 10));
  EXPECT_FALSE(verify_segment_header(header, kSpace, kSegment, 128u << 10));
  SegmentRef other = kSegment;
  other.first_index = 901;
  EXPECT_FALSE(verify_segment_header(header, kSpace, other, 64u << 10));
  for (std::size_t at = 0; at < header.size(); at += 7) {
    auto damaged = header;
    damaged[at] ^= std::byte{0x80};
    EXPECT_FALSE(verify_segment_header(damaged, kSpace, kSegment, 64u << 10)) << at;
  }
}

TEST(LogFormat, SegmentNamesAreReadBack) {
  EXPECT_EQ(segment_name(17), "log/000017");
  EXPECT_EQ(segment_name(12345678), "log/12345678");
  for (const std::uint32_t file : {0u, 17u, 999'999u, 1'000'000u, kSegmentFileMax}) {
    EXPECT_EQ(parse_segment_name(segment_name(file)), file);
  }
  for (const char* name :
       {"log/new", "log/17", "pages", "log/0000017x", "log/4294967295", "log/"}) {
    EXPECT_EQ(parse_segment_name(name), std::nullopt) << name;
  }
}

// The bytes of format version 1, for ever. docs/formats/log.md explains these files.
TEST(LogFormat, MatchesTheGoldenFiles) {
  std::vector<std::byte> header(kSegmentHeaderBytes);
  encode_segment_header(kSpace, kSegment, 16u << 20, header);
  EXPECT_EQ(read_golden("log_segment_header_v1.bin"), header);
  const auto bytes = record("twelve bytes", {.index = 901, .durable_index = 900});
  EXPECT_EQ(read_golden("log_record_v1.bin"), bytes);
  EXPECT_TRUE(verifies(read_golden("log_record_v1.bin"), 901));
}

}  // namespace
}  // namespace dolmen::store
