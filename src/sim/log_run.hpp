// SPDX-License-Identifier: Apache-2.0
//
// One run of log_world.hpp: the nodes and what happens to them. What they do by themselves is in
// log_world.cpp, what is done to them in log_faults.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "log/replica.hpp"
#include "sim/group_judge.hpp"
#include "sim/log_checks.hpp"
#include "sim/log_disk.hpp"
#include "sim/log_machine.hpp"
#include "sim/log_memory.hpp"
#include "sim/log_world.hpp"
#include "sim/sim_network.hpp"

namespace dolmen::sim {

inline constexpr std::uint64_t kMs = 1'000'000;

inline log::ReplicaId id_of(std::size_t node) { return log::ReplicaId{node + 1}; }
inline std::size_t node_of(log::ReplicaId id) { return static_cast<std::size_t>(id) - 1; }

class LogRun {
 public:
  explicit LogRun(const LogWorldOptions& options)
      : options_(options),
        random_(options.seed),
        faults_(options.faults & some_faults(random_)),
        first_voters_(kSizes[random_.below(std::size(kSizes))]),
        nodes_(kNodesMax),
        network_(queue_, nodes_.size(), random_(),
                 [this](std::size_t from, std::size_t to, const std::vector<std::byte>& bytes) {
                   deliver(from, to, bytes);
                 }),
        is_direct_(options.is_direct.value_or(base::mix_seed(options.seed, 1) % 4 == 0)),
        judge_({.first = first_voters(first_voters_),
                .is_direct = is_direct_,
                .one_event_a_step = true,
                .names_commands = true}),
        checks_(judge_.checks()) {
    replica_options_.message_bytes = chance(2) ? 1 : 1 + random_.below(400);
    sync_max_ns_ = has(kSlowDisk) ? 1 + random_.below(60 * kMs) : 300'000;
    strike_every_ns_ = chance(2) ? 300 * kMs : 1500 * kMs;
    propose_every_ns_ = 1 * kMs + random_.below(20 * kMs);
    uses_journals_ = chance(8) && !options.restart_empty && !options.restart_without_grant;
    if (is_direct_) use_memory();
    notices_ = chance(2);
    if (base::mix_seed(options.seed, 3) % 4 == 0) {
      replica_options_.spare_ns = 1 + base::mix_seed(options.seed, 4) % (20 * kMs);
    }
    const bool members_stay = !has(kMembers) && !has(kLoseDisk);
    if (has(kMute) && !is_direct_ && members_stay && first_voters_ > 1) mute_ = random_.below(2);
    if (has(kWitness) && first_voters_ > 1) witness_ = first_voters_ - 1;
    if (witness_ != kNone && is_direct_ && base::mix_seed(options.seed, 2) % 2 == 0) {
      witness_is_memory_ = true;
      replica_options_.witnesses_are_memory = true;
      // Room for what may be undecided when a leader that decides nothing gives up.
      const std::uint64_t undecided = 3000 * kMs / propose_every_ns_ + 50;
      memory_->use_areas((undecided * 160 + 4096) / 8 * 8);
    }
    if (options.has_leases.value_or(base::mix_seed(options.seed, 5) % 2 == 0)) use_leases();
    if (has(kCompact)) {
      compact_one_in_ = 1 + random_.below(300);
      replica_options_.part_bytes = 1 + random_.below(150);
      replica_options_.trailing_bytes = chance(2) ? 0 : random_.below(2000);
    }
  }

  LogWorldResult run();

 private:
  static constexpr std::size_t kSizes[] = {3, 3, 3, 3, 5, 1};
  /// Identities that there ever are in a run.
  static constexpr std::size_t kNodesMax = 10;

  static constexpr std::uint64_t kEventsMax = 5'000'000;
  static constexpr std::uint64_t kAskEveryNs = 20 * kMs;
  static constexpr std::size_t kNone = ~std::size_t{0};

  /// A command that its client waits for.
  struct Pending {
    std::uint64_t command;
    log::Position where;
    log::Index acknowledged_at_invocation;
  };
  struct Node {
    std::unique_ptr<log::Replica> replica;  ///< null while it is down
    std::uint64_t life = 0;                 ///< events of former lives are not for this one
    std::uint64_t paused_until_ns = 0;
    std::uint64_t drift_ppm = 0;       ///< its clock is that much too fast
    log::DurableState disk;            ///< what was synced; of a group in memory: left by a crash
    std::unique_ptr<LogDisk> journal;  ///< … and really is on a disk, in some runs
    std::vector<log::Record> unsynced;
    log::RecordCount synced = 0;  ///< records of this life
    bool syncing = false;
    bool is_used = false;         ///< was ever started
    bool is_lost = false;         ///< for good, with its disk
    std::uint64_t wakeup_ns = 0;  ///< scheduled; 0: none
    log::Index stable = 0;        ///< what was seen of it
    log::Epoch led = 0;           ///< the last epoch in which it was seen to lead
    GroupJudge::Life judged = 0;
    std::uint64_t asked_ns = 0;  ///< a witness: when it last asked for a snapshot
    bool has_machine = true;     ///< a witness has none
    LogMachine machine;
    std::vector<Pending> pending;
  };

