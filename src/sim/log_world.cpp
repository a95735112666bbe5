// SPDX-License-Identifier: Apache-2.0
#include "sim/log_world.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <optional>
#include <utility>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "log/replica.hpp"
#include "sim/log_checks.hpp"
#include "sim/sim_network.hpp"

namespace dolmen::sim {

namespace {

constexpr std::uint64_t kMs = 1'000'000;

log::ReplicaId id_of(std::size_t node) { return log::ReplicaId{node + 1}; }
std::size_t node_of(log::ReplicaId id) { return static_cast<std::size_t>(id) - 1; }

class LogWorld {
 public:
  explicit LogWorld(const LogWorldOptions& options)
      : options_(options),
        random_(options.seed),
        faults_(options.faults & some_faults(random_)),
        first_voters_(kSizes[random_.below(std::size(kSizes))]),
        nodes_(kNodesMax),
        network_(queue_, nodes_.size(), random_(),
                 [this](std::size_t from, std::size_t to, const std::vector<std::byte>& bytes) {
                   deliver(from, to, bytes);
                 }),
        checks_() {
    replica_options_.message_bytes = chance(2) ? 1 : 1 + random_.below(400);
    sync_max_ns_ = has(kSlowDisk) ? 1 + random_.below(60 * kMs) : 300'000;
    strike_every_ns_ = chance(2) ? 300 * kMs : 1500 * kMs;
    propose_every_ns_ = 1 * kMs + random_.below(20 * kMs);
  }

  LogWorldResult run() {
    network_.set_faults(network_faults());
    for (std::size_t node = 0; node < nodes_.size(); ++node) {
      nodes_[node].drift_ppm = has(kDrift) ? random_.below(200'000) : 0;
      if (node < first_voters_) start(node);
    }
    schedule_proposal();
    schedule_nemesis();
    schedule_operator();
    queue_.run_until(options_.faulty_ns);
    calm_down();
    queue_.run_until(options_.faulty_ns + options_.calm_ns);
    judge_the_end();
    return {.violation = checks_.violation(),
            .state = checks_.violation().empty() ? "" : describe(),
            .trace_hash = trace_,
            .events = queue_.events_run(),
            .proposed = commands_,
            .acknowledged = acknowledged_,
            .leaders = checks_.leaders(),
            .crashes = crashes_,
            .configurations = configurations_,
            .simulated_ns = queue_.now_ns()};
  }

 private:
  static constexpr std::size_t kSizes[] = {3, 3, 3, 3, 5, 1};
  /// Identities that there ever are in a run.
  static constexpr std::size_t kNodesMax = 10;

  static constexpr std::uint64_t kEventsMax = 5'000'000;

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
    std::uint64_t drift_ppm = 0;  ///< its clock is that much too fast
    log::DurableState disk;
    std::vector<log::Record> unsynced;
    log::RecordCount synced = 0;  ///< records of this life
    bool syncing = false;
    bool is_used = false;                 ///< was ever started
    bool is_lost = false;                 ///< for good, with its disk
    std::uint64_t wakeup_ns = 0;          ///< scheduled; 0: none
    log::Index stable = 0;                ///< what was seen of it
    log::Epoch led = 0;                   ///< the last epoch in which it was seen to lead
    std::vector<log::Position> executed;  ///< ahead of being stable, as a leader may
    std::vector<Pending> pending;
  };

  static std::uint32_t some_faults(base::Random& random) {
    const std::uint64_t half = random();
    return static_cast<std::uint32_t>(random.below(2) == 0 ? half : half | random());
  }
  [[nodiscard]] bool has(LogFault fault) const noexcept { return (faults_ & fault) != 0; }
  [[nodiscard]] bool chance(std::uint64_t one_in) { return random_.below(one_in) == 0; }
  [[nodiscard]] bool strikes(LogFault fault, std::uint64_t one_in) {
    return has(fault) && queue_.now_ns() < options_.faulty_ns && chance(one_in);
  }

