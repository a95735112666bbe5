// SPDX-License-Identifier: Apache-2.0
//
// The memory that a member keeps for its leaders: made before it is asked for, zero when it is
// given.
#include <algorithm>

#include <gtest/gtest.h>

#include "fabric/shm.hpp"
#include "replication/shared_lanes.hpp"
#include "sys/linux/linux.hpp"
#include "sys/linux/shared_scratch.hpp"

namespace dolmen::replication {
namespace {

constexpr std::size_t kBytes = 1u << 16;
constexpr auto kSelf = static_cast<fabric::NodeId>(1);
constexpr auto kOther = static_cast<fabric::NodeId>(2);

class SharedLanesRoom : public testing::Test {
 protected:
  void SetUp() override {
    fabric::ShmOptions options;
    options.self = {kSelf, 1};
    auto opened = fabric::open_shm(sys::linux_env(), scratch_.open(), options);
    ASSERT_TRUE(opened) << opened.error().message();
    endpoint_ = std::move(*opened);
    auto made = SharedLanes::make(*endpoint_, next_region_, {1, 2}, replica_of(kSelf, 1));
    ASSERT_TRUE(made) << made.error().message();
    lanes_ = std::move(*made);
    lanes_->raise(1);
  }
  /// A lane for the leader of epoch 1, which wrote all of it.
  base::MutableBytes written(std::uint32_t number) {
    const base::MutableBytes lane =
        lanes_->make_lane(replica_of(kOther, 1), {.epoch = 1, .number = number}, kBytes);
    EXPECT_EQ(lane.size(), kBytes);
    EXPECT_TRUE(std::ranges::all_of(lane, [](std::byte b) { return b == std::byte{0}; }));
    std::ranges::fill(lane, std::byte{7});
    return lane;
  }

  sys::test::SharedScratch scratch_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  std::uint32_t next_region_ = 1;
  std::unique_ptr<SharedLanes> lanes_;
};

TEST_F(SharedLanesRoom, ALaneIsMadeBeforeItIsAskedFor) {
  EXPECT_FALSE(lanes_->is_prepared(kBytes));
  lanes_->prepare(kBytes);
  EXPECT_TRUE(lanes_->is_prepared(kBytes));
  EXPECT_FALSE(lanes_->is_prepared(2 * kBytes));
  const std::uint32_t regions = next_region_;
  lanes_->prepare(kBytes);
  written(1);
  EXPECT_EQ(next_region_, regions) << "the one that was there";
  EXPECT_FALSE(lanes_->is_prepared(kBytes));
  written(2);
  EXPECT_EQ(next_region_, regions + 1) << "without one it is made when it is asked for";
}

TEST_F(SharedLanesRoom, WhatWasWrittenIsZeroAgainBeforeItCountsAsThere) {
  lanes_->prepare(kBytes);
  const base::MutableBytes lane = written(1);
  lanes_->drop_lane({.epoch = 1, .number = 1});
  EXPECT_FALSE(lanes_->is_prepared(kBytes)) << "there, but not clean";
  lanes_->prepare(kBytes);
  EXPECT_TRUE(lanes_->is_prepared(kBytes));
  EXPECT_EQ(written(2).data(), lane.data());
}

// A leader that is not known to have let go of a lane may write into it.
TEST_F(SharedLanesRoom, ALaneThatMayStillBeWrittenIsNotPrepared) {
  lanes_->prepare(kBytes);
  const base::MutableBytes lane = written(1);
  lanes_->raise(2);
  lanes_->drop_lane({.epoch = 1, .number = 1});
  lanes_->prepare(kBytes);
  EXPECT_TRUE(std::ranges::all_of(lane, [](std::byte b) { return b == std::byte{7}; }));
  lanes_->let_go(replica_of(kOther, 1), 2);
  const std::uint32_t regions = next_region_;
  const base::MutableBytes other =
      lanes_->make_lane(replica_of(kOther, 1), {.epoch = 2, .number = 1}, kBytes);
  EXPECT_NE(other.data(), lane.data()) << "first what is clean already";
  EXPECT_EQ(next_region_, regions);
}

}  // namespace
}  // namespace dolmen::replication
