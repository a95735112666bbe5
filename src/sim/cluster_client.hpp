// SPDX-License-Identifier: Apache-2.0
//
// Inside of cluster_world.hpp: a client of one group. It asks for a session, then gives one command
// after the other, each repeated at one member after the other until it is answered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "fabric/fabric.hpp"
#include "replication/envelope.hpp"
#include "sim/linearizability_models.hpp"
#include "sim/sim_fabric.hpp"
#include "sim/space_tally.hpp"
#include "sim/tally.hpp"

namespace dolmen::sim {

/// Of every second run leaders have leases, by which clients read.
inline bool has_leases(std::uint64_t seed) { return base::mix_seed(seed, 0xC7) % 2 == 0; }

using ClusterHistory = History<CounterModel::Operation>;

class ClusterClient final : private fabric::Sink {
 public:
  struct Place {
    replication::GroupId group;
    std::vector<fabric::NodeId> members;
    std::size_t number = 0;  ///< of the client in the history
    bool is_space = false;   ///< the group keeps one
    bool only_reads = false;
    /// Not null: it asks for accounts of that space instead of the counter, and says so there.
    AccountsJudge* accounts = nullptr;
    /// What it has now; empty: nothing is shown.
    std::function<replication::Capability()> shown{};
    /// Reads by the leader's lease, on a clock of its own, which is so much too fast or too slow.
    bool has_lease = false;
    std::int64_t drift_ppm = 0;
  };

  ClusterClient(SimFabric& fabric, SimEndpointOptions endpoint, Place place,
                ClusterHistory& history, std::uint64_t seed)
      : fabric_(fabric),
        place_(std::move(place)),
        history_(history),
        random_(seed),
        endpoint_(fabric.make(endpoint)) {}

  /// Does what is to be done now; the time of the next turn, if nothing arrives before.
  std::uint64_t turn() {
    const auto polled = endpoint_->poll(*this);
    if (!polled) violation_ = polled.error().message();
    const std::uint64_t now_ns = fabric_.now_ns();
    if (is_waiting_ && now_ns >= patience_end_ns_) look_elsewhere();
    if (is_waiting_) return patience_end_ns_;
    if (now_ns < not_before_ns_) return not_before_ns_;
    if (session_ != 0 && !operation_) {
      if (is_resting_) return ~std::uint64_t{0};
      begin();
    }
    if (!ask()) look_elsewhere();
    return is_waiting_ ? patience_end_ns_ : not_before_ns_;
  }
  /// Begins nothing more.
  void rest() { is_resting_ = true; }
  [[nodiscard]] bool is_done() const { return is_resting_ && !operation_; }
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::uint64_t answered() const { return answered_; }
  [[nodiscard]] std::uint64_t reads() const { return reads_; }
  [[nodiscard]] std::uint64_t attempts() const { return attempts_; }
  [[nodiscard]] bool is_of_space() const { return place_.is_space; }
  /// 0: none yet.
  [[nodiscard]] std::uint64_t session() const { return session_; }
  [[nodiscard]] std::uint64_t sequence() const { return sequence_; }

 private:
  using Status = replication::ReplyStatus;
  static constexpr std::uint64_t kMs = 1'000'000;

