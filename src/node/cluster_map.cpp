// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_map.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "node/cluster_message.hpp"
#include "node/cluster_rights.hpp"
#include "node/replicated_client.hpp"
#include "security/text.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

/// One node that may be there: who it is, and what it says.
class Visit final : public fabric::Sink {
 public:
  explicit Visit(fabric::TcpEndpoint& endpoint) : endpoint_(endpoint) {}

  std::optional<fabric::NodeName> host;
  std::optional<cluster::RootState> map;
  bool has_not_begun = false;
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
    has_not_begun = opened->body.empty();
    if (auto decoded = cluster::decode_root(opened->body)) map = std::move(*decoded);
  }

  fabric::TcpEndpoint& endpoint_;
};

struct Asked {
  std::optional<cluster::RootState> map{};
  bool is_founding = false;  ///< nobody listens there, or a node of no cluster yet
  std::optional<Error>
      stranger{};  ///< who listens there has another cluster, or does not trust this key
};

/// Whatever is known of the address then: it may not have answered.
Result<Asked> ask_at(const std::string& where, const security::LinkSelf& self,
                     std::uint64_t until_ns) {
  const sys::Env& env = sys::linux_env();
  DOLMEN_TRY(const sys::NetworkAddress address, node::address(where));
  DOLMEN_TRY(const auto endpoint,
             fabric::TcpEndpoint::make(
                 {.self = endpoint_name(*self.key),
                  .link = self,
                  .peers = {{fabric::NodeId::nobody, address}}},
                 {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  Visit visit(*endpoint);
  while (!visit.map && !visit.has_not_begun && !visit.refusal &&
         env.clock->monotonic_ns() < until_ns) {
    DOLMEN_TRY(const bool was_busy, endpoint->poll(visit));
    if (!was_busy) DOLMEN_CHECK(endpoint->wait(until_ns));
  }
  Asked asked{.map = std::move(visit.map)};
  const bool is_refused = visit.refusal && visit.refusal->code() == Errc::connection_lost &&
                          visit.refusal->detail() == ECONNREFUSED;
  asked.is_founding = visit.has_not_begun || is_refused;
  if (visit.refusal && visit.refusal->code() == Errc::unsupported) {
    asked.stranger = Error(
        Errc::unsupported,
        interned(where + ": one side says that the fabric between them is trusted, and the other "
                         "does not (--trusted-fabric, &fabric=trusted, DOLMEN_FABRIC)"));
  }
  if (visit.refusal && visit.refusal->code() == Errc::not_authentic) {
    asked.stranger = Error(Errc::not_authentic,
                           interned(where + ": it is of another cluster, or does not know this "
                                            "key (any more)"));
  }
  if (asked.map && asked.map->cluster() != object_id(self.key->cluster())) {
    asked.map.reset();
    asked.stranger = Error(Errc::not_authentic, interned(where + ": of another cluster"));
  }
  return asked;
}

}  // namespace

const char* text_of(const cluster::RootGroup& group) noexcept {
  if (group.is_directory()) return "directory";
  switch (group.kind) {
    case cluster::GroupKind::root:
      return "root";
    case cluster::GroupKind::index:
      return "index";
    case cluster::GroupKind::space:
      break;
  }
  return "space";
}

std::string id_of(const cluster::RootState& map) {
  const std::array<std::uint64_t, 2> id{map.cluster().high, map.cluster().low};
  return security::to_hex(std::as_bytes(std::span(id)));
}

GroupPlan plan_of(const cluster::RootState& map, cluster::GroupNumber group,
                  const security::LinkSelf& self) {
  GroupPlan plan;
  plan.link = {.key = self.key,
               .trust = trust_of(map, *self.key, sys::linux_env().clock->wall_ns() / 1'000'000'000),
               .says = self.says};
  plan.shared_directory = self.shared_directory;
  if (self.key->identity().role == security::Role::client) {
    plan.shown = handle_of(map, self.key->identity().number);
  }
  const cluster::RootGroup* const its = map.group(group);
  if (its == nullptr) return plan;
  const auto add = [&](cluster::NodeNumber number) {
    const cluster::RootNode* const one = map.node(number);
    if (one != nullptr) plan.addresses.emplace(fabric::NodeId{number}, one->address);
  };
  for (const auto& [number, life] : its->members) add(number);
  if (its->change) add(its->change->add);
  plan.members = peers_at(plan.addresses, fabric::NodeId::nobody);
  // Enough of them: each knows the map.
  constexpr std::size_t kOthersMax = 16;
  for (const auto& [number, one] : map.nodes()) {
    const bool is_there = map.node(number) != nullptr && !one.is_lost;
    if (!is_there || plan.addresses.contains(fabric::NodeId{number})) continue;
    plan.others.emplace(fabric::NodeId{number}, one.address);
    if (plan.others.size() == kOthersMax) break;
  }
  plan.map_version = map.version();
  return plan;
}

namespace {

/// Asks all of them in turn until `is_enough` of what one round gave, or time is over.
template <class IsEnough>
Result<std::vector<Asked>> ask_around(const std::vector<std::string>& addresses,
                                      const security::LinkSelf& self, std::uint64_t deadline_ns,
                                      const IsEnough& is_enough) {
  constexpr std::uint64_t kVisitNs = 1'000'000'000;
  constexpr std::uint64_t kPauseNs = 50'000'000;
  sys::Clock& clock = *sys::linux_env().clock;
  if (addresses.empty()) return fail(Errc::invalid_argument, "addresses of a cluster", 0);
  std::vector<Asked> round;
  while (clock.monotonic_ns() < deadline_ns) {
    round.clear();
    std::size_t left = addresses.size();
    for (const std::string& where : addresses) {
      const std::uint64_t now_ns = clock.monotonic_ns();
      if (now_ns >= deadline_ns) return round;
      // However little time there is, one that does not answer leaves some of it to the others.
      const std::uint64_t share_ns = std::min(kVisitNs, (deadline_ns - now_ns) / left--);
      DOLMEN_TRY(Asked asked, ask_at(where, self, now_ns + share_ns));
      round.push_back(std::move(asked));
      if (round.back().map) return round;
    }
    if (is_enough(round)) return round;
    clock.sleep_ns(kPauseNs);
  }
  return round;
}

std::string list_of(const std::vector<std::string>& addresses) {
  std::string all;
  for (const std::string& where : addresses) all += (all.empty() ? "" : ", ") + where;
  return all;
}

}  // namespace

Result<cluster::RootState> fetch_map(const std::vector<std::string>& addresses,
                                     const security::LinkSelf& self, std::uint64_t deadline_ns) {
  // Who was taken in just now is not known to all nodes yet.
  constexpr std::uint64_t kHearsayNs = 500'000'000;
  sys::Clock& clock = *sys::linux_env().clock;
  const std::uint64_t known_ns = clock.monotonic_ns() + kHearsayNs;
  const auto are_strangers = [&](const std::vector<Asked>& round) {
    return clock.monotonic_ns() >= known_ns &&
           std::ranges::all_of(round, [](const Asked& one) { return one.stranger.has_value(); });
  };
  DOLMEN_TRY(auto round, ask_around(addresses, self, deadline_ns, are_strangers));
  std::optional<Error> stranger;
  for (Asked& one : round) {
    if (one.map) return std::move(*one.map);
    if (one.stranger) stranger = one.stranger;
  }
  if (stranger) return std::unexpected(*stranger);
  return fail(Errc::timed_out,
              interned("no node of the cluster answered at " + list_of(addresses)));
}

Result<std::optional<cluster::RootState>> look_for_cluster(
    const std::vector<std::string>& addresses, const security::LinkSelf& self,
    std::uint64_t deadline_ns) {
  const auto are_founding = [&](const std::vector<Asked>& round) {
    return round.size() == addresses.size() && std::ranges::all_of(round, &Asked::is_founding);
  };
  DOLMEN_TRY(auto round, ask_around(addresses, self, deadline_ns, are_founding));
  for (Asked& one : round) {
    if (one.map) return std::move(one.map);
    if (one.stranger) return std::unexpected(*one.stranger);
  }
  if (are_founding(round)) return std::optional<cluster::RootState>();
  return fail(Errc::timed_out,
              interned("whether the cluster has begun without this node is not known: not all of " +
                       list_of(addresses) + " could be asked"));
}

Result<cluster::RootReply> call_root(const cluster::RootState& map, const security::LinkSelf& self,
                                     const cluster::RootCommand& command,
                                     std::chrono::milliseconds patience) {
  DOLMEN_TRY(auto client,
             ClientOf::make(plan_of(map, cluster::kRootGroup, self), cluster::kRootGroup));
  DOLMEN_TRY(const auto reply, client.call(cluster::encode(command), patience));
  return cluster::decode_root_reply(reply);
}

}  // namespace dolmen::node
