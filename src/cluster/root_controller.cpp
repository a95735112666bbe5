// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_controller.hpp"

#include <algorithm>
#include <utility>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// After so many proposals that did not end a change, what was reported is asked for again.
constexpr std::uint32_t kEndsProposedMax = 3;
constexpr std::uint32_t kDoublingsMax = 16;

bool is_in(const std::vector<root::Seat>& members, NodeNumber node) {
  return std::ranges::binary_search(members, node, {}, &root::Seat::node);
}

/// Whether a group with these members is as the order says.
bool is_as_ordered(const ChangeOrder& order, const std::vector<root::Seat>& members) {
  if (order.is_stop || order.add == order.leave) return true;
  return (order.add == 0 || is_in(members, order.add)) && !is_in(members, order.leave);
}

}  // namespace

void RootController::heard(NodeNumber node, NodeLife life, std::uint64_t now_ns) {
  const auto [place, is_new] = heard_.try_emplace(node);
  Heard& heard = place->second;
  const bool is_other = life != 0 && life != heard.life;
  if (is_new || is_other || now_ns - heard.last_ns >= options_.lost_ns) heard.first_ns = now_ns;
  if (life != 0) heard.life = life;
  heard.last_ns = now_ns;
}

void RootController::holds(NodeNumber node, const std::vector<GroupNumber>& groups) {
  for (auto& [group, nodes] : holdings_) nodes.erase(node);
  for (const GroupNumber group : groups) holdings_[group].insert(node);
  std::erase_if(holdings_, [](const auto& entry) { return entry.second.empty(); });
}

void RootController::observed(GroupNumber group, log::Index as_of,
                              const std::vector<root::Seat>& members) {
  Observed& known = observed_[group];
  if (as_of < known.as_of) return;
  if (as_of > known.as_of || known.members.size() != members.size()) {
    known = {.as_of = as_of, .members = members};
    return;
  }
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i].life != 0) known.members[i] = members[i];
  }
}

void RootController::finished(const ChangeReport& report, std::uint64_t now_ns) {
  const auto found = jobs_.find(report.group);
  if (found == jobs_.end()) return;
  Job& job = found->second;
  if (job.order.since != report.since || !job.is_running) return;
  job.is_running = DOLMEN_PLANTED("cluster.never_again") && !report.is_done;
  if (report.is_done && is_as_ordered(job.order, report.members)) {
    job.failures = 0;
    job.ends_proposed = 0;
    job.end = root::EndChange{.group = report.group,
                              .since = report.since,
                              .as_of = report.as_of,
                              .is_done = !job.order.is_stop,
                              .members = report.members};
    return;
  }
  job.next_ns = now_ns + std::min(options_.retry_max_ns,
                                  options_.retry_ns << std::min(job.failures, kDoublingsMax));
  ++job.failures;
}

/// Of what is given up the members are asked for, and the planner goes on from there.
bool RootController::is_hopeless(const RootState& state, const RootGroup& group,
                                 std::uint32_t failures) const {
  if (DOLMEN_PLANTED("cluster.never_stopped")) return false;
  const RootNode* const node = state.node(group.change->add);
  return (node != nullptr && node->is_lost) || failures >= options_.failures_max ||
         !state.keeps_majority(group, group.change->add, group.change->leave);
}

RootActions RootController::tick(std::uint64_t now_ns, const RootState& state) {
  RootActions actions;
  if (!state.is_begun()) return actions;
  std::erase_if(proposed_,
                [&](const auto& entry) { return now_ns - entry.second >= options_.repeat_ns; });
  watch_nodes(now_ns, state, actions);
  drive_changes(now_ns, state, actions);
  correct(now_ns, state, actions);
  if (now_ns - began_ns_ >= options_.plan_after_ns || DOLMEN_BUGGIFY("cluster.plan_early")) {
    if (const auto change = plan(state, holdings_, options_.plan)) {
      propose(now_ns, *change, actions);
    }
  }
  return actions;
}

