// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_message.hpp"

#include <algorithm>
#include <utility>

namespace dolmen::node {

namespace {

/// Of a report.
constexpr std::uint32_t kDone = 1;
constexpr std::uint32_t kStop = 2;

std::unexpected<Error> damaged() { return fail(Errc::corrupt, "a message between nodes"); }

/// `count` of them, ascending and not 0. Nothing: these are none.
std::optional<std::vector<std::uint32_t>> take_numbers(base::ByteReader& in, std::size_t count) {
  std::vector<std::uint32_t> numbers;
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = in.get<std::uint32_t>();
    if (in.failed() || number <= (numbers.empty() ? 0 : numbers.back())) return std::nullopt;
    numbers.push_back(number);
  }
  return numbers;
}

/// The node's replica in the configuration, but for this one.
std::optional<log::ReplicaId> other_replica(const log::Configuration& now, cluster::NodeNumber node,
                                            log::ReplicaId but_for) {
  for (const auto* const ids : {&now.voters, &now.learners}) {
    for (const log::ReplicaId id : *ids) {
      if (replication::node_of(id) == fabric::NodeId{node} && id != but_for) return id;
    }
  }
  return std::nullopt;
}

}  // namespace

replication::Addresses addresses_in(const cluster::RootState& map) {
  replication::Addresses addresses;
  for (const auto& [number, one] : map.nodes()) {
    if (one.state != cluster::NodeState::removed) {
      addresses.emplace(fabric::NodeId{number}, one.address);
    }
  }
  return addresses;
}

std::vector<std::byte> encode(const AskMap& ask) {
  base::ByteWriter out;
  out.put(ask.version);
  out.put(ask.life);
  out.put(static_cast<std::uint16_t>(ask.holds.size()));
  out.put(static_cast<std::uint16_t>(ask.leads.size()));
  for (const cluster::GroupNumber group : ask.holds) out.put(group);
  for (const AskMap::Led& led : ask.leads) {
    out.put(led.group);
    out.put(static_cast<std::uint32_t>(led.members.size()));
    out.put(led.as_of);
    for (const cluster::NodeNumber member : led.members) out.put(member);
  }
  return out.release();
}

Result<AskMap> decode_ask_map(base::Bytes body) {
  base::ByteReader in(body);
  AskMap ask{.version = in.get<std::uint64_t>(), .life = in.get<std::uint32_t>()};
  const auto holds = in.get<std::uint16_t>();
  const auto leads = in.get<std::uint16_t>();
  if (in.failed() || holds > cluster::kGroupsMax || leads > cluster::kGroupsMax) return damaged();
  for (std::size_t i = 0; i < holds && !in.failed(); ++i) {
    const auto group = in.get<std::uint32_t>();
    if (group <= (ask.holds.empty() ? 0 : ask.holds.back())) return damaged();
    ask.holds.push_back(group);
  }
  for (std::size_t i = 0; i < leads && !in.failed(); ++i) {
    AskMap::Led led{.group = in.get<std::uint32_t>()};
    const auto members = in.get<std::uint32_t>();
    led.as_of = in.get<std::uint64_t>();
    if (in.failed() || led.group == 0 || members == 0 || members > cluster::kGroupMembersMax) {
      return damaged();
    }
    for (std::size_t k = 0; k < members && !in.failed(); ++k) {
      const auto member = in.get<std::uint32_t>();
      if (member <= (led.members.empty() ? 0 : led.members.back())) return damaged();
      led.members.push_back(member);
    }
    ask.leads.push_back(std::move(led));
  }
  if (!in.finished()) return damaged();
  return ask;
}

std::vector<std::byte> encode(const cluster::ChangeOrder& order) {
  base::ByteWriter out;
  out.put(order.group);
  out.put(std::uint32_t{order.is_stop ? 1u : 0u});
  out.put(order.since);
  out.put(order.add);
  out.put(order.leave);
  out.put_bytes(base::as_bytes(order.address));
  return out.release();
}

Result<cluster::ChangeOrder> decode_order(base::Bytes body) {
  base::ByteReader in(body);
  cluster::ChangeOrder order{.group = in.get<std::uint32_t>()};
  const auto is_stop = in.get<std::uint32_t>();
  order.since = in.get<std::uint64_t>();
  order.add = in.get<std::uint32_t>();
  order.leave = in.get<std::uint32_t>();
  if (in.failed() || is_stop > 1 || order.group == 0 || order.since == 0) return damaged();
  // The replica that is added is named by it.
  if (order.since >= ~std::uint32_t{0}) return damaged();
  if (order.add == 0 && order.leave == 0) return damaged();
  order.is_stop = is_stop == 1;
  const base::Bytes address = in.take(in.remaining());
  if (address.size() > replication::kAddressBytesMax) return damaged();
  for (const std::byte byte : address) order.address += static_cast<char>(byte);
  return order;
}

std::vector<std::byte> encode(const Reported& reported) {
  const cluster::ChangeReport& report = reported.report;
  base::ByteWriter out;
  out.put(report.group);
  out.put((report.is_done ? kDone : 0u) | (reported.is_stop ? kStop : 0u));
  out.put(report.since);
  out.put(report.as_of);
  // With which disk they vote each of them says itself.
  for (const cluster::root::Seat& seat : report.members) out.put(seat.node);
  return out.release();
}

Result<Reported> decode_report(base::Bytes body) {
  base::ByteReader in(body);
  cluster::ChangeReport report{.group = in.get<std::uint32_t>()};
  const auto flags = in.get<std::uint32_t>();
  report.since = in.get<std::uint64_t>();
  report.as_of = in.get<std::uint64_t>();
  if (in.failed() || flags > (kDone | kStop) || report.group == 0 || report.since == 0) {
    return damaged();
  }
  report.is_done = (flags & kDone) != 0;
  if (in.remaining() % 4 != 0 || in.remaining() / 4 > cluster::kGroupMembersMax) return damaged();
  auto members = take_numbers(in, in.remaining() / 4);
  if (!members) return damaged();
  for (const std::uint32_t node : *members) report.members.push_back({.node = node});
  return Reported{.report = std::move(report), .is_stop = (flags & kStop) != 0};
}

std::optional<replication::Change> next_step(const cluster::ChangeOrder& order,
                                             const log::Configuration& now) {
  using replication::Change;
  using replication::ChangeKind;
  const log::ReplicaId added = added_replica(order.add, order.since);
  const bool is_voter = now.is_voter(added);
  const bool is_learner = now.is_learner(added);
  if (order.is_stop) {
    if (order.add == 0 || !is_learner) return std::nullopt;
    return Change{.kind = ChangeKind::leave, .replica = added};
  }
  const auto leaves =
      order.leave == 0 ? std::nullopt
                       : other_replica(now, order.leave, order.add == 0 ? log::ReplicaId{} : added);
  if (order.add != 0 && !is_voter) {
    if (!is_learner) {
      return Change{.kind = ChangeKind::learn, .replica = added, .address = order.address};
    }
    return Change{
        .kind = ChangeKind::vote, .replica = added, .instead = leaves.value_or(log::ReplicaId{})};
  }
  if (leaves) return Change{.kind = ChangeKind::leave, .replica = *leaves};
  return std::nullopt;
}

}  // namespace dolmen::node
