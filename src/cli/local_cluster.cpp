// SPDX-License-Identifier: Apache-2.0
#include "cli/local_cluster.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>

#include "base/checksum.hpp"
#include "node/cluster_node.hpp"
#include "node/places.hpp"
#include "node/replicated_group.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kExchangeLock = ".lock";
constexpr const char* kClusterLock = "up.lock";

std::string directory_named(const std::string& text) {
  std::string whole = fs::absolute(text).lexically_normal().string();
  if (whole.size() > 1 && whole.ends_with('/')) whole.pop_back();
  return whole;
}

/// How the same cluster is brought up again.
std::string options_of(const std::vector<std::string>& founders) {
  std::string words = "-n " + std::to_string(founders.size());
  const auto first = node::address(founders.front());
  if (!first || first->port == 0) return words;
  return words + " --host " + first->host + " --port " + std::to_string(first->port - 1);
}

/// Whether it is free: the nodes of an `up` that was killed need a moment to go.
Result<void> listen_soon(sys::Network& network, const sys::NetworkAddress& where) {
  constexpr std::uint64_t kMomentNs = 2'000'000'000;
  constexpr std::uint64_t kPauseNs = 50'000'000;
  sys::Clock& clock = *sys::linux_env().clock;
  for (const std::uint64_t until_ns = clock.monotonic_ns() + kMomentNs;;) {
    const auto listener = network.listen(where);
    if (listener) return {};
    const bool is_taken = listener.error().code() == Errc::already_exists;
    if (!is_taken || clock.monotonic_ns() >= until_ns) return std::unexpected(listener.error());
    clock.sleep_ns(kPauseNs);
  }
}

}  // namespace

Exchange::Exchange(const std::string& directory) {
  if (directory.empty()) return;
  const std::string cluster = directory_named(directory);
  const std::uint64_t id = base::checksum64(base::as_bytes(cluster), ::geteuid());
  const std::string path = "/dev/shm/dolmen-up-" + std::to_string(id);
  if (!sys::open_shared_directory(path, sys::DirectoryMode::open_or_create)) return;
  auto place = sys::open_directory(path, sys::DirectoryMode::open_existing);
  if (!place) return;
  auto lock = (*place)->try_lock(kExchangeLock, sys::LockMode::exclusive, "dolmen up", nullptr);
  if (!lock) return;
  place_ = std::move(*place);
  lock_ = std::move(*lock);
  path_ = path;
  std::error_code unused;
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(path, unused)) {
    if (entry.path().filename() != kExchangeLock) left.push_back(entry.path());
  }
  for (const fs::path& one : left) fs::remove_all(one, unused);
}

Exchange::~Exchange() {
  std::error_code unused;
  if (!path_.empty()) fs::remove_all(path_, unused);
}

LocalCluster::LocalCluster(const LocalClusterOptions& options, const std::string& command)
    : command_("`dolmen " + command + "`"),
      directory_(directory_named(options.directory)),
      host_(options.host),
      port_(options.port),
      lease_(options.lease_ms) {
  for (std::uint32_t number = 1; number <= options.nodes; ++number) {
    address_.nodes.push_back(host_ + ":" + std::to_string(port_ + number));
    nodes_.insert(number);
  }
  address_.identity_file = directory_ + "/keys/client-1.key";
  address_.is_trusted_fabric = options.trusted_fabric;
}

Result<void> LocalCluster::check_known() const {
  std::vector<std::string> others;
  for (const std::uint32_t number : nodes_) {
    const auto known = node::read_node_file(node_directory(number));
    if (!known || !*known || (*known)->founders.empty()) continue;
    // Then the file of a node that says otherwise is a damaged one.
    if ((*known)->founders == founders_) return {};
    if (others.empty()) others = (*known)->founders;
  }
  if (others.empty()) return {};
  return fail(
      Errc::invalid_argument,
      interned(directory_ + ": a cluster of " + std::to_string(others.size()) +
               (others.size() == 1 ? " node" : " nodes") + " is there, which goes on with " +
               options_of(others) + "; another one needs another directory"));
}

bool LocalCluster::has_file(std::uint32_t number) const {
  const auto known = node::read_node_file(node_directory(number));
  return known && *known && (*known)->founders == founders_;
}

