// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_metrics.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "node/cluster_identity.hpp"
#include "node/cluster_message.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

Result<std::unique_ptr<MetricsClient>> MetricsClient::make(const sys::Env& env,
                                                           const security::LinkSelf& self) {
  std::unique_ptr<MetricsClient> client(new MetricsClient(env));
  DOLMEN_TRY(client->endpoint_,
             fabric::TcpEndpoint::make(
                 {.self = endpoint_name(*self.key), .link = self},
                 {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  return client;
}

Result<void> MetricsClient::follow(const cluster::RootState& map, const security::LinkSelf& self) {
  if (version_ == map.version()) return {};
  version_ = map.version();
  DOLMEN_CHECK(endpoint_->set_trust(self.trust));
  return endpoint_->set_peers(peers_at(addresses_in(map), fabric::NodeId::nobody));
}

Result<std::map<cluster::NodeNumber, std::string>> MetricsClient::ask(
    const cluster::RootState& map, const security::LinkSelf& self, std::uint64_t deadline_ns) {
  DOLMEN_CHECK(follow(map, self));
  texts_.clear();
  is_asking_ = true;
  std::vector<cluster::NodeNumber> awaited;
  for (const auto& [number, one] : map.nodes()) {
    if (map.node(number) == nullptr) continue;
    if (!one.is_lost) awaited.push_back(number);
    if (const auto there = endpoint_->connected(fabric::NodeId{number})) say(*there);
  }
  const auto has_answered = [&](cluster::NodeNumber number) { return texts_.contains(number); };
  while (!std::ranges::all_of(awaited, has_answered) && env_.clock->monotonic_ns() < deadline_ns) {
    DOLMEN_TRY(const bool was_busy, endpoint_->poll(*this));
    if (!was_busy) DOLMEN_CHECK(endpoint_->wait(deadline_ns));
  }
  is_asking_ = false;
  return std::exchange(texts_, {});
}

void MetricsClient::say(const fabric::NodeName& to) {
  const auto head = replication::encode(replication::Envelope{
      .kind = replication::EnvelopeKind::ask_metrics, .group = group_of(cluster::kRootGroup)});
  (void)endpoint_->send(to, base::Bytes(head));  // who cannot be asked does not answer
}

void MetricsClient::on_connected(const fabric::NodeName& peer) {
  if (is_asking_) say(peer);
}

/// One that comes too late is taken for the next: a text says itself as of when it is.
void MetricsClient::on_message(const fabric::NodeName& from, base::Bytes message) {
  const auto opened = replication::decode_envelope(message);
  if (!opened || opened->envelope.kind != replication::EnvelopeKind::metrics) return;
  const base::Bytes body = opened->body;
  const auto number = static_cast<std::uint64_t>(from.node);
  if (number > ~cluster::NodeNumber{0}) return;
  std::string& text = texts_[static_cast<cluster::NodeNumber>(number)];
  text.resize(body.size());
  if (!body.empty()) std::memcpy(text.data(), body.data(), body.size());
}

}  // namespace dolmen::node
