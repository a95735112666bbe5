// SPDX-License-Identifier: Apache-2.0
//
// A state machine kept the same by a group of members: processes on one or several hosts, of which
// a majority has to be there. What a client was told is on the disks of a majority, or, in a
// memory-only group, in their memories, and survives whatever a minority of them suffers.
// docs/replicated.md shows a whole program.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/state_machine.hpp>

namespace dolmen {

class Index;

namespace node {
struct GroupPlan;
struct ClientOf;
}  // namespace node

/// Where a command is before its client is told. The same for all members of a group.
enum class ReplicatedLevel : std::uint8_t {
  durable,     ///< on the disks of a majority
  replicated,  ///< in the memories of a majority: gone when a majority has stopped since
};

/// What a read sees.
enum class ReadLevel : std::uint8_t {
  /// What every call did that anybody was answered before this read began: the leader answers, once
  /// a majority has told it that it still leads. No entry is written, and no disk waited for.
  linearizable,
  /// What the member that is asked has executed by now, which may lag by any time. One round trip.
  stale,
  /// As `linearizable`, and nobody else is asked while the leader has a lease
  /// (ReplicatedOptions::lease): right as long as clocks keep to
  /// ReplicatedOptions::clock_drift_ppm.
  lease,
};

/// What a read gave.
struct ReplicatedReading {
  std::vector<std::byte> result{};
  std::uint64_t index = 0;  ///< it was the state after this entry of the group's log
};

/// Where a command is.
struct ReplicatedCommit {
  std::uint64_t index = 0;  ///< of the group's log: at this entry or before it
  ReplicatedLevel level = ReplicatedLevel::durable;  ///< how safe it was when its client was told
};

/// Which command of which client: with it anybody who has that client's key can ask what became of
/// the command. A value.
struct CallId {
  std::uint64_t group = 0;
  std::uint64_t session = 0;  ///< 0: the command was never sent
  std::uint64_t sequence = 0;

