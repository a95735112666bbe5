// SPDX-License-Identifier: Apache-2.0
//
// Who uses a cluster, or changes it.
#include "node/cluster_client.hpp"

#include <algorithm>
#include <optional>
#include <variant>

#include <dolmen/cluster.hpp>

#include "node/cluster_metrics.hpp"
#include "node/job.hpp"
#include "node/places.hpp"
#include "node/replicated_client.hpp"
#include "node/space_import.hpp"
#include "security/text.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

using node::deadline_in;
using node::left_until;
using node::now_ns;
using node::now_s;

namespace {

constexpr std::string_view kScheme = "dolmen://";
constexpr std::string_view kIdentity = "identity=";
constexpr std::string_view kShared = "shm=";
constexpr std::string_view kTrustedFabric = "fabric=trusted";

std::string state_of(const cluster::RootNode& one) {
  if (one.state == cluster::NodeState::removed) return "removed";
  if (one.is_lost) return "lost";
  return one.state == cluster::NodeState::draining ? "draining" : "active";
}

cluster::ClientRights rights_in(const ClientGrant& grant) {
  return grant.is_owner ? cluster::ClientRights::owner : cluster::ClientRights::none;
}

}  // namespace

Result<ClusterAddress> ClusterAddress::parse(std::string_view text) {
  const auto bad = [&] {
    return fail(
        Errc::invalid_argument,
        interned(std::string(text) + ": like dolmen://192.0.2.7:7400?identity=/etc/dolmen/me.key"));
  };
  if (!text.starts_with(kScheme)) return bad();
  std::string_view rest = text.substr(kScheme.size());
  ClusterAddress result;
  const std::size_t mark = std::min(rest.find('?'), rest.size());
  std::string_view query = rest.substr(std::min(mark + 1, rest.size()));
  if (mark + 1 == rest.size()) return bad();
  rest = rest.substr(0, mark);
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(one.size() + 1, query.size()));
    if (one.starts_with(kIdentity) && result.identity_file.empty()) {
      result.identity_file = one.substr(kIdentity.size());
    } else if (one.starts_with(kShared) && result.shared_directory.empty()) {
      result.shared_directory = one.substr(kShared.size());
    } else if (one == kTrustedFabric) {
      result.is_trusted_fabric = true;
    } else {
      return bad();
    }
  }
  sys::Process& process = *sys::linux_env().process;
  if (result.identity_file.empty()) result.identity_file = process.environment("DOLMEN_IDENTITY");
  if (result.shared_directory.empty()) result.shared_directory = process.environment("DOLMEN_SHM");
  if (rest.ends_with('/')) rest.remove_suffix(1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    result.nodes.emplace_back(rest.substr(0, comma));
    DOLMEN_CHECK(node::address(result.nodes.back()));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (result.nodes.empty()) return bad();
  if (result.identity_file.empty()) {
    return fail(Errc::invalid_argument,
                "who asks? (…?identity=FILE behind the address, or the variable DOLMEN_IDENTITY)");
  }
  return result;
}

std::string ClusterAddress::text() const {
  std::string result(kScheme);
  for (const std::string& one : nodes) result += (&one == &nodes.front() ? "" : ",") + one;
  result += "?" + std::string(kIdentity) + identity_file;
  if (!shared_directory.empty()) result += "&" + std::string(kShared) + shared_directory;
  if (is_trusted_fabric) result += "&" + std::string(kTrustedFabric);
  return result;
}

/// What the map says of it.
static ClusterStatus status_of(const cluster::RootState& map) {
  ClusterStatus result{.cluster = node::id_of(map), .version = map.version()};
  auto seats = map.seats();
  for (const auto& [number, one] : map.nodes()) {
    result.nodes.push_back({.number = number,
                            .name = one.name,
                            .address = one.address,
                            .state = state_of(one),
                            .seats = seats[number]});
  }
  for (const auto& [number, one] : map.groups()) {
    ClusterStatus::Group group{
        .number = number,
        .name = one.name,
        .kind = node::text_of(one),
        .is_ordered = one.shape && one.shape->table == cluster::TableKind::ordered,
        .size = one.size,
        .adding = one.change ? one.change->add : 0,
        .leaving = one.change ? one.change->leave : 0};
    for (const auto& [member, life] : one.members) group.members.push_back(member);
    result.groups.push_back(std::move(group));
  }
  for (const auto& [number, one] : map.clients()) {
    const bool is_token = number >= cluster::kTokenNumbers;
    const char* const state = is_token       ? one.is_spent ? "used" : "token"
                              : one.is_spent ? "revoked"
                                             : "active";
    result.clients.push_back(
        {.number = is_token ? number - cluster::kTokenNumbers : number,
         .name = one.name,
         .state = state,
         .expires_s = one.expires_s,
         .rights = one.rights == cluster::ClientRights::owner ? "owner" : "none",
         .groups_max = one.groups_max});
  }
  return result;
}

