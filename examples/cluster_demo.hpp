// SPDX-License-Identifier: Apache-2.0
//
// What the examples of clusters share: this program runs nodes of itself on the loopback interface.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "replicated_demo.hpp"

namespace demo {

inline dolmen::ClusterNode* running_node = nullptr;

inline bool is_node(int count, char** words) {
  return count == 3 && std::string(words[1]) == "node";
}

/// The node in this directory until SIGTERM, also one that comes while it starts.
inline int serve(const std::string& directory, const dolmen::NodeRunOptions& options) {
  sigset_t term;
  ::sigemptyset(&term);
  ::sigaddset(&term, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &term, nullptr);
  auto node = dolmen::ClusterNode::start(directory, options);
  if (!node) {
    std::fprintf(stderr, "%s: %s\n", directory.c_str(), node.error().message().c_str());
    return kNotStarted;
  }
  running_node = &*node;
  std::signal(SIGTERM, [](int) { running_node->stop(); });
  ::sigprocmask(SIG_UNBLOCK, &term, nullptr);
  const auto ended = node->run();
  std::signal(SIGTERM, SIG_IGN);  // there is nothing left to stop
  if (!ended) std::fprintf(stderr, "%s: %s\n", directory.c_str(), ended.error().message().c_str());
  return ended ? kInGoodOrder : kNotServing;
}

/// Nodes of a cluster, each a process of its own: this program with the words `node <directory>`.
/// Requires: an empty current directory.
class Nodes {
 public:
  explicit Nodes(std::uint32_t founders) {
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // also where it is a pipe
    end_in(240);
    doing = "making nodes";
    ::umask(077);                                         // the key is nobody else's
    dolmen::make_cluster_keys("keys", founders).value();  // as `dolmen cluster init keys` does
    for (std::uint32_t number = 1; number <= founders; ++number) {
      founders_.push_back(address_of(number));
    }
    for (std::uint32_t number = 1; number <= founders; ++number) {
      dolmen::ClusterNode::create(options(number)).value();
      start(number);
    }
  }
  ~Nodes() {
    for (const auto& [number, pid] : pids_) {
      if (pid == 0) continue;
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;

  [[nodiscard]] std::string address() const {
    return dolmen::ClusterAddress{.nodes = addresses_, .identity_file = "keys/client-1.key"}.text();
  }
  /// One more node; its number.
  std::uint32_t join() {
    doing = "joining";
    // Numbers are given one after the other, and nobody else joins.
    const auto number = static_cast<std::uint32_t>(addresses_.size()) + 1;
    dolmen::NodeOptions its = options(number);
    its.founders.clear();
    its.identity_file.clear();
    its.token = dolmen::Cluster::open(address()).value().make_token("keys/owner.key").value();
    dolmen::ClusterNode::create(its).value();
    start(number);
    return number;
  }
  void start(std::uint32_t number) {
    pids_[number] = start_again({"node", directory(number)});
    if (number > addresses_.size()) addresses_.push_back(address_of(number));
  }
  /// Whether it ended by the signal, or in good order after SIGTERM.
  bool end(std::uint32_t number, int signal) {
    const pid_t pid = std::exchange(pids_[number], 0);
    if (pid == 0) return true;
    doing = "ending a node";
    ::kill(pid, signal);
    int status = 0;
    ::waitpid(pid, &status, 0);
    const bool is_killed = WIFSIGNALED(status) && WTERMSIG(status) == signal;
    if (is_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return true;
    std::fprintf(stderr, "node %u ended with wait status %#x after signal %d\n", number,
                 static_cast<unsigned>(status), signal);
    return false;
  }
  bool stop() {
    bool is_sound = true;
    for (const auto& [number, pid] : std::map(pids_)) is_sound &= end(number, SIGTERM);
    doing = "exiting";
    return is_sound;
  }
  [[nodiscard]] double age_s() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

 private:
  [[nodiscard]] static std::string directory(std::uint32_t number) {
    return "node" + std::to_string(number);
  }
  [[nodiscard]] dolmen::NodeOptions options(std::uint32_t number) const {
    return {
        .directory = directory(number),
        .address = address_of(number),
        .identity_file = std::filesystem::absolute("keys/node-" + std::to_string(number) + ".key"),
        .founders = founders_};
  }

  std::vector<std::string> founders_;
  std::vector<std::string> addresses_;
  std::map<std::uint32_t, pid_t> pids_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace demo
