// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as what nodes of a cluster say to each other, and as the file that says who a node is:
// what is understood is exactly what is written. An order is then carried out by steps, on a group
// that does what it is told: it ends, and nobody is there who should not.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <dolmen/assert.hpp>

#include "node/cluster_message.hpp"
#include "node/node_file.hpp"

namespace {

using namespace dolmen;

template <class Decode>
void expect_same_bytes(const Decode& decode, base::Bytes bytes) {
  if (const auto decoded = decode(bytes)) {
    DOLMEN_ASSERT(std::ranges::equal(node::encode(*decoded), bytes));
  }
}

/// As a group does it that refuses nothing.
void take(log::Configuration& now, const replication::Change& step) {
  std::erase(now.learners, step.replica);
  std::erase(now.voters, step.replica);
  if (step.kind == replication::ChangeKind::learn) now.learners.push_back(step.replica);
  if (step.kind == replication::ChangeKind::vote) {
    std::erase(now.voters, step.instead);
    now.voters.push_back(step.replica);
  }
  std::ranges::sort(now.learners);
  std::ranges::sort(now.voters);
}

void carry_out(const cluster::ChangeOrder& order) {
  log::Configuration now;
  for (const cluster::NodeNumber node : {1u, 2u, 3u, order.leave}) {
    const auto id = replication::replica_of(fabric::NodeId{node}, replication::kFirstLife);
    const bool is_there = std::ranges::find(now.voters, id) != now.voters.end();
    if (node != 0 && !is_there) now.voters.push_back(id);
  }
  std::ranges::sort(now.voters);
  std::size_t steps = 0;
  while (const auto step = node::next_step(order, now)) {
    DOLMEN_ASSERT_CMP(++steps, <=, 3u);
    take(now, *step);
  }
  const log::ReplicaId added = node::added_replica(order.add, order.since);
  if (order.is_stop) {
    DOLMEN_ASSERT(order.add == 0 || !now.is_learner(added));
    return;
  }
  DOLMEN_ASSERT(order.add == 0 || now.is_voter(added));
  for (const log::ReplicaId voter : now.voters) {
    DOLMEN_ASSERT(order.leave == 0 || voter == added ||
                  replication::node_of(voter) != fabric::NodeId{order.leave});
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::Bytes bytes = std::as_bytes(std::span(data, size));
  expect_same_bytes(node::decode_ask_map, bytes);
  expect_same_bytes(node::decode_report, bytes);
  expect_same_bytes(node::decode_order, bytes);
  if (const auto order = node::decode_order(bytes)) carry_out(*order);

  const std::string text(data, data + size);
  if (const auto file = node::parse_node_file(text)) {
    DOLMEN_ASSERT(node::text_of(*file) == text);
    DOLMEN_ASSERT(node::can_be_kept(*file));
  }
  return 0;
}
