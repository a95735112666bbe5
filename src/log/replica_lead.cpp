// SPDX-License-Identifier: Apache-2.0
//
// Candidates and leaders.
#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

namespace {
/// Entries that may be on their way to a follower without an answer.
constexpr Index kInFlightMax = 1024;
}  // namespace

std::uint64_t Replica::next_wakeup_ns() const noexcept {
  const bool watches = role_ == Role::follower && leader_.has_value();
  std::uint64_t wakeup_ns = watches ? detector_.next_look_ns() : deadline_ns_;
  if (role_ == Role::candidate) wakeup_ns = std::min(wakeup_ns, asked_ns_ + options_.resend_ns);
  if (role_ != Role::leader) return wakeup_ns;
  if (members_not_before_ns_ != 0) wakeup_ns = std::min(wakeup_ns, members_not_before_ns_);
  wakeup_ns = std::min(wakeup_ns, hand_over_due_ns());
  for (const Peer& follower : peers_) {
    wakeup_ns = std::min(wakeup_ns, follower.sent_ns + options_.heartbeat_ns);
    if (follower.spared_ns != 0) {
      wakeup_ns = std::min(wakeup_ns, follower.spared_ns + options_.spare_ns);
    }
    if (follower.waits_ns != 0) {
      wakeup_ns = std::min(wakeup_ns, follower.waits_ns + options_.resend_ns);
    }
  }
  return wakeup_ns;
}

void Replica::tick(std::uint64_t now_ns) {
  see_clock(now_ns);
  poll();
  if (is_superseded_) return rest_until_silence(now_ns);
  if (role_ == Role::leader) return tick_as_leader(now_ns);
  if (role_ == Role::candidate && now_ns >= asked_ns_ + options_.resend_ns) ask_again(now_ns);
  const bool is_impatient = DOLMEN_BUGGIFY("log.impatient");
  if (role_ == Role::follower && leader_) {
    const bool is_silent = now_ns >= detector_.next_look_ns() && detector_.look(now_ns);
    if (!is_silent && !is_impatient) return;
    suspected_epoch_ = epoch_;
  } else if (now_ns < deadline_ns_ && !is_impatient) {
    return;
  }
  // A disk that is slower than the patience would else never let an epoch become durable.
  if (!can_lead() || epoch_record_ > records_durable_) return rest_until_silence(now_ns);
  if (is_bound(now_ns, self_)) {
    leader_.reset();
    deadline_ns_ = promised_until_ns_;
    return;
  }
  start_probe(now_ns);
}

void Replica::tick_as_leader(std::uint64_t now_ns) {
  if (members_not_before_ns_ != 0 && now_ns >= members_not_before_ns_) {
    members_not_before_ns_ = 0;
    count_matches(now_ns);
    if (role_ != Role::leader) return;
  }
  if (is_handing_over_ && go_on_handing_over(now_ns)) return;
  if (now_ns >= deadline_ns_) {
    // A leader that no majority answers is none: it stops taking what it cannot decide.
    const bool is_heard = majority_is(true, [&](const Peer& follower) {
      return now_ns < follower.heard_ns + 2 * options_.silence_ns;
    });
    if (!is_heard) return give_up(now_ns, stable_ < opening_);
    rest_until_silence(now_ns);
  }
  if (is_stuck(now_ns) && !DOLMEN_PLANTED("log.counter_never_stops")) {
    // Who is heard and decides nothing is no leader either. Another one may be able to, and gets
    // the time to try.
    DOLMEN_PROBE("log.stuck");
    ++stalls_;
    return give_up(now_ns, true);
  }
  for (Peer& follower : peers_) {
    if (follower.is_memory) {
      tick_memory(now_ns, follower);
      continue;
    }
    const bool is_late =
        follower.waits_ns != 0 &&
        (now_ns >= follower.waits_ns + options_.resend_ns || DOLMEN_BUGGIFY("log.send_again"));
    if (is_late) {
      retry(now_ns, follower, follower.in_step ? follower.matched : follower.sent);
    } else if (now_ns >= follower.sent_ns + options_.heartbeat_ns ||
               (follower.spared_ns != 0 && now_ns >= follower.spared_ns + options_.spare_ns)) {
      send_entries(now_ns, follower);
    }
    if (memory_ == nullptr) continue;
    begin_direct(now_ns, follower);
    if (!follower.is_direct) want_lane(now_ns, follower);
  }
}

// Who led in vain leaves the others more time to try than they take, however patient they became:
// whatever hinders it may hinder it alone.
void Replica::give_up(std::uint64_t now_ns, bool was_in_vain) {
  follow(now_ns);
  if (!was_in_vain) return;
  deadline_ns_ = now_ns + 8 * options_.silence_ns + random_.below(4 * options_.silence_ns);
}

