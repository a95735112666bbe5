// SPDX-License-Identifier: Apache-2.0
//
// One node of replica groups at work: replicas (log/replica.hpp), one journal, one endpoint, and
// for each group a state machine. A turn takes in what has arrived, proposes what clients asked
// for, lets it leave for the followers, syncs the journal once for all groups, executes what is
// decided, and answers. So the leader's sync runs beside the followers', and who waits for the disk
// is served together.
//
// Election and replication share one loop: a member whose disk or loop stands still is not heard
// of either.
//
// Without a journal (memory-only groups) nothing is synced: what is made counts at once, and a
// member that starts again takes part as another replica.
//
// Threads: one for everything. Writing a checkpoint has a thread of its own where there are
// threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/state_machine.hpp>

#include "fabric/fabric.hpp"
#include "replication/executor.hpp"
#include "replication/intake.hpp"
#include "replication/journal.hpp"
#include "replication/membership.hpp"
#include "replication/meters.hpp"
#include "replication/shared_lanes.hpp"
#include "replication/state_fetch.hpp"
#include "replication/state_server.hpp"

namespace dolmen::replication {

struct MemberOptions {
  log::ReplicaOptions replica{};
  /// Of each group: commands that are not answered yet, and queries; more are `busy`.
  IntakeLimits requests{};
  IntakeLimits reads{};
  /// A checkpoint that failed for want of room is tried again after this.
  std::uint64_t checkpoint_retry_ns = 5'000'000'000;
  /// Where nodes are as far as no group's log says it.
  Addresses addresses{};
  /// Called by a turn when it is known of other places, with all that is known.
  std::function<void(const Addresses& addresses)> on_addresses{};
  /// Called with ask_map, map, order, report, mail and ask_metrics, which are no replica's
  /// business. It may call say() and submit().
  std::function<void(const fabric::NodeName& from, const Envelope& envelope, base::Bytes body)>
      on_cluster{};
  /// Whether `from` may say it; what it may not is dropped. Empty: anybody anything.
  std::function<bool(const fabric::NodeName& from, const Envelope& envelope, base::Bytes body)>
      may_say{};
  /// What the key of `from` may do under what it shows; looked at when something arrives that needs
  /// a right, and once more when it is begun. Empty: whoever may connect may do everything.
  std::function<Right(const fabric::NodeName& from, const Capability& shown)> right_of{};
  /// Whose key `from` has proved. Empty: all share one.
  std::function<Holder(const fabric::NodeName& from)> holder_of{};
  /// Without a journal: entries of so many bytes, or of as many as the last snapshot, are held
  /// before a snapshot stands for them.
  std::size_t memory_log_bytes = 8u << 20;
  /// Without a journal: a new life that is no voter yet asks for that so often.
  std::uint64_t join_ns = 20'000'000;
  /// With witnesses that are memory alone: most bytes of entries that are not decided. A quarter of
  /// an area, so that what a new leader finds fits behind a snapshot there; where areas turn out to
  /// be smaller, a quarter of those.
  std::size_t undecided_bytes_max = 8u << 20;
  /// Where no machine makes snapshots, the leader is asked for one this often while one is wanted.
  std::uint64_t snapshot_retry_ns = 100'000'000;
  /// How states that machines keep themselves get to who lacks them.
  StateTransferOptions transfer{};
  /// While such a state is sent the log is not cut before it has so many bytes, so that what the
  /// other member needs next is still there.
  std::uint64_t held_log_bytes_max = 512u << 20;
};

class Member final : private fabric::Sink {
 public:
  /// Of what the journal holds. `env` and `endpoint` outlive it. Without a journal everything is in
  /// memory alone: what a majority of such members has is kept as long as a majority of them lives,
  /// and a member that starts again is another replica (add_in_memory()).
  Member(const sys::Env& env, fabric::Endpoint& endpoint, std::unique_ptr<Journal> journal,
         const MemberOptions& options);
  ~Member() override;
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  /// Without a journal: a replica that has nothing. `self` is an id that nobody had before. If it
  /// is not of `first`, it asks the leader to be made a voter in place of the earlier life of its
  /// node, and counts for nothing until then. Requires: no journal; !group.is_null().
  void add_in_memory(const GroupId& group, log::ReplicaId self, const log::Configuration& first);
  /// A replica of this node that never was before, to be hosted. Durable on return. `self` is an id
  /// that nobody had before; if it is not of `first`, it waits to be made a member. Requires: a
  /// journal; !group.is_null(), is_valid(first). Errors: as Journal::add().
  [[nodiscard]] Result<void> make(const GroupId& group, log::ReplicaId self,
                                  const log::Configuration& first);
  /// Takes a replica of this node away, hosted or not, with everything that is kept of it: who
  /// waits for an answer is told `lost`. Durable on return. A voter's promises go with it, so that
  /// its id must not be used again, and its group has to have let it go before. Requires: a
  /// journal; not within a call of this member. Errors: not_found, as Journal::remove().
  [[nodiscard]] Result<void> drop(const GroupId& group);
  /// The groups of which there is a replica that nobody runs yet; ascending.
  [[nodiscard]] std::vector<GroupId> found() const;
  /// All replicas of this node, hosted or not.
  [[nodiscard]] std::map<GroupId, log::ReplicaId> replicas() const;
  /// Begins to run the group's replica. `machine` outlives it. Errors: not_found (the journal has
  /// no such replica), corrupt (a snapshot that the machine does not understand).
  /// `lease_ns`: instead of the options'; the same, or a longer one, at every start.
  [[nodiscard]] Result<void> host(const GroupId& group, StateMachine& machine,
                                  std::optional<std::uint64_t> lease_ns = std::nullopt);

