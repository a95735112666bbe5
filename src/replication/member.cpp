// SPDX-License-Identifier: Apache-2.0
#include "replication/member.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "replication/message_heads.hpp"

namespace dolmen::replication {

Member::Member(const sys::Env& env, fabric::Endpoint& endpoint, std::unique_ptr<Journal> journal,
               const MemberOptions& options)
    : env_(env),
      endpoint_(endpoint),
      journal_(std::move(journal)),
      options_(options),
      found_(journal_ ? journal_->take_recovered() : std::map<GroupId, Hosted>{}),
      now_ns_(env.clock->monotonic_ns()) {}

Member::~Member() { checkpoint_thread_.reset(); }

Result<bool> Member::turn() {
  look_at_clock();
  // What was asked for since the last turn leaves with this poll().
  DOLMEN_TRY(bool busy, propose_all());
  DOLMEN_TRY(const bool has_arrived, endpoint_.poll(*this));
  busy |= has_arrived;
  // Again, if there was anything: time-outs are judged by what is true now.
  if (has_arrived) look_at_clock();
  for (auto& [group, hosting] : groups_) {
    if (now_ns() >= hosting.replica.next_wakeup_ns()) {
      hosting.replica.tick(now_ns());
      busy = true;
    }
    if (journal_ == nullptr) {
      busy |= hosting.replica.poll();
      if (hosting.replica.is_superseded()) return fail(Errc::superseded, "a member's memory");
      ask_to_join(group, hosting);
      admit(hosting);
    }
  }
  DOLMEN_TRY(const bool has_asked, begin_reads());
  DOLMEN_TRY(const bool has_proposed, propose_all());
  busy |= has_asked || has_proposed;
  for (auto& [group, hosting] : groups_) {
    if (!hosting.asking.empty()) hosting.replica.send_round();
  }
  DOLMEN_CHECK(carry_out_all());
  if (!is_synced_) {
    busy = true;
    DOLMEN_CHECK(endpoint_.poll(*this));  // what was sent leaves before the disk is waited for
    const std::uint64_t began_ns = env_.clock->monotonic_ns();
    DOLMEN_CHECK(journal_->sync());
    look_at_clock();
    meter_.syncs.add(now_ns() - began_ns);
    is_synced_ = true;
    for (auto& [group, hosting] : groups_) hosting.replica.persisted(now_ns(), hosting.appended);
    DOLMEN_CHECK(carry_out_all());
  }
  for (auto& [group, hosting] : groups_) DOLMEN_CHECK(serve(group, hosting));
  DOLMEN_TRY(const bool has_moved, look_after_states());
  busy |= has_moved;
  if (has_new_addresses_ && !DOLMEN_BUGGIFY("replication.roster_late")) {
    has_new_addresses_ = false;
    tell_addresses();
  }
  DOLMEN_CHECK(journal_ ? look_after_journal() : look_after_memory(busy));
  // What may be proposed only now waits for nothing that would wake this one.
  for (const auto& [group, hosting] : groups_) {
    busy |= hosting.requests.may_begin(hosting.pending.size()) > 0 && can_propose(hosting);
    busy |= can_begin_read(hosting);
  }
  return busy;
}

Result<void> Member::wait(std::uint64_t until_ns) {
  for (const auto& [group, hosting] : groups_) {
    until_ns = std::min(until_ns, hosting.replica.next_wakeup_ns());
    if (is_outside(hosting)) until_ns = std::min(until_ns, hosting.join_at_ns);
  }
  return endpoint_.wait(std::min(until_ns, states_wake_ns()));
}

// --- what arrives --------------------------------------------------------------------------------

void Member::on_connected(const fabric::NodeName& /*peer*/) {}

void Member::on_lost(const fabric::NodeName& peer, const Error& /*why*/) {
  for (auto& [group, hosting] : groups_) {
    const auto leader = hosting.replica.leader();
    if (leader && node_of(*leader) == peer.node) hosting.replica.lost_contact(now_ns(), *leader);
  }
  forget_reader(peer);
}

void Member::on_refused(fabric::NodeId /*who*/, const Error& /*why*/) {}

void Member::on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) {}

