// SPDX-License-Identifier: Apache-2.0
//
// A node and the root group: how it comes by the map, what it does where it leads the root, and
// what it does for whoever leads it.
#include <algorithm>
#include <utility>

#include "base/hooks.hpp"
#include "node/cluster_core.hpp"
#include "node/metrics_text.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

using cluster::GroupNumber;
using cluster::kRootGroup;
using cluster::NodeNumber;
using replication::EnvelopeKind;

namespace {

/// Clients have higher ones.
bool is_node(const fabric::NodeName& name) {
  return static_cast<std::uint64_t>(name.node) <= ~std::uint32_t{0};
}

}  // namespace

void ClusterCore::hear(const fabric::NodeName& from, const replication::Envelope& envelope,
                       base::Bytes body) {
  if (envelope.kind == EnvelopeKind::mail) {
    return mail_.hear(env_.clock->monotonic_ns(), from, envelope.group, body);
  }
  if (envelope.group != group_of(kRootGroup)) return;
  if (envelope.kind == EnvelopeKind::ask_map) return hear_ask(from, body);
  if (envelope.kind == EnvelopeKind::ask_metrics && options_.metrics) {
    const std::string text = options_.metrics();
    return member_->say(from, EnvelopeKind::metrics, group_of(kRootGroup),
                        base::as_bytes(first_families(text, kMetricsMessageMax)));
  }
  if (!is_node(from)) return;  // a client has nothing else to say
  if (envelope.kind == EnvelopeKind::map) hear_map(body);
  if (envelope.kind == EnvelopeKind::order) hear_order(from, body);
  if (envelope.kind == EnvelopeKind::report) hear_report(body);
}

void ClusterCore::hear_map(base::Bytes body) {
  auto latest = cluster::decode_root(body);
  if (!latest || latest->cluster() != options_.cluster) return;
  if (const auto adopted = adopt(std::move(*latest)); !adopted) failure_ = adopted.error();
}

void ClusterCore::hear_ask(const fabric::NodeName& from, base::Bytes body) {
  const auto ask = decode_ask_map(body);
  if (!ask) return;
  const auto number = static_cast<NodeNumber>(from.node);
  // Of a group one that was removed says nothing any more: what it says would be believed.
  if (controller_ && ask->life != 0 && is_node(from) && root_.state().node(number) != nullptr) {
    controller_->heard(number, ask->life, env_.clock->monotonic_ns());
    controller_->holds(number, ask->holds);
    observe(number, *ask);
  }
  // Nothing behind the head: whoever asks knows then that there is no cluster yet.
  if (!map_.is_begun() && ask->life == 0) {
    return member_->say(from, EnvelopeKind::map, group_of(kRootGroup), {});
  }
  if (map_.version() <= ask->version || DOLMEN_BUGGIFY("node.map_late")) return;
  member_->say(from, EnvelopeKind::map, group_of(kRootGroup), cluster::encode_root(map_));
}

/// Of itself a leader knows with which disk it votes.
void ClusterCore::observe(NodeNumber from, const AskMap& ask) {
  for (const auto& [group, as_of, members] : ask.leads) {
    if (root_.state().group(group) == nullptr) continue;
    std::vector<cluster::root::Seat> seats;
    for (const NodeNumber member : members) {
      seats.push_back({.node = member, .life = member == from ? ask.life : 0});
    }
    controller_->observed(group, as_of, seats);
  }
  // Who knows the map and has not what a seat needs lost it, or began when the others had begun.
  const cluster::RootState& state = root_.state();
  if (ask.version < state.version()) return;
  for (const auto& [number, group] : state.groups()) {
    if (group.change || !group.members.contains(from)) continue;
    if (std::ranges::binary_search(ask.holds, number)) continue;
    std::vector<cluster::root::Seat> seats;
    for (const auto& [member, life] : group.members) {
      seats.push_back({.node = member, .life = member == from ? cluster::kGoneLife : 0});
    }
    controller_->observed(number, group.as_of, seats);
  }
}