// Where disks are slow this patience grows, as far as that of candidates does, or nobody would
// lead.
bool Replica::is_stuck(std::uint64_t now_ns) {
  if (stable_ != seen_stable_ || stable_ == last_index()) {
    seen_stable_ = stable_;
    stands_still_ns_ = now_ns;
  }
  return now_ns >= stands_still_ns_ + (4 * options_.silence_ns << std::min(stalls_, 2u));
}

void Replica::start_probe(std::uint64_t now_ns) {
  role_ = Role::candidate;
  stage_ = Stage::probing;
  probed_ns_ = now_ns;
  leader_.reset();
  fetched_.clear();
  incoming_ = {};
  rest_until_silence(now_ns);
  for (Peer& voter : peers_) voter.granted = false;
  forget_operations();
  ask_the_rest(now_ns);
  count_grants(now_ns);
}

void Replica::start_asking(std::uint64_t now_ns) {
  record_epoch(epoch_ + 1, self_);
  stage_ = Stage::asking;
  ++attempts_;
  rest_until_silence(now_ns);
  for (Peer& voter : peers_) voter.granted = voter.refused = false;
  ask_the_rest(now_ns);
  count_grants(now_ns);
}

bool Replica::goes_before(ReplicaId other, Position its_end) const noexcept {
  return end() != its_end ? end() > its_end : self_ < other;
}

// Two that probe at the same time and said yes to each other would both ask, and split the votes.
// So the one that goes before keeps silent at first and lets the other know; which lets it go, once
// in an epoch: it may be one that cannot win.
bool Replica::meet_candidate(std::uint64_t now_ns, ReplicaId from, const Message& probe) {
  if (role_ != Role::candidate || stage_ != Stage::probing) return true;
  if (goes_before(from, probe.position)) {
    if (now_ns >= probed_ns_ + options_.resend_ns) return true;
    send(from, {.kind = MessageKind::probe, .epoch = epoch_ + 1, .position = end()});
    return false;
  }
  const bool did_already = gave_way_to_ == from && gave_way_epoch_ == probe.epoch;
  if (!did_already) {
    DOLMEN_PROBE("log.gave_way");
    gave_way_to_ = from;
    gave_way_epoch_ = probe.epoch;
    follow(now_ns);
  }
  return true;
}

void Replica::on_refuse(std::uint64_t now_ns, Peer* from, const Message& message) {
  if (message.epoch > epoch_) return enter_epoch(now_ns, message.epoch, ReplicaId{});
  const bool is_asking = role_ == Role::candidate && stage_ == Stage::asking;
  if (!is_asking || message.epoch != epoch_ || from == nullptr || from->refused) return;
  from->refused = true;
  if (majority_is(true, [](const Peer& voter) { return !voter.refused; })) return;
  // Votes were split, or another one has them: there is nothing to wait for.
  DOLMEN_PROBE("log.split");
  const std::uint64_t pause_ns = random_.below(options_.heartbeat_ns << std::min(attempts_, 4u));
  deadline_ns_ = std::min(deadline_ns_, now_ns + 1 + pause_ns);
}

void Replica::ask_again(std::uint64_t now_ns) {
  if (stage_ == Stage::fetching) return fetch_more(now_ns);
  ask_the_rest(now_ns);
}

void Replica::ask_the_rest(std::uint64_t now_ns) {
  asked_ns_ = now_ns;
  for (Peer& voter : peers_) {
    if (voter.granted) continue;
    if (voter.is_memory) {
      ask_memory(voter);
    } else if (stage_ == Stage::probing) {
      send(voter.id, {.kind = MessageKind::probe, .epoch = epoch_ + 1, .position = end()});
    } else {
      send(voter.id, {.kind = MessageKind::ask, .epoch = epoch_});
    }
  }
}

void Replica::on_grant(std::uint64_t now_ns, Peer& from, const Message& message) {
  const bool expected = message.kind == MessageKind::probe_yes
                            ? stage_ == Stage::probing && message.epoch == epoch_ + 1
                            : stage_ == Stage::asking && (message.epoch == epoch_ ||
                                                          DOLMEN_PLANTED("log.grant_of_any_epoch"));
  if (role_ != Role::candidate || !expected) return;
  from.granted = true;
  from.end = message.position;
  count_grants(now_ns);
}