  /// The same for a witness: entries and snapshots are kept as bytes, and nothing is executed.
  /// Errors: not_found, invalid_argument (the group's configuration says that it is none).
  [[nodiscard]] Result<void> host_witness(const GroupId& group);

  /// Does what can be done now; false: there was nothing. Errors end the member: store_failed,
  /// no_space, io_error (its journal), corrupt (a state that is none), the endpoint's own.
  [[nodiscard]] Result<bool> turn();
  /// Until a turn may have something to do, and not beyond `until_ns`.
  [[nodiscard]] Result<void> wait(std::uint64_t until_ns = ~std::uint64_t{0});

  /// Gives what it leads with leases to others (Replica::hand_over()), or goes on with it: to be
  /// called again and again, with turns in between. True: there is nothing to wait for any more.
  [[nodiscard]] bool hand_over();

  /// A message of the kinds that on_cluster is called with. What cannot be sent is lost.
  void say(const fabric::NodeName& to, EnvelopeKind kind, const GroupId& group, base::Bytes body) {
    send(to, {.kind = kind, .group = group}, body);
  }

  using Answer = std::function<void(const Executor::Outcome& outcome)>;
  /// A command from within this process, executed once if it is decided; `answer` is called by a
  /// later turn. Errors: not_leader and busy are told by `answer` at once.
  void submit(const GroupId& group, base::Bytes command, Answer answer);
  /// A query from within this process, as of ReplicatedClient::read(); told as by submit().
  void query(const GroupId& group, base::Bytes query, ReadLevel level, Answer answer);

  /// Whether it leads and has decided an entry of its own epoch.
  [[nodiscard]] bool leads(const GroupId& group) const;
  /// A step of changing the members, or how far it is.
  [[nodiscard]] ChangeReply change(const GroupId& group, const Change& change);
  /// Who belongs to the group, as far as this one knows.
  [[nodiscard]] Roster roster(const GroupId& group) const;
  [[nodiscard]] std::optional<MemberStatus> status(const GroupId& group) const;
  /// For whoever judges members from outside, after each turn; good until the next one.
  struct Inside {
    const log::Replica* replica = nullptr;
    log::Index executed = 0;  ///< by its machine; 0 also where there is none
    std::size_t held = 0;     ///< commands and queries that are not answered yet
    const GroupMeter* meter = nullptr;
  };
  [[nodiscard]] std::optional<Inside> inside(const GroupId& group) const {
    const auto found = groups_.find(group);
    if (found == groups_.end()) return std::nullopt;
    const Hosting& hosting = found->second;
    return Inside{&hosting.replica, hosting.executor ? hosting.executor->executed() : 0,
                  hosting.requests.size() + hosting.pending.size() + hosting.reads.size() +
                      hosting.asking.size() + hosting.ahead.size(),
                  &hosting.meter};
  }
  /// What right_of says has changed: who reads a group's memory under a right that it has no more
  /// does so no longer. Cost: all who do.
  void rights_changed();
  [[nodiscard]] const MemberMeter& meter() const noexcept { return meter_; }
  /// Requires: it has one.
  [[nodiscard]] Journal& journal() noexcept { return *journal_; }
  /// Syncs and ends the journal, if there is one.
  [[nodiscard]] Result<void> close();

