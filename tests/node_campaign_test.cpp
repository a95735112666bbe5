// SPDX-License-Identifier: Apache-2.0
//
// Whole clusters of nodes under faults, with a root group. A seed again:
// DOLMEN_NODE_SEED=<seed> node_campaign_test --gtest_filter=NodeCampaign.OneSeed
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "base/test_budget.hpp"
#include "sim/node_world.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/linux/linux.hpp"
#include "tests/planted_bug.hpp"

namespace dolmen::sim {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// First: a child of a process that has opened spaces cannot use any.
TEST(NodeCampaign, PlantedBugsAreSeen) {
  if (base::kSanitized) GTEST_SKIP() << "takes many seeds; the release build runs it";
  /// From seed `first` on: one that shows it soon, where few do.
  const auto expect_seen = [](const char* bug, bool has_indexes, bool has_intruders,
                              std::uint64_t first = 1) {
    const std::uint64_t seed =
        first_seen(bug, from_environment("DOLMEN_NODE_BUG_SEEDS", 300), [=](std::uint64_t run) {
          return !run_node_world({.seed = first - 1 + run,
                                  .founders_min = 2,
                                  .may_have_indexes = has_indexes,
                                  .has_intruders = has_intruders})
                      .violation.empty();
        });
    EXPECT_NE(seed, 0u) << bug;
    std::printf("%s: seed %lu\n", bug, seed == 0 ? 0 : first - 1 + seed);
  };
  for (const char* const bug :
       {"cluster.life_again", "cluster.earlier_map", "cluster.sent_before_stable",
        "cluster.told_before_stable", "cluster.trimmed_when_sent", "cluster.told_once",
        "mail.not_in_snapshot"}) {
    expect_seen(bug, false, false);
  }
  expect_seen("cluster.reports_unsettled", false, false, 210);
  for (const char* const bug :
       {"cluster.keeps_old_replica", "homes.not_in_snapshot", "cluster.home_not_undone",
        "homes.frozen_written", "homes.erase_forgotten", "homes.publish_forgotten",
        "homes.aside_not_in_snapshot", "directory.shown_early", "cluster.home_first_shard"}) {
    expect_seen(bug, true, false);
  }
  for (const char* const bug :
       {"cluster.lines_not_looked_at", "cluster.recalled_any_place",
        "replication.handle_not_checked", "replication.session_of_anybody"}) {
    expect_seen(bug, true, true);
  }
}

TEST(NodeCampaign, GroupsAreWhatTheMapSaysWhateverFails) {
  const std::uint64_t first = from_environment("DOLMEN_NODE_FIRST", 1);
  const std::uint64_t seeds = from_environment("DOLMEN_NODE_SEEDS", base::budget("node_seeds"));
  // An assertion that fails ends the process: then at least with the seed.
  static std::uint64_t running = 0;
  std::signal(SIGABRT, [](int) { std::fprintf(stderr, "with DOLMEN_NODE_SEED=%lu\n", running); });
  SimHooks hooks({.buggify = false});
  NodeWorldResult total;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    running = seed;
    const NodeWorldResult result =
        run_node_world({.seed = seed, .memory = sys::linux_env().memory, .hooks = &hooks});
    ASSERT_EQ(result.violation, "") << "DOLMEN_NODE_SEED=" << seed << "\n" << result.state;
    total.events += result.events;
    total.simulated_ns += result.simulated_ns;
    total.answered += result.answered;
    total.read_afar += result.read_afar;
    total.scanned += result.scanned;
    total.read_in_one += result.read_in_one;
    total.read_by_lease += result.read_by_lease;
    total.homes_read += result.homes_read;
    total.homes_by_lease += result.homes_by_lease;
    total.ended += result.ended;
    total.changes += result.changes;
    total.nodes += result.nodes;
    total.transfers += result.transfers;
    total.published += result.published;
    total.refused += result.refused;
    total.moved += result.moved;
    total.written += result.written;
    total.in_spaces += result.in_spaces;
    total.of_spaces += result.of_spaces;
    total.accounts += result.accounts;
  }
  std::printf(
      "%lu seeds, %.1f simulated minutes, %lu events, %lu answers, %lu of them read from afar, "
      "%lu processes ended, %lu changes of members, %lu nodes, %lu transfers, %lu objects "
      "published, written to %lu times, %lu of them moved, looked up from afar %lu times, %lu "
      "questions refused\n",
      seeds, static_cast<double>(total.simulated_ns) / 6e10, total.events, total.answered,
      total.read_afar, total.ended, total.changes, total.nodes, total.transfers, total.published,
      total.written, total.moved, total.homes_read, total.refused);
  std::printf(
      "%lu answers of spaces, %lu transfers of theirs, %lu transactions over accounts, %lu that "
      "failed, %lu reads of them by query\n",
      total.in_spaces, total.of_spaces, total.accounts.done, total.accounts.undone,
      total.accounts.queries);
  std::printf("taken on purpose: %s\n", fired_text(hooks).c_str());
  base::say_bound("node_seeds", seeds);
  EXPECT_GT(total.answered, seeds);
  EXPECT_GT(total.ended, 0u);
  EXPECT_GT(total.transfers, seeds);
  EXPECT_GT(total.refused, seeds);
  if (seeds < 100) return;  // what a few have is chance
  EXPECT_GT(total.answered, seeds * 50);
  EXPECT_GT(total.ended, seeds / 2);
  EXPECT_GT(total.transfers, seeds * 20);
  EXPECT_GT(total.refused, seeds * 10);
  EXPECT_GT(total.read_afar, seeds * 3);
  EXPECT_GT(total.scanned, seeds / 3);
  EXPECT_GT(total.read_in_one, seeds / 3);
  EXPECT_GT(total.read_by_lease, seeds / 3);
  EXPECT_GT(total.homes_read, seeds * 20);
  EXPECT_GT(total.homes_by_lease, seeds);
  EXPECT_GT(total.changes, seeds);
  EXPECT_GT(total.published, seeds * 5);
  EXPECT_GT(total.written, seeds * 5);
  EXPECT_GT(total.moved, seeds);
  EXPECT_GT(total.in_spaces, seeds);
  EXPECT_GT(total.of_spaces, seeds / 10);
  EXPECT_GT(total.accounts.done, seeds / 10);
  expect_fired(hooks, {"replication.roster_late",
                       "replication.propose_later",
                       "replication.letter_lost",
                       "replication.letter_again",
                       "replication.answer_later",
                       "replication.checkpoint_early",
                       "replication.read_later",
                       "replication.lease_unused",
                       "replication.lease_short",
                       "replication.memory_untold",
                       "cluster.mail_again",
                       "cluster.mail_alone",
                       "cluster.window_small",
                       "cluster.mail_untaken",
                       "cluster.trim_early",
                       "cluster.plan_early",
                       "node.map_late",
                       "node.order_again",
                       "node.report_unheard",
                       "node.mail_to_all",
                       "node.mail_declined",
                       "node.outbox_full",
                       "node.parts_few"});
}

