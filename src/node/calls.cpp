// SPDX-License-Identifier: Apache-2.0
#include "node/calls.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "replication/message_heads.hpp"

namespace dolmen::node {

using replication::EnvelopeKind;
using replication::ReplyStatus;

Result<void> Calls::begin_call(std::vector<std::byte> command, std::uint64_t deadline_ns,
                               Told told) {
  return begin(
      {.payload = std::move(command), .told = std::move(told), .deadline_ns = deadline_ns});
}

Result<void> Calls::begin_read(std::vector<std::byte> query, replication::ReadLevel level,
                               std::uint64_t deadline_ns, Told told) {
  return begin({.level = level,
                .payload = std::move(query),
                .told = std::move(told),
                .deadline_ns = deadline_ns});
}

Result<void> Calls::begin(Call call) {
  if (live_ >= kCallsMax) return fail(Errc::busy, "calls of a client under way: go_on() first");
  if (!call.level) {
    if (free_sessions_.empty()) {
      free_sessions_.push_back(sessions_.size());
      sessions_.emplace_back();
    }
    call.session = free_sessions_.back();
    free_sessions_.pop_back();
    // Also after a call that timed out: its command is not to be taken for this one.
    ++sessions_[call.session].sequence;
  }
  if (free_calls_.empty()) {
    free_calls_.push_back(calls_.size());
    calls_.emplace_back();
  }
  const Slot slot = free_calls_.back();
  free_calls_.pop_back();
  call.is_live = true;
  wakeup_ns_ = std::min(wakeup_ns_, call.deadline_ns);
  calls_[slot] = std::move(call);
  ++live_;
  queue(slot);
  return {};
}

void Calls::queue(Slot slot) {
  Call& call = calls_[slot];
  if (call.number != 0) by_number_.erase(std::exchange(call.number, 0));
  if (std::exchange(call.is_queued, true)) return;
  queue_.push_back(slot);
}

void Calls::later(Slot slot, std::uint64_t at_ns) {
  Call& call = calls_[slot];
  if (call.number != 0) by_number_.erase(std::exchange(call.number, 0));
  call.act_ns = at_ns;
  wakeup_ns_ = std::min(wakeup_ns_, at_ns);
}

void Calls::end(Slot slot, Result<Outcome> outcome) {
  Call& call = calls_[slot];
  DOLMEN_ASSERT(call.is_live);
  if (call.number != 0) by_number_.erase(call.number);
  Place place{};
  if (call.session != kNoSession) {
    Session& session = sessions_[call.session];
    if (session.session != 0) place = session;
    // Another command of it would be in the way of whoever asks what became of this one.
    if (!outcome && is_unsure(call)) session = {};
    free_sessions_.push_back(call.session);
  }
  ended_.push_back({std::move(call.told), std::move(outcome), place});
  call = {.is_queued = call.is_queued};
  // Its place in the queue is passed over, and only then used again.
  if (!call.is_queued) free_calls_.push_back(slot);
  --live_;
}

/// Its patience is at its end.
void Calls::give_up(Slot slot) {
  const Call& call = calls_[slot];
  if (const auto why = line_.refused()) return end(slot, std::unexpected(*why));
  // The attempt that is under way may be executed yet, as those before may.
  const bool is_unsure = this->is_unsure(call);
  if (call.is_stale && !is_unsure) {
    return end(slot, fail(Errc::no_right, "the right that this client shows was changed since"));
  }
  if (call.retry_ns != 0 && !is_unsure) {
    return end(slot, std::unexpected(too_much(call.retry_ns)));
  }
  end(slot, fail(Errc::timed_out, "no leader of the group answered"));
}

/// Members hear of what the owner said within a moment, one before the other, and so does this one.
void Calls::deny(Slot slot, ReplyStatus status, std::uint64_t now_ns) {
  constexpr std::uint64_t kMomentNs = 200'000'000;
  Call& call = calls_[slot];
  if (call.denied_ns == 0) call.denied_ns = now_ns;
  call.is_stale = status == ReplyStatus::stale;
  if (!call.is_stale && now_ns >= call.denied_ns + kMomentNs) {
    if (call.is_unsure && !call.level) {
      return end(slot,
                 fail(Errc::connection_lost, "refused, after an attempt that may yet be executed"));
    }
    return end(slot, fail(Errc::no_right, "this client's key has no right to that"));
  }
  line_.look_for_right();
  // It may be that one alone that knows nobody: cut off before it heard of anything.
  if (call.is_stale && call.asked == line_.asked_now()) line_.ask_another(0);
  later(slot, now_ns + 4 * pause_ns_);
}

bool Calls::on_reply(fabric::NodeId from, const replication::Reply& reply, std::uint64_t now_ns) {
  const auto found = by_number_.find(reply.number);
  if (found == by_number_.end()) return false;
  const Slot slot = found->second;
  Call& call = calls_[slot];
  if (call.asked != from) return true;
  by_number_.erase(found);
  call.number = 0;
  switch (reply.status) {
    case ReplyStatus::done:
      if (!is_opening(call)) {
        end(slot, Outcome{{reply.result.begin(), reply.result.end()}, reply.index, reply.level});
        break;
      }
      sessions_[call.session] = {.session = reply.value, .sequence = 1};
      queue(slot);
      break;
    case ReplyStatus::expired:
      call.is_unsure = true;
      end(slot, fail(Errc::connection_lost, "the group knows this client's session no more"));
      break;
    case ReplyStatus::aborted:
      end(slot, std::unexpected(given_up()));
      break;
    case ReplyStatus::refused:
      // It speaks of this attempt alone.
      if (call.is_unsure && !call.level) {
        end(slot,
            fail(Errc::connection_lost, "refused, after an attempt that may yet be executed"));
      } else {
        end(slot, fail(Errc::invalid_argument, "the group refuses the command"));
      }
      break;
    case ReplyStatus::no_right:
    case ReplyStatus::stale:
      deny(slot, reply.status, now_ns);
      break;
    case ReplyStatus::not_leader:
      // The one that is asked now may have been chosen since; where nobody leads, all of them wait.
      if (from == line_.asked_now() ? line_.ask_another(reply.value) : reply.value != 0) {
        queue(slot);
      } else {
        later(slot, now_ns + pause_ns_);
      }
      break;
    case ReplyStatus::lost:
      call.is_unsure |= !is_opening(call);
      later(slot, now_ns + pause_ns_);
      break;
    case ReplyStatus::busy: {
      call.retry_ns = reply.value == 0 ? pause_ns_ : reply.value * 1000;
      // About when the member said, and not all at the same time.
      const std::uint64_t hint_ns = std::min(call.retry_ns, attempt_ns_);
      later(slot, now_ns + hint_ns / 2 + random_.below(hint_ns));
      break;
    }
  }
  return true;
}

void Calls::on_lost(fabric::NodeId peer) {
  bool was_asked = false;
  for (Slot slot = 0; slot < calls_.size(); ++slot) {
    Call& call = calls_[slot];
    if (!call.is_live || call.number == 0 || call.asked != peer) continue;
    was_asked = true;
    call.is_unsure |= !is_opening(call);
    queue(slot);
  }
  if (was_asked && peer == line_.asked_now()) line_.ask_another(0);
}

void Calls::send(Slot slot, std::uint64_t now_ns) {
  Call& call = calls_[slot];
  const std::uint64_t number = line_.next_number();
  // The payload ends the message as it ends what is encoded.
  const Session session = call.level || is_opening(call) ? Session{} : sessions_[call.session];
  const auto read = replication::head_of(replication::ReadRequest{
      .number = number, .level = call.level.value_or(replication::ReadLevel::linearizable)});
  const auto request = replication::head_of(replication::Request{
      .number = number, .session = session.session, .sequence = session.sequence});
  const base::Bytes payload =
      !call.level && is_opening(call) ? base::Bytes{} : base::Bytes(call.payload);
  const fabric::NodeId to = line_.asked_now();
  const auto sent =
      line_.send_to(to, call.level ? EnvelopeKind::read_request : EnvelopeKind::request,
                    call.level ? base::Bytes(read) : base::Bytes(request), payload);
  if (!sent) return end(slot, std::unexpected(sent.error()));
  if (!*sent) return later(slot, now_ns + pause_ns_);
  call.number = number;
  call.asked = to;
  call.act_ns = now_ns + attempt_ns_;
  wakeup_ns_ = std::min(wakeup_ns_, call.act_ns);
  by_number_.emplace(number, slot);
}

void Calls::look_at_times(std::uint64_t now_ns) {
  wakeup_ns_ = ~std::uint64_t{0};
  bool is_silent = false;
  for (Slot slot = 0; slot < calls_.size(); ++slot) {
    Call& call = calls_[slot];
    if (!call.is_live) continue;
    if (now_ns >= call.deadline_ns) {
      give_up(slot);
      continue;
    }
    wakeup_ns_ = std::min(wakeup_ns_, call.deadline_ns);
    if (call.is_queued) continue;
    if (now_ns < call.act_ns) {
      wakeup_ns_ = std::min(wakeup_ns_, call.act_ns);
      continue;
    }
    if (call.number != 0) {
      // Who was asked may be cut off.
      call.is_unsure |= !is_opening(call);
      is_silent |= call.asked == line_.asked_now();
    }
    queue(slot);
  }
  if (is_silent) line_.ask_another(0);
}

void Calls::advance(std::uint64_t now_ns) {
  if (now_ns >= wakeup_ns_) look_at_times(now_ns);
  // Who is not there yet may be one that is not coming.
  bool is_away = false;
  for (std::size_t left = queue_.size(); left > 0; --left) {
    const Slot slot = queue_.front();
    queue_.pop_front();
    calls_[slot].is_queued = false;
    if (!calls_[slot].is_live) {
      free_calls_.push_back(slot);
      continue;
    }
    send(slot, now_ns);
    is_away |= calls_[slot].is_live && calls_[slot].number == 0;
  }
  if (is_away) line_.ask_another(0);
}

std::size_t Calls::tell() {
  std::size_t count = 0;
  // What is begun meanwhile is told later, so that this ends. What is told may come here itself.
  for (std::size_t left = ended_.size(); left > 0 && !ended_.empty(); --left) {
    auto [told, outcome, place] = std::move(ended_.front());
    ended_.pop_front();
    ++count;
    told_now_ = place;
    told(std::move(outcome));
  }
  return count;
}

}  // namespace dolmen::node
