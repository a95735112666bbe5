// SPDX-License-Identifier: Apache-2.0
//
// What a client of an index, of either kind, knows of the last change that it made.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
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

/// Of the shard that the client is of, by message. Errors: as ReplicatedClient::read(), corrupt.
[[nodiscard]] inline Result<IndexShardStats> ask_stats(ReplicatedClient& client,
                                                       std::chrono::milliseconds patience) {
  DOLMEN_TRY(const auto reading,
             client.read(index_stats_question(), ReadLevel::linearizable, patience));
  DOLMEN_TRY(IndexShardStats stats, decode_index_stats(reading.result));
  stats.group = ClientOf::inside(client).group.low;
  return stats;
}

/// Of all parts, each of which has a client.
template <class Parts>
[[nodiscard]] Result<IndexStats> stats_in(Parts& parts, std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = ClientOf::Impl::deadline_in(patience);
  IndexStats stats;
  for (auto& part : parts) {
    const std::uint64_t now_ns = ClientOf::Impl::now_ns();
    const std::chrono::milliseconds left((std::max(deadline_ns, now_ns) - now_ns) / 1'000'000);
    DOLMEN_TRY(const IndexShardStats one, ask_stats(part.client, left));
    stats.shards.push_back(one);
  }
  return stats;
}

}  // namespace dolmen::node
