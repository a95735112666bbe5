// SPDX-License-Identifier: Apache-2.0
//
// What every replica does: keeps the log, grants, accepts. Candidates and leaders:
// replica_lead.cpp.
#include "log/replica.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::log {

bool DurableState::holds(Position position) const noexcept {
  if (position.index <= base.index) return true;
  const std::size_t i = position.index - base.index - 1;
  return i < entries.size() && entries[i].position() == position;
}

void DurableState::apply(const Record& record) {
  if (record.snapshot) {
    const Position last = record.snapshot->last();
    const bool is_covered = last.index <= base.index;
    const bool goes_on = !is_covered && holds(last);
    if (goes_on) {
      entries.erase(entries.begin(),
                    entries.begin() + static_cast<std::ptrdiff_t>(last.index - base.index));
    }
    if (!is_covered && !goes_on) entries.clear();
    if (!is_covered) base = last;
    snapshot = record.snapshot;
  } else if (record.entry) {
    const Index index = record.entry->index;
    DOLMEN_ASSERT(index > base.index && index <= base.index + entries.size() + 1);
    entries.resize(index - base.index - 1);
    entries.push_back(*record.entry);
  } else {
    epoch = record.epoch;
    granted_to = record.granted_to;
  }
}

Replica::Replica(ReplicaId self, Configuration first, const ReplicaOptions& options,
                 DurableState state, std::uint64_t seed, std::uint64_t now_ns, LaneMemory* memory)
    : self_(self),
      options_(options),
      memory_(memory),
      random_(seed),
      epoch_(state.epoch),
      granted_to_(state.granted_to),
      snapshot_(std::move(state.snapshot)),
      base_(state.base),
      entries_(std::move(state.entries)),
      detector_({.beat_ns = std::max(options.heartbeat_ns, options.silence_ns / 10),
                 .period_max_ns = options.silence_ns / 3}),
      makes_records_(memory == nullptr && options.has_disk),
      entry_records_(makes_records_ ? entries_.size() : 0, 0) {
  DOLMEN_ASSERT(is_valid(first));
  DOLMEN_ASSERT(self != kNobody);
  DOLMEN_ASSERT(base_.index <= (snapshot_ ? snapshot_->last().index : 0));
  configurations_.push_back({.configuration = std::move(first)});
  if (snapshot_) {
    const SnapshotPlace& place = snapshot_->place();
    DOLMEN_ASSERT(place.last.index <= last_index());
    configurations_.back() = {place.configured_at, place.configuration, place.settled_at};
    stable_ = place.last.index;
  }
  know_members();
  for (Index i = stable_ + 1; i <= last_index(); ++i) take_note(at(i));
  see_clock(now_ns);
  // What an earlier life promised, at worst just now.
  if (!DOLMEN_PLANTED("log.lease_forgotten")) promise(now_ns);
  bound_from_start_ns_ = promised_until_ns_;
  rest_until_silence(now_ns);
  if (memory_ != nullptr) take_up_memory(now_ns);
}

std::span<const Replica::Configured> Replica::counting() const noexcept {
  const std::span all(configurations_);
  const bool is_decided = all.back().index <= stable_ || all.back().settled_at != 0;
  if (is_decided || DOLMEN_PLANTED("log.new_voters_only")) return all.last(1);
  if (DOLMEN_PLANTED("log.old_voters_only")) return all.last(2).first(1);
  return all.last(2);
}

std::vector<Configuration> Replica::deciding() const {
  std::vector<Configuration> result;
  for (const Configured& configured : counting()) result.push_back(configured.configuration);
  return result;
}

bool Replica::votes() const noexcept {
  return std::ranges::any_of(counting(), [&](const Configured& configured) {
    return configured.configuration.is_voter(self_);
  });
}

bool Replica::is_witness() const noexcept {
  return std::ranges::any_of(counting(), [&](const Configured& configured) {
    return configured.configuration.is_witness(self_);
  });
}

bool Replica::can_lead() const noexcept {
  if (DOLMEN_PLANTED("log.witness_leads")) return votes();
  return votes() && options_.has_machine && !is_witness();
}

bool Replica::majority_is(bool self_good, const std::function<bool(const Peer&)>& good) const {
  return std::ranges::all_of(counting(), [&](const Configured& configured) {
    const auto& voters = configured.configuration.voters;
    const auto count = std::ranges::count_if(voters, [&](ReplicaId id) {
      const Peer* const voter = peer(id);
      return id == self_ ? self_good : voter != nullptr && good(*voter);
    });
    return 2 * static_cast<std::size_t>(count) > voters.size();
  });
}