Result<Cluster> Cluster::open(std::string_view address, std::chrono::milliseconds patience) {
  sys::Process& process = *sys::linux_env().process;
  std::string text(address);
  if (text.empty()) text = process.environment("DOLMEN_CLUSTER");
  if (text.empty()) {
    DOLMEN_TRY(const auto job,
               node::job_of([&](const char* name) { return process.environment(name); }));
    if (job) {
      const std::uint64_t deadline_ns = deadline_in(patience);
      DOLMEN_TRY(const ClusterAddress where, node::cluster_of_job(*job, patience));
      return open(where, left_until(deadline_ns));
    }
  }
  DOLMEN_TRY(const ClusterAddress where, ClusterAddress::parse(text));
  return open(where, patience);
}

Result<Cluster> Cluster::open(const ClusterAddress& address, std::chrono::milliseconds patience) {
  auto impl = std::make_unique<Impl>();
  DOLMEN_TRY(impl->addresses, node::seeds_of(*sys::linux_env().network, address.nodes));
  DOLMEN_TRY(impl->self, node::identity_of(address));
  DOLMEN_CHECK(impl->refresh(deadline_in(patience)));
  return Cluster(std::move(impl));
}

Cluster::Cluster(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Cluster::Cluster(Cluster&&) noexcept = default;
Cluster& Cluster::operator=(Cluster&&) noexcept = default;
Cluster::~Cluster() = default;

Result<ClusterStatus> Cluster::status(std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_CHECK(impl_->refresh(deadline_ns));
  ClusterStatus result = status_of(impl_->map);
  for (ClusterStatus::Group& group : result.groups) {
    DOLMEN_TRY(
        auto client,
        node::ClientOf::make(node::plan_of(impl_->map, group.number, impl_->self), group.number));
    // What answers at once; whoever is not there is not waited for at each of its groups.
    constexpr std::chrono::milliseconds kLook{300};
    const auto members = client.status(std::min(left_until(deadline_ns), kLook));
    const node::ClientOf::Impl& inside = node::ClientOf::inside(client);
    for (ClusterStatus::Node& one : result.nodes) {
      const char* const link = node::link_of(*inside.tcp, inside.both, fabric::NodeId{one.number});
      if (one.link.empty()) one.link = link;
    }
    if (!members) continue;
    for (const ReplicatedStatus& member : *members) {
      if (!member.is_reached || member.role != "leader") continue;
      group.leader = member.member;
      group.stable_index = member.stable_index;
    }
  }
  return result;
}

Result<std::map<cluster::NodeNumber, std::string>> Cluster::Impl::figures(
    std::uint64_t deadline_ns) {
  DOLMEN_CHECK(refresh(deadline_ns));
  if (!metrics) {
    DOLMEN_TRY(metrics, node::MetricsClient::make(sys::linux_env(), self));
  }
  // Who answers does so at once; whoever does not is not waited for.
  constexpr std::uint64_t kLookNs = 500'000'000;
  const std::uint64_t until_ns = std::min(deadline_ns, now_ns() + kLookNs);
  return metrics->ask(map, self, until_ns);
}

Result<ClusterMetrics> Cluster::metrics(std::chrono::milliseconds patience) {
  DOLMEN_TRY(auto texts, impl_->figures(deadline_in(patience)));
  ClusterMetrics result{.status = status_of(impl_->map)};
  for (auto& [number, text] : texts) result.nodes.push_back({number, std::move(text)});
  return result;
}

Result<std::uint32_t> Cluster::create_space(std::string_view name, std::uint32_t size,
                                            std::chrono::milliseconds patience) {
  if (name.empty()) return fail(Errc::invalid_argument, "a space without a name");
  if (!cluster::is_word(name, cluster::kGroupNameBytesMax)) {
    return fail(Errc::invalid_argument,
                interned(std::string(name) + ": a space's name has 1 to 63 characters, none of "
                                             "them blank or a control character"));
  }
  DOLMEN_CHECK(node::check_size(size));
  const std::uint64_t deadline_ns = deadline_in(patience);
  const cluster::root::CreateGroup create{
      .kind = cluster::GroupKind::space, .name = std::string(name), .size = size};
  DOLMEN_TRY(const cluster::RootReply reply, impl_->tell(create, patience));
  const auto number = static_cast<cluster::GroupNumber>(reply.value);
  if (reply.is_ok()) return number;
  if (reply.status != cluster::RootStatus::name_taken) {
    return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
                reply.value);
  }
  // By a space: it is the one.
  DOLMEN_TRY(const cluster::RootGroup group, impl_->group(number, deadline_ns));
  if (group.kind == cluster::GroupKind::space) return number;
  return fail(Errc::already_exists,
              interned("a group called " + std::string(name) + ", which is no space"), number);
}