// What does not decode is of a broken program or an enemy that holds the key: it is dropped.
void Member::on_message(const fabric::NodeName& from, base::Bytes message) {
  const auto opened = decode_envelope(message);
  if (!opened) return;
  const auto& [envelope, body] = *opened;
  if (options_.may_say && !options_.may_say(from, envelope, body)) return;
  if (needs_right(envelope.kind)) {
    const Right right = right_of(from, envelope.shown);
    if (right != Right::held) return deny(from, envelope, body, right);
  }
  if (envelope.kind == EnvelopeKind::ask_roster) {
    return send(from, {.kind = EnvelopeKind::roster, .group = envelope.group},
                encode(roster(envelope.group)));
  }
  if (envelope.kind == EnvelopeKind::ask_map || envelope.kind == EnvelopeKind::map ||
      envelope.kind == EnvelopeKind::order || envelope.kind == EnvelopeKind::report ||
      envelope.kind == EnvelopeKind::mail || envelope.kind == EnvelopeKind::ask_metrics) {
    if (options_.on_cluster) options_.on_cluster(from, envelope, body);
    return;
  }
  const auto found = groups_.find(envelope.group);
  if (found == groups_.end()) return;
  Hosting& hosting = found->second;
  if (envelope.to != log::ReplicaId{} && envelope.to != hosting.replica.self()) return;
  switch (envelope.kind) {
    case EnvelopeKind::replica: {
      // Nobody speaks for a replica of another node.
      if (node_of(envelope.from) != from.node || envelope.to == log::ReplicaId{}) return;
      const auto decoded = log::decode_message(body);
      if (!decoded) return;
      // Who speaks in an epoch leads no earlier one, and no earlier life of it runs.
      if (hosting.lanes) hosting.lanes->let_go(envelope.from, decoded->epoch);
      // What it promises begins now, however long this turn has lasted.
      if (hosting.replica.has_leases()) look_at_clock();
      return hosting.replica.receive(now_ns(), envelope.from, *decoded);
    }
    case EnvelopeKind::request:
    case EnvelopeKind::ask_outcome: {
      const auto request = decode_request(body);
      const bool is_question = envelope.kind == EnvelopeKind::ask_outcome;
      if (!request) return;
      if (is_question && (request->session == 0 || !request->command.empty())) return;
      const Holder holder = options_.holder_of ? options_.holder_of(from) : 0;
      return take_request(
          envelope.group, hosting,
          {.pending = {.client = from, .number = request->number},
           .session = request->session,
           .sequence = request->sequence,
           .payload = is_question ? encode_question(request->session, request->sequence, holder)
                                  : encode_command(request->session, request->sequence,
                                                   request->command, holder),
           .shown = envelope.shown,
           .is_question = is_question});
    }
    case EnvelopeKind::read_request: {
      const auto asked = decode_read_request(body);
      if (!asked) return;
      return take_reader(envelope.group, hosting,
                         {.client = from,
                          .number = asked->number,
                          .level = asked->level,
                          .query = {asked->query.begin(), asked->query.end()},
                          .shown = envelope.shown});
    }
    case EnvelopeKind::ask_status:
      return send(
          from,
          {.kind = EnvelopeKind::status, .group = envelope.group, .from = hosting.replica.self()},
          encode(status_of(hosting)));
    case EnvelopeKind::join:
      // Nobody joins for another node.
      if (journal_ == nullptr && node_of(envelope.from) == from.node) {
        log::ReplicaId& latest = hosting.joining[from.node];
        latest = std::max(latest, envelope.from);
      }
      return;
    case EnvelopeKind::change: {
      const auto asked = decode_change(body);
      if (!asked) return;
      return send(from,
                  {.kind = EnvelopeKind::change_reply,
                   .group = envelope.group,
                   .from = hosting.replica.self()},
                  encode(change(envelope.group, *asked)));
    }
    case EnvelopeKind::roster: {
      const auto told = decode_roster(body);
      if (told) hear_addresses(hosting, told->addresses);
      return;
    }
    case EnvelopeKind::ask_memory:
      return answer_memory(envelope.group, hosting, from, envelope.shown);
    case EnvelopeKind::ask_lease:
      return answer_lease(from, envelope.group, hosting, body);
    case EnvelopeKind::ask_state:
      return on_ask_state(from, envelope, hosting, body);
    case EnvelopeKind::ask_copy:
      return on_ask_copy(from, hosting, body);
    case EnvelopeKind::state:
      return on_state(envelope, hosting, body);
    case EnvelopeKind::ask_entries:
      return tell_entries(from, envelope.group, hosting, body);
    case EnvelopeKind::reply:
    case EnvelopeKind::status:
    case EnvelopeKind::ask_roster:
    case EnvelopeKind::change_reply:
    case EnvelopeKind::ask_map:
    case EnvelopeKind::map:
    case EnvelopeKind::order:
    case EnvelopeKind::report:
    case EnvelopeKind::mail:
    case EnvelopeKind::memory:
    case EnvelopeKind::entries:
    case EnvelopeKind::ask_metrics:
    case EnvelopeKind::metrics:
    case EnvelopeKind::denied:
    case EnvelopeKind::lease:
      return;
  }
}

