// SPDX-License-Identifier: Apache-2.0
//
// Clusters of which a group keeps a space, under faults: what clients see is one counter beside
// accounts that one machine could have kept (strict serializability), and at the end all members
// have the same pages. A seed again: the command that a failure prints.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "base/test_budget.hpp"
#include "sim/cluster_world.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/linux/linux.hpp"
#include "tests/planted_bug.hpp"

namespace dolmen::sim {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

ClusterWorldOptions options_of(std::uint64_t seed, SimHooks* hooks = nullptr) {
  return {.seed = seed,
          .nodes = 4,
          .groups = 2,
          .clients = 6,
          .memory = sys::linux_env().memory,
          .faulty_ns = 2'000'000'000,
          .faults = static_cast<std::uint32_t>(
              from_environment("DOLMEN_CLUSTER_FAULTS", kAllClusterFaults)),
          .hooks = hooks};
}

// First: a child of a process that has opened spaces cannot use any.
TEST(SpaceCampaign, PlantedBugsAreSeen) {
  if (base::kSanitized) GTEST_SKIP() << "takes many seeds; the release build runs it";
  // space.stays_open and space.image_ahead need a leader that is deposed alive, and what
  // space.source_moves mixes is mostly made good by the records that follow: SpaceMachineTest.
  for (const char* const bug :
       {"space.record_twice", "space.not_loaded", "space.old_pages", "log.reference_taken_early",
        "space.done_early", "space.reuse_unchecked", "space.gone_page_kept"}) {
    const std::uint64_t seed = first_seen(bug, 60, [](std::uint64_t run) {
      return !run_cluster_world(options_of(run)).violation.empty();
    });
    EXPECT_NE(seed, 0u) << bug;
    std::printf("%s: seed %lu\n", bug, seed);
  }
}

// By what clients and members saw of the accounts alone, before anything else was looked at.
TEST(SpaceCampaign, PlantedBugsOfTransactionsAreSeen) {
  if (base::kSanitized) GTEST_SKIP() << "takes many seeds; the release build runs it";
  // Reads from before others were asked; a command that runs again when it is asked for again.
  for (const char* const bug : {"replication.read_early", "replication.run_again"}) {
    const std::uint64_t seed = first_seen(bug, 60, [](std::uint64_t run) {
      return run_cluster_world(options_of(run)).violation.starts_with("accounts: ");
    });
    EXPECT_NE(seed, 0u) << bug;
    std::printf("%s: seed %lu\n", bug, seed);
  }
}

// With rare places taken on purpose: half of a command behind a crash; a checkpoint that is due
// while a state is sent to another member.
TEST(SpaceCampaign, PlantedBugsOfRarePlacesAreSeen) {
  if (base::kSanitized) GTEST_SKIP() << "takes many seeds; the release build runs it";
  for (const char* const bug : {"space.effect_half", "replication.waits_for_transfer"}) {
    const std::uint64_t seed = first_seen(bug, 120, [bug](std::uint64_t run) {
      SimHooks hooks({.buggify = false, .planted = bug});
      return !run_cluster_world(options_of(run, &hooks)).violation.empty();
    });
    EXPECT_NE(seed, 0u) << bug;
    std::printf("%s: seed %lu\n", bug, seed);
  }
}

TEST(SpaceCampaign, ASpaceIsOneAndTheSameOnAllMembersWhateverFails) {
  const std::uint64_t seeds = from_environment("DOLMEN_SPACE_SEEDS", base::budget("space_seeds"));
  const std::uint64_t first = from_environment("DOLMEN_SPACE_FIRST", 1);
  static std::uint64_t running = 0;
  std::signal(SIGABRT, [](int) { std::fprintf(stderr, "with DOLMEN_SPACE_FIRST=%lu\n", running); });
  SimHooks hooks({.buggify = false});
  ClusterWorldResult total;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    running = seed;
    const ClusterWorldOptions options = options_of(seed, &hooks);
    const ClusterWorldResult result = run_cluster_world(options);
    ASSERT_EQ(result.violation, "") << "DOLMEN_SPACE_FIRST=" << seed << " DOLMEN_SPACE_SEEDS=1\n"
                                    << result.state;
    total.simulated_ns += result.simulated_ns;
    total.in_spaces += result.in_spaces;
    total.accounts += result.accounts;
    total.ended += result.ended;
    total.disks_ended += result.disks_ended;
    total.changes += result.changes;
  }
  auto probes = hooks.probes();
  std::printf(
      "%lu seeds, %.1f simulated minutes, %lu commands answered in spaces, %lu processes ended, "
      "%lu members by their disks, %lu changes of members, %lu spaces opened, %lu states asked "
      "for, %lu images loaded, %lu of them onto older ones\n",
      seeds, static_cast<double>(total.simulated_ns) / 6e10, total.in_spaces, total.ended,
      total.disks_ended, total.changes, probes["space_machine.opened"],
      probes["replication.state_begun"], probes["space_image.loaded"], probes["space_merge.done"]);
  std::printf(
      "%lu transactions over accounts, %lu that failed, %lu reads by command, %lu by query, %lu of "
      "which nobody was told\n",
      total.accounts.done, total.accounts.undone, total.accounts.looks, total.accounts.queries,
      total.accounts.unknown);
  std::printf("taken on purpose: %s\n", fired_text(hooks).c_str());
  EXPECT_GT(total.in_spaces, seeds);
  EXPECT_GT(total.accounts.done, seeds);
  EXPECT_GT(total.accounts.queries, 0u);
  if (seeds < 50) return;  // what a few have is chance
  EXPECT_GT(total.in_spaces, seeds * 50);
  EXPECT_GT(total.accounts.done, seeds * 10);
  EXPECT_GT(total.accounts.undone, seeds * 3);
  EXPECT_GT(total.accounts.looks, seeds);
  EXPECT_GT(total.accounts.queries, seeds * 5);
  for (const char* const place : {"replication.undone", "log.installed", "log.compacted",
                                  "space_machine.opened", "space_image.loaded", "space_merge.done",
                                  "replication.state_begun", "replication.state_arrived"}) {
    EXPECT_GT(probes[place], 0u) << place;
  }
  expect_fired(hooks, {"replication.state_one_part", "replication.state_busy", "node.space_closed",
                       "node.image_checkpoint_early"});
}

TEST(SpaceCampaign, ARunIsTheSameAgain) {
  SimHooks hooks({.buggify = false});
  for (const std::uint64_t seed : {3, 4}) {
    const ClusterWorldOptions options = options_of(seed, &hooks);
    const ClusterWorldResult result = run_cluster_world(options);
    EXPECT_EQ(result.violation, "") << result.state;
    const ClusterWorldResult again = run_cluster_world(options);
    EXPECT_EQ(again.trace_hash, result.trace_hash);
    EXPECT_EQ(again.events, result.events);
  }
  EXPECT_FALSE(hooks.buggify_sites().empty());
}

}  // namespace
}  // namespace dolmen::sim