  /// "GROUP.SESSION.SEQUENCE", to be kept where it outlives the process.
  [[nodiscard]] std::string text() const;
  /// Of text(). Errors: invalid_argument.
  [[nodiscard]] static Result<CallId> parse(std::string_view text);
  friend bool operator==(const CallId&, const CallId&) = default;
};

/// What became of a call.
enum class CallFate : std::uint8_t {
  committed,  ///< executed, once
  aborted,    ///< not executed, and it never will be
  expired,    ///< not known any more; it will not be executed from now on
};
struct CallOutcome {
  CallFate fate = CallFate::expired;
  std::vector<std::byte> result{};  ///< of `committed`: what the state machine answered
  ReplicatedCommit commit{};        ///< of `committed`
  /// Of `committed`, as far as whoever asked knows what was called: it gave this instead.
  std::optional<Error> error{};
  const char* reason = "";  ///< of `expired`, for people
};

/// What a call gave, of many at once.
struct ReplicatedAnswer {
  std::vector<std::byte> result{};
  ReplicatedCommit commit{};
};

/// A group, as members and clients know it.
struct ReplicatedGroup {
  /// "192.0.2.7:7400" or "[2001:db8::7]:7400" of member 1, 2, …; "-" where there is none. Numeric:
  /// no names are looked up. Once members were added or replaced, those that are left are enough:
  /// the group's log says where the others are. Or "shm:/run/user/1000/exchange" for each of them:
  /// processes of one user on one host, which meet in that directory in memory (made if it is not
  /// there).
  std::vector<std::string> members;
  /// A file of 64 hexadecimal digits that only members and clients can read. Whoever has it may do
  /// anything; connections are encrypted with it. Not used in shared memory, where whoever runs as
  /// the user may do anything.
  std::string key_file;
  /// Which of the members, 1, 2, …, are witnesses: they keep what clients were told like the
  /// others, count in majorities, and have no state machine, so that they cost little but a disk;
  /// in a memory-only group, which has them in shared memory, nothing but that memory. The same for
  /// all members, when their directories are made; later the group's log knows, memory-only: also
  /// at every start.
  std::vector<std::uint32_t> witnesses{};
  /// Nobody else can reach the network between members and clients: what they say to each other is
  /// not encrypted, once they have shown that they have the key. All must say so: those who do not
  /// do not reach each other. Also: the environment variable DOLMEN_FABRIC is `trusted`.
  bool is_trusted_fabric = false;
};

struct ReplicatedOptions {
  ReplicatedGroup group;
  std::uint32_t member = 0;  ///< which of them this is: 1, 2, …
  std::string directory;  ///< where it keeps its journal; memory-only: which of its lives is next
  /// How long the loop looks for work itself before it lets the system wake it: lower latency for a
  /// core. microseconds::max(): it never sleeps.
  std::chrono::microseconds spin{0};
  /// As a leader, except in shared memory: a member without which there is a majority gets entries
  /// this much later, all at once. Saves a message per command; commands wait so long when a member
  /// that was needed becomes silent. 0: at once. Worth it where members share cores or a slow link.
  std::chrono::microseconds spare{0};
  ReplicatedLevel level = ReplicatedLevel::durable;
  /// The same for all members. So long a member that heard from the leader supports no other one,
  /// nor does one that starts: a take-over may take so much longer, and the leader can answer
  /// ReadLevel::lease and IndexReads::lease without asking others. 60 ms are less than a silence
  /// takes to be noticed. At most 10 s. 0: no leases. A member that is started with a shorter one
  /// has to have been down for as long as the one before.
  std::chrono::milliseconds lease{0};
  /// The same for all members: over any time each clock (CLOCK_MONOTONIC) of a member or client is
  /// at most so much too fast or too slow, in millionths; at most 100'000. What breaks that, like a
  /// machine that is put to sleep or copied while it runs, breaks reads by leases, and nothing
  /// else.
  std::uint32_t clock_drift_ppm = 1000;
  /// With a witness of a memory-only group, the same for all members: it keeps two areas of so many
  /// bytes for each server, in memory from its start on. The state of a group may take half of one,
  /// else the witness stays behind and the group does without it; a command may take an eighth. A
  /// multiple of 8, from 4 KiB to 1 GiB.
  std::size_t area_bytes = std::size_t{32} << 20;
  /// create() makes a member of a group that is there already: ReplicatedClient::add_member() or
  /// replace_member() takes it in. Under a number that another had it is somebody else. Durable
  /// groups only: a later life of a memory-only member is taken in by itself.
  bool joins = false;
};

/// A state machine of its own among several that the same members run: each has its log and its
/// leader, and all of a member's share its journal and every sync of it.
struct ReplicatedMachine {
  std::uint64_t group = 1;  ///< a number that is not 0
  StateMachine* machine = nullptr;
};

/// A member. Threads: run() on one; stop() from any, and from a signal handler.
class Replicated {
 public:
  /// Makes a new member's directory, once in its life. A member that lost its directory must not do
  /// this again under the same number: it would have forgotten what it promised. Errors:
  /// already_exists, invalid_argument, io_error, no_space.
  /// `groups`: the numbers of all that it will ever run, none twice.
  [[nodiscard]] static Result<void> create(const ReplicatedOptions& options,
                                           std::span<const std::uint64_t> groups);
  /// … of group 1 alone.
  [[nodiscard]] static Result<void> create(const ReplicatedOptions& options);
  /// Opens the journal and listens. `machine` outlives it, and is reset or restored here. A
  /// memory-only member begins with nothing: its first life is one of the group's first voters, a
  /// later one takes the seat of the one before when the others have told it everything. Errors:
  /// not_found (create() it first), held, corrupt, invalid_argument (also: a directory of the other
  /// level), already_exists (somebody listens at that address), superseded (shared memory: a later
  /// life is there), io_error.
  [[nodiscard]] static Result<Replicated> start(const ReplicatedOptions& options,
                                                StateMachine& machine);
  /// The same for a witness, which any program can run: it knows nothing of the state machine.
  /// `groups`, memory-only: the numbers of all that the servers run; none: group 1 (a durable one
  /// finds them in its journal). Errors: as of start(), and invalid_argument where the group has
  /// this member as a server, as start() has where it is a witness; out_of_memory.
  [[nodiscard]] static Result<Replicated> start_witness(const ReplicatedOptions& options,
                                                        std::span<const std::uint64_t> groups = {});
  /// … of several groups. One that the journal has and that is not given keeps what it has, and
  /// its group does without this member meanwhile.
  [[nodiscard]] static Result<Replicated> start(const ReplicatedOptions& options,
                                                std::span<const ReplicatedMachine> machines);
  Replicated(Replicated&&) noexcept;
  Replicated& operator=(Replicated&&) noexcept;
  ~Replicated();

