// SPDX-License-Identifier: Apache-2.0
#include "cluster/mail_world.hpp"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "cluster/mail_fixture.hpp"

namespace dolmen::cluster {
namespace {

constexpr std::uint64_t kSteps = 1'500;

// DOLMEN_MAIL_SEED=n runs that one alone.
TEST(MailWorld, EveryMailIsConsumedOnceInOrderAndNoneBeforeItsCauseIsDecided) {
  const char* const only = std::getenv("DOLMEN_MAIL_SEED");
  const std::uint64_t first = only == nullptr ? 1 : std::strtoull(only, nullptr, 10);
  const std::uint64_t count = only == nullptr ? base::budget("mail_seeds") : 1;
  MailWorldTally tally;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    MailWorld world(seed, true);
    const auto complaint = world.run(kSteps);
    ASSERT_FALSE(complaint) << *complaint << "; DOLMEN_MAIL_SEED=" << seed;
    tally.add(world.tally());
  }
  if (only != nullptr) return;
  base::say_bound("mail_seeds", count);
  // A world in which nothing happens has nothing to complain about.
  EXPECT_GT(tally.consumed, 50 * count);
  EXPECT_GT(tally.lost_entries, 5 * count);
  EXPECT_GT(tally.kept_entries, count);
  EXPECT_GT(tally.duplicates, count / 10);
  EXPECT_GT(tally.declined, count);
  EXPECT_GT(tally.full, count);
  EXPECT_GT(tally.led_again, count);
  EXPECT_GT(tally.restored, count);
  EXPECT_GT(tally.lost_messages, 10 * count);
  EXPECT_GT(tally.heard_by_deposed, count);
  EXPECT_GT(tally.said_by_deposed, count);
}

struct PlantedCase {
  const char* bug;
  bool is_strict;
};

class MailWorldBug : public testing::TestWithParam<PlantedCase> {};

TEST_P(MailWorldBug, IsSeen) {
  const auto [bug, is_strict] = GetParam();
  const std::uint64_t most = base::budget("mail_bug_seeds");
  if (most == 0) GTEST_SKIP() << "the release build looks for planted bugs";
  PlantedMailBug planted(bug);
  std::optional<std::string> complaint;
  std::uint64_t seed = 0;
  while (!complaint && seed < most) complaint = MailWorld(++seed, is_strict).run(kSteps);
  EXPECT_GT(planted.reached, 0u);
  ASSERT_TRUE(complaint) << bug << " was not seen";
  std::printf("%s: seed %lu: %s\n", bug, seed, complaint->c_str());
}

// What crosses too early is seen where it crosses, and in what comes of it where nobody watches.
// Whose state differs, is seen there, and in what comes of it.
INSTANTIATE_TEST_SUITE_P(, MailWorldBug,
                         testing::Values(PlantedCase{"cluster.sent_before_stable", true},
                                         PlantedCase{"cluster.sent_before_stable", false},
                                         PlantedCase{"cluster.told_before_stable", true},
                                         PlantedCase{"cluster.told_before_stable", false},
                                         PlantedCase{"cluster.consumed_again", false},
                                         PlantedCase{"cluster.gap_consumed", false},
                                         PlantedCase{"cluster.duplicate_posts", false},
                                         PlantedCase{"cluster.trimmed_when_sent", false},
                                         PlantedCase{"cluster.sequence_restarts", true},
                                         PlantedCase{"cluster.sequence_restarts", false},
                                         PlantedCase{"cluster.inbox_forgotten", false},
                                         PlantedCase{"cluster.consumed_not_undone", true},
                                         PlantedCase{"cluster.consumed_not_undone", false},
                                         PlantedCase{"cluster.proposed_again", true},
                                         PlantedCase{"cluster.told_once", false}));

}  // namespace
}  // namespace dolmen::cluster