void Member::submit(const GroupId& group, base::Bytes command, Answer answer) {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return answer({.status = ReplyStatus::not_leader});
  take_request(group, found->second,
               {.pending = {.answer = std::move(answer)},
                .session = kNoSession,
                .sequence = 1,
                .payload = encode_command(kNoSession, 1, command)});
}

void Member::take_request(const GroupId& group, Hosting& hosting, Waiting waiting) {
  waiting.pending.since_ns = now_ns();
  if (hosting.replica.role() != log::Role::leader) {
    return answer(group, hosting, waiting.pending,
                  {.status = ReplyStatus::not_leader, .value = leader_node(hosting)});
  }
  const std::size_t bytes = waiting.payload.size();
  const auto retry_us = hosting.requests.push(waiting.pending.client, bytes, hosting.pending.size(),
                                              now_ns(), waiting);
  if (!retry_us) return;
  DOLMEN_PROBE("replication.busy");
  answer(group, hosting, waiting.pending, {.status = ReplyStatus::busy, .value = *retry_us});
}

/// As far as is known; 0: nobody.
std::uint64_t Member::leader_node(const Hosting& hosting) {
  const auto leader = hosting.replica.leader();
  return leader ? static_cast<std::uint64_t>(node_of(*leader)) : 0;
}

// --- what follows from it ------------------------------------------------------------------------

/// What clients asked for. False: nothing.
Result<bool> Member::propose_all() {
  bool busy = false;
  for (auto& [group, hosting] : groups_) {
    if (hosting.requests.may_begin(hosting.pending.size()) == 0 || !can_propose(hosting)) continue;
    busy = true;
    // A replica that took over another's log may lead already: first what it had executed of its
    // own is undone, or effect_of() would see it.
    DOLMEN_CHECK(carry_out(group, hosting));
    propose(group, hosting);
    DOLMEN_CHECK(carry_out(group, hosting));
  }
  return busy;
}