// Called whenever it may have changed which configurations count. What is known of who stays,
// stays.
void Replica::know_members() {
  std::vector<Peer> known;
  const auto add = [&](ReplicaId id) {
    if (id == self_ || std::ranges::find(known, id, &Peer::id) != known.end()) return;
    const Peer* const before = peer(id);
    known.push_back(before != nullptr ? *before : Peer{.id = id, .sent = last_index()});
  };
  for (const Configured& configured : counting()) {
    std::ranges::for_each(configured.configuration.voters, add);
    std::ranges::for_each(configured.configuration.learners, add);
  }
  for (Peer& one : known) one.is_memory = is_memory(one.id);
  peers_ = std::move(known);
}

const Entry& Replica::at(Index index) const {
  DOLMEN_ASSERT(index > base_.index && index <= last_index());
  return entries_[index - base_.index - 1];
}

Position Replica::position_at(Index index) const {
  return index == base_.index ? base_ : at(index).position();
}

const Replica::Peer* Replica::peer(ReplicaId id) const noexcept {
  const auto found = std::ranges::find(peers_, id, &Peer::id);
  return found == peers_.end() ? nullptr : &*found;
}

Replica::Peer* Replica::peer(ReplicaId id) noexcept {
  return const_cast<Peer*>(std::as_const(*this).peer(id));
}

void Replica::send(ReplicaId to, Message message) {
  const Peer* const receiver = peer(to);
  if (is_superseded_ || (receiver != nullptr && receiver->is_memory)) return;
  output_.letters.push_back({to, std::move(message)});
}

void Replica::send_when_durable(ReplicaId to, Message message) {
  if (records_made_ <= records_durable_) return send(to, std::move(message));
  waiting_.push_back({records_made_, {to, std::move(message)}});
}

void Replica::record_epoch(Epoch epoch, ReplicaId granted_to) {
  if (memory_ != nullptr && epoch > epoch_) raise_and_drain(epoch);
  if (epoch > epoch_) forget_operations();
  epoch_ = epoch;
  granted_to_ = granted_to;
  if (makes_records_) output_.records.push_back({.epoch = epoch, .granted_to = granted_to});
  epoch_record_ = count_record();
}

RecordCount Replica::count_record() {
  ++records_made_;
  if (!makes_records_) records_durable_ = records_made_;
  return records_made_;
}

void Replica::append(Entry entry) {
  DOLMEN_ASSERT_CMP(entry.index, ==, last_index() + 1);
  DOLMEN_ASSERT_CMP(entry.origin, >=, end().origin);
  if (makes_records_) output_.records.push_back({.entry = entry});
  const RecordCount record = count_record();
  if (makes_records_) entry_records_.push_back(record);
  entries_.push_back(std::move(entry));
  take_note(entries_.back());
}

// What an entry of the log says of who counts.
void Replica::take_note(const Entry& entry) {
  if (entry.kind == EntryKind::configuration) {
    configurations_.push_back(
        {.index = entry.index, .configuration = decode_configuration(entry.payload).value()});
    know_members();
  }
  if (entry.kind == EntryKind::settled) {
    configurations_.back().settled_at = entry.index;
    know_members();
  }
}

bool Replica::settled() const noexcept {
  const Configured& last = configurations_.back();
  return last.index == 0 || (last.settled_at != 0 && last.settled_at <= stable_);
}

void Replica::set_stable(Index index) {
  if (index <= stable_ || is_superseded_) return;
  const bool is_decided = configurations_.back().index > stable_;
  stable_ = index;
  if (is_decided) know_members();
}

// The physical log needs no record of this: the entry that is appended next replaces the others
// there (M13: the old one is readable until then).
void Replica::truncate_from(Index index) {
  DOLMEN_ASSERT_CMP(index, >, stable_);
  if (index > last_index()) return;
  DOLMEN_PROBE("log.truncated");
  entries_.resize(index - base_.index - 1);
  if (makes_records_) entry_records_.resize(entries_.size());
  while (configurations_.back().index >= index) {
    DOLMEN_PROBE("log.configuration_truncated");
    configurations_.pop_back();
  }
  if (configurations_.back().settled_at >= index) configurations_.back().settled_at = 0;
  know_members();
  // Of what is to be installed nothing was executed yet.
  if (!output_.installed) output_.undo_from = std::min(output_.undo_from.value_or(index), index);
}

void Replica::enter_epoch(std::uint64_t now_ns, Epoch epoch, ReplicaId granted_to) {
  DOLMEN_ASSERT_CMP(epoch, >, epoch_);
  record_epoch(epoch, granted_to);
  follow(now_ns);
}

void Replica::follow(std::uint64_t now_ns) {
  if (role_ == Role::leader) DOLMEN_PROBE("log.stepped_down");
  unsent_ = 0;
  is_handing_over_ = false;
  closing_ns_ = 0;
  role_ = Role::follower;
  leader_.reset();
  fetched_.clear();
  incoming_ = {};
  accepted_ = 0;
  acknowledged_ = 0;
  rest_until_silence(now_ns);
}

