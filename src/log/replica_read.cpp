// SPDX-License-Identifier: Apache-2.0
//
// Readers at the leader (docs/replicated.md, "Reads"): what was decided when they came is in its
// log, and that nobody leads a later epoch since before they came is what a majority says that is
// asked after it. Answers are to a round, so that none is taken for one to a later question.
#include <algorithm>
#include <array>
#include <functional>
#include <span>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

std::optional<ReadTicket> Replica::begin_read() {
  if (!owns_memory() || role_ != Role::leader || stable_ < opening_) return std::nullopt;
  if (round_ == 0 || is_round_asked_) {
    ++round_;
    is_round_asked_ = false;
  }
  return ReadTicket{.epoch = epoch_, .index = stable_, .round = round_};
}

std::uint64_t Replica::ask_in_round(Peer& follower) noexcept {
  begin_lease_round();
  is_round_asked_ = true;
  follower.round_sent = round_;
  return round_;
}

void Replica::hear_round(Peer& from, std::uint64_t round) noexcept {
  if (DOLMEN_PLANTED("log.read_old_round")) round = round_;
  // None of ours says more.
  from.round = std::max(from.round, std::min(round, from.round_sent));
}

// Where the follower's word can be read that is asked, else its agent.
void Replica::send_round() {
  if (role_ != Role::leader) return;
  for (Peer& follower : peers_) {
    const bool counts = std::ranges::any_of(counting(), [&](const Configured& configured) {
      return configured.configuration.is_voter(follower.id);
    });
    if (!counts || follower.round_sent == round_) continue;
    if (follower.is_memory) {
      const AtWitness& there = follower.at_witness;
      if (!there.is_raised) continue;
      push_memory_write(follower, {.lane = {.number = follower.lane.number},
                                   .offset = follower.lane_used,
                                   .end = follower.written,
                                   .area = there.area});
    } else if (follower.is_direct) {
      lane_writes_.push_back({.to = follower.id,
                              .lane = {epoch_, follower.lane.number},
                              .offset = follower.lane_used,
                              .end = follower.written,
                              .round = ask_in_round(follower)});
    } else if (follower.spared_ns == 0 && follower.matched >= base_.index) {
      // Of what is known to be there, whatever else is on its way. It is no heartbeat: those try
      // again what was lost.
      send(follower.id, {.kind = MessageKind::append,
                         .epoch = epoch_,
                         .position = position_at(follower.matched),
                         .stable = stable_,
                         .round = ask_in_round(follower)});
    }
  }
}

std::uint64_t Replica::confirmed_by(const Configuration& configuration) const {
  std::array<std::uint64_t, kMembersMax> places;
  const std::span rounds = std::span(places).first(configuration.voters.size());
  std::ranges::transform(configuration.voters, rounds.begin(), [&](ReplicaId id) {
    if (id == self_) return round_;
    const Peer* const voter = peer(id);
    return voter == nullptr ? 0 : voter->round;
  });
  std::ranges::sort(rounds, std::greater<>());
  return rounds[rounds.size() / 2];
}

std::uint64_t Replica::confirmed_round() {
  if (!owns_memory() || role_ != Role::leader) return 0;
  if (DOLMEN_PLANTED("log.read_unconfirmed")) return round_;
  std::uint64_t round = round_;
  for (const Configured& configured : counting()) {
    round = std::min(round, confirmed_by(configured.configuration));
  }
  return round;
}

}  // namespace dolmen::log
