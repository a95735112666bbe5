// SPDX-License-Identifier: Apache-2.0
#include "store/block_map.hpp"

#include <set>

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace dolmen::store {
namespace {

constexpr std::uint64_t kFrame = kFrameUnits * kUnitBytes;

TEST(BlockMap, BlocksAreAlignedAndNeverOverlap) {
  base::Random random(1);
  BlockMap map(0);
  std::set<std::uint64_t> used;
  std::vector<BlockLoc> blocks;
  for (int round = 0; round < 40; ++round) {
    map.rewind();
    for (int i = 0; i < 200; ++i) {
      const auto size = static_cast<unsigned>(random.below(4));
      const BlockLoc loc(map.allocate(size), size, 0);
      ASSERT_TRUE(loc.well_formed());
      for (std::uint64_t u = 0; u < loc.units(); ++u)
        ASSERT_TRUE(used.insert(loc.unit() + u).second);
      blocks.push_back(loc);
    }
    for (int i = 0; i < 150; ++i) {
      const std::size_t at = random.below(blocks.size());
      map.release({blocks[at].unit(), blocks[at].units()});
      for (std::uint64_t u = 0; u < blocks[at].units(); ++u) used.erase(blocks[at].unit() + u);
      blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(at));
    }
    ASSERT_EQ(map.used_units(), used.size());
  }
  // First fit: freed places were found again.
  EXPECT_LT(map.frame_count() * kFrameUnits, used.size() * 3 / 2);
}

TEST(BlockMap, MarksKnownBlocksOnceAndOnlyInsideTheFile) {
  BlockMap map(3 * kFrame - 512);
  EXPECT_TRUE(map.mark(BlockLoc(8, 3, 0)));
  EXPECT_FALSE(map.mark(BlockLoc(8, 3, 0)));
  EXPECT_FALSE(map.mark(BlockLoc(9, 0, 0)));
  EXPECT_FALSE(map.mark(BlockLoc(24, 0, 0)));
  EXPECT_FALSE(map.mark(BlockLoc((std::uint64_t{1} << 40) - 8, 3, 0)));
  EXPECT_EQ(map.allocate(3), 0u);
  EXPECT_EQ(map.allocate(3), 16u);
  EXPECT_EQ(map.allocate(3), 24u);
  EXPECT_EQ(map.used_units(), 32u);
}

TEST(BlockMap, SmallBlocksShareAFrame) {
  BlockMap map(0);
  EXPECT_EQ(map.allocate(0), 0u);
  EXPECT_EQ(map.allocate(1), 2u);
  EXPECT_EQ(map.allocate(2), 4u);
  EXPECT_EQ(map.allocate(0), 1u);
  EXPECT_EQ(map.allocate(3), 8u);
  EXPECT_EQ(map.frame_count(), 2u);
}

TEST(BlockMap, TakesEveryFreeUnit) {
  BlockMap map(2 * kFrame);
  ASSERT_TRUE(map.mark(BlockLoc(4, 1, 0)));
  const std::vector<BlockRun> runs = map.take_free();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].first, 0u);
  EXPECT_EQ(runs[0].count, 4u);
  EXPECT_EQ(runs[1].first, 6u);
  EXPECT_EQ(runs[1].count, 10u);
  EXPECT_EQ(map.allocate(0), 16u);
  for (const BlockRun& run : runs) map.release(run);
  EXPECT_EQ(map.used_units(), 3u);
}

TEST(BlockMap, TrimCutsTheTailAndPunchesLongRunsFirst) {
  BlockMap map(100 * kFrame);
  const auto use = [&](std::uint64_t frame) {
    ASSERT_TRUE(map.mark(BlockLoc(frame * kFrameUnits, 0, 0)));
  };
  for (const std::uint64_t frame : {0, 2, 30, 50}) use(frame);
  // Free: 1 | 3–29 | 31–49 | 51–99.
  EXPECT_TRUE(map.trim(96).punch.empty());
  BlockMap::Trim trim = map.trim(25);
  EXPECT_TRUE(trim.cut);
  EXPECT_EQ(trim.file_bytes, 51 * kFrame);
  ASSERT_EQ(trim.punch.size(), 1u);
  EXPECT_EQ(trim.punch[0].first, 3u);
  EXPECT_EQ(trim.punch[0].count, 27u);
  // What was given back is not given back again; what is allocated occupies disk again.
  EXPECT_TRUE(map.trim(20).punch.empty());
  EXPECT_EQ(map.allocate(3), 8u);
  EXPECT_EQ(map.allocate(3), 24u);
  map.release({24, 8});
  trim = map.trim(0);
  EXPECT_FALSE(trim.cut);
  ASSERT_EQ(trim.punch.size(), 2u);
  EXPECT_EQ(trim.punch[0].first, 31u);
  EXPECT_EQ(trim.punch[1].first, 3u);
  EXPECT_EQ(trim.punch[1].count, 1u);
}

TEST(BlockMap, AnEmptyMapTrimsToNothing) {
  BlockMap map(5 * kFrame);
  const BlockMap::Trim trim = map.trim(0);
  EXPECT_TRUE(trim.cut);
  EXPECT_EQ(trim.file_bytes, 0u);
  EXPECT_TRUE(trim.punch.empty());
}

}  // namespace
}  // namespace dolmen::store
