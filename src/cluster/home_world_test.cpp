// SPDX-License-Identifier: Apache-2.0
#include "cluster/home_world.hpp"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "cluster/mail_fixture.hpp"

namespace dolmen::cluster {
namespace {

constexpr std::uint64_t kHomeSteps = 2'500;

// DOLMEN_HOME_SEED=n runs that one alone.
TEST(HomeWorld, EveryObjectHasOneHomeAndIsFoundThere) {
  const char* const only = std::getenv("DOLMEN_HOME_SEED");
  const std::uint64_t first = only == nullptr ? 1 : std::strtoull(only, nullptr, 10);
  const std::uint64_t count = only == nullptr ? base::budget("home_seeds") : 1;
  HomeWorldTally tally;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    HomeWorld world(seed, true);
    const auto complaint = world.run(kHomeSteps);
    ASSERT_FALSE(complaint) << *complaint << "; DOLMEN_HOME_SEED=" << seed;
    tally.add(world.tally());
  }
  if (only != nullptr) return;
  base::say_bound("home_seeds", count);
  std::printf(
      "created %lu written %lu moved %lu back %lu refused %lu cancelled %lu damaged %lu "
      "erased %lu drained %lu found %lu not_found %lu by_tombstone %lu given_up %lu "
      "lost_entries %lu led_again %lu restored %lu lost_messages %lu\n",
      tally.created, tally.written, tally.moved, tally.moved_back, tally.refused, tally.cancelled,
      tally.damaged, tally.erased, tally.drained, tally.found, tally.not_found, tally.by_tombstone,
      tally.given_up, tally.lost_entries, tally.led_again, tally.restored, tally.lost_messages);
}

struct PlantedHomeCase {
  const char* bug;
  bool is_strict;
};

class HomeWorldBug : public testing::TestWithParam<PlantedHomeCase> {};

TEST_P(HomeWorldBug, IsSeen) {
  const auto [bug, is_strict] = GetParam();
  const std::uint64_t most = base::budget("home_bug_seeds");
  if (most == 0) GTEST_SKIP() << "the release build looks for planted bugs";
  PlantedMailBug planted(bug);
  std::optional<std::string> complaint;
  std::uint64_t seed = 0;
  while (!complaint && seed < most) complaint = HomeWorld(++seed, is_strict).run(kHomeSteps);
  EXPECT_GT(planted.reached, 0u);
  ASSERT_TRUE(complaint) << bug << " was not seen";
  std::printf("%s: seed %lu: %s\n", bug, seed, complaint->c_str());
}

INSTANTIATE_TEST_SUITE_P(, HomeWorldBug,
                         testing::Values(PlantedHomeCase{"cluster.home_told_early", false},
                                         PlantedHomeCase{"cluster.home_written_while_leaving",
                                                         false},
                                         PlantedHomeCase{"cluster.home_read_when_sent", false},
                                         PlantedHomeCase{"cluster.home_moved_unregistered", false},
                                         PlantedHomeCase{"cluster.home_window_ignored", false},
                                         PlantedHomeCase{"cluster.home_erased_when_sent", false},
                                         PlantedHomeCase{"cluster.home_cancelled_alone", false},
                                         PlantedHomeCase{"cluster.home_not_undone", true},
                                         PlantedHomeCase{"cluster.home_not_undone", false},
                                         PlantedHomeCase{"cluster.home_drain_ignored", false},
                                         PlantedHomeCase{"cluster.home_hash_ignored", false},
                                         PlantedHomeCase{"cluster.home_visible_early", false},
                                         PlantedHomeCase{"cluster.home_counter_kept", false},
                                         PlantedHomeCase{"cluster.home_no_tombstone", false},
                                         PlantedHomeCase{"cluster.home_arrivals_forgotten", false},
                                         PlantedHomeCase{"cluster.directory_tells_one", false}));

}  // namespace
}  // namespace dolmen::cluster
