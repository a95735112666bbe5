// SPDX-License-Identifier: Apache-2.0
//
// Who uses a cluster, or changes it.
#include <algorithm>
#include <variant>

#include <dolmen/cluster.hpp>

#include "node/cluster_client.hpp"
#include "node/job.hpp"
#include "node/replicated_client.hpp"
#include "security/text.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

using node::deadline_in;
using node::left_until;

namespace {

constexpr std::string_view kScheme = "dolmen://";
constexpr std::string_view kKey = "key=";

std::string state_of(const cluster::RootNode& one) {
  if (one.state == cluster::NodeState::removed) return "removed";
  if (one.is_lost) return "lost";
  return one.state == cluster::NodeState::draining ? "draining" : "active";
}

std::string kind_of(cluster::GroupKind kind) {
  switch (kind) {
    case cluster::GroupKind::root:
      return "root";
    case cluster::GroupKind::index:
      return "index";
    case cluster::GroupKind::space:
      break;
  }
  return "space";
}

}  // namespace

Result<ClusterAddress> ClusterAddress::parse(std::string_view text) {
  const auto bad = [&] {
    return fail(Errc::invalid_argument,
                interned(std::string(text) + ": like dolmen://192.0.2.7:7400?key=/etc/dolmen/key"));
  };
  if (!text.starts_with(kScheme)) return bad();
  std::string_view rest = text.substr(kScheme.size());
  ClusterAddress result;
  if (const std::size_t mark = rest.find('?'); mark != std::string_view::npos) {
    const std::string_view query = rest.substr(mark + 1);
    if (!query.starts_with(kKey) || query.find('&') != std::string_view::npos) return bad();
    result.key_file = query.substr(kKey.size());
    rest = rest.substr(0, mark);
  } else {
    result.key_file = sys::linux_env().process->environment("DOLMEN_KEY");
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    result.nodes.emplace_back(rest.substr(0, comma));
    DOLMEN_CHECK(node::address(result.nodes.back()));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (result.nodes.empty()) return bad();
  if (result.key_file.empty()) {
    return fail(Errc::invalid_argument,
                "which key? (…?key=FILE behind the address, or the variable DOLMEN_KEY)");
  }
  return result;
}

std::string ClusterAddress::text() const {
  std::string result(kScheme);
  for (const std::string& one : nodes) result += (&one == &nodes.front() ? "" : ",") + one;
  return result + "?" + std::string(kKey) + key_file;
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
  impl->addresses = address.nodes;
  DOLMEN_TRY(impl->key, node::read_key_file(address.key_file));
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
  const cluster::RootState& map = impl_->map;
  const std::array<std::uint64_t, 2> id{map.cluster().high, map.cluster().low};
  ClusterStatus result{.cluster = security::to_hex(std::as_bytes(std::span(id))),
                       .version = map.version()};
  auto seats = map.seats();
  for (const auto& [number, one] : map.nodes()) {
    result.nodes.push_back({.number = number,
                            .name = one.name,
                            .address = one.address,
                            .state = state_of(one),
                            .seats = seats[number]});
  }
  for (const auto& [number, one] : map.groups()) {
    ClusterStatus::Group group{.number = number,
                               .name = one.name,
                               .kind = kind_of(one.kind),
                               .size = one.size,
                               .adding = one.change ? one.change->add : 0,
                               .leaving = one.change ? one.change->leave : 0};
    for (const auto& [member, life] : one.members) group.members.push_back(member);
    DOLMEN_TRY(auto client, node::ClientOf::make(node::plan_of(map, number, impl_->key), number));
    // What answers at once; whoever is not there is not waited for at each of its groups.
    constexpr std::chrono::milliseconds kLook{300};
    const auto members = client.status(std::min(left_until(deadline_ns), kLook));
    if (members) {
      for (const ReplicatedStatus& member : *members) {
        if (!member.is_reached || member.role != "leader") continue;
        group.leader = member.member;
        group.stable_index = member.stable_index;
      }
    }
    result.groups.push_back(std::move(group));
  }
  return result;
}

Result<std::uint32_t> Cluster::create_space(std::string_view name, std::uint32_t size,
                                            std::chrono::milliseconds patience) {
  if (name.empty()) return fail(Errc::invalid_argument, "a space without a name");
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

Result<void> Cluster::remove(std::uint32_t node, std::chrono::milliseconds patience) {
  DOLMEN_CHECK(impl_->ask(cluster::root::RemoveNode{.node = node}, patience));
  return {};
}

Result<ReplicatedClient> Cluster::client(std::string_view group,
                                         std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto number, impl_->known<cluster::GroupNumber>(
                                    patience, [&](const cluster::RootState& map) {
                                      return map.group_named(group);
                                    }));
  if (number == 0) {
    return fail(Errc::not_found, interned("a group called " + std::string(group)));
  }
  return node::ClientOf::make(node::plan_of(impl_->map, number, impl_->key), number);
}

}  // namespace dolmen
