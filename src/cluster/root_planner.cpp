// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_planner.hpp"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// In the order in which they are done.
enum class Reason : std::uint8_t { seat_lost, too_few, draining, too_many };

struct Need {
  Reason reason = Reason::seat_lost;
  std::size_t spare = 0;  ///< live members that it may lose yet
  root::BeginChange change{};
};

class Planner {
 public:
  Planner(const RootState& state, const Holdings& holdings)
      : state_(state), holdings_(holdings), seats_(state.seats()) {
    for (const auto& [number, node] : state.nodes()) {
      if (state.is_available(number)) free_.push_back(number);
    }
    // What each would have with one more.
    std::ranges::sort(free_, [this](NodeNumber a, NodeNumber b) {
      const std::size_t with_a = (seats(a) + 1) * weight(b);
      const std::size_t with_b = (seats(b) + 1) * weight(a);
      return std::tie(with_a, a) < std::tie(with_b, b);
    });
  }

  [[nodiscard]] std::optional<root::BeginChange> repair() const {
    std::optional<Need> first;
    for (const auto& [number, group] : state_.groups()) {
      if (group.change) continue;
      const std::optional<Need> need = need_of(number, group);
      if (need && (!first || is_before(*need, *first))) first = need;
    }
    if (!first) return std::nullopt;
    return first->change;
  }

  /// Requires: no change is under way, else what it does would be taken for what is.
  [[nodiscard]] std::optional<root::BeginChange> even_out() const {
    std::optional<root::BeginChange> best;
    bool best_holds = false;
    for (const auto& [number, group] : state_.groups()) {
      if (group.kind == GroupKind::root) continue;
      const std::optional<root::BeginChange> move = move_of(number, group);
      if (!move || !is_allowed(*move)) continue;
      const bool holds = this->holds(number, move->add);
      if (!best || std::pair(gives_up_less(best->leave, move->leave), holds) >
                       std::pair(gives_up_less(move->leave, best->leave), best_holds)) {
        best = move;
        best_holds = holds;
      }
    }
    return best;
  }

 private:
  [[nodiscard]] static bool is_before(const Need& a, const Need& b) {
    return std::tie(a.reason, a.spare, a.change.group) <
           std::tie(b.reason, b.spare, b.change.group);
  }
  [[nodiscard]] bool is_allowed(const root::BeginChange& change) const {
    return state_.judge(change).status == RootStatus::done;
  }
  [[nodiscard]] std::size_t seats(NodeNumber number) const {
    const auto found = seats_.find(number);
    return found == seats_.end() ? 0 : found->second;
  }
  [[nodiscard]] std::uint32_t weight(NodeNumber number) const {
    return state_.nodes().at(number).weight;
  }
  [[nodiscard]] bool holds(GroupNumber group, NodeNumber node) const {
    const auto found = holdings_.find(group);
    return found != holdings_.end() && found->second.contains(node);
  }
  /// With one seat less, `a` would have fewer than `b` for its weight.
  [[nodiscard]] bool gives_up_less(NodeNumber a, NodeNumber b) const {
    return (seats(a) - 1) * weight(b) < (seats(b) - 1) * weight(a);
  }

  /// Who is to get a seat; 0: nobody may.
  [[nodiscard]] NodeNumber newcomer(GroupNumber number, const RootGroup& group) const {
    const auto is_new = [&](NodeNumber node) { return !group.members.contains(node); };
    const auto first = std::ranges::find_if(free_, is_new);
    if (first == free_.end()) return 0;
    const auto holders = holdings_.find(number);
    if (holders == holdings_.end()) return *first;
    NodeNumber best = 0;
    for (const NodeNumber node : holders->second) {
      if (!is_new(node) || !state_.is_available(node)) continue;
      if (best == 0 || is_less_loaded(seats(node), weight(node), seats(best), weight(best))) {
        best = node;
      }
    }
    return best == 0 ? *first : best;
  }

