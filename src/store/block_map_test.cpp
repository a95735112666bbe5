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

TEST(BlockMap, ListsIdleFramesLongestRunFirstUntilTheyAreGivenBack) {
  BlockMap map(100 * kFrame);
  for (const std::uint64_t frame : {0, 2, 30, 50}) {
    ASSERT_TRUE(map.mark(BlockLoc(frame * kFrameUnits, 0, 0)));
  }
  std::vector<BlockRun> idle = map.idle_frames();
  ASSERT_EQ(idle.size(), 4u);
  EXPECT_EQ(idle[0].first, 51u);
  EXPECT_EQ(idle[0].count, 49u);
  EXPECT_EQ(map.cut_tail(), 51 * kFrame);
  EXPECT_FALSE(map.cut_tail());
  idle = map.idle_frames();
  ASSERT_EQ(idle.size(), 3u);
  EXPECT_EQ(idle[0].first, 3u);
  EXPECT_EQ(idle[0].count, 27u);
  EXPECT_EQ(idle[1].first, 31u);
  EXPECT_EQ(idle[2].first, 1u);
  map.given_back(idle[0]);
  ASSERT_EQ(map.idle_frames().size(), 2u);
  // What is allocated occupies disk again, and is idle once it is free.
  EXPECT_EQ(map.allocate(3), 8u);
  EXPECT_EQ(map.allocate(3), 24u);
  map.release({24, 8});
  idle = map.idle_frames();
  ASSERT_EQ(idle.size(), 2u);
  EXPECT_EQ(idle[1].first, 3u);
  EXPECT_EQ(idle[1].count, 1u);
}

TEST(BlockMap, AnUnusedFileIsCutToNothing) {
  BlockMap map(5 * kFrame);
  EXPECT_EQ(map.cut_tail(), 0u);
  EXPECT_TRUE(map.idle_frames().empty());
}

}  // namespace
}  // namespace dolmen::store