 private:
  struct Pending {
    log::Position place{};  ///< of its entry
    fabric::NodeName client{};
    std::uint64_t number = 0;
    std::uint64_t since_ns = 0;
    std::size_t bytes = 0;  ///< of its entry in a lane
    Answer answer{};        ///< instead of a client
    std::optional<Executor::Outcome> outcome{};
  };
  struct Waiting {
    Pending pending;
    std::uint64_t session = 0;
    std::uint64_t sequence = 0;
    std::vector<std::byte> payload;  ///< encode_command() of them, or encode_question()
    Capability shown{};
    bool is_question = false;
  };
  // Queries (member_reads.cpp).
  struct Reader {
    fabric::NodeName client{};
    std::uint64_t number = 0;
    std::uint64_t since_ns = 0;
    ReadLevel level = ReadLevel::linearizable;
    std::vector<std::byte> query{};
    Answer answer{};  ///< instead of a client
    Capability shown{};
  };
  /// Waits for its ticket's round, and for its entry to be executed.
  struct Asking {
    Reader reader;
    log::ReadTicket ticket{};
    std::vector<std::byte> early{};  ///< what a planted bug read too early
  };
  /// Has read a state that is not decided yet.
  struct Ahead {
    Reader reader;
    Executor::Outcome outcome{};  ///< its index: of the last entry of that state
  };
  struct Hosting {
    Hosting(StateMachine* its_machine, log::Replica its_replica, log::Configuration its_first,
            std::unique_ptr<SharedLanes> its_lanes, const MemberOptions& options)
        : requests(options.requests),
          reads(options.reads),
          machine(its_machine),
          executor(its_machine == nullptr ? std::nullopt : std::optional<Executor>(*its_machine)),
          replica(std::move(its_replica)),
          first(std::move(its_first)),
          lanes(std::move(its_lanes)) {}
    [[nodiscard]] bool executes_ahead() const {
      return machine != nullptr && machine->executes_ahead();
    }
    Intake<Waiting> requests;
    Intake<Reader> reads;
    std::deque<Asking> asking;         ///< ascending by round
    std::deque<Ahead> ahead;           ///< ascending by index
    std::uint64_t work_ns = 0;         ///< of the machine, since it was last accounted for
    std::uint64_t worked = 0;          ///< … and commands
    StateMachine* const machine;       ///< null: of a witness
    std::optional<Executor> executor;  ///< of the machine
    log::Replica replica;
    log::Configuration first;
    log::RecordCount appended = 0;
    log::Index told_decided = 0;  ///< what the machine knows of since its last restore()
    std::deque<Pending> pending;  ///< ascending
    std::size_t pending_bytes = 0;
    Addresses addresses;  ///< of the log, decided or not
    /// Of a witness, at the last checkpoint; and since when it waits for a newer one, 0: it does
    /// not.
    log::Index cut_at = 0;
    std::uint64_t waits_ns = 0;
    std::uint64_t asked_ns = 0;
    bool is_draining = false;          ///< nothing is proposed until a snapshot can be taken
    fabric::RegionId memory_region{};  ///< of the machine's state, if others may read it
    base::MutableBytes memory{};       ///< … and what is in it: the line, and the state
    // Of a machine that keeps its state:
    std::unique_ptr<StateServer> server{};
    std::unique_ptr<StateFetch> fetch{};
    // Without a journal:
    std::unique_ptr<SharedLanes> lanes{};  ///< where memory is mapped
    std::unique_ptr<LaneWriter> writer{};
    std::size_t bytes_held = 0;                ///< of entries executed since the last snapshot
    std::uint64_t join_at_ns = 0;              ///< when this replica asks again to be a voter
    std::uint64_t snapshot_not_before_ns = 0;  ///< after one that was too large
    std::uint64_t prepare_at_ns = 0;           ///< when it makes room for a lane; 0: there is some
    std::uint64_t map_at_ns = 0;               ///< when it looks again whether witnesses are mapped
    std::map<fabric::NodeId, log::ReplicaId> joining{};  ///< leader: new lives that asked
    GroupMeter meter{};
  };

