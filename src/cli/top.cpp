// SPDX-License-Identifier: Apache-2.0
//
// dolmen top: what a cluster's nodes and groups do, again and again (docs/metrics.md).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cli/command.hpp"
#include "cli/top_figures.hpp"
#include "sys/linux/child.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

struct TopOptions {
  std::string address;
  double interval_s = 1;
  double patience_s = 10;
  bool once = false;
  bool json = false;
};

constexpr double kTopLongestS = 1e6;

Result<TopLook> look(Cluster& cluster, std::chrono::milliseconds patience) {
  DOLMEN_TRY(const ClusterMetrics told, cluster.metrics(patience));
  return look_of(told);
}

/// Three digits, and what they are times of.
std::string scaled(double value, double step, std::string_view suffixes) {
  std::size_t power = 0;
  while (value >= step && power + 1 < suffixes.size()) {
    value /= step;
    ++power;
  }
  char text[32];
  const bool is_whole = power == 0 && value == static_cast<double>(static_cast<int>(value));
  std::snprintf(text, sizeof text, is_whole || value >= 100 ? "%.0f" : "%.1f", value);
  return power == 0 ? text : text + std::string(1, suffixes[power]);
}
std::string count_text(const std::optional<double>& value) {
  return value ? scaled(*value, 1000, " kMGT") : "-";
}
std::string bytes_text(const std::optional<double>& value) {
  return value ? scaled(*value, 1024, " KMGT") : "-";
}
std::string time_text(const std::optional<double>& seconds) {
  if (!seconds) return "-";
  const double us = *seconds * 1e6;
  char text[32];
  if (us < 1000) {
    std::snprintf(text, sizeof text, "%.0fus", us);
  } else if (us < 1e6) {
    std::snprintf(text, sizeof text, "%.1fms", us / 1000);
  } else {
    std::snprintf(text, sizeof text, "%.1fs", us / 1e6);
  }
  return text;
}

