// SPDX-License-Identifier: Apache-2.0
//
// A state machine together with the sessions of its clients: each command of a session is executed
// once, however often it is in the log, and its last result is kept for who asks again. Both are
// one replicated state, and one snapshot.
//
// A session is opened by an entry and named by its index, so that a name is never given twice. The
// session that was quiet for longest gives way when there are too many: its client is told, for
// whether its last command was executed is then not known any more.
//
// Who does not know whether a command was executed asks under its session and sequence, by an entry
// as well: of the command and the question the log's first one decides. So the answer is what came
// of it, or that it is given up for ever.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "log/message.hpp"
#include "replication/envelope.hpp"
#include "replication/membership.hpp"

namespace dolmen::replication {

inline constexpr std::size_t kSessionsMax = 10'000;
/// Of one client whose key is its own: of more, its own quietest one gives way.
inline constexpr std::size_t kSessionsOfHolderMax = 2'000;

/// Whose key a command came under, as the connection proved it: a client's number. 0: of nobody in
/// particular, as where all share one key, and of what nodes say themselves.
using Holder = std::uint64_t;

/// In place of a session: of who asks within the leader's process, and never asks again.
inline constexpr std::uint64_t kNoSession = ~std::uint64_t{0};
/// In place of a session: the command is where the node `sequence` is, of at most kAddressBytesMax;
/// empty forgets it.
inline constexpr std::uint64_t kAddressSession = ~std::uint64_t{0} - 1;
/// In place of a session: what became of the command `sequence` of the session that follows, in 8
/// bytes.
inline constexpr std::uint64_t kQuestionSession = kReservedSession;

/// Session, sequence and holder, in front of what a client sent.
inline constexpr std::size_t kCommandHeadBytes = 24;

/// A command of the log: what a client sent, with where it belongs. Session 0 opens one.
[[nodiscard]] std::vector<std::byte> encode_command(std::uint64_t session, std::uint64_t sequence,
                                                    base::Bytes command, Holder holder = 0);
/// The command of kQuestionSession.
[[nodiscard]] std::vector<std::byte> encode_question(std::uint64_t session, std::uint64_t sequence,
                                                     Holder holder = 0);

/// What a command of kAddressSession says; nothing: it is none.
[[nodiscard]] std::optional<std::pair<fabric::NodeId, std::string>> address_in(
    const log::Entry& entry);

class Executor {
 public:
  /// `machine` outlives it.
  explicit Executor(StateMachine& machine) : machine_(machine) {}

  struct Outcome {
    ReplyStatus status = ReplyStatus::done;
    std::uint64_t value = 0;
    std::vector<std::byte> result{};
    log::Index index = 0;  ///< of `done`: as in a Reply
  };
  /// Executes the entry behind the last one; entries that are no commands do nothing. `is_wanted`:
  /// the outcome is; else it says nothing.
  Outcome execute(const log::Entry& entry, bool is_wanted = true);
  [[nodiscard]] log::Index executed() const noexcept { return executed_; }
  /// Whether this command of the session or a later one was executed or given up: it will not be.
  [[nodiscard]] bool has_run(std::uint64_t session, std::uint64_t sequence) const;
  /// False: it is a session of somebody else.
  [[nodiscard]] bool may_use(std::uint64_t session, Holder holder) const;

  /// Where the group's log says that nodes are.
  [[nodiscard]] const Addresses& addresses() const noexcept { return addresses_; }

  /// Errors: the machine's.
  [[nodiscard]] Result<std::vector<std::byte>> snapshot() const;
  /// The state behind its last entry; null: before everything. Errors: corrupt (the sessions are
  /// then as they were).
  [[nodiscard]] Result<void> restore(const log::Snapshot* snapshot);
  /// What the machine's try_snapshot() gave for it. Errors: corrupt.
  [[nodiscard]] static Result<base::Bytes> machine_state_in(const log::Snapshot& snapshot);

 private:
  struct Session {
    std::uint64_t sequence = 0;
    log::Index used = 0;
    Holder holder = 0;  ///< whoever opened it; nobody else uses it
    Outcome outcome{};
  };
  struct Decoded {
    std::map<std::uint64_t, Session> sessions;
    std::map<log::Index, std::uint64_t> by_use;
    std::map<Holder, std::size_t> counts;
    Addresses addresses;
    base::Bytes machine{};
  };
  [[nodiscard]] static Result<Decoded> decode(const log::Snapshot& snapshot);
  Outcome run(const log::Entry& entry, bool is_wanted);
  [[nodiscard]] static bool may_use(const Session& session, Holder holder);
  void open_session(log::Index index, Holder holder);
  void forget_session(std::map<log::Index, std::uint64_t>::iterator its_use);

  StateMachine& machine_;
  log::Index executed_ = 0;
  std::map<std::uint64_t, Session> sessions_;
  std::map<log::Index, std::uint64_t> by_use_;  ///< sessions
  std::map<Holder, std::size_t> counts_;        ///< … of each; none is 0
  Addresses addresses_;
};

}  // namespace dolmen::replication
