// SPDX-License-Identifier: Apache-2.0
//
// Inside of node_world.hpp: one run. node_world.cpp has its nodes and its judgement,
// node_clients.cpp who asks them, node_faults.cpp the nemesis and the operator.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/random.hpp"
#include "node/cluster_core.hpp"
#include "node/index_machines.hpp"
#include "node/replicated_group.hpp"
#include "sim/cluster_client.hpp"
#include "sim/crash_plan.hpp"
#include "sim/group_judge.hpp"
#include "sim/home_client.hpp"
#include "sim/home_oracle.hpp"
#include "sim/host_clock.hpp"
#include "sim/index_client.hpp"
#include "sim/intruder.hpp"
#include "sim/mail_bank.hpp"
#include "sim/node_world.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/sim_fabric.hpp"
#include "sim/space_tally.hpp"

namespace dolmen::sim {

/// What the space of a node's group lives on.
struct SpaceGround {
  const sys::Env* env = nullptr;
  std::unique_ptr<SimDisk>* disk = nullptr;
  AccountsJudge* accounts = nullptr;
};

/// A bank for each group that is no shard of an index, but for one that keeps a space.
class BankMachines final : public node::GroupMachines {
 public:
  BankMachines(const cluster::MailLimits& limits, bool moves_objects, const SpaceGround& ground)
      : limits_(limits), moves_objects_(moves_objects), ground_(ground) {}
  Result<StateMachine*> open(cluster::GroupNumber number,
                             const cluster::RootGroup& group) override {
    if (group.name == kSpaceGroup) return open_space(number);
    auto& bank = banks_[number];
    bank =
        std::make_unique<MailBank>(node::group_of(number), find_, shards_, limits_, moves_objects_);
    return bank.get();
  }
  Result<void> clear(cluster::GroupNumber number) override;
  /// The process ended, and with it what has the image open.
  void end() { space_.reset(); }
  void use_mail(node::MailPart::Find find) override { find_ = std::move(find); }
  void use_directory(node::HomePart::Shards shards) override { shards_ = std::move(shards); }
  node::MailPart* mail_of(cluster::GroupNumber number) override {
    if (SpaceTally* const its = space(number)) return its->mail();
    const auto found = banks_.find(number);
    return found == banks_.end() ? nullptr : &found->second->mail();
  }
  const node::HomePart* homes_of(cluster::GroupNumber number) override {
    if (const SpaceTally* const its = space(number)) return its->homes();
    const auto found = banks_.find(number);
    return found == banks_.end() ? nullptr : &found->second->home_part();
  }
  /// Null: there is none.
  [[nodiscard]] const MailBank* bank(cluster::GroupNumber number) const {
    const auto found = banks_.find(number);
    return found == banks_.end() ? nullptr : found->second.get();
  }
  /// Likewise; of one that keeps a space.
  [[nodiscard]] SpaceTally* space(cluster::GroupNumber number) const {
    return number == space_group_ ? space_.get() : nullptr;
  }

 private:
  [[nodiscard]] Result<StateMachine*> open_space(cluster::GroupNumber number);

  const cluster::MailLimits limits_;
  const bool moves_objects_;
  const SpaceGround ground_;
  cluster::GroupNumber space_group_ = 0;
  std::unique_ptr<SpaceTally> space_{};
  node::MailPart::Find find_{};
  node::HomePart::Shards shards_{};
  std::map<cluster::GroupNumber, std::unique_ptr<MailBank>> banks_;
};

class NodeRun {
 public:
  explicit NodeRun(const NodeWorldOptions& options);
  ~NodeRun();
  NodeRun(const NodeRun&) = delete;
  NodeRun& operator=(const NodeRun&) = delete;

  [[nodiscard]] NodeWorldResult run();

