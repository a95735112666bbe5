// SPDX-License-Identifier: Apache-2.0
//
// For tests: a cluster of nodes, its groups as sets of members, and the root group that manages
// them, run from a seed. Nodes die for a while or for ever, lose their disks, are cut off from who
// leads the root; they are added, drained and removed. The leader of the root changes, and deposed
// ones carry on with what they know. What is carried out takes time, fails half-way, or succeeds
// and says that it failed. What becomes of it is judged from the decided commands (root_judge.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "cluster/root_controller.hpp"
#include "cluster/root_judge.hpp"

namespace dolmen::cluster {

/// How often what a campaign is for was reached.
struct RootWorldTally {
  std::uint64_t begun = 0, ended = 0, given_up = 0, corrected = 0, renewed = 0, lost = 0, back = 0,
                removed = 0, leaders = 0, failed_orders = 0, unsaid = 0, by_deposed = 0,
                refused_by_group = 0, restored = 0, judged_groups = 0;
  void add(const RootWorldTally& o) {
    begun += o.begun, ended += o.ended, given_up += o.given_up, corrected += o.corrected;
    renewed += o.renewed, lost += o.lost, back += o.back, removed += o.removed;
    leaders += o.leaders, failed_orders += o.failed_orders, unsaid += o.unsaid;
    by_deposed += o.by_deposed, refused_by_group += o.refused_by_group;
    restored += o.restored, judged_groups += o.judged_groups;
  }
};

class RootWorld {
 public:
  explicit RootWorld(std::uint64_t seed) : random_(seed) {
    loss_ = random_.below(30), failures_ = random_.below(40), unsaid_ = random_.below(30);
    unrest_ = random_.between(1, 12);
    const std::uint64_t count = random_.between(3, 6);
    const std::uint64_t founders = random_.between(1, std::min<std::uint64_t>(count, 5));
    root::Init init{.cluster = {.high = seed, .low = 1},
                    .size = static_cast<std::uint32_t>(random_.between(founders, 5))};
    for (std::uint64_t i = 0; i < founders; ++i) {
      const root::AddNode node = next_node();
      init.nodes.push_back({node.name, node.address, node.identity});
    }
    decide(init);
    for (NodeNumber number = 1; number <= founders; ++number) nodes_[number] = {};
    found(kRootGroup);
    for (std::uint64_t i = founders; i < count; ++i) add_node();
  }

  /// What is wrong, if anything.
  std::optional<std::string> run(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps && judge_.is_content(); ++i) step();
    if (judge_.is_content()) calm_down();
    return judge_.complaint();
  }
  [[nodiscard]] const RootWorldTally& tally() const noexcept { return tally_; }

 private:
  static constexpr std::uint64_t kMs = 1'000'000;
  static constexpr std::size_t kNodes = 9;  ///< at the same time
  static constexpr std::size_t kGroups = 6;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  struct Node {
    bool is_up = true;
    bool is_cut = false;  ///< not heard by who leads the root
    NodeLife life = 1;
    std::uint64_t up_again_ns = 0;  ///< if it is down
    [[nodiscard]] bool is_gone() const { return !is_up && up_again_ns == kNever; }
  };
  /// What a group is, whatever the root believes.
  struct Group {
    std::map<NodeNumber, NodeLife> members{};
    log::Index as_of = 0;
    std::set<NodeNumber> data{};  ///< who was ever a member, with the disk that it has
  };
  struct Leader {
    Leader(std::uint64_t id_, NodeNumber node_, std::uint64_t now_ns,
           const RootControllerOptions& options)
        : id(id_), node(node_), began_ns(now_ns), controller(now_ns, options) {}
    std::uint64_t id;
    NodeNumber node;
    std::uint64_t began_ns;
    RootController controller;
    std::map<NodeNumber, std::uint64_t> heard_ns{};
    std::optional<RootState> frozen{};  ///< deposed: the state as it knows it
  };
  /// An order that is being carried out.
  struct Work {
    std::uint64_t leader = 0;
    ChangeOrder order{};
    std::uint32_t done = 0;  ///< steps: add, leave, say
    std::uint64_t at_ns = 0;
  };
  struct Proposal {
    std::uint64_t at_ns = 0;
    std::uint64_t leader = 0;
    RootCommand command{};
  };

