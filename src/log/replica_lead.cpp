// SPDX-License-Identifier: Apache-2.0
//
// Candidates and leaders.
#include <algorithm>
#include <functional>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

namespace {
/// Entries that may be on their way to a follower without an answer.
constexpr Index kInFlightMax = 1024;
}  // namespace

std::uint64_t Replica::next_wakeup_ns() const noexcept {
  if (role_ != Role::leader) return deadline_ns_;
  std::uint64_t wakeup_ns = deadline_ns_;
  for (const Peer& follower : peers_) {
    const bool unanswered = follower.matched < follower.sent;
    wakeup_ns = std::min(
        wakeup_ns, follower.sent_ns + (unanswered ? options_.resend_ns : options_.heartbeat_ns));
  }
  return wakeup_ns;
}

void Replica::tick(std::uint64_t now_ns) {
  if (role_ != Role::leader) {
    if (now_ns >= deadline_ns_ || DOLMEN_BUGGIFY("log.impatient")) start_probe(now_ns);
    return;
  }
  if (now_ns >= deadline_ns_) {
    // A leader that no majority answers is none: it stops taking what it cannot decide.
    const auto heard = std::ranges::count_if(peers_, [&](const Peer& follower) {
      return now_ns < follower.heard_ns + 2 * options_.silence_ns;
    });
    if (static_cast<std::size_t>(heard) + 1 < majority()) return follow(now_ns);
    rest_until_silence(now_ns);
  }
  for (Peer& follower : peers_) {
    const std::uint64_t age_ns = now_ns - follower.sent_ns;
    if (follower.matched < follower.sent &&
        (age_ns >= options_.resend_ns || DOLMEN_BUGGIFY("log.send_again"))) {
      follower.sent = follower.matched;
      send_entries(now_ns, follower);
    } else if (age_ns >= options_.heartbeat_ns) {
      send_entries(now_ns, follower);
    }
  }
}

void Replica::start_probe(std::uint64_t now_ns) {
  role_ = Role::candidate;
  stage_ = Stage::probing;
  leader_.reset();
  fetched_.clear();
  rest_until_silence(now_ns);
  for (Peer& voter : peers_) {
    voter.granted = false;
    send(voter.id, {.kind = MessageKind::probe, .epoch = epoch_ + 1});
  }
  count_grants(now_ns);
}

void Replica::start_asking(std::uint64_t now_ns) {
  record_epoch(epoch_ + 1, self_);
  stage_ = Stage::asking;
  rest_until_silence(now_ns);
  for (Peer& voter : peers_) {
    voter.granted = false;
    send(voter.id, {.kind = MessageKind::ask, .epoch = epoch_});
  }
  count_grants(now_ns);
}

void Replica::on_grant(std::uint64_t now_ns, Peer& from, const Message& message) {
  const bool expected = message.kind == MessageKind::probe_yes
                            ? stage_ == Stage::probing && message.epoch == epoch_ + 1
                            : stage_ == Stage::asking && message.epoch == epoch_;
  if (role_ != Role::candidate || !expected) return;
  from.granted = true;
  from.end = message.position;
  count_grants(now_ns);
}

void Replica::count_grants(std::uint64_t now_ns) {
  if (stage_ == Stage::fetching) return;
  if (stage_ == Stage::asking && epoch_record_ > records_durable_) return;  // its own grant
  const auto granted = static_cast<std::size_t>(std::ranges::count(peers_, true, &Peer::granted));
  const std::size_t needed = DOLMEN_PLANTED("log.lead_by_minority") ? majority() - 1 : majority();
  if (granted + 1 < needed) return;
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
  DOLMEN_PROBE("log.fetched");
  stage_ = Stage::fetching;
  source_ = latest->id;
  source_end_ = latest->end;
  fetched_.clear();
  fetch_more();
}

// Behind stable(): up to there all logs are the same.
void Replica::fetch_more() {
  send(source_,
       {.kind = MessageKind::fetch, .epoch = epoch_, .position = {0, stable_ + fetched_.size()}});
}

