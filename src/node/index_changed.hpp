// SPDX-License-Identifier: Apache-2.0
//
// What a client of an index, of either kind, knows of the last change that it made.
#pragma once

#include <chrono>
#include <utility>
#include <vector>

#include <dolmen/replicated.hpp>

#include "node/index_request.hpp"
#include "node/replicated_client.hpp"

namespace dolmen::node {

struct IndexChanged {
  CallId call{};
  ReplicatedCommit commit{};

  /// `client` has made one, or tells of one.
  void note(const ReplicatedClient& client, bool has_result) {
    call = client.last_call();
    if (has_result) commit = client.last_commit();
  }
  /// Calls, and notes. Errors: as ReplicatedClient::call().
  [[nodiscard]] Result<std::vector<std::byte>> make(ReplicatedClient& client, base::Bytes command,
                                                    std::chrono::milliseconds patience) {
    auto reply = client.call(command, patience);
    note(client, reply.has_value());
    return reply;
  }
};

/// What a change gave is not told again, but that there was no room. Errors: corrupt.
[[nodiscard]] inline Result<CallOutcome> without_result(CallOutcome outcome) {
  if (outcome.fate != CallFate::committed) return outcome;
  const auto has_room = index_has_room(outcome.result, outcome.result.size());
  if (!has_room && has_room.error().code() == Errc::corrupt) {
    return std::unexpected(has_room.error());
  }
  if (!has_room) outcome.error = has_room.error();
  outcome.result.clear();
  return outcome;
}

/// Of a change of one of the parts, each of which has a client. Errors: as Index::outcome().
template <class Parts>
[[nodiscard]] Result<CallOutcome> outcome_in(Parts& parts, const CallId& call,
                                             std::chrono::milliseconds patience) {
  for (auto& part : parts) {
    if (call.session != 0 && ClientOf::inside(part.client).group.low != call.group) continue;
    DOLMEN_TRY(CallOutcome outcome, part.client.outcome(call, patience));
    return without_result(std::move(outcome));
  }
  return fail(Errc::invalid_argument, "a call of no shard of the index", call.group);
}

}  // namespace dolmen::node