  [[nodiscard]] replication::Capability shown() const {
    return place_.shown ? place_.shown() : replication::Capability{};
  }
  void begin() {
    is_reading_ = place_.only_reads || random_.below(3) == 0;
    if (place_.accounts != nullptr) return begin_with_accounts();
    if (is_reading_) {
      command_ = place_.is_space ? SpaceTally::look() : std::vector<std::byte>{};
      operation_ = history_.invoke(place_.number, {.added = 0});
      return;
    }
    const std::uint64_t amount = random_.below(5) == 0 ? 0 : 1 + random_.below(1'000'000);
    const std::uint64_t padding = random_.below(300);
    command_ = place_.is_space ? SpaceTally::add(amount) : Tally::add(amount, padding);
    operation_ = history_.invoke(place_.number, {.added = amount});
    ++sequence_;
  }
  void begin_with_accounts() {
    AccountCall call = draw_account_call(random_, is_reading_);
    call.key = std::uint64_t{place_.number} << 32 | ++account_calls_;
    command_ = encode(call, is_reading_);
    operation_ = call.key;
    place_.accounts->begins(call, is_reading_, fabric_.now_ns());
    if (!is_reading_) ++sequence_;
  }
  void take_result(const replication::Reply& reply) {
    if (place_.accounts == nullptr) {
      history_.respond(*operation_).value =
          place_.is_space ? SpaceTally::value_of(reply.result).value_or(~std::uint64_t{0})
                          : Tally::value_of(reply.result);
      return;
    }
    const auto answer = account_answer_in(reply.result);
    if (!answer || answer->key != *operation_) {
      violation_ = "accounts: an answer to another call";
      return;
    }
    place_.accounts->answered(*answer, reply.index, fabric_.now_ns());
  }
  bool ask() {
    const auto to = endpoint_->connected(place_.members[member_]);
    if (!to) return false;
    const bool is_opening = session_ == 0;
    const replication::Request request{
        .number = ++asked_,
        .session = session_,
        .sequence = is_opening ? 0 : sequence_,
        .command = is_opening ? base::Bytes{} : base::Bytes(command_)};
    const bool reads = is_reading_ && !is_opening;
    const std::vector<std::byte> head =
        encode(replication::Envelope{.kind = reads ? replication::EnvelopeKind::read_request
                                                   : replication::EnvelopeKind::request,
                                     .group = place_.group,
                                     .shown = shown()});
    const std::vector<std::byte> body =
        reads ? encode(replication::ReadRequest{.number = asked_,
                                                .level = place_.has_lease
                                                             ? replication::ReadLevel::lease
                                                             : replication::ReadLevel::linearizable,
                                                .query = command_})
              : encode(request);
    const std::array<base::Bytes, 2> parts{head, body};
    if (!endpoint_->send(*to, parts)) return false;
    is_waiting_ = true;
    patience_end_ns_ = fabric_.now_ns() + random_.between(20 * kMs, 300 * kMs);
    return true;
  }
  void look_elsewhere() {
    ++attempts_;
    is_waiting_ = false;
    member_ = random_.below(place_.members.size());
    not_before_ns_ = fabric_.now_ns() + 1 + random_.below(10 * kMs);
  }
  void take(const replication::Reply& reply) {
    is_waiting_ = false;
    switch (reply.status) {
      case Status::done:
        if (session_ == 0) {
          session_ = reply.value;
          return;
        }
        take_result(reply);
        operation_.reset();
        ++answered_;
        if (is_reading_) ++reads_;
        not_before_ns_ = fabric_.now_ns() + random_.below(10 * kMs);  // it thinks
        return;
      case Status::not_leader:
        look_elsewhere();
        for (std::size_t i = 0; i < place_.members.size(); ++i) {
          if (static_cast<std::uint64_t>(place_.members[i]) == reply.value) member_ = i;
        }
        return;
      case Status::busy:
      case Status::lost:
        return look_elsewhere();
      case Status::stale:
        return look_elsewhere();  // with what it has by then
      case Status::no_right:
        violation_ = "a client that has the right, and its own session, was refused";
        return;
      case Status::expired:
      case Status::refused:
      case Status::aborted:
        violation_ = "a session that is in use stays, and nothing is refused here";
    }
  }

  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
  void on_message(const fabric::NodeName& /*from*/, base::Bytes message) override {
    const auto opened = replication::decode_envelope(message);
    if (!opened || opened->envelope.kind != replication::EnvelopeKind::reply) {
      violation_ = "a member's message is no reply";
      return;
    }
    const auto reply = replication::decode_reply(opened->body);
    if (!reply) {
      violation_ = reply.error().message();
    } else if (is_waiting_ && reply->number == asked_) {
      take(*reply);
    }
  }

  SimFabric& fabric_;
  const Place place_;
  ClusterHistory& history_;
  base::Random random_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  std::string violation_;
  std::size_t member_ = 0;
  std::uint64_t session_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t asked_ = 0;
  std::vector<std::byte> command_;
  std::optional<std::uint64_t> operation_;  ///< in the history; the key of one with accounts
  std::uint64_t account_calls_ = 0;
  bool is_reading_ = false;
  bool is_waiting_ = false;
  bool is_resting_ = false;
  std::uint64_t patience_end_ns_ = 0;
  std::uint64_t not_before_ns_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t reads_ = 0;
  std::uint64_t attempts_ = 0;
};

}  // namespace dolmen::sim
