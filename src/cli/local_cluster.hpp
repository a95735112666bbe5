// SPDX-License-Identifier: Apache-2.0
//
// A cluster on this host, of which one directory holds all nodes and keys: of `dolmen up` and
// `run`.
//
// Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "sys/disk.hpp"

namespace dolmen::cluster {
class RootState;
}

namespace dolmen::cli {

struct LocalClusterOptions {
  std::string directory;
  std::uint32_t nodes = 3;
  std::string host = "127.0.0.1";
  std::uint16_t port = 7400;  ///< the nodes are at those behind it
  std::uint32_t lease_ms = 0;
  bool trusted_fabric = false;
};

/// Where the nodes and clients of this host meet in memory; gone at the end. The same whenever the
/// cluster is brought up, so that its address stays; what a process left there that was killed is
/// taken away first.
class Exchange {
 public:
  /// Where there is no such memory, or somebody else has the place, as who brings up the same
  /// cluster a second time, there is none. Empty `directory`: none is wanted.
  explicit Exchange(const std::string& directory);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;  ///< empty: none
  std::unique_ptr<sys::Disk> place_;
  std::unique_ptr<sys::FileLock> lock_;
};

/// The nodes' directories and the keys; what is there already is left as it is.
class LocalCluster {
 public:
  /// `command`: up or run.
  LocalCluster(const LocalClusterOptions& options, const std::string& command);

  /// The directory is this process's until the end. Errors: held (somebody else's; says whose),
  /// already_exists (somebody listens where a node would), invalid_argument (another
  /// cluster is there), those of making keys and nodes.
  [[nodiscard]] Result<void> make();
  /// Of those nodes that were not removed, and can run.
  [[nodiscard]] ClusterAddress address() const;
  void meet_in(const Exchange& exchange) { address_.shared_directory = exchange.path(); }
  [[nodiscard]] std::string node_directory(std::uint32_t number) const {
    return directory_ + "/node-" + std::to_string(number);
  }
  /// Nodes that the cluster has removed, as far as the nodes' directories know now.
  [[nodiscard]] std::set<std::uint32_t> removed() const;
  /// Those whose file is damaged or gone while others' are good, and why they cannot run.
  [[nodiscard]] const std::map<std::uint32_t, Error>& broken() const noexcept { return broken_; }
  /// The others, when make() looked.
  [[nodiscard]] const std::set<std::uint32_t>& nodes() const noexcept { return nodes_; }

 private:
  [[nodiscard]] Result<void> lock();
  /// That any node's directory has.
  [[nodiscard]] cluster::RootState latest_map() const;
  [[nodiscard]] Result<void> make_node(std::uint32_t number);
  /// One that fits to the others.
  [[nodiscard]] bool has_file(std::uint32_t number) const;
  [[nodiscard]] Result<void> check_known() const;

  std::string command_;
  std::string directory_;
  std::string host_;
  std::uint16_t port_;
  std::chrono::milliseconds lease_;
  ClusterAddress address_;               ///< all of them
  std::vector<std::string> founders_{};  ///< the same without names of hosts
  std::set<std::uint32_t> nodes_{};
  std::map<std::uint32_t, Error> broken_{};
  std::unique_ptr<sys::Disk> place_{};
  std::unique_ptr<sys::FileLock> lock_{};
};

}  // namespace dolmen::cli