 private:
  static constexpr std::uint64_t kMs = 1'000'000;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  static constexpr std::size_t kNodesMax = 9;
  static constexpr std::uint32_t kDirectoryBuckets = 256;
  /// Of clients in the map: those that have the right, one that has it and uses others' sessions,
  /// and one that has none.
  static constexpr cluster::ClientNumber kHonestClients = 4;
  static constexpr cluster::ClientNumber kThief = kHonestClients + 1;
  static constexpr cluster::ClientNumber kStranger = kThief + 1;

  /// Who has turns; at most one of them is due.
  struct Turns {
    std::uint64_t due_ns = kNever;
    std::uint64_t number = 0;
  };
  /// One replica in one life of its process.
  struct Judged {
    log::ReplicaId id{};
    GroupJudge::Life life = 0;
    log::Index executed = 0;  ///< as it was told to the judge
    std::uint64_t homes = 0;  ///< as it counted changes when they were looked at
  };
  struct Node {
    Node(const EventQueue& queue, std::uint64_t seed, std::int64_t drift_ppm,
         const cluster::MailLimits& limits, bool moves_objects, AccountsJudge* accounts)
        : journal(std::make_unique<SimDisk>(seed)),
          directory(std::make_unique<SimDisk>(base::mix_seed(seed, 1))),
          space(std::make_unique<SimDisk>(base::mix_seed(seed, 2))),
          clock(queue, drift_ppm),
          entropy(seed),
          process(1),
          env{.clock = &clock, .entropy = &entropy, .process = &process},
          banks(limits, moves_objects, {.env = &env, .disk = &space, .accounts = accounts}) {}
    std::unique_ptr<SimDisk> journal;
    std::unique_ptr<SimDisk> directory;  ///< of the map
    std::unique_ptr<SimDisk> space;      ///< … the image, if a group keeps one
    HostClock clock;
    SimEntropy entropy;
    SimProcess process;
    sys::Env env;
    cluster::NodeLife life = 0;
    bool is_founder = false;
    bool is_gone = false;  ///< for ever
    BankMachines banks;
    node::IndexMachines machines{clock, banks, kDirectoryBuckets};
    std::map<cluster::GroupNumber, Judged> judged{};
    std::unique_ptr<fabric::Endpoint> endpoint{};
    std::unique_ptr<node::ClusterCore> core{};
    std::uint64_t incarnation = 0;
    std::uint64_t turn_ns = 2'000;
    std::uint64_t sync_ns = 200'000;
    std::uint64_t paused_until_ns = 0;
    Turns turns{};
  };
  struct Client {
    /// Of a counter, of a shard of an index, one that may not, or of the directory.
    std::variant<std::unique_ptr<ClusterClient>, std::unique_ptr<IndexClient>,
                 std::unique_ptr<Intruder>, std::unique_ptr<HomeClient>>
        client;
    [[nodiscard]] auto with(const auto& body) const {
      return std::visit([&](const auto& its) { return body(*its); }, client);
    }
    Turns turns{};
  };
  struct Group {
    ClusterHistory history{};
    IndexHistory index_history{};
    std::unique_ptr<GroupJudge> judge{};
  };

  [[nodiscard]] std::uint32_t draw_faults();
  [[nodiscard]] static fabric::NodeId id_of(std::size_t node) { return fabric::NodeId{node + 1}; }
  [[nodiscard]] static cluster::NodeNumber number_of(std::size_t node) {
    return static_cast<cluster::NodeNumber>(node + 1);
  }
  [[nodiscard]] bool has(std::uint32_t fault) const { return (faults_ & fault) != 0; }
  [[nodiscard]] std::uint64_t now_ns() { return fabric_.now_ns(); }
  void violated(const std::string& what) {
    if (result_.violation.empty()) result_.violation = what;
  }