  [[nodiscard]] std::optional<Need> need_of(GroupNumber number, const RootGroup& group) const {
    const auto& members = group.members;
    NodeNumber empty = 0;  // its node is there, with another disk
    NodeNumber lost = 0;   // it does not vote
    NodeNumber draining = 0;
    std::size_t live = 0;
    for (const auto& [member, life] : members) {
      const bool is_live = state_.is_live(group, member);
      if (is_live) ++live;
      if (!is_live && lost == 0) lost = member;
      if (!is_live && state_.is_available(member) && empty == 0) empty = member;
      if (state_.node(member)->state == NodeState::draining && draining == 0) draining = member;
    }
    const std::size_t needed = majority_of(members.size());
    if (live < needed) return std::nullopt;
    const auto need = [&](Reason reason, NodeNumber in, NodeNumber out) -> std::optional<Need> {
      const root::BeginChange change{.group = number, .add = in, .leave = out};
      if (!is_allowed(change)) return std::nullopt;
      return Need{.reason = reason, .spare = live - needed, .change = change};
    };
    std::optional<Need> found;
    if (members.size() > group.size) {
      if (lost != 0) found = need(Reason::seat_lost, 0, lost);
      if (!found && draining != 0) found = need(Reason::draining, 0, draining);
      return found ? found : need(Reason::too_many, 0, most_loaded(group));
    }
    if (lost == 0 && draining == 0 && members.size() == group.size) return std::nullopt;
    if (empty != 0) found = need(Reason::seat_lost, empty, empty);
    const NodeNumber add = newcomer(number, group);
    if (!found && lost != 0 && add != 0) found = need(Reason::seat_lost, add, lost);
    if (!found && members.size() < group.size && add != 0) found = need(Reason::too_few, add, 0);
    if (!found && draining != 0 && add != 0) found = need(Reason::draining, add, draining);
    return found;
  }

  [[nodiscard]] NodeNumber most_loaded(const RootGroup& group) const {
    NodeNumber most = group.members.begin()->first;
    for (const auto& [member, life] : group.members) {
      if (!is_less_loaded(seats(member), weight(member), seats(most), weight(most))) {
        most = member;
      }
    }
    return most;
  }

  /// The move of a seat that evens out most, if it leaves who gave it up with no less than the
  /// other has then. Each such move makes the sum of seats² / weight smaller, so that it ends.
  [[nodiscard]] std::optional<root::BeginChange> move_of(GroupNumber number,
                                                         const RootGroup& group) const {
    NodeNumber from = 0;
    for (const auto& [member, life] : group.members) {
      if (!state_.is_live(group, member)) return std::nullopt;
      if (from == 0 || gives_up_less(from, member)) from = member;
    }
    const auto to =
        std::ranges::find_if(free_, [&](NodeNumber node) { return !group.members.contains(node); });
    if (to == free_.end()) return std::nullopt;
    const std::size_t given_up = DOLMEN_PLANTED("cluster.any_difference") ? 0 : 1;
    if ((seats(from) - given_up) * weight(*to) < (seats(*to) + 1) * weight(from)) {
      return std::nullopt;
    }
    return root::BeginChange{.group = number, .add = *to, .leave = from};
  }

  const RootState& state_;
  const Holdings& holdings_;
  std::map<NodeNumber, std::size_t> seats_;
  std::vector<NodeNumber> free_{};  ///< by what they would have with one seat more
};

}  // namespace

std::optional<root::BeginChange> plan(const RootState& state, const Holdings& holdings,
                                      const PlanOptions& options) {
  // A group without a majority cannot do anything, and is not to hold up the others for ever.
  const auto goes_on = [&](const RootGroup& group) {
    const auto live = static_cast<std::size_t>(std::ranges::count_if(
        group.members, [&](const auto& member) { return state.is_live(group, member.first); }));
    return group.change.has_value() && live >= majority_of(group.members.size());
  };
  const auto changes = static_cast<std::size_t>(std::ranges::count_if(
      state.groups(), [&](const auto& entry) { return goes_on(entry.second); }));
  if (changes >= options.changes_max) return std::nullopt;
  const Planner planner(state, holdings);
  if (auto change = planner.repair()) return change;
  if (changes > 0) return std::nullopt;
  return planner.even_out();
}

}  // namespace dolmen::cluster