  [[nodiscard]] bool is_memory(std::size_t number) const {
    return witness_is_memory_ && number == witness_;
  }

  static std::uint32_t some_faults(base::Random& random) {
    const std::uint64_t half = random();
    return static_cast<std::uint32_t>(random.below(2) == 0 ? half : half | random());
  }
  [[nodiscard]] bool has(LogFault fault) const noexcept { return (faults_ & fault) != 0; }
  [[nodiscard]] bool chance(std::uint64_t one_in) { return random_.below(one_in) == 0; }
  [[nodiscard]] bool strikes(LogFault fault, std::uint64_t one_in) {
    return has(fault) && queue_.now_ns() < options_.faulty_ns && chance(one_in);
  }

  NetworkFaults network_faults();
  void trace(std::uint64_t value) { trace_ = base::mix_seed(trace_, value); }

  /// One that was ever started.
  [[nodiscard]] std::size_t any_node() {
    const auto unused = std::ranges::find(nodes_, false, &Node::is_used);
    return random_.below(static_cast<std::uint64_t>(unused - nodes_.begin()));
  }

  /// What the node's own clock says.
  [[nodiscard]] std::uint64_t local_ns(const Node& node) const { return local_ns(node.drift_ppm); }
  [[nodiscard]] std::uint64_t local_ns(std::uint64_t drift_ppm) const {
    return queue_.now_ns() + queue_.now_ns() / 1'000'000 * drift_ppm;
  }
  /// When it says that, to about a millisecond.
  [[nodiscard]] static std::uint64_t world_ns(const Node& node, std::uint64_t local_ns) {
    return local_ns / (1'000'000 + node.drift_ppm) * 1'000'000;
  }

  [[nodiscard]] log::Configuration first_configuration() const {
    return with_witness(first_voters(first_voters_));
  }
  [[nodiscard]] static log::Configuration first_voters(std::size_t count) {
    log::Configuration first;
    for (std::size_t i = 0; i < count; ++i) first.voters.push_back(id_of(i));
    return first;
  }
  [[nodiscard]] log::Configuration with_witness(log::Configuration configuration) const {
    configuration.witnesses.clear();
    if (witness_ != kNone && configuration.is_voter(id_of(witness_))) {
      configuration.witnesses.push_back(id_of(witness_));
    }
    return configuration;
  }

  // Readers by leases: log_lease.cpp.
  struct LeaseReader {
    std::uint64_t drift_ppm = 0;  ///< of its clock
    std::size_t number = 0;       ///< whom it reads
    std::uint64_t life = 0;
    log::Epoch epoch = 0;
    std::uint64_t asked_ns = 0;  ///< its clock
    std::uint64_t until_ns = 0;
  };
  void use_leases();
  void schedule_leased_read();
  void schedule_hand_over();
  void ask_for_lease();
  void read_by(const LeaseReader& reader);

  void use_memory();
  /// The word of a memory that nobody looks after; nothing: it failed.
  void raised(Node& node, std::size_t number, const log::LaneWrite& write,
              std::optional<log::Epoch> former);
  /// Another process takes over the memory of one that stands still, and does not know.
  void replace(std::size_t number);
  /// The process that had this life of the node, if it still runs.
  Node* process(std::size_t number, std::uint64_t life) {
    if (nodes_[number].life == life && nodes_[number].replica) return &nodes_[number];
    if (replaced_[number].life == life && replaced_[number].replica) return &replaced_[number];
    return nullptr;
  }
  void start(std::size_t number);
  /// Runs `event` on the node when it is up, not paused, and still in the life it was meant for.
  template <class Event>
  void on(std::size_t number, std::uint64_t life, const Event& event) {
    Node* const process_now = process(number, life);
    if (process_now == nullptr || !checks_.violation().empty()) return;
    if (queue_.events_run() > kEventsMax) return checks_.fail("a run that does not end");
    if (process_now->paused_until_ns > queue_.now_ns()) {
      queue_.at(process_now->paused_until_ns,
                [this, number, life, event] { on(number, life, event); });
      return;
    }
    const bool is_replaced = process_now == &replaced_[number];
    if (is_replaced) std::swap(nodes_[number], replaced_[number]);
    event(nodes_[number]);
    settle(number);
    if (is_replaced) std::swap(nodes_[number], replaced_[number]);
  }