void Member::propose(const GroupId& group, Hosting& hosting) {
  log::Replica& replica = hosting.replica;
  DOLMEN_ASSERT(hosting.executor || replica.role() != log::Role::leader);
  const bool is_ahead = hosting.executes_ahead();
  const bool is_bounded = has_memory_witness(hosting);
  const std::uint64_t began_ns = env_.clock->monotonic_ns();
  const std::uint64_t executing_ns = hosting.work_ns;
  for (std::size_t left = hosting.requests.may_begin(hosting.pending.size()); left > 0; --left) {
    if ((is_bounded || hosting.machine->waits_for_decided()) && !can_propose(hosting)) break;
    if (DOLMEN_BUGGIFY("replication.propose_later")) break;
    auto [waiting, is_late] = hosting.requests.pop(now_ns());
    if (replica.role() != log::Role::leader) {
      answer(group, hosting, waiting.pending, {.status = ReplyStatus::not_leader});
      continue;
    }
    if (is_late) {
      answer(group, hosting, waiting.pending,
             {.status = ReplyStatus::busy, .value = hosting.requests.retry_us(0)});
      continue;
    }
    const Right right = right_of(waiting.pending.answer, waiting.pending.client, waiting.shown);
    if (right != Right::held) {
      answer(group, hosting, waiting.pending, {.status = refusal_of(right)});
      continue;
    }
    std::vector<std::byte> payload = std::move(waiting.payload);
    if (waiting.session != 0) {
      const base::Bytes command = base::Bytes(payload).subspan(kCommandHeadBytes);
      const Holder holder = base::load<Holder>(payload, 16);
      if (is_ahead) execute(hosting, replica.end().index);
      // Executing the entry would say the same; a machine's program does not even run for it.
      if (!hosting.executor->may_use(waiting.session, holder)) {
        answer(group, hosting, waiting.pending, {.status = ReplyStatus::no_right});
        continue;
      }
      // What an earlier attempt did is not asked for again: the state that effect_of() sees may
      // hold it. The entry is for its place in the log alone, and its result.
      if (waiting.is_question) {
        DOLMEN_PROBE("replication.asked_outcome");  // its place in the log is the answer
      } else if (hosting.executor->has_run(waiting.session, waiting.sequence) &&
                 !DOLMEN_PLANTED("replication.run_again")) {
        payload.resize(kCommandHeadBytes);
      } else if (const auto effect = hosting.machine->effect_of(command); effect) {
        if (!std::ranges::equal(*effect, command)) {
          payload = encode_command(waiting.session, waiting.sequence, *effect, holder);
        }
      } else if (is_in_log(hosting, waiting.session, waiting.sequence, holder)) {
        payload.resize(kCommandHeadBytes);
      } else {
        const bool is_busy = effect.error().code() == Errc::busy;
        answer(group, hosting, waiting.pending,
               {.status = is_busy ? ReplyStatus::busy : ReplyStatus::refused});
        continue;
      }
    }
    waiting.pending.bytes = log::lane_entry_bytes(payload.size());
    const bool is_too_large =
        is_bounded && waiting.pending.bytes > undecided_bytes_max(hosting) / 2;
    const auto where = is_too_large ? std::nullopt : replica.propose_unsent(std::move(payload));
    if (!where) {
      answer(group, hosting, waiting.pending, {.status = ReplyStatus::refused});  // too large
      continue;
    }
    waiting.pending.place = *where;
    hosting.pending_bytes += waiting.pending.bytes;
    DOLMEN_ASSERT(hosting.pending.empty() || hosting.pending.back().place < *where);
    hosting.pending.push_back(std::move(waiting.pending));
  }
  // What was executed in between is accounted for there.
  const std::uint64_t took_ns = env_.clock->monotonic_ns() - began_ns;
  hosting.work_ns += took_ns - std::min(took_ns, hosting.work_ns - executing_ns);
  replica.send_proposed(now_ns());
}

/// Whether this command of a session is among those that were not executed yet.
bool Member::is_in_log(const Hosting& hosting, std::uint64_t session, std::uint64_t sequence,
                       Holder holder) {
  if (session == kNoSession) return false;
  const std::vector<std::byte> head = encode_command(session, sequence, {}, holder);
  for (log::Index i = hosting.executor->executed(); i < hosting.replica.end().index; ++i) {
    const log::Entry& entry = hosting.replica.at(i + 1);
    if (entry.kind == log::EntryKind::command && entry.payload.size() >= head.size() &&
        std::ranges::equal(std::span(entry.payload).first(head.size()), head)) {
      return true;
    }
  }
  return false;
}