  bool happens(std::uint64_t percent) { return random_.chance(percent, 100); }
  root::AddNode next_node() {
    const std::string name = "n" + std::to_string(++names_);
    NodeIdentity key{};
    key[0] = static_cast<std::byte>(names_);
    key[1] = static_cast<std::byte>(names_ >> 8);
    return {name, name + ":7400", key, static_cast<std::uint32_t>(happens(80) ? 1 : 2)};
  }
  template <class Map>
  typename Map::key_type any_of(const Map& map) {
    return std::next(map.begin(), static_cast<std::ptrdiff_t>(random_.below(map.size())))->first;
  }

  // ------------------------------------------------------------------------------ what there is

  [[nodiscard]] bool votes(NodeNumber number, NodeLife life) const {
    const auto found = nodes_.find(number);
    return found != nodes_.end() && found->second.is_up && found->second.life == life;
  }
  [[nodiscard]] bool decides(const std::map<NodeNumber, NodeLife>& members) const {
    const auto live = std::ranges::count_if(
        members, [&](const auto& member) { return votes(member.first, member.second); });
    return static_cast<std::size_t>(live) * 2 > members.size();
  }
  /// Whether a majority will be there one day, without `number`.
  [[nodiscard]] bool outlives(const Group& group, NodeNumber number) const {
    const auto good = std::ranges::count_if(group.members, [&](const auto& member) {
      const auto found = nodes_.find(member.first);
      return member.first != number && found != nodes_.end() && !found->second.is_gone() &&
             found->second.life == member.second;
    });
    return static_cast<std::size_t>(good) * 2 > group.members.size();
  }
  [[nodiscard]] bool all_outlive(NodeNumber number) const {
    return std::ranges::all_of(groups_, [&](const auto& entry) {
      return !entry.second.members.contains(number) || outlives(entry.second, number);
    });
  }

  void found(GroupNumber number) {
    Group& group = groups_[number];
    for (const NodeNumber member : state_.groups().at(number).founders) {
      group.members[member] = nodes_.at(member).life;
      group.data.insert(member);
    }
    judge_.is_said(number, group.as_of, group.members);
  }
  void become(GroupNumber number, Group& group, std::map<NodeNumber, NodeLife> members) {
    for (const auto& [member, life] : members) group.data.insert(member);
    group.members = std::move(members);
    ++group.as_of;
    judge_.is_said(number, group.as_of, group.members);
  }
  /// The group's own log sees to it that it can decide before and behind.
  bool change(GroupNumber number, NodeNumber in, NodeNumber out) {
    Group& group = groups_.at(number);
    auto members = group.members;
    if (out != 0) members.erase(out);
    if (in != 0) members[in] = nodes_.contains(in) ? nodes_.at(in).life : 0;
    if (members == group.members) return true;
    const bool is_there = in == 0 || (nodes_.contains(in) && nodes_.at(in).is_up);
    if (!is_there || members.empty() || !decides(group.members) || !decides(members)) {
      ++tally_.refused_by_group;
      return false;
    }
    become(number, group, std::move(members));
    return true;
  }

  // ----------------------------------------------------------------------------------- the root

  RootReply decide(const RootCommand& command) {
    const RootState before = state_;
    const RootReply reply = state_.apply(++index_, command);
    judge_.decided(before, command, reply, state_);
    if (replica_.apply(index_, command) != reply) judge_.complain("replicas answer differently");
    if (happens(20)) {
      auto restored = decode_root(encode_root(replica_));
      if (!restored) return judge_.complain("a state is not understood"), reply;
      replica_ = *std::move(restored);
      ++tally_.restored;
    }
    if (encode_root(replica_) != encode_root(state_)) judge_.complain("replicas differ");
    if (reply.status == RootStatus::done) count(command, before);
    return reply;
  }
  void count(const RootCommand& command, const RootState& before) {
    if (const auto* begin = std::get_if<root::BeginChange>(&command)) {
      ++tally_.begun;
      if (begin->add == begin->leave) ++tally_.renewed;
    } else if (const auto* end = std::get_if<root::EndChange>(&command)) {
      const bool is_change = before.groups().at(end->group).change.has_value();
      ++(!is_change ? tally_.corrected : end->is_done ? tally_.ended : tally_.given_up);
    } else if (std::holds_alternative<root::NodeLost>(command)) {
      ++tally_.lost;
    } else if (std::holds_alternative<root::NodeBack>(command)) {
      ++tally_.back;
    } else if (std::holds_alternative<root::RemoveNode>(command)) {
      ++tally_.removed;
    }
  }
  [[nodiscard]] bool root_decides() const { return decides(groups_.at(kRootGroup).members); }

