// SPDX-License-Identifier: Apache-2.0
#include "sim/log_world.hpp"

#include <algorithm>
#include <utility>

#include "base/checksum.hpp"
#include "sim/log_run.hpp"

namespace dolmen::sim {

LogWorldResult LogRun::run() {
  network_.set_faults(network_faults());
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    nodes_[node].drift_ppm = has(kDrift) ? random_.below(200'000) : 0;
    if (node < first_voters_) start(node);
  }
  schedule_proposal();
  schedule_nemesis();
  schedule_operator();
  if (replica_options_.lease_ns != 0) {
    schedule_leased_read();
    schedule_hand_over();
  }
  proposals_end_ns_ = ~std::uint64_t{0};
  queue_.run_until(options_.faulty_ns);
  calm_down();
  queue_.run_until(options_.faulty_ns + options_.calm_ns);
  judge_the_calm();
  const std::uint64_t taken_ns = queue_.now_ns();
  take_one_away();
  queue_.run_until(taken_ns + (mute_ == kNone ? 1 : 3) * options_.without_one_ns);
  judge_those_who_stayed();
  proposals_end_ns_ = queue_.now_ns() + options_.back_again_ns / 2;
  bring_it_back();
  queue_.run_until(queue_.now_ns() + options_.back_again_ns);
  // Whoever came back may have finished a change of members, and left.
  const bool is_led = !checks_.violation().empty() || leading_node() != nullptr;
  if (!is_led) queue_.run_until(queue_.now_ns() + options_.calm_ns);
  judge_the_end();
  return {.violation = checks_.violation(),
          .state = checks_.violation().empty() ? "" : describe(),
          .trace_hash = trace_,
          .events = queue_.events_run(),
          .proposed = commands_,
          .acknowledged = acknowledged_,
          .leaders = checks_.leaders(),
          .crashes = crashes_,
          .lane_writes = lane_writes_,
          .configurations = configurations_,
          .calm_until_decided_ns = calm_until_decided_ns_,
          .without_one_until_decided_ns = without_one_until_decided_ns_,
          .lost_leader = gone_led_,
          .was_noticed = gone_led_ && gone_crashed_ && notices_,
          .leased_reads = leased_reads_,
          .hand_overs = hand_overs_,
          .has_witness = witness_ != kNone,
          .has_memory_witness = witness_is_memory_,
          .simulated_ns = queue_.now_ns()};
}

NetworkFaults LogRun::network_faults() {
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

void LogRun::start(std::size_t number) {
  Node& node = nodes_[number];
  ++node.life;
  node.is_used = true;
  if (is_memory(number)) return;
  node.synced = 0;
  node.syncing = false;
  node.wakeup_ns = 0;
  node.stable = 0;
  node.machine = {};
  node.has_machine = number != witness_;
  if (options_.restart_empty && node.life > 1) {
    node.disk = {};
    if (memory_) memory_->forget(number);
  }
  if (options_.restart_without_grant) node.disk.granted_to = {};
  if (uses_journals_ && node.journal == nullptr) {
    node.journal = std::make_unique<LogDisk>(id_of(number), first_configuration(), random_());
  }
  if (node.disk.snapshot && node.has_machine) install(node, *node.disk.snapshot);
  if (node.disk.snapshot) node.stable = node.disk.snapshot->last().index;
  node.replica = std::make_unique<log::Replica>(
      id_of(number), first_configuration(), options_of(number), node.disk, random_(),
      local_ns(node), memory_ ? &memory_->of(number) : nullptr);
  node.judged = judge_.begins(*node.replica);
  settle(number);
}

void LogRun::deliver(std::size_t from, std::size_t to, const std::vector<std::byte>& bytes) {
  on(to, nodes_[to].life, [this, from, to, bytes](Node& node) {
    const auto message = log::decode_message(bytes);
    if (!message) return checks_.fail("a replica's message is not decoded");
    trace(from * 64 + to);
    trace(base::checksum64(bytes, 0));
    node.replica->receive(local_ns(node), id_of(from), *message);
  });
}

void LogRun::settle(std::size_t number) {
  Node& node = nodes_[number];
  log::Output output = node.replica->take_output();
  const bool is_promise = !output.records.empty() && !output.records.back().entry;
  const bool is_new_leader =
      node.replica->role() == log::Role::leader && node.replica->epoch() != node.led;
  execute(node, output);
  if (node.journal) node.journal->append(output.records);
  for (log::Record& record : output.records) node.unsynced.push_back(std::move(record));
  // The worst moments to stop, for those who have them in their seed.
  if (is_new_leader && strikes(kCrashLeader, 4)) {
    return crash(number, random_.below(300 * kMs), node.unsynced.size());
  }
  start_sync(number);
  for (const auto& letter : output.letters) {
    const bool is_entries =
        letter.message.kind == log::MessageKind::append && !letter.message.entries.empty();
    if (number == mute_ && is_entries) continue;
    network_.send(number, node_of(letter.to), log::encode(letter.message));
  }
  std::vector<log::LaneWrite> writes;
  node.replica->take_lane_writes(writes);
  for (const log::LaneWrite& write : writes) {
    memory_->write({number, node.life}, node_of(write.to), write);
  }
  if (is_promise && strikes(kCrashPromise, 6)) crash_after(number, 1 + random_.below(sync_max_ns_));
  look_at(number);
  if (checks_.violation().empty()) compact(node);
  if (!has_decided_own(*node.replica) && strikes(kCrashLeader, 8)) {
    return crash(number, random_.below(300 * kMs));
  }
  schedule_wakeup(number);
}

void LogRun::execute(Node& node, const log::Output& output) {
  const log::Replica& replica = *node.replica;
  if (!node.has_machine) {
    if (output.installed) node.stable = std::max(node.stable, output.installed->last().index);
    return;
  }
  if (output.installed) install(node, *output.installed);
  LogMachine& machine = node.machine;
  if (output.undo_from) machine.undo_behind(*output.undo_from - 1);
  const log::Index kept = machine.executed();
  const bool is_known = kept > replica.base().index && machine.last() != log::Position{};
  if (kept > replica.end().index || (is_known && replica.at(kept).position() != machine.last())) {
    return checks_.fail("what was executed and dropped is not undone");
  }
  while (machine.executed() < replica.end().index) {
    machine.execute(replica.at(machine.executed() + 1));
  }
}

void LogRun::install(Node& node, const log::Snapshot& snapshot) {
  trace(snapshot.last().index);
  node.machine.install(snapshot);
  checks_.installed(snapshot.last().index, LogMachine::hash_in(snapshot));
  node.stable = std::max(node.stable, snapshot.last().index);
}

void LogRun::compact(Node& node) {
  log::Replica& replica = *node.replica;
  if (!replica.wants_snapshot() && (compact_one_in_ == 0 || !chance(compact_one_in_))) return;
  if (!node.has_machine) {
    if (queue_.now_ns() >= node.asked_ns + kAskEveryNs) {
      node.asked_ns = queue_.now_ns();
      replica.ask_for_snapshot();
    }
    return checkpoint(node);
  }
  const log::Index first = replica.snapshot() ? replica.snapshot()->last().index : 0;
  if (replica.stable() <= first || node.stable < replica.stable()) return;
  const log::Index index = first + 1 + random_.below(replica.stable() - first);
  const auto state = node.machine.state_at(index, random_.below(500));
  replica.compact(log::Snapshot::make(replica.place_at(index), state).value());
  checkpoint(node);
}

void LogRun::checkpoint(Node& node) {
  // What its disk keeps of the log before is now in the way of nothing.
  if (!node.unsynced.empty()) return;
  node.disk = node.replica->durable_state();
  if (node.journal) node.journal->checkpoint(node.disk);
}

void LogRun::start_sync(std::size_t number) {
  Node& node = nodes_[number];
  if (node.syncing || node.unsynced.empty()) return;
  node.syncing = true;
  const std::size_t count = node.unsynced.size();
  queue_.after(1 + random_.below(sync_max_ns_), [this, number, life = node.life, count] {
    on(number, life, [this, number, count](Node& synced) {
      if (synced.journal) synced.journal->sync();
      for (std::size_t i = 0; i < count; ++i) synced.disk.apply(synced.unsynced[i]);
      synced.unsynced.erase(synced.unsynced.begin(),
                            synced.unsynced.begin() + static_cast<std::ptrdiff_t>(count));
      synced.synced += count;
      synced.syncing = false;
      if (synced.journal && synced.journal->checkpoint_due()) {
        log::DurableState state = synced.disk;
        for (const log::Record& record : synced.unsynced) state.apply(record);
        synced.journal->checkpoint(std::move(state));
      }
      synced.replica->persisted(local_ns(synced), synced.synced);
      start_sync(number);
    });
  });
}

void LogRun::schedule_wakeup(std::size_t number) {
  Node& node = nodes_[number];
  const std::uint64_t wakeup_ns =
      std::max(queue_.now_ns() + 200'000, world_ns(node, node.replica->next_wakeup_ns()));
  if (node.wakeup_ns != 0 && node.wakeup_ns <= wakeup_ns) return;
  node.wakeup_ns = wakeup_ns;
  queue_.at(wakeup_ns, [this, number, life = node.life, wakeup_ns] {
    on(number, life, [this, wakeup_ns](Node& woken) {
      if (woken.wakeup_ns == wakeup_ns) woken.wakeup_ns = 0;
      woken.replica->tick(local_ns(woken));
      if (woken.replica->next_wakeup_ns() <= local_ns(woken)) checks_.fail("no rest after a tick");
    });
  });
}

void LogRun::look_at(std::size_t number) {
  Node& node = nodes_[number];
  const log::Replica& replica = *node.replica;
  if (replica.role() == log::Role::leader && replica.epoch() != node.led) {
    node.led = replica.epoch();
    if (!node.has_machine) return checks_.fail("a witness leads");
  }
  judge_.look_at(node.judged, replica);
  for (; node.stable < replica.stable(); ++node.stable) trace(node.stable + 1);
  if (node.has_machine) judge_.executed(node.stable, node.machine.hash_at(node.stable));
  std::erase_if(node.pending, [&](const Pending& pending) {
    if (pending.where.index > node.stable) return false;
    // Another entry came to be there, or nobody can tell any more: the client hears nothing.
    if (pending.where.index <= replica.base().index) return true;
    if (replica.at(pending.where.index).position() != pending.where) return true;
    ++acknowledged_;
    if (first_acknowledged_ns_ == 0) first_acknowledged_ns_ = queue_.now_ns();
    // Who led once hears of it late, and perhaps together with a later configuration.
    const std::vector<log::Configuration> decided_by =
        replica.role() == log::Role::leader
            ? replica.deciding()
            : std::vector{replica.place_at(pending.where.index).configuration};
    checks_.acknowledged(pending.command, pending.where, pending.acknowledged_at_invocation,
                         is_durable(decided_by, pending.where));
    return true;
  });
}

bool LogRun::holds(std::size_t number, log::Position where) const {
  const Node& node = nodes_[number];
  if (!is_direct_) return node.disk.holds(where);
  const log::DurableState log = node.replica ? node.replica->durable_state() : node.disk;
  return log.holds(where) || memory_->holds(number, where);
}

bool LogRun::is_durable(const std::vector<log::Configuration>& configurations,
                        log::Position where) const {
  return std::ranges::all_of(configurations, [&](const log::Configuration& configuration) {
    const auto count = std::ranges::count_if(
        configuration.voters, [&](log::ReplicaId id) { return holds(node_of(id), where); });
    return 2 * static_cast<std::size_t>(count) > configuration.voters.size();
  });
}

void LogRun::schedule_proposal() {
  queue_.after(1 + random_.below(2 * propose_every_ns_), [this] {
    if (queue_.now_ns() > proposals_end_ns_) return;
    propose(any_node());
    if (const std::size_t awake = any_node(); is_direct_) {
      on(awake, nodes_[awake].life, [](Node& node) { node.replica->poll(); });
    }
    schedule_proposal();
  });
}

void LogRun::propose(std::size_t number) {
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

LogWorldResult run_log_world(const LogWorldOptions& options) { return LogRun(options).run(); }

}  // namespace dolmen::sim
