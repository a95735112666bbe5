// SPDX-License-Identifier: Apache-2.0
//
// A client of a cluster's group whose members were all replaced while it was away: it asks any node
// of the cluster, as far as it knows them, for a later map. While members answer they say
// themselves who they are.
#include <algorithm>
#include <array>
#include <utility>

#include "node/cluster_identity.hpp"
#include "node/cluster_map.hpp"
#include "node/cluster_message.hpp"
#include "node/replicated_client.hpp"

namespace dolmen {

Result<void> ReplicatedClient::Impl::look_after_map() {
  constexpr std::uint64_t kAgainNs = 100'000'000;
  const std::uint64_t now = now_ns();
  // Between two calls nobody was listening.
  if (looked_ns == 0 || now >= looked_ns + 2 * kAttemptNs) silent_since_ns = now;
  looked_ns = now;
  if (now < silent_since_ns + kSilentNs) return {};
  silent_since_ns += kAgainNs;
  is_seeking = true;
  DOLMEN_CHECK(know_nodes());
  for (const auto& [node, text] : dialled) ask_map(node);
  return {};
}

void ReplicatedClient::Impl::ask_map(fabric::NodeId node) {
  const auto name = endpoint->connected(node);
  if (!name) return;
  const auto head = replication::encode(replication::Envelope{
      .kind = replication::EnvelopeKind::ask_map, .group = node::group_of(cluster::kRootGroup)});
  const auto body = node::encode(node::AskMap{.version = map_version});
  const std::array<base::Bytes, 2> parts{head, body};
  (void)endpoint->send(*name, parts);  // it is asked again
}

// Nodes hear of what the owner said within a moment, one before the other.
Result<bool> ReplicatedClient::Impl::look_for_right(std::uint64_t deadline_ns) {
  constexpr std::uint64_t kMomentNs = 200'000'000;
  if (!link_key) return false;
  const replication::Capability before = shown;
  const std::uint64_t until_ns = std::min(deadline_ns, now_ns() + kMomentNs);
  while (shown == before && now_ns() < until_ns) {
    for (const fabric::NodeId node : nodes) ask_map(node);
    DOLMEN_CHECK(pause(until_ns, 4 * kPauseNs));
  }
  return !(shown == before);
}

void ReplicatedClient::Impl::hear_map(base::Bytes body) {
  const auto map = cluster::decode_root(body);
  if (!map || !link_key || map->cluster() != node::object_id(link_key->cluster())) return;
  if (map->version() <= map_version) return;
  const auto its_group = static_cast<cluster::GroupNumber>(group.low);
  node::GroupPlan plan = node::plan_of(*map, its_group, {.key = link_key, .trust = {}});
  map_version = map->version();
  shown = plan.shown;
  // Who has come to the cluster since this client was made has a key that it did not know.
  (void)tcp->set_trust(plan.link->trust);
  if (map->group(its_group) == nullptr) return;
  given = std::move(plan.addresses);
  others = std::move(plan.others);
  // What a former member said is older; whoever is one will say it anew.
  if (is_seeking) roster = {};
  has_new_roster = true;
}

}  // namespace dolmen
