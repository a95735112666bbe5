// SPDX-License-Identifier: Apache-2.0
#include "node/index_copies.hpp"

namespace dolmen::node {

std::optional<IndexLed> choose_copies(const std::map<fabric::NodeId, IndexCopy>& copies) {
  const IndexCopy* leader = nullptr;
  for (const auto& [node, copy] : copies) {
    if (copy.said.epoch == 0 || copy.said.bytes < cluster::kDirectoryAt) continue;
    if (leader == nullptr || copy.said.epoch > leader->said.epoch) leader = &copy;
  }
  if (leader == nullptr) return std::nullopt;
  const log::Configuration& counts_now = leader->said.configuration;
  IndexLed chosen{.epoch = {.epoch = leader->said.epoch, .configured = leader->said.configured}};
  const std::size_t majority = counts_now.voters.size() / 2 + 1;
  if (counts_now.is_voter(leader->replica)) chosen.lines.push_back(*leader);
  for (const auto& [node, copy] : copies) {
    if (chosen.lines.size() == majority) break;
    if (&copy == leader || copy.said.bytes == 0 || !counts_now.is_voter(copy.replica)) continue;
    chosen.lines.push_back(copy);
  }
  if (chosen.lines.size() < majority || chosen.lines.front().replica != leader->replica) {
    return std::nullopt;
  }
  chosen.epoch.lines = static_cast<std::uint32_t>(chosen.lines.size());
  return chosen;
}

}  // namespace dolmen::node
