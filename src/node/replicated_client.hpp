// SPDX-License-Identifier: Apache-2.0
//
// A client's connection to a group's members: who they are as far as it knows, whom it asks, and
// what it was answered. Threads: one at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "node/calls.hpp"
#include "node/replicated_group.hpp"
#include "replication/entries_message.hpp"
#include "replication/state_message.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen {

struct ReplicatedClient::Impl : fabric::Sink, private node::Calls::Line {
  /// Without an answer for so long the next member is asked: the one that was may be cut off.
  static constexpr std::uint64_t kAttemptNs = 1'000'000'000;
  /// Between attempts while nobody leads.
  static constexpr std::uint64_t kPauseNs = 5'000'000;
  /// Who the members are is asked again after so long.
  static constexpr std::uint64_t kRosterNs = 500'000'000;

  std::unique_ptr<fabric::Endpoint> endpoint;
  fabric::TcpEndpoint* tcp = nullptr;      ///< the same; null: in shared memory all find each other
  fabric::JoinedEndpoint* both = nullptr;  ///< the same, where it has shared memory, too
  std::shared_ptr<const security::Key> link_key;  ///< of a client of a cluster
  replication::GroupId group{};
  replication::Addresses given;       ///< by whoever made the client
  replication::Addresses dialled;     ///< what the endpoint knows
  replication::Roster roster{};       ///< the latest that was heard
  std::vector<fabric::NodeId> nodes;  ///< who may be a member; never empty
  std::uint64_t session = 0;
  std::uint64_t sequence = 0;
  std::uint64_t number = 0;     ///< of the request under way
  std::size_t target = 0;       ///< of `nodes`: who is asked
  fabric::NodeId waited_for{};  ///< by ask(); what is under way beside it may ask others
  bool is_waited_for_lost = false;
  bool has_new_roster = false;
  std::uint64_t roster_asked_ns = 0;
  std::optional<Error> refusal;     ///< why a member lets nobody in
  replication::Capability shown{};  ///< with each question: what this client has, as the map says
  bool is_denied = false;           ///< … and it was not enough for one that has no number
  struct Answer {
    replication::ReplyStatus status;
    std::uint64_t value;
    std::vector<std::byte> result;
    std::uint64_t index;
    replication::Level level;
  };
  std::optional<Answer> answer;
  ReplicatedCommit last_commit{};
  CallId last_call{};
  base::Random random{1};  ///< of pauses
  std::optional<replication::ChangeReply> change_reply;
  std::map<fabric::NodeId, replication::MemberStatus> statuses;
  std::set<fabric::NodeId> status_asked;  ///< of whom an answer may still come
  /// Of who makes a copy (space_copy.cpp).
  std::function<void(fabric::NodeId from, const replication::StatePart& part)> on_state{};
  /// Of who looks at the log (group_log.cpp).
  std::function<void(fabric::NodeId from, const replication::EntriesTold& told)> on_entries{};

  /// Of group `number`; it connects when it is used. `spin`: as of ReplicatedOptions. Errors: as
  /// make().
  [[nodiscard]] Result<void> open(const node::GroupPlan& plan, std::uint64_t its_number,
                                  std::chrono::microseconds spin);