void Replica::count_grants(std::uint64_t now_ns) {
  if (stage_ == Stage::fetching) return;
  if (stage_ == Stage::asking && epoch_record_ > records_durable_) return;  // its own grant
  const bool by_one = DOLMEN_PLANTED("log.lead_by_minority");
  if (!by_one && !majority_is(true, [](const Peer& voter) { return voter.granted; })) return;
  if (stage_ == Stage::probing) return start_asking(now_ns);
  // The latest log among the granters: all that may have been decided is in it.
  const Peer* latest = nullptr;
  for (const Peer& voter : peers_) {
    if (!voter.granted) continue;
    if (DOLMEN_PLANTED("log.adopt_longest")) {
      if (voter.end.index > (latest == nullptr ? end() : latest->end).index) latest = &voter;
    } else if (voter.end > (latest == nullptr ? end() : latest->end)) {
      latest = &voter;
    }
  }
  if (latest == nullptr || DOLMEN_PLANTED("log.adopt_own")) return lead(now_ns);
  if (latest->is_memory) return adopt_from_memory(now_ns, *peer(latest->id));
  DOLMEN_PROBE("log.fetched");
  stage_ = Stage::fetching;
  source_ = latest->id;
  source_end_ = latest->end;
  fetched_.clear();
  fetch_more(now_ns);
}

// Behind stable(): up to there all logs are the same.
void Replica::fetch_more(std::uint64_t now_ns) {
  asked_ns_ = now_ns;
  send(source_, {.kind = MessageKind::fetch,
                 .epoch = epoch_,
                 .position = {0, stable_ + fetched_.size()},
                 .stable = incoming_.from == source_ ? incoming_.bytes.size() : 0});
}

void Replica::on_fetched(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (role_ != Role::candidate || stage_ != Stage::fetching || from != source_) return;
  const Position before = fetched_.empty() ? position_at(stable_) : fetched_.back().position();
  if (message.epoch != epoch_ || message.position != before || message.entries.empty()) return;
  if (message.entries.back().index > source_end_.index) return;
  fetched_.insert(fetched_.end(), message.entries.begin(), message.entries.end());
  rest_until_silence(now_ns);
  if (fetched_.back().index < source_end_.index) return fetch_more(now_ns);
  finish_fetching(now_ns);
}

void Replica::finish_fetching(std::uint64_t now_ns) {
  // Another log than was granted: no peer of ours; the next attempt starts when patience ends.
  const Position last = fetched_.empty() ? end() : fetched_.back().position();
  if (last != source_end_ || !take_over(fetched_)) return fetched_.clear();
  fetched_.clear();
  // The log that was taken over may name other voters, who then have to grant as well.
  stage_ = Stage::asking;
  ask_the_rest(now_ns);
  count_grants(now_ns);
}

void Replica::lead(std::uint64_t now_ns) {
  if (is_superseded_) return;
  DOLMEN_PROBE("log.led");
  role_ = Role::leader;
  attempts_ = 0;
  seen_stable_ = stable_;
  stands_still_ns_ = now_ns;
  leader_ = self_;
  rest_until_silence(now_ns);
  const Index adopted = last_index();
  append({.origin = epoch_, .index = adopted + 1, .kind = EntryKind::opening});
  opening_ = adopted + 1;
  own_written_ = adopted;
  own_counted_ = 0;
  direct_from_ns_ = now_ns + options_.heartbeat_ns;
  members_not_before_ns_ = 0;
  for (Peer& follower : peers_) {
    AtWitness there = std::move(follower.at_witness);
    there.latest.reset();
    follower = {.id = follower.id,
                .heard_ns = now_ns,
                .is_memory = follower.is_memory,
                .at_witness = std::move(there)};
    if (follower.is_memory) continue;
    retry(now_ns, follower, adopted);
    if (memory_ != nullptr) want_lane(now_ns, follower);
  }
  count_matches(now_ns);
  for (Peer& follower : peers_) {
    if (role_ == Role::leader && follower.is_memory) tick_memory(now_ns, follower);
  }
}

std::optional<Position> Replica::propose(std::uint64_t now_ns, std::vector<std::byte> payload) {
  const auto where = propose_unsent(std::move(payload));
  send_proposed(now_ns);
  return where;
}

std::optional<Position> Replica::propose_unsent(std::vector<std::byte> payload) {
  if (role_ != Role::leader || payload.size() > kPayloadBytesMax) return std::nullopt;
  append({.origin = epoch_, .index = last_index() + 1, .payload = std::move(payload)});
  if (unsent_ == 0) unsent_ = last_index();
  const Position where = end();
  return where;
}

void Replica::send_proposed(std::uint64_t now_ns) {
  see_clock(now_ns);
  const Index first = std::exchange(unsent_, 0);
  if (role_ != Role::leader || first == 0) return;
  distribute(now_ns, first);
  count_matches(now_ns);
}

