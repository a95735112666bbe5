// SPDX-License-Identifier: Apache-2.0
//
// What is done to the replicas of a run: the nemesis and the operator.
#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "sim/log_run.hpp"

namespace dolmen::sim {

void LogRun::schedule_nemesis() {
  const std::uint64_t pause_ns = 20 * kMs + random_.below(strike_every_ns_);
  queue_.after(pause_ns, [this] {
    if (queue_.now_ns() >= options_.faulty_ns || !checks_.violation().empty()) return;
    strike();
    schedule_nemesis();
  });
}

void LogRun::strike() {
  auto fault = static_cast<LogFault>(
      1u << random_.below(std::bit_width(static_cast<std::uint32_t>(kAllLogFaults))));
  std::size_t number = any_node();
  // Leaders that still write when others are about to take over.
  if (const Node* const leading = is_direct_ && chance(2) ? leading_node() : nullptr) {
    constexpr LogFault kAtLeaders[] = {kPause, kIsolate, kIsolate, kOneWay, kPartial};
    fault = kAtLeaders[random_.below(std::size(kAtLeaders))];
    number = node_of(leading->replica->self());
  }
  if (!has(fault)) return;
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
      if (is_direct_ && chance(2)) {
        queue_.after(random_.below(length_ns + 1), [this, number] { replace(number); });
      }
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

LogRun::Node* LogRun::leading_node() {
  Node* leading = nullptr;
  for (Node& node : nodes_) {
    if (node.replica == nullptr || node.replica->role() != log::Role::leader) continue;
    if (leading == nullptr || node.replica->epoch() > leading->replica->epoch()) leading = &node;
  }
  return leading;
}

void LogRun::schedule_operator() {
  if (!has(kMembers) && !has(kLoseDisk)) return;
  queue_.after(1 + random_.below(200 * kMs), [this] {
    if (queue_.now_ns() >= options_.faulty_ns || !checks_.violation().empty()) return;
    change_members(has(kLoseDisk) && (!has(kMembers) || chance(4)));
    schedule_operator();
  });
}

void LogRun::change_members(bool may_lose) {
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
  next = with_witness(std::move(next));
  if (!is_valid(next)) return;  // nobody but the witness
  on(leader, leading->life, [this, next](Node& node) {
    configurations_ += node.replica->propose(local_ns(node), next).has_value() ? 1 : 0;
  });
}

log::Configuration LogRun::any_of(const log::Replica& leader, const log::Configuration& now) {
  std::vector<log::ReplicaId> able = now.voters;
  std::ranges::copy_if(now.learners, std::back_inserter(able), [&](log::ReplicaId id) {
    return leader.matched(id) + 100 >= leader.end().index;
  });
  for (std::size_t i = able.size(); i > 1; --i) std::swap(able[i - 1], able[random_.below(i)]);
  able.resize(1 + random_.below(able.size()));
  return {.voters = able};
}

void LogRun::lose(std::size_t number, const log::Configuration& members) {
  const auto bears = [&](const log::Configuration& configuration) {
    const auto left = std::ranges::count_if(configuration.voters, [&](log::ReplicaId id) {
      return node_of(id) != number && !nodes_[node_of(id)].is_lost;
    });
    const bool has_server = std::ranges::any_of(configuration.voters, [&](log::ReplicaId id) {
      const Node& node = nodes_[node_of(id)];
      if (node_of(id) == number || node.is_lost || node_of(id) == witness_) return false;
      // A witness cannot tell a server that it is a voter now: docs/log.md.
      const log::DurableState log =
          is_direct_ && node.replica ? node.replica->durable_state() : node.disk;
      return witness_ == kNone || counting_in(first_configuration(), log).back() == configuration;
    });
    return has_server && 2 * static_cast<std::size_t>(left) > configuration.voters.size();
  };
  for (const log::ReplicaId id : members.voters) {
    const Node& node = nodes_[node_of(id)];
    if (node.is_lost || is_memory(node_of(id))) continue;
    // What its memory holds and its log does not yet may be a configuration.
    if (is_direct_ && node.replica == nullptr) return;
    // A poll takes a part, or by the hooks' will nothing.
    for (int idle = 0; is_direct_ && idle < 20;) idle = node.replica->poll() ? 0 : idle + 1;
    const log::Configuration first = first_configuration();
    if (node.replica != nullptr) {
      const log::DurableState log = node.replica->durable_state();
      if (!std::ranges::all_of(counting_in(first, log), bears)) return;
    }
    if (!std::ranges::all_of(counting_in(first, node.disk), bears)) return;
  }
  crash(number, 0);
  if (memory_) memory_->lose(number);
  nodes_[number].is_lost = true;  // nobody reads its disk again but who asks what it held
}

// What was not synced is there up to some record: a log is read to the first that does not
// verify.
void LogRun::crash(std::size_t number, std::uint64_t down_ns) {
  const std::size_t unsynced = nodes_[number].unsynced.size();
  crash(number, down_ns, chance(2) ? 0 : random_.below(unsynced + 1));
}

void LogRun::crash(std::size_t number, std::uint64_t down_ns, std::size_t kept) {
  Node& node = nodes_[number];
  if (node.replica == nullptr) return;
  ++crashes_;
  trace(number);
  judge_.look_at(node.judged, *node.replica);
  lose_power(node, kept);
  node.replica.reset();
  node.pending.clear();
  node.paused_until_ns = 0;
  if (notices_) notice_the_end_of(number);
  queue_.after(down_ns, [this, number] { restart(number); });
}

void LogRun::lose_power(Node& node, std::size_t kept) {
  if (is_direct_) {
    node.disk = node.replica->durable_state();
    return;
  }
  const std::vector<log::Record> unsynced = std::exchange(node.unsynced, {});
  if (!node.journal) {
    for (std::size_t i = 0; i < kept; ++i) node.disk.apply(unsynced[i]);
    return;
  }
  // What was synced, and any number of the batches behind it.
  const log::DurableState found = node.journal->crash();
  for (std::size_t i = 0; !means(found, node.disk); ++i) {
    if (i == unsynced.size()) return checks_.fail("a journal that says what nobody wrote");
    node.disk.apply(unsynced[i]);
  }
  node.disk = found;
}

void LogRun::crash_after(std::size_t number, std::uint64_t delay_ns) {
  queue_.after(delay_ns, [this, number, life = nodes_[number].life] {
    if (nodes_[number].life == life) crash(number, random_.below(300 * kMs));
  });
}

void LogRun::notice_the_end_of(std::size_t number) {
  for (std::size_t other = 0; other < nodes_.size(); ++other) {
    queue_.after(1 + random_.below(2 * kMs), [this, number, other, life = nodes_[other].life] {
      on(other, life,
         [this, number](Node& node) { node.replica->lost_contact(local_ns(node), id_of(number)); });
    });
  }
}

void LogRun::restart(std::size_t number) {
  const Node& node = nodes_[number];
  if (node.is_lost || !node.is_used || node.replica != nullptr) return;
  if (checks_.violation().empty()) start(number);
}

void LogRun::use_memory() {
  uses_journals_ = false;
  replica_options_.lane_bytes = 256 + 8 * random_.below(chance(2) ? 100 : 2000);
  if (chance(2)) replica_options_.resend_ns = 20 * kMs + random_.below(500 * kMs);
  // Heartbeats that nearly come too late: then leaders are deposed that still write.
  if (chance(2)) replica_options_.heartbeat_ns = 1 + random_.below(replica_options_.silence_ns);
  memory_ = std::make_unique<LogMemory>(
      queue_, nodes_.size(), random_(),
      LogMemory::World{
          .paused_until_ns = [this](Writer writer) -> std::optional<std::uint64_t> {
            const Node* const writing = process(writer.node, writer.life);
            if (writing == nullptr) return std::nullopt;
            return writing->paused_until_ns;
          },
          .is_cut = [this](std::size_t from, std::size_t to) { return network_.is_cut(from, to); },
          .report =
              [this](Writer writer, const log::LaneWrite& write, std::optional<log::Epoch> word) {
                on(writer.node, writer.life, [this, writer, write, word](Node& node) {
                  ++lane_writes_;
                  trace(write.end);
                  trace(word.value_or(0));
                  if (write.is_raise) return raised(node, writer.node, write, word);
                  if (!word) return node.replica->lane_failed(local_ns(node), write.to, write.lane);
                  const log::Index before = node.replica->stable();
                  node.replica->landed(local_ns(node), write.to, write.lane, write.end, *word,
                                       write.round);
                  // Just after it decided something, with what it alone may know.
                  if (node.replica->stable() > before && strikes(kCrashLeader, 100)) {
                    crash_after(writer.node, 1);
                  }
                });
              }});
}

void LogRun::raised(Node& node, std::size_t number, const log::LaneWrite& write,
                    std::optional<log::Epoch> former) {
  const log::Epoch epoch = write.lane.epoch;
  if (!former) return node.replica->raise_failed(local_ns(node), write.to, epoch);
  node.replica->raised(local_ns(node), write.to, epoch, *former,
                       memory_->areas_of(node_of(write.to), number));
}

void LogRun::replace(std::size_t number) {
  Node& node = nodes_[number];
  if (node.replica == nullptr || node.paused_until_ns <= queue_.now_ns()) return;
  if (replaced_[number].replica != nullptr || node.is_lost) return;
  trace(number);
  Node next;
  next.life = node.life;
  next.drift_ppm = node.drift_ppm;
  next.disk = node.replica->durable_state();
  next.is_used = true;
  replaced_[number] = std::exchange(node, std::move(next));
  start(number);
}

std::string LogRun::describe() {
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

}  // namespace dolmen::sim