  [[nodiscard]] static std::uint64_t now_ns() { return sys::linux_env().clock->monotonic_ns(); }
  [[nodiscard]] static std::uint64_t deadline_in(std::chrono::milliseconds patience) {
    return deadline_in(patience, now_ns());
  }
  [[nodiscard]] static std::uint64_t deadline_in(std::chrono::milliseconds patience,
                                                 std::uint64_t now_ns) {
    return now_ns +
           static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0)) * 1'000'000;
  }
  [[nodiscard]] fabric::NodeId target_node() const { return nodes[target]; }
  void ask_next() { target = (target + 1) % nodes.size(); }
  /// Whether `value` of an answer names somebody else, who is asked from now on.
  bool ask_who_leads(std::uint64_t value);

  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& peer, const Error& why) override;
  void on_refused(fabric::NodeId who, const Error& why) override;
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
  void on_message(const fabric::NodeName& from, base::Bytes message) override;

  /// False: nothing had arrived.
  [[nodiscard]] Result<bool> poll_now();
  [[nodiscard]] Result<void> poll_until(std::uint64_t until_ns);
  [[nodiscard]] Result<void> pause(std::uint64_t deadline_ns, std::uint64_t length_ns = kPauseNs);
  /// The body may be in two parts.
  [[nodiscard]] Result<bool> send(fabric::NodeId to, replication::EnvelopeKind kind,
                                  base::Bytes body, base::Bytes more = {});
  /// Takes over what was heard, and asks again when it is old.
  [[nodiscard]] Result<void> look_after_roster(bool at_once = false);
  [[nodiscard]] Result<void> know_nodes();
  /// Asks one member, which may not lead, and waits until `is_answered` or patience ends; false: no
  /// answer came.
  template <class IsAnswered>
  [[nodiscard]] Result<bool> ask(replication::EnvelopeKind kind, base::Bytes body,
                                 std::uint64_t deadline_ns, const IsAnswered& is_answered) {
    const std::uint64_t until_ns = std::min(deadline_ns, now_ns() + kAttemptNs);
    const fabric::NodeId asked = waited_for = target_node();
    is_waited_for_lost = false;
    bool is_sent = false;
    while (now_ns() < until_ns && !is_waited_for_lost) {
      if (!is_sent) {
        DOLMEN_TRY(is_sent, send(asked, kind, body));
        // While others may be there, nobody waits for one that is not.
        if (!is_sent && nodes.size() > 1) {
          DOLMEN_CHECK(pause(until_ns));
          DOLMEN_TRY(is_sent, send(asked, kind, body));
          if (!is_sent) return false;
        }
      }
      DOLMEN_CHECK(poll_until(is_sent ? until_ns : std::min(until_ns, now_ns() + kPauseNs)));
      if (is_answered()) return true;
    }
    return false;
  }
  /// Until somebody who leads has answered.
  [[nodiscard]] Result<Answer> ask_leader(std::uint64_t asked_session, std::uint64_t asked_sequence,
                                          base::Bytes command, std::uint64_t deadline_ns);
  /// If there is none.
  [[nodiscard]] Result<void> open_session(std::uint64_t deadline_ns);
  /// … or somebody who may answer. `make_body` is given the number of each attempt. Of commands it
  /// matters what became of an attempt that nobody answered; a session that was opened in vain, or
  /// a read, changes nothing.
  [[nodiscard]] Result<Answer> ask_until_answered(
      replication::EnvelopeKind kind, bool is_command,
      const std::function<std::vector<std::byte>(std::uint64_t)>& make_body,
      std::uint64_t deadline_ns);

  // In a cluster (cluster_follow.cpp): members are asked for a later map, which says whom to trust;
  // and so is every node that is known when no member is heard, for all of them may be gone.
  static constexpr std::uint64_t kSilentNs = 1'000'000'000;
  std::uint64_t map_version = 0;  ///< 0: none yet
  replication::Addresses others;  ///< nodes that are no members
  bool is_seeking = false;        ///< … and are dialled
  std::uint64_t looked_ns = 0;
  std::uint64_t silent_since_ns = 0;
  [[nodiscard]] Result<void> look_after_map();
  void ask_map(fabric::NodeId node);
  /// After a member said that what was shown is not held: false if that is so as far as this client
  /// can know.
  [[nodiscard]] Result<bool> look_for_right(std::uint64_t deadline_ns);
  void hear_map(base::Bytes body);

  // Calls that are under way at once (replicated_calls.cpp).
  node::Calls calls{*this, random, kAttemptNs, kPauseNs};
  /// Goes on with them until some were told, or `until_ns`; so many. Errors: the endpoint's.
  [[nodiscard]] Result<std::size_t> go_on(std::uint64_t until_ns);
  [[nodiscard]] fabric::NodeId asked_now() const override { return target_node(); }
  bool ask_another(std::uint64_t leader) override;
  [[nodiscard]] std::uint64_t next_number() override { return ++number; }
  [[nodiscard]] Result<bool> send_to(fabric::NodeId to, replication::EnvelopeKind kind,
                                     base::Bytes head, base::Bytes payload) override {
    return send(to, kind, head, payload);
  }
  void look_for_right() override;
  std::uint64_t right_asked_ns = 0;
  [[nodiscard]] std::optional<Error> refused() const override { return refusal; }

  // Changing the members (replicated_change.cpp).
  /// The roster of whoever answers first from now on.
  [[nodiscard]] Result<log::Configuration> members_now(std::uint64_t deadline_ns);
  /// The replica that runs on this node.
  [[nodiscard]] Result<log::ReplicaId> replica_at(fabric::NodeId node, const std::string& address,
                                                  std::uint64_t deadline_ns,
                                                  const ReplicatedProgressSink& progress);
  [[nodiscard]] Result<void> carry_out(replication::Change change, const char* doing,
                                       std::uint64_t deadline_ns,
                                       const ReplicatedProgressSink& progress);
  /// Makes the replica a learner and then a voter; `instead` (0: nobody) is a member no more.
  [[nodiscard]] Result<void> take_in(const log::Configuration& now, log::ReplicaId id,
                                     log::ReplicaId instead, const std::string& address,
                                     std::uint64_t deadline_ns,
                                     const ReplicatedProgressSink& progress);
};

namespace node {
[[nodiscard]] constexpr replication::ReadLevel level_of(ReadLevel level) noexcept {
  if (level == ReadLevel::stale) return replication::ReadLevel::stale;
  return level == ReadLevel::lease ? replication::ReadLevel::lease
                                   : replication::ReadLevel::linearizable;
}

[[nodiscard]] constexpr ReplicatedLevel level_of(replication::Level level) noexcept {
  return level == replication::Level::replicated ? ReplicatedLevel::replicated
                                                 : ReplicatedLevel::durable;
}

/// A client of a group whose members are known otherwise than as ReplicatedGroup says it.
struct ClientOf {
  /// Errors: as ReplicatedClient::make().
  [[nodiscard]] static Result<ReplicatedClient> make(const GroupPlan& plan, std::uint64_t number);
  using Impl = ReplicatedClient::Impl;
  [[nodiscard]] static Impl& inside(ReplicatedClient& client) { return *client.impl_; }
  /// Requires: it is open.
  [[nodiscard]] static ReplicatedClient of(std::unique_ptr<Impl> impl) {
    return ReplicatedClient(std::move(impl));
  }
};
}  // namespace node

}  // namespace dolmen
