// SPDX-License-Identifier: Apache-2.0
#include "sim/node_world.hpp"

#include <algorithm>
#include <utility>

#include "base/checksum.hpp"
#include "sim/node_run.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::sim {
namespace {

constexpr ObjectId kCluster{7, 7};

const replication::JournalOptions kNodeJournal{.segment_bytes = 8u << 10,
                                               .tail_bytes_max = 24u << 10};

std::uint64_t hash_of_map(const cluster::RootState& state) {
  return base::checksum64(cluster::encode_root(state), 1);
}

}  // namespace

// Which kinds a run has, and few or many of them: what is rare beside all others is common alone.
std::uint32_t NodeRun::draw_faults() {
  const auto drawn = static_cast<std::uint32_t>(random_());
  const auto fewer = random_.chance(1, 2) ? static_cast<std::uint32_t>(random_()) : ~0u;
  return drawn & fewer & options_.faults;
}

NodeRun::NodeRun(const NodeWorldOptions& options)
    : options_(options),
      random_(base::mix_seed(options.seed, 0xC2)),
      rights_(base::mix_seed(options.seed, 0xC5)),
      faults_(draw_faults()),
      fabric_(base::mix_seed(options.seed, 1)) {
  founders_ = random_.between(options.founders_min, 5);
  groups_wanted_ = random_.between(1, 4);
  mail_limits_ = {.post_bytes = random_.between(300, 20'000), .forward_bytes = 1u << 20};
  // Of a third of the runs: they cost more than counters.
  base::Random shards(base::mix_seed(options.seed, 0xC4));
  if (options.may_have_indexes) {
    shards_wanted_ = shards.chance(1, 3) ? static_cast<std::uint32_t>(shards.between(1, 2)) : 0;
    groups_wanted_ += shards_wanted_;
    const bool has_directory = shards.chance(1, 2);
    is_ordered_ = shards.chance(1, 2);
    // One, two or four.
    if (has_directory) directory_shards_ = 1u << shards.below(3);
  }
  groups_wanted_ += directory_shards_;
  // It costs more than all the others.
  has_space_ =
      options.memory != nullptr && base::Random(base::mix_seed(options.seed, 0xC9)).chance(1, 8);
  if (has_space_) ++groups_wanted_;
  for (std::size_t i = 0; i < founders_; ++i) add_node(true);
  for (std::size_t i = 0; i < founders_; ++i) start(i);
}

NodeRun::~NodeRun() {
  clients_.clear();
  for (std::size_t i = 0; i < nodes_.size(); ++i) end(i);
}

std::size_t NodeRun::add_node(bool is_founder) {
  const std::size_t i = nodes_.size();
  const std::int64_t drift_ppm =
      has(kNodeClockDrift) ? static_cast<std::int64_t>(random_.below(100'000)) - 50'000 : 0;
  nodes_.push_back(std::make_unique<Node>(fabric_.queue(), base::mix_seed(options_.seed, i),
                                          drift_ppm, mail_limits_, options_.seed % 2 == 1,
                                          &accounts_));
  Node& node = *nodes_[i];
  if (has_space_) node.env.memory = options_.memory;
  node.life = static_cast<cluster::NodeLife>(random_.between(1, 1'000'000));
  node.is_founder = is_founder;
  ++result_.nodes;
  auto journal = open_journal(node);
  if (!journal) return i;
  if (is_founder) {
    const auto added = journal->add(node::group_of(cluster::kRootGroup),
                                    replication::replica_of(id_of(i), replication::kFirstLife),
                                    node::ClusterCore::founders(founders_));
    if (!added) violated("a journal cannot be made");
  } else if (!node::ClusterCore::write_map(*node.directory, root_)) {
    violated("a map cannot be written");
  }
  if (!journal->close()) violated("a journal cannot be made");
  return i;
}

node::ClusterCoreOptions NodeRun::options_of(std::size_t i) const {
  node::ClusterCoreOptions options{
      .self = number_of(i), .life = nodes_[i]->life, .cluster = kCluster};
  for (std::size_t k = 0; nodes_[i]->is_founder && k < founders_; ++k) {
    options.founders.push_back("founder-" + std::to_string(k + 1));
  }
  for (cluster::ClientNumber number = 1; options_.has_intruders && number <= kStranger; ++number) {
    cluster::NodeIdentity key{};
    key.fill(static_cast<std::byte>(number));  // nobody proves anything here
    options.clients.push_back({.client = number,
                               .name = "client-" + std::to_string(number),
                               .key = key,
                               .rights = number == kStranger ? cluster::ClientRights::none
                                                             : cluster::ClientRights::owner});
  }
  options.root.lost_ns = 400 * kMs;
  options.root.back_ns = 100 * kMs;
  options.root.plan_after_ns = 100 * kMs;
  options.root.repeat_ns = 100 * kMs;
  options.root.retry_ns = 20 * kMs;
  options.root.retry_max_ns = 500 * kMs;
  options.member.replica.part_bytes = 4u << 10;
  options.member.replica.trailing_bytes = 2u << 10;
  if (has_space_) {
    options.member.transfer = {
        .part_bytes = 5u << 10, .window = 3, .resend_ns = 20 * kMs, .silence_ns = 200 * kMs};
  }
  if (has_leases(options_.seed)) {
    options.lease_ms = 80;
    options.member.replica.drift_ppm = 50'000;
  }
  options.ask_ns = 30 * kMs;
  options.begin_ns = 100 * kMs;
  options.order_ns = 20 * kMs;
  options.order_patience_ns = 2'000 * kMs;
  return options;
}

// --- nodes ---------------------------------------------------------------------------------------

std::unique_ptr<replication::Journal> NodeRun::open_journal(Node& node) {
  const auto open = [&] {
    return replication::Journal::open(node.env, std::make_unique<sys::BorrowedDisk>(*node.journal),
                                      kNodeJournal);
  };
  auto journal = open();
  // A disk that is full at that moment (store.prepare_fails): it is started again.
  for (int i = 0; i < 100 && !journal && journal.error().code() == Errc::no_space; ++i) {
    journal = open();
  }
  if (journal) return std::move(*journal);
  violated("a journal does not open: " + journal.error().message());
  return nullptr;
}

void NodeRun::slow_down(Node& node) {
  const DiskLatency latency{.read_ns = 1'000, .write_ns = 2'000, .sync_ns = node.sync_ns};
  node.journal->set_latency(node.clock, latency);
  node.directory->set_latency(node.clock, latency);
  node.space->set_latency(node.clock, latency);
}

void NodeRun::start(std::size_t i) {
  Node& node = *nodes_[i];
  if (node.core || node.is_gone) return;
  slow_down(node);
  auto journal = open_journal(node);
  if (!journal) return;
  node.endpoint = fabric_.make({.self = {id_of(i), ++node.incarnation},
                                .clock = &node.clock,
                                .waker = [this, i](std::uint64_t at_ns) { schedule(i, at_ns); }});
  auto core = node::ClusterCore::open(node.env, *node.endpoint, *node.directory, std::move(journal),
                                      node.machines, {}, options_of(i));
  if (!core) return ended_with(i, core.error());
  node.core = std::move(*core);
  node.judged.clear();
  look_at(i);
  schedule(i, now_ns());
}

void NodeRun::start_later(std::size_t i) {
  fabric_.queue().after(1 + random_.below(700 * kMs), [this, i] { start(i); });
}

void NodeRun::end(std::size_t i) {
  Node& node = *nodes_[i];
  node.core.reset();
  node.banks.end();
  node.endpoint.reset();
  node.journal->clear_faults();
  node.directory->clear_faults();
  node.space->clear_faults();
}

void NodeRun::power_off(std::size_t i) {
  constexpr CrashPlan::Kind kKinds[] = {CrashPlan::Kind::none, CrashPlan::Kind::all,
                                        CrashPlan::Kind::random};
  Node& node = *nodes_[i];
  fabric_.power_off(id_of(i));
  const auto crash = [&](SimDisk& disk) {
    auto left =
        disk.crash({.kind = kKinds[random_.below(3)], .argument = random_()}, node.incarnation);
    disk.power_off();
    return left;
  };
  auto journal = crash(*node.journal);
  auto directory = crash(*node.directory);
  auto space = has_space_ ? crash(*node.space) : nullptr;
  end(i);
  node.journal = std::move(journal);
  node.directory = std::move(directory);
  if (space) node.space = std::move(space);
}

void NodeRun::schedule(std::size_t i, std::uint64_t at_ns) {
  Node& node = *nodes_[i];
  const std::uint64_t due_ns = std::max({at_ns, node.clock.true_ns(), node.paused_until_ns});
  if (at_ns == kNever || due_ns >= node.turns.due_ns) return;
  node.turns = {due_ns, node.turns.number + 1};
  fabric_.queue().at(due_ns, [this, i, number = node.turns.number] {
    Turns& turns = nodes_[i]->turns;
    if (turns.number != number) return;  // an earlier one was asked for meanwhile
    turns.due_ns = kNever;
    turn(i);
  });
}

void NodeRun::turn(std::size_t i) {
  Node& node = *nodes_[i];
  if (!node.core) return;
  // It was paused, or is busy, since this turn was asked for.
  if (std::max(node.clock.true_ns(), node.paused_until_ns) > now_ns()) return schedule(i, now_ns());
  const auto turned = node.core->turn();
  // A turn that failed may have taken in entries, and not have undone what it had executed instead.
  look_at(i, turned.has_value());
  if (!turned) return ended_with(i, turned.error());
  node.clock.sleep_ns(node.turn_ns);
  if (*turned) return schedule(i, now_ns());
  if (!node.core->wait()) violated("an endpoint failed");
}

void NodeRun::ended_with(std::size_t i, const Error& why) {
  end(i);
  const Errc code = why.code();
  if (code == Errc::superseded) {
    const auto found = root_.nodes().find(number_of(i));
    if (found == root_.nodes().end() || found->second.state != cluster::NodeState::removed) {
      violated("node " + std::to_string(i + 1) + " takes itself for removed");
    }
    nodes_[i]->is_gone = true;
    return;
  }
  if (code != Errc::store_failed && code != Errc::no_space && code != Errc::io_error) {
    return violated("node " + std::to_string(i + 1) + " ended: " + why.message());
  }
  start_later(i);
}

// --- judgement -----------------------------------------------------------------------------------

void NodeRun::look_at_map(const cluster::RootState& root) {
  if (!root.is_begun()) return;
  const auto [known, is_new] = root_hashes_.try_emplace(root.version(), hash_of_map(root));
  if (!is_new && known->second != hash_of_map(root)) {
    return violated("two maps of version " + std::to_string(root.version()));
  }
  if (root.version() <= root_.version()) return;
  for (const auto& [number, group] : root.groups()) {
    const cluster::RootGroup* const before = root_.group(number);
    const bool is_begun = group.change && (before == nullptr || before->change != group.change);
    if (is_begun) ++result_.changes;
  }
  root_ = root;
  for (const auto& [number, group] : root_.groups()) {
    if (groups_.contains(number)) continue;
    log::Configuration first;
    for (const cluster::NodeNumber founder : group.founders) {
      first.voters.push_back(
          replication::replica_of(fabric::NodeId{founder}, replication::kFirstLife));
    }
    groups_[number].judge = std::make_unique<GroupJudge>(JudgedGroup{.first = first});
    if (number != cluster::kRootGroup) add_clients(number);
  }
}

void NodeRun::look_at(std::size_t i, bool is_whole) {
  Node& node = *nodes_[i];
  look_at_map(node.core->root());
  for (const auto& [id, self] : node.core->member().replicas()) {
    const auto number = static_cast<cluster::GroupNumber>(id.low);
    if (number == cluster::kRootGroup && !groups_.contains(number)) {
      groups_[number].judge = std::make_unique<GroupJudge>(
          JudgedGroup{.first = node::ClusterCore::founders(founders_)});
    }
    const auto inside = node.core->member().inside(id);
    if (!inside) continue;
    GroupJudge& judge = *groups_.at(number).judge;
    const auto seen = node.judged.find(number);
    if (seen == node.judged.end() || seen->second.id != self) {
      node.judged[number] = {.id = self, .life = judge.begins(*inside->replica)};
    } else {
      judge.look_at(seen->second.life, *inside->replica);
    }
    look_at_homes(node, number, *inside->replica);
    Judged& judged = node.judged[number];
    if (is_whole && inside->executed <= inside->replica->stable() &&
        inside->executed != judged.executed) {
      judged.executed = inside->executed;
      const auto hash = number == cluster::kRootGroup
                            ? std::optional(hash_of_map(node.core->root()))
                            : hash_of(node, number);
      if (hash) judge.executed(inside->executed, *hash);
    }
    if (judge.violation().empty()) continue;
    violated("group " + std::to_string(number) + ": " + judge.violation());
  }
}

std::optional<std::size_t> NodeRun::leader_of(cluster::GroupNumber number) const {
  std::optional<std::size_t> leader;
  log::Epoch latest = 0;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i]->core) continue;
    const auto inside = nodes_[i]->core->member().inside(node::group_of(number));
    if (!inside || inside->replica->role() != log::Role::leader) continue;
    if (inside->replica->epoch() <= latest) continue;
    leader = i;
    latest = inside->replica->epoch();
  }
  return leader;
}

/// Why the group is not at rest; empty: it is.
std::string NodeRun::unrest_in(cluster::GroupNumber number, const cluster::RootGroup& group) {
  if (group.change) return "a change is under way";
  const auto leader = leader_of(number);
  if (!leader) return "nobody leads";
  std::size_t available = 0;
  for (const auto& [node, one] : root_.nodes()) available += root_.is_available(node) ? 1 : 0;
  const std::size_t wanted = std::min<std::size_t>(group.size, available);
  std::size_t live = 0;
  for (const auto& [member, life] : group.members) {
    if (root_.is_available(member) && !nodes_[member - 1]->is_gone) ++live;
  }
  if (live < wanted) return "members are missing";
  const auto right = *nodes_[*leader]->core->member().status(node::group_of(number));
  std::vector<cluster::NodeNumber> voters;
  for (const log::ReplicaId id : right.configuration.voters) {
    const cluster::NodeNumber node = node::member_of(id);
    voters.push_back(node);
    if (nodes_[node - 1]->is_gone) continue;
    if (!nodes_[node - 1]->core) return "a member is down";
    const auto status = nodes_[node - 1]->core->member().status(node::group_of(number));
    if (!status || status->self != id) return "a member has no replica";
    if (status->epoch != right.epoch || status->end != right.end ||
        status->applied != right.end.index || status->stable != right.end.index) {
      return "members do not agree";
    }
  }
  std::ranges::sort(voters);
  const bool is_so = std::ranges::equal(voters, group.members, {}, {},
                                        [](const auto& member) { return member.first; });
  return is_so ? "" : "the map says other members";
}

std::string NodeRun::unrest() {
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    const bool is_done = clients_[i].with([](const auto& client) { return client.is_done(); });
    if (!is_done) return "client " + std::to_string(i) + " waits";
  }
  if (root_.groups().size() < groups_wanted_ + 1) return "groups are missing";
  for (const auto& [number, group] : root_.groups()) {
    const std::string why = unrest_in(number, group);
    if (!why.empty()) return "group " + std::to_string(number) + ": " + why;
  }
  if (const std::string why = mail_unrest(); !why.empty()) return why;
  const auto seats = root_.seats();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = *nodes_[i];
    const std::string name = "node " + std::to_string(i + 1);
    if (node.is_gone) continue;
    if (!node.core) return name + " is down";
    if (node.core->map().version() != root_.version()) return name + " has an old map";
    const cluster::RootNode* const one = root_.node(number_of(i));
    if (one == nullptr) return name + " is unknown";
    for (const auto& [id, self] : node.core->member().replicas()) {
      const auto* const group = root_.group(static_cast<cluster::GroupNumber>(id.low));
      if (group == nullptr || !group->members.contains(number_of(i))) {
        return name + " has a replica too many";
      }
    }
    const bool is_draining = one->state == cluster::NodeState::draining;
    const auto its = seats.find(number_of(i));
    if (is_draining && its != seats.end() && its->second > 0) {
      std::size_t available = 0;
      for (const auto& [node_number, other] : root_.nodes()) {
        available += root_.is_available(node_number) ? 1 : 0;
      }
      std::size_t largest = 0;
      for (const auto& [number, group] : root_.groups()) {
        largest = std::max<std::size_t>(largest, group.members.size());
      }
      if (available >= largest) return name + " is not drained";
    }
  }
  return "";
}

