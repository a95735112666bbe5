// SPDX-License-Identifier: Apache-2.0
//
// The crash campaign: every crash state of a mixed workload recovers to a prefix that holds what
// was acknowledged; and each planted bug is caught by it. DOLMEN_SOAK=1 asks for a million states.
#include "sim/crash_campaign.hpp"

#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sim {
namespace {

constexpr std::uint64_t kProgressStates = 10'000;

bool soak() {
  const char* value = std::getenv("DOLMEN_SOAK");
  return value != nullptr && std::string(value) == "1";
}

#ifdef __SANITIZE_THREAD__
constexpr bool kSanitized = true;
#elif defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST(CrashCampaign, EveryCrashStateRecoversToAPrefixWithAllAcknowledgedCommits) {
  const std::uint64_t floor = soak() ? 1'000'000 : kSanitized ? 1'000 : 20'000;
  sys::Memory& memory = *sys::linux_env().memory;
  std::uint64_t states = 0;
  std::uint64_t recovery_states = 0;
  std::uint64_t seeds = 0;
  std::uint64_t commits = 0;
  for (std::uint64_t seed = 1; states < floor; ++seed) {
    CampaignOptions options;
    options.workload.seed = seed;
    options.workload.commits = 40;
    options.states_max = floor / 4;
    const CampaignReport report = run_campaign(options, memory);
    states += report.states;
    recovery_states += report.recovery_states;
    commits += report.commits;
    ++seeds;
    ASSERT_TRUE(report.violations.empty()) << report.violations.front();
    ASSERT_GT(report.states, 0u);
    if (soak() && states / kProgressStates != (states - report.states) / kProgressStates) {
      std::cout << states << " of " << floor << " crash states" << std::endl;
    }
  }
  std::cout << states << " crash states and " << recovery_states << " inside recovery, of "
            << commits << " commits in " << seeds << " seeds\n";
  EXPECT_GT(recovery_states, 0u);
}

TEST(CrashCampaign, IsRepeatableToTheBit) {
  sys::Memory& memory = *sys::linux_env().memory;
  CampaignOptions options;
  options.workload.seed = 42;
  options.workload.commits = 30;
  options.states_max = 50;
  const CampaignReport first = run_campaign(options, memory);
  const CampaignReport second = run_campaign(options, memory);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.violations, second.violations);
}

class PlantedBug : public testing::TestWithParam<const char*> {};

/// Where the search begins: earlier seeds are searched in vain, which sanitizers make very slow. A
/// stale record, for one, has to lie exactly where a recycled segment's new ones end.
std::uint64_t first_seed(std::string_view bug) {
  if (bug == "store.no_new_incarnation") return 10;
  if (bug == "store.reuse_segment_early" || bug == "store.tail_without_trailer_applied") return 2;
  return 1;
}

TEST_P(PlantedBug, IsCaught) {
  sys::Memory& memory = *sys::linux_env().memory;
  std::uint64_t reached = 0;
  const std::uint64_t first = first_seed(GetParam());
  for (std::uint64_t seed = first; seed < first + 40; ++seed) {
    CampaignOptions options;
    options.workload.seed = seed;
    options.workload.commits = 60;
    options.random_subsets = 2;
    options.units_max = 1;
    options.recovery_crashes_every = 0;
    options.continue_every = 10;
    options.planted = GetParam();
    const CampaignReport report = run_campaign(options, memory);
    reached += report.planted_reached;
    if (!report.violations.empty()) {
      std::cout << "caught at seed " << seed << ": " << report.violations.front() << "\n";
      return;
    }
  }
  FAIL() << GetParam() << " was not caught; its place was passed " << reached << " times";
}

INSTANTIATE_TEST_SUITE_P(
    All, PlantedBug,
    testing::Values("store.ack_before_sync", "store.skip_log_sync", "store.skip_root_sync",
                    "store.skip_pages_sync", "store.no_new_incarnation", "store.recycle_live_block",
                    "store.reuse_segment_early", "store.tail_without_trailer_applied",
                    "txn.ack_before_sync", "txn.unlogged_range", "txn.version_not_preserved",
                    "txn.view_ignores_version", "txn.checkpoint_takes_running_page"),
    [](const testing::TestParamInfo<const char*>& bug) {
      std::string name = bug.param;
      for (char& c : name) {
        if (c == '.') c = '_';
      }
      return name;
    });

}  // namespace
}  // namespace dolmen::sim