void RootController::watch_nodes(std::uint64_t now_ns, const RootState& state,
                                 RootActions& actions) {
  for (const auto& [number, node] : state.nodes()) {
    if (node.state == NodeState::removed) continue;
    const auto found = heard_.find(number);
    const Heard heard = found == heard_.end() ? Heard{} : found->second;
    std::uint64_t last_ns = std::max(began_ns_, heard.last_ns);
    if (DOLMEN_PLANTED("cluster.lost_before_heard")) last_ns = heard.last_ns;
    const bool is_silent = now_ns - last_ns >= options_.lost_ns;
    if (is_silent) {
      if (!node.is_lost) propose(now_ns, root::NodeLost{number}, actions);
      continue;
    }
    if (found == heard_.end()) continue;
    if (heard.life != 0 && heard.life != node.life) {
      // Before it is back: until this is known its seats would seem to be what they were.
      propose(now_ns, root::SetLife{number, heard.life}, actions);
    } else if (node.is_lost && heard.last_ns - heard.first_ns >= options_.back_ns) {
      propose(now_ns, root::NodeBack{number}, actions);
    }
  }
  std::erase_if(heard_, [&](const auto& entry) { return state.node(entry.first) == nullptr; });
}

void RootController::drive_changes(std::uint64_t now_ns, const RootState& state,
                                   RootActions& actions) {
  // What is running for a change that ended is not waited for.
  std::erase_if(jobs_, [&](const auto& entry) {
    const RootGroup* const group = state.group(entry.first);
    return group == nullptr || !group->change || group->change->since != entry.second.order.since;
  });
  for (const auto& [number, group] : state.groups()) {
    if (!group.change) continue;
    const auto& [add, add_life, leave, since] = *group.change;
    const RootNode* const node = state.node(add);
    const auto [place, is_new] = jobs_.try_emplace(number);
    Job& job = place->second;
    if (is_new) {
      job.order = {.group = number, .since = since, .add = add, .leave = leave};
      // As if whoever led before would go on with it.
      job.is_running = DOLMEN_PLANTED("cluster.change_left_to_others") &&
                       now_ns - began_ns_ < options_.plan_after_ns;
    }
    if (!job.is_running && !job.end) {
      job.order.address = node == nullptr ? std::string() : node->address;
      job.order.is_stop = is_hopeless(state, group, job.failures);
    }
    drive(now_ns, job, actions);
  }
}

void RootController::drive(std::uint64_t now_ns, Job& job, RootActions& actions) {
  if (job.is_running) return;
  if (job.end) {
    if (!propose(now_ns, *job.end, actions)) return;
    if (++job.ends_proposed <= kEndsProposedMax) return;
    job.end.reset();
  }
  if (now_ns < job.next_ns) return;
  job.is_running = true;
  actions.orders.push_back(job.order);
}

void RootController::correct(std::uint64_t now_ns, const RootState& state, RootActions& actions) {
  for (const auto& [number, known] : observed_) {
    const RootGroup* const group = state.group(number);
    if (group == nullptr || group->change || known.as_of < group->as_of) continue;
    const bool is_same = std::ranges::equal(
        known.members, group->members, [](const root::Seat& seat, const auto& member) {
          return seat.node == member.first && (seat.life == 0 || seat.life == member.second);
        });
    const bool is_known = std::ranges::all_of(
        known.members, [&](const root::Seat& seat) { return state.node(seat.node) != nullptr; });
    if (is_same || !is_known || DOLMEN_PLANTED("cluster.never_corrected")) continue;
    propose(now_ns,
            root::EndChange{.group = number, .as_of = known.as_of, .members = known.members},
            actions);
  }
}

bool RootController::propose(std::uint64_t now_ns, RootCommand command, RootActions& actions) {
  if (!proposed_.try_emplace(encode(command), now_ns).second) return false;
  actions.proposals.push_back(std::move(command));
  return true;
}

}  // namespace dolmen::cluster