  void on_connected(const fabric::NodeName& peer) override;
  void on_lost(const fabric::NodeName& peer, const Error& why) override;
  void on_refused(fabric::NodeId who, const Error& why) override;
  void on_message(const fabric::NodeName& from, base::Bytes message) override;
  void on_completed(fabric::OpId op, const Result<std::uint64_t>& former) override;

  /// As it was when this turn last looked.
  [[nodiscard]] std::uint64_t now_ns() const noexcept { return now_ns_; }
  void look_at_clock() { now_ns_ = env_.clock->monotonic_ns(); }
  void take_request(const GroupId& group, Hosting& hosting, Waiting waiting);
  [[nodiscard]] Result<bool> propose_all();
  void propose(const GroupId& group, Hosting& hosting);
  void account(Hosting& hosting, std::uint64_t answered);
  void take_reader(const GroupId& group, Hosting& hosting, Reader reader);
  [[nodiscard]] Result<bool> begin_reads();
  void begin_reads(const GroupId& group, Hosting& hosting);
  [[nodiscard]] bool can_begin_read(const Hosting& hosting) const;
  void serve_reads(const GroupId& group, Hosting& hosting);
  [[nodiscard]] bool can_read(const Hosting& hosting, const Asking& asking,
                              std::uint64_t confirmed) const;
  [[nodiscard]] static bool can_read(const Hosting& hosting, log::Index index);
  /// False: it was read by a lease that is over, and nothing came of it; `reader` is as it was.
  bool read(const GroupId& group, Hosting& hosting, Reader& reader, bool is_by_lease = false);
  void give_up_ahead(const GroupId& group, Hosting& hosting, log::Index from);
  void answer_reader(const GroupId& group, Hosting& hosting, const Reader& reader,
                     const Executor::Outcome& outcome);
  [[nodiscard]] static std::uint64_t leader_node(const Hosting& hosting);
  [[nodiscard]] bool has_memory_witness(const Hosting& hosting) const;
  [[nodiscard]] std::size_t undecided_bytes_max(const Hosting& hosting) const;
  [[nodiscard]] bool can_propose(const Hosting& hosting) const;
  [[nodiscard]] static bool is_in_log(const Hosting& hosting, std::uint64_t session,
                                      std::uint64_t sequence, Holder holder);
  [[nodiscard]] Result<void> carry_out(const GroupId& group, Hosting& hosting);
  void write_lanes(Hosting& hosting);
  void raise(Hosting& hosting, const log::LaneWrite& write);
  [[nodiscard]] Result<void> carry_out_all();
  void execute(Hosting& hosting, log::Index up_to);
  [[nodiscard]] Result<void> execute_again(Hosting& hosting, log::Index up_to);
  [[nodiscard]] Result<void> serve(const GroupId& group, Hosting& hosting);
  void answer(const GroupId& group, Hosting& hosting, const Pending& pending,
              const Executor::Outcome& outcome);
  void reply(const GroupId& group, const Hosting& hosting, const fabric::NodeName& client,
             std::uint64_t number, const Executor::Outcome& outcome);
  void give_up(const GroupId& group, Hosting& hosting, log::Index from);
  [[nodiscard]] static std::deque<Pending>::iterator first_pending(Hosting& hosting,
                                                                   log::Index index);
  [[nodiscard]] static bool leads(const Hosting& hosting);
  [[nodiscard]] bool is_outside(const Hosting& hosting) const;
  void ask_to_join(const GroupId& group, Hosting& hosting);
  void admit(Hosting& hosting);
  void prepare_lane(Hosting& hosting);
  void prepare_witnesses(Hosting& hosting);
  [[nodiscard]] Result<void> look_after_memory(bool is_busy);
  void send(const fabric::NodeName& to, const Envelope& envelope, base::Bytes body,
            base::Bytes more = {});
  // A state that others read one-sidedly: member_readers.cpp.
  [[nodiscard]] Result<void> make_memory(Hosting& hosting);
  static void publish_promises(const Hosting& hosting) noexcept;
  void answer_memory(const GroupId& group, const Hosting& hosting, const fabric::NodeName& reader,
                     const Capability& shown);
  [[nodiscard]] Right right_of(const fabric::NodeName& from, const Capability& shown) const;
  /// Of one who asks from within this process it is.
  [[nodiscard]] Right right_of(const Answer& answer, const fabric::NodeName& from,
                               const Capability& shown) const {
    return answer ? Right::held : right_of(from, shown);
  }
  void deny(const fabric::NodeName& from, const Envelope& envelope, base::Bytes body, Right right);
  /// The epoch in which what others read here is the leader's; 0: it is not.
  [[nodiscard]] log::Epoch epoch_of_memory(const Hosting& hosting) const;
  [[nodiscard]] static log::Index shown_in_memory(const Hosting& hosting);
  void answer_lease(const fabric::NodeName& from, const GroupId& group, Hosting& hosting,
                    base::Bytes body);
  [[nodiscard]] bool has_lease(Hosting& hosting) const;
  void tell_entries(const fabric::NodeName& to, const GroupId& group, const Hosting& hosting,
                    base::Bytes body);
  void forget_reader(const fabric::NodeName& reader);
  void retire_memory(const Hosting& hosting) noexcept;
  [[nodiscard]] Result<void> look_after_journal();
  [[nodiscard]] bool is_checkpoint_due();
  [[nodiscard]] static Result<void> tell_decided(Hosting& hosting);
  [[nodiscard]] Result<bool> compact(Hosting& hosting);
  // member_state.cpp
  [[nodiscard]] Result<void> want_state(Hosting& hosting, const log::SnapshotPtr& wanted);
  void on_ask_state(const fabric::NodeName& from, const Envelope& envelope, Hosting& hosting,
                    base::Bytes body);
  void on_ask_copy(const fabric::NodeName& from, Hosting& hosting, base::Bytes body);
  void on_state(const Envelope& envelope, Hosting& hosting, base::Bytes body);
  [[nodiscard]] Result<bool> look_after_states();
  [[nodiscard]] Result<bool> fetch_state(const GroupId& group, Hosting& hosting);
  [[nodiscard]] bool holds_log();
  [[nodiscard]] std::uint64_t states_wake_ns() const;
  [[nodiscard]] bool compact_witness(Hosting& hosting);
  /// Takes the replica out of what was found.
  [[nodiscard]] Result<void> add(const GroupId& group, StateMachine* machine,
                                 std::optional<std::uint64_t> lease_ns = std::nullopt);
  [[nodiscard]] bool is_there(const Hosting& hosting, log::ReplicaId id) const;
  [[nodiscard]] ChangeStatus propose_members(Hosting& hosting, const log::Configuration& next);
  void propose_addresses(Hosting& hosting, const Addresses& addresses);
  [[nodiscard]] Addresses addresses_of(const Hosting& hosting) const;
  void hear_addresses(const Hosting& hosting, const Addresses& addresses);
  void tell_addresses();
  [[nodiscard]] MemberStatus status_of(const Hosting& hosting) const;

  const sys::Env& env_;
  fabric::Endpoint& endpoint_;
  const std::unique_ptr<Journal> journal_;
  const MemberOptions options_;
  std::map<GroupId, Hosted> found_;
  std::map<GroupId, Hosting> groups_;
  std::uint64_t now_ns_;
  std::uint64_t handed_over_until_ns_ = 0;  ///< hand_over(): whoever leads next is waited for
  bool is_synced_ = true;
  MemberMeter meter_{};
  std::uint32_t next_region_ = 1;
  std::map<fabric::NodeName, Capability> memory_readers_{};
  std::vector<log::LaneWrite> lane_writes_;
  bool has_new_addresses_ = false;
  Addresses heard_;  ///< from whoever wants this one to be taken in; the logs know better

  std::uint64_t checkpoint_not_before_ns_ = 0;
  std::atomic<bool> checkpoint_done_{false};
  Result<void> checkpoint_result_;
  std::unique_ptr<sys::Thread> checkpoint_thread_;
};

}  // namespace dolmen::replication
