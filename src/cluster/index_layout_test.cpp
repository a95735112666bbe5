// SPDX-License-Identifier: Apache-2.0
#include "cluster/index_layout.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "cluster/index_fixture.hpp"
#include "cluster/index_golden.hpp"

namespace dolmen::cluster {
namespace {

std::vector<std::byte> golden(const std::string& name) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / name;
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  const std::vector<char> all(std::istreambuf_iterator<char>(file), {});
  const auto bytes = std::as_bytes(std::span(all));
  return {bytes.begin(), bytes.end()};
}

class IndexLayout : public testing::Test {
 protected:
  const IndexGeometry geometry_{.table = {1, 2},
                                .seed = 3,
                                .heap_bytes = 4096,
                                .bucket_count = 100,
                                .depth_max = 9,
                                .kind = IndexKind::records};
  const Bucket live_{.sequence = 6,
                     .epoch = 4,
                     .prefix = 5,
                     .link = 9,
                     .depth = 3,
                     .state = BucketState::live,
                     .count = 2,
                     .second = 2,
                     .slots = {{{{10, 11}, 12, 13}, {{20, 21}, 22, 23}}}};
};

TEST_F(IndexLayout, AGeometryComesBackAsItWas) {
  std::vector<std::byte> front(kGeometryBytes);
  encode_geometry(front, geometry_);
  const auto found = decode_geometry(front, geometry_.region_bytes());
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, geometry_);
  EXPECT_FALSE(decode_geometry(front, geometry_.region_bytes() - 1));
  EXPECT_FALSE(decode_geometry(base::Bytes(front).first(kGeometryBytes - 1), 1u << 20));
  for (std::size_t at = 0; at < front.size(); ++at) {
    front[at] ^= std::byte{1};
    EXPECT_FALSE(decode_geometry(front, 1u << 20)) << at;
    front[at] ^= std::byte{1};
  }
  base::store(front, 4, kIndexVersion + 1);
  base::store(front, 56, base::checksum64(base::Bytes(front).first(56), kIndexMagic));
  EXPECT_EQ(decode_geometry(front, 1u << 20).error().code(), Errc::version_unsupported);
}

TEST_F(IndexLayout, PlacesDoNotOverlap) {
  EXPECT_EQ(IndexGeometry::directory_word_at(0, 0xFFFFFFFF), kDirectoryAt + 4);
  EXPECT_EQ(IndexGeometry::directory_word_at(3, 0), kDirectoryAt + 32);
  EXPECT_EQ(IndexGeometry::directory_word_at(9, 0xFFFFFFFF) + 4, kDirectoryAt + 4096);
  EXPECT_EQ(geometry_.buckets_at(), kDirectoryAt + 4096);
  EXPECT_EQ(geometry_.bucket_at(100) + kBucketBytes, geometry_.heap_at());
}

TEST_F(IndexLayout, ABucketComesBackAsItWas) {
  EXPECT_EQ(decode_bucket(encode_bucket(live_, 7, geometry_), 7, geometry_), live_);
  const Bucket forward{.sequence = 8,
                       .epoch = 4,
                       .prefix = 1,
                       .link = 3,
                       .depth = 2,
                       .state = BucketState::forward,
                       .retired_at = 77,
                       .next = 12};
  EXPECT_EQ(decode_bucket(encode_bucket(forward, 7, geometry_), 7, geometry_), forward);
  const Bucket free{.sequence = 2, .state = BucketState::free, .next = 5};
  EXPECT_EQ(decode_bucket(encode_bucket(free, 7, geometry_), 7, geometry_), free);
}

TEST_F(IndexLayout, AnyOtherBytesAreNoBucket) {
  BucketImage image = encode_bucket(live_, 7, geometry_);
  EXPECT_FALSE(decode_bucket(image, 8, geometry_)) << "another place";
  IndexGeometry other = geometry_;
  ++other.table.low;
  EXPECT_FALSE(decode_bucket(image, 7, other)) << "another table";
  EXPECT_FALSE(decode_bucket(base::Bytes(image).first(kBucketBytes - 8), 7, geometry_));
  EXPECT_FALSE(decode_bucket(BucketImage{}, 7, geometry_));
  for (std::size_t at = 0; at < image.size(); ++at) {
    image[at] ^= std::byte{8};
    EXPECT_FALSE(decode_bucket(image, 7, geometry_)) << at;
    image[at] ^= std::byte{8};
  }
}

// Any mixture of two states, in cache lines.
TEST_F(IndexLayout, ATornBucketIsNone) {
  const BucketImage before = encode_bucket(live_, 7, geometry_);
  Bucket later = live_;
  later.sequence += 2;
  for (IndexSlot& slot : later.slots) slot = {{31, 32}, 33, 34};
  later.count = kSlotsOfBucket;
  const BucketImage after = encode_bucket(later, 7, geometry_);
  for (unsigned lines = 1; lines < 15; ++lines) {
    BucketImage torn = before;
    for (std::size_t line = 0; line < 4; ++line) {
      if ((lines >> line & 1) == 0) continue;
      std::copy_n(after.begin() + static_cast<std::ptrdiff_t>(line * 64), 64,
                  torn.begin() + static_cast<std::ptrdiff_t>(line * 64));
    }
    EXPECT_FALSE(decode_bucket(torn, 7, geometry_)) << lines;
  }
}

