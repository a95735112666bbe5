// SPDX-License-Identifier: Apache-2.0
#include "base/test_budget.hpp"

#include <set>

#include <gtest/gtest.h>

namespace dolmen::base {
namespace {

// Of 2700 s on two cores: builds and all other tests take the rest.
constexpr std::uint32_t kGateSeconds = 700;
constexpr std::uint32_t kSanitizedSeconds = 240;

TEST(TestBudget, TheCampaignsStayWithinTheirShareOfTheGate) {
  std::uint32_t gate_s = 0;
  std::uint32_t sanitized_s = 0;
  std::set<std::string_view> names;
  for (const Campaign& each : kCampaigns) {
    EXPECT_TRUE(names.insert(each.name).second) << each.name;
    EXPECT_GT(each.gate_s, 0u) << each.name << ": measured cost, rounded up";
    EXPECT_GE(each.full, each.gate) << each.name;
    EXPECT_LE(each.sanitized, each.gate) << each.name;
    gate_s += each.gate_s;
    sanitized_s += each.sanitized_s;
  }
  EXPECT_LE(gate_s, kGateSeconds);
  EXPECT_LE(sanitized_s, kSanitizedSeconds);
}

TEST(TestBudget, GivesTheLengthOfThisBuild) {
  const Campaign& log = campaign("log_seeds");
  EXPECT_EQ(budget("log_seeds"), at_full_length() ? log.full
                                 : kSanitized     ? log.sanitized
                                                  : log.gate);
}

TEST(TestBudgetDeath, ACampaignWithoutABudgetIsAMistake) {
  EXPECT_DEATH((void)budget("nobody"), "a campaign without a budget");
}

}  // namespace
}  // namespace dolmen::base