Result<void> LocalCluster::make_node(std::uint32_t number) {
  const std::string directory = node_directory(number);
  std::error_code unused;
  const bool is_there = fs::exists(directory, unused) && !fs::is_empty(directory, unused);
  // Founded anew it would have forgotten what it promised, and nobody runs who could say so.
  if (!is_there && latest_map().is_begun()) {
    broken_.emplace(number, Error(Errc::corrupt, interned(directory + ": gone, or not mounted")));
    return {};
  }
  const auto made = ClusterNode::create(
      {.directory = directory,
       .address = address_.nodes[number - 1],
       .identity_file = directory_ + "/keys/node-" + std::to_string(number) + ".key",
       .founders = address_.nodes,
       .lease = lease_,
       .is_trusted_fabric = address_.is_trusted_fabric});
  if (made || made.error().code() == Errc::already_exists) return {};
  // It was made, its file is not as it was, and the others' are: they go on without it.
  const bool are_others = std::ranges::any_of(
      nodes_, [&](std::uint32_t other) { return other != number && has_file(other); });
  const Errc why = made.error().code();
  const bool is_damage = why == Errc::corrupt || why == Errc::invalid_argument;
  if (!is_damage || !is_there || has_file(number) || !are_others) return made;
  broken_.emplace(number, made.error());
  return {};
}

Result<void> LocalCluster::lock() {
  DOLMEN_TRY(place_, sys::open_directory(directory_, sys::DirectoryMode::open_existing));
  const std::string self = command_ + " runs there already";
  std::string holder;
  auto taken = place_->try_lock(
      kClusterLock, sys::LockMode::exclusive,
      self + " (process " + std::to_string(sys::linux_env().process->pid()) + ")", &holder);
  if (!taken && taken.error().code() == Errc::held) {
    // Who took it this moment has not said so yet.
    return fail(Errc::held, interned(holder.empty() ? self : holder));
  }
  DOLMEN_TRY(lock_, std::move(taken));
  return {};
}

Result<void> LocalCluster::make() {
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) return fail(Errc::io_error, interned(directory_));
  DOLMEN_CHECK(lock());
  DOLMEN_TRY(founders_, node::place_of_each(*sys::linux_env().network, address_.nodes));
  DOLMEN_CHECK(check_known());
  const auto keys =
      make_cluster_keys(directory_ + "/keys", static_cast<std::uint32_t>(address_.nodes.size()));
  if (!keys && keys.error().code() != Errc::already_exists) return keys;
  for (const std::uint32_t number : removed()) nodes_.erase(number);
  if (nodes_.empty()) {
    return fail(Errc::not_found,
                interned(directory_ + ": all nodes of this cluster were removed from it"));
  }
  // Whoever listens at one of them is no node of this cluster, and would be asked in vain.
  sys::Network& network = *sys::linux_env().network;
  for (const std::uint32_t number : nodes_) {
    DOLMEN_TRY(const std::string place, node::place_of(network, address_.nodes[number - 1]));
    DOLMEN_TRY(const sys::NetworkAddress where, node::address(place));
    const auto free = listen_soon(network, where);
    if (free || free.error().code() != Errc::already_exists) continue;
    return fail(
        free.error().code(),
        interned(address_.nodes[number - 1] + ": somebody listens there (another --port, perhaps)"),
        free.error().detail());
  }
  for (const std::uint32_t number : nodes_) DOLMEN_CHECK(make_node(number));
  for (const auto& [number, why] : broken_) nodes_.erase(number);
  return {};
}

ClusterAddress LocalCluster::address() const {
  ClusterAddress address = address_;
  address.nodes.clear();
  for (const std::uint32_t number : nodes_) address.nodes.push_back(address_.nodes[number - 1]);
  return address;
}

cluster::RootState LocalCluster::latest_map() const {
  cluster::RootState latest;
  for (std::uint32_t number = 1; number <= address_.nodes.size(); ++number) {
    const auto disk =
        sys::open_directory(node_directory(number), sys::DirectoryMode::open_existing);
    if (!disk) continue;
    auto map = node::ClusterCore::read_map(**disk);
    if (map && map->version() > latest.version()) latest = std::move(*map);
  }
  return latest;
}

std::set<std::uint32_t> LocalCluster::removed() const {
  std::set<std::uint32_t> gone;
  const cluster::RootState latest = latest_map();
  for (const auto& [number, one] : latest.nodes()) {
    if (one.state == cluster::NodeState::removed) gone.insert(number);
  }
  return gone;
}

}  // namespace dolmen::cli
