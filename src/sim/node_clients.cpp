// SPDX-License-Identifier: Apache-2.0
//
// The clients of a cluster of nodes, and those who may not.
#include <algorithm>
#include <memory>
#include <utility>
#include <variant>

#include "node/cluster_rights.hpp"
#include "sim/node_run.hpp"

namespace dolmen::sim {

SimEndpointOptions NodeRun::client_endpoint(std::size_t index, cluster::ClientNumber number) {
  const fabric::NodeId self = options_.has_intruders
                                  ? fabric::client_node(number, static_cast<std::uint32_t>(index))
                                  : fabric::NodeId{fabric::kClientIds + index};
  SimEndpointOptions endpoint{.self = {self, 1}, .is_client = true};
  endpoint.waker = [this, index](std::uint64_t at_ns) { schedule_client(index, at_ns); };
  return endpoint;
}

void NodeRun::add_intruders(cluster::GroupNumber number, std::size_t victim) {
  for (const cluster::ClientNumber who : {kThief, kStranger}) {
    const auto* const its = std::get_if<0>(&clients_[victim].client);
    if (who == kThief && its == nullptr) continue;  // of an index
    const std::size_t index = clients_.size();
    Intruder::Place place{.group = node::group_of(number), .members = {}};
    for (std::size_t node = 0; node < kNodesMax; ++node) place.members.push_back(id_of(node));
    place.shown = [this, who] {
      return replication::Capability{.index = replication::kWholeCluster,
                                     .generation = root_.clients().at(who).generation};
    };
    if (who == kThief) {
      place.victim = [client = its->get()] {
        return Intruder::Session{client->session(), client->sequence()};
      };
    }
    auto intruder =
        std::make_unique<Intruder>(fabric_, client_endpoint(index, who), std::move(place),
                                   base::mix_seed(options_.seed, 3'000 + index));
    clients_.push_back({});
    clients_.back().client = std::move(intruder);
    schedule_client(index, now_ns() + 1);
  }
}

void NodeRun::add_clients(cluster::GroupNumber number) {
  if (root_.group(number)->is_directory()) return add_home_clients(number);
  const std::size_t first = clients_.size();
  const bool is_space = keeps_space(number);
  // Two of a table's could have one key each.
  const std::size_t count = root_.group(number)->shape || is_space ? 3 : 2;
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t index = clients_.size();
    ClusterClient::Place place{.group = node::group_of(number),
                               .members = {},
                               .number = k,
                               .is_space = is_space,
                               .accounts = is_space && k > 0 ? &accounts_ : nullptr,
                               .has_lease = has_leases(options_.seed)};
    if (place.has_lease) place.drift_ppm = k % 2 == 0 ? 50'000 : -50'000;
    for (std::size_t node = 0; node < kNodesMax; ++node) place.members.push_back(id_of(node));
    const auto who = static_cast<cluster::ClientNumber>(1 + index % kHonestClients);
    SimEndpointOptions endpoint = client_endpoint(index, who);
    if (options_.has_intruders) {
      place.shown = [this, who] { return node::handle_of(root_, who); };
    }
    clients_.push_back({});
    const std::uint64_t seed = base::mix_seed(options_.seed, 1'000 + index);
    if (const auto& shape = root_.group(number)->shape) {
      clients_.back().client =
          std::make_unique<IndexClient>(fabric_, std::move(endpoint), std::move(place), *shape,
                                        groups_[number].index_history, seed);
    } else {
      clients_.back().client = std::make_unique<ClusterClient>(
          fabric_, std::move(endpoint), std::move(place), groups_[number].history, seed);
    }
    schedule_client(index, now_ns() + 1);
  }
  if (options_.has_intruders) add_intruders(number, first);
}

void NodeRun::schedule_client(std::size_t i, std::uint64_t at_ns) {
  Turns& turns = clients_[i].turns;
  const std::uint64_t due_ns = std::max(at_ns, now_ns());
  if (at_ns == kNever || due_ns >= turns.due_ns) return;
  turns = {due_ns, turns.number + 1};
  fabric_.queue().at(due_ns, [this, i, number = turns.number] {
    if (clients_[i].turns.number == number) turn_client(i);
  });
}

void NodeRun::turn_client(std::size_t i) {
  clients_[i].turns.due_ns = kNever;
  schedule_client(i, clients_[i].with([](auto& client) { return client.turn(); }));
  const std::string& what =
      clients_[i].with([](const auto& client) -> const std::string& { return client.violation(); });
  if (!what.empty()) violated(what);
}

}  // namespace dolmen::sim
