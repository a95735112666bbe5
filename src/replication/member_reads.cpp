// SPDX-License-Identifier: Apache-2.0
//
// Queries: what changes nothing needs no entry in the log (docs/replicated.md, "Reads").
#include <algorithm>
#include <utility>

#include "base/hooks.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

/// What the machine took for its commands.
void Member::account(Hosting& hosting, std::uint64_t answered) {
  if (hosting.worked > 0) {
    hosting.requests.worked(hosting.work_ns, hosting.worked);
    hosting.work_ns = 0;
    hosting.worked = 0;
  }
  hosting.requests.answered(now_ns(), answered);
}

void Member::take_reader(const GroupId& group, Hosting& hosting, Reader reader) {
  reader.since_ns = now_ns();
  const bool is_leaders = reader.level != ReadLevel::stale || !hosting.executor;
  if (is_leaders && hosting.replica.role() != log::Role::leader) {
    return answer_reader(group, hosting, reader,
                         {.status = ReplyStatus::not_leader, .value = leader_node(hosting)});
  }
  const std::size_t bytes = reader.query.size();
  const std::size_t begun = hosting.asking.size() + hosting.ahead.size();
  const auto retry_us = hosting.reads.push(reader.client, bytes, begun, now_ns(), reader);
  if (!retry_us) return;
  answer_reader(group, hosting, reader, {.status = ReplyStatus::busy, .value = *retry_us});
}

void Member::query(const GroupId& group, base::Bytes query, ReadLevel level, Answer answer) {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return answer({.status = ReplyStatus::not_leader});
  take_reader(group, found->second,
              {.level = level, .query = {query.begin(), query.end()}, .answer = std::move(answer)});
}

bool Member::can_begin_read(const Hosting& hosting) const {
  if (hosting.reads.may_begin(hosting.asking.size() + hosting.ahead.size()) == 0) return false;
  return leads(hosting) || hosting.replica.role() != log::Role::leader;
}

/// False: nobody reads.
Result<bool> Member::begin_reads() {
  bool busy = false;
  for (auto& [group, hosting] : groups_) {
    if (!can_begin_read(hosting)) continue;
    busy = true;
    // What it had executed ahead and is gone is nobody's to see.
    DOLMEN_CHECK(carry_out(group, hosting));
    begin_reads(group, hosting);
  }
  return busy;
}

void Member::begin_reads(const GroupId& group, Hosting& hosting) {
  log::Replica& replica = hosting.replica;
  std::size_t left = hosting.reads.may_begin(hosting.asking.size() + hosting.ahead.size());
  for (; left > 0; --left) {
    if (DOLMEN_BUGGIFY("replication.read_later")) break;
    auto [reader, is_late] = hosting.reads.pop(now_ns());
    if (is_late) {
      answer_reader(group, hosting, reader,
                    {.status = ReplyStatus::busy, .value = hosting.reads.retry_us(0)});
      continue;
    }
    const Right right = right_of(reader.answer, reader.client, reader.shown);
    if (right != Right::held) {
      answer_reader(group, hosting, reader, {.status = refusal_of(right)});
      continue;
    }
    if (reader.level == ReadLevel::stale && hosting.executor) {
      read(group, hosting, reader);
      continue;
    }
    const bool is_by_lease = reader.level == ReadLevel::lease && hosting.executor &&
                             can_read(hosting, replica.stable()) && has_lease(hosting) &&
                             !DOLMEN_BUGGIFY("replication.lease_unused");
    if (is_by_lease && read(group, hosting, reader, true)) continue;
    const auto ticket = replica.begin_read();
    if (!ticket) {
      answer_reader(group, hosting, reader,
                    {.status = ReplyStatus::not_leader, .value = leader_node(hosting)});
      continue;
    }
    Asking asking{.reader = std::move(reader), .ticket = *ticket};
    if (DOLMEN_PLANTED("replication.read_early")) {
      if (auto early = hosting.machine->read(asking.reader.query)) asking.early = std::move(*early);
    }
    hosting.asking.push_back(std::move(asking));
  }
}

bool Member::can_read(const Hosting& hosting, const Asking& asking, std::uint64_t confirmed) const {
  return asking.ticket.round <= confirmed && can_read(hosting, asking.ticket.index);
}

bool Member::can_read(const Hosting& hosting, log::Index index) {
  if (hosting.executor->executed() < index) return false;
  // Its state is being made ready for whoever leads.
  return !hosting.machine->waits_for_decided() ||
         hosting.told_decided >= hosting.replica.end().index;
}

