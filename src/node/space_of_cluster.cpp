// SPDX-License-Identifier: Apache-2.0
//
// The copy has no name on any disk: it is gone with the Space, or with the process.
#include "node/space_of_cluster.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include <dolmen/cluster.hpp>

#include "node/open_space.hpp"
#include "node/space_copy.hpp"
#include "sys/linux/scratch_disk.hpp"

namespace dolmen::node {

namespace {

constexpr std::string_view kClusterScheme = "dolmen://";
constexpr const char* kHowToWrite =
    "a space of a cluster: open it read_only, and send what changes it, as a function that its "
    "nodes have: Cluster::call(), call_space()";

/// What could be meant instead.
Result<std::string> spaces_of(Cluster& cluster, std::chrono::milliseconds patience) {
  DOLMEN_TRY(const ClusterStatus status, cluster.status(patience));
  std::string names;
  for (const ClusterStatus::Group& group : status.groups) {
    if (group.kind == "space") names += (names.empty() ? "" : ", ") + group.name;
  }
  return names.empty() ? "the cluster keeps no space yet" : "the cluster keeps " + names;
}

Result<ReplicatedClient> client_of(Cluster& cluster, const std::string& name,
                                   std::chrono::milliseconds patience) {
  if (name.empty()) {
    DOLMEN_TRY(const std::string names, spaces_of(cluster, patience));
    return fail(Errc::invalid_argument,
                interned("which space? (" + names + "; dolmen://HOST:PORT/SPACE names one)"));
  }
  auto client = cluster.client(name, patience);
  if (!client && client.error().code() == Errc::not_found) {
    DOLMEN_TRY(const std::string names, spaces_of(cluster, patience));
    return fail(Errc::not_found, interned("a space called " + name + "; " + names));
  }
  if (!client) return client;
  DOLMEN_TRY(const ClusterStatus status, cluster.status(patience));
  for (const ClusterStatus::Group& group : status.groups) {
    if (group.name != name || group.kind == "space") continue;
    DOLMEN_TRY(const std::string names, spaces_of(cluster, patience));
    return fail(Errc::invalid_argument,
                interned(name + " is no space, but of kind " + group.kind + "; " + names));
  }
  return client;
}

Result<std::unique_ptr<sys::Disk>> room_for_copy(const sys::Env& env) {
  std::string directory = env.process->environment("TMPDIR");
  if (directory.empty()) directory = "/tmp";
  auto disk = sys::open_scratch(directory);
  if (disk) return disk;
  return fail(disk.error().code(), interned(std::string(disk.error().context()) +
                                            "; TMPDIR says where copies of spaces are made"));
}

}  // namespace

bool is_of_cluster(std::string_view text) noexcept { return text.starts_with(kClusterScheme); }

SpaceAddress space_address(std::string_view text) {
  std::size_t query = std::string_view::npos;
  for (const std::string_view word : {"?identity=", "?shm=", "?fabric="}) {
    const std::size_t at = text.rfind(word);
    if (at != std::string_view::npos) query = std::min(query, at);
  }
  query = std::min(query, text.size());
  const std::size_t hosts_end = text.find('/', kClusterScheme.size());
  if (hosts_end > query) return {.cluster = std::string(text)};
  return {.cluster = std::string(text.substr(0, hosts_end)) + std::string(text.substr(query)),
          .name = std::string(text.substr(hosts_end + 1, query - hosts_end - 1))};
}

Result<Space> open_space_of_cluster(const sys::Env& env, std::string_view address,
                                    const SpaceOptions& options, const Progress& progress) {
  if (!options.read_only) return fail(Errc::read_only, kHowToWrite);
  DOLMEN_TRY(auto disk, room_for_copy(env));
  {
    const SpaceAddress from = space_address(address);
    DOLMEN_TRY(Cluster cluster, Cluster::open(from.cluster, options.patience));
    DOLMEN_TRY(ReplicatedClient client, client_of(cluster, from.name, options.patience));
    DOLMEN_CHECK(export_space(env, client, *disk, options.patience, progress));
  }
  return open_space(env, std::move(disk), options, env.memory->best_driver(), kHowToWrite);
}

}  // namespace dolmen::node
