// SPDX-License-Identifier: Apache-2.0
//
// Those who read a hash index, in a model of its group (index_epoch_fixture.hpp).
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <gtest/gtest.h>

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
  expect_linearizable<HashCampaign>("index_epoch_seeds", kSteps);
}
TEST(IndexEpochBugs, LinesThatNobodyLooksAtAreSeen) {
  expect_wrong<HashCampaign>("cluster.lines_not_looked_at", Fault::none, kSteps);
}
TEST(IndexEpochBugs, APromiseShownAfterItsGrantLeftIsSeen) {
  expect_wrong<HashCampaign>({}, Fault::line_after_grant, kSteps);
}
TEST(IndexEpochBugs, ALeaderReadBeforeItCaughtUpIsSeen) {
  expect_wrong<HashCampaign>({}, Fault::told_before_own_entry, kSteps);
}

}  // namespace
}  // namespace dolmen::cluster