  NetworkFaults network_faults() {
    NetworkFaults faults;
    if (has(kLate)) faults.delay_max_ns += random_.below(40 * kMs);
    if (has(kLoss)) faults.loss_ppm = static_cast<std::uint32_t>(random_.below(300'000));
    if (has(kRepeat)) faults.repeat_ppm = static_cast<std::uint32_t>(random_.below(300'000));
    if (has(kLate)) {
      faults.late_ppm = static_cast<std::uint32_t>(random_.below(200'000));
      faults.late_ns = random_.below(3000 * kMs);
    }
    return faults;
  }

  void trace(std::uint64_t value) { trace_ = base::mix_seed(trace_, value); }

  /// One that was ever started.
  [[nodiscard]] std::size_t any_node() {
    const auto unused = std::ranges::find(nodes_, false, &Node::is_used);
    return random_.below(static_cast<std::uint64_t>(unused - nodes_.begin()));
  }

  /// What the node's own clock says.
  [[nodiscard]] std::uint64_t local_ns(const Node& node) const {
    return queue_.now_ns() + queue_.now_ns() / 1'000'000 * node.drift_ppm;
  }
  /// When it says that, to about a millisecond.
  [[nodiscard]] static std::uint64_t world_ns(const Node& node, std::uint64_t local_ns) {
    return local_ns / (1'000'000 + node.drift_ppm) * 1'000'000;
  }

  [[nodiscard]] log::Configuration first_configuration() const {
    log::Configuration first;
    for (std::size_t i = 0; i < first_voters_; ++i) first.voters.push_back(id_of(i));
    return first;
  }

  void start(std::size_t number) {
    Node& node = nodes_[number];
    ++node.life;
    node.is_used = true;
    node.synced = 0;
    node.syncing = false;
    node.wakeup_ns = 0;
    node.stable = 0;
    node.executed.clear();
    if (options_.restart_empty && node.life > 1) node.disk = {};
    if (options_.restart_without_grant) node.disk.granted_to = {};
    node.replica =
        std::make_unique<log::Replica>(id_of(number), first_configuration(), replica_options_,
                                       node.disk, random_(), local_ns(node));
    settle(number);
  }

  /// Runs `event` on the node when it is up, not paused, and still in the life it was meant for.
  template <class Event>
  void on(std::size_t number, std::uint64_t life, const Event& event) {
    Node& node = nodes_[number];
    if (node.replica == nullptr || node.life != life || !checks_.violation().empty()) return;
    if (queue_.events_run() > kEventsMax) return checks_.fail("a run that does not end");
    if (node.paused_until_ns > queue_.now_ns()) {
      queue_.at(node.paused_until_ns, [this, number, life, event] { on(number, life, event); });
      return;
    }
    event(node);
    settle(number);
  }

  void deliver(std::size_t from, std::size_t to, const std::vector<std::byte>& bytes) {
    on(to, nodes_[to].life, [this, from, to, bytes](Node& node) {
      const auto message = log::decode_message(bytes);
      if (!message) return checks_.fail("a replica's message is not decoded");
      trace(from * 64 + to);
      trace(base::checksum64(bytes, 0));
      node.replica->receive(local_ns(node), id_of(from), *message);
    });
  }

  /// Carries out what a replica asks for, and looks at what became of it.
  void settle(std::size_t number) {
    Node& node = nodes_[number];
    log::Output output = node.replica->take_output();
    const bool is_promise = !output.records.empty() && !output.records.back().entry;
    const bool is_new_leader =
        node.replica->role() == log::Role::leader && node.replica->epoch() != node.led;
    execute(node, output.undo_from);
    for (log::Record& record : output.records) node.unsynced.push_back(std::move(record));
    // The worst moments to stop, for those who have them in their seed.
    if (is_new_leader && strikes(kCrashLeader, 4)) {
      return crash(number, random_.below(300 * kMs), node.unsynced.size());
    }
    start_sync(number);
    for (const auto& letter : output.letters) {
      network_.send(number, node_of(letter.to), log::encode(letter.message));
    }
    if (is_promise && strikes(kCrashPromise, 6))
      crash_after(number, 1 + random_.below(sync_max_ns_));
    look_at(number);
    if (!has_decided_own(*node.replica) && strikes(kCrashLeader, 8)) {
      return crash(number, random_.below(300 * kMs));
    }
    schedule_wakeup(number);
  }

  /// What the log holds is executed at once, and undone where the replica says so: afterwards it is
  /// what the log holds.
  void execute(Node& node, std::optional<log::Index> undo_from) {
    const log::Replica& replica = *node.replica;
    if (undo_from && *undo_from <= node.executed.size()) node.executed.resize(*undo_from - 1);
    const std::size_t kept = node.executed.size();
    if (kept > replica.end().index ||
        (kept > 0 && replica.at(kept).position() != node.executed.back())) {
      return checks_.fail("what was executed and dropped is not undone");
    }
    while (node.executed.size() < replica.end().index) {
      node.executed.push_back(replica.at(node.executed.size() + 1).position());
    }
  }

  /// False for a leader that has only decided, if anything, what others proposed.
  [[nodiscard]] static bool has_decided_own(const log::Replica& replica) {
    return replica.role() != log::Role::leader ||
           (replica.stable() > 0 && replica.at(replica.stable()).origin == replica.epoch());
  }

  void start_sync(std::size_t number) {
    Node& node = nodes_[number];
    if (node.syncing || node.unsynced.empty()) return;
    node.syncing = true;
    const std::size_t count = node.unsynced.size();
    queue_.after(1 + random_.below(sync_max_ns_), [this, number, life = node.life, count] {
      on(number, life, [this, number, count](Node& synced) {
        for (std::size_t i = 0; i < count; ++i) synced.disk.apply(synced.unsynced[i]);
        synced.unsynced.erase(synced.unsynced.begin(),
                              synced.unsynced.begin() + static_cast<std::ptrdiff_t>(count));
        synced.synced += count;
        synced.syncing = false;
        synced.replica->persisted(local_ns(synced), synced.synced);
        start_sync(number);
      });
    });
  }

  void schedule_wakeup(std::size_t number) {
    Node& node = nodes_[number];
    const std::uint64_t wakeup_ns =
        std::max(queue_.now_ns() + 200'000, world_ns(node, node.replica->next_wakeup_ns()));
    if (node.wakeup_ns != 0 && node.wakeup_ns <= wakeup_ns) return;
    node.wakeup_ns = wakeup_ns;
    queue_.at(wakeup_ns, [this, number, life = node.life, wakeup_ns] {
      on(number, life, [this, wakeup_ns](Node& woken) {
        if (woken.wakeup_ns == wakeup_ns) woken.wakeup_ns = 0;
        woken.replica->tick(local_ns(woken));
        if (woken.replica->next_wakeup_ns() <= local_ns(woken))
          checks_.fail("no rest after a tick");
      });
    });
  }

  void look_at(std::size_t number) {
    Node& node = nodes_[number];
    const log::Replica& replica = *node.replica;
    if (replica.role() == log::Role::leader && replica.epoch() != node.led) {
      node.led = replica.epoch();
      checks_.leads(number, node.led);
    }
    if (replica.stable() < node.stable) checks_.fail("a stable index went back");
    while (node.stable < replica.stable()) {
      const log::Entry& entry = replica.at(++node.stable);
      trace(entry.index);
      checks_.learned_stable(number, entry);
    }
    std::erase_if(node.pending, [&](const Pending& pending) {
      if (pending.where.index > node.stable) return false;
      // Another entry came to be there: the client is not told anything.
      if (replica.at(pending.where.index).position() != pending.where) return true;
      ++acknowledged_;
      checks_.acknowledged(pending.command, pending.where, pending.acknowledged_at_invocation,
                           is_durable(replica.deciding(), pending.where));
      return true;
    });
  }

  /// Whether disks of a majority of each of these hold the entry.
  [[nodiscard]] bool is_durable(const std::vector<log::Configuration>& configurations,
                                log::Position where) const {
    return std::ranges::all_of(configurations, [&](const log::Configuration& configuration) {
      const auto count = std::ranges::count_if(configuration.voters, [&](log::ReplicaId id) {
        const auto& entries = nodes_[node_of(id)].disk.entries;
        return entries.size() >= where.index && entries[where.index - 1].position() == where;
      });
      return 2 * static_cast<std::size_t>(count) > configuration.voters.size();
    });
  }

  void schedule_proposal() {
    queue_.after(1 + random_.below(2 * propose_every_ns_), [this] {
      if (queue_.now_ns() > options_.faulty_ns + options_.calm_ns / 4 * 3) return;
      propose(any_node());
      schedule_proposal();
    });
  }

  void propose(std::size_t number) {
    // Mostly where a client would ask: at the leader that it was told of.
    if (const Node& asked = nodes_[number]; asked.replica != nullptr && !chance(4)) {
      number = node_of(asked.replica->leader().value_or(id_of(number)));
    }
    on(number, nodes_[number].life, [this](Node& node) {
      const std::uint64_t command = ++commands_;
      std::vector<std::byte> payload(sizeof command + random_.below(64));
      base::store(base::MutableBytes(payload), 0, command);
      const auto where = node.replica->propose(local_ns(node), std::move(payload));
      if (!where) return;
      node.pending.push_back({command, *where, checks_.acknowledged_index()});
    });
  }

  void schedule_nemesis() {
    const std::uint64_t pause_ns = 20 * kMs + random_.below(strike_every_ns_);
    queue_.after(pause_ns, [this] {
      if (queue_.now_ns() >= options_.faulty_ns || !checks_.violation().empty()) return;
      strike();
      schedule_nemesis();
    });
  }

  void strike() {
    const auto fault = static_cast<LogFault>(
        1u << random_.below(std::bit_width(static_cast<std::uint32_t>(kAllLogFaults))));
    if (!has(fault)) return;
    const std::size_t number = any_node();
    const std::uint64_t length_ns = random_.below(1500 * kMs);
    switch (fault) {
      case kCrash:
        return crash(number, length_ns);
      case kCrashAll:
        for (std::size_t node = 0; node < nodes_.size(); ++node) {
          crash(node, random_.below(200 * kMs));
        }
        return;
      case kPause:
        nodes_[number].paused_until_ns = std::min(options_.faulty_ns, queue_.now_ns() + length_ns);
        return;
      case kIsolate:
        for (std::size_t node = 0; node < nodes_.size(); ++node) {
          network_.cut(number, node, length_ns);
          network_.cut(node, number, length_ns);
        }
        return;
      case kOneWay:
        return network_.cut(number, any_node(), length_ns);
      case kPartial: {
        const std::size_t other = any_node();
        network_.cut(number, other, length_ns);
        return network_.cut(other, number, length_ns);
      }
      case kFlap:
        for (std::uint64_t i = 0; i < 5; ++i) {
          queue_.after(i * 60 * kMs, [this, number, other = any_node()] {
            if (queue_.now_ns() < options_.faulty_ns) network_.cut(number, other, 30 * kMs);
          });
        }
        return;
      default:
        return;  // what the network and the disks do all the time
    }
  }

  /// The replica that leads in the highest epoch, if one does.
  Node* leading_node() {
    Node* leading = nullptr;
    for (Node& node : nodes_) {
      if (node.replica == nullptr || node.replica->role() != log::Role::leader) continue;
      if (leading == nullptr || node.replica->epoch() > leading->replica->epoch()) leading = &node;
    }
    return leading;
  }

  void schedule_operator() {
    if (!has(kMembers) && !has(kLoseDisk)) return;
    queue_.after(1 + random_.below(200 * kMs), [this] {
      if (queue_.now_ns() >= options_.faulty_ns || !checks_.violation().empty()) return;
      change_members(has(kLoseDisk) && (!has(kMembers) || chance(4)));
      schedule_operator();
    });
  }

  /// One step of what an operator would do: replace who is lost, else add, promote or remove.
  void change_members(bool may_lose) {
    Node* const leading = leading_node();
    if (leading == nullptr || leading->paused_until_ns > queue_.now_ns()) return;
    const std::size_t leader = node_of(leading->replica->self());
    const std::vector<log::Configuration> deciding = leading->replica->deciding();
    // While one is undecided the replica has to refuse; asked it is all the same.
    if (deciding.size() > 1 && may_lose) return;
    log::Configuration next = deciding.back();
    const auto lost = std::ranges::find_if(
        next.voters, [&](log::ReplicaId id) { return nodes_[node_of(id)].is_lost; });
    if (lost != next.voters.end()) {
      next.voters.erase(lost);
    } else if (may_lose) {
      return lose(node_of(next.voters[random_.below(next.voters.size())]), next);
    } else if (chance(3)) {
      next = any_of(*leading->replica, next);
    } else if (!next.learners.empty() && chance(2)) {
      const std::size_t which = random_.below(next.learners.size());
      const log::ReplicaId id = next.learners[which];
      if (leading->replica->matched(id) + 100 < leading->replica->end().index) return;
      next.learners.erase(next.learners.begin() + static_cast<std::ptrdiff_t>(which));
      next.voters.push_back(id);
    } else if (next.voters.size() > 3 && chance(2)) {
      next.voters.erase(next.voters.begin() +
                        static_cast<std::ptrdiff_t>(random_.below(next.voters.size())));
    } else {
      const auto unused = std::ranges::find(nodes_, false, &Node::is_used);
      if (unused == nodes_.end()) return;
      const auto number = static_cast<std::size_t>(unused - nodes_.begin());
      start(number);
      next.learners.push_back(id_of(number));
    }
    std::ranges::sort(next.voters);
    std::ranges::sort(next.learners);
    on(leader, leading->life, [this, next](Node& node) {
      configurations_ += node.replica->propose(local_ns(node), next).has_value() ? 1 : 0;
    });
  }

  /// Some of the members, the learners among them who have caught up: a jump of any width.
  log::Configuration any_of(const log::Replica& leader, const log::Configuration& now) {
    std::vector<log::ReplicaId> able = now.voters;
    std::ranges::copy_if(now.learners, std::back_inserter(able), [&](log::ReplicaId id) {
      return leader.matched(id) + 100 >= leader.end().index;
    });
    for (std::size_t i = able.size(); i > 1; --i) std::swap(able[i - 1], able[random_.below(i)]);
    able.resize(1 + random_.below(able.size()));
    return {.voters = able};
  }

  /// Only where the others can go on without it, whatever configuration their logs make count, also
  /// when all of them start from their disks.
  void lose(std::size_t number, const log::Configuration& members) {
    const auto bears = [&](const log::Configuration& configuration) {
      const auto left = std::ranges::count_if(configuration.voters, [&](log::ReplicaId id) {
        return node_of(id) != number && !nodes_[node_of(id)].is_lost;
      });
      return 2 * static_cast<std::size_t>(left) > configuration.voters.size();
    };
    for (const log::ReplicaId id : members.voters) {
      const Node& node = nodes_[node_of(id)];
      if (node.is_lost) continue;
      std::vector<log::Entry> log;
      if (node.replica != nullptr) {
        for (log::Index i = 1; i <= node.replica->end().index; ++i) {
          log.push_back(node.replica->at(i));
        }
      }
      if (!std::ranges::all_of(counting_in(first_configuration(), log), bears)) return;
      if (!std::ranges::all_of(counting_in(first_configuration(), node.disk.entries), bears))
        return;
    }
    crash(number, 0);
    nodes_[number].is_lost = true;  // nobody reads its disk again but who asks what it held
  }

  // What was not synced is there up to some record: a log is read to the first that does not
  // verify.
  void crash(std::size_t number, std::uint64_t down_ns) {
    const std::size_t unsynced = nodes_[number].unsynced.size();
    crash(number, down_ns, chance(2) ? 0 : random_.below(unsynced + 1));
  }
  void crash(std::size_t number, std::uint64_t down_ns, std::size_t kept) {
    Node& node = nodes_[number];
    if (node.replica == nullptr) return;
    ++crashes_;
    trace(number);
    for (std::size_t i = 0; i < kept; ++i) node.disk.apply(node.unsynced[i]);
    node.unsynced.clear();
    node.replica.reset();
    node.pending.clear();
    node.paused_until_ns = 0;
    queue_.after(down_ns, [this, number] { restart(number); });
  }

  void crash_after(std::size_t number, std::uint64_t delay_ns) {
    queue_.after(delay_ns, [this, number, life = nodes_[number].life] {
      if (nodes_[number].life == life) crash(number, random_.below(300 * kMs));
    });
  }

  void restart(std::size_t number) {
    const Node& node = nodes_[number];
    if (node.is_lost || !node.is_used || node.replica != nullptr) return;
    if (checks_.violation().empty()) start(number);
  }

  /// No more faults: everybody is up, every link works.
  void calm_down() {
    network_.set_faults({});
    network_.heal();
    sync_max_ns_ = 300'000;
    for (std::size_t number = 0; number < nodes_.size(); ++number) {
      nodes_[number].paused_until_ns = 0;
      restart(number);
    }
    acknowledged_before_calm_ = acknowledged_;
  }

  void judge_the_end() {
    if (!checks_.violation().empty()) return;
    if (acknowledged_ == acknowledged_before_calm_) {
      checks_.fail("nothing was decided although all faults had ended (L1)");
    }
    const Node* const leading = leading_node();
    if (leading == nullptr) return checks_.fail("nobody leads although all faults had ended (L1)");
    log::Index everywhere = ~log::Index{0};
    for (const log::Configuration& configuration : leading->replica->deciding()) {
      for (const log::ReplicaId id : configuration.voters) {
        const Node& node = nodes_[node_of(id)];
        if (!node.is_lost) everywhere = std::min(everywhere, node.stable);
      }
    }
    checks_.finished(everywhere);
  }

  std::string describe() {
    std::string text;
    for (std::size_t number = 0; number < nodes_.size(); ++number) {
      const Node& node = nodes_[number];
      if (!node.is_used) continue;
      text += std::to_string(number + 1) + ": ";
      if (node.replica == nullptr) {
        text += node.is_lost ? "lost\n" : "down\n";
        continue;
      }
      constexpr const char* kRoles[] = {"follower", "candidate", "leader"};
      const log::Replica& replica = *node.replica;
      text += std::string(kRoles[static_cast<int>(replica.role())]) + " in epoch " +
              std::to_string(replica.epoch()) + ", stable " + std::to_string(replica.stable()) +
              ", end " + std::to_string(replica.end().index) + " of " +
              std::to_string(replica.end().origin);
      for (const log::Configuration& configuration : replica.deciding()) {
        text += "; voters";
        for (const log::ReplicaId id : configuration.voters) {
          text += " " + std::to_string(node_of(id) + 1);
        }
        if (!configuration.learners.empty()) text += " learners";
        for (const log::ReplicaId id : configuration.learners) {
          text += " " + std::to_string(node_of(id) + 1);
        }
      }
      text += "\n";
    }
    return text;
  }

  const LogWorldOptions options_;
  base::Random random_;
  const std::uint32_t faults_;
  log::ReplicaOptions replica_options_;
  EventQueue queue_;
  const std::size_t first_voters_;
  std::vector<Node> nodes_;
  SimNetwork network_;
  LogChecks checks_;
  std::uint64_t sync_max_ns_ = 0;
  std::uint64_t propose_every_ns_ = 0;
  std::uint64_t strike_every_ns_ = 0;
  std::uint64_t commands_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t acknowledged_before_calm_ = 0;
  std::uint64_t crashes_ = 0;
  std::uint64_t configurations_ = 0;
  std::uint64_t trace_ = 0;
};

}  // namespace

LogWorldResult run_log_world(const LogWorldOptions& options) { return LogWorld(options).run(); }

}  // namespace dolmen::sim