void NodeRun::judge(cluster::GroupNumber number) {
  Group& group = groups_.at(number);
  const std::string name = "group " + std::to_string(number);
  const std::size_t leader = *leader_of(number);
  if (number == cluster::kRootGroup) return;
  const bool is_space = keeps_space(number);
  const auto hash = hash_of(*nodes_[leader], number);
  for (const auto& [member, life] : root_.group(number)->members) {
    if (nodes_[member - 1]->is_gone || is_space) continue;
    if (!hash || hash_of(*nodes_[member - 1], number) != hash) {
      return violated(name + ": node " + std::to_string(member) + " has another state");
    }
  }
  if (root_.group(number)->shape) return judge_index(number);
  if (root_.group(number)->is_directory()) return;  // judge_homes()
  // What all of them have at the end is one more thing that was seen.
  if (is_space) {
    judge_space(number);
  } else {
    group.history.respond(group.history.invoke(99, {.added = 0})).value =
        nodes_[leader]->banks.bank(number)->value();
  }
  CounterModel counter;
  const auto judgement = check_linearizability(counter, group.history.operations());
  if (judgement.verdict != Verdict::linearizable) violated(name + ": " + judgement.text);
}

/// What all members have at the end was read by one more.
void NodeRun::judge_index(cluster::GroupNumber number) {
  IndexHistory& history = groups_.at(number).index_history;
  const node::IndexMachines& machines = nodes_[*leader_of(number)]->machines;
  const cluster::TableKind kind = root_.group(number)->shape->table;
  for (std::uint64_t key = 0; key < IndexClient::keys_of(kind); ++key) {
    const std::size_t place = history.invoke(99, {key, RegisterModel::read()});
    const std::vector<std::byte> bytes = IndexClient::key_of(kind, key);
    const auto found = kind == cluster::TableKind::ordered
                           ? machines.ordered(number)->table().find(bytes)
                           : machines.find(number)->table().find(bytes);
    history.respond(place).inner.value = found ? IndexClient::number_in(*found) : 0;
  }
  MapModel model;
  const auto judgement = check_linearizability(model, history.operations());
  if (judgement.verdict == Verdict::linearizable) return;
  violated("group " + std::to_string(number) + ": " + judgement.text);
}