void Replica::lost_contact(std::uint64_t now_ns, ReplicaId member) {
  if (role_ != Role::follower || leader_ != member) return;
  leader_.reset();
  deadline_ns_ = now_ns;
}

void Replica::rest_until_silence(std::uint64_t now_ns) {
  // Longer from attempt to attempt: disks or links may be slower than the patience.
  const std::uint64_t patience_ns = options_.silence_ns << std::min(attempts_, 2u);
  deadline_ns_ = now_ns + patience_ns + random_.below(patience_ns);
}

void Replica::receive(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (from == self_ || from == kNobody) return;
  see_clock(now_ns);
  if (!owns_memory()) return;
  // What raises the epoch takes in the lanes after that, and not before as well.
  if (message.epoch <= epoch_) poll();
  Peer* const sender = peer(from);
  if (sender != nullptr && sender->is_memory) return;  // memory says nothing
  switch (message.kind) {
    case MessageKind::probe:
      return on_probe(now_ns, from, message);
    case MessageKind::ask:
      return on_ask(now_ns, from, message);
    case MessageKind::append:
      return on_append(now_ns, from, message);
    case MessageKind::fetch:
      return on_fetch(from, message);
    case MessageKind::refuse:
      return on_refuse(now_ns, sender, message);
    case MessageKind::fetched:
      return on_fetched(now_ns, from, message);
    case MessageKind::fetched_part:
      return on_fetched_part(now_ns, from, message);
    case MessageKind::snapshot:
      return on_snapshot(now_ns, from, message);
    case MessageKind::snapshot_taken:
      if (sender != nullptr) on_snapshot_taken(now_ns, *sender, message);
      return;
    case MessageKind::probe_yes:
    case MessageKind::grant:
      if (sender != nullptr) on_grant(now_ns, *sender, message);
      return;
    case MessageKind::appended:
    case MessageKind::mismatch:
      if (sender != nullptr) on_answer(now_ns, *sender, message);
      return;
    case MessageKind::hand_over:
      return on_hand_over(now_ns, from, message);
    case MessageKind::want_lane:
      return on_want_lane(now_ns, from, message);
    case MessageKind::lane:
      if (sender != nullptr) on_lane(now_ns, *sender, message);
      return;
  }
}

void Replica::on_probe(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (message.epoch <= epoch_) return send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
  // Who hears a leader does not help to depose it. Nor does who has left the group, as far as the
  // other's log shows that it does not know.
  const bool hears = role_ == Role::leader || (leader_.has_value() && detector_.trusts(now_ns));
  const bool has_left = !votes() && settled();
  if (is_bound(now_ns, from)) return;
  if (hears || (has_left && message.position < end())) return;
  if (!meet_candidate(now_ns, from, message)) return;
  send(from, {.kind = MessageKind::probe_yes, .epoch = message.epoch});
}

void Replica::on_ask(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (is_bound(now_ns, from)) {
    DOLMEN_PROBE("log.bound");
    return;  // it asks again
  }
  if (message.epoch > epoch_) {
    enter_epoch(now_ns, message.epoch, from);
  } else if (message.epoch == epoch_ &&
             (granted_to_ == kNobody || DOLMEN_PLANTED("log.grant_twice"))) {
    record_epoch(epoch_, from);
  } else if (message.epoch < epoch_ || granted_to_ != from) {
    return send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
  }
  if (is_witness() && DOLMEN_PLANTED("log.witness_forgets")) truncate_from(stable_ + 1);
  Message grant{.kind = MessageKind::grant, .epoch = epoch_, .position = end()};
  if (DOLMEN_PLANTED("log.grant_unsynced")) return send(from, std::move(grant));
  send_when_durable(from, std::move(grant));
}

void Replica::on_fetch(ReplicaId from, const Message& message) {
  if (message.epoch != epoch_ || granted_to_ != from) {
    if (epoch_ == 0) return;
    return send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
  }
  const Index behind = message.position.index;
  if (behind > last_index()) return;
  if (behind < base_.index) {
    Message part = part_of_snapshot(*snapshot_, message.stable);
    // Not the leader's word: it may come late, to one that asks no more.
    part.kind = MessageKind::fetched_part;
    return send(from, std::move(part));
  }
  Message answer{.kind = MessageKind::fetched, .epoch = epoch_, .position = position_at(behind)};
  std::size_t bytes = 0;
  for (Index i = behind + 1; i <= last_index(); ++i) {
    bytes += kEntryHeaderBytes + at(i).payload.size();
    if (bytes > options_.message_bytes && !answer.entries.empty()) break;
    answer.entries.push_back(at(i));
  }
  send(from, std::move(answer));
}