Result<void> Cluster::drain(std::uint32_t node, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(impl_->ask(cluster::root::Drain{.node = node}, patience));
  return {};
}

Result<void> Cluster::undrain(std::uint32_t node, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(impl_->ask(cluster::root::Undrain{.node = node}, patience));
  return {};
}

Result<void> Cluster::remove(std::uint32_t node, const std::string& owner_file,
                             std::chrono::milliseconds patience) {
  DOLMEN_TRY(const security::Key owner, impl_->owner_key(owner_file));
  cluster::root::RemoveNode command{.node = node};
  node::sign(command, owner);
  DOLMEN_CHECK(impl_->ask(command, patience));
  return {};
}

Result<std::string> Cluster::make_token(const std::string& owner_file,
                                        std::chrono::seconds lifetime,
                                        std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  constexpr std::int64_t kLongestS = std::int64_t{10} * 365 * 24 * 3600;
  if (lifetime.count() <= 0 || lifetime.count() > kLongestS) {
    return fail(Errc::invalid_argument, "a token's life: from a second to ten years");
  }
  DOLMEN_TRY(const security::Key owner, impl_->owner_key(owner_file));
  security::JoinToken token{.cluster = owner.cluster(),
                            .owner = owner.public_key(),
                            .identity = {security::Role::node, 0},
                            .expiry_s = now_s() + static_cast<std::uint64_t>(lifetime.count()),
                            .secret = node::new_secret()};
  for (;;) {
    DOLMEN_CHECK(impl_->refresh(deadline_ns));
    token.identity.number = impl_->map.next_node();
    DOLMEN_TRY(const security::Key key, node::key_of(token));
    cluster::root::AddClient command{.client = key.identity().number,
                                     .name = "node-" + std::to_string(token.identity.number),
                                     .key = impl_->identity_of(key.public_key()),
                                     .expires_s = token.expiry_s};
    node::sign(command, owner);
    DOLMEN_TRY(const cluster::RootReply reply, impl_->tell(command, left_until(deadline_ns)));
    if (reply.is_ok()) break;
    // Another token got the number, or the node asked has an old map.
    const bool is_later = reply.status == cluster::RootStatus::outdated ||
                          reply.status == cluster::RootStatus::name_taken;
    if (!is_later || now_ns() >= deadline_ns) {
      return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
                  reply.value);
    }
    constexpr std::uint64_t kPauseNs = 20'000'000;
    sys::linux_env().clock->sleep_ns(kPauseNs);
  }
  for (const auto& [number, one] : impl_->map.nodes()) {
    if (impl_->map.node(number) == nullptr || one.is_lost) continue;
    if (token.nodes.size() == security::kTokenNodesMax) break;
    security::KnownNode known{.number = number, .address = one.address};
    std::ranges::copy(one.identity, known.key.bytes.begin());
    token.nodes.push_back(std::move(known));
  }
  if (token.nodes.empty()) return fail(Errc::timed_out, "no node is there that could be asked");
  return token.text();
}

Result<void> Cluster::add_client(std::string_view name, const std::string& owner_file,
                                 const std::string& identity_file, const ClientGrant& grant,
                                 std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  if (!security::is_valid_name(name)) {
    return fail(Errc::invalid_argument,
                "a client's name: 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit first");
  }
  DOLMEN_TRY(const security::Key owner, impl_->owner_key(owner_file));
  DOLMEN_CHECK(impl_->refresh(deadline_ns));
  // Of whom it is not known whether the root group heard is the same one again.
  const auto former = impl_->former_key(identity_file, name);
  const cluster::ClientNumber taken = impl_->map.client_named(name);
  if (taken != 0 && (!former || former->identity().number != taken)) {
    return fail(Errc::invalid_argument, interned(std::string(name) + ": the name is taken"));
  }
  // Those with which a cluster begins have the low numbers.
  std::array<std::byte, 4> random{};
  sys::linux_env().entropy->fill(random);
  const std::uint32_t number =
      former ? former->identity().number : 1024 + base::load<std::uint32_t>(random) % (1u << 29);
  DOLMEN_TRY(const security::Key key,
             former
                 ? Result<security::Key>(*former)
                 : security::Key::make(owner.cluster(), owner.public_key(),
                                       {security::Role::client, number}, name, node::new_secret()));
  // Nodes by which it finds the cluster, as its owner knows them now.
  security::Trust trust(owner.cluster(), owner.public_key());
  for (const auto& [node, one] : impl_->map.nodes()) {
    if (impl_->map.node(node) == nullptr || one.identity == cluster::NodeIdentity{}) continue;
    security::PublicKey its_key;
    std::ranges::copy(one.identity, its_key.bytes.begin());
    DOLMEN_CHECK(trust.add({security::Role::node, node}, "node-" + std::to_string(node), its_key));
  }
  DOLMEN_TRY(const std::string trusted, trust.sign(owner));
  // The file comes first: a key that is trusted and that nobody has would be worse than one that is
  // not trusted yet.
  DOLMEN_CHECK(sys::write_small_file(identity_file, base::as_bytes(key.text() + trusted),
                                     sys::Secrecy::secret, former.has_value()));
  cluster::root::AddClient command{.client = number,
                                   .name = std::string(name),
                                   .key = impl_->identity_of(key.public_key()),
                                   .rights = rights_in(grant),
                                   .groups_max = grant.groups_max};
  node::sign(command, owner);
  DOLMEN_CHECK(impl_->ask(command, left_until(deadline_ns)));
  return {};
}

