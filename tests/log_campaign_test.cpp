// SPDX-License-Identifier: Apache-2.0
//
// Groups of replicas under faults, thousands of seeds; and the same with one bug planted, which has
// to be seen. A seed again: the command that a failure prints.
#include <algorithm>
#include <bit>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <ostream>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "base/test_budget.hpp"
#include "sim/log_world.hpp"
#include "sim/sim_hooks.hpp"

namespace {

using dolmen::sim::LogWorldOptions;
using dolmen::sim::LogWorldResult;
using dolmen::sim::run_log_world;
using dolmen::sim::SimHooks;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::uint64_t seeds_to_run() { return dolmen::base::budget("log_seeds"); }

/// DOLMEN_LOG_DIRECT: 1 for groups in memory alone, 0 for none; else the seed decides.
std::optional<bool> direct_from_environment() {
  const std::uint64_t direct = from_environment("DOLMEN_LOG_DIRECT", 2);
  return direct < 2 ? std::optional(direct == 1) : std::nullopt;
}

TEST(LogCampaign, NothingAcknowledgedIsLostWhateverFails) {
  const std::uint64_t seeds = from_environment("DOLMEN_LOG_SEEDS", seeds_to_run());
  LogWorldResult total;
  struct {
    std::uint64_t calm = 0;
    std::uint64_t without_one = 0;
    std::uint64_t noticed = 0;
  } slowest;
  std::uint64_t witnesses = 0;
  std::uint64_t memory_witnesses = 0;
  std::uint64_t taken_over = 0;
  // An assertion that fails ends the process: then at least with the seed.
  static std::uint64_t running = 0;
  std::signal(SIGABRT, [](int) { std::fprintf(stderr, "with DOLMEN_LOG_SEED=%lu\n", running); });
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    running = seed;
    const LogWorldOptions options{.seed = seed, .is_direct = direct_from_environment()};
    const LogWorldResult result = run_log_world(options);
    ASSERT_EQ(result.violation, "") << command_of(minimise(options)) << "\n" << result.state;
    total.acknowledged += result.acknowledged;
    total.leased_reads += result.leased_reads;
    total.hand_overs += result.hand_overs;
    total.proposed += result.proposed;
    total.events += result.events;
    total.leaders += result.leaders;
    total.crashes += result.crashes;
    total.lane_writes += result.lane_writes;
    total.configurations += result.configurations;
    total.simulated_ns += result.simulated_ns;
    slowest.calm = std::max(slowest.calm, result.calm_until_decided_ns);
    auto& without = result.was_noticed ? slowest.noticed : slowest.without_one;
    without = std::max(without, result.without_one_until_decided_ns);
    witnesses += result.has_witness ? 1 : 0;
    memory_witnesses += result.has_memory_witness ? 1 : 0;
    taken_over += result.lost_leader ? 1 : 0;
  }
  std::printf(
      "%lu seeds, %.1f simulated hours, %lu events, %lu leaders, %lu crashes, %lu configurations, "
      "%lu lane writes, %lu of %lu commands acknowledged; a seed fails with less than %.1g (95 "
      "%%)\n",
      seeds, static_cast<double>(total.simulated_ns) / 3.6e12, total.events, total.leaders,
      total.crashes, total.configurations, total.lane_writes, total.acknowledged, total.proposed,
      3.0 / static_cast<double>(seeds));
  std::printf(
      "%lu with a witness (%lu: memory alone), %lu times the leader was taken away at the end; "
      "longest until something "
      "was decided: %.0f ms after the faults, %.0f ms without one, %.0f ms where its end was "
      "told\n",
      witnesses, memory_witnesses, taken_over, static_cast<double>(slowest.calm) / 1e6,
      static_cast<double>(slowest.without_one) / 1e6, static_cast<double>(slowest.noticed) / 1e6);
  EXPECT_GT(total.acknowledged, seeds * 100);
  EXPECT_GT(total.leaders, seeds * 2);
  EXPECT_GT(total.leased_reads, seeds * 100);
  EXPECT_GT(total.hand_overs, seeds);
}

