// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster_world.hpp"

#include <algorithm>
#include <utility>

#include "base/checksum.hpp"
#include "sim/cluster_run.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::sim {
namespace {

constexpr std::uint64_t kFirstClient = 1'000;
/// Of replicas that wait to be taken in.
constexpr std::uint32_t kSpareLife = 7;

const replication::JournalOptions kJournal{.segment_bytes = 8u << 10, .tail_bytes_max = 24u << 10};
// Clocks are up to 5 % wrong.
replication::MemberOptions member_options(std::uint64_t seed) {
  return {.replica = {.part_bytes = 4u << 10,
                      .trailing_bytes = 2u << 10,
                      .lease_ns = has_leases(seed) ? 80'000'000u : 0,
                      .drift_ppm = 50'000},
          .transfer = {.part_bytes = 5u << 10,
                       .window = 3,
                       .resend_ns = 20'000'000,
                       .silence_ns = 200'000'000},
          .held_log_bytes_max = 96u << 10};
}

}  // namespace

FabricModel ClusterRun::model_of(const ClusterWorldOptions& options, std::uint32_t faults) {
  FabricModel model;
  base::Random random(base::mix_seed(options.seed, 5));
  if ((faults & kGivesUp) != 0) model.give_up_ns = random.between(20 * kMs, 300 * kMs);
  return model;
}

// Which kinds a run has, and few or many of them: what is rare beside all others is common alone.
std::uint32_t ClusterRun::draw_faults() {
  const auto drawn = static_cast<std::uint32_t>(random_());
  const auto fewer = random_.chance(1, 2) ? static_cast<std::uint32_t>(random_()) : ~0u;
  return drawn & fewer & options_.faults;
}

ClusterRun::ClusterRun(const ClusterWorldOptions& options)
    : options_(options),
      random_(base::mix_seed(options.seed, 0xC1)),
      faults_(draw_faults()),
      fabric_(base::mix_seed(options.seed, 1), model_of(options, faults_)) {
  lay_out();
  for (std::size_t i = 0; i < nodes_.size(); ++i) start(i);
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    for (std::size_t k = 0; k < options.clients + options.readers; ++k) {
      const std::size_t number = clients_.size();
      ClusterClient::Place place{.group = groups_[g].id,
                                 .members = {},
                                 .number = k,
                                 .is_space = groups_[g].is_space,
                                 .only_reads = k >= options.clients,
                                 .has_lease = has_leases(options.seed)};
      if (k % 2 == 1) place.accounts = groups_[g].accounts.get();
      for (const std::size_t node : groups_[g].nodes) place.members.push_back(id_of(node));
      SimEndpointOptions endpoint{.self = {fabric::NodeId{kFirstClient + number}, 1},
                                  .is_client = true};
      endpoint.waker = [this, number](std::uint64_t at_ns) { schedule_client(number, at_ns); };
      clients_.push_back({});
      clients_.back().client =
          std::make_unique<ClusterClient>(fabric_, std::move(endpoint), std::move(place),
                                          groups_[g].history, base::mix_seed(options.seed, number));
      schedule_client(number, 1);
    }
  }
}

ClusterRun::~ClusterRun() {
  clients_.clear();
  for (std::size_t i = 0; i < nodes_.size(); ++i) end(i);
}

