// SPDX-License-Identifier: Apache-2.0
#include "node/replicated_client.hpp"

#include "node/cluster_identity.hpp"
#include "replication/message_heads.hpp"

namespace dolmen {

namespace {

using replication::Envelope;
using replication::EnvelopeKind;
using replication::ReplyStatus;

std::uint32_t member_in(log::ReplicaId id) { return node::member_of(id); }

ReplicatedStatus told(const replication::MemberStatus& status) {
  constexpr const char* kRoles[] = {"follower", "candidate", "leader"};
  ReplicatedStatus result{.member = member_in(status.self),
                          .is_reached = true,
                          .role = kRoles[static_cast<std::size_t>(status.role)],
                          .epoch = status.epoch,
                          .leader = member_in(status.leader),
                          .first_index = status.base + 1,
                          .last_index = status.end.index,
                          .stable_index = status.stable,
                          .applied_index = status.applied};
  for (const log::ReplicaId id : status.configuration.voters) {
    result.voters.push_back(member_in(id));
  }
  for (const log::ReplicaId id : status.configuration.witnesses) {
    result.witnesses.push_back(member_in(id));
  }
  for (const log::ReplicaId id : status.configuration.learners) {
    result.learners.push_back(member_in(id));
  }
  result.is_voter = status.configuration.is_voter(status.self);
  if (status.level == replication::Level::replicated) result.level = ReplicatedLevel::replicated;
  for (const auto& [id, matched] : status.followers) {
    result.lag.push_back({member_in(id), status.end.index - std::min(matched, status.end.index)});
  }
  return result;
}

Error no_right() { return Error(Errc::no_right, "this client's key has no right to that"); }

}  // namespace

bool ReplicatedClient::Impl::ask_who_leads(std::uint64_t value) {
  const auto found = std::ranges::find(nodes, fabric::NodeId{value});
  if (found == nodes.end() || *found == target_node()) {
    if (found == nodes.end() && value != 0) roster_asked_ns = 0;  // somebody new
    return false;
  }
  target = static_cast<std::size_t>(found - nodes.begin());
  return true;
}

void ReplicatedClient::Impl::on_lost(const fabric::NodeName& peer, const Error& /*why*/) {
  if (peer.node == waited_for) is_waited_for_lost = true;
  status_asked.erase(peer.node);
  calls.on_lost(peer.node);
}

void ReplicatedClient::Impl::on_refused(fabric::NodeId /*who*/, const Error& why) {
  if (why.code() == Errc::not_authentic || why.code() == Errc::version_unsupported) refusal = why;
}

void ReplicatedClient::Impl::on_message(const fabric::NodeName& from, base::Bytes message) {
  const auto opened = replication::decode_envelope(message);
  if (!opened) return;
  if (opened->envelope.kind == EnvelopeKind::map) return hear_map(opened->body);
  if (opened->envelope.group != group) return;
  switch (opened->envelope.kind) {
    case EnvelopeKind::status: {
      const auto status = replication::decode_status(opened->body);
      if (status && replication::node_of(status->self) == from.node) statuses[from.node] = *status;
      return;
    }
    case EnvelopeKind::roster: {
      auto heard = replication::decode_roster(opened->body);
      if (!heard || (roster.configuration && !heard->configuration)) return;
      if (heard->as_of < roster.as_of) return;
      silent_since_ns = now_ns();
      is_seeking = false;
      roster = std::move(*heard);
      has_new_roster = true;
      return;
    }
    case EnvelopeKind::reply: {
      const auto reply = replication::decode_reply(opened->body);
      if (!reply) return;
      // Most are done, which needs no look at the clock.
      const std::uint64_t at_ns = reply->status == ReplyStatus::done ? 0 : now_ns();
      if (calls.on_reply(from.node, *reply, at_ns)) return;
      if (reply->number != number) return;  // of an attempt before
      answer = {reply->status,
                reply->value,
                {reply->result.begin(), reply->result.end()},
                reply->index,
                reply->level};
      return;
    }
    case EnvelopeKind::change_reply: {
      const auto reply = replication::decode_change_reply(opened->body);
      if (reply && reply->number == number) change_reply = *reply;
      return;
    }
    case EnvelopeKind::state: {
      const auto part = replication::decode_state_part(opened->body);
      if (part && on_state) on_state(from.node, *part);
      return;
    }
    case EnvelopeKind::denied: {
      const auto denied = replication::decode_denied(opened->body);
      if (!denied) return;
      // What was asked for is asked for again, with what the next map says. Who may not read memory
      // asks by message instead, and is told there what there is to tell.
      const bool is_of_memory =
          denied->what == EnvelopeKind::ask_memory || denied->what == EnvelopeKind::ask_lease;
      if (denied->why == replication::Right::stale || is_of_memory) return ask_map(from.node);
      is_denied = true;
      return;
    }
    case EnvelopeKind::entries: {
      const auto told = replication::decode_entries_told(opened->body);
      if (told && on_entries) on_entries(from.node, *told);
      return;
    }
    default:
      return;
  }
}

Result<bool> ReplicatedClient::Impl::poll_now() {
  DOLMEN_TRY(const bool was_busy, endpoint->poll(*this));
  if (std::exchange(is_denied, false)) return std::unexpected(no_right());
  return was_busy;
}

Result<void> ReplicatedClient::Impl::poll_until(std::uint64_t until_ns) {
  DOLMEN_TRY(const bool was_busy, poll_now());
  if (!was_busy) DOLMEN_CHECK(endpoint->wait(until_ns));
  return {};
}

Result<void> ReplicatedClient::Impl::pause(std::uint64_t deadline_ns, std::uint64_t length_ns) {
  const std::uint64_t until_ns = std::min(deadline_ns, now_ns() + length_ns);
  while (now_ns() < until_ns) DOLMEN_CHECK(poll_until(until_ns));
  return {};
}

Result<bool> ReplicatedClient::Impl::send(fabric::NodeId to, EnvelopeKind kind, base::Bytes body,
                                          base::Bytes more) {
  const auto name = endpoint->connected(to);
  if (!name) return false;
  const auto head = head_of(Envelope{.kind = kind, .group = group, .shown = shown});
  const std::array<base::Bytes, 3> parts{head, body, more};
  const auto sent = endpoint->send(*name, parts);
  if (!sent && sent.error().code() == Errc::too_large) {
    return fail(Errc::invalid_argument, "a command of so many bytes", body.size() + more.size());
  }
  return sent.has_value();
}

Result<void> ReplicatedClient::Impl::look_after_roster(bool at_once) {
  if (link_key) DOLMEN_CHECK(look_after_map());
  if (std::exchange(has_new_roster, false)) DOLMEN_CHECK(know_nodes());
  if (!at_once && now_ns() < roster_asked_ns + kRosterNs) return {};
  for (const fabric::NodeId node : nodes) {
    DOLMEN_TRY(const bool is_sent, send(node, EnvelopeKind::ask_roster, {}));
    if (is_sent) roster_asked_ns = now_ns();
    if (is_sent && link_key) ask_map(node);
  }
  return {};
}

Result<void> ReplicatedClient::Impl::know_nodes() {
  replication::Addresses all = given;
  for (const auto& [node, text] : roster.addresses) all.insert_or_assign(node, text);
  replication::Addresses dial = all;
  if (is_seeking) dial.insert(others.begin(), others.end());
  if (dial == dialled || tcp == nullptr) return {};
  dialled = dial;
  const fabric::NodeId asked = target_node();
  nodes.clear();
  for (const fabric::TcpPeer& peer : node::peers_at(all, fabric::NodeId::nobody)) {
    nodes.push_back(peer.node);
  }
  const auto found = std::ranges::find(nodes, asked);
  target = found == nodes.end() ? 0 : static_cast<std::size_t>(found - nodes.begin());
  return tcp->set_peers(node::peers_at(dial, fabric::NodeId::nobody));
}

Result<ReplicatedClient::Impl::Answer> ReplicatedClient::Impl::ask_leader(
    std::uint64_t asked_session, std::uint64_t asked_sequence, base::Bytes command,
    std::uint64_t deadline_ns) {
  return ask_until_answered(
      EnvelopeKind::request, asked_session != 0,
      [&](std::uint64_t its_number) {
        return encode(replication::Request{.number = its_number,
                                           .session = asked_session,
                                           .sequence = asked_sequence,
                                           .command = command});
      },
      deadline_ns);
}

Result<ReplicatedClient::Impl::Answer> ReplicatedClient::Impl::ask_until_answered(
    EnvelopeKind kind, bool is_command,
    const std::function<std::vector<std::byte>(std::uint64_t)>& make_body,
    std::uint64_t deadline_ns) {
  bool is_unsure = false;      // an attempt before may be in somebody's log
  std::uint64_t retry_ns = 0;  // not 0: there was too much to do, for so long
  bool is_stale = false;       // what is shown was not known to whoever was asked last
  while (now_ns() < deadline_ns) {
    DOLMEN_CHECK(look_after_roster());
    answer.reset();
    const auto body = make_body(++number);
    DOLMEN_TRY(const bool is_answered,
               ask(kind, body, deadline_ns, [this] { return answer.has_value(); }));
    if (!is_answered) {
      is_unsure = is_command;
      ask_next();
      continue;
    }
    Answer got = *std::exchange(answer, std::nullopt);
    switch (got.status) {
      case ReplyStatus::refused:
        // It speaks of this attempt alone.
        if (is_unsure) got.status = ReplyStatus::lost;
        return got;
      case ReplyStatus::done:
      case ReplyStatus::expired:
      case ReplyStatus::aborted:
        return got;
      case ReplyStatus::no_right:
      case ReplyStatus::stale: {
        DOLMEN_TRY(const bool is_other, look_for_right(deadline_ns));
        if (is_other) break;
        if (got.status == ReplyStatus::stale) {
          is_stale = true;
          ask_next();  // it may be that one alone, cut off before it heard of anything
          break;
        }
        if (!is_unsure) return std::unexpected(no_right());
        got.status = ReplyStatus::lost;
        return got;
      }
      case ReplyStatus::not_leader:
        if (ask_who_leads(got.value)) break;
        ask_next();
        DOLMEN_CHECK(pause(deadline_ns));
        break;
      case ReplyStatus::lost:
        is_unsure = is_command;
        DOLMEN_CHECK(pause(deadline_ns));
        break;
      case ReplyStatus::busy: {
        retry_ns = got.value == 0 ? kPauseNs : got.value * 1000;
        // About when the member said, and not all at the same time.
        const std::uint64_t hint_ns = std::min(retry_ns, kAttemptNs);
        DOLMEN_CHECK(pause(deadline_ns, hint_ns / 2 + random.below(hint_ns)));
        break;
      }
    }
  }
  if (refusal) return std::unexpected(*refusal);
  if (is_stale && !is_unsure) {
    return fail(Errc::no_right, "the right that this client shows was changed since");
  }
  if (retry_ns != 0 && !is_unsure) return std::unexpected(node::too_much(retry_ns));
  return fail(Errc::timed_out, "no leader of the group answered");
}

Result<void> ReplicatedClient::Impl::open(const node::GroupPlan& plan, std::uint64_t its_number,
                                          std::chrono::microseconds spin) {
  if (its_number == 0) return fail(Errc::invalid_argument, "a group's number", its_number);
  const sys::Env& env = sys::linux_env();
  std::array<std::byte, 8> seed{};
  env.entropy->fill(seed);
  group = node::group_of(its_number);
  random = base::Random(base::load<std::uint64_t>(seed));
  given = plan.addresses;
  dialled = plan.addresses;
  others = plan.others;
  map_version = plan.map_version;
  shown = plan.shown;
  for (const fabric::TcpPeer& peer : plan.members) nodes.push_back(peer.node);
  // Its own as long as nobody draws it again.
  fabric::NodeName self{
      .node = fabric::NodeId{fabric::kClientIds | base::load<std::uint64_t>(seed)},
      .incarnation = 1};
  if (plan.link) {
    link_key = plan.link->key;
    self = node::endpoint_name(*link_key);
  }
  DOLMEN_TRY(auto joined, node::connect(plan, self, spin));
  endpoint = std::move(joined.endpoint);
  tcp = joined.tcp;
  both = joined.both;
  return {};
}

Result<ReplicatedClient> ReplicatedClient::make(const ReplicatedGroup& group,
                                                std::uint64_t number) {
  DOLMEN_TRY(const node::GroupPlan plan, node::plan(group));
  return node::ClientOf::make(plan, number);
}

Result<ReplicatedClient> node::ClientOf::make(const node::GroupPlan& plan, std::uint64_t number) {
  auto impl = std::make_unique<ReplicatedClient::Impl>();
  DOLMEN_CHECK(impl->open(plan, number, std::chrono::microseconds(0)));
  return ReplicatedClient(std::move(impl));
}

ReplicatedClient::ReplicatedClient(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ReplicatedClient::ReplicatedClient(ReplicatedClient&&) noexcept = default;
ReplicatedClient& ReplicatedClient::operator=(ReplicatedClient&&) noexcept = default;
ReplicatedClient::~ReplicatedClient() = default;

Result<std::vector<std::byte>> ReplicatedClient::call(std::span<const std::byte> command,
                                                      std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = Impl::deadline_in(patience);
  impl_->last_call = {.group = impl_->group.low};
  DOLMEN_CHECK(impl_->open_session(deadline_ns));
  // Also after a call that timed out: its command is not to be taken for this one.
  ++impl_->sequence;
  impl_->last_call.session = impl_->session;
  impl_->last_call.sequence = impl_->sequence;
  DOLMEN_TRY(Impl::Answer answer,
             impl_->ask_leader(impl_->session, impl_->sequence, command, deadline_ns));
  if (answer.status == ReplyStatus::expired) {
    impl_->session = 0;
    return fail(Errc::connection_lost, "the group knows this client's session no more");
  }
  if (answer.status == ReplyStatus::aborted) return std::unexpected(node::given_up());
  if (answer.status == ReplyStatus::lost) {
    return fail(Errc::connection_lost, "refused, after an attempt that may yet be executed");
  }
  if (answer.status == ReplyStatus::refused) {
    return fail(Errc::invalid_argument, "the group refuses the command");
  }
  impl_->last_commit = {.index = answer.index, .level = node::level_of(answer.level)};
  return std::move(answer.result);
}

ReplicatedCommit ReplicatedClient::last_commit() const noexcept { return impl_->last_commit; }

Result<ReplicatedReading> ReplicatedClient::read(std::span<const std::byte> query, ReadLevel level,
                                                 std::chrono::milliseconds patience) {
  const auto body = [&](std::uint64_t number) {
    return encode(
        replication::ReadRequest{.number = number, .level = node::level_of(level), .query = query});
  };
  DOLMEN_TRY(Impl::Answer answer, impl_->ask_until_answered(EnvelopeKind::read_request, false, body,
                                                            Impl::deadline_in(patience)));
  if (answer.status != ReplyStatus::done) {
    return fail(Errc::invalid_argument, "the state machine refuses the query");
  }
  return ReplicatedReading{.result = std::move(answer.result), .index = answer.index};
}

Result<std::vector<ReplicatedStatus>> ReplicatedClient::status(std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = Impl::deadline_in(patience);
  // As far as is known yet; who was a member once is not waited for.
  const auto belongs = [this](fabric::NodeId node) {
    const auto& known = impl_->roster.configuration;
    const auto is_here = [&](log::ReplicaId id) { return replication::node_of(id) == node; };
    return !known || std::ranges::any_of(known->voters, is_here) ||
           std::ranges::any_of(known->learners, is_here);
  };
  impl_->statuses.clear();
  impl_->status_asked.clear();
  // Also of whom only the others know.
  bool is_complete = false;
  while (!is_complete && Impl::now_ns() < deadline_ns) {
    DOLMEN_CHECK(impl_->look_after_roster());
    is_complete = impl_->roster.configuration.has_value();
    for (const fabric::NodeId node : impl_->nodes) {
      if (!impl_->status_asked.contains(node)) {
        DOLMEN_TRY(const bool is_sent, impl_->send(node, EnvelopeKind::ask_status, {}));
        if (is_sent) impl_->status_asked.insert(node);
      }
      is_complete &= impl_->statuses.contains(node) || !belongs(node);
    }
    if (is_complete) break;
    DOLMEN_CHECK(impl_->poll_until(std::min(deadline_ns, Impl::now_ns() + Impl::kPauseNs)));
  }
  if (impl_->statuses.empty() && impl_->refusal) return std::unexpected(*impl_->refusal);
  std::vector<ReplicatedStatus> result;
  for (const fabric::NodeId node : impl_->nodes) {
    const auto found = impl_->statuses.find(node);
    if (found == impl_->statuses.end() && !belongs(node)) continue;
    ReplicatedStatus one =
        found == impl_->statuses.end() ? ReplicatedStatus{} : told(found->second);
    one.member = static_cast<std::uint32_t>(node);
    const auto said = impl_->roster.addresses.find(node);
    const auto given = impl_->given.find(node);
    if (said != impl_->roster.addresses.end()) {
      one.address = said->second;
    } else if (given != impl_->given.end()) {
      one.address = given->second;
    }
    result.push_back(std::move(one));
  }
  return result;
}

Result<std::vector<std::uint64_t>> ReplicatedClient::groups(std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns = Impl::deadline_in(patience);
  while (Impl::now_ns() < deadline_ns) {
    DOLMEN_CHECK(impl_->look_after_roster());
    if (!impl_->roster.groups.empty()) {
      std::vector<std::uint64_t> numbers;
      for (const replication::GroupId& group : impl_->roster.groups) {
        if (group == node::group_of(group.low)) numbers.push_back(group.low);
      }
      return numbers;
    }
    DOLMEN_CHECK(impl_->poll_until(std::min(deadline_ns, Impl::now_ns() + Impl::kPauseNs)));
  }
  if (impl_->refusal) return std::unexpected(*impl_->refusal);
  return fail(Errc::timed_out, "no member of the group answered");
}

}  // namespace dolmen
