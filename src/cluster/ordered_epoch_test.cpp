// SPDX-License-Identifier: Apache-2.0
//
// Those who read an ordered index, in a model of its group (index_epoch_fixture.hpp): keys, and
// ranges, of which each key is judged as a look-up of its own.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/index_epoch_fixture.hpp"
#include "cluster/ordered_reader_fixture.hpp"

namespace dolmen::cluster {
namespace {

struct OrderedKit {
  using Table = Tree;
  using Hints = OrderedHints;
  static std::unique_ptr<Table> make_table() { return std::make_unique<Tree>(32, 128 << 10); }
  static IndexCommand put_command(const Table& /*table*/, std::uint64_t key, std::uint64_t value) {
    return IndexCommand::put(bytes_of(ordered_text(key)), bytes_of(ordered_value(value)));
  }
  static IndexCommand erase_command(const Table& /*table*/, std::uint64_t key) {
    return IndexCommand::erase(bytes_of(ordered_text(key)));
  }

  class Reading {
   public:
    Reading(const Table& table, OrderedHints& hints, const LedEpoch& led, std::uint64_t keys,
            IndexJudge& judge, base::Random& random)
        : keys_(keys) {
      if (random.chance(1, 3)) {
        for (std::uint64_t key = 0; key < keys; ++key) least_.push_back(judge.asks(key));
        slow_.emplace<SlowRead<OrderedScan>>(
            OrderedScan(table.geometry(), 1, hints, {}, 1'000, 1 << 20, ReadLevel::epoch, led),
            512);
        return;
      }
      key_ = random.below(keys);
      least_.push_back(judge.asks(key_));
      slow_.emplace<SlowRead<OrderedLookup>>(
          OrderedLookup(table.geometry(), 1, hints, bytes_of(ordered_text(key_)), ReadLevel::epoch,
                        led),
          512);
    }
    bool step(std::span<const base::Bytes> regions, base::Random& random) {
      return std::visit(
          [&](auto& slow) {
            if constexpr (requires { slow.is_over(); }) {
              slow.step(regions, random);
              return slow.is_over();
            }
            return true;
          },
          slow_);
    }
    LookupState judge(const Table& /*table*/, IndexJudge& judge, TornReport& report) {
      if (auto* scan = std::get_if<SlowRead<OrderedScan>>(&slow_)) {
        return judge_scan(scan->lookup(), judge, report);
      }
      const OrderedLookup& over = std::get<SlowRead<OrderedLookup>>(slow_).lookup();
      if (over.state() == LookupState::found) {
        ++report.found;
        const auto number = ordered_number(over.value());
        report.is_wrong |= !number || !judge.said(key_, least_[0], number);
      } else if (over.state() == LookupState::absent) {
        ++report.absent;
        report.is_wrong |= !judge.said(key_, least_[0], std::nullopt);
      } else {
        ++report.asked;
      }
      return over.state();
    }

   private:
    LookupState judge_scan(OrderedScan& over, IndexJudge& judge, TornReport& report) {
      if (over.state() != LookupState::found) {
        ++report.asked;
        return over.state();
      }
      const auto& entries = over.page().entries;
      report.is_wrong |= !over.page().is_last;
      std::size_t known = 0;
      for (std::uint64_t key = 0; key < keys_; ++key) {
        const auto found =
            std::ranges::find(entries, bytes_of(ordered_text(key)), &OrderedEntry::key);
        std::optional<std::uint64_t> number;
        if (found != entries.end()) {
          ++known;
          number = ordered_number(found->value);
          report.is_wrong |= !number;
        }
        ++(number ? report.found : report.absent);
        report.is_wrong |= !judge.said(key, least_[key], number);
      }
      report.is_wrong |= known != entries.size();
      return over.state();
    }

    std::uint64_t keys_;
    std::uint64_t key_ = 0;
    std::vector<std::uint64_t> least_;  ///< of the key; of all
    std::variant<std::monostate, SlowRead<OrderedLookup>, SlowRead<OrderedScan>> slow_;
  };
};
using OrderedCampaign = EpochCampaign<OrderedKit>;

constexpr std::uint64_t kOrderedSteps = 2'000;

TEST(OrderedEpochTest, IsLinearizableWhoeverLeads) {
  expect_linearizable<OrderedCampaign>("ordered_epoch_seeds", kOrderedSteps);
}
TEST(OrderedEpochBugs, LinesThatNobodyLooksAtAreSeen) {
  expect_wrong<OrderedCampaign>("cluster.lines_not_looked_at", Fault::none, kOrderedSteps);
}
TEST(OrderedEpochBugs, APromiseShownAfterItsGrantLeftIsSeen) {
  expect_wrong<OrderedCampaign>({}, Fault::line_after_grant, kOrderedSteps);
}
TEST(OrderedEpochBugs, ALeaderReadBeforeItCaughtUpIsSeen) {
  expect_wrong<OrderedCampaign>({}, Fault::told_before_own_entry, kOrderedSteps);
}

}  // namespace
}  // namespace dolmen::cluster
