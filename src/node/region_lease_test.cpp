// SPDX-License-Identifier: Apache-2.0
#include "node/region_lease.hpp"

#include <string_view>

#include <gtest/gtest.h>

#include "sim/sim_hooks.hpp"

namespace dolmen::node {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

TEST(RegionLease, CountsFromTheQuestionAndIsAskedForAgainWhenHalfIsGone) {
  RegionLease lease;
  EXPECT_FALSE(lease.ask(1)) << "of nobody";
  lease.begin(7);
  const auto ask = lease.ask(100 * kMs);
  ASSERT_TRUE(ask);
  EXPECT_EQ(ask->epoch, 7u);
  EXPECT_TRUE(lease.is_asking());
  EXPECT_FALSE(lease.ask(101 * kMs)) << "it was asked";
  lease.told(103 * kMs, {.number = ask->number, .left_ns = 40 * kMs, .drift_ppm = 1000});
  EXPECT_FALSE(lease.is_asking());
  EXPECT_EQ(lease.until_ns(), 140 * kMs - 80'000 - 1);
  EXPECT_FALSE(lease.ask(119 * kMs));
  const auto again = lease.ask(121 * kMs);
  ASSERT_TRUE(again);
  EXPECT_NE(again->number, ask->number);
  lease.told(122 * kMs, {.number = ask->number, .left_ns = 40 * kMs});
  EXPECT_TRUE(lease.is_asking()) << "the answer to another question";
  EXPECT_TRUE(lease.ask(127 * kMs)) << "as if it were lost";
}

TEST(RegionLease, NobodyAsksAllTheTimeWhereThereAreNone) {
  RegionLease lease;
  lease.begin(1);
  const auto ask = lease.ask(1);
  ASSERT_TRUE(ask);
  lease.told(2, {.number = ask->number});
  EXPECT_LE(lease.until_ns(), 1u);
  EXPECT_FALSE(lease.ask(2 + RegionLease::kNoneNs - 1));
  EXPECT_TRUE(lease.ask(2 + RegionLease::kNoneNs));
}

TEST(RegionLease, OfAnotherLeaderNothingIsKept) {
  RegionLease lease;
  lease.begin(1);
  const auto first = lease.ask(1);
  ASSERT_TRUE(first);
  lease.told(2, {.number = first->number, .left_ns = 40 * kMs});
  const auto late = lease.ask(30 * kMs);
  ASSERT_TRUE(late);
  lease.begin(2);
  EXPECT_EQ(lease.until_ns(), 0u);
  lease.told(31 * kMs, {.number = late->number, .left_ns = 40 * kMs});
  EXPECT_EQ(lease.until_ns(), 0u);
}

TEST(RegionLease, CountedFromTheAnswerItIsTooLong) {
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "node.lease_from_answer"});
  RegionLease lease;
  lease.begin(7);
  const auto ask = lease.ask(100 * kMs);
  ASSERT_TRUE(ask);
  lease.told(103 * kMs, {.number = ask->number, .left_ns = 40 * kMs});
  EXPECT_GT(lease.until_ns(), 140 * kMs);
}

}  // namespace
}  // namespace dolmen::node