std::string NodeRun::state() {
  std::string text = "at " + std::to_string(now_ns()) + " ns, faults " + std::to_string(faults_) +
                     ", map " + std::to_string(root_.version()) + "\n";
  for (const auto& [number, group] : root_.groups()) {
    text += "group " + std::to_string(number) + " of " + std::to_string(group.size) + ":";
    for (const auto& [member, life] : group.members) text += " " + std::to_string(member);
    if (group.change) {
      text += ", +" + std::to_string(group.change->add) + " -" +
              std::to_string(group.change->leave) + " since " + std::to_string(group.change->since);
    }
    text += "\n";
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = *nodes_[i];
    text += "node " + std::to_string(i + 1) + ": ";
    const auto found = root_.nodes().find(number_of(i));
    if (found != root_.nodes().end()) {
      text += found->second.state == cluster::NodeState::draining ? "draining, " : "";
      text += found->second.is_lost ? "lost, " : "";
    }
    if (!node.core) {
      text += node.is_gone ? "gone\n" : "down\n";
      continue;
    }
    text += "map " + std::to_string(node.core->map().version());
    for (const auto& [id, self] : node.core->member().replicas()) {
      const auto status = node.core->member().status(id);
      text += "; " + std::to_string(id.low) + " life " + std::to_string(replication::life_of(self));
      if (!status) continue;
      text += (status->role == log::Role::leader ? " leads, epoch " : " epoch ") +
              std::to_string(status->epoch) + ", end " + std::to_string(status->end.index) +
              ", stable " + std::to_string(status->stable) + ", voters";
      for (const log::ReplicaId voter : status->configuration.voters) {
        text += " " + std::to_string(node::member_of(voter)) + "/" +
                std::to_string(replication::life_of(voter));
      }
      for (const log::ReplicaId learner : status->configuration.learners) {
        text += " (" + std::to_string(node::member_of(learner)) + "/" +
                std::to_string(replication::life_of(learner)) + ")";
      }
    }
    text += "\n";
  }
  return text;
}

