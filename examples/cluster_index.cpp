// SPDX-License-Identifier: Apache-2.0
//
// An index in a cluster of this program's own processes: names and years, spread over two groups.
// The node that leads one of them is killed, and everything that was put is there.
#include <span>
#include <string>

#include <dolmen/cluster.hpp>
#include <dolmen/index.hpp>

#include "cluster_demo.hpp"

int main(int count, char** words) {
  dolmen::NodeRunOptions options;
  options.lost_after = std::chrono::seconds(1);
  if (demo::is_node(count, words)) return demo::serve(words[2], options);

  demo::Nodes nodes(3);
  auto cluster = dolmen::Cluster::open(nodes.address()).value();
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };

  demo::doing = "making an index";
  cluster.create_index("years", 2).value();
  dolmen::Index years = cluster.index("years").value();
  constexpr int kNames = 200;
  constexpr std::chrono::seconds kPatience(30);
  demo::doing = "putting";
  for (int i = 0; i < kNames; ++i) {
    const std::string year = std::to_string(1800 + i);
    years.put(bytes("name " + std::to_string(i)), bytes(year), kPatience).value();
  }

  demo::doing = "killing whoever leads";
  std::uint32_t leader = 0;
  while (leader == 0) {
    const auto status = cluster.status();
    if (!status) continue;
    for (const auto& group : status->groups) {
      if (group.name == "years/0") leader = group.leader;
    }
  }
  bool is_sound = nodes.end(leader, SIGKILL);

  demo::doing = "getting";
  int found = 0;
  for (int i = 0; i < kNames; ++i) {
    const auto year = years.get(bytes("name " + std::to_string(i)), kPatience).value();
    const std::string expected = std::to_string(1800 + i);
    if (year && std::ranges::equal(*year, bytes(expected))) ++found;
  }
  const dolmen::IndexCounts counts = years.counts();
  std::printf("%.1f s: node %u was killed; %d of %d names found, %llu of them read in memory\n",
              nodes.age_s(), leader, found, kNames,
              static_cast<unsigned long long>(counts.one_sided));
  is_sound &= found == kNames;
  is_sound &= nodes.stop();
  return is_sound ? 0 : 1;
}
