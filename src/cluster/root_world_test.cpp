// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_world.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "cluster/mail_fixture.hpp"

namespace dolmen::cluster {
namespace {

constexpr std::uint64_t kSteps = 1'500;

// DOLMEN_ROOT_SEED=n runs that one alone.
TEST(RootWorld, EveryGroupKeepsItsMajorityAndEndsWithAllItsMembers) {
  const char* const only = std::getenv("DOLMEN_ROOT_SEED");
  const std::uint64_t first = only == nullptr ? 1 : std::strtoull(only, nullptr, 10);
  const std::uint64_t count = only == nullptr ? base::budget("root_seeds") : 1;
  RootWorldTally tally;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    RootWorld world(seed);
    const auto complaint = world.run(kSteps);
    ASSERT_FALSE(complaint) << *complaint << "; DOLMEN_ROOT_SEED=" << seed;
    tally.add(world.tally());
  }
  if (only != nullptr) return;
  base::say_bound("root_seeds", count);
  // A world in which nothing happens has nothing to complain about.
  EXPECT_GT(tally.begun, 5 * count);
  EXPECT_GT(tally.ended, 5 * count);
  EXPECT_GT(tally.given_up, count / 20);
  EXPECT_GT(tally.corrected, count / 20);
  EXPECT_GT(tally.renewed, count / 10);
  EXPECT_GT(tally.lost, count);
  EXPECT_GT(tally.back, count);
  EXPECT_GT(tally.removed, count / 10);
  EXPECT_GT(tally.leaders, 3 * count);
  EXPECT_GT(tally.failed_orders, count);
  EXPECT_GT(tally.unsaid, count / 2);
  EXPECT_GT(tally.by_deposed, count / 10);
  EXPECT_GT(tally.refused_by_group, count / 10);
  EXPECT_GT(tally.restored, 5 * count);
  EXPECT_GT(tally.judged_groups, count);
}

class RootWorldBug : public testing::TestWithParam<const char*> {};

TEST_P(RootWorldBug, IsSeen) {
  const std::uint64_t most = base::budget("root_bug_seeds");
  if (most == 0) GTEST_SKIP() << "the release build looks for planted bugs";
  PlantedMailBug planted(GetParam());
  std::optional<std::string> complaint;
  std::uint64_t seed = 0;
  while (!complaint && seed < most) complaint = RootWorld(++seed).run(kSteps);
  EXPECT_GT(planted.reached, 0u);
  ASSERT_TRUE(complaint) << GetParam() << " was not seen";
  std::printf("%s: seed %lu: %s\n", GetParam(), seed, complaint->c_str());
}

INSTANTIATE_TEST_SUITE_P(, RootWorldBug,
                         testing::Values("cluster.any_change_ended", "cluster.lost_counted",
                                         "cluster.second_change", "cluster.number_again",
                                         "cluster.change_left_to_others",
                                         "cluster.lost_before_heard", "cluster.draining_gets_seats",
                                         "cluster.any_difference", "cluster.life_ignored",
                                         "cluster.never_again", "cluster.outdated_believed",
                                         "cluster.never_corrected", "cluster.never_stopped"));

}  // namespace
}  // namespace dolmen::cluster
