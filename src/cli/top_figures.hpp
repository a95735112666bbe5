// SPDX-License-Identifier: Apache-2.0
//
// What `dolmen top` shows, made of two looks at the figures of a cluster's nodes. Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dolmen/cluster.hpp>

namespace dolmen::cli {

/// What one node said at one time, as far as it is shown.
struct NodeFigures {
  struct Group {
    bool leads = false;
    double epoch = 0;
    double calls = 0;
    double entries = 0;
    double log_bytes = 0;
    double stable_index = 0;
    double outbox_mails = 0;
    std::vector<std::pair<std::uint32_t, std::uint64_t>> lag{};  ///< member, entries
  };
  double uptime_s = 0;
  double calls = 0;
  double reads = 0;
  double busy = 0;
  double syncs = 0;
  double sent_bytes = 0;
  double received_bytes = 0;
  double memory_bytes = 0;
  double disk_used_bytes = 0;
  std::optional<double> disk_free_bytes{};
  std::map<double, double> call_seconds{};  ///< how many calls took at most so long
  std::map<std::uint32_t, Group> groups{};
};
/// Errors: corrupt.
[[nodiscard]] Result<NodeFigures> figures_of(const std::string& text);

/// The cluster as it was at one time.
struct TopLook {
  ClusterStatus status{};
  std::map<std::uint32_t, NodeFigures> nodes{};  ///< that answered
};
/// A node whose text is none counts as silent.
[[nodiscard]] TopLook look_of(const ClusterMetrics& told);

// What is nothing is not known: the node was silent at one of the two times, or began in between.
struct TopNode {
  std::uint32_t number = 0;
  std::string name{};
  std::string state{};
  std::uint64_t seats = 0;
  bool is_reached = false;
  std::uint64_t leads = 0;
  std::optional<double> calls_per_s{};
  std::optional<double> reads_per_s{};
  std::optional<double> busy_per_s{};
  std::optional<double> call_p50_s{};  ///< at most so long; nothing also: there were no calls
  std::optional<double> call_p99_s{};
  std::optional<double> syncs_per_s{};
  std::optional<double> sent_bytes_per_s{};
  std::optional<double> received_bytes_per_s{};
  std::optional<double> memory_bytes{};
  std::optional<double> disk_used_bytes{};
  std::optional<double> disk_free_bytes{};
};
struct TopGroup {
  std::uint32_t number = 0;
  std::string name{};
  std::string kind{};
  std::uint32_t leader = 0;  ///< 0: none was reached
  std::optional<double> stable_index{};
  std::optional<double> calls_per_s{};
  std::optional<double> entries_per_s{};
  std::optional<double> log_bytes_per_s{};
  std::vector<std::pair<std::uint32_t, std::uint64_t>> lag{};
  std::optional<double> outbox_mails{};
};
struct TopTable {
  std::string cluster{};
  std::uint64_t version = 0;
  std::vector<TopNode> nodes{};  ///< that were not removed
  std::vector<TopGroup> groups{};
};
[[nodiscard]] TopTable table_of(const TopLook& before, const TopLook& now);

}  // namespace dolmen::cli