NodeWorldResult NodeRun::run() {
  strike();
  operate();
  fabric_.queue().run_until(options_.faulty_ns);
  heal();
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    clients_[i].with([](auto& client) { client.rest(); });
    schedule_client(i, now_ns());
  }
  std::string why = "begins";
  while (result_.violation.empty() && !(why = unrest()).empty()) {
    fabric_.run_for(20 * kMs);
    // A group that was about to be made, or a node that was about to join.
    operate_once();
    for (Client& one : clients_) one.with([](auto& client) { client.rest(); });
    if (now_ns() > options_.faulty_ns + options_.calm_ns) {
      violated("it does not come to rest: " + why);
    }
  }
  for (const auto& [number, group] : root_.groups()) {
    if (result_.violation.empty()) judge(number);
  }
  if (result_.violation.empty()) judge_mail();
  if (result_.violation.empty()) judge_homes();
  if (!result_.violation.empty()) result_.state = state();
  for (const Client& one : clients_) {
    result_.answered += one.with([](const auto& client) { return client.answered(); });
    if (const auto* const its = std::get_if<0>(&one.client)) {
      if ((*its)->is_of_space()) result_.in_spaces += (*its)->answered();
    }
    if (const auto* const its = std::get_if<1>(&one.client)) {
      result_.read_afar += (*its)->read_afar();
      result_.scanned += (*its)->scanned();
      result_.read_in_one += (*its)->read_in_one();
      result_.read_by_lease += (*its)->read_by_lease();
    }
    if (const auto* const its = std::get_if<2>(&one.client)) result_.refused += (*its)->refused();
  }
  result_.trace_hash = fabric_.trace_hash();
  for (const auto& node : nodes_) {
    result_.trace_hash = base::mix_seed(result_.trace_hash, node->journal->trace_hash());
    if (!has_space_) continue;
    result_.trace_hash = base::mix_seed(result_.trace_hash, node->space->trace_hash());
  }
  result_.events = fabric_.queue().events_run();
  result_.simulated_ns = now_ns();
  return result_;
}

NodeWorldResult run_node_world(const NodeWorldOptions& options) {
  const auto hooks = [&](bool on) {
    if (options.hooks != nullptr) options.hooks->begin(options.seed, on);
  };
  hooks(false);  // the world is made first
  NodeRun run(options);
  hooks(base::mix_seed(options.seed, 0xC8) % 2 == 0);
  return run.run();
}

}  // namespace dolmen::sim