Json json_of(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json json_of(const TopTable& table) {
  Json nodes = Json::array();
  for (const TopNode& node : table.nodes) {
    nodes.push_back({{"node", node.number},
                     {"name", node.name},
                     {"state", node.state},
                     {"seats", node.seats},
                     {"reached", node.is_reached},
                     {"leads", node.leads},
                     {"calls_per_s", json_of(node.calls_per_s)},
                     {"reads_per_s", json_of(node.reads_per_s)},
                     {"busy_per_s", json_of(node.busy_per_s)},
                     {"call_p50_s", json_of(node.call_p50_s)},
                     {"call_p99_s", json_of(node.call_p99_s)},
                     {"syncs_per_s", json_of(node.syncs_per_s)},
                     {"sent_bytes_per_s", json_of(node.sent_bytes_per_s)},
                     {"received_bytes_per_s", json_of(node.received_bytes_per_s)},
                     {"memory_bytes", json_of(node.memory_bytes)},
                     {"disk_used_bytes", json_of(node.disk_used_bytes)},
                     {"disk_free_bytes", json_of(node.disk_free_bytes)}});
  }
  Json groups = Json::array();
  for (const TopGroup& group : table.groups) {
    Json lag = Json::array();
    for (const auto& [member, entries] : group.lag) {
      lag.push_back({{"member", member}, {"entries", entries}});
    }
    groups.push_back({{"group", group.number},
                      {"name", group.name},
                      {"kind", group.kind},
                      {"leader", group.leader},
                      {"stable_index", json_of(group.stable_index)},
                      {"calls_per_s", json_of(group.calls_per_s)},
                      {"entries_per_s", json_of(group.entries_per_s)},
                      {"log_bytes_per_s", json_of(group.log_bytes_per_s)},
                      {"lag", std::move(lag)},
                      {"outbox_mails", json_of(group.outbox_mails)}});
  }
  return {{"cluster", table.cluster},
          {"version", table.version},
          {"nodes", std::move(nodes)},
          {"groups", std::move(groups)}};
}

void print_line(std::initializer_list<std::pair<std::string, std::size_t>> cells,
                const std::string& last) {
  std::string line;
  for (const auto& [text, width] : cells) line += column(text, width);
  std::printf("%s%s\n", line.c_str(), last.c_str());
}

void print(const TopTable& table) {
  std::printf("cluster %s, map %s\n\n", table.cluster.c_str(),
              std::to_string(table.version).c_str());
  print_line({{"NODE", 5},
              {"STATE", 8},
              {"LEADS", 5},
              {"CALLS/S", 7},
              {"READS/S", 7},
              {"P50", 7},
              {"P99", 7},
              {"SYNCS/S", 7},
              {"SENT/S", 6},
              {"MEMORY", 6},
              {"DISK", 6},
              {"FREE", 6}},
             "NAME");
  for (const TopNode& node : table.nodes) {
    print_line({{std::to_string(node.number), 5},
                {node.is_reached || node.state != "active" ? node.state : "silent", 8},
                {node.is_reached ? std::to_string(node.leads) : "-", 5},
                {count_text(node.calls_per_s), 7},
                {count_text(node.reads_per_s), 7},
                {time_text(node.call_p50_s), 7},
                {time_text(node.call_p99_s), 7},
                {count_text(node.syncs_per_s), 7},
                {bytes_text(node.sent_bytes_per_s), 6},
                {bytes_text(node.memory_bytes), 6},
                {bytes_text(node.disk_used_bytes), 6},
                {bytes_text(node.disk_free_bytes), 6}},
               shown(node.name));
  }
  std::printf("\n");
  print_line({{"GROUP", 5},
              {"KIND", 9},
              {"LEADER", 6},
              {"ENTRY", 10},
              {"CALLS/S", 7},
              {"ENTRIES/S", 9},
              {"BYTES/S", 7},
              {"LAG", 6},
              {"OUTBOX", 6}},
             "NAME");
  for (const TopGroup& group : table.groups) {
    std::optional<double> lag;
    for (const auto& [member, entries] : group.lag) {
      lag = std::max(lag.value_or(0), static_cast<double>(entries));
    }
    char entry[32] = "-";
    if (group.stable_index) std::snprintf(entry, sizeof entry, "%.0f", *group.stable_index);
    print_line({{std::to_string(group.number), 5},
                {group.kind, 9},
                {group.leader == 0 ? "-" : std::to_string(group.leader), 6},
                {entry, 10},
                {count_text(group.calls_per_s), 7},
                {count_text(group.entries_per_s), 9},
                {bytes_text(group.log_bytes_per_s), 7},
                {count_text(lag), 6},
                {count_text(group.outbox_mails), 6}},
               group.name.empty() ? "-" : shown(group.name));
  }
  std::fflush(stdout);
}

int top(const TopOptions& options) {
  const std::chrono::milliseconds patience(static_cast<std::int64_t>(options.patience_s * 1000));
  auto cluster = Cluster::open(options.address, patience);
  if (!cluster) return failed(cluster.error());
  auto before = look(*cluster, patience);
  if (!before) return failed(before.error());
  // One document is all that a reader of JSON expects.
  const bool is_once = options.once || options.json;
  const bool clears = sys::is_terminal(1) && !is_once;
  for (bool is_first = true;; is_first = false) {
    sys::linux_env().clock->sleep_ns(static_cast<std::uint64_t>(options.interval_s * 1e9));
    auto now = look(*cluster, patience);
    if (!now) {
      const int exit = failed(now.error());
      if (is_once) return exit;
      continue;  // it may be back with the next look
    }
    const TopTable table = table_of(*before, *now);
    if (options.json) {
      print_json(json_of(table));
    } else {
      // To the corner, and nothing of the former one below.
      if (clears) std::fputs("\x1b[H\x1b[J", stdout);
      if (!clears && !is_first) std::fputc('\n', stdout);
      print(table);
    }
    if (is_once) return kOk;
    // Somebody may read it through a pipe that is gone.
    if (std::ferror(stdout) != 0) return failed("standard output cannot be written");
    before = std::move(now);
  }
}

}  // namespace

void add_top(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* const command =
      add_command(app, "top", "what the nodes and groups of a cluster do, again and again",
                  "dolmen top 'dolmen://127.0.0.1:7401?identity=keys/client-1.key'", options->json);
  add_cluster_address(*command, options->address);
  command->add_flag("--once", options->once, "one table, and the end; so does --json");
  command->add_option("--interval", options->interval_s, "seconds between two looks")
      ->check(number_between(0.05, 3600.0))
      ->capture_default_str();
  command->add_option("--patience", options->patience_s, "seconds that a look may take")
      ->check(number_between(0.0, kTopLongestS))
      ->capture_default_str();
  command->callback([options, &chosen] { chosen.run = [options] { return top(*options); }; });
}

}  // namespace dolmen::cli
