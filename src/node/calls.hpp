// SPDX-License-Identifier: Apache-2.0
//
// Calls and reads of one client that are under way at once (ReplicatedClient::begin_call()). Each
// does what call() and read() do, and they share a connection, the target, and what is known of the
// members. A call has a session of its own while it is under way; sessions are used again, but for
// those of calls whose outcome nobody knows: with them it can be asked
// (ReplicatedClient::outcome()).
//
// Without input and output: what is to be sent is asked for, what arrives is told. Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "fabric/fabric.hpp"
#include "replication/envelope.hpp"

namespace dolmen::node {

/// Of a call that is not executed and never will be, because it was asked what became of it.
[[nodiscard]] inline Error given_up() {
  return Error(Errc::aborted, "a call of which somebody asked what became of it");
}

/// Of a call that was not taken. The detail: milliseconds until it may be.
[[nodiscard]] inline Error too_much(std::uint64_t retry_ns) {
  constexpr std::uint64_t kMs = 1'000'000;
  return Error(Errc::busy, "the group has too much to do; come again after milliseconds:",
               (retry_ns + kMs - 1) / kMs);
}

class Calls {
 public:
  /// Most that are under way: members take no more of one client (replication/intake.hpp).
  static constexpr std::size_t kCallsMax = 1000;

  struct Outcome {
    std::vector<std::byte> result{};
    std::uint64_t index = 0;
    replication::Level level = replication::Level::durable;
  };
  using Told = std::function<void(Result<Outcome>)>;

  /// What it needs of the client. Calls of these are made within those of Calls.
  class Line {
   public:
    virtual ~Line() = default;
    /// Whom to ask now.
    [[nodiscard]] virtual fabric::NodeId asked_now() const = 0;
    /// The one that was asked does not answer, or leads no more: `leader` (0: nobody) is said to.
    /// False: nobody else who is known was named, and the next one is asked.
    virtual bool ask_another(std::uint64_t leader) = 0;
    /// A number that no other request of this client has.
    [[nodiscard]] virtual std::uint64_t next_number() = 0;
    /// False: it could not be sent now. Errors: invalid_argument (it is too large).
    [[nodiscard]] virtual Result<bool> send_to(fabric::NodeId to, replication::EnvelopeKind kind,
                                               base::Bytes head, base::Bytes payload) = 0;
    /// A member says that the right that this client shows is not held: whether that was changed is
    /// asked for, and shown from then on.
    virtual void look_for_right() = 0;
    /// Why members let nobody in, if they do not.
    [[nodiscard]] virtual std::optional<Error> refused() const = 0;
  };

  /// An attempt that nobody answers for `attempt_ns` is made again, elsewhere; after one in vain
  /// there is a pause. All of these outlive it.
  Calls(Line& line, base::Random& random, std::uint64_t attempt_ns, std::uint64_t pause_ns)
      : line_(line), random_(random), attempt_ns_(attempt_ns), pause_ns_(pause_ns) {}

  /// Errors: busy (kCallsMax are under way).
  [[nodiscard]] Result<void> begin_call(std::vector<std::byte> command, std::uint64_t deadline_ns,
                                        Told told);
  [[nodiscard]] Result<void> begin_read(std::vector<std::byte> query, replication::ReadLevel level,
                                        std::uint64_t deadline_ns, Told told);
  /// So many were begun, and are not told.
  [[nodiscard]] std::size_t under_way() const noexcept { return live_ + ended_.size(); }

  /// Whether the reply is to one of these. `from` answered.
  bool on_reply(fabric::NodeId from, const replication::Reply& reply, std::uint64_t now_ns);
  void on_lost(fabric::NodeId peer);

  /// Sends what can be sent, and ends what has waited too long.
  void advance(std::uint64_t now_ns);
  /// When advance() has something to do, whatever arrives.
  [[nodiscard]] std::uint64_t wakeup_ns() const noexcept { return wakeup_ns_; }
  /// Tells whose calls have ended; so many. What is told may begin others.
  std::size_t tell();
  struct Place {
    std::uint64_t session = 0;  ///< 0: it was never sent
    std::uint64_t sequence = 0;
  };
  /// Which command the one that is being told was.
  [[nodiscard]] const Place& told_now() const noexcept { return told_now_; }

 private:
  using Slot = std::size_t;
  static constexpr Slot kNoSession = ~Slot{0};
  struct Call {
    std::optional<replication::ReadLevel> level{};  ///< of a read
    std::vector<std::byte> payload{};
    Told told{};
    std::uint64_t deadline_ns = 0;
    Slot session = kNoSession;
    bool is_live = false;
    bool is_queued = false;       ///< to be sent
    bool is_unsure = false;       ///< an attempt before may be in somebody's log
    std::uint64_t retry_ns = 0;   ///< not 0: there was too much to do, for so long
    bool is_stale = false;        ///< … or what is shown was not known to whoever was asked last
    std::uint64_t denied_ns = 0;  ///< since when this client's right is looked for; 0: it is not
    std::uint64_t number = 0;     ///< of the attempt under way; 0: there is none
    fabric::NodeId asked{};       ///< … and who was asked
    std::uint64_t act_ns = 0;     ///< when it is sent again
  };
  using Session = Place;  ///< 0: it is to be opened

  [[nodiscard]] Result<void> begin(Call call);
  [[nodiscard]] bool is_opening(const Call& call) const {
    return !call.level && sessions_[call.session].session == 0;
  }
  void queue(Slot slot);
  void later(Slot slot, std::uint64_t at_ns);
  void send(Slot slot, std::uint64_t now_ns);
  void end(Slot slot, Result<Outcome> outcome);
  /// Whether it may be executed yet, or was.
  [[nodiscard]] bool is_unsure(const Call& call) const {
    return call.is_unsure || (call.number != 0 && !is_opening(call));
  }
  void give_up(Slot slot);
  void deny(Slot slot, replication::ReplyStatus status, std::uint64_t now_ns);
  void look_at_times(std::uint64_t now_ns);

  Line& line_;
  base::Random& random_;  ///< of pauses
  const std::uint64_t attempt_ns_;
  const std::uint64_t pause_ns_;
  std::vector<Call> calls_;
  std::vector<Slot> free_calls_;
  std::size_t live_ = 0;
  std::vector<Session> sessions_;
  std::vector<Slot> free_sessions_;
  std::deque<Slot> queue_;
  std::unordered_map<std::uint64_t, Slot> by_number_;
  struct Ended {
    Told told;
    Result<Outcome> outcome;
    Place place;
  };
  std::deque<Ended> ended_;
  Place told_now_{};
  std::uint64_t wakeup_ns_ = ~std::uint64_t{0};
};

}  // namespace dolmen::node
