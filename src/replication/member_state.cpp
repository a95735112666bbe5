// SPDX-License-Identifier: Apache-2.0
//
// A member's part in bringing states that machines keep on their own disks to who lacks them.
#include <algorithm>
#include <utility>

#include "base/hooks.hpp"
#include "replication/member.hpp"

namespace dolmen::replication {

Result<void> Member::want_state(Hosting& hosting, const log::SnapshotPtr& wanted) {
  const auto state = Executor::machine_state_in(*wanted);
  // Of no member of this version; the leader goes on saying so.
  if (!state) return {};
  const base::Bytes reference = hosting.machine->reference_in(*state);
  if (reference.size() > kReferenceBytesMax) return {};
  if (hosting.fetch) {
    hosting.fetch->want(wanted, reference);
  } else {
    hosting.fetch = std::make_unique<StateFetch>(*hosting.machine, options_.transfer, *env_.entropy,
                                                 wanted, reference);
  }
  return {};
}

void Member::on_ask_state(const fabric::NodeName& from, const Envelope& envelope, Hosting& hosting,
                          base::Bytes body) {
  // Nobody asks for a replica of another node.
  if (node_of(envelope.from) != from.node || !hosting.server) return;
  if (const auto ask = decode_ask_state(body)) {
    hosting.server->take(now_ns(), envelope.from, from, *ask);
  }
}

/// No member asks by a client's name, whose first bit is set, so that the two do not mix.
void Member::on_ask_copy(const fabric::NodeName& from, Hosting& hosting, base::Bytes body) {
  const log::ReplicaId asker{static_cast<std::uint64_t>(from.node)};
  if (!fabric::is_client(from.node) || !hosting.server) return;
  if (const auto ask = decode_ask_state(body)) {
    hosting.server->take(now_ns(), asker, from, *ask, StateServer::Asker::client);
  }
}

void Member::on_state(const Envelope& envelope, Hosting& hosting, base::Bytes body) {
  if (!hosting.fetch) return;
  if (const auto part = decode_state_part(body)) {
    hosting.meter.state_bytes_received += part->bytes.size();
    hosting.fetch->take(now_ns(), envelope.from, *part);
  }
}

/// False: there was nothing to do.
Result<bool> Member::look_after_states() {
  bool busy = false;
  for (auto& [group, hosting] : groups_) {
    if (hosting.server) {
      busy |= hosting.server->serve(
          now_ns(), [&](const fabric::NodeName& to, log::ReplicaId asker, const StatePart& part) {
            hosting.meter.state_bytes_sent += part.bytes.size();
            send(to,
                 {.kind = EnvelopeKind::state,
                  .group = group,
                  .from = hosting.replica.self(),
                  .to = asker},
                 encode_head(part), part.bytes);
          });
    }
    if (!hosting.fetch) continue;
    DOLMEN_TRY(const bool is_moving, fetch_state(group, hosting));
    busy |= is_moving;
  }
  return busy;
}

Result<bool> Member::fetch_state(const GroupId& group, Hosting& hosting) {
  StateFetch& fetch = *hosting.fetch;
  log::Replica& replica = hosting.replica;
  if (fetch.wanted()->last().index <= replica.stable()) {
    hosting.fetch.reset();  // it came as entries, or is taken in
    return true;
  }
  if (const log::SnapshotPtr arrived = fetch.arrived()) {
    if (arrived->last().index <= replica.stable()) {
      // Taken in; what is wanted by now is of later.
      fetch.begin_again();
      return true;
    }
    replica.state_arrived(now_ns(), arrived);
    if (replica.stable() < arrived->last().index) return false;  // not while it wants to lead
    DOLMEN_PROBE("replication.state_arrived");
    ++hosting.meter.states_taken;
    hosting.meter.state_pages_received += fetch.pages().received;
    hosting.meter.state_pages_kept += fetch.pages().kept;
    DOLMEN_CHECK(carry_out(group, hosting));
    return true;
  }
  const auto leader = replica.leader();
  const log::ReplicaId other = leader && *leader != replica.self() ? *leader : log::ReplicaId{};
  return fetch.go_on(now_ns(), other, [&](log::ReplicaId from, const AskState& ask) {
    const auto to = endpoint_.connected(node_of(from));
    if (!to) return;
    send(*to, {.kind = EnvelopeKind::ask_state, .group = group, .from = replica.self(), .to = from},
         encode(ask));
  });
}

bool Member::holds_log() {
  if (journal_->stats().log_tail_bytes >= options_.held_log_bytes_max) return false;
  return std::ranges::any_of(groups_, [](const auto& one) {
    return one.second.server && one.second.server->is_sending();
  });
}

/// Nothing wakes a member when the threads of a transfer got further.
std::uint64_t Member::states_wake_ns() const {
  std::uint64_t until_ns = ~std::uint64_t{0};
  for (const auto& [group, hosting] : groups_) {
    const bool is_near = (hosting.server && hosting.server->is_waiting()) ||
                         (hosting.fetch && hosting.fetch->is_waiting());
    if (is_near) return now_ns_ + options_.transfer.poll_ns;
    if (hosting.fetch) until_ns = std::min(until_ns, now_ns_ + options_.transfer.resend_ns);
  }
  return until_ns;
}

}  // namespace dolmen::replication
