// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: forgetting the first part of the log, and bringing it to who is too far behind.
#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "log/replica.hpp"

namespace dolmen::log {

SnapshotPlace Replica::place_at(Index index) const {
  DOLMEN_ASSERT(index > base_.index && index <= stable_);
  const auto behind = std::ranges::find_if(
      configurations_, [&](const Configured& configured) { return configured.index > index; });
  DOLMEN_ASSERT(behind != configurations_.begin());
  const Configured& configured = *std::prev(behind);
  return {.last = position_at(index),
          .configured_at = configured.index,
          .settled_at = configured.settled_at <= index ? configured.settled_at : 0,
          .configuration = configured.configuration};
}

void Replica::compact(SnapshotPtr snapshot) {
  const Position last = snapshot->last();
  DOLMEN_ASSERT_CMP(last.index, <=, stable_);
  if (snapshot_ && last.index <= snapshot_->last().index) return;
  DOLMEN_ASSERT(position_at(last.index) == last);
  DOLMEN_PROBE("log.compacted");
  snapshot_ = std::move(snapshot);
  Index up_to = last.index;
  for (std::size_t kept = 0; up_to > base_.index; --up_to) {
    kept += kEntryHeaderBytes + at(up_to).payload.size();
    if (kept > options_.trailing_bytes) break;
  }
  forget_entries(DOLMEN_PLANTED("log.compact_unstable") ? last_index() : up_to);
}

void Replica::forget_entries(Index up_to) {
  const auto count = static_cast<std::ptrdiff_t>(up_to - base_.index);
  base_ = position_at(up_to);
  entries_.erase(entries_.begin(), entries_.begin() + count);
  if (makes_records_) {
    entry_records_.erase(entry_records_.begin(), entry_records_.begin() + count);
  }
  // The last one that the snapshot covers is what its place names.
  const Index last = snapshot_->last().index;
  while (configurations_.size() > 1 && configurations_[1].index <= last) {
    configurations_.erase(configurations_.begin());
  }
}

// What is behind the snapshot stays if the log held its last entry: then all of it may be decided.
// Else nothing of it was, for it contradicts what is.
void Replica::install(SnapshotPtr snapshot) {
  DOLMEN_PROBE("log.installed");
  const SnapshotPlace& place = snapshot->place();
  DOLMEN_ASSERT_CMP(place.last.index, >, stable_);
  const bool goes_on =
      place.last.index <= last_index() && position_at(place.last.index) == place.last;
  snapshot_ = std::move(snapshot);
  stable_ = place.last.index;
  if (goes_on) {
    forget_entries(place.last.index);
  } else {
    entries_.clear();
    entry_records_.clear();
    base_ = place.last;
    if (!DOLMEN_PLANTED("log.snapshot_old_members"))
      configurations_.assign(1, {place.configured_at, place.configuration, place.settled_at});
  }
  know_members();
  if (makes_records_) output_.records.push_back({.snapshot = snapshot_});
  base_record_ = count_record();
  output_.installed = snapshot_;
  output_.undo_from.reset();
}

SnapshotPtr Replica::collect(ReplicaId from, const Message& message) {
  const bool is_same = incoming_.from == from && incoming_.last == message.position &&
                       incoming_.bytes_in_all == message.part_of;
  if (!is_same) {
    // A replica's snapshots only advance: this is a late part of one that it has given up.
    if (incoming_.from == from && message.position.index < incoming_.last.index) return nullptr;
    incoming_ = {.from = from, .last = message.position, .bytes_in_all = message.part_of};
  }
  // Another part than the next one is an old one, or of before a restart.
  if (message.stable != incoming_.bytes.size()) return nullptr;
  incoming_.bytes.insert(incoming_.bytes.end(), message.part.begin(), message.part.end());
  if (incoming_.bytes.size() < incoming_.bytes_in_all) return nullptr;
  auto snapshot = Snapshot::decode(std::exchange(incoming_, {}).bytes);
  if (!snapshot || (*snapshot)->last() != message.position) return nullptr;  // from the start again
  return *snapshot;
}

void Replica::on_fetched_part(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (role_ != Role::candidate || stage_ != Stage::fetching || from != source_) return;
  if (message.epoch != epoch_) return;
  if (message.position.index <= stable_ || message.position > source_end_) return;
  const std::size_t had = incoming_.bytes.size();
  const SnapshotPtr snapshot = collect(from, message);
  if (snapshot == nullptr) {
    // Only what is new is answered: else repeated messages would breed.
    if (incoming_.bytes.size() <= had) return;
    rest_until_silence(now_ns);
    return fetch_more(now_ns);
  }
  // Its state takes longer to arrive than others wait for a leader; who has it can lead.
  if (options_.snapshots_refer) return give_up(now_ns, true);
  rest_until_silence(now_ns);
  install(snapshot);
  fetched_.clear();
  if (base_.index < source_end_.index) return fetch_more(now_ns);
  finish_fetching(now_ns);
}

void Replica::on_snapshot(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (!hear_leader(now_ns, from, message.epoch)) return;
  const bool is_lent = message.position.index <= stable_ && is_witness();
  if (is_lent && (snapshot_ == nullptr || message.position.index > snapshot_->last().index)) {
    const std::size_t had = incoming_.bytes.size();
    const SnapshotPtr snapshot = collect(from, message);
    if (snapshot != nullptr) return replace_entries(snapshot);
    // Only what is new is answered, and a leader that reminds: else repeated messages would breed.
    if (incoming_.bytes.size() > had || message.part.empty()) ask_for_snapshot();
    return;
  }
  if (message.position.index > stable_ && options_.snapshots_refer &&
      !DOLMEN_PLANTED("log.reference_taken_early")) {
    return want(from, message);
  }
  if (message.position.index > stable_) {
    const SnapshotPtr snapshot = collect(from, message);
    if (snapshot == nullptr) {
      if (incoming_.last != message.position) return;
      return send(from, {.kind = MessageKind::snapshot_taken,
                         .epoch = epoch_,
                         .position = message.position,
                         .stable = incoming_.bytes.size()});
    }
    install(snapshot);
  }
  acknowledge_snapshot(from);
}

void Replica::acknowledge_snapshot(ReplicaId to) {
  // What is decided here is so in the leader's log as well.
  accepted_ = std::max(accepted_, stable_);
  acknowledged_ = std::min(accepted_, durable());
  send(to, {.kind = MessageKind::appended, .epoch = epoch_, .position = {0, acknowledged_}});
}

// Said to be here once it is complete, but not that it counts: the leader waits, and reminds.
void Replica::want(ReplicaId from, const Message& message) {
  if (wanted_ == nullptr || wanted_->last() != message.position) {
    if (SnapshotPtr snapshot = collect(from, message)) {
      DOLMEN_PROBE("log.snapshot_wanted");
      wanted_ = std::move(snapshot);
      output_.wanted = wanted_;
    }
  }
  const bool is_whole = wanted_ != nullptr && wanted_->last() == message.position;
  if (!is_whole && incoming_.last != message.position) return;
  send(from, {.kind = MessageKind::snapshot_taken,
              .epoch = epoch_,
              .position = message.position,
              .stable = is_whole ? wanted_->bytes().size() : incoming_.bytes.size()});
}

// Whoever sent it: it is of what is decided.
void Replica::state_arrived(std::uint64_t now_ns, const SnapshotPtr& snapshot) {
  if (role_ != Role::follower || snapshot->last().index <= stable_) return;
  rest_until_silence(now_ns);
  install(snapshot);
  wanted_.reset();  // said again, if it is of later
  if (leader_ && *leader_ != self_) acknowledge_snapshot(*leader_);
}

// It keeps no state: the last one must not be lost together with as many voters as may fail, while
// others still need the entries from here.
bool Replica::is_safe_at_witness(const Snapshot& snapshot) const {
  if (!options_.snapshots_refer) return true;
  return std::ranges::all_of(counting(), [&](const Configured& configured) {
    const Configuration& its = configured.configuration;
    const auto has_state = [&](ReplicaId id) {
      if (its.is_witness(id)) return false;
      return id == self_ || matched(id) >= snapshot.last().index;
    };
    const auto count = static_cast<std::size_t>(std::ranges::count_if(its.voters, has_state));
    const std::size_t may_fail = (its.voters.size() - 1) / 2;
    return count > may_fail;
  });
}

Message Replica::part_of_snapshot(const Snapshot& snapshot, std::uint64_t offset) const {
  const base::Bytes bytes = snapshot.bytes();
  const std::uint64_t begin = offset <= bytes.size() ? offset : 0;
  const base::Bytes part =
      bytes.subspan(begin, std::min<std::uint64_t>(options_.part_bytes, bytes.size() - begin));
  return {.kind = MessageKind::snapshot,
          .epoch = epoch_,
          .position = snapshot.last(),
          .stable = begin,
          .part = {part.begin(), part.end()},
          .part_of = bytes.size()};
}

void Replica::send_part(std::uint64_t now_ns, Peer& follower, bool is_reminder) {
  if (follower.sending == nullptr) {
    const bool is_witness = std::ranges::any_of(counting(), [&](const Configured& configured) {
      return configured.configuration.is_witness(follower.id);
    });
    if (is_witness && !is_safe_at_witness(*snapshot_)) {
      Message nothing = part_of_snapshot(*snapshot_, 0);
      nothing.part.clear();
      follower.sent_ns = now_ns;
      return send(follower.id, std::move(nothing));  // it is led all the same
    }
    DOLMEN_PROBE("log.snapshot_sent");
    follower.sending = snapshot_;
    follower.parts_taken = 0;
    follower.parts_said = 0;
  }
  Message message = part_of_snapshot(*follower.sending, follower.parts_taken);
  if (is_reminder) message.part.clear();
  follower.sent_ns = now_ns;
  if (follower.waits_ns == 0) follower.waits_ns = now_ns;
  send(follower.id, std::move(message));
}

void Replica::on_snapshot_taken(std::uint64_t now_ns, Peer& from, const Message& message) {
  if (role_ != Role::leader || message.epoch != epoch_) return;
  from.heard_ns = now_ns;
  if (from.sending == nullptr) return lend(from, message);
  if (from.sending->last() != message.position) return;
  if (message.stable > from.sending->bytes().size()) return;
  // Only progress is answered: else repeated messages would breed. Less than was there before is of
  // a follower that has restarted, or old: the timer tries it.
  from.parts_said = message.stable;
  if (message.stable <= from.parts_taken) return;
  from.parts_taken = message.stable;
  from.waits_ns = 0;
  send_part(now_ns, from, false);
}

// --- to who has the entries, and no machine to make one ------------------------------------------

void Replica::ask_for_snapshot() {
  if (role_ != Role::follower || !leader_) return;
  Message message{.kind = MessageKind::snapshot_taken, .epoch = epoch_};
  if (incoming_.from == *leader_) {
    message.position = incoming_.last;
    message.stable = incoming_.bytes.size();
  } else if (snapshot_) {
    message.position = snapshot_->last();
    message.stable = snapshot_->bytes().size();
  }
  send(*leader_, std::move(message));
}

// One part for each question: who asks looks after what got lost. What is being sent stays the same
// until it is there, however often the own one is replaced meanwhile.
void Replica::lend(Peer& to, const Message& asked) {
  const bool is_witness = std::ranges::any_of(counting(), [&](const Configured& configured) {
    return configured.configuration.is_witness(to.id);
  });
  if (!is_witness) return;
  const bool goes_on =
      to.lent && to.lent->last() == asked.position && asked.stable < to.lent->bytes().size();
  if (!goes_on) {
    to.lent = snapshot_;
    if (to.lent && to.lent->last().index <= asked.position.index) to.lent.reset();
    if (to.lent && !is_safe_at_witness(*to.lent)) to.lent.reset();
    if (!to.lent) return;
    DOLMEN_PROBE("log.snapshot_lent");
  }
  send(to.id, part_of_snapshot(*to.lent, goes_on ? asked.stable : 0));
}

void Replica::replace_entries(SnapshotPtr snapshot) {
  const Position last = snapshot->last();
  if (position_at(last.index) != last) return;  // another state than of this log
  compact(std::move(snapshot));
  if (makes_records_) output_.records.push_back({.snapshot = snapshot_});
  (void)count_record();
}

}  // namespace dolmen::log