Result<void> Member::carry_out_all() {
  for (auto& [group, hosting] : groups_) DOLMEN_CHECK(carry_out(group, hosting));
  return {};
}

Result<void> Member::carry_out(const GroupId& group, Hosting& hosting) {
  publish_promises(hosting);
  write_lanes(hosting);
  log::Output output = hosting.replica.take_output();
  publish_promises(hosting);  // before anything leaves that rests on them
  if (output.installed) {
    give_up(group, hosting, 0);
    give_up_ahead(group, hosting, 0);
    if (hosting.executor) {
      hosting.told_decided = 0;
      DOLMEN_CHECK(hosting.executor->restore(output.installed.get()));
      for (const auto& [node, text] : hosting.executor->addresses()) {
        hosting.addresses.insert_or_assign(node, text);
      }
    }
    has_new_addresses_ = true;
  }
  if (output.wanted) DOLMEN_CHECK(want_state(hosting, output.wanted));
  if (output.undo_from) {
    give_up(group, hosting, *output.undo_from);
    give_up_ahead(group, hosting, *output.undo_from);
    if (hosting.executor && hosting.executor->executed() >= *output.undo_from) {
      DOLMEN_CHECK(execute_again(hosting, *output.undo_from - 1));
    }
  }
  if (hosting.replica.role() != log::Role::leader) give_up(group, hosting, 0);
  hosting.appended += output.records.size();
  if (!output.records.empty()) {
    DOLMEN_CHECK(journal_->append(group, output.records));
    is_synced_ = false;
    for (const log::Record& record : output.records) {
      if (!record.entry) continue;
      hosting.meter.wrote(*record.entry);
      auto told = address_in(*record.entry);
      if (!told) continue;
      hosting.addresses.insert_or_assign(told->first, std::move(told->second));
      has_new_addresses_ = true;
    }
  }
  for (const auto& letter : output.letters) {
    const auto to = endpoint_.connected(node_of(letter.to));
    // A lost one is sent again by the replica.
    if (!to || DOLMEN_BUGGIFY("replication.letter_lost")) continue;
    const Envelope envelope{.kind = EnvelopeKind::replica,
                            .group = group,
                            .from = hosting.replica.self(),
                            .to = letter.to};
    const std::vector<std::byte> body = log::encode(letter.message);
    send(*to, envelope, body);
    if (DOLMEN_BUGGIFY("replication.letter_again")) send(*to, envelope, body);
  }
  return {};
}

void Member::execute(Hosting& hosting, log::Index up_to) {
  if (!hosting.executor || hosting.executor->executed() >= up_to) return;
  const std::uint64_t began_ns = env_.clock->monotonic_ns();
  while (hosting.executor->executed() < up_to) {
    const log::Index index = hosting.executor->executed() + 1;
    const log::Entry& entry = hosting.replica.at(index);
    hosting.bytes_held += log::kEntryHeaderBytes + entry.payload.size();
    const auto waits = first_pending(hosting, index);
    const bool is_wanted = waits != hosting.pending.end() && waits->place.index == index;
    Executor::Outcome outcome = hosting.executor->execute(entry, is_wanted);
    if (is_wanted) waits->outcome = std::move(outcome);
    ++hosting.worked;
  }
  hosting.work_ns += env_.clock->monotonic_ns() - began_ns;
}

Result<void> Member::execute_again(Hosting& hosting, log::Index up_to) {
  DOLMEN_PROBE("replication.undone");
  hosting.told_decided = 0;
  DOLMEN_CHECK(hosting.executor->restore(hosting.replica.snapshot().get()));
  execute(hosting, up_to);
  return {};
}