void Member::serve_reads(const GroupId& group, Hosting& hosting) {
  log::Replica& replica = hosting.replica;
  const log::Index stable = replica.stable();
  while (!hosting.ahead.empty() && hosting.ahead.front().outcome.index <= stable) {
    answer_reader(group, hosting, hosting.ahead.front().reader, hosting.ahead.front().outcome);
    hosting.ahead.pop_front();
  }
  if (hosting.asking.empty()) return;
  const std::uint64_t confirmed = replica.confirmed_round();
  while (!hosting.asking.empty()) {
    Asking& first = hosting.asking.front();
    const bool leads_on =
        replica.role() == log::Role::leader && replica.epoch() == first.ticket.epoch;
    if (!leads_on && !DOLMEN_PLANTED("replication.read_deposed")) {
      answer_reader(group, hosting, first.reader,
                    {.status = ReplyStatus::not_leader, .value = leader_node(hosting)});
      hosting.asking.pop_front();
      continue;
    }
    if (leads_on && !can_read(hosting, first, confirmed)) break;
    Asking asking = std::move(first);
    hosting.asking.pop_front();
    if (!asking.early.empty()) {
      answer_reader(group, hosting, asking.reader, {.result = asking.early});
      continue;
    }
    read(group, hosting, asking.reader);
  }
}

// What is executed ahead may yet be undone: then nobody is told what it was.
bool Member::read(const GroupId& group, Hosting& hosting, Reader& reader, bool is_by_lease) {
  const std::uint64_t began_ns = env_.clock->monotonic_ns();
  Executor::Outcome outcome{.index = hosting.executor->executed()};
  const bool is_leader = hosting.replica.role() == log::Role::leader;
  const bool is_ready = leads(hosting) && (!hosting.machine->waits_for_decided() ||
                                           hosting.told_decided >= hosting.replica.end().index);
  // Who takes whatever there is asks for no more.
  const bool is_prepared = is_ready && reader.level != ReadLevel::stale;
  const Result<void> prepared = is_prepared ? hosting.machine->prepare_read() : Result<void>();
  Result<std::vector<std::byte>> found =
      prepared ? hosting.machine->read(reader.query) : std::unexpected(prepared.error());
  hosting.reads.worked(env_.clock->monotonic_ns() - began_ns, 1);
  // After it was read: that may have taken any time.
  if (is_by_lease) {
    if (!has_lease(hosting)) return false;
    ++hosting.meter.reads_by_lease;
  }
  if (found && found->size() > log::kPayloadBytesMax) {
    found = fail(Errc::too_large, "an answer to a query", found->size());
  }
  if (found) {
    outcome.result = std::move(*found);
  } else if (found.error().code() != Errc::busy) {
    outcome.status = ReplyStatus::refused;
  } else if (is_leader) {
    outcome.status = ReplyStatus::busy;
  } else {
    outcome = {.status = ReplyStatus::not_leader, .value = leader_node(hosting)};
  }
  const bool is_of_state =
      outcome.status == ReplyStatus::done || outcome.status == ReplyStatus::refused;
  // … nor told before it is in memory that others read.
  const log::Index told = hosting.memory.empty()
                              ? hosting.replica.stable()
                              : std::min(hosting.replica.stable(), shown_in_memory(hosting));
  if (!is_of_state || outcome.index <= told) {
    answer_reader(group, hosting, reader, outcome);
    return true;
  }
  DOLMEN_PROBE("replication.read_ahead");
  hosting.ahead.push_back({.reader = std::move(reader), .outcome = std::move(outcome)});
  return true;
}

/// Now, whatever the turn's clock says.
bool Member::has_lease(Hosting& hosting) const {
  if (!hosting.replica.has_leases()) return false;
  const std::uint64_t now_ns = env_.clock->monotonic_ns();
  return now_ns < hosting.replica.lease_until_ns(now_ns);
}

/// Those who have read a state of which entries from there on are no more, or not known to be.
void Member::give_up_ahead(const GroupId& group, Hosting& hosting, log::Index from) {
  std::erase_if(hosting.ahead, [&](const Ahead& ahead) {
    if (ahead.outcome.index < from) return false;
    answer_reader(group, hosting, ahead.reader,
                  {.status = ReplyStatus::not_leader, .value = leader_node(hosting)});
    return true;
  });
}

void Member::answer_reader(const GroupId& group, Hosting& hosting, const Reader& reader,
                           const Executor::Outcome& outcome) {
  if (reader.answer) return reader.answer(outcome);
  hosting.meter.reads.answered(outcome.status);
  if (outcome.status == ReplyStatus::done) meter_.reads.add(now_ns() - reader.since_ns);
  reply(group, hosting, reader.client, reader.number, outcome);
}

}  // namespace dolmen::replication
