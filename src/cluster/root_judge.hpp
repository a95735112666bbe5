// SPDX-License-Identifier: Apache-2.0
//
// For tests: what is wrong with what a root group decided, judged from the commands, from the
// states before and behind them, and from what the groups themselves were. It shares no rule with
// the code that it judges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cluster/root.hpp"

namespace dolmen::cluster {

class RootJudge {
 public:
  [[nodiscard]] bool is_content() const noexcept { return !complaint_; }
  [[nodiscard]] const std::optional<std::string>& complaint() const noexcept { return complaint_; }
  void complain(std::string what) {
    if (!complaint_) complaint_ = std::move(what);
  }

  /// A group has these members from `as_of` of its log on.
  void is_said(GroupNumber group, log::Index as_of, const std::map<NodeNumber, NodeLife>& members) {
    said_[{group, as_of}] = members;
  }

  /// The node lost this disk.
  void is_gone(NodeNumber node, NodeLife life) { gone_.insert({node, life}); }

  void decided(const RootState& before, const RootCommand& command, const RootReply& reply,
               const RootState& behind) {
    if (reply.status != RootStatus::done && !(before == behind)) complain("a trace of a refusal");
    if (reply.status != RootStatus::done) return;
    judge_numbers(behind);
    if (const auto* begin = std::get_if<root::BeginChange>(&command)) judge_begin(before, *begin);
    if (const auto* end = std::get_if<root::EndChange>(&command)) judge_end(before, *end);
    if (const auto* removed = std::get_if<root::RemoveNode>(&command)) {
      for (const auto& [number, group] : behind.groups()) {
        if (group.members.contains(removed->node)) complain("a removed node has a seat");
      }
    }
  }

 private:
  /// A number means the same node, or group, for ever.
  void judge_numbers(const RootState& state) {
    for (const auto& [number, node] : state.nodes()) {
      if (nodes_.try_emplace(number, node.name).first->second != node.name) {
        complain("a node has the number of another one");
      }
    }
    for (const auto& [number, group] : state.groups()) {
      if (groups_.try_emplace(number, group.founders).first->second != group.founders) {
        complain("a group has the number of another one");
      }
    }
  }

  /// A member that is there, as far as the root can know.
  static bool is_there(const RootState& state, NodeNumber node, NodeLife life) {
    const RootNode& known = state.nodes().at(node);
    return known.state != NodeState::removed && !known.is_lost && known.life == life;
  }
  static bool has_majority(const RootState& state, const std::map<NodeNumber, NodeLife>& members) {
    std::size_t there = 0;
    for (const auto& [member, life] : members) there += is_there(state, member, life) ? 1 : 0;
    return 2 * there > members.size();
  }

  void judge_begin(const RootState& state, const root::BeginChange& begin) {
    const RootGroup& group = state.groups().at(begin.group);
    if (group.change) complain("two changes of one group");
    auto members = group.members;
    bool is_safe = has_majority(state, members);
    if (begin.add != 0) {
      const RootNode& node = state.nodes().at(begin.add);
      if (node.state != NodeState::active || node.is_lost) complain("a seat for who gives his up");
      members[begin.add] = node.life;
      is_safe = is_safe && has_majority(state, members);
    }
    if (begin.leave != 0 && begin.leave != begin.add) {
      members.erase(begin.leave);
      is_safe = is_safe && has_majority(state, members);
    }
    if (!is_safe) complain("a change that leaves no majority");
  }

  void judge_end(const RootState& state, const root::EndChange& end) {
    const RootGroup& group = state.groups().at(end.group);
    if (end.since != (group.change ? group.change->since : 0)) complain("another change ended");
    if (end.as_of < group.as_of) complain("what is older was believed");
    const auto said = said_.find({end.group, end.as_of});
    if (said == said_.end()) return complain("members of no time");
    const bool is_so = std::ranges::equal(
        end.members, said->second, [this](const root::Seat& seat, const auto& member) {
          return seat.node == member.first &&
                 (seat.life == 0 || seat.life == member.second ||
                  (seat.life == kGoneLife && gone_.contains({seat.node, member.second})));
        });
    if (!is_so) complain("members that never were");
  }

  std::optional<std::string> complaint_{};
  std::map<NodeNumber, std::string> nodes_{};
  std::map<GroupNumber, std::vector<NodeNumber>> groups_{};
  std::set<std::pair<NodeNumber, NodeLife>> gone_{};
  std::map<std::pair<GroupNumber, log::Index>, std::map<NodeNumber, NodeLife>> said_{};
};

}  // namespace dolmen::cluster