  void add_node() {
    const RootReply reply = decide(next_node());
    if (reply.status == RootStatus::done) nodes_[static_cast<NodeNumber>(reply.value)] = {};
  }
  void create_group() {
    const RootReply reply =
        decide(root::CreateGroup{happens(70) ? GroupKind::space : GroupKind::index,
                                 happens(50) ? "" : "g" + std::to_string(random_.below(100)),
                                 static_cast<std::uint32_t>(random_.between(1, 5))});
    if (reply.status == RootStatus::done) found(static_cast<GroupNumber>(reply.value));
  }
  void remove_node(NodeNumber number) {
    if (decide(root::RemoveNode{number}).status == RootStatus::done) nodes_.erase(number);
  }

  void depose() {
    if (!leader_) return;
    leader_->frozen = state_;
    former_.push_back(std::move(leader_));
    leader_.reset();
  }
  void elect() {
    if (leader_) {
      const auto& members = groups_.at(kRootGroup).members;
      const auto seat = members.find(leader_->node);
      const bool is_voter = seat != members.end() && votes(seat->first, seat->second);
      if (is_voter && root_decides()) return;
      depose();
    }
    if (!root_decides()) return;
    std::map<NodeNumber, NodeLife> able;
    for (const auto& [member, life] : groups_.at(kRootGroup).members) {
      if (votes(member, life)) able[member] = life;
    }
    ++tally_.leaders;
    leader_ = std::make_unique<Leader>(++leaders_, any_of(able), now_ns_, options_);
  }
  [[nodiscard]] Leader* leader_with(std::uint64_t id) {
    if (leader_ && leader_->id == id) return leader_.get();
    for (auto& leader : former_) {
      if (leader->id == id) return leader.get();
    }
    return nullptr;
  }

  // --------------------------------------------------------------------------------------- steps