  // Nodes.
  std::size_t add_node(bool is_founder);
  [[nodiscard]] node::ClusterCoreOptions options_of(std::size_t i) const;
  [[nodiscard]] std::unique_ptr<replication::Journal> open_journal(Node& node);
  void start(std::size_t i);
  void start_later(std::size_t i);
  void end(std::size_t i);
  void power_off(std::size_t i);
  void slow_down(Node& node);
  void schedule(std::size_t i, std::uint64_t at_ns);
  void turn(std::size_t i);
  void ended_with(std::size_t i, const Error& why);
  void add_clients(cluster::GroupNumber number);
  void add_intruders(cluster::GroupNumber number, std::size_t victim);
  [[nodiscard]] SimEndpointOptions client_endpoint(std::size_t index, cluster::ClientNumber number);
  void schedule_client(std::size_t i, std::uint64_t at_ns);
  void turn_client(std::size_t i);
  /// After each step of a node: what its replicas are now; `is_whole`: and its machines.
  void look_at(std::size_t i, bool is_whole = true);
  void look_at_map(const cluster::RootState& root);

  // The nemesis and the operator (node_faults.cpp).
  void strike();
  void strike_once();
  void kill(std::size_t i);
  void heal();
  void operate();
  void operate_once();
  void propose(const cluster::RootCommand& command);
  void grant_anew();
  [[nodiscard]] std::optional<std::size_t> leader_of(cluster::GroupNumber number) const;
  [[nodiscard]] bool may_die(std::size_t i) const;

  // Judgement.
  [[nodiscard]] std::string unrest();
  [[nodiscard]] std::string unrest_in(cluster::GroupNumber number, const cluster::RootGroup& group);
  void judge(cluster::GroupNumber number);
  void judge_index(cluster::GroupNumber number);
  /// Accounts, books and images of a group that keeps a space (node_spaces.cpp).
  void judge_space(cluster::GroupNumber number);
  [[nodiscard]] bool keeps_space(cluster::GroupNumber number) const {
    return root_.group(number)->name == kSpaceGroup;
  }
  /// At its leader: money and transfers. Errors: busy.
  [[nodiscard]] Result<SpaceBooks> books_of(cluster::GroupNumber number) const;
  /// Of what the node's machine holds. Nothing: it has none.
  [[nodiscard]] static std::optional<std::uint64_t> hash_of(const Node& node,
                                                            cluster::GroupNumber number);
  /// What all groups have together, and every transfer (node_mail.cpp).
  [[nodiscard]] std::string mail_unrest() const;
  void judge_mail();
  /// Where objects are, and what the directory says (node_homes.cpp).
  [[nodiscard]] std::string homes_unrest() const;
  void judge_homes();
  void add_home_clients(cluster::GroupNumber number);
  /// Which group serves the object's shard; there is a directory.
  [[nodiscard]] cluster::GroupNumber directory_of(const ObjectId& id) const;
  void look_at_homes(Node& node, cluster::GroupNumber number, const log::Replica& replica);
  [[nodiscard]] std::string state();

  const NodeWorldOptions options_;
  base::Random random_;
  base::Random rights_;
  const std::uint32_t faults_;
  SimFabric fabric_;
  std::size_t founders_ = 3;
  std::vector<std::unique_ptr<Node>> nodes_;  ///< node n is at n - 1
  std::map<cluster::GroupNumber, Group> groups_;
  /// Of each shard of the directory, by its group; they outlive the clients.
  std::map<cluster::GroupNumber, std::unique_ptr<HomeOracle>> home_oracles_;
  std::vector<Client> clients_;
  std::size_t groups_wanted_ = 2;
  std::uint32_t shards_wanted_ = 0;                  ///< of one index; among those groups
  bool is_ordered_ = false;                          ///< that index
  bool has_space_ = false;                           ///< a group keeps one; likewise
  AccountsJudge accounts_{};                         ///< … of what is in it
  std::uint32_t directory_shards_ = 0;               ///< among them as well; 0: there is none
  cluster::MailLimits mail_limits_{};                ///< the same at all nodes
  std::size_t asked_names_ = 0;                      ///< of nodes that are about to join
  cluster::RootState root_;                          ///< the latest that any replica has applied
  std::map<log::Index, std::uint64_t> root_hashes_;  ///< by version
  NodeWorldResult result_;
};

}  // namespace dolmen::sim
