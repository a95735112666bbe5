// SPDX-License-Identifier: Apache-2.0
#include "sim/group_judge.hpp"

#include <algorithm>
#include <utility>

#include "base/checksum.hpp"

namespace dolmen::sim {

namespace {

std::string text(const char* what, std::uint64_t number) {
  return std::string(what) + std::to_string(number);
}

}  // namespace

void GroupJudge::fail(const Seen& seen, const std::string& what) {
  checks_.fail(text("replica ", static_cast<std::uint64_t>(seen.id)) +
               text(" in epoch ", seen.epoch) + ": " + what);
}

const GroupJudge::Known* GroupJudge::known(log::Position place) const {
  if (place.index == 0 || place.index > known_.size()) return nullptr;
  const auto& there = known_[place.index - 1];
  const auto found = std::ranges::find(there, place.origin, &Known::origin);
  return found == there.end() ? nullptr : &*found;
}

const GroupJudge::Seen* GroupJudge::current(log::ReplicaId id) const {
  const auto found = current_.find(id);
  return found == current_.end() ? nullptr : &lives_[found->second];
}

bool GroupJudge::holds(const Seen& seen, log::Position place) {
  if (place.index <= seen.base.index) return true;  // what is forgotten was decided
  return place.index <= seen.end.index && seen.origins[place.index - 1] == place.origin;
}

GroupJudge::Life GroupJudge::begins(const log::Replica& replica) {
  const Life life = lives_.size();
  if (const auto before = current_.find(replica.self()); before != current_.end()) {
    lives_[before->second].is_replaced = true;
  }
  current_[replica.self()] = life;
  lives_.push_back({.id = replica.self(), .epoch = replica.epoch()});
  look_at(life, replica);
  // What it was counted for it has kept (I11), or it lost what it had and votes all the same (I14).
  look_at_what_was_counted(lives_[life], true);
  return life;
}

void GroupJudge::look_at(Life life, const log::Replica& replica) {
  if (!violation().empty()) return;
  Seen& seen = lives_[life];
  if (replica.epoch() < seen.epoch) fail(seen, "its epoch went back (I4)");
  const bool is_new_epoch = replica.epoch() > seen.epoch;
  const bool is_changed = replica.end() != seen.end || replica.base() != seen.base;
  const log::Epoch left = std::exchange(seen.epoch, replica.epoch());
  if (is_changed) look_at_log(seen, replica);
  if (is_new_epoch && group_.one_event_a_step && !replica.leader() && !seen.is_replaced) {
    left_[{seen.id, left}] = seen.end;
  }
  look_at_stable(seen, replica);
  if (is_changed) look_at_what_is_forgotten(seen, replica);
  look_at_leader(seen, replica);
  look_at_counts(seen, replica);
  if (!seen.is_replaced && (is_new_epoch || is_changed || group_.takes_in_at_once)) {
    look_at_what_was_counted(seen, true);
  }
}

// Two logs that have the same place have the same up to it, so a log whose end did not change did
// not change.
void GroupJudge::look_at_log(Seen& seen, const log::Replica& replica) {
  const log::Position base = replica.base();
  const log::Index end = replica.end().index;
  log::Index same = std::min(seen.end.index, end);
  while (same > base.index && seen.origins[same - 1] != replica.at(same).origin) --same;
  if (same < seen.end.index && same >= base.index && same < checks_.decided()) {
    if (seen.origins[same] == checks_.origin_at(same + 1)) {
      fail(seen, text("it drops what is decided (I1, I9): index ", same + 1));
    }
  }
  // A snapshot of what others decided took the place of a log that had gone another way.
  const bool is_other_past = base.index > seen.base.index && same == base.index &&
                             seen.origins[base.index - 1] != base.origin;
  seen.origins.resize(end);
  seen.base = base;
  seen.end = replica.end();
  std::erase_if(seen.marks, [&](const Mark& mark) { return mark.index > same; });
  if (same < base.index || is_other_past) seen.marks.clear();
  for (log::Index i = std::max(same, base.index) + 1; i <= end; ++i) {
    look_at_entry(seen, replica, i);
  }
}

void GroupJudge::look_at_entry(Seen& seen, const log::Replica& replica, log::Index index) {
  const log::Entry& entry = replica.at(index);
  seen.origins[index - 1] = entry.origin;
  if (entry.index != index) return fail(seen, text("no entry of its place (I8): ", index));
  const log::Epoch before = index == 1                     ? 0
                            : index - 1 == seen.base.index ? seen.base.origin
                                                           : seen.origins[index - 2];
  if (entry.origin < before) return fail(seen, text("an earlier origin behind a later: ", index));
  if (entry.origin > seen.epoch) return fail(seen, text("an entry of an epoch to come: ", index));
  const std::uint64_t sum = LogChecks::sum_of(entry);
  if (known_.size() < index) known_.resize(index);
  if (const Known* const same = known(entry.position())) {
    if (same->sum != sum || same->before != before) {
      fail(seen, text("another entry of the same name than was proposed (I13): ", index));
    }
  } else {
    known_[index - 1].push_back(
        {.origin = entry.origin,
         .before = before,
         .sum = sum,
         .command = group_.names_commands ? LogChecks::command_of(entry) : 0});
    if (entry.kind == log::EntryKind::configuration) {
      known_[index - 1].back().configuration = log::decode_configuration(entry.payload).value();
    }
  }
  const bool is_configuration = entry.kind == log::EntryKind::configuration;
  if (is_configuration && !seen.marks.empty() && !seen.marks.back().is_settled) {
    fail(seen, text("a configuration behind one that is not settled (I15): ", index));
  }
  if (is_configuration || entry.kind == log::EntryKind::settled) {
    seen.marks.push_back({index, !is_configuration});
  }
}

void GroupJudge::look_at_stable(Seen& seen, const log::Replica& replica) {
  if (replica.stable() < seen.stable) fail(seen, "its stable index went back (I9)");
  if (replica.stable() == seen.stable) return;
  const log::Index before = checks_.decided();
  for (log::Index i = seen.stable + 1; i <= replica.stable(); ++i) {
    // A snapshot stands for it: of what others decided, or of what it saw decided just now.
    if (i <= seen.base.index && (i <= before || seen.origins[i - 1] == 0)) {
      if (i == checks_.decided() + 1 && is_alone(replica)) {
        checks_.learned_unseen(seen.epoch);
        decided_in_.push_back(seen.epoch);
      }
      continue;
    }
    // Of what it decided and forgot in one step, others will tell.
    if (i > checks_.decided() + 1) return;
    const log::Position place{seen.origins[i - 1], i};
    const Known* const entry = known(place);
    if (entry == nullptr) return fail(seen, text("decided and in no log: ", i));
    checks_.learned_stable(static_cast<std::size_t>(seen.id),
                           {.place = place, .command = entry->command, .sum = entry->sum});
    if (!violation().empty()) return;
    seen.stable = i;
    if (i <= before) continue;
    decided_in_.push_back(seen.epoch);
    if (entry->configuration) configurations_.push_back({i, *entry->configuration});
  }
  seen.stable = replica.stable();
  if (checks_.decided() > before) look_at_decision(seen, replica, before);
}

bool GroupJudge::is_alone(const log::Replica& replica) {
  return replica.role() == log::Role::leader &&
         std::ranges::all_of(replica.deciding(), [&](const log::Configuration& one) {
           return one.voters.size() == 1 && one.is_voter(replica.self());
         });
}

bool GroupJudge::is_held(const log::Configuration& configuration, log::Index index,
                         const Seen& decider, const log::Replica& replica) const {
  const auto may_have_landed = [&](log::ReplicaId id) {
    if (!group_.is_direct) return false;
    // Of who is no member any more a leader forgets what landed there.
    const bool is_known = std::ranges::any_of(
        replica.deciding(), [&](const log::Configuration& one) { return one.is_voter(id); });
    return replica.role() != log::Role::leader || !is_known || replica.matched(id) >= index;
  };
  const auto count = std::ranges::count_if(configuration.voters, [&](log::ReplicaId id) {
    if (id == decider.id) return true;  // its own disk: look_at_decision()
    const Seen* const voter = current(id);
    // A witness that is memory alone is no replica that could be looked at.
    if (voter == nullptr) return may_have_landed(id);
    if (holds(*voter, decided(index))) return true;
    // To be taken in before it goes to another epoch.
    return voter->epoch <= decider.epoch && may_have_landed(id);
  });
  return 2 * static_cast<std::size_t>(count) > configuration.voters.size();
}

void GroupJudge::look_at_decision(const Seen& seen, const log::Replica& replica,
                                  log::Index before) {
  const log::Index last = checks_.decided();
  const auto check = [&](const Configured& configured, log::Index index) {
    if (is_held(configured.configuration, index, seen, replica)) return;
    fail(seen, text("decided, and not held by a majority (I5, I11, I15): index ", index));
  };
  // Rule 9: the old voters decide a configuration together with the new ones.
  for (std::size_t i = configurations_.size(); i-- > 1 && configurations_[i].index > before;) {
    check(configurations_[i - 1], configurations_[i].index);
  }
  check(configurations_.back(), last);
}

void GroupJudge::look_at_leader(Seen& seen, const log::Replica& replica) {
  if (const auto leader = replica.leader(); leader && *leader != seen.id) {
    const auto known_leader = checks_.leader_of(seen.epoch);
    if (known_leader && *known_leader != static_cast<std::size_t>(*leader)) {
      fail(seen, text("it follows another leader than its epoch has (I4): ",
                      static_cast<std::uint64_t>(*leader)) +
                     text(" instead of ", *known_leader));
    }
  }
  if (replica.role() != log::Role::leader || seen.led == seen.epoch) return;
  seen.led = seen.epoch;
  checks_.leads(static_cast<std::size_t>(seen.id), seen.epoch);
  if (replica.is_witness()) fail(seen, "a witness leads");
  for (const log::Configuration& configuration : replica.deciding()) {
    const auto count = std::ranges::count_if(configuration.voters, [&](log::ReplicaId id) {
      const Seen* const voter = current(id);
      if (voter == nullptr) return group_.is_direct;
      return id == seen.id || voter->epoch >= seen.epoch;
    });
    if (2 * static_cast<std::size_t>(count) > configuration.voters.size()) continue;
    fail(seen, "it leads, and no majority has granted that (I5)");
  }
  // What earlier epochs decided is in its log: it chose the latest of a majority's.
  log::Index last = checks_.decided();
  while (last > 0 && decided_in_[last - 1] >= seen.epoch) --last;
  if (last > 0 && !holds(seen, decided(last))) {
    fail(seen, text("it leads without what was decided before (I6, I7): index ", last));
  }
}

void GroupJudge::look_at_what_is_forgotten(const Seen& seen, const log::Replica& replica) {
  if (!violation().empty()) return;
  const log::SnapshotPtr& snapshot = replica.snapshot();
  const log::Position covered = snapshot ? snapshot->last() : log::Position{};
  if (seen.base.index > covered.index || covered.index > replica.stable()) {
    return fail(seen, text("entries forgotten that no snapshot of decided ones has (I12): ",
                           seen.base.index));
  }
  for (const log::Position place : {seen.base, covered}) {
    if (place.index == 0) continue;
    // Decided and forgotten in one step: nobody has told of it yet.
    if (group_.takes_in_at_once && place.index > checks_.decided()) continue;
    if (place.index > checks_.decided() || decided(place.index) != place) {
      return fail(seen, text("a snapshot of what nobody decided (I12): ", place.index));
    }
  }
}

void GroupJudge::look_at_counts(const Seen& seen, const log::Replica& replica) {
  if (replica.role() != log::Role::leader || seen.is_replaced || !violation().empty()) return;
  for (const auto& [id, life] : current_) {
    const log::Index index = replica.matched(id);
    // What it took over from earlier epochs another leader may still replace by something later,
    // until an own entry stands behind it.
    if (index <= seen.base.index || seen.origins[index - 1] != seen.epoch) continue;
    Counted& counted = counted_[id];
    const log::Position place{seen.epoch, index};
    if (place <= counted.last) continue;
    counted.last = place;
    counted.is_taken_away = false;
    const bool is_decided = index <= checks_.decided() && decided(index) == place;
    if (is_decided) counted.decided = place;
    look_at_what_was_counted(lives_[life], false);
  }
}

void GroupJudge::look_at_what_was_counted(const Seen& seen, bool had_its_turn) {
  if (!violation().empty()) return;
  const auto found = counted_.find(seen.id);
  if (found == counted_.end()) return;
  Counted& counted = found->second;
  const log::Position last = counted.last;
  const bool is_decided = last.index <= checks_.decided() && decided(last.index) == last;
  if (is_decided && !counted.is_taken_away) counted.decided = last;
  const auto check = [&](log::Position place) {
    if (place.index == 0 || holds(seen, place)) return;
    const bool has_taken_in = had_its_turn && group_.takes_in_at_once;
    if (group_.is_direct && seen.epoch <= place.origin && !has_taken_in) return;  // in a lane
    fail(seen, text("it lacks what it is counted for (I3, I11, I14): index ", place.index) +
                   text(" of epoch ", place.origin));
  };
  check(counted.decided);
  // A later leader may have taken the rest away; but it had it when it left that epoch.
  if (seen.epoch == last.origin) return check(last);
  if (!is_decided && seen.epoch > last.origin && !holds(seen, last)) counted.is_taken_away = true;
  const auto left = left_.find({seen.id, last.origin});
  if (left == left_.end()) return;
  if (left->second.origin == last.origin && left->second.index >= last.index) return;
  fail(seen, text("it left an epoch without what it is counted for (I3): index ", last.index) +
                 text(" of epoch ", last.origin));
}

void GroupJudge::executed(log::Index index, std::uint64_t state) {
  if (index == 0 || index > checks_.decided() || !violation().empty()) return;
  if (states_.size() < index) states_.resize(index);
  std::optional<std::uint64_t>& there = states_[index - 1];
  if (!there) there = state;
  if (*there != state) checks_.fail(text("two states behind the same entries (I10): ", index));
}

}  // namespace dolmen::sim