/// As of the group's log; nothing: this node does not lead it, or a change is not settled.
std::optional<AskMap::Led> ClusterCore::led(GroupNumber number) const {
  const replication::GroupId id = group_of(number);
  const auto inside = member_->inside(id);
  if (!inside || !member_->leads(id)) return std::nullopt;
  if (!inside->replica->settled() && !DOLMEN_PLANTED("cluster.reports_unsettled")) {
    return std::nullopt;
  }
  AskMap::Led led{.group = number, .as_of = inside->replica->configured_at()};
  for (const log::ReplicaId voter : inside->replica->last_configuration().voters) {
    led.members.push_back(member_of(voter));
  }
  std::ranges::sort(led.members);
  return led;
}

AskMap ClusterCore::asks() const {
  AskMap ask{.version = map_.version(), .life = options_.life};
  for (const auto& [number, life] : replicas()) {
    ask.holds.push_back(number);
    if (auto its = led(number)) ask.leads.push_back(std::move(*its));
  }
  // Of a group that it is a member of it says only what it promised for.
  for (const auto& [number, group] : map_.groups()) {
    const bool is_known = std::ranges::binary_search(ask.holds, number);
    if (is_known || group.members.contains(options_.self) || !machines_.has_retired(number)) {
      continue;
    }
    ask.holds.insert(std::ranges::upper_bound(ask.holds, number), number);
  }
  return ask;
}

void ClusterCore::say(NodeNumber to, EnvelopeKind kind, base::Bytes body) {
  const auto name = endpoint_.connected(fabric::NodeId{to});
  if (name) member_->say(*name, kind, group_of(kRootGroup), body);
}

/// Of the members of the root group; who leads it learns so that this node is there.
void ClusterCore::ask_for_map() {
  const std::vector<std::byte> body = encode(asks());
  const auto ask_node = [&](NodeNumber number) {
    if (number != options_.self) say(number, EnvelopeKind::ask_map, body);
  };
  if (!map_.is_begun()) {
    for (NodeNumber number = 1; number <= options_.founders.size(); ++number) ask_node(number);
    return;
  }
  for (const auto& [number, life] : map_.group(kRootGroup)->members) ask_node(number);
  // All of those may have been exchanged while this one was away.
  auto next = map_.nodes().begin();
  std::advance(next, static_cast<std::ptrdiff_t>(asked_++ % map_.nodes().size()));
  ask_node(next->first);
}

void ClusterCore::propose(const cluster::RootCommand& command) {
  // What came of it is in the state; what is lost is proposed again.
  member_->submit(group_of(kRootGroup), cluster::encode(command),
                  [](const replication::Executor::Outcome& /*outcome*/) {});
}

void ClusterCore::begin() {
  cluster::root::Init init{.cluster = options_.cluster, .owner = options_.owner};
  init.clients = options_.clients;
  init.lease_ms = options_.lease_ms;
  for (const std::string& where : options_.founders) {
    const std::size_t number = init.nodes.size() + 1;
    init.nodes.push_back({.name = "node-" + std::to_string(number), .address = where});
    if (number <= options_.founder_keys.size()) {
      init.nodes.back().identity = options_.founder_keys[number - 1];
    }
  }
  constexpr std::size_t kSizeMax = 5;
  init.size = static_cast<std::uint32_t>(std::min(options_.founders.size(), kSizeMax));
  propose(init);
}

void ClusterCore::lead(std::uint64_t now_ns) {
  if (!root_.state().is_begun()) {
    if (now_ns < begin_at_ns_ || options_.founders.empty()) return;
    begin_at_ns_ = now_ns + options_.begin_ns;
    return begin();
  }
  if (!controller_) controller_.emplace(now_ns, options_.root);
  const AskMap own = asks();
  controller_->heard(options_.self, options_.life, now_ns);
  controller_->holds(options_.self, own.holds);
  observe(options_.self, own);
  cluster::RootActions actions = controller_->tick(now_ns, root_.state());
  for (const cluster::RootCommand& command : actions.proposals) propose(command);
  for (cluster::ChangeOrder& order : actions.orders) {
    const GroupNumber group = order.group;
    ordered_[group] = {.order = std::move(order), .since_ns = now_ns};
  }
  give_orders(now_ns);
}