TEST_F(IndexLayout, ABucketSaysForWhomItSpeaks) {
  const auto verdict = [&](const Bucket& bucket, std::uint32_t position, std::uint32_t epoch = 4) {
    return judge_bucket(encode_bucket(bucket, 7, geometry_), 7, position, epoch, geometry_).verdict;
  };
  EXPECT_EQ(verdict(live_, 0b101u << 29), BucketVerdict::speaks);
  EXPECT_EQ(verdict(live_, 0b101u << 29 | 0x1FFFFFFF), BucketVerdict::speaks);
  EXPECT_EQ(verdict(live_, 0b100u << 29), BucketVerdict::sibling);
  EXPECT_EQ(verdict(live_, 0b111u << 29), BucketVerdict::elsewhere);
  EXPECT_EQ(verdict(live_, 0b101u << 29, 5), BucketVerdict::wrong_epoch);
  Bucket alone = live_;
  alone.link = kNoBucket;
  EXPECT_EQ(verdict(alone, 0b100u << 29), BucketVerdict::elsewhere);
  EXPECT_EQ(verdict({.epoch = 4, .link = 3, .state = BucketState::forward}, 0),
            BucketVerdict::forward);
  EXPECT_EQ(verdict({.epoch = 4, .state = BucketState::free}, 0), BucketVerdict::elsewhere);
  EXPECT_EQ(judge_bucket(BucketImage{}, 7, 0, 4, geometry_).verdict, BucketVerdict::torn);
}

TEST_F(IndexLayout, SlotsComeBackAsTheyWere) {
  const Home home{.location = ~std::uint64_t{0}, .node = 1, .generation = 2, .length_class = 3};
  EXPECT_EQ(Home::of(home.slot_of({1, 2})), home);
  IndexSlot slot = home.slot_of({1, 2});
  slot.tail |= std::uint64_t{1} << 48;
  EXPECT_FALSE(Home::of(slot));
  const RecordPlace place{.granule = 5, .bytes = 48, .generation = 9};
  EXPECT_EQ(RecordPlace::of(place.slot_of({1, 2}), geometry_), place);
  const RecordPlace beyond{.granule = 254, .bytes = 48, .generation = 9};
  EXPECT_FALSE(RecordPlace::of(beyond.slot_of({1, 2}), geometry_));
}

TEST_F(IndexLayout, ARecordIsWhatWasPutThere) {
  const RecordPlace place{.granule = 5, .bytes = 40, .generation = 9};
  auto bytes = encode_record(base::as_bytes("key"), base::as_bytes("a value"), place, geometry_);
  const auto found = decode_record(bytes, place, geometry_);
  ASSERT_TRUE(found);
  EXPECT_TRUE(std::ranges::equal(found->key, base::as_bytes("key")));
  EXPECT_TRUE(std::ranges::equal(found->value, base::as_bytes("a value")));
  EXPECT_FALSE(decode_record(bytes, {.granule = 6, .bytes = 40, .generation = 9}, geometry_));
  EXPECT_FALSE(decode_record(bytes, {.granule = 5, .bytes = 40, .generation = 8}, geometry_));
  for (std::byte& b : bytes) {
    b ^= std::byte{16};
    EXPECT_FALSE(decode_record(bytes, place, geometry_));
    b ^= std::byte{16};
  }
}

TEST_F(IndexLayout, BlocksHaveRoomAndWasteLittle) {
  for (std::size_t bytes = 1; bytes <= kBlockBytesMax; bytes += 1 + bytes / 50) {
    const auto block_class = block_class_for(bytes);
    ASSERT_TRUE(block_class) << bytes;
    EXPECT_GE(block_bytes(*block_class), bytes);
    if (*block_class != 0) {
      EXPECT_LT(block_bytes(*block_class - 1), bytes);
      EXPECT_LE(block_bytes(*block_class), bytes + bytes / 4);
    }
    EXPECT_EQ(block_bytes(*block_class) % kHeapGranuleBytes, 0u);
  }
  EXPECT_FALSE(block_class_for(kBlockBytesMax + 1));
}

TEST_F(IndexLayout, CommandsComeBackAsTheyWere) {
  for (const IndexKind kind : {IndexKind::homes, IndexKind::records}) {
    for (const IndexCommand& command : golden_commands(kind)) {
      const auto bytes = encode_index_command(command, kind);
      const auto found = decode_index_command(bytes, kind);
      ASSERT_TRUE(found);
      EXPECT_EQ(*found, command);
      const bool is_put_record =
          kind == IndexKind::records && command.kind == IndexCommand::Kind::put;
      if (is_put_record) continue;  // its value is what follows
      EXPECT_FALSE(decode_index_command(base::Bytes(bytes).first(bytes.size() - 1), kind));
      auto longer = bytes;
      longer.push_back(std::byte{0});
      EXPECT_FALSE(decode_index_command(longer, kind));
    }
  }
  const std::byte unknown{5};
  EXPECT_FALSE(decode_index_command({&unknown, 1}, IndexKind::homes));
  EXPECT_FALSE(decode_index_command({}, IndexKind::homes));
}

// Commands and the table that they make, as they were when the format was given its number.
TEST_F(IndexLayout, IsTheGoldenFiles) {
  for (const IndexKind kind : {IndexKind::homes, IndexKind::records}) {
    const std::string name = kind == IndexKind::homes ? "homes" : "records";
    EXPECT_EQ(golden_log(kind), golden("index_commands_" + name + "_v1.bin"));
    const auto snapshot = golden("index_snapshot_" + name + "_v1.bin");
    Table made(golden_sizes(kind));
    for (const IndexCommand& command : golden_commands(kind)) made.apply(command);
    EXPECT_EQ(made.index().snapshot(), snapshot);
    Table restored(golden_sizes(kind));
    ASSERT_TRUE(restored.index().restore(snapshot));
    EXPECT_EQ(restored.find(4), 400u);
    EXPECT_FALSE(restored.find(3));
  }
}

}  // namespace
}  // namespace dolmen::cluster