void ClusterRun::lay_out() {
  for (std::size_t i = 0; i < options_.nodes; ++i) {
    const std::int64_t drift_ppm =
        has(kClockDrift) ? static_cast<std::int64_t>(random_.below(100'000)) - 50'000 : 0;
    nodes_.push_back(
        std::make_unique<Node>(fabric_.queue(), base::mix_seed(options_.seed, i), drift_ppm));
  }
  std::vector<std::size_t> all(options_.nodes);
  groups_.resize(options_.groups);
  for (std::size_t g = 0; g < options_.groups; ++g) {
    Group& group = groups_[g];
    group.id = {5, g + 1};
    group.is_ahead = random_.chance(1, 2);
    // One, because a node has one disk for it, and it costs more than the others.
    group.is_space = options_.memory != nullptr && g == 0;
    if (group.is_space) group.accounts = std::make_unique<AccountsJudge>();
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    const std::size_t members = std::min(options_.nodes, random_.between(3, 5));
    for (std::size_t m = 0; m < members; ++m) {
      std::swap(all[m], all[random_.between(m, all.size() - 1)]);
      group.nodes.push_back(all[m]);
    }
    log::Configuration first;
    for (const std::size_t node : group.nodes) {
      group.ids.push_back(replication::replica_of(id_of(node), 1));
    }
    first.voters = group.ids;
    std::ranges::sort(first.voters);
    for (std::size_t m = members; has(kChanges) && m < std::min(members + 2, all.size()); ++m) {
      group.nodes.push_back(all[m]);
      group.ids.push_back(replication::replica_of(id_of(all[m]), kSpareLife));
    }
    group.judge = std::make_unique<GroupJudge>(JudgedGroup{.first = first});
    for (std::size_t m = 0; m < group.nodes.size(); ++m) {
      Node& node = *nodes_[group.nodes[m]];
      auto journal = open_journal(node);
      if (!journal) return;
      const auto added = journal->add(group.id, group.ids[m], first);
      if (!added || !journal->close()) violated("a journal cannot be made");
      node.machines[group.id] = nullptr;
      if (!group.is_space) continue;
      node.env.memory = options_.memory;
      node.space_disk =
          std::make_unique<SimDisk>(base::mix_seed(options_.seed, 100 + group.nodes[m]));
    }
  }
}

// --- nodes ---------------------------------------------------------------------------------------

std::unique_ptr<replication::Journal> ClusterRun::open_journal(Node& node) {
  const auto open = [&] {
    return replication::Journal::open(node.env, std::make_unique<sys::BorrowedDisk>(*node.disk),
                                      kJournal);
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

void ClusterRun::start(std::size_t i) {
  Node& node = *nodes_[i];
  if (node.member) return;
  node.disk->set_latency(node.clock,
                         {.read_ns = 1'000, .write_ns = 2'000, .sync_ns = node.sync_ns});
  auto journal = open_journal(node);
  if (!journal) return;
  node.endpoint = fabric_.make({.self = {id_of(i), ++node.incarnation},
                                .clock = &node.clock,
                                .waker = [this, i](std::uint64_t at_ns) { schedule(i, at_ns); }});
  node.member = std::make_unique<replication::Member>(node.env, *node.endpoint, std::move(journal),
                                                      member_options(options_.seed));
  for (auto& [group, machine] : node.machines) {
    const auto found = std::ranges::find(groups_, group, &Group::id);
    if (found->is_space) {
      auto space = SpaceTally::open(node.env, *node.space_disk, found->accounts.get());
      if (!space) {
        violated("an image does not open: " + space.error().message());
        return end(i);
      }
      node.space = std::move(*space);
    } else {
      machine = std::make_unique<Tally>(found->is_ahead);
    }
    StateMachine* const its =
        found->is_space ? static_cast<StateMachine*>(node.space.get()) : machine.get();
    const auto hosted = node.member->host(group, *its);
    if (!hosted) {
      violated("a replica is not hosted: " + hosted.error().message());
      return end(i);
    }
    node.judged[group] = found->judge->begins(*node.member->inside(group)->replica);
  }
  look_at(i);
  schedule(i, now_ns());
}

void ClusterRun::start_later(std::size_t i) {
  fabric_.queue().after(1 + random_.below(500 * kMs), [this, i] { start(i); });
}

void ClusterRun::end(std::size_t i) {
  Node& node = *nodes_[i];
  node.member.reset();
  node.endpoint.reset();
  node.space.reset();
  node.disk->clear_faults();
  if (node.space_disk) node.space_disk->clear_faults();
}

void ClusterRun::power_off(std::size_t i) {
  constexpr CrashPlan::Kind kKinds[] = {CrashPlan::Kind::none, CrashPlan::Kind::all,
                                        CrashPlan::Kind::random};
  Node& node = *nodes_[i];
  fabric_.power_off(id_of(i));
  auto left =
      node.disk->crash({.kind = kKinds[random_.below(3)], .argument = random_()}, node.incarnation);
  node.disk->power_off();
  std::unique_ptr<SimDisk> space_left;
  if (node.space_disk) {
    space_left = node.space_disk->crash({.kind = kKinds[random_.below(3)], .argument = random_()},
                                        node.incarnation);
    node.space_disk->power_off();
  }
  end(i);
  node.disk = std::move(left);
  node.space_disk = std::move(space_left);
}

void ClusterRun::schedule(std::size_t i, std::uint64_t at_ns) {
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

void ClusterRun::turn(std::size_t i) {
  Node& node = *nodes_[i];
  if (!node.member) return;
  // It was paused, or is busy, since this turn was asked for.
  if (std::max(node.clock.true_ns(), node.paused_until_ns) > now_ns()) return schedule(i, now_ns());
  const auto turned = node.member->turn();
  look_at(i);
  if (!turned) {
    const Errc code = turned.error().code();
    if (code != Errc::store_failed && code != Errc::no_space && code != Errc::io_error) {
      return violated("a member ended: " + turned.error().message());
    }
    ++result_.disks_ended;
    end(i);
    return start_later(i);
  }
  node.clock.sleep_ns(node.turn_ns);
  if (*turned) return schedule(i, now_ns());
  if (!node.member->wait()) violated("an endpoint failed");
}

void ClusterRun::schedule_client(std::size_t i, std::uint64_t at_ns) {
  Turns& turns = clients_[i].turns;
  const std::uint64_t due_ns = std::max(at_ns, now_ns());
  if (at_ns == kNever || due_ns >= turns.due_ns) return;
  turns = {due_ns, turns.number + 1};
  fabric_.queue().at(due_ns, [this, i, number = turns.number] {
    if (clients_[i].turns.number == number) turn_client(i);
  });
}

void ClusterRun::turn_client(std::size_t i) {
  clients_[i].turns.due_ns = kNever;
  schedule_client(i, clients_[i].client->turn());
  if (!clients_[i].client->violation().empty()) violated(clients_[i].client->violation());
}

// --- judgement -----------------------------------------------------------------------------------

void ClusterRun::look_at(std::size_t i) {
  const Node& node = *nodes_[i];
  for (const auto& [id, machine] : node.machines) {
    const auto group = std::ranges::find(groups_, id, &Group::id);
    const auto inside = node.member->inside(id);
    group->judge->look_at(node.judged.at(id), *inside->replica);
    // Ahead of what is decided its state is nobody else's business.
    const auto value = value_at(node, *group);
    if (value && inside->executed <= inside->replica->stable()) {
      group->judge->executed(inside->executed, *value);
    }
    if (group->judge->violation().empty()) continue;
    violated("group " + std::to_string(id.low) + ": " + group->judge->violation());
  }
}

std::optional<std::size_t> ClusterRun::leader_of(const Group& group) {
  std::optional<std::size_t> leader;
  log::Epoch latest = 0;
  for (const std::size_t i : group.nodes) {
    if (!nodes_[i]->member) continue;
    const log::Replica& replica = *nodes_[i]->member->inside(group.id)->replica;
    if (replica.role() != log::Role::leader || replica.epoch() <= latest) continue;
    leader = i;
    latest = replica.epoch();
  }
  return leader;
}

std::vector<std::size_t> ClusterRun::voters_of(const Group& group,
                                               const log::Configuration& configuration) const {
  std::vector<std::size_t> nodes;
  for (std::size_t m = 0; m < group.nodes.size(); ++m) {
    if (configuration.is_voter(group.ids[m])) nodes.push_back(group.nodes[m]);
  }
  return nodes;
}

bool ClusterRun::agrees(const Group& group) {
  const auto leader = leader_of(group);
  if (!leader) return false;
  const auto right = *nodes_[*leader]->member->status(group.id);
  const std::vector<std::size_t> voters = voters_of(group, right.configuration);
  return std::ranges::all_of(voters, [&](std::size_t i) {
    if (!nodes_[i]->member) return false;
    const auto one = *nodes_[i]->member->status(group.id);
    return one.epoch == right.epoch && one.end == right.end && one.applied == right.end.index &&
           one.stable == right.end.index;
  });
}

bool ClusterRun::is_at_rest() {
  return std::ranges::all_of(clients_, [](const Client& one) { return one.client->is_done(); }) &&
         std::ranges::all_of(groups_, [&](const Group& group) { return agrees(group); });
}

std::optional<std::uint64_t> ClusterRun::value_at(const Node& node, const Group& group) const {
  return group.is_space ? node.space->value() : node.machines.at(group.id)->value();
}

namespace {

/// Where two images first differ.
std::string difference_of(base::Bytes a, base::Bytes b) {
  const auto one = node::decode_image(a);
  const auto other = node::decode_image(b);
  if (!one || !other) return "one is none";
  if (one->head.last_index != other->head.last_index) {
    return "records up to " + std::to_string(one->head.last_index) + " and up to " +
           std::to_string(other->head.last_index);
  }
  if (one->head.space != other->head.space) return "of two spaces";
  for (std::size_t i = 0; i < std::min(one->objects.size(), other->objects.size()); ++i) {
    const node::ImageObject& x = one->objects[i];
    const node::ImageObject& y = other->objects[i];
    const std::string name = "object " + std::to_string(i);
    if (x.id != y.id) return name + " is another one";
    if (x.capacity_log2 != y.capacity_log2) {
      return name + " of " + std::to_string(x.capacity_log2) + " and of " +
             std::to_string(y.capacity_log2);
    }
    for (std::size_t p = 0; p < std::min(x.pages.size(), y.pages.size()); ++p) {
      if (x.pages[p].number != y.pages[p].number ||
          !std::ranges::equal(x.pages[p].bytes, y.pages[p].bytes)) {
        return name + ", pages " + std::to_string(x.pages[p].number) + " and " +
               std::to_string(y.pages[p].number);
      }
    }
    if (x.pages.size() != y.pages.size()) return name + ": number of pages";
  }
  return "number of objects";
}

}  // namespace

/// Transactions over several objects, and reads of many, were one after the other.
void ClusterRun::judge_accounts(Group& group, std::size_t leader) {
  const auto balances = nodes_[leader]->space->balances();
  if (!balances) return violated("accounts: " + balances.error().message());
  const std::string wrong = group.accounts->verdict(*balances);
  if (!wrong.empty()) return violated("accounts: " + wrong);
  result_.accounts = group.accounts->counts();
}

/// Who executed the same has the same bytes.
void ClusterRun::judge_images(const Group& group, const std::vector<std::size_t>& voters) {
  std::optional<std::vector<std::byte>> first;
  for (const std::size_t i : voters) {
    const auto image = nodes_[i]->space->image();
    if (!image) return violated("an image does not read: " + image.error().message());
    if (!first) first = *image;
    if (is_same_image(*first, *image)) continue;
    return violated("group " + std::to_string(group.id.low) + ": node " + std::to_string(i + 1) +
                    " has another image: " + difference_of(*first, *image));
  }
}

void ClusterRun::judge(Group& group) {
  const std::string name = "group " + std::to_string(group.id.low);
  const std::size_t leader = *leader_of(group);
  const auto value = value_at(*nodes_[leader], group);
  const auto status = *nodes_[leader]->member->status(group.id);
  const std::vector<std::size_t> voters = voters_of(group, status.configuration);
  if (group.is_space) judge_accounts(group, leader);
  for (const std::size_t i : voters) {
    const auto its = value_at(*nodes_[i], group);
    if (its && value && *its != *value) {
      return violated(name + ": node " + std::to_string(i + 1) + " has another state");
    }
  }
  if (group.is_space) judge_images(group, voters);
  // What all of them have at the end is one more thing that was seen.
  if (value) group.history.respond(group.history.invoke(99, {.added = 0})).value = *value;
  CounterModel counter;
  const auto judgement = check_linearizability(counter, group.history.operations());
  if (judgement.verdict != Verdict::linearizable) violated(name + ": " + judgement.text);
}

std::string ClusterRun::state() {
  std::string text = "at " + std::to_string(now_ns()) + " ns\n";
  for (const Group& group : groups_) {
    for (const std::size_t i : group.nodes) {
      text += "group " + std::to_string(group.id.low) + " node " + std::to_string(i + 1) + ": ";
      if (!nodes_[i]->member) {
        text += "down\n";
        continue;
      }
      const auto status = *nodes_[i]->member->status(group.id);
      text += (status.role == log::Role::leader ? "leads, epoch " : "epoch ") +
              std::to_string(status.epoch) + ", end " + std::to_string(status.end.index) +
              ", applied " + std::to_string(status.applied) + ", not connected to";
      for (const std::size_t k : group.nodes) {
        if (k != i && !nodes_[i]->endpoint->connected(id_of(k)))
          text += " " + std::to_string(k + 1);
      }
      text += "\n";
    }
  }
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    if (!clients_[i].client->is_done()) text += "client " + std::to_string(i) + " waits\n";
  }
  return text;
}

ClusterWorldResult ClusterRun::run() {
  strikes_until_ns_ = options_.faulty_ns;
  strike();
  change_members();
  fabric_.queue().run_until(options_.faulty_ns);
  heal();
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    clients_[i].client->rest();
    schedule_client(i, now_ns());
  }
  while (result_.violation.empty() && !is_at_rest()) {
    fabric_.run_for(10 * kMs);
    if (now_ns() > options_.faulty_ns + options_.calm_ns) violated("it does not come to rest");
  }
  for (Group& group : groups_) {
    if (result_.violation.empty()) judge(group);
  }
  if (!result_.violation.empty()) result_.state = state();
  for (const Client& one : clients_) {
    result_.answered += one.client->answered();
    result_.reads += one.client->reads();
    result_.attempts += one.client->attempts();
    if (one.client->is_of_space()) result_.in_spaces += one.client->answered();
  }
  result_.trace_hash = fabric_.trace_hash();
  for (const auto& node : nodes_) {
    result_.trace_hash = base::mix_seed(result_.trace_hash, node->disk->trace_hash());
    if (!node->space_disk) continue;
    result_.trace_hash = base::mix_seed(result_.trace_hash, node->space_disk->trace_hash());
  }
  result_.events = fabric_.queue().events_run();
  result_.simulated_ns = now_ns();
  result_.connections_lost = fabric_.counts().connections_lost;
  result_.packets = fabric_.counts().packets;
  return result_;
}

ClusterWorldResult run_cluster_world(const ClusterWorldOptions& options) {
  const auto hooks = [&](bool on) {
    if (options.hooks != nullptr) options.hooks->begin(options.seed, on);
  };
  hooks(false);  // the world is made first
  ClusterRun run(options);
  hooks(base::mix_seed(options.seed, 0xC8) % 2 == 0);
  return run.run();
}

}  // namespace dolmen::sim
