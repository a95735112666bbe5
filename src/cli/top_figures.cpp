// SPDX-License-Identifier: Apache-2.0
#include "cli/top_figures.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "node/metrics_text.hpp"

namespace dolmen::cli {

namespace {

using node::MetricSample;

std::optional<std::uint32_t> number_in(std::string_view text) {
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  if (text.empty() || read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return number;
}

std::optional<double> bound_in(std::string_view text) {
  double bound = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, bound);
  if (read.ec != std::errc() || read.ptr != end || !(bound >= 0)) return std::nullopt;
  return bound;
}

std::uint64_t entries_in(double value) {
  constexpr double kMost = 1e18;
  return value > 0 ? static_cast<std::uint64_t>(std::min(value, kMost)) : 0;
}

void take_group(const MetricSample& sample, NodeFigures& figures, NodeFigures::Group& group) {
  const std::string_view name = sample.name;
  const double value = sample.value;
  const std::string_view outcome = sample.label("outcome");
  if (name == "dolmen_calls_total" && outcome == "done") {
    group.calls += value;
    figures.calls += value;
  }
  if (name == "dolmen_reads_total" && outcome == "done") figures.reads += value;
  const bool is_of_clients = name == "dolmen_calls_total" || name == "dolmen_reads_total";
  if (is_of_clients && outcome == "busy") figures.busy += value;
  if (name == "dolmen_group_leads") group.leads = value == 1;
  if (name == "dolmen_group_epoch") group.epoch = value;
  if (name == "dolmen_entries_decided_total") group.entries = value;
  if (name == "dolmen_log_bytes_total") group.log_bytes = value;
  if (name == "dolmen_group_stable_index") group.stable_index = value;
  if (name == "dolmen_outbox_mails") group.outbox_mails = value;
  if (name == "dolmen_follower_lag_entries") {
    const auto member = number_in(sample.label("member"));
    if (member) group.lag.emplace_back(*member, entries_in(value));
  }
}

void take_node(const MetricSample& sample, NodeFigures& figures) {
  const std::string_view name = sample.name;
  const double value = sample.value;
  if (name == "dolmen_uptime_seconds") figures.uptime_s = value;
  if (name == "dolmen_journal_sync_seconds_count") figures.syncs = value;
  if (name == "dolmen_sent_bytes_total") figures.sent_bytes += value;
  if (name == "dolmen_received_bytes_total") figures.received_bytes += value;
  if (name == "dolmen_memory_resident_bytes") figures.memory_bytes = value;
  if (name == "dolmen_disk_used_bytes") figures.disk_used_bytes += value;
  if (name == "dolmen_disk_free_bytes") figures.disk_free_bytes = value;
  if (name == "dolmen_call_seconds_bucket") {
    if (const auto bound = bound_in(sample.label("le"))) figures.call_seconds[*bound] = value;
  }
}

/// The time which `share` of the calls between the two took at most.
std::optional<double> percentile(const NodeFigures& before, const NodeFigures& now, double share) {
  const double all = now.calls - before.calls;
  if (!(all > 0)) return std::nullopt;
  for (const auto& [bound, count] : now.call_seconds) {
    const auto then = before.call_seconds.find(bound);
    const double former = then == before.call_seconds.end() ? 0 : then->second;
    if (count - former >= all * share) return bound;
  }
  return std::nullopt;  // longer than what is measured
}

/// Two looks at one node.
struct Pair {
  const NodeFigures* before = nullptr;
  const NodeFigures* now = nullptr;
  double seconds = 0;

