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

namespace {
constexpr ReplicaId kNobody{};
}

void DurableState::apply(const Record& record) {
  if (!record.entry) {
    epoch = record.epoch;
    granted_to = record.granted_to;
    return;
  }
  DOLMEN_ASSERT(record.entry->index > 0 && record.entry->index <= entries.size() + 1);
  entries.resize(record.entry->index - 1);
  entries.push_back(*record.entry);
}

Replica::Replica(ReplicaId self, std::vector<ReplicaId> voters, const ReplicaOptions& options,
                 DurableState state, std::uint64_t seed, std::uint64_t now_ns)
    : self_(self),
      options_(options),
      random_(seed),
      epoch_(state.epoch),
      granted_to_(state.granted_to),
      entries_(std::move(state.entries)),
      entry_records_(entries_.size(), 0) {
  DOLMEN_ASSERT(voters.size() % 2 == 1);
  DOLMEN_ASSERT(std::ranges::count(voters, self) == 1);
  for (const ReplicaId id : voters) {
    if (id != self) peers_.push_back({.id = id});
  }
  rest_until_silence(now_ns);
}

const Entry& Replica::at(Index index) const {
  DOLMEN_ASSERT(index > 0 && index <= entries_.size());
  return entries_[index - 1];
}

Position Replica::position_at(Index index) const {
  return index == 0 ? Position{} : at(index).position();
}

Replica::Peer* Replica::peer(ReplicaId id) noexcept {
  const auto found = std::ranges::find(peers_, id, &Peer::id);
  return found == peers_.end() ? nullptr : &*found;
}

void Replica::send(ReplicaId to, Message message) {
  output_.letters.push_back({to, std::move(message)});
}

void Replica::send_when_durable(ReplicaId to, Message message) {
  if (records_made_ <= records_durable_) return send(to, std::move(message));
  waiting_.push_back({records_made_, {to, std::move(message)}});
}

void Replica::record_epoch(Epoch epoch, ReplicaId granted_to) {
  epoch_ = epoch;
  granted_to_ = granted_to;
  output_.records.push_back({.epoch = epoch, .granted_to = granted_to});
  epoch_record_ = ++records_made_;
}

void Replica::append(Entry entry) {
  DOLMEN_ASSERT_CMP(entry.index, ==, entries_.size() + 1);
  DOLMEN_ASSERT_CMP(entry.origin, >=, end().origin);
  output_.records.push_back({.entry = entry});
  entry_records_.push_back(++records_made_);
  entries_.push_back(std::move(entry));
}

// The physical log needs no record of this: the entry that is appended next replaces the others
// there (M13: the old one is readable until then).
void Replica::truncate_from(Index index) {
  if (!DOLMEN_PLANTED("log.truncate_stable")) DOLMEN_ASSERT_CMP(index, >, stable_);
  if (index > entries_.size()) return;
  DOLMEN_PROBE("log.truncated");
  entries_.resize(index - 1);
  entry_records_.resize(index - 1);
  output_.undo_from = std::min(output_.undo_from.value_or(index), index);
}

void Replica::enter_epoch(std::uint64_t now_ns, Epoch epoch, ReplicaId granted_to) {
  DOLMEN_ASSERT_CMP(epoch, >, epoch_);
  record_epoch(epoch, granted_to);
  follow(now_ns);
}

void Replica::follow(std::uint64_t now_ns) {
  if (role_ == Role::leader) DOLMEN_PROBE("log.stepped_down");
  role_ = Role::follower;
  leader_.reset();
  fetched_.clear();
  rest_until_silence(now_ns);
}

void Replica::rest_until_silence(std::uint64_t now_ns) {
  deadline_ns_ = now_ns + options_.silence_ns + random_.below(options_.silence_ns);
}

void Replica::receive(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  Peer* const sender = peer(from);
  if (sender == nullptr) return;
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
      if (message.epoch > epoch_) enter_epoch(now_ns, message.epoch, kNobody);
      return;
    case MessageKind::probe_yes:
    case MessageKind::grant:
      return on_grant(now_ns, *sender, message);
    case MessageKind::fetched:
      return on_fetched(now_ns, from, message);
    case MessageKind::appended:
    case MessageKind::mismatch:
      return on_answer(now_ns, *sender, message);
  }
}

