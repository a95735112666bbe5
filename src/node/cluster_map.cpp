// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_map.hpp"

#include <algorithm>
#include <array>

#include "base/sha256.hpp"
#include "node/cluster_message.hpp"
#include "node/replicated_client.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

/// One node that may be there: who it is, and what it says.
class Visit final : public fabric::Sink {
 public:
  explicit Visit(fabric::TcpEndpoint& endpoint) : endpoint_(endpoint) {}

  std::optional<fabric::NodeName> host;
  std::optional<cluster::RootState> map;
  std::optional<Error> refusal;

 private:
  void on_connected(const fabric::NodeName& peer) override {
    host = peer;
    const auto head = replication::encode(replication::Envelope{
        .kind = replication::EnvelopeKind::ask_map, .group = group_of(cluster::kRootGroup)});
    const auto body = encode(AskMap{});
    const std::array<base::Bytes, 2> parts{head, body};
    (void)endpoint_.send(peer, parts);
  }
  void on_lost(const fabric::NodeName& /*peer*/, const Error& why) override { refusal = why; }
  void on_refused(fabric::NodeId /*who*/, const Error& why) override { refusal = why; }
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
  void on_message(const fabric::NodeName& /*from*/, base::Bytes message) override {
    const auto opened = replication::decode_envelope(message);
    if (!opened || opened->envelope.kind != replication::EnvelopeKind::map) return;
    if (auto decoded = cluster::decode_root(opened->body)) map = std::move(*decoded);
  }

  fabric::TcpEndpoint& endpoint_;
};

/// Nothing: it did not answer.
Result<std::optional<cluster::RootState>> ask_at(const std::string& where,
                                                 const fabric::Secret& key,
                                                 std::uint64_t until_ns) {
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(const sys::NetworkAddress address, node::address(where));
  DOLMEN_TRY(const auto endpoint,
             fabric::TcpEndpoint::make(
                 {.self = client_name(), .key = key, .peers = {{fabric::NodeId::nobody, address}}},
                 {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  Visit visit(*endpoint);
  while (!visit.map && !visit.refusal && env.clock->monotonic_ns() < until_ns) {
    DOLMEN_TRY(const bool was_busy, endpoint->poll(visit));
    if (!was_busy) DOLMEN_CHECK(endpoint->wait(until_ns));
  }
  if (visit.refusal && visit.refusal->code() == Errc::not_authentic) {
    return std::unexpected(*visit.refusal);
  }
  return std::move(visit.map);
}

}  // namespace

ObjectId cluster_of(const fabric::Secret& key) {
  // Not the key itself, nor anything that it is found out by.
  std::vector<std::byte> bytes;
  for (const std::byte byte : base::as_bytes("dolmen cluster")) bytes.push_back(byte);
  for (const std::byte byte : key.bytes()) bytes.push_back(byte);
  const base::Sha256Digest digest = base::sha256(bytes);
  return {base::load<std::uint64_t>(digest, 0), base::load<std::uint64_t>(digest, 8)};
}

GroupPlan plan_of(const cluster::RootState& map, cluster::GroupNumber group,
                  const fabric::Secret& key) {
  GroupPlan plan;
  plan.key = key;
  const cluster::RootGroup* const its = map.group(group);
  if (its == nullptr) return plan;
  const auto add = [&](cluster::NodeNumber number) {
    const cluster::RootNode* const one = map.node(number);
    if (one != nullptr) plan.addresses.emplace(fabric::NodeId{number}, one->address);
  };
  for (const auto& [number, life] : its->members) add(number);
  if (its->change) add(its->change->add);
  plan.members = peers_at(plan.addresses, fabric::NodeId::nobody);
  return plan;
}

fabric::NodeName client_name() {
  std::array<std::byte, 8> random{};
  sys::linux_env().entropy->fill(random);
  // Nodes have small numbers; a client's is its own as long as nobody draws it again.
  constexpr std::uint64_t kClient = std::uint64_t{1} << 63;
  return {.node = fabric::NodeId{kClient | base::load<std::uint64_t>(random)}, .incarnation = 1};
}

Result<cluster::RootState> fetch_map(const std::vector<std::string>& addresses,
                                     const fabric::Secret& key, std::uint64_t deadline_ns) {
  constexpr std::uint64_t kVisitNs = 1'000'000'000;
  constexpr std::uint64_t kPauseNs = 50'000'000;
  sys::Clock& clock = *sys::linux_env().clock;
  if (addresses.empty()) return fail(Errc::invalid_argument, "addresses of a cluster", 0);
  while (clock.monotonic_ns() < deadline_ns) {
    std::size_t left = addresses.size();
    for (const std::string& where : addresses) {
      const std::uint64_t now_ns = clock.monotonic_ns();
      if (now_ns >= deadline_ns) break;
      // However little time there is, one that does not answer leaves some of it to the others.
      const std::uint64_t share_ns = std::min(kVisitNs, (deadline_ns - now_ns) / left--);
      DOLMEN_TRY(auto map, ask_at(where, key, now_ns + share_ns));
      if (map && map->cluster() != cluster_of(key)) {
        return fail(Errc::not_authentic, interned(where + ": of another cluster"));
      }
      if (map) return std::move(*map);
    }
    clock.sleep_ns(kPauseNs);
  }
  std::string all;
  for (const std::string& where : addresses) all += (all.empty() ? "" : ", ") + where;
  return fail(Errc::timed_out, interned("no node of the cluster answered at " + all));
}

Result<cluster::RootReply> call_root(const cluster::RootState& map, const fabric::Secret& key,
                                     const cluster::RootCommand& command,
                                     std::chrono::milliseconds patience) {
  DOLMEN_TRY(auto client,
             ClientOf::make(plan_of(map, cluster::kRootGroup, key), cluster::kRootGroup));
  DOLMEN_TRY(const auto reply, client.call(cluster::encode(command), patience));
  return cluster::decode_root_reply(reply);
}

}  // namespace dolmen::node