Result<void> Cluster::grant_client(std::string_view name, const std::string& owner_file,
                                   const ClientGrant& grant, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_TRY(const security::Key owner, impl_->owner_key(owner_file));
  for (;;) {
    DOLMEN_CHECK(impl_->refresh(deadline_ns));
    const cluster::ClientNumber number = impl_->map.client_named(name);
    if (number == 0) return fail(Errc::not_found, interned("a client called " + std::string(name)));
    const cluster::RootClient& known = impl_->map.clients().at(number);
    if (known.rights == rights_in(grant) && known.groups_max == grant.groups_max) return {};
    cluster::root::AddClient command{.client = number,
                                     .name = known.name,
                                     .key = known.key,
                                     .rights = rights_in(grant),
                                     .generation = known.generation + 1,
                                     .groups_max = grant.groups_max};
    node::sign(command, owner);
    DOLMEN_TRY(const cluster::RootReply reply, impl_->tell(command, left_until(deadline_ns)));
    if (reply.is_ok()) return {};
    if (reply.status != cluster::RootStatus::outdated) {
      return fail(Errc::invalid_argument, interned(std::string(cluster::text(reply.status))),
                  reply.value);
    }
    // The node that was asked had an old map, or somebody else was faster.
    if (now_ns() >= deadline_ns) return fail(Errc::conflict, "what a client may do", reply.value);
    constexpr std::uint64_t kPauseNs = 20'000'000;
    sys::linux_env().clock->sleep_ns(kPauseNs);
  }
}

Result<void> Cluster::revoke_client(std::string_view name, const std::string& owner_file,
                                    std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_TRY(const security::Key owner, impl_->owner_key(owner_file));
  DOLMEN_CHECK(impl_->refresh(deadline_ns));
  const cluster::ClientNumber number = impl_->map.client_named(name);
  if (number == 0) return fail(Errc::not_found, interned("a client called " + std::string(name)));
  cluster::root::RevokeClient command{.client = number};
  node::sign(command, owner);
  DOLMEN_CHECK(impl_->ask(command, left_until(deadline_ns)));
  return {};
}

Result<void> Cluster::give_up_import(std::string_view name, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = deadline_in(patience);
  DOLMEN_TRY(ReplicatedClient its, client(name, patience));
  const cluster::GroupNumber number = impl_->map.group_named(name);
  // What its group has decided nobody can take back: so the name is not one that is in use by now.
  const std::vector<std::byte> call = encode(node::ImportCall{
      .step = node::ImportStep::give_up, .at = {.source = {}, .cursor = {}, .is_given_up = true}});
  for (bool is_erased = false; !is_erased;) {
    const auto told = call_space(its, node::kImportFunction, call, left_until(deadline_ns));
    if (!told && told.error().code() == Errc::not_found) {
      return fail(Errc::already_exists, interned(std::string(name) + ": not half an import"));
    }
    if (!told) return std::unexpected(told.error());
    DOLMEN_TRY(const node::ImportState at, node::decode_import_state(*told));
    is_erased = at.cursor == node::ImportCursor{};
  }
  DOLMEN_CHECK(impl_->ask(cluster::root::ReleaseName{.group = number, .name = std::string(name)},
                          left_until(deadline_ns)));
  return {};
}

Result<ReplicatedClient> Cluster::client(std::string_view group,
                                         std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto number,
             impl_->known<cluster::GroupNumber>(
                 patience, [&](const cluster::RootState& map) { return map.group_named(group); }));
  if (number == 0) {
    return fail(Errc::not_found, interned("a group called " + std::string(group)));
  }
  return node::ClientOf::make(node::plan_of(impl_->map, number, impl_->self), number);
}

}  // namespace dolmen