/// To everybody who may lead the group; who does carries a step out. Again until it reports.
void ClusterCore::give_orders(std::uint64_t now_ns) {
  std::vector<cluster::ChangeReport> failed;
  std::erase_if(ordered_, [](const auto& one) { return one.second.is_reported; });
  for (auto& [number, ordered] : ordered_) {
    if (now_ns >= ordered.since_ns + options_.order_patience_ns) {
      failed.push_back({.group = number, .since = ordered.order.since});
      continue;
    }
    const cluster::RootGroup* const group = map_.group(number);
    const bool is_due = now_ns >= ordered.next_ns || DOLMEN_BUGGIFY("node.order_again");
    if (!is_due || group == nullptr) continue;
    ordered.next_ns = now_ns + options_.order_ns;
    const std::vector<std::byte> body = encode(ordered.order);
    std::vector<NodeNumber> to;
    for (const auto& [member, life] : group->members) to.push_back(member);
    if (ordered.order.add != 0) to.push_back(ordered.order.add);  // it may lead already
    for (const NodeNumber node : to) {
      if (node != options_.self) say(node, EnvelopeKind::order, body);
    }
    if (std::ranges::find(to, options_.self) != to.end()) hear_order(endpoint_.self(), body);
  }
  for (const cluster::ChangeReport& report : failed) {
    ordered_.erase(report.group);
    controller_->finished(report, now_ns);
  }
}

void ClusterCore::hear_order(const fabric::NodeName& from, base::Bytes body) {
  const auto order = decode_order(body);
  if (!order) return;
  const replication::GroupId id = group_of(order->group);
  const cluster::RootGroup* const group = map_.group(order->group);
  // Of a change that has ended, or of which the map here does not know yet: it will come again.
  if (group == nullptr || !group->change || group->change->since != order->since) return;
  const auto inside = member_->inside(id);
  if (!inside || !member_->leads(id)) return;
  const auto answer = [&](const cluster::ChangeReport& report) {
    const std::vector<std::byte> body_of = encode({.report = report, .is_stop = order->is_stop});
    if (from == endpoint_.self()) return hear_report(body_of);
    member_->say(from, EnvelopeKind::report, group_of(kRootGroup), body_of);
  };
  if (const auto step = next_step(*order, inside->replica->last_configuration())) {
    const replication::ChangeReply reply = member_->change(id, *step);
    // A large state takes as long as it takes, while whoever gets it is there.
    const bool goes_on = reply.status == replication::ChangeStatus::behind &&
                         endpoint_.connected(fabric::NodeId{order->add}).has_value();
    if (goes_on) answer({.group = order->group, .since = order->since});
    return;
  }
  auto its = led(order->group);
  if (!its) return;
  cluster::ChangeReport done{
      .group = order->group, .since = order->since, .is_done = true, .as_of = its->as_of};
  for (const NodeNumber member : its->members) done.members.push_back({.node = member});
  answer(done);
}

void ClusterCore::hear_report(base::Bytes body) {
  const auto said = decode_report(body);
  // One that is not heard is asked for again.
  if (!said || !controller_ || DOLMEN_BUGGIFY("node.report_unheard")) return;
  const auto found = ordered_.find(said->report.group);
  if (found == ordered_.end()) return;
  Ordered& ordered = found->second;
  // One of an order before says nothing of this one.
  if (ordered.order.since != said->report.since || ordered.order.is_stop != said->is_stop) return;
  const std::uint64_t now_ns = env_.clock->monotonic_ns();
  if (!said->report.is_done) {
    ordered.since_ns = now_ns;
    return;
  }
  // It stays for now: whoever gives orders may be walking through them.
  if (std::exchange(ordered.is_reported, true)) return;
  controller_->finished(said->report, now_ns);
  has_reports_ = true;
}

}  // namespace dolmen::node
