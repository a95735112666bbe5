// SPDX-License-Identifier: Apache-2.0
//
// Those who read a hash index, in a model of its group (index_epoch_fixture.hpp).
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include <gtest/gtest.h>

#include "base/test_budget.hpp"
#include "cluster/index_epoch_fixture.hpp"

namespace dolmen::cluster {
namespace {

struct HashKit {
  using Table = cluster::Table;
  using Hints = IndexHints;
  static std::unique_ptr<Table> make_table() {
    return std::make_unique<Table>(sizes_of(IndexKind::records));
  }
  static IndexCommand put_command(const Table& table, std::uint64_t key, std::uint64_t value) {
    return table.put_command(key, value);
  }
  static IndexCommand erase_command(const Table& table, std::uint64_t key) {
    return table.erase_command(key);
  }

  class Reading {
   public:
    Reading(const Table& table, IndexHints& hints, const LedEpoch& led, std::uint64_t keys,
            IndexJudge& judge, base::Random& random)
        : key_(random.below(keys)),
          least_(judge.asks(key_)),
          slow_(lookup_of(table, hints, key_, ReadLevel::epoch, led, 1, candidates_for(key_)), 64) {
    }
    bool step(std::span<const base::Bytes> regions, base::Random& random) {
      slow_.step(regions, random);
      return slow_.is_over();
    }
    LookupState judge(const Table& table, IndexJudge& judge, TornReport& report) {
      const IndexLookup& over = slow_.lookup();
      if (over.state() == LookupState::found) {
        ++report.found;
        const IndexJudge::Value number = number_in(table, over, key_);
        report.is_wrong |= !number || !judge.said(key_, least_, number);
      } else if (over.state() == LookupState::absent) {
        ++report.absent;
        report.is_wrong |= !judge.said(key_, least_, std::nullopt);
      } else {
        ++report.asked;
      }
      return over.state();
    }

   private:
    std::uint64_t key_;
    std::uint64_t least_;
    SlowLookup slow_;
  };
};
using HashCampaign = EpochCampaign<HashKit>;

constexpr std::uint64_t kSteps = 3'000;

TEST(IndexEpochTest, IsLinearizableWhoeverLeads) {
  const std::uint64_t seeds = base::budget("index_epoch_seeds");
  TornReport sum;
  std::uint64_t elections = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    HashCampaign campaign(seed, Fault::none);
    const TornReport report = campaign.run({}, kSteps);
    ASSERT_FALSE(report.is_wrong) << "seed " << seed;
    sum.found += report.found;
    sum.absent += report.absent;
    sum.asked += report.asked;
    elections += campaign.elections();
  }
  std::printf("%lu found, %lu absent, %lu asked; %lu elections\n", sum.found, sum.absent, sum.asked,
              elections);
  base::say_bound("index_epoch_seeds", seeds);
  EXPECT_GT(sum.found, 1'000u);
  EXPECT_GT(sum.absent, 100u);
  EXPECT_GT(elections, seeds);
}

std::uint64_t wrong_after(std::string_view bug, Fault fault) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    if (HashCampaign(seed, fault).run(bug, kSteps).is_wrong) {
      std::printf("seen after %lu seeds\n", seed);
      return seed;
    }
  }
  return 0;
}

class IndexEpochBugs : public testing::Test {
 protected:
  void SetUp() override {
    if (base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  }
};

TEST_F(IndexEpochBugs, LinesThatNobodyLooksAtAreSeen) {
  EXPECT_NE(wrong_after("cluster.lines_not_looked_at", Fault::none), 0u);
}
TEST_F(IndexEpochBugs, APromiseShownAfterItsGrantLeftIsSeen) {
  EXPECT_NE(wrong_after({}, Fault::line_after_grant), 0u);
}
TEST_F(IndexEpochBugs, ALeaderReadBeforeItCaughtUpIsSeen) {
  EXPECT_NE(wrong_after({}, Fault::told_before_own_entry), 0u);
}

}  // namespace
}  // namespace dolmen::cluster
