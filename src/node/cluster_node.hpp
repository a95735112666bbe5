// SPDX-License-Identifier: Apache-2.0
//
// A node of a cluster at work (docs/cluster.md): one Member, with as many groups as the map says,
// and, where it leads the root group, the root group's controller.
//
// Invariant: a map is only ever replaced by a later one. What replicas there are is said by
// cluster/seats.hpp.
//
// Threads: one for everything but GroupChanges.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cluster/root_controller.hpp"
#include "cluster/seats.hpp"
#include "node/cluster_map.hpp"
#include "node/group_changes.hpp"
#include "node/node_file.hpp"
#include "node/root_machine.hpp"

namespace dolmen {

struct ClusterNode::Impl {
  /// The map is asked for this often, which also says that this node is there.
  static constexpr std::uint64_t kAskNs = 100'000'000;
  /// The command that begins a cluster is proposed again after this.
  static constexpr std::uint64_t kBeginNs = 500'000'000;

  std::string directory;
  node::NodeFile file;
  NodeRunOptions options;
  fabric::Secret key;
  cluster::RootState map;  ///< the latest that is known; not begun: the founders are all there is

  // What the members' machines are made of; they outlive the member.
  node::RootMachine root;
  std::map<cluster::GroupNumber, std::unique_ptr<ReplicatedSpace>> spaces;

  std::unique_ptr<fabric::TcpEndpoint> endpoint;
  std::unique_ptr<replication::Member> member;  // goes before its endpoint
  std::optional<cluster::RootController> controller{};
  std::unique_ptr<node::GroupChanges> changes{};

  bool is_new_map = true;  ///< and nothing was done about it yet
  std::uint64_t ask_at_ns = 0;
  std::uint64_t begin_at_ns = 0;
  std::size_t asked = 0;           ///< how often one more node was asked
  std::optional<Error> failure{};  ///< found within a call that cannot say so
  std::atomic<bool> is_stopping{false};

  [[nodiscard]] static Result<std::unique_ptr<Impl>> open(const std::string& directory,
                                                          NodeRunOptions options);
  [[nodiscard]] Result<void> run();

  // What the map says (cluster_node.cpp).
  [[nodiscard]] Result<void> adopt(cluster::RootState latest);
  [[nodiscard]] replication::Addresses peers() const;
  [[nodiscard]] Result<void> follow_map();
  [[nodiscard]] std::map<cluster::GroupNumber, cluster::ReplicaLife> replicas() const;
  [[nodiscard]] Result<void> make(cluster::GroupNumber number, cluster::ReplicaLife life);
  [[nodiscard]] Result<void> host(cluster::GroupNumber number);
  [[nodiscard]] Result<void> drop(cluster::GroupNumber number);

  // The root group (cluster_root.cpp).
  void hear(const fabric::NodeName& from, const replication::Envelope& envelope, base::Bytes body);
  [[nodiscard]] Result<void> look_after_root(std::uint64_t now_ns);
  [[nodiscard]] node::AskMap asks() const;
  void ask_for_map();
  void propose(const cluster::RootCommand& command);
  void begin();
  void lead(std::uint64_t now_ns);
};

}  // namespace dolmen