  void deliver(std::size_t from, std::size_t to, const std::vector<std::byte>& bytes);
  /// Carries out what a replica asks for, and looks at what became of it.
  void settle(std::size_t number);
  /// What the log holds is executed at once, and undone where the replica says so: afterwards it is
  /// what the log holds.
  void execute(Node& node, const log::Output& output);
  /// Takes a state that another replica, or an earlier life, had.
  void install(Node& node, const log::Snapshot& snapshot);
  /// Cuts the log behind a snapshot, now and then.
  void compact(Node& node);
  /// Its disk keeps what its log is by now.
  void checkpoint(Node& node);
  [[nodiscard]] log::ReplicaOptions options_of(std::size_t number) const {
    log::ReplicaOptions options = replica_options_;
    options.has_machine = number != witness_;
    return options;
  }
  /// False for a leader that has only decided, if anything, what others proposed.
  [[nodiscard]] static bool has_decided_own(const log::Replica& replica) {
    return replica.role() != log::Role::leader ||
           (replica.stable() > replica.base().index &&
            replica.at(replica.stable()).origin == replica.epoch());
  }

  void start_sync(std::size_t number);
  void schedule_wakeup(std::size_t number);
  void look_at(std::size_t number);
  /// Whether disks of a majority of each of these hold the entry.
  [[nodiscard]] bool holds(std::size_t number, log::Position where) const;
  [[nodiscard]] bool is_durable(const std::vector<log::Configuration>& configurations,
                                log::Position where) const;
  void schedule_proposal();
  void propose(std::size_t number);
  void schedule_nemesis();
  void strike();
  /// The replica that leads in the highest epoch, if one does.
  Node* leading_node();
  void schedule_operator();
  /// One step of what an operator would do: replace who is lost, else add, promote or remove.
  void change_members(bool may_lose);
  /// Some of the members, the learners among them who have caught up: a jump of any width.
  log::Configuration any_of(const log::Replica& leader, const log::Configuration& now);
  /// Only where the others can go on without it, whatever configuration their logs make count, also
  /// when all of them start from their disks.
  void lose(std::size_t number, const log::Configuration& members);
  void crash(std::size_t number, std::uint64_t down_ns);
  void crash(std::size_t number, std::uint64_t down_ns, std::size_t kept);
  /// What the disk of a node that lost power holds; `kept` of what was not synced, where no journal
  /// decides it.
  void lose_power(Node& node, std::size_t kept);
  void crash_after(std::size_t number, std::uint64_t delay_ns);
  void restart(std::size_t number);
  /// The others hear that its connections broke, one after the other.
  void notice_the_end_of(std::size_t number);
  /// No more faults: everybody is up, every link works.
  void calm_down();
  void judge_the_calm();
  /// Takes away one without which the others can go on: the leader, or another. From then on there
  /// are no snapshots but those that are made now.
  void take_one_away();
  void judge_those_who_stayed();
  void bring_it_back();
  void judge_the_end();
  [[nodiscard]] bool can_do_without(std::size_t number);
  /// What everybody who is there has learned to be stable.
  [[nodiscard]] log::Index stable_everywhere();
  void compact_all();
  std::string describe();

  const LogWorldOptions options_;
  base::Random random_;
  const std::uint32_t faults_;
  log::ReplicaOptions replica_options_;
  EventQueue queue_;
  const std::size_t first_voters_;
  std::vector<Node> nodes_;
  std::vector<Node> replaced_{kNodesMax};  ///< processes whose memory another one has taken over
  SimNetwork network_;
  std::unique_ptr<LogMemory> memory_;  ///< of a group in memory
  const bool is_direct_;
  GroupJudge judge_;
  LogChecks& checks_;
  std::uint64_t sync_max_ns_ = 0;
  std::uint64_t propose_every_ns_ = 0;
  std::uint64_t strike_every_ns_ = 0;
  bool uses_journals_ = false;
  std::uint64_t lane_writes_ = 0;
  bool notices_ = false;      ///< crashes are told
  std::size_t mute_ = kNone;  ///< whose entries reach nobody
  std::size_t witness_ = kNone;
  bool witness_is_memory_ = false;    ///< which no replica looks after
  std::uint64_t compact_one_in_ = 0;  ///< of the times that a replica did something; 0: never
  std::uint64_t commands_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t leased_reads_ = 0;
  std::uint64_t hand_overs_ = 0;
  base::Random lease_random_{base::mix_seed(options_.seed, 6)};
  base::Random hand_over_random_{base::mix_seed(options_.seed, 7)};
  std::uint64_t stage_began_ns_ = 0;
  std::uint64_t first_acknowledged_ns_ = 0;  ///< of the stage; 0: none yet
  std::uint64_t calm_until_decided_ns_ = 0;
  std::uint64_t without_one_until_decided_ns_ = 0;
  std::uint64_t proposals_end_ns_ = 0;
  std::size_t gone_ = kNone;
  bool gone_led_ = false;
  bool gone_crashed_ = false;
  std::uint64_t crashes_ = 0;
  std::uint64_t configurations_ = 0;
  std::uint64_t trace_ = 0;
};

}  // namespace dolmen::sim