  void step() {
    now_ns_ += random_.between(1, 60) * kMs;
    const std::uint64_t what = random_.below(1'000);
    if (what < 5 * unrest_) disturb(any_of(nodes_));
    if (what >= 900 && what < 900 + 3 * unrest_) depose();
    if (happens(5)) {
      std::erase_if(former_, [&](const auto&) { return happens(30); });
    }
    if (what >= 960 && leader_) operate();
    rise();
    proceed();
  }

  void proceed() {
    elect();
    hear();
    if (leader_) tick(*leader_, state_);
    for (auto& leader : former_) tick(*leader, *leader->frozen);
    propose();
    work();
  }

  void disturb(NodeNumber number) {
    Node& node = nodes_.at(number);
    const std::uint64_t what = random_.below(100);
    if (what < 30) {
      node.is_cut = !node.is_cut;
      return;
    }
    if (!node.is_up) return;
    const bool is_spare = all_outlive(number);
    if (what < 45 && is_spare && happens(50)) {
      node.is_up = false;
      node.up_again_ns = kNever;
    } else if (what < 60 && is_spare) {
      lose_disk(number, node);
    } else {
      node.is_up = false;
      node.up_again_ns = now_ns_ + random_.between(100, happens(50) ? 900 : 6'000) * kMs;
    }
    std::erase_if(former_, [&](const auto& leader) { return leader->node == number; });
    if (leader_ && leader_->node == number) leader_.reset();
  }
  void lose_disk(NodeNumber number, Node& node) {
    node.is_up = false;
    node.up_again_ns = now_ns_ + random_.between(50, 3'000) * kMs;
    judge_.is_gone(number, node.life);
    node.life = static_cast<NodeLife>(random_.between(2, 1u << 30));
    for (auto& [group_number, group] : groups_) group.data.erase(number);
  }
  void rise() {
    for (auto& [number, node] : nodes_) {
      if (!node.is_up && node.up_again_ns <= now_ns_) node.is_up = true;
    }
  }

  void operate() {
    const NodeNumber number = any_of(nodes_);
    switch (random_.below(9)) {
      case 0:
      case 1:
        if (nodes_.size() < kNodes) add_node();
        break;
      case 2:
        if (groups_.size() < kGroups) create_group();
        break;
      case 3:
        decide(root::Drain{number});
        break;
      case 4:
        decide(root::Undrain{number});
        break;
      case 5:
      case 6:
        remove_unused();
        break;
      case 7:
        decide(root::SetSize{any_of(groups_), static_cast<std::uint32_t>(random_.between(1, 5))});
        break;
      case 8:
        decide(root::AssignShard{0, any_of(groups_)});
        break;
      default:
        break;
    }
  }
  /// Drained ones, and lost ones; sometimes any, which may be refused.
  void remove_unused() {
    for (const auto& [number, node] : state_.nodes()) {
      if (node.state == NodeState::removed || nodes_.size() <= 3) continue;
      const bool is_real = std::ranges::any_of(
          groups_, [&](const auto& entry) { return entry.second.members.contains(number); });
      if (is_real && !state_.is_available(number) && !happens(20)) continue;
      // Who is a member and is not known to be is not removed by any operator who looks.
      if (is_real && !is_known_member(number)) continue;
      if (node.state == NodeState::draining || node.is_lost || happens(5)) {
        return remove_node(number);
      }
    }
  }
  [[nodiscard]] bool is_known_member(NodeNumber number) const {
    return std::ranges::any_of(
        state_.groups(), [&](const auto& entry) { return entry.second.members.contains(number); });
  }

  /// Who lives is heard, also of deposed leaders, and what groups say of themselves.
  void hear() {
    hear(leader_.get());
    for (auto& leader : former_) hear(leader.get());
  }
  void hear(Leader* leader) {
    if (leader == nullptr) return;
    for (const auto& [number, node] : nodes_) {
      if (!node.is_up || (number != leader->node && (node.is_cut || happens(loss_)))) continue;
      leader->controller.heard(number, node.life, now_ns_);
      leader->heard_ns[number] = now_ns_;
      std::vector<GroupNumber> held;
      for (const auto& [group_number, group] : groups_) {
        if (group.data.contains(number)) held.push_back(group_number);
        const auto seat = group.members.find(number);
        if (seat == group.members.end()) continue;
        if (decides(group.members)) {
          leader->controller.observed(group_number, group.as_of, seats(group, number));
        }
      }
      leader->controller.holds(number, held);
    }
  }
  /// As `who` sees them, who knows of itself whether it votes with the disk that it has.
  [[nodiscard]] std::vector<root::Seat> seats(const Group& group, NodeNumber who) const {
    std::vector<root::Seat> all;
    for (const auto& [member, life] : group.members) {
      const bool is_gone = member == who && life != nodes_.at(member).life;
      all.push_back({member, is_gone ? kGoneLife : member == who ? life : NodeLife{0}});
    }
    return all;
  }
  static std::vector<NodeNumber> numbers(const std::map<NodeNumber, NodeLife>& members) {
    std::vector<NodeNumber> all;
    for (const auto& [member, life] : members) all.push_back(member);
    return all;
  }

  void tick(Leader& leader, const RootState& state) {
    RootActions actions = leader.controller.tick(now_ns_, state);
    for (RootCommand& command : actions.proposals) {
      if (const auto* lost = std::get_if<root::NodeLost>(&command)) {
        const std::uint64_t last_ns = std::max(leader.began_ns, leader.heard_ns[lost->node]);
        if (now_ns_ - last_ns < options_.lost_ns) judge_.complain("lost too early");
      }
      // A deposed one's never come to be.
      if (&leader != leader_.get()) continue;
      const std::uint64_t delay_ms = random_.below(happens(4) ? 5'000 : 200);
      proposals_.push_back({now_ns_ + delay_ms * kMs, leader.id, std::move(command)});
    }
    for (ChangeOrder& order : actions.orders) {
      if (&leader != leader_.get()) ++tally_.by_deposed;
      works_.push_back({.leader = leader.id,
                        .order = std::move(order),
                        .at_ns = now_ns_ + random_.between(1, 300) * kMs});
    }
  }

  /// In any order; what a former leader proposed is in the log, or is not.
  void propose() {
    for (std::size_t i = 0; i < proposals_.size();) {
      if (proposals_[i].at_ns > now_ns_) {
        ++i;
        continue;
      }
      std::swap(proposals_[i], proposals_.back());
      const Proposal due = std::move(proposals_.back());
      proposals_.pop_back();
      const bool is_current = leader_ && leader_->id == due.leader;
      if (!root_decides() || (!is_current && happens(50))) continue;
      auto command = decode_root_command(encode(due.command));
      if (!command || *command != due.command)
        return judge_.complain("a command is not understood");
      decide(*command);
    }
  }

  void work() {
    for (std::size_t i = 0; i < works_.size();) {
      if (works_[i].at_ns > now_ns_ || !proceed(works_[i])) {
        ++i;
        continue;
      }
      works_[i] = std::move(works_.back());
      works_.pop_back();
    }
  }
  /// True: it is over.
  bool proceed(Work& work) {
    const ChangeOrder& order = work.order;
    const bool is_same = order.add == order.leave;
    bool is_ok = !happens(failures_);
    if (is_ok && work.done == 0) {
      if (!order.is_stop && order.add != 0) is_ok = add(order, is_same);
    } else if (is_ok && work.done == 1) {
      if (!order.is_stop && !is_same && order.leave != 0)
        is_ok = change(order.group, 0, order.leave);
    } else if (is_ok) {
      is_ok = decides(groups_.at(order.group).members);
    }
    if (is_ok && ++work.done <= 2) {
      work.at_ns = now_ns_ + random_.between(1, happens(20) ? 2'000 : 200) * kMs;
      return false;
    }
    Leader* const leader = leader_with(work.leader);
    if (leader == nullptr) return true;
    if (!is_ok) ++tally_.failed_orders;
    if (is_ok && happens(unsaid_)) ++tally_.unsaid, is_ok = false;
    const Group& group = groups_.at(order.group);
    ChangeReport report{.group = order.group, .since = order.since, .is_done = is_ok};
    if (is_ok) report.as_of = group.as_of, report.members = seats(group, 0);
    leader->controller.finished(report, now_ns_);
    return true;
  }
  bool add(const ChangeOrder& order, bool is_same) {
    const auto& members = groups_.at(order.group).members;
    // Somebody under its number votes already, and is somebody else only if it is to be replaced.
    if (!is_same && members.contains(order.add)) return true;
    if (is_same && !members.contains(order.add)) return false;
    return change(order.group, order.add, 0);
  }

  // ----------------------------------------------------------------------------------- the end

  /// No more faults; everything has to be as it should, and to stay so.
  void calm_down() {
    loss_ = failures_ = unsaid_ = 0;
    former_.clear();
    for (auto& [number, node] : nodes_) {
      node.is_cut = false;
      if (!node.is_gone()) node.is_up = true;
    }
    std::uint64_t quiet_ns = now_ns_;
    log::Index version = 0;
    const std::uint64_t end_ns = now_ns_ + 600'000 * kMs;
    while (judge_.is_content() && now_ns_ - quiet_ns < 20'000 * kMs) {
      now_ns_ += 50 * kMs;
      former_.clear();  // Who does not lead any more hears of it.
      proceed();
      if (std::exchange(version, state_.version()) != state_.version()) quiet_ns = now_ns_;
      if (now_ns_ > end_ns) return judge_.complain("it does not come to rest");
    }
    for (const auto& [number, group] : groups_) {
      if (!judge_.is_content()) return;
      // Of one that began on nodes that were gone already nothing can be expected.
      if (!decides(group.members)) continue;
      ++tally_.judged_groups;
      judge_end(number, group);
    }
  }
  void judge_end(GroupNumber number, const Group& group) {
    const RootGroup& known = state_.groups().at(number);
    const std::string name = "group " + std::to_string(number);
    if (known.change) return judge_.complain(name + ": a change did not end");
    if (numbers(known.members) != numbers(group.members)) {
      return judge_.complain(name + ": the root believes what is not so");
    }
    std::size_t able = 0;
    for (const auto& [node_number, node] : state_.nodes()) {
      const auto real = nodes_.find(node_number);
      if (node.state == NodeState::active && real != nodes_.end() && real->second.is_up) ++able;
    }
    if (able < known.size) return;  // It has what can be had.
    if (group.members.size() != known.size) return judge_.complain(name + ": not of its size");
    for (const auto& [member, life] : group.members) {
      if (!votes(member, life)) return judge_.complain(name + ": a member does not vote");
      if (state_.node(member)->state == NodeState::draining) {
        return judge_.complain(name + ": a draining node has a seat");
      }
    }
  }

  base::Random random_;
  RootControllerOptions options_{.lost_ns = 1'500 * kMs,
                                 .back_ns = 200 * kMs,
                                 .plan_after_ns = 300 * kMs,
                                 .repeat_ns = 300 * kMs,
                                 .retry_ns = 50 * kMs,
                                 .retry_max_ns = 1'000 * kMs};
  std::uint64_t loss_ = 0, failures_ = 0, unsaid_ = 0, unrest_ = 0;  ///< percent, or the like
  std::uint64_t now_ns_ = 0;
  std::uint64_t names_ = 0;
  std::uint64_t leaders_ = 0;
  log::Index index_ = 0;
  RootState state_{};
  RootState replica_{};  ///< the same, now and then from a snapshot
  std::map<NodeNumber, Node> nodes_{};
  std::map<GroupNumber, Group> groups_{};
  std::unique_ptr<Leader> leader_{};
  std::vector<std::unique_ptr<Leader>> former_{};
  std::vector<Proposal> proposals_{};
  std::vector<Work> works_{};
  RootJudge judge_{};
  RootWorldTally tally_{};
};

}  // namespace dolmen::cluster
