// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "node/replicated_group.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

namespace {

using replication::Envelope;
using replication::EnvelopeKind;
using replication::ReplyStatus;

/// Without an answer for so long the next member is asked: the one that was may be cut off.
constexpr std::uint64_t kAttemptNs = 1'000'000'000;
/// Between attempts while nobody leads.
constexpr std::uint64_t kPauseNs = 5'000'000;

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

}  // namespace

struct ReplicatedClient::Impl final : fabric::Sink {
  std::unique_ptr<fabric::Endpoint> endpoint;
  std::size_t members = 0;
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;
  std::uint64_t number = 0;  ///< of the request under way
  std::size_t target = 0;    ///< member that is asked, less one
  bool is_target_lost = false;
  std::optional<Error> refusal;  ///< why a member lets nobody in
  struct Answer {
    ReplyStatus status;
    std::uint64_t value;
    std::vector<std::byte> result;
  };
  std::optional<Answer> answer;
  std::map<std::uint32_t, ReplicatedStatus> statuses;

  [[nodiscard]] static std::uint64_t now_ns() { return sys::linux_env().clock->monotonic_ns(); }
  [[nodiscard]] fabric::NodeId target_node() const { return fabric::NodeId{target + 1}; }

  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& peer, const Error& /*why*/) override {
    if (peer.node == target_node()) is_target_lost = true;
  }
  void on_refused(fabric::NodeId /*who*/, const Error& why) override {
    if (why.code() == Errc::not_authentic || why.code() == Errc::version_unsupported) refusal = why;
  }
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
  void on_message(const fabric::NodeName& from, base::Bytes message) override {
    const auto opened = replication::decode_envelope(message);
    if (!opened || opened->envelope.group != node::kReplicatedGroup) return;
    if (opened->envelope.kind == EnvelopeKind::status) {
      const auto status = replication::decode_status(opened->body);
      if (status && replication::node_of(status->self) == from.node) {
        statuses[member_in(status->self)] = told(*status);
      }
    }
    if (opened->envelope.kind != EnvelopeKind::reply) return;
    const auto reply = replication::decode_reply(opened->body);
    if (!reply || reply->number != number) return;  // of an attempt before
    answer = {reply->status, reply->value, {reply->result.begin(), reply->result.end()}};
  }

  [[nodiscard]] Result<void> poll_until(std::uint64_t until_ns) {
    DOLMEN_TRY(const bool was_busy, endpoint->poll(*this));
    if (!was_busy) DOLMEN_CHECK(endpoint->wait(until_ns));
    return {};
  }
  [[nodiscard]] Result<void> pause(std::uint64_t deadline_ns) {
    const std::uint64_t until_ns = std::min(deadline_ns, now_ns() + kPauseNs);
    while (now_ns() < until_ns) DOLMEN_CHECK(poll_until(until_ns));
    return {};
  }
  [[nodiscard]] Result<bool> send(fabric::NodeId to, EnvelopeKind kind, base::Bytes body) {
    const auto name = endpoint->connected(to);
    if (!name) return false;
    const auto head = encode(Envelope{.kind = kind, .group = node::kReplicatedGroup});
    const std::array<base::Bytes, 2> parts{head, body};
    const auto sent = endpoint->send(*name, parts);
    if (!sent && sent.error().code() == Errc::too_large) {
      return fail(Errc::invalid_argument, "a command of so many bytes", body.size());
    }
    return sent.has_value();
  }
  /// Asks one member, which may not lead. Nothing: no answer came.
  [[nodiscard]] Result<std::optional<Answer>> ask(const replication::Request& request,
                                                  std::uint64_t deadline_ns) {
    const std::uint64_t until_ns = std::min(deadline_ns, now_ns() + kAttemptNs);
    is_target_lost = false;
    answer.reset();
    bool is_sent = false;
    while (now_ns() < until_ns && !is_target_lost) {
      if (!is_sent) {
        DOLMEN_TRY(is_sent, send(target_node(), EnvelopeKind::request, encode(request)));
        // While others may be there, nobody waits for one that is not.
        if (!is_sent && members > 1) {
          DOLMEN_CHECK(pause(until_ns));
          DOLMEN_TRY(is_sent, send(target_node(), EnvelopeKind::request, encode(request)));
          if (!is_sent) return std::nullopt;
        }
      }
      DOLMEN_CHECK(poll_until(is_sent ? until_ns : std::min(until_ns, now_ns() + kPauseNs)));
      if (answer) return std::exchange(answer, std::nullopt);
    }
    return std::nullopt;
  }
  /// Until somebody who leads has answered.
  [[nodiscard]] Result<Answer> ask_leader(std::uint64_t asked_session, std::uint64_t asked_sequence,
                                          base::Bytes command, std::uint64_t deadline_ns) {
    bool is_unsure = false;  // an attempt before may be in somebody's log
    while (now_ns() < deadline_ns) {
      DOLMEN_TRY(auto got, ask({.number = ++number,
                                .session = asked_session,
                                .sequence = asked_sequence,
                                .command = command},
                               deadline_ns));
      if (!got) {
        is_unsure = true;
        target = (target + 1) % members;
        continue;
      }
      switch (got->status) {
        case ReplyStatus::refused:
          // It speaks of this attempt alone.
          if (is_unsure) got->status = ReplyStatus::lost;
          return std::move(*got);
        case ReplyStatus::done:
        case ReplyStatus::expired:
          return std::move(*got);
        case ReplyStatus::not_leader:
          if (got->value >= 1 && got->value <= members && got->value - 1 != target) {
            target = got->value - 1;
            break;
          }
          target = (target + 1) % members;
          DOLMEN_CHECK(pause(deadline_ns));
          break;
        case ReplyStatus::lost:
          is_unsure = true;
          [[fallthrough]];
        case ReplyStatus::busy:
          DOLMEN_CHECK(pause(deadline_ns));
          break;
      }
    }
    if (refusal) return std::unexpected(*refusal);
    return fail(Errc::timed_out, "no leader of the group answered");
  }
};