// With the rare paths taken on purpose as well.
TEST(LogCampaign, EveryRarePlaceIsReached) {
  if (dolmen::base::kSanitized) GTEST_SKIP() << "takes many seeds; the release build runs it";
  std::map<std::string, std::uint64_t> reached;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const SimHooks hooks({.seed = seed});
    const LogWorldOptions options{.seed = seed, .is_direct = seed % 2 == 0};
    ASSERT_EQ(run_log_world(options).violation, "") << "with hooks of seed " << seed;
    for (const auto& [probe, count] : hooks.probes()) reached[probe] += count;
    for (const auto& [name, site] : hooks.buggify_sites()) reached[name] += site.fired;
  }
  for (const char* const place : {"log.led",
                                  "log.stepped_down",
                                  "log.truncated",
                                  "log.mismatch",
                                  "log.fetched",
                                  "log.stuck",
                                  "log.split",
                                  "log.gave_way",
                                  "log.snapshot_lent",
                                  "log.memory_granted",
                                  "log.adopted_from_memory",
                                  "log.memory_lane",
                                  "log.memory_lost",
                                  "log.compacted",
                                  "log.installed",
                                  "log.snapshot_sent",
                                  "log.configuration_proposed",
                                  "log.configuration_truncated",
                                  "log.left",
                                  "log.one_entry",
                                  "log.send_again",
                                  "log.impatient",
                                  "log.direct",
                                  "log.next_lane",
                                  "log.lane_full",
                                  "log.lane_abandoned",
                                  "log.no_room_for_lane",
                                  "log.drained_late",
                                  "log.answered_undrained",
                                  "log.drain_one",
                                  "log.took_up_memory",
                                  "log.superseded",
                                  "log.poll_later",
                                  "log.spared",
                                  "log.bound"}) {
    EXPECT_GT(reached[place], 0u) << place;
  }
}

TEST(LogCampaign, OneSeed) {
  const LogWorldOptions options{.seed = from_environment("DOLMEN_LOG_SEED", 1),
                                .faulty_ns = from_environment("DOLMEN_LOG_MS", 10'000) * 1'000'000,
                                .faults = static_cast<std::uint32_t>(from_environment(
                                    "DOLMEN_LOG_FAULTS", dolmen::sim::kAllLogFaults))};
  const LogWorldResult result = run_log_world(options);
  EXPECT_EQ(result.violation, "") << result.state;
  const LogWorldResult again = run_log_world(options);
  EXPECT_EQ(again.trace_hash, result.trace_hash);
  EXPECT_EQ(again.events, result.events);
  EXPECT_GT(result.acknowledged, 0u);
}

struct Seen {
  std::uint64_t seed = 0;  ///< 0: by none
  std::string how;
};

/// The first seed whose run shows the bug, by a violation or by an assertion of the replica itself.
/// Each in a process of its own, with a time limit: not to end is not to be seen.
Seen first_seen(const std::string& bug, std::uint32_t faults, std::uint64_t first_seed,
                std::uint64_t seeds_max, std::optional<bool> is_direct = {},
                std::optional<bool> has_leases = {}) {
  for (std::uint64_t seed = first_seed; seed < first_seed + seeds_max; ++seed) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      const SimHooks hooks({.seed = seed, .planted = bug});
      const LogWorldOptions options{.seed = seed,
                                    .faults = faults,
                                    .is_direct = is_direct,
                                    .restart_empty = bug == "restart_empty",
                                    .restart_without_grant = bug == "restart_without_grant",
                                    .has_leases = has_leases};
      _exit(run_log_world(options).violation.empty() ? 0 : 1);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) return {};
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1) return {seed, "a violation"};
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) return {seed, "an assertion"};
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return {};
  }
  return {};
}

// With its bug planted, a run that has all faults fails with fewer and sooner, by its own command.
TEST(LogCampaign, AFailureIsMadeSmall) {
  const SimHooks hooks({.seed = 1, .buggify = false, .planted = "log.decide_by_minority"});
  LogWorldOptions options;
  while (run_log_world(options).violation.empty()) ASSERT_LT(++options.seed, 100u);
  const LogWorldOptions smallest = minimise(options);
  EXPECT_NE(run_log_world(smallest).violation, "");
  EXPECT_LT(std::popcount(smallest.faults), std::popcount(options.faults));
  EXPECT_LE(smallest.faulty_ns, options.faulty_ns);
  EXPECT_EQ(command_of(smallest).find("DOLMEN_LOG_SEED=" + std::to_string(options.seed) + " "), 0u);
}