void Replica::on_fetched(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (role_ != Role::candidate || stage_ != Stage::fetching || from != source_) return;
  if (message.epoch != epoch_ || message.position.index != stable_ + fetched_.size()) return;
  if (message.entries.empty()) return;
  fetched_.insert(fetched_.end(), message.entries.begin(), message.entries.end());
  if (fetched_.back().index < source_end_.index) return fetch_more();
  // Another log than was granted: no peer of ours; the next attempt starts when patience ends.
  if (fetched_.back().position() != source_end_) return fetched_.clear();
  for (Entry& entry : fetched_) {
    if (entry.index <= entries_.size() && at(entry.index).origin == entry.origin) continue;
    truncate_from(entry.index);
    append(std::move(entry));
  }
  fetched_.clear();
  lead(now_ns);
}

void Replica::lead(std::uint64_t now_ns) {
  DOLMEN_PROBE("log.led");
  role_ = Role::leader;
  leader_ = self_;
  rest_until_silence(now_ns);
  const Index adopted = entries_.size();
  append({.origin = epoch_, .index = adopted + 1, .kind = EntryKind::opening});
  for (Peer& follower : peers_) {
    follower.matched = 0;
    follower.sent = adopted;
    follower.heard_ns = now_ns;
    send_entries(now_ns, follower);
  }
  count_matches();
}

std::optional<Position> Replica::propose(std::uint64_t now_ns, std::vector<std::byte> payload) {
  if (role_ != Role::leader) return std::nullopt;
  append({.origin = epoch_, .index = entries_.size() + 1, .payload = std::move(payload)});
  for (Peer& follower : peers_) {
    if (follower.sent + 1 == entries_.size()) send_entries(now_ns, follower);
  }
  count_matches();
  return end();
}

void Replica::send_entries(std::uint64_t now_ns, Peer& follower) {
  Message message{.kind = MessageKind::append,
                  .epoch = epoch_,
                  .position = position_at(follower.sent),
                  .stable = stable_};
  std::size_t bytes = 0;
  while (follower.sent < entries_.size() && follower.sent - follower.matched < kInFlightMax) {
    const Entry& entry = entries_[follower.sent];
    bytes += kEntryHeaderBytes + entry.payload.size();
    const bool is_full = bytes > options_.message_bytes || DOLMEN_BUGGIFY("log.one_entry");
    if (is_full && !message.entries.empty()) break;
    message.entries.push_back(entry);
    ++follower.sent;
  }
  follower.sent_ns = now_ns;
  send(follower.id, std::move(message));
}

void Replica::on_answer(std::uint64_t now_ns, Peer& from, const Message& message) {
  if (role_ != Role::leader || message.epoch != epoch_) return;
  from.heard_ns = now_ns;
  const Index index = message.position.index;
  if (index > entries_.size()) return;  // none of ours says so
  if (message.kind == MessageKind::mismatch) {
    from.sent = std::max(from.matched, index);
    return send_entries(now_ns, from);
  }
  from.matched = std::max(from.matched, index);
  from.sent = std::max(from.sent, from.matched);
  count_matches();
  if (from.sent < entries_.size()) send_entries(now_ns, from);
}

void Replica::count_matches() {
  std::vector<Index> matched;
  matched.reserve(peers_.size() + 1);
  for (const Peer& follower : peers_) matched.push_back(follower.matched);
  const auto durable = DOLMEN_PLANTED("log.own_unsynced")
                           ? entry_records_.end()
                           : std::ranges::upper_bound(entry_records_, records_durable_);
  matched.push_back(static_cast<Index>(durable - entry_records_.begin()));
  std::ranges::sort(matched, std::greater<>());
  const std::size_t needed = DOLMEN_PLANTED("log.decide_by_minority") ? majority() - 1 : majority();
  const Index held = matched[needed - 1];
  if (held <= stable_) return;
  // What an earlier epoch proposed is decided by an own entry behind it, never by counting copies.
  if (at(held).origin != epoch_ && !DOLMEN_PLANTED("log.count_copies")) return;
  stable_ = held;
}

}  // namespace dolmen::log