Result<ReplicatedClient> ReplicatedClient::make(const ReplicatedGroup& group) {
  DOLMEN_TRY(const node::GroupPlan plan, node::plan(group));
  const sys::Env& env = sys::linux_env();
  std::array<std::byte, 8> random{};
  env.entropy->fill(random);
  // Members have small numbers; a client's is its own as long as nobody draws it again.
  constexpr std::uint64_t kClient = std::uint64_t{1} << 63;
  auto impl = std::make_unique<Impl>();
  impl->members = plan.members.size();
  DOLMEN_TRY(impl->endpoint,
             node::connect(plan,
                           {.node = fabric::NodeId{kClient | base::load<std::uint64_t>(random)},
                            .incarnation = 1},
                           std::chrono::microseconds(0)));
  return ReplicatedClient(std::move(impl));
}

ReplicatedClient::ReplicatedClient(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ReplicatedClient::ReplicatedClient(ReplicatedClient&&) noexcept = default;
ReplicatedClient& ReplicatedClient::operator=(ReplicatedClient&&) noexcept = default;
ReplicatedClient::~ReplicatedClient() = default;

Result<std::vector<std::byte>> ReplicatedClient::call(std::span<const std::byte> command,
                                                      std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns =
      Impl::now_ns() +
      static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0)) * 1'000'000;
  if (impl_->session == 0) {
    DOLMEN_TRY(const Impl::Answer opened, impl_->ask_leader(0, 0, {}, deadline_ns));
    if (opened.status != ReplyStatus::done) return fail(Errc::connection_lost, "a session");
    impl_->session = opened.value;
    impl_->sequence = 0;
  }
  // Also after a call that timed out: its command is not to be taken for this one.
  ++impl_->sequence;
  DOLMEN_TRY(Impl::Answer answer,
             impl_->ask_leader(impl_->session, impl_->sequence, command, deadline_ns));
  if (answer.status == ReplyStatus::expired) {
    impl_->session = 0;
    return fail(Errc::connection_lost, "the group knows this client's session no more");
  }
  if (answer.status == ReplyStatus::lost) {
    return fail(Errc::connection_lost, "refused, after an attempt that may yet be executed");
  }
  if (answer.status == ReplyStatus::refused) {
    return fail(Errc::invalid_argument, "the group refuses the command");
  }
  return std::move(answer.result);
}

Result<std::vector<ReplicatedStatus>> ReplicatedClient::status(std::chrono::milliseconds patience) {
  const std::uint64_t deadline_ns =
      Impl::now_ns() +
      static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0)) * 1'000'000;
  impl_->statuses.clear();
  std::vector<bool> is_asked(impl_->members, false);
  while (impl_->statuses.size() < impl_->members && Impl::now_ns() < deadline_ns) {
    for (std::size_t i = 0; i < impl_->members; ++i) {
      if (is_asked[i]) continue;
      DOLMEN_TRY(const bool is_sent,
                 impl_->send(fabric::NodeId{i + 1}, EnvelopeKind::ask_status, {}));
      is_asked[i] = is_sent;
    }
    DOLMEN_CHECK(impl_->poll_until(std::min(deadline_ns, Impl::now_ns() + kPauseNs)));
  }
  if (impl_->statuses.empty() && impl_->refusal) return std::unexpected(*impl_->refusal);
  std::vector<ReplicatedStatus> result;
  for (std::uint32_t member = 1; member <= impl_->members; ++member) {
    const auto found = impl_->statuses.find(member);
    result.push_back(found != impl_->statuses.end() ? found->second
                                                    : ReplicatedStatus{.member = member});
  }
  return result;
}

}  // namespace dolmen
