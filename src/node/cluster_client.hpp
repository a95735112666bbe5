// SPDX-License-Identifier: Apache-2.0
//
// A client of a cluster: the map as it was told last, and a client of the root group. Threads: one
// at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/cluster.hpp>

#include "node/cluster_home.hpp"
#include "node/cluster_identity.hpp"
#include "node/cluster_map.hpp"
#include "node/cluster_metrics.hpp"
#include "node/home_reads.hpp"
#include "node/replicated_client.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace node {

[[nodiscard]] inline std::uint64_t now_ns() { return sys::linux_env().clock->monotonic_ns(); }

[[nodiscard]] inline std::uint64_t now_s() {
  return sys::linux_env().clock->wall_ns() / 1'000'000'000;
}

[[nodiscard]] inline std::uint64_t deadline_in(std::chrono::milliseconds patience) {
  return now_ns() +
         static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0)) * 1'000'000;
}

[[nodiscard]] inline std::chrono::milliseconds left_until(std::uint64_t deadline_ns) {
  const std::uint64_t now = now_ns();
  return std::chrono::milliseconds(deadline_ns > now ? (deadline_ns - now) / 1'000'000 : 0);
}

/// Of how many nodes a group shall be. Errors: invalid_argument.
[[nodiscard]] inline Result<void> check_size(std::uint32_t size) {
  if (size >= 1 && size <= cluster::kGroupSizeMax) return {};
  return fail(Errc::invalid_argument, "how many nodes keep it: 1 to 9", size);
}

}  // namespace node

struct Cluster::Impl {
  std::vector<std::string> addresses;  ///< that were given
  security::LinkSelf self;
  cluster::RootState map;
  std::unique_ptr<ReplicatedClient> root{};
  CallId last_call{};
  ReplicatedCommit last_commit{};
  std::unique_ptr<node::MetricsClient> metrics{};
  /// Of groups that home() and call() asked: each knows by itself who its members are.
  std::map<cluster::GroupNumber, ReplicatedClient> group_clients{};
  node::HomeHints hints{};
  /// Of shards of the directory, which are read in memory.
  struct HomeShard {
    node::HomeReads* reads = nullptr;  ///< within the client
    ReplicatedClient client;
  };
  IndexCounts home_counts{};
  std::map<cluster::GroupNumber, HomeShard> home_shards{};

  /// Of the nodes as the last map knows them, and of those that were given.
  [[nodiscard]] Result<void> refresh(std::uint64_t deadline_ns) {
    std::vector<std::string> all = addresses;
    for (const auto& [number, where] : node::addresses_in(map)) {
      if (std::ranges::find(all, where) == all.end()) all.push_back(where);
    }
    DOLMEN_TRY(auto latest, node::fetch_map(all, self, deadline_ns));
    // Another node may know less than the one before.
    if (latest.version() > map.version()) {
      map = std::move(latest);
      self.trust = node::trust_of(map, *self.key, node::now_s());
      root.reset();
    }
    return {};
  }

  /// Nodes hear of what is new in a moment.
  [[nodiscard]] Result<cluster::RootGroup> group(cluster::GroupNumber number,
                                                 std::uint64_t deadline_ns) {
    constexpr std::uint64_t kPauseNs = 20'000'000;
    while (map.group(number) == nullptr && node::now_ns() < deadline_ns) {
      DOLMEN_CHECK(refresh(deadline_ns));
      if (map.group(number) == nullptr) sys::linux_env().clock->sleep_ns(kPauseNs);
    }
    if (const cluster::RootGroup* const found = map.group(number)) return *found;
    return fail(Errc::timed_out, "no node knows of the group yet", number);
  }

  /// Errors: as of group() (below), and of making one.
  [[nodiscard]] Result<ReplicatedClient*> client_of(cluster::GroupNumber number,
                                                    std::uint64_t deadline_ns);

  /// Which group serves each shard of the directory. Errors: unsupported (there is none, or not all
  /// of it).
  [[nodiscard]] Result<std::vector<cluster::GroupNumber>> directory_shards(
      std::chrono::milliseconds patience);
  [[nodiscard]] Result<HomeShard*> home_shard(cluster::GroupNumber number,
                                              std::uint64_t deadline_ns);

  /// The number again. Errors: as of group(); invalid_argument (it keeps no space).
  [[nodiscard]] Result<cluster::GroupNumber> space_called(cluster::GroupNumber number,
                                                          std::uint64_t deadline_ns);

