// SPDX-License-Identifier: Apache-2.0
//
// What became of a call or change that a client of a cluster was not told of.
#include <string>
#include <utility>

#include <dolmen/cluster.hpp>

#include "node/cluster_client.hpp"
#include "node/index_changed.hpp"

namespace dolmen {

CallId Cluster::last_call() const noexcept { return impl_->last_call; }

ReplicatedCommit Cluster::last_commit() const noexcept { return impl_->last_commit; }

Result<CallOutcome> Cluster::outcome(const CallId& call, std::chrono::milliseconds patience) {
  if (call.session == 0) return CallOutcome{.fate = CallFate::aborted};
  if (call.group == 0 || call.group > ~cluster::GroupNumber{0}) {
    return fail(Errc::invalid_argument, "a call of no group", call.group);
  }
  const auto number = static_cast<cluster::GroupNumber>(call.group);
  const std::uint64_t deadline_ns = node::deadline_in(patience);
  DOLMEN_TRY(const cluster::RootGroup group, impl_->group(number, deadline_ns));
  DOLMEN_TRY(ReplicatedClient* const client, impl_->client_of(number, deadline_ns));
  if (group.kind == cluster::GroupKind::space) {
    return space_outcome(*client, call, node::left_until(deadline_ns));
  }
  DOLMEN_TRY(CallOutcome outcome, client->outcome(call, node::left_until(deadline_ns)));
  if (outcome.fate != CallFate::committed) return outcome;
  if (group.kind == cluster::GroupKind::root) {
    DOLMEN_TRY(const cluster::RootReply reply, cluster::decode_root_reply(outcome.result));
    if (!reply.is_ok()) {
      outcome.error = Error(Errc::invalid_argument,
                            interned(std::string(cluster::text(reply.status))), reply.value);
    }
    outcome.result.clear();
    return outcome;
  }
  return group.is_directory() ? outcome : node::without_result(std::move(outcome));
}

}  // namespace dolmen