/// Those that a majority of each configuration can do without: the ones with the shortest logs.
void Replica::choose_spared(std::uint64_t now_ns) {
  if (options_.spare_ns == 0 || memory_ != nullptr) return;
  constexpr std::size_t kConfigurationsMax = 2;
  std::array<Peer*, kConfigurationsMax * kMembersMax> places;
  std::size_t in_step = 0;
  for (Peer& follower : peers_) {
    if (follower.in_step) places[in_step++] = &follower;
  }
  // Of equals always the same ones, or they would take turns.
  const std::span followers = std::span(places).first(in_step);
  std::ranges::sort(followers, [](const Peer* one, const Peer* other) {
    return one->matched != other->matched ? one->matched > other->matched : one < other;
  });
  const std::span<const Configured> configurations = counting();
  std::array<std::size_t, kConfigurationsMax> reached{};
  DOLMEN_ASSERT_CMP(configurations.size(), <=, reached.size());
  const auto count = [&](ReplicaId id) {
    bool is_needed = false;
    for (std::size_t i = 0; i < configurations.size(); ++i) {
      const Configuration& one = configurations[i].configuration;
      if (!one.is_voter(id)) continue;
      is_needed |= reached[i] < one.voters.size() / 2 + 1;
      ++reached[i];
    }
    return is_needed;
  };
  (void)count(self_);
  for (Peer* const follower : followers) {
    if (!count(follower->id)) {
      if (follower->spared_ns == 0) follower->spared_ns = now_ns;
      DOLMEN_PROBE("log.spared");
    } else if (follower->spared_ns != 0) {
      send_entries(now_ns, *follower);
    }
  }
}

void Replica::distribute(std::uint64_t now_ns, Index first) {
  land_own(now_ns);
  choose_spared(now_ns);
  for (Peer& follower : peers_) {
    if (follower.is_memory) {
      write_memory(follower);
    } else if (follower.is_direct) {
      write_lane(now_ns, follower);
    } else if (follower.in_step && follower.sent + 1 == first && follower.spared_ns == 0) {
      send_entries(now_ns, follower);
    }
  }
}

std::optional<Position> Replica::propose(std::uint64_t now_ns, const Configuration& next) {
  if (role_ != Role::leader || stable_ < opening_) return std::nullopt;
  if (!settled() && !DOLMEN_PLANTED("log.two_configurations")) return std::nullopt;
  DOLMEN_PROBE("log.configuration_proposed");
  see_clock(now_ns);
  if (lent_until_ns_ > now_ns) members_not_before_ns_ = lent_until_ns_;
  append({.origin = epoch_,
          .index = last_index() + 1,
          .kind = EntryKind::configuration,
          .payload = encode(next)});
  return send_last(now_ns);
}

/// To everybody who has got everything before it.
Position Replica::send_last(std::uint64_t now_ns) {
  distribute(now_ns, last_index());
  const Position last = end();
  count_matches(now_ns);
  return last;
}

// To a follower that is in step, what it has not been sent; else what follows on the place that is
// being tried. Without entries it is a heartbeat.
void Replica::send_entries(std::uint64_t now_ns, Peer& follower) {
  follower.spared_ns = 0;
  if (follower.is_direct) {
    if (follower.matched >= base_.index) {
      // Of what has landed, so that it does not arrive before that.
      follower.sent_ns = now_ns;
      return send(follower.id, {.kind = MessageKind::append,
                                .epoch = epoch_,
                                .position = position_at(follower.matched),
                                .stable = stable_,
                                .round = ask_in_round(follower)});
    }
    abandon_lane(follower);
    follower.sent = follower.matched;
  }
  if (follower.sent < base_.index) {
    follower.in_step = false;  // what it lacks is gone
    return send_part(now_ns, follower, follower.sending != nullptr);
  }
  follower.sending.reset();
  Message message{.kind = MessageKind::append,
                  .epoch = epoch_,
                  .position = position_at(follower.sent),
                  .stable = stable_,
                  .round = ask_in_round(follower)};
  std::size_t bytes = 0;
  Index next = follower.sent;
  const Index last =
      follower.in_step ? std::min(last_index(), follower.matched + kInFlightMax) : last_index();
  for (; next < last; ++next) {
    const Entry& entry = at(next + 1);
    bytes += kEntryHeaderBytes + entry.payload.size();
    const bool is_full = bytes > options_.message_bytes || DOLMEN_BUGGIFY("log.one_entry");
    if (is_full && !message.entries.empty()) break;
    message.entries.push_back(entry);
  }
  follower.sent_ns = now_ns;
  if (follower.waits_ns == 0 && !message.entries.empty()) follower.waits_ns = now_ns;
  if (follower.in_step) follower.sent = next;
  send(follower.id, std::move(message));
}