const std::uint64_t kSeedsForABug = dolmen::base::budget("log_bug_seeds");
constexpr std::uint32_t kAll = dolmen::sim::kAllLogFaults;
/// Where members stay, there is more of everything else.
/// Of groups in memory: leaders that write and are not heard.
constexpr std::uint32_t kUnheard = dolmen::sim::kLoss | dolmen::sim::kLate | dolmen::sim::kCrash |
                                   dolmen::sim::kPause | dolmen::sim::kIsolate |
                                   dolmen::sim::kOneWay | dolmen::sim::kPartial |
                                   dolmen::sim::kCrashLeader;
constexpr std::uint32_t kSameMembers = kAll & ~(dolmen::sim::kMembers | dolmen::sim::kLoseDisk);

struct PlantedBug {
  const char* name;
  std::uint32_t faults = kSameMembers;
  std::optional<bool> is_direct = false;
  std::uint64_t first_seed = 1;  ///< one that shows it soon, where few do
  std::optional<bool> has_leases = false;
};
void PrintTo(const PlantedBug& bug, std::ostream* out) { *out << bug.name; }

class PlantedLogBug : public testing::TestWithParam<PlantedBug> {};

// Else what is seen below would not be the bug.
TEST(LogCampaign, NothingIsSeenWhereNothingIsPlanted) {
  const Seen seen = first_seen("none", kAll, 1, kSeedsForABug / 3);
  EXPECT_EQ(seen.seed, 0u) << seen.how;
}

TEST_P(PlantedLogBug, IsSeen) {
  if (dolmen::base::kSanitized) GTEST_SKIP() << "the release build looks for planted bugs";
  const auto& [name, faults, is_direct, first_seed, has_leases] = GetParam();
  const Seen seen = first_seen(name, faults, first_seed, kSeedsForABug, is_direct, has_leases);
  EXPECT_NE(seen.seed, 0u) << "nobody saw " << name;
  std::printf("%s: seen with seed %lu, by %s\n", name, seen.seed, seen.how.c_str());
}

constexpr PlantedBug kBugs[] = {
    {"log.grant_unsynced"},
    {"log.grant_twice"},
    {"log.accept_unsynced"},
    {"log.accept_any_epoch", kSameMembers, false, 930},
    {"log.no_match"},
    {"log.stable_unmatched", kSameMembers, false, 100},
    {"log.lead_by_minority"},
    {"log.decide_by_minority"},
    {"log.adopt_own"},
    {"log.adopt_longest", kSameMembers, false, 220},
    {"log.own_unsynced"},
    {"log.count_copies", kSameMembers, false, 290},
    {"log.grant_of_any_epoch", kSameMembers, false, 50},
    {"log.new_voters_only", kAll},
    {"log.old_voters_only", kAll},
    {"log.two_configurations", kAll},
    {"log.compact_unstable"},
    {"log.snapshot_old_members", kAll, false, 437},
    {"log.counter_never_stops", kSameMembers, false, 1170},
    {"log.witness_leads"},
    {"log.witness_forgets"},
    {"journal.no_sync"},
    {"restart_empty"},
    {"restart_without_grant", kSameMembers, false, 1060},
    {"log.lease_not_kept", kSameMembers, {}, 1, true},
    {"log.lease_from_answer", kSameMembers, {}, 265, true},
    {"log.lease_never_ends", kSameMembers, {}, 1, true},
    {"log.lease_given_up_early", kSameMembers, {}, 1, true},
    {"log.lease_counts_memory", kUnheard | dolmen::sim::kWitness, true, 1, true},
    {"log.raise_by_write", kUnheard, true},
    {"log.own_memory_unchecked", kSameMembers, true},
    {"log.lane_in_place", kSameMembers, true},
    {"log.lane_unchecked", kSameMembers, true},
    {"restart_empty", kSameMembers, true},
    {"log.areas_unread", kSameMembers, true},
    {"log.area_in_place", kSameMembers, true},
    {"log.area_kept_blindly", kSameMembers, true},
    {"log.witness_grants_twice", kSameMembers, true, 270},
};
INSTANTIATE_TEST_SUITE_P(All, PlantedLogBug, testing::ValuesIn(kBugs));

}  // namespace