void Replica::on_probe(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (message.epoch <= epoch_) return send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
  // Who hears a leader does not help to depose it.
  const bool content =
      role_ == Role::leader || (leader_.has_value() && now_ns < heard_ns_ + options_.silence_ns);
  if (!content) send(from, {.kind = MessageKind::probe_yes, .epoch = message.epoch});
}

void Replica::on_ask(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (message.epoch > epoch_) {
    enter_epoch(now_ns, message.epoch, from);
  } else if (message.epoch == epoch_ &&
             (granted_to_ == kNobody || DOLMEN_PLANTED("log.grant_twice"))) {
    record_epoch(epoch_, from);
  } else if (message.epoch < epoch_ || granted_to_ != from) {
    return send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
  }
  Message grant{.kind = MessageKind::grant, .epoch = epoch_, .position = end(), .stable = stable_};
  if (DOLMEN_PLANTED("log.grant_unsynced")) return send(from, std::move(grant));
  send_when_durable(from, std::move(grant));
}

void Replica::on_fetch(ReplicaId from, const Message& message) {
  if (message.epoch != epoch_ || granted_to_ != from) {
    return send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
  }
  const Index behind = message.position.index;
  if (behind > entries_.size()) return;
  Message answer{.kind = MessageKind::fetched, .epoch = epoch_, .position = position_at(behind)};
  std::size_t bytes = 0;
  for (Index i = behind; i < entries_.size(); ++i) {
    bytes += kEntryHeaderBytes + entries_[i].payload.size();
    if (bytes > options_.message_bytes && !answer.entries.empty()) break;
    answer.entries.push_back(entries_[i]);
  }
  send(from, std::move(answer));
}

void Replica::on_append(std::uint64_t now_ns, ReplicaId from, const Message& message) {
  if (message.epoch < epoch_ && !DOLMEN_PLANTED("log.accept_any_epoch")) {
    return send(from, {.kind = MessageKind::refuse, .epoch = epoch_});
  }
  if (message.epoch > epoch_) enter_epoch(now_ns, message.epoch, from);
  if (role_ == Role::leader && message.epoch < epoch_) return;  // only with that bug planted
  DOLMEN_ASSERT(role_ != Role::leader);                         // an epoch has one
  if (role_ == Role::candidate) follow(now_ns);
  leader_ = from;
  heard_ns_ = now_ns;
  rest_until_silence(now_ns);

  const Position before = message.position;
  const bool follows = before.index <= stable_ ||
                       (before.index <= entries_.size() && position_at(before.index) == before);
  if (!follows && !(DOLMEN_PLANTED("log.no_match") && before.index <= entries_.size())) {
    DOLMEN_PROBE("log.mismatch");
    const Index retry = before.index > entries_.size() ? entries_.size() : stable_;
    return send(from, {.kind = MessageKind::mismatch, .epoch = epoch_, .position = {0, retry}});
  }
  for (const Entry& entry : message.entries) {
    if (entry.index <= stable_) continue;
    if (entry.index <= entries_.size() && at(entry.index).origin == entry.origin) continue;
    if (entry.origin < position_at(entry.index - 1).origin) return;  // no log of ours
    truncate_from(entry.index);
    append(entry);
  }
  const Index matched = before.index + message.entries.size();
  const Index decided = DOLMEN_PLANTED("log.stable_unmatched")
                            ? std::min(message.stable, entries_.size())
                            : std::min(message.stable, matched);
  stable_ = std::max(stable_, decided);
  Message answer{.kind = MessageKind::appended, .epoch = message.epoch, .position = {0, matched}};
  if (DOLMEN_PLANTED("log.accept_unsynced")) return send(from, std::move(answer));
  send_when_durable(from, std::move(answer));
}

void Replica::persisted(std::uint64_t now_ns, RecordCount count) {
  DOLMEN_ASSERT(count <= records_made_);
  records_durable_ = std::max(records_durable_, count);
  const auto first_waiting = std::ranges::find_if(
      waiting_, [&](const Waiting& waiting) { return waiting.record > records_durable_; });
  for (auto letter = waiting_.begin(); letter != first_waiting; ++letter) {
    output_.letters.push_back(std::move(letter->letter));
  }
  waiting_.erase(waiting_.begin(), first_waiting);
  if (role_ == Role::candidate) count_grants(now_ns);
  if (role_ == Role::leader) count_matches();
}

}  // namespace dolmen::log