  /// Errors: not_authentic (of another cluster), and those of reading it.
  [[nodiscard]] Result<security::Key> owner_key(const std::string& path) const {
    DOLMEN_TRY(security::Key owner, node::read_owner_key(path));
    if (owner.public_key() == self.key->owner()) return owner;
    return fail(Errc::not_authentic, interned(path + ": the owner of another cluster"));
  }
  /// The key that an attempt to add this client left in the file; nothing: there is no such file,
  /// or it is of somebody else, or revoked.
  [[nodiscard]] std::optional<security::Key> former_key(const std::string& path,
                                                        std::string_view name) const {
    const auto known = node::read_identity(path);
    if (!known || known->key->identity().role != security::Role::client) return std::nullopt;
    const security::Key& key = *known->key;
    const bool is_it = key.cluster() == self.key->cluster() && key.owner() == self.key->owner() &&
                       key.name() == name;
    const auto found = map.clients().find(key.identity().number);
    if (found != map.clients().end() && found->second.is_spent) return std::nullopt;
    return is_it ? std::optional(key) : std::nullopt;
  }
  [[nodiscard]] static cluster::NodeIdentity identity_of(const security::PublicKey& key) {
    cluster::NodeIdentity identity{};
    std::ranges::copy(key.bytes, identity.begin());
    return identity;
  }

  [[nodiscard]] Result<cluster::RootReply> tell(const cluster::RootCommand& command,
                                                std::chrono::milliseconds patience) {
    const std::uint64_t deadline_ns = node::deadline_in(patience);
    last_call = {};
    // Who the root's members are may have changed since the last time.
    DOLMEN_CHECK(refresh(deadline_ns));
    if (!root) {
      DOLMEN_TRY(auto client, node::ClientOf::make(node::plan_of(map, cluster::kRootGroup, self),
                                                   cluster::kRootGroup));
      root = std::make_unique<ReplicatedClient>(std::move(client));
    }
    const auto bytes = root->call(cluster::encode(command), node::left_until(deadline_ns));
    last_call = root->last_call();
    if (!bytes) return std::unexpected(bytes.error());
    last_commit = root->last_commit();
    return cluster::decode_root_reply(*bytes);
  }

  /// An index of either kind, each shard of which has a table of `table_bytes`. Errors:
  /// already_exists, invalid_argument, out_of_memory (too few nodes have room for theirs), those
  /// of tell().
  [[nodiscard]] Result<void> make_index(const cluster::root::CreateIndex& command,
                                        std::uint64_t table_bytes,
                                        std::chrono::milliseconds patience);
  /// Whether the hosts of enough nodes have memory for their share of the index's tables, as far as
  /// the nodes say that answer.
  [[nodiscard]] Result<void> check_room(const cluster::root::CreateIndex& command,
                                        std::uint64_t table_bytes, std::uint64_t deadline_ns);
  /// Figures of the nodes that answer, as Cluster::metrics().
  [[nodiscard]] Result<std::map<cluster::NodeNumber, std::string>> figures(
      std::uint64_t deadline_ns);
  /// The groups that are its shards, of which the map says what they are. Errors: not_found,
  /// wrong_type (of the other kind).
  [[nodiscard]] Result<std::vector<cluster::GroupNumber>> find_index(
      std::string_view name, cluster::TableKind table, std::chrono::milliseconds patience);

  /// Requires it to be so.
  [[nodiscard]] Result<cluster::RootReply> ask(const cluster::RootCommand& command,
                                               std::chrono::milliseconds patience) {
    DOLMEN_TRY(const cluster::RootReply reply, tell(command, patience));
    if (reply.is_ok()) return reply;
    const bool is_later = reply.status == cluster::RootStatus::has_seats;
    return fail(is_later ? Errc::busy : Errc::invalid_argument,
                interned(std::string(cluster::text(reply.status))), is_later ? 0 : reply.value);
  }

  /// What `find` finds in the map. It may have been made by another client since the map was told,
  /// and nodes hear of it in a moment. What is like a value of its own: it is not there.
  template <class T, class Find>
  [[nodiscard]] Result<T> known(std::chrono::milliseconds patience, const Find& find) {
    const std::uint64_t deadline_ns = node::deadline_in(patience);
    constexpr std::uint64_t kPauseNs = 20'000'000;
    constexpr std::uint64_t kHearsayNs = 500'000'000;
    const std::uint64_t give_up_ns = std::min(deadline_ns, node::now_ns() + kHearsayNs);
    T found = find(map);
    while (found == T{} && node::now_ns() < give_up_ns) {
      DOLMEN_CHECK(refresh(deadline_ns));
      found = find(map);
      if (found == T{}) sys::linux_env().clock->sleep_ns(kPauseNs);
    }
    return found;
  }
};

}  // namespace dolmen
