// SPDX-License-Identifier: Apache-2.0
//
// A node and the root group: how it comes by the map, and what it does where it leads.
#include <algorithm>
#include <utility>

#include "node/cluster_node.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

using cluster::GroupNumber;
using cluster::kRootGroup;
using replication::EnvelopeKind;

void ClusterNode::Impl::hear(const fabric::NodeName& from, const replication::Envelope& envelope,
                             base::Bytes body) {
  if (envelope.group != node::group_of(kRootGroup)) return;
  if (envelope.kind == EnvelopeKind::map) {
    auto latest = cluster::decode_root(body);
    // A client has no map to give.
    const bool is_node = static_cast<std::uint64_t>(from.node) <= cluster::kNodesMax * 64;
    if (!latest || !is_node || latest->cluster() != node::cluster_of(key)) return;
    if (const auto adopted = adopt(std::move(*latest)); !adopted) failure = adopted.error();
    return;
  }
  const auto ask = node::decode_ask_map(body);
  if (!ask) return;
  if (controller && ask->life != 0) {
    const auto number = static_cast<cluster::NodeNumber>(from.node);
    const std::uint64_t now_ns = sys::linux_env().clock->monotonic_ns();
    controller->heard(number, ask->life, now_ns);
    controller->holds(number, ask->holds);
    for (const auto& [group, as_of, members] : ask->leads) {
      controller->observed(group, as_of, members);
    }
  }
  if (map.version() <= ask->version) return;
  member->say(from, EnvelopeKind::map, envelope.group, cluster::encode_root(map));
}

node::AskMap ClusterNode::Impl::asks() const {
  node::AskMap ask{.version = map.version(), .life = file.life};
  for (const auto& [number, life] : replicas()) {
    ask.holds.push_back(number);
    const replication::GroupId id = node::group_of(number);
    const auto inside = member->inside(id);
    if (!inside || !member->leads(id) || !inside->replica->settled()) continue;
    node::AskMap::Led led{.group = number, .as_of = inside->replica->stable()};
    for (const log::ReplicaId voter : inside->replica->last_configuration().voters) {
      led.members.push_back(node::member_of(voter));
    }
    std::ranges::sort(led.members);
    ask.leads.push_back(std::move(led));
  }
  return ask;
}

/// The members of the root group; who leads it learns so that this node is there.
void ClusterNode::Impl::ask_for_map() {
  const node::AskMap ask = asks();
  const std::vector<std::byte> body = encode(ask);
  const auto ask_node = [&](cluster::NodeNumber number) {
    if (number == file.number) return;
    const auto to = endpoint->connected(fabric::NodeId{number});
    if (to) member->say(*to, EnvelopeKind::ask_map, node::group_of(kRootGroup), body);
  };
  if (const cluster::RootGroup* const group = map.group(kRootGroup)) {
    for (const auto& [number, life] : group->members) ask_node(number);
  } else {
    for (cluster::NodeNumber number = 1; number <= file.founders.size(); ++number) {
      ask_node(number);
    }
  }
  // All of them may have been exchanged while this one was away.
  if (!map.is_begun() || controller) return;
  ++asked;
  auto next = map.nodes().upper_bound(static_cast<cluster::NodeNumber>(asked % map.nodes().size()));
  if (next == map.nodes().end()) next = map.nodes().begin();
  ask_node(next->first);
}

void ClusterNode::Impl::propose(const cluster::RootCommand& command) {
  // What came of it is in the state; what is lost is proposed again.
  member->submit(node::group_of(kRootGroup), cluster::encode(command),
                 [](const replication::Executor::Outcome& /*outcome*/) {});
}

void ClusterNode::Impl::begin() {
  cluster::root::Init init{.cluster = node::cluster_of(key)};
  for (std::size_t i = 0; i < file.founders.size(); ++i) {
    init.nodes.push_back({.name = "node-" + std::to_string(i + 1), .address = file.founders[i]});
  }
  constexpr std::size_t kSizeMax = 5;
  init.size = static_cast<std::uint32_t>(std::min(file.founders.size(), kSizeMax));
  propose(init);
}

Result<void> ClusterNode::Impl::look_after_root(std::uint64_t now_ns) {
  if (root.state().version() > map.version()) DOLMEN_CHECK(adopt(root.state()));
  if (is_new_map) DOLMEN_CHECK(follow_map());
  const bool leads = member->leads(node::group_of(kRootGroup));
  if (!leads) controller.reset();
  if (now_ns < ask_at_ns && !(leads && changes->has_reports())) return {};
  ask_at_ns = now_ns + kAskNs;
  ask_for_map();
  if (leads) lead(now_ns);
  return {};
}

void ClusterNode::Impl::lead(std::uint64_t now_ns) {
  if (!root.state().is_begun()) {
    if (now_ns < begin_at_ns || file.founders.empty()) return;
    begin_at_ns = now_ns + kBeginNs;
    return begin();
  }
  if (!controller) {
    const auto lost_ms = std::max<std::int64_t>(options.lost_after.count(), 1);
    controller.emplace(now_ns, cluster::RootControllerOptions{
                                   .lost_ns = static_cast<std::uint64_t>(lost_ms) * 1'000'000});
  }
  const node::AskMap own = asks();
  controller->heard(file.number, file.life, now_ns);
  controller->holds(file.number, own.holds);
  for (const auto& [group, as_of, members] : own.leads) {
    controller->observed(group, as_of, members);
  }
  for (const cluster::ChangeReport& report : changes->take_reports()) {
    controller->finished(report, now_ns);
  }
  const cluster::RootActions actions = controller->tick(now_ns, root.state());
  for (const cluster::RootCommand& command : actions.proposals) propose(command);
  for (const cluster::ChangeOrder& order : actions.orders) {
    changes->submit({.order = order, .plan = node::plan_of(map, order.group, key)});
  }
}

}  // namespace dolmen
