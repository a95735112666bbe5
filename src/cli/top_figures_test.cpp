// SPDX-License-Identifier: Apache-2.0
#include "cli/top_figures.hpp"

#include <gtest/gtest.h>

namespace dolmen::cli {
namespace {

/// What a node of two groups says: it leads the second one if `leads`.
std::string node_text(double uptime_s, bool leads, int calls, int slow, int entries) {
  const std::string group = "{group=\"2\",kind=\"space\",name=\"web\"";
  const auto line = [](const std::string& name, double value) {
    return name + " " + std::to_string(value) + "\n";
  };
  return line("dolmen_uptime_seconds", uptime_s) + line("dolmen_memory_resident_bytes", 5e6) +
         line("dolmen_disk_used_bytes{what=\"journal\"}", 1000) +
         line("dolmen_disk_used_bytes{what=\"spaces\"}", 500) +
         line("dolmen_disk_free_bytes", 7e9) + line("dolmen_journal_sync_seconds_count", calls) +
         line("dolmen_sent_bytes_total{peer=\"clients\"}", calls * 10) +
         line("dolmen_sent_bytes_total{peer=\"2\"}", calls * 20) +
         line("dolmen_received_bytes_total{peer=\"2\"}", calls) +
         line("dolmen_call_seconds_bucket{le=\"0.001\"}", calls - slow) +
         line("dolmen_call_seconds_bucket{le=\"0.002\"}", calls) +
         line("dolmen_call_seconds_bucket{le=\"+Inf\"}", calls) +
         line("dolmen_calls_total" + group + ",outcome=\"done\"}", calls) +
         line("dolmen_calls_total" + group + ",outcome=\"busy\"}", 2 * calls) +
         line("dolmen_reads_total" + group + ",outcome=\"done\"}", 3 * calls) +
         line("dolmen_group_leads" + group + "}", leads ? 1 : 0) +
         line("dolmen_group_epoch" + group + "}", leads ? 5 : 4) +
         line("dolmen_entries_decided_total" + group + "}", entries) +
         line("dolmen_log_bytes_total" + group + "}", entries * 100) +
         line("dolmen_group_stable_index" + group + "}", entries + 1000) +
         line("dolmen_outbox_mails" + group + "}", 4) +
         (leads ? line("dolmen_follower_lag_entries" + group + ",member=\"2\"}", 9) : "") +
         "something_else{group=\"x\"} 1\n";
}

ClusterStatus status() {
  ClusterStatus status{.cluster = "c", .version = 7};
  status.nodes = {{.number = 1, .name = "one", .state = "active", .seats = 2},
                  {.number = 2, .name = "two", .state = "active", .seats = 1},
                  {.number = 3, .name = "gone", .state = "removed"}};
  status.groups = {{.number = 1, .kind = "root"}, {.number = 2, .name = "web", .kind = "space"}};
  return status;
}

TopLook look(std::vector<ClusterMetrics::Node> nodes) {
  return look_of({.status = status(), .nodes = std::move(nodes)});
}

TEST(TopFigures, SayWhatHappenedBetweenTwoLooks) {
  const TopLook before =
      look({{1, node_text(10, true, 100, 1, 50)}, {2, node_text(3, false, 0, 0, 50)}});
  const TopLook now =
      look({{1, node_text(12, true, 300, 5, 90)}, {2, node_text(5, false, 0, 0, 90)}});
  const TopTable table = table_of(before, now);
  EXPECT_EQ(table.version, 7u);
  ASSERT_EQ(table.nodes.size(), 2u) << "who was removed is not shown";
  const TopNode& one = table.nodes[0];
  EXPECT_TRUE(one.is_reached);
  EXPECT_EQ(one.leads, 1u);
  EXPECT_EQ(one.calls_per_s, 100);
  EXPECT_EQ(one.busy_per_s, 200);
  EXPECT_EQ(one.reads_per_s, 300);
  EXPECT_EQ(one.syncs_per_s, 100);
  EXPECT_EQ(one.sent_bytes_per_s, 3000);
  EXPECT_EQ(one.received_bytes_per_s, 100);
  EXPECT_EQ(one.call_p50_s, 0.001);
  EXPECT_EQ(one.call_p99_s, 0.002) << "4 of 200 were slow";
  EXPECT_EQ(one.memory_bytes, 5e6);
  EXPECT_EQ(one.disk_used_bytes, 1500);
  EXPECT_EQ(one.disk_free_bytes, 7e9);
  EXPECT_EQ(table.nodes[1].calls_per_s, 0);
  EXPECT_EQ(table.nodes[1].call_p50_s, std::nullopt) << "of no calls";
  ASSERT_EQ(table.groups.size(), 2u);
  EXPECT_EQ(table.groups[0].leader, 0u);
  EXPECT_EQ(table.groups[0].entries_per_s, std::nullopt);
  const TopGroup& web = table.groups[1];
  EXPECT_EQ(web.leader, 1u);
  EXPECT_EQ(web.calls_per_s, 100);
  EXPECT_EQ(web.entries_per_s, 20);
  EXPECT_EQ(web.log_bytes_per_s, 2000);
  EXPECT_EQ(web.stable_index, 1090);
  EXPECT_EQ(web.outbox_mails, 4);
  EXPECT_EQ(web.lag, (std::vector<std::pair<std::uint32_t, std::uint64_t>>{{2, 9}}));
}

TEST(TopFigures, WhatIsNotKnownIsNothing) {
  // A node that began anew, and one that was silent.
  const TopLook before = look({{1, node_text(10, true, 100, 1, 50)}});
  const TopLook now = look({{1, node_text(1, true, 3, 0, 2)}, {2, node_text(5, true, 9, 0, 90)}});
  const TopTable table = table_of(before, now);
  for (const TopNode& node : table.nodes) {
    EXPECT_TRUE(node.is_reached);
    EXPECT_EQ(node.calls_per_s, std::nullopt);
    EXPECT_EQ(node.call_p99_s, std::nullopt);
    EXPECT_EQ(node.memory_bytes, 5e6);
  }
  EXPECT_EQ(table.groups[1].leader, 1u) << "the first of one epoch";
  EXPECT_EQ(table.groups[1].entries_per_s, std::nullopt);
  EXPECT_EQ(table.groups[1].stable_index, 1002);
  const TopTable later = table_of(now, look({}));
  EXPECT_FALSE(later.nodes[0].is_reached);
  EXPECT_EQ(later.nodes[0].memory_bytes, std::nullopt);
  EXPECT_EQ(later.groups[1].leader, 0u);
  EXPECT_EQ(later.groups[1].stable_index, std::nullopt);
}

TEST(TopFigures, WhoWasDeposedAndDoesNotKnowItDoesNotLead) {
  std::string old = node_text(10, true, 1, 0, 1);
  const std::string epoch = "dolmen_group_epoch{group=\"2\",kind=\"space\",name=\"web\"} ";
  old.replace(old.find(epoch) + epoch.size(), 1, "3");
  const TopLook now = look({{1, old}, {2, node_text(10, true, 1, 0, 1)}});
  EXPECT_EQ(table_of(now, now).groups[1].leader, 2u);
}

TEST(TopFigures, ANodeThatSaysNonsenseIsSilent) {
  const TopLook now = look({{1, "what?"}, {2, node_text(1, true, 1, 0, 1)}});
  EXPECT_EQ(now.nodes.size(), 1u);
  EXPECT_FALSE(table_of(now, now).nodes[0].is_reached);
  EXPECT_EQ(figures_of("a{").error().code(), Errc::corrupt);
}

}  // namespace
}  // namespace dolmen::cli