void Replica::retry(std::uint64_t now_ns, Peer& follower, Index behind) {
  if (follower.is_direct) abandon_lane(follower);
  follower.in_step = false;
  follower.sent = behind;
  follower.waits_ns = 0;
  follower.spared_ns = 0;  // all of it is sent again
  follower.parts_taken = follower.parts_said;
  if (behind < base_.index) return send_part(now_ns, follower, false);
  send_entries(now_ns, follower);
}

void Replica::on_answer(std::uint64_t now_ns, Peer& from, const Message& message) {
  if (role_ != Role::leader || message.epoch != epoch_) return;
  from.heard_ns = now_ns;
  hear_round(from, message.round);
  hear_promise(now_ns, from, message);
  const Index index = message.position.index;
  if (index > last_index()) return;  // none of ours says so
  if (message.kind == MessageKind::mismatch) {
    // An answer to something older, or one that leads nowhere new, is left to the timer: else two
    // replicas that do not understand each other would never stop talking.
    const Index behind = std::max(from.matched, index);
    const bool is_current =
        from.in_step ? message.stable > from.matched : message.stable == from.sent;
    if (is_current && behind < message.stable) retry(now_ns, from, behind);
    return;
  }
  if (index > from.matched) {
    from.matched = index;
    from.waits_ns = from.matched < from.sent ? now_ns : 0;
  }
  // It has that snapshot; what follows on it may be gone by now as well.
  if (from.sending && from.sending->last().index <= from.matched) from.sending.reset();
  if (!from.in_step && index >= from.sent && index >= base_.index) {
    from.in_step = true;
    from.sent = index;
    from.waits_ns = 0;
  }
  from.sent = std::max(from.sent, from.matched);
  if (memory_ != nullptr) begin_direct(now_ns, from);
  const bool is_spared = from.spared_ns != 0;
  if (from.in_step && !from.is_direct && !is_spared && from.sent < last_index()) {
    send_entries(now_ns, from);
  }
  count_matches(now_ns);  // and then `from` may be a member no more
}

Index Replica::matched(ReplicaId member) const noexcept {
  if (member != self_) {
    const Peer* const follower = peer(member);
    return follower == nullptr ? 0 : follower->matched;
  }
  if (DOLMEN_PLANTED("log.own_unsynced")) return last_index();
  return memory_ != nullptr ? own_counted_ : durable();
}

Index Replica::held_by_majority(const Configuration& configuration) const {
  std::array<Index, kMembersMax> places;
  const std::span held = std::span(places).first(configuration.voters.size());
  std::ranges::transform(configuration.voters, held.begin(),
                         [&](ReplicaId id) { return matched(id); });
  std::ranges::sort(held, std::greater<>());
  std::size_t needed = held.size() / 2 + 1;
  if (DOLMEN_PLANTED("log.decide_by_minority") && needed > 1) --needed;
  return held[needed - 1];
}

void Replica::count_matches(std::uint64_t now_ns) {
  land_own(now_ns);
  if (is_superseded_) return;  // nothing is decided here any more
  for (bool again = true; again;) {
    Index held = ~Index{0};
    for (const Configured& configured : counting()) {
      held = std::min(held, held_by_majority(configured.configuration));
    }
    held = held_back(now_ns, held);
    if (held <= stable_) break;
    // What an earlier epoch proposed is decided by an own entry behind it, never by counting
    // copies.
    if (at(held).origin != epoch_ && !DOLMEN_PLANTED("log.count_copies")) return;
    // With a configuration decided, others count for what is behind it.
    again = counting().size() > 1;
    set_stable(held);
  }
  settle(now_ns);
}

// A decided configuration whose old voters are gone for good must be known as decided by who starts
// from its disk alone; hence the proof in the log, before they may go.
void Replica::settle(std::uint64_t now_ns) {
  const Configured& last = configurations_.back();
  if (last.index > 0 && last.index <= stable_ && last.settled_at == 0) {
    append({.origin = epoch_, .index = last_index() + 1, .kind = EntryKind::settled});
    (void)send_last(now_ns);
    return;
  }
  if (can_lead() || !settled() || is_handing_over_) return;
  DOLMEN_PROBE("log.left");
  for (Peer& follower : peers_) {
    if (!follower.is_memory) send_entries(now_ns, follower);  // what is decided, once more
  }
  hand_over(now_ns);
  if (!is_handing_over_) follow(now_ns);
}

}  // namespace dolmen::log
