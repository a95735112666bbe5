// SPDX-License-Identifier: Apache-2.0
//
// A ClusterCore on Linux: a directory, the fabric over tcp, and spaces as its groups' machines.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <dolmen/cluster.hpp>

#include "fabric/joined_endpoint.hpp"
#include "fabric/metered.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "node/cluster_core.hpp"
#include "node/cluster_identity.hpp"
#include "node/index_machines.hpp"
#include "node/metrics_server.hpp"
#include "node/node_file.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace node {

/// What a node's directory says of the node itself: the file `node`. Nothing: it is no node's.
[[nodiscard]] Result<std::optional<NodeFile>> read_node_file(const std::string& directory);
[[nodiscard]] Result<void> write_node_file(const std::string& directory, const NodeFile& file);
inline constexpr const char* kNodeFile = "/node";
inline constexpr const char* kJournal = "/journal";
/// In the directory of a node that joined: its key, and the token that it used.
inline constexpr const char* kOwnKey = "key";
inline constexpr const char* kToken = "token";
/// The key file that a node's file names, seen from its directory.
[[nodiscard]] std::string key_path(const std::string& directory, const NodeFile& file);

/// Of stored bytes: with the directory of which they are. Others as they are.
[[nodiscard]] Error about_directory(const std::string& directory, const Error& error);

/// A space per group, each in a directory of the node's. One that is retired has its root under
/// another name, and is no space meanwhile.
class SpaceMachines final : public GroupMachines {
 public:
  SpaceMachines(std::string directory, const SpaceFunctions& functions, const SpaceOptions& options)
      : directory_(std::move(directory)), functions_(functions), options_(options) {}

  Result<StateMachine*> open(cluster::GroupNumber number, const cluster::RootGroup& group) override;
  Result<void> clear(cluster::GroupNumber number) override;
  Result<void> retire(cluster::GroupNumber number) override;
  Result<void> prepare(cluster::GroupNumber number) override;
  bool has_retired(cluster::GroupNumber number) override;
  void make_room() override;
  void use_mail(MailPart::Find find) override { find_ = std::move(find); }
  void use_directory(HomePart::Shards shards) override { shards_ = std::move(shards); }
  MailPart* mail_of(cluster::GroupNumber number) override;
  const HomePart* homes_of(cluster::GroupNumber number) override;
  std::uint64_t disk_bytes(cluster::GroupNumber number) override;
  /// Every image holds, durably, whatever was given to it; nobody uses the machines any more.
  /// Errors: store_failed.
  [[nodiscard]] Result<void> close();

 private:
  [[nodiscard]] std::string directory_of(cluster::GroupNumber number) const {
    return directory_ + "/group-" + std::to_string(number);
  }

  const std::string directory_;
  const SpaceFunctions& functions_;
  const SpaceOptions& options_;
  MailPart::Find find_{};
  HomePart::Shards shards_{};
  std::map<cluster::GroupNumber, std::unique_ptr<ReplicatedSpace>> spaces_;
  std::map<cluster::GroupNumber, bool> retired_;  ///< whether they are, of those looked at
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
  std::unique_ptr<fabric::Metered> endpoint{};
  fabric::JoinedEndpoint* joined = nullptr;   ///< what it meters; null: tcp alone
  fabric::TcpEndpoint* tcp = nullptr;         ///< that, or within it
  std::unique_ptr<node::ClusterCore> core{};  // goes before its endpoint and machines
  security::LinkSelf link{};
  std::uint64_t trust_due_ns = ~std::uint64_t{0};  ///< when whom to trust is looked at again
  std::atomic<bool> is_stopping{false};
  std::uint64_t began_ns = 0;
  std::string figures{};  ///< that were made last, and when
  std::uint64_t figures_ns = 0;
  std::unique_ptr<node::MetricsServer> metrics{};
  std::unique_ptr<sys::Thread> metrics_thread{};  // goes before it

  ~Impl() {
    if (metrics) metrics->stop();
    leave();
  }
  /// Before the next life may begin: nobody takes what he has mapped of this one for alive.
  void leave() noexcept {
    if (joined != nullptr) joined->leave();
  }
  /// What the node says of itself: made anew, unless that was a moment ago.
  [[nodiscard]] const std::string& say_figures();
  [[nodiscard]] Result<void> serve_metrics();
  /// Where it meets others of its host in memory; empty: nowhere.
  [[nodiscard]] std::string shared() const;
  /// Makes the endpoint.
  [[nodiscard]] Result<void> connect();

  /// Whom the map says to trust. A node that was removed hears of it before it is cut off.
  void follow_trust(bool is_new_map);

  [[nodiscard]] static Result<std::unique_ptr<Impl>> open(const std::string& directory,
                                                          NodeRunOptions options);
};

}  // namespace dolmen
