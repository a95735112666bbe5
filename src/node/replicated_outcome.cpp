// SPDX-License-Identifier: Apache-2.0
//
// What became of a call that nobody answered (docs/replicated.md, What became of a call).
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include <dolmen/replicated_space.hpp>

#include "node/home_request.hpp"
#include "node/replicated_client.hpp"
#include "node/space_effect.hpp"

namespace dolmen {

using replication::ReplyStatus;

std::string CallId::text() const {
  return std::to_string(group) + "." + std::to_string(session) + "." + std::to_string(sequence);
}

Result<CallId> CallId::parse(std::string_view text) {
  CallId id;
  std::string_view rest = text;
  for (std::uint64_t* const number : {&id.group, &id.session, &id.sequence}) {
    if (rest.starts_with('.')) rest.remove_prefix(1);
    const auto [at, error] = std::from_chars(rest.data(), rest.data() + rest.size(), *number);
    if (error != std::errc()) break;
    rest.remove_prefix(static_cast<std::size_t>(at - rest.data()));
  }
  // What is written otherwise, as with zeroes in front, is none.
  if (id.text() == text) return id;
  return fail(Errc::invalid_argument, interned(std::string(text) + ": a call is like 1.4711.3"));
}

CallId ReplicatedClient::last_call() const noexcept { return impl_->last_call; }

Result<void> ReplicatedClient::Impl::open_session(std::uint64_t deadline_ns) {
  if (session != 0) return {};
  DOLMEN_TRY(const Answer opened, ask_leader(0, 0, {}, deadline_ns));
  if (opened.status != ReplyStatus::done) return fail(Errc::connection_lost, "a session");
  session = opened.value;
  sequence = 0;
  return {};
}

Result<CallId> ReplicatedClient::next_call(std::chrono::milliseconds patience) {
  DOLMEN_CHECK(impl_->open_session(Impl::deadline_in(patience)));
  return CallId{
      .group = impl_->group.low, .session = impl_->session, .sequence = impl_->sequence + 1};
}

Result<CallOutcome> ReplicatedClient::outcome(const CallId& call,
                                              std::chrono::milliseconds patience) {
  if (call.session == 0) return CallOutcome{.fate = CallFate::aborted};
  if (call.group != impl_->group.low) {
    return fail(Errc::invalid_argument, "a call of another group", call.group);
  }
  if (call.sequence == 0 || call.session >= replication::kReservedSession) {
    return fail(Errc::invalid_argument, "no call of a client");
  }
  const auto body = [&](std::uint64_t number) {
    return encode(
        replication::Request{.number = number, .session = call.session, .sequence = call.sequence});
  };
  DOLMEN_TRY(Impl::Answer answer,
             impl_->ask_until_answered(replication::EnvelopeKind::ask_outcome, false, body,
                                       Impl::deadline_in(patience)));
  switch (answer.status) {
    case ReplyStatus::done:
      return CallOutcome{.fate = CallFate::committed,
                         .result = std::move(answer.result),
                         .commit = {.index = answer.index, .level = node::level_of(answer.level)}};
    case ReplyStatus::aborted:
      return CallOutcome{.fate = CallFate::aborted};
    case ReplyStatus::expired:
      if (answer.value == replication::kLaterCommand) {
        return CallOutcome{.reason = "a later call of that client was executed or asked about"};
      }
      if (call.session == impl_->session) impl_->session = 0;
      return CallOutcome{.reason = "the group knows that client's session no more"};
    default:
      return fail(Errc::timed_out, "what became of a call");
  }
}

Result<CallOutcome> space_outcome(ReplicatedClient& client, const CallId& call,
                                  std::chrono::milliseconds patience) {
  DOLMEN_TRY(CallOutcome outcome, client.outcome(call, patience));
  if (outcome.fate != CallFate::committed) return outcome;
  DOLMEN_TRY(const auto elsewhere, node::decode_elsewhere(outcome.result));
  // The space has said that it does not have the object.
  if (elsewhere) return CallOutcome{.fate = CallFate::aborted};
  DOLMEN_TRY(const node::UntoldReply reply, node::decode_untold_reply(outcome.result));
  auto result = node::decode_reply(reply.reply);
  if (result) {
    outcome.result = std::move(*result);
  } else {
    outcome.error = result.error();
    outcome.result.clear();
  }
  return outcome;
}

}  // namespace dolmen
