// SPDX-License-Identifier: Apache-2.0
//
// A ClusterCore on Linux: a directory, the fabric over tcp, and spaces as its groups' machines.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include <dolmen/cluster.hpp>

#include "fabric/tcp_endpoint.hpp"
#include "node/cluster_core.hpp"
#include "node/index_machines.hpp"
#include "node/node_file.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace node {

/// A space per group, each in a directory of the node's.
class SpaceMachines final : public GroupMachines {
 public:
  SpaceMachines(std::string directory, const SpaceFunctions& functions, const SpaceOptions& options)
      : directory_(std::move(directory)), functions_(functions), options_(options) {}

  Result<StateMachine*> open(cluster::GroupNumber number, const cluster::RootGroup& group) override;
  Result<void> clear(cluster::GroupNumber number) override;

 private:
  [[nodiscard]] std::string directory_of(cluster::GroupNumber number) const {
    return directory_ + "/group-" + std::to_string(number);
  }

  const std::string directory_;
  const SpaceFunctions& functions_;
  const SpaceOptions& options_;
  std::map<cluster::GroupNumber, std::unique_ptr<ReplicatedSpace>> spaces_;
};

}  // namespace node

struct ClusterNode::Impl {
  Impl(const std::string& directory, NodeRunOptions its_options)
      : options(std::move(its_options)), spaces(directory, options.functions, options.space) {}

  const NodeRunOptions options;
  node::NodeFile file{};
  std::unique_ptr<sys::Disk> disk{};
  node::SpaceMachines spaces;
  node::IndexMachines machines{*sys::linux_env().clock, spaces};
  std::unique_ptr<fabric::TcpEndpoint> endpoint{};
  std::unique_ptr<node::ClusterCore> core{};  // goes before its endpoint and machines
  std::atomic<bool> is_stopping{false};

  [[nodiscard]] static Result<std::unique_ptr<Impl>> open(const std::string& directory,
                                                          NodeRunOptions options);
};

}  // namespace dolmen
