// SPDX-License-Identifier: Apache-2.0
//
// Inside of cluster_world.hpp: one run. cluster_world.cpp has its nodes and its judgement,
// cluster_faults.cpp the nemesis.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "replication/member.hpp"
#include "sim/cluster_client.hpp"
#include "sim/cluster_world.hpp"
#include "sim/crash_plan.hpp"
#include "sim/group_judge.hpp"
#include "sim/host_clock.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_fabric.hpp"
#include "sim/space_tally.hpp"
#include "sim/tally.hpp"

namespace dolmen::sim {

class ClusterRun {
 public:
  explicit ClusterRun(const ClusterWorldOptions& options);
  ~ClusterRun();
  ClusterRun(const ClusterRun&) = delete;
  ClusterRun& operator=(const ClusterRun&) = delete;

  [[nodiscard]] ClusterWorldResult run();

 private:
  static constexpr std::uint64_t kMs = 1'000'000;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  /// Who has turns; at most one of them is due.
  struct Turns {
    std::uint64_t due_ns = kNever;
    std::uint64_t number = 0;
  };
  struct Node {
    Node(const EventQueue& queue, std::uint64_t seed, std::int64_t drift_ppm)
        : disk(std::make_unique<SimDisk>(seed)),
          clock(queue, drift_ppm),
          entropy(seed),
          process(1),
          env{.clock = &clock, .entropy = &entropy, .process = &process} {}
    std::unique_ptr<SimDisk> disk;
    std::unique_ptr<SimDisk> space_disk{};  ///< of a group's space
    HostClock clock;
    SimEntropy entropy;
    SimProcess process;
    sys::Env env;
    std::map<replication::GroupId, std::unique_ptr<Tally>> machines{};
    /// Of a group that keeps one its null tally stands above; null while the process is down.
    std::unique_ptr<SpaceTally> space{};
    std::map<replication::GroupId, GroupJudge::Life> judged{};
    std::unique_ptr<fabric::Endpoint> endpoint{};
    std::unique_ptr<replication::Member> member{};
    std::uint64_t incarnation = 0;
    std::uint64_t turn_ns = 2'000;
    std::uint64_t sync_ns = 200'000;
    std::uint64_t paused_until_ns = 0;
    Turns turns{};
  };
  struct Group {
    replication::GroupId id{};
    std::vector<std::size_t> nodes{};   ///< the founders', and then the spare ones'
    std::vector<log::ReplicaId> ids{};  ///< in the same order
    bool is_ahead = false;
    bool is_space = false;
    ClusterHistory history{};
    std::unique_ptr<AccountsJudge> accounts{};  ///< of a space
    std::unique_ptr<GroupJudge> judge{};
  };
  struct Client {
    std::unique_ptr<ClusterClient> client;
    Turns turns{};
  };

  static FabricModel model_of(const ClusterWorldOptions& options, std::uint32_t faults);
  [[nodiscard]] std::uint32_t draw_faults();
  [[nodiscard]] static fabric::NodeId id_of(std::size_t node) { return fabric::NodeId{node + 1}; }
  [[nodiscard]] bool has(std::uint32_t fault) const { return (faults_ & fault) != 0; }
  [[nodiscard]] std::uint64_t now_ns() { return fabric_.now_ns(); }
  void violated(const std::string& what) {
    if (result_.violation.empty()) result_.violation = what;
  }

  // Nodes.
  void lay_out();
  [[nodiscard]] std::unique_ptr<replication::Journal> open_journal(Node& node);
  void start(std::size_t i);
  void start_later(std::size_t i);
  /// The process ends; its disk keeps everything that was written.
  void end(std::size_t i);
  void power_off(std::size_t i);
  void schedule(std::size_t i, std::uint64_t at_ns);
  void turn(std::size_t i);
  void schedule_client(std::size_t i, std::uint64_t at_ns);
  void turn_client(std::size_t i);
  /// After each step of a node: what its replicas are now.
  void look_at(std::size_t i);

  // The nemesis.
  void strike();
  void strike_once();
  void kill(std::size_t i);
  void spoil(SimDisk& disk);
  void heal();
  /// One step of what an operator would do with the members of some group.
  void change_members();

  // Judgement.
  [[nodiscard]] std::optional<std::size_t> leader_of(const Group& group);
  [[nodiscard]] bool agrees(const Group& group);
  /// What the node's machine has; nothing: not known.
  [[nodiscard]] std::optional<std::uint64_t> value_at(const Node& node, const Group& group) const;
  void judge_accounts(Group& group, std::size_t leader);
  void judge_images(const Group& group, const std::vector<std::size_t>& voters);
  [[nodiscard]] bool is_at_rest();
  /// Those of the voters' nodes.
  [[nodiscard]] std::vector<std::size_t> voters_of(const Group& group,
                                                   const log::Configuration& configuration) const;
  void judge(Group& group);
  [[nodiscard]] std::string state();

  const ClusterWorldOptions options_;
  base::Random random_;
  const std::uint32_t faults_;
  SimFabric fabric_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Group> groups_;
  std::vector<Client> clients_;
  std::uint64_t strikes_until_ns_ = 0;
  ClusterWorldResult result_;
};

}  // namespace dolmen::sim