  [[nodiscard]] std::optional<double> rate(double former, double latter) const {
    if (before == nullptr || !(seconds > 0)) return std::nullopt;
    return std::max(latter - former, 0.0) / seconds;
  }
};

std::optional<Pair> pair_of(const TopLook& before, const TopLook& now, std::uint32_t number) {
  const auto latter = now.nodes.find(number);
  if (latter == now.nodes.end()) return std::nullopt;
  Pair pair{.now = &latter->second};
  const auto former = before.nodes.find(number);
  // A node that began anew counts from zero.
  if (former != before.nodes.end() && former->second.uptime_s < latter->second.uptime_s) {
    pair.before = &former->second;
    pair.seconds = latter->second.uptime_s - former->second.uptime_s;
  }
  return pair;
}

TopNode node_of(const TopLook& before, const TopLook& now, const ClusterStatus::Node& one) {
  TopNode node{.number = one.number, .name = one.name, .state = one.state, .seats = one.seats};
  const auto pair = pair_of(before, now, one.number);
  if (!pair) return node;
  const NodeFigures& latter = *pair->now;
  node.is_reached = true;
  for (const auto& [number, group] : latter.groups) node.leads += group.leads ? 1 : 0;
  node.memory_bytes = latter.memory_bytes;
  node.disk_used_bytes = latter.disk_used_bytes;
  node.disk_free_bytes = latter.disk_free_bytes;
  if (pair->before == nullptr) return node;
  const NodeFigures& former = *pair->before;
  node.calls_per_s = pair->rate(former.calls, latter.calls);
  node.reads_per_s = pair->rate(former.reads, latter.reads);
  node.busy_per_s = pair->rate(former.busy, latter.busy);
  node.call_p50_s = percentile(former, latter, 0.5);
  node.call_p99_s = percentile(former, latter, 0.99);
  node.syncs_per_s = pair->rate(former.syncs, latter.syncs);
  node.sent_bytes_per_s = pair->rate(former.sent_bytes, latter.sent_bytes);
  node.received_bytes_per_s = pair->rate(former.received_bytes, latter.received_bytes);
  return node;
}

/// Who leads the group, of those that were reached: one that was deposed may not know it yet.
std::uint32_t leader_of(const TopLook& now, std::uint32_t number) {
  std::uint32_t leader = 0;
  double epoch = -1;
  for (const auto& [node, figures] : now.nodes) {
    const auto group = figures.groups.find(number);
    if (group == figures.groups.end() || !group->second.leads) continue;
    if (group->second.epoch <= epoch) continue;
    leader = node;
    epoch = group->second.epoch;
  }
  return leader;
}

TopGroup group_of(const TopLook& before, const TopLook& now, const ClusterStatus::Group& one) {
  TopGroup group{.number = one.number, .name = one.name, .kind = one.kind};
  group.leader = leader_of(now, one.number);
  const auto pair = pair_of(before, now, group.leader);
  if (!pair) return group;
  const NodeFigures::Group& latter = pair->now->groups.at(one.number);
  group.stable_index = latter.stable_index;
  group.lag = latter.lag;
  group.outbox_mails = latter.outbox_mails;
  if (pair->before == nullptr) return group;
  const auto found = pair->before->groups.find(one.number);
  if (found == pair->before->groups.end()) return group;
  const NodeFigures::Group& former = found->second;
  group.calls_per_s = pair->rate(former.calls, latter.calls);
  group.entries_per_s = pair->rate(former.entries, latter.entries);
  group.log_bytes_per_s = pair->rate(former.log_bytes, latter.log_bytes);
  return group;
}

}  // namespace

Result<NodeFigures> figures_of(const std::string& text) {
  DOLMEN_TRY(const auto samples, node::parse_metrics(text));
  NodeFigures figures;
  for (const MetricSample& sample : samples) {
    if (const auto group = number_in(sample.label("group"))) {
      take_group(sample, figures, figures.groups[*group]);
    } else {
      take_node(sample, figures);
    }
  }
  return figures;
}

TopLook look_of(const ClusterMetrics& told) {
  TopLook look{.status = told.status};
  for (const ClusterMetrics::Node& node : told.nodes) {
    if (auto figures = figures_of(node.text)) look.nodes.emplace(node.number, *std::move(figures));
  }
  return look;
}

TopTable table_of(const TopLook& before, const TopLook& now) {
  TopTable table{.cluster = now.status.cluster, .version = now.status.version};
  for (const ClusterStatus::Node& node : now.status.nodes) {
    if (node.state != "removed") table.nodes.push_back(node_of(before, now, node));
  }
  for (const ClusterStatus::Group& group : now.status.groups) {
    table.groups.push_back(group_of(before, now, group));
  }
  return table;
}

}  // namespace dolmen::cli