Result<void> Member::serve(const GroupId& group, Hosting& hosting) {
  const log::Replica& replica = hosting.replica;
  // With such witnesses not before a snapshot can no more be needed for that to be decided.
  const bool is_ahead = hosting.executes_ahead() && replica.role() == log::Role::leader &&
                        (!has_memory_witness(hosting) || leads(hosting));
  execute(hosting, is_ahead ? replica.end().index : replica.stable());
  // Whoever is told of something finds it in memory that others read, from then on.
  if (!hosting.memory.empty()) DOLMEN_CHECK(tell_decided(hosting));
  std::uint64_t answered = 0;
  while (!hosting.pending.empty() && hosting.pending.front().place.index <= replica.stable()) {
    if (DOLMEN_BUGGIFY("replication.answer_later")) break;
    ++answered;
    Pending pending = std::move(hosting.pending.front());
    hosting.pending.pop_front();
    hosting.pending_bytes -= pending.bytes;
    const bool is_own = pending.place.index > replica.base().index &&
                        replica.at(pending.place.index).origin == pending.place.origin &&
                        pending.outcome;
    if (!is_own) pending.outcome = Executor::Outcome{.status = ReplyStatus::lost};
    pending.outcome->index = pending.place.index;
    answer(group, hosting, pending, *pending.outcome);
  }
  account(hosting, answered);
  hosting.meter.look(replica);
  DOLMEN_CHECK(tell_decided(hosting));
  serve_reads(group, hosting);
  return {};
}

void Member::give_up(const GroupId& group, Hosting& hosting, log::Index from) {
  // What is decided is answered as such.
  const auto first = first_pending(hosting, std::max(from, hosting.replica.stable() + 1));
  std::vector<Pending> lost;
  std::ranges::move(first, hosting.pending.end(), std::back_inserter(lost));
  hosting.pending.erase(first, hosting.pending.end());
  for (const Pending& pending : lost) {
    hosting.pending_bytes -= pending.bytes;
    answer(group, hosting, pending, {.status = ReplyStatus::lost});
  }
}

/// The first one that waits for the entry at `index` or one behind it.
std::deque<Member::Pending>::iterator Member::first_pending(Hosting& hosting, log::Index index) {
  // Mostly each entry has one that waits for it.
  if (!hosting.pending.empty() && hosting.pending.front().place.index <= index) {
    const log::Index behind = index - hosting.pending.front().place.index;
    const auto there = hosting.pending.begin() +
                       static_cast<std::ptrdiff_t>(std::min(behind, hosting.pending.size() - 1));
    if (there->place.index == index) return there;
  }
  return std::ranges::lower_bound(hosting.pending, index, {},
                                  [](const Pending& pending) { return pending.place.index; });
}

void Member::answer(const GroupId& group, Hosting& hosting, const Pending& pending,
                    const Executor::Outcome& outcome) {
  if (pending.answer) return pending.answer(outcome);
  hosting.meter.calls.answered(outcome.status);
  if (outcome.status == ReplyStatus::done) meter_.calls.add(now_ns() - pending.since_ns);
  reply(group, hosting, pending.client, pending.number, outcome);
}

void Member::reply(const GroupId& group, const Hosting& hosting, const fabric::NodeName& client,
                   std::uint64_t number, const Executor::Outcome& outcome) {
  Reply told{
      .number = number, .status = outcome.status, .value = outcome.value, .result = outcome.result};
  if (told.status == ReplyStatus::done) {
    told.index = outcome.index;
    told.level = journal_ ? Level::durable : Level::replicated;
  }
  const auto head = head_of(
      Envelope{.kind = EnvelopeKind::reply, .group = group, .from = hosting.replica.self()});
  const auto told_head = head_of(told);
  const std::array<base::Bytes, 3> parts{head, told_head, told.result};
  (void)endpoint_.send(client, parts);
}

// What cannot be sent is lost: replicas and clients ask again.
void Member::send(const fabric::NodeName& to, const Envelope& envelope, base::Bytes body,
                  base::Bytes more) {
  const auto head = head_of(envelope);
  const std::array<base::Bytes, 3> parts{head, body, more};
  (void)endpoint_.send(to, parts);
}

Result<void> Member::close() {
  if (!journal_) return {};
  return journal_->close();
}

}  // namespace dolmen::replication