bool Replica::hear_leader(std::uint64_t now_ns, ReplicaId from, Epoch epoch) {
  if (epoch < epoch_ && !DOLMEN_PLANTED("log.accept_any_epoch")) {
    send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
    return false;
  }
  if (epoch > epoch_) enter_epoch(now_ns, epoch, from);
  if (role_ == Role::leader) return false;  // an epoch has one
  if (role_ == Role::candidate) follow(now_ns);
  if (leader_ != from) detector_.watch(now_ns, epoch_ != suspected_epoch_);
  leader_ = from;
  detector_.saw(now_ns, ++pulse_);
  attempts_ = 0;
  return true;
}

void Replica::on_append(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (!hear_leader(now_ns, from, message.epoch)) return;
  const std::uint64_t promised_ns = promise(now_ns);
  const Position before = message.position;
  if (before.index > last_index() && !is_drained_) {
    // What it follows on has landed, but there is much of it. Its leader hears at once; entries
    // come again.
    DOLMEN_PROBE("log.answered_undrained");
    return send(from, {.kind = MessageKind::appended,
                       .epoch = epoch_,
                       .position = {0, std::min(accepted_, durable())},
                       .stable = promised_ns,
                       .round = message.round});
  }
  const bool follows = before.index <= stable_ ||
                       (before.index <= last_index() && position_at(before.index) == before);
  if (!follows && !(DOLMEN_PLANTED("log.no_match") && before.index <= last_index())) {
    DOLMEN_PROBE("log.mismatch");
    // Where it may follow: the own end, or before everything of the origin that contradicts.
    Index behind = std::min(before.index, last_index());
    if (behind == before.index) {
      const Epoch wrong = at(behind).origin;
      while (behind > stable_ && at(behind).origin == wrong) --behind;
    }
    return send(from, {.kind = MessageKind::mismatch,
                       .epoch = message.epoch,
                       .position = {0, behind},
                       .stable = before.index,
                       .round = message.round});
  }
  if (!take_over(message.entries)) return;
  const Index matched = before.index + message.entries.size();
  accepted_ = std::max(accepted_, matched);
  if (message.stable > stable_) stalls_ = 0;  // it decides: nothing is wrong with the disks
  set_stable(DOLMEN_PLANTED("log.stable_unmatched") ? std::min(message.stable, last_index())
                                                    : std::min(message.stable, matched));
  if (DOLMEN_PLANTED("log.accept_any_epoch") || DOLMEN_PLANTED("log.accept_unsynced")) {
    const bool is_early = DOLMEN_PLANTED("log.accept_unsynced");
    return send(from, {.kind = MessageKind::appended,
                       .epoch = message.epoch,
                       .position = {0, is_early ? matched : std::min(matched, durable())},
                       .round = message.round});
  }
  // At once, so that the leader hears; of what is not durable yet, acknowledge() tells later.
  acknowledged_ = std::min(accepted_, durable());
  send(from, {.kind = MessageKind::appended,
              .epoch = epoch_,
              .position = {0, acknowledged_},
              .stable = promised_ns,
              .round = message.round});
}

bool Replica::take_over(const std::vector<Entry>& entries) {
  return std::ranges::all_of(entries, [&](const Entry& entry) { return take_over(entry); });
}

bool Replica::take_over(Entry entry) {
  if (entry.index <= stable_) return true;
  if (entry.index <= last_index() && at(entry.index).origin == entry.origin) return true;
  if (entry.index > last_index() + 1) return false;
  if (entry.origin < position_at(entry.index - 1).origin) return false;
  truncate_from(entry.index);
  append(std::move(entry));
  return true;
}

Index Replica::durable() const {
  if (!makes_records_) return last_index();
  if (base_record_ > records_durable_) return 0;
  const auto end = std::ranges::upper_bound(entry_records_, records_durable_);
  return base_.index + static_cast<Index>(end - entry_records_.begin());
}

void Replica::acknowledge() {
  const Index index = std::min(accepted_, durable());
  if (!leader_ || index <= acknowledged_) return;
  acknowledged_ = index;
  send(*leader_, {.kind = MessageKind::appended, .epoch = epoch_, .position = {0, index}});
}

void Replica::persisted(std::uint64_t now_ns, RecordCount count) {
  DOLMEN_ASSERT(count <= records_made_);
  see_clock(now_ns);
  records_durable_ = std::max(records_durable_, count);
  const auto first_waiting = std::ranges::find_if(
      waiting_, [&](const Waiting& waiting) { return waiting.record > records_durable_; });
  for (auto letter = waiting_.begin(); letter != first_waiting; ++letter) {
    output_.letters.push_back(std::move(letter->letter));
  }
  waiting_.erase(waiting_.begin(), first_waiting);
  if (role_ == Role::follower) acknowledge();
  if (role_ == Role::candidate) count_grants(now_ns);
  if (role_ == Role::leader) count_matches(now_ns);
}

}  // namespace dolmen::log
