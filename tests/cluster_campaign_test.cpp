// SPDX-License-Identifier: Apache-2.0
//
// Whole clusters under faults: five groups on twelve nodes. A seed again: the command that a
// failure prints.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "base/test_budget.hpp"
#include "sim/cluster_world.hpp"
#include "sim/sim_hooks.hpp"
#include "tests/planted_bug.hpp"

namespace dolmen::sim {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::uint64_t seeds_to_run() { return dolmen::base::budget("cluster_seeds"); }

TEST(ClusterCampaign, ClientsOfEveryGroupSeeOneCounterWhateverFails) {
  const std::uint64_t seeds = from_environment("DOLMEN_CLUSTER_SEEDS", seeds_to_run());
  // An assertion that fails ends the process: then at least with the seed.
  static std::uint64_t running = 0;
  std::signal(SIGABRT,
              [](int) { std::fprintf(stderr, "with DOLMEN_CLUSTER_SEED=%lu\n", running); });
  const std::uint64_t first = from_environment("DOLMEN_CLUSTER_FIRST", 1);
  SimHooks hooks({.buggify = false});
  ClusterWorldResult total;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    running = seed;
    const ClusterWorldOptions options{.seed = seed, .hooks = &hooks};
    const ClusterWorldResult result = run_cluster_world(options);
    ASSERT_EQ(result.violation, "") << command_of(minimise(options)) << "\n" << result.state;
    total.events += result.events;
    total.simulated_ns += result.simulated_ns;
    total.answered += result.answered;
    total.reads += result.reads;
    total.attempts += result.attempts;
    total.ended += result.ended;
    total.changes += result.changes;
    total.disks_ended += result.disks_ended;
    total.connections_lost += result.connections_lost;
    total.packets += result.packets;
  }
  std::printf(
      "%lu seeds, %.1f simulated minutes, %lu events, %lu packets, %lu answers (%lu reads), %lu "
      "attempts more, %lu processes ended, %lu members by their disks, %lu ends of connections, "
      "%lu "
      "changes of members\n",
      seeds, static_cast<double>(total.simulated_ns) / 6e10, total.events, total.packets,
      total.answered, total.reads, total.attempts, total.ended, total.disks_ended,
      total.connections_lost, total.changes);
  std::printf("taken on purpose: %s\n", fired_text(hooks).c_str());
  EXPECT_GT(total.answered, seeds);
  EXPECT_GT(total.reads, seeds);
  EXPECT_GT(total.ended, 0u);
  if (seeds < 60) return;  // what a few have is chance
  EXPECT_GT(total.answered, seeds * 200);
  EXPECT_GT(total.reads, seeds * 60);
  EXPECT_GT(total.ended, seeds);
  EXPECT_GT(total.changes, seeds / 2);
  expect_fired(
      hooks,
      {"log.send_again", "log.one_entry", "replication.roster_late", "replication.propose_later",
       "replication.letter_lost", "replication.letter_again", "replication.answer_later",
       "replication.checkpoint_early", "replication.read_later", "replication.lease_unused"});
  if (seeds < 300) return;
  auto probes = hooks.probes();
  for (const char* const place : {"replication.undone", "log.installed", "log.compacted"}) {
    EXPECT_GT(probes[place], 0u) << place;
  }
  EXPECT_GT(total.disks_ended, seeds / 10);
}

TEST(ClusterCampaign, OneSeed) {
  SimHooks hooks({.buggify = false});
  const ClusterWorldOptions options{
      .seed = from_environment("DOLMEN_CLUSTER_SEED", 3),
      .faulty_ns = from_environment("DOLMEN_CLUSTER_MS", 500) * 1'000'000,
      .faults =
          static_cast<std::uint32_t>(from_environment("DOLMEN_CLUSTER_FAULTS", kAllClusterFaults)),
      .hooks = &hooks};
  const ClusterWorldResult result = run_cluster_world(options);
  EXPECT_EQ(result.violation, "") << result.state;
  const ClusterWorldResult again = run_cluster_world(options);
  EXPECT_EQ(again.trace_hash, result.trace_hash);
  EXPECT_EQ(again.events, result.events);
}

// More nodes, and more groups on each.
TEST(ClusterCampaign, ThirtyNodesAndTwelveGroups) {
  const ClusterWorldOptions options{
      .seed = 11, .nodes = 30, .groups = 12, .clients = 1, .faulty_ns = 500'000'000};
  const ClusterWorldResult result = run_cluster_world(options);
  EXPECT_EQ(result.violation, "") << result.state;
  EXPECT_GT(result.answered, 100u);
}

TEST(ClusterCampaign, PlantedBugsAreSeen) {
  if (base::kSanitized) GTEST_SKIP() << "takes many seeds; the release build runs it";
  for (const char* const bug : {"log.adopt_own", "log.decide_by_minority", "journal.no_sync",
                                "log.read_unconfirmed", "replication.read_early"}) {
    const std::uint64_t seed = first_seen(bug, 60, [](std::uint64_t run) {
      return !run_cluster_world({.seed = run}).violation.empty();
    });
    EXPECT_NE(seed, 0u) << bug;
    std::printf("%s: seed %lu\n", bug, seed);
  }
}

}  // namespace
}  // namespace dolmen::sim