  /// Serves until stop(). Errors: store_failed, no_space, io_error: the member is of no more use,
  /// and start() will find what its disk holds.
  [[nodiscard]] Result<void> run();
  void stop() noexcept;

 private:
  struct Impl;
  [[nodiscard]] static Result<std::unique_ptr<Impl>> open(const ReplicatedOptions& options,
                                                          const node::GroupPlan& plan);
  explicit Replicated(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

struct ReplicatedStatus {
  std::uint32_t member = 0;
  std::string address{};
  bool is_reached = false;  ///< the rest is only known then
  std::string role{};       ///< "leader", "candidate", "follower"
  std::uint64_t epoch = 0;
  std::uint32_t leader = 0;  ///< member; 0: it knows of none
  std::uint64_t first_index = 0;
  std::uint64_t last_index = 0;
  std::uint64_t stable_index = 0;
  std::uint64_t applied_index = 0;  ///< of a witness: 0
  std::vector<std::uint32_t> voters{};
  std::vector<std::uint32_t> learners{};
  std::vector<std::uint32_t> witnesses{};  ///< of the voters
  /// Of a leader: how many entries each member lacks that it has.
  struct Lag {
    std::uint32_t member = 0;
    std::uint64_t entries = 0;
  };
  std::vector<Lag> lag{};
  ReplicatedLevel level = ReplicatedLevel::durable;
  /// Whether it votes itself, as far as its own log says: a new life of a memory-only member does
  /// not at first.
  bool is_voter = false;
};

/// How far a change of members is: about every 50 ms.
struct ReplicatedProgress {
  std::uint32_t member = 0;
  std::string doing{};        ///< "reaching", "learning", "catching up", "voting", "leaving"
  std::uint64_t entries = 0;  ///< that a new member lacks; 0: not known, or none
};
using ReplicatedProgressSink = std::function<void(const ReplicatedProgress&)>;

/// Sends commands to whoever leads. Each is executed once, whatever fails meanwhile, or else the
/// error says that this is not known, and outcome() finds out. Threads: one at a time.
class ReplicatedClient {
 public:
  /// Errors: invalid_argument, io_error. It connects when it is used.
  /// `number`: which of the members' state machines it speaks with. It learns of other members
  /// while it is used, as long as one of those it knows is left.
  [[nodiscard]] static Result<ReplicatedClient> make(const ReplicatedGroup& group,
                                                     std::uint64_t number = 1);
  ReplicatedClient(ReplicatedClient&&) noexcept;
  ReplicatedClient& operator=(ReplicatedClient&&) noexcept;
  ~ReplicatedClient();

  /// What the state machine answered. Errors: timed_out (whether it was or will be executed is not
  /// known, unless the group could not be reached at all: ask outcome(last_call())),
  /// connection_lost (the group forgot this client, or refused the command after an attempt that
  /// nobody answered: also not known), invalid_argument (the state machine, or its size, refused
  /// it; nothing happened), busy (the members had too much to do as long as `patience` lasted,
  /// whenever they were asked; nothing happened; Error::detail() is the milliseconds after which to
  /// come again, as far as they know), aborted (somebody asked what becomes of it
  /// meanwhile, so that it never will be executed; nothing happened).
  [[nodiscard]] Result<std::vector<std::byte>> call(
      std::span<const std::byte> command,
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// Of the last call() that gave a result; within what is told of a begun call: of that one.
  [[nodiscard]] ReplicatedCommit last_commit() const noexcept;
  /// Which one the last call() was; within what is told of a begun call: which one that is.
  [[nodiscard]] CallId last_call() const noexcept;
  /// Which one the next call() of this client will be: whoever may be killed during it notes that
  /// before. Opens a session if there is none. Errors: those of call(), and nothing happened.
  [[nodiscard]] Result<CallId> next_call(
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// What became of a call of this group, of this client or another one with the same key, for ever
  /// from now on: one that was not executed yet is given up. Known of the last call of a session:
  /// ask before the next call(). Begun calls that ended without an answer keep a session each for
  /// that; and sessions give way (docs/replicated.md, What can fail). Errors: timed_out, busy
  /// (ask again; meanwhile it may be executed, or given up), no_right (it is another key's),
  /// invalid_argument (it is another group's). Cost: as call().
  [[nodiscard]] Result<CallOutcome> outcome(
      const CallId& call, std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// What StateMachine::read() answers to the query; repeated, elsewhere if need be, until patience
  /// ends. Errors: timed_out, busy (as of call()), invalid_argument (the state machine refused it).
  [[nodiscard]] Result<ReplicatedReading> read(
      std::span<const std::byte> query, ReadLevel level = ReadLevel::linearizable,
      std::chrono::milliseconds patience = std::chrono::seconds(10));

  // Many at once, by one thread and over one connection to each member: what 64 threads with a
  // client each would do, without waking any of them.

  using CallTold = std::function<void(Result<ReplicatedAnswer>)>;
  using ReadTold = std::function<void(Result<ReplicatedReading>)>;
  /// Begins what call() does; `when_done` is called once, by go_on(). Calls under way at once are
  /// executed in any order. Errors: busy (1000 are under way; go_on() first: without a detail); all
  /// others are told to `when_done`: those of call(). What is under way when the client goes away
  /// is not told, and may be executed.
  [[nodiscard]] Result<void> begin_call(
      std::vector<std::byte> command, CallTold when_done,
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// The same of read().
  [[nodiscard]] Result<void> begin_read(
      std::vector<std::byte> query, ReadTold when_done, ReadLevel level = ReadLevel::linearizable,
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// Sends, receives and tells, until something was told, nothing is under way, or `wait` has
  /// passed. So many were told. What is told may begin others, call() and go_on(), and must not end
  /// the client. Errors: of its connections: then what is under way is told as its patience ends.
  [[nodiscard]] Result<std::size_t> go_on(std::chrono::milliseconds wait);
  /// So many were begun, and not told.
  [[nodiscard]] std::size_t under_way() const noexcept;

  /// How each member is, as far as it answers within `patience`.
  [[nodiscard]] Result<std::vector<ReplicatedStatus>> status(
      std::chrono::milliseconds patience = std::chrono::seconds(1));
  /// The numbers of all groups that a member runs. Errors: timed_out (none answered).
  [[nodiscard]] Result<std::vector<std::uint64_t>> groups(
      std::chrono::milliseconds patience = std::chrono::seconds(1));

  // Changing the members. Each returns when the change is settled: who left may then be taken away.
  // One that failed or was cut short may have come a part of the way, and is done again by the same
  // call. Errors: timed_out (no leader, or it took longer than `patience`), busy (another change is
  // under way), not_connected (too few of those who would vote are there, or the new member does
  // not answer), not_authentic, invalid_argument.

  /// The member with this number, which runs at `address` and was made with `joins`, gets the log,
  /// and a vote when it has caught up. Errors: already_exists (it votes already under this number),
  /// invalid_argument also: it was not made to join.
  [[nodiscard]] Result<void> add_member(
      std::uint32_t member, const std::string& address,
      std::chrono::milliseconds patience = std::chrono::minutes(10),
      const ReplicatedProgressSink& progress = {});
  /// Errors: not_found (no such member), invalid_argument also: it is the last one.
  [[nodiscard]] Result<void> remove_member(
      std::uint32_t member, std::chrono::milliseconds patience = std::chrono::minutes(1),
      const ReplicatedProgressSink& progress = {});
  /// The member lost its disk, and runs again, made with `joins`, under its number and at `address`
  /// (empty: where it was): it gets the log, and then the vote of the one it was. Errors:
  /// not_found, already_exists (the one that runs there is the one that votes).
  [[nodiscard]] Result<void> replace_member(
      std::uint32_t member, const std::string& address = {},
      std::chrono::milliseconds patience = std::chrono::minutes(10),
      const ReplicatedProgressSink& progress = {});

 private:
  friend struct node::ClientOf;
  struct Impl;
  explicit ReplicatedClient(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dolmen