// Two groups give each other objects of more parts than their outboxes have room for at once.
TEST(NodeCampaign, PartsThatHaveRoomAreNotHeldUpByThoseThatHaveNone) {
  const SimHooks hooks({.seed = 1, .buggify = false});
  const NodeWorldResult result = run_node_world({.seed = 899, .founders_min = 2});
  ASSERT_EQ(result.violation, "") << result.state;
  EXPECT_GT(result.moved, 0u);
}

TEST(NodeCampaign, OneSeed) {
  SimHooks hooks({.buggify = false});
  const NodeWorldOptions options{
      .seed = from_environment("DOLMEN_NODE_SEED", 3),
      .faulty_ns = from_environment("DOLMEN_NODE_MS", 2'500) * 1'000'000,
      .faults = static_cast<std::uint32_t>(from_environment("DOLMEN_NODE_FAULTS", kAllNodeFaults)),
      .memory = sys::linux_env().memory,
      .hooks = &hooks};
  const NodeWorldResult result = run_node_world(options);
  EXPECT_EQ(result.violation, "") << result.state;
  const NodeWorldResult again = run_node_world(options);
  EXPECT_EQ(again.trace_hash, result.trace_hash);
  EXPECT_EQ(again.events, result.events);
}

// Where no process ends nothing of what they counted is lost.
TEST(NodeCampaign, NodesCountTheirMail) {
  const SimHooks hooks({.seed = 1, .buggify = false});
  NodeWorldResult total;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const NodeWorldResult result = run_node_world(
        {.seed = seed, .faulty_ns = 500'000'000, .founders_min = 2, .faults = kNodeOperator});
    ASSERT_EQ(result.violation, "") << result.state;
    // A courier that is new does not know what the one before had sent.
    EXPECT_GE(result.mails_sent - result.mails_again, result.transfers) << seed;
    EXPECT_GE(result.mails_received, result.transfers) << seed;
    EXPECT_EQ(result.mails_left, 0u) << seed;
    total.transfers += result.transfers;
    total.mails_sent += result.mails_sent;
    total.mails_again += result.mails_again;
  }
  EXPECT_GT(total.transfers, 0u);
  EXPECT_GT(total.mails_again, 0u);
  EXPECT_LT(total.mails_sent - total.mails_again, 2 * total.transfers);
}

}  // namespace
}  // namespace dolmen::sim
