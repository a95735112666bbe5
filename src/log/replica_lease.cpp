// SPDX-License-Identifier: Apache-2.0
//
// Leases (docs/log.md, "Leases"): who answers a leader supports nobody else for a while, and so the
// leader knows that nobody else leads, as long as it has what a majority promised. Promises are
// kept in memory: who starts again keeps all that it may have made.
#include <algorithm>
#include <functional>
#include <limits>
#include <span>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

namespace {
/// Of that time, what a clock may be wrong by.
constexpr std::uint64_t drift_in(std::uint64_t length_ns, std::uint64_t drift_ppm) {
  return length_ns / 1'000'000 * drift_ppm + length_ns % 1'000'000 * drift_ppm / 1'000'000 + 1;
}
}  // namespace

bool Replica::is_bound(std::uint64_t now_ns, ReplicaId candidate) const noexcept {
  if (DOLMEN_PLANTED("log.lease_not_kept")) return false;
  return now_ns < promised_until_ns_ || (now_ns < lent_until_ns_ && candidate != self_);
}

// Against everybody: to whom it was is forgotten by who starts again, and with it what an epoch was
// that its disk did not have yet.
std::uint64_t Replica::promise(std::uint64_t now_ns) noexcept {
  const std::uint64_t lease_ns = options_.lease_ns;
  if (lease_ns == 0) return 0;
  promised_until_ns_ = now_ns + lease_ns + drift_in(lease_ns, options_.drift_ppm) + kLeaseSlackNs;
  return lease_ns;
}

void Replica::begin_lease_round() noexcept {
  if (options_.lease_ns == 0) return;
  const RoundAsked& latest = rounds_asked_[round_ % rounds_asked_.size()];
  const bool is_old =
      is_round_asked_ &&
      (latest.round != round_ ||
       seen_ns_ >= latest.at_ns + std::min(options_.heartbeat_ns / 2, options_.lease_ns / 8));
  if (round_ == 0 || is_old) {
    ++round_;
    is_round_asked_ = false;
  }
  if (!is_round_asked_) rounds_asked_[round_ % rounds_asked_.size()] = {round_, seen_ns_};
}

void Replica::hear_promise(std::uint64_t now_ns, Peer& from, const Message& answer) noexcept {
  const bool is_one = options_.lease_ns != 0 && answer.kind == MessageKind::appended &&
                      answer.stable >= options_.lease_ns && answer.round != 0 &&
                      answer.round <= from.round_sent;
  if (!is_one) return;
  const RoundAsked& asked = rounds_asked_[answer.round % rounds_asked_.size()];
  if (asked.round != answer.round) return;
  const bool is_late = DOLMEN_PLANTED("log.lease_from_answer");
  from.promised_ns = std::max(from.promised_ns, is_late ? now_ns : asked.at_ns);
}

// A witness that is memory alone promises nothing, and a learner is asked for nothing: the others
// have to be a majority by themselves, which every election's meets.
std::uint64_t Replica::promised_to_majority(std::uint64_t now_ns,
                                            const Configuration& configuration) const {
  std::array<std::uint64_t, kMembersMax> places;
  std::size_t count = 0;
  const auto add = [&](ReplicaId id) {
    const Peer* const voter = peer(id);
    std::uint64_t since_ns = voter == nullptr ? 0 : voter->promised_ns;
    const bool is_memory_counted = DOLMEN_PLANTED("log.lease_counts_memory");
    if (id == self_ || (is_memory_counted && voter != nullptr && voter->is_memory)) {
      since_ns = now_ns;
    }
    if (count < places.size()) places[count++] = since_ns;
  };
  std::ranges::for_each(configuration.voters, add);
  if (DOLMEN_PLANTED("log.lease_counts_learners")) {
    std::ranges::for_each(configuration.learners, add);
  }
  const std::span since = std::span(places).first(count);
  std::ranges::sort(since, std::greater<>());
  return since[configuration.voters.size() / 2];
}

std::uint64_t Replica::lease_until_ns(std::uint64_t now_ns) {
  if (options_.lease_ns == 0 || !owns_memory()) return 0;
  if (role_ != Role::leader || stable_ < opening_ || is_handing_over_) return 0;
  if (DOLMEN_PLANTED("log.lease_never_ends")) return std::numeric_limits<std::uint64_t>::max();
  std::uint64_t since_ns = now_ns;
  for (const Configured& configured : counting()) {
    since_ns = std::min(since_ns, promised_to_majority(now_ns, configured.configuration));
  }
  if (since_ns == 0) return 0;
  const std::uint64_t until_ns =
      since_ns + options_.lease_ns - drift_in(options_.lease_ns, options_.drift_ppm);
  lent_until_ns_ = std::max(lent_until_ns_, until_ns);
  return until_ns;
}

void Replica::hand_over(std::uint64_t now_ns) {
  if (options_.lease_ns == 0 || role_ != Role::leader || is_handing_over_) return;
  const bool is_alone = std::ranges::all_of(peers_, &Peer::is_memory);
  if (is_alone || !owns_memory()) return;
  see_clock(now_ns);
  is_handing_over_ = true;
}

std::uint64_t Replica::hand_over_due_ns() const noexcept {
  if (!is_handing_over_) return std::numeric_limits<std::uint64_t>::max();
  if (closing_ns_ == 0) return lent_until_ns_;
  return stable_ == last_index() ? closing_ns_ : closing_ns_ + options_.silence_ns;
}

// What was lent cannot be taken back, so it has to be over first; calls are answered meanwhile.
bool Replica::go_on_handing_over(std::uint64_t now_ns) {
  if (now_ns < lent_until_ns_ && !DOLMEN_PLANTED("log.lease_given_up_early")) return false;
  if (closing_ns_ == 0) closing_ns_ = std::max<std::uint64_t>(now_ns, 1);
  if (now_ns < hand_over_due_ns()) return false;
  DOLMEN_PROBE("log.handed_over");
  for (const Peer& follower : peers_) {
    send(follower.id, {.kind = MessageKind::hand_over, .epoch = epoch_});
  }
  give_up(now_ns, true);
  return true;
}

// Only who led this epoch says so, and who leads an epoch knows that the leases of all earlier ones
// are over. What an earlier life promised may have been to a later one, which its disk forgot.
void Replica::on_hand_over(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (message.epoch != epoch_ || role_ == Role::leader || leader_.value_or(from) != from) return;
  const bool is_all = DOLMEN_PLANTED("log.hand_over_frees_all");
  promised_until_ns_ = std::min(promised_until_ns_, is_all ? 0 : bound_from_start_ns_);
  lost_contact(now_ns, from);
}

// Those who elect with the new voters alone promised nothing to who lent before it counted them.
Index Replica::held_back(std::uint64_t now_ns, Index held) const noexcept {
  const Index configured = configurations_.back().index;
  if (now_ns >= members_not_before_ns_ || configured <= stable_) return held;
  if (DOLMEN_PLANTED("log.lease_of_former_voters")) return held;
  return std::min(held, configured - 1);
}

}  // namespace dolmen::log
