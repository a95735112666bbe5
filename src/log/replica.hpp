// SPDX-License-Identifier: Apache-2.0
//
// One replica of one group as a pure state machine: events in, an Output of messages to send and
// records to make durable out. No clock, disk, network or thread inside.
//
// With a LaneMemory it is a replica of a memory-only group: there are no records, and as a leader
// it also writes entries straight into followers' memories (docs/direct-path.md):
// take_lane_writes() gives what is to be carried out there, landed() takes what came of it.
//
// The protocol (docs/log.md) is the strong-leader one of Raft and viewstamped replication: a leader
// of epoch e extends a log that everybody copies; a replica's log only changes by what the leader
// of its epoch says. Unlike Raft's, a candidate need not have the longest log: it takes the latest
// one among those that granted. An entry is decided when a majority holds, durably, a log that ends
// in an entry of the leader's own epoch and contains it (models: spec/agent_path.pml).
//
// Durability is the driver's: it appends Output::records to the replica's physical log in order,
// syncs, and says so with persisted(). Answers that promise something wait for that in here.
//
// Threads: none; one caller at a time. Cost: what a call sends or takes over; a follower whose log
// differs from its leader's looks back over one origin.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "log/detector.hpp"
#include "log/lane.hpp"
#include "log/message.hpp"
#include "log/replica_options.hpp"
#include "log/snapshot.hpp"
#include "log/witness_area.hpp"

namespace dolmen::log {

/// How many records of a replica were made, ever; a name for "everything up to here is durable".
using RecordCount = std::uint64_t;

/// What a physical log keeps, in order. An entry replaces every entry at its index and above; a
/// snapshot every entry up to its last one, and those behind it too unless that one was there.
struct Record {
  /// Set: the replica's epoch became this, granted to that candidate.
  Epoch epoch = 0;
  ReplicaId granted_to{};
  /// One of these is set when epoch is not.
  std::optional<Entry> entry{};
  SnapshotPtr snapshot{};
};

/// What replaying a replica's durable records gives.
struct DurableState {
  Epoch epoch = 0;
  ReplicaId granted_to{};
  SnapshotPtr snapshot{};  ///< null: none yet
  Position base{};         ///< the entries begin behind this one, which `snapshot` covers
  std::vector<Entry> entries{};

  void apply(const Record& record);
  /// Whether the log as far as it is known holds this entry, itself or in its snapshot.
  [[nodiscard]] bool holds(Position position) const noexcept;
};

enum class Role : std::uint8_t { follower, candidate, leader };

struct Output {
  struct Letter {
    ReplicaId to;
    Message message;
  };
  std::vector<Letter> letters;
  std::vector<Record> records;
  /// The log lost its entries from here on: what was executed of them ahead of being stable is to
  /// be undone, newest first.
  std::optional<Index> undo_from;
  /// The log now begins with this: the state machine's state is to become it, before anything
  /// behind it is executed. Comes before undo_from.
  SnapshotPtr installed;
  /// Of a leader, and not taken in before state_arrived(). ReplicaOptions::snapshots_refer.
  SnapshotPtr wanted;
};

/// What a reader at the leader waits for: the state after `index`, once the leader is known to have
/// led when the reader came.
struct ReadTicket {
  Epoch epoch = 0;
  Index index = 0;
  std::uint64_t round = 0;  ///< of questions to the others; confirmed_round() says that it is over
};

class Replica {
 public:
  /// `first` is the group's configuration before its log says another; a replica that is not in it
  /// waits to be made a member. Requires: is_valid(first). `state` is what the replica's disk
  /// holds; a replica whose disk was lost must have a new id. `seed`: of its time-outs. `memory`,
  /// if any, outlives it: then nothing is written to a disk, and `state` is what was kept together
  /// with that memory.
  Replica(ReplicaId self, Configuration first, const ReplicaOptions& options, DurableState state,
          std::uint64_t seed, std::uint64_t now_ns, LaneMemory* memory = nullptr);

  /// Time went on. Call at next_wakeup_ns() or later.
  void tick(std::uint64_t now_ns);
  [[nodiscard]] std::uint64_t next_wakeup_ns() const noexcept;
  /// A decoded message, from who is known to be `from`. Strangers are heard as candidates and as
  /// leaders, since a replica may not know yet who was made a member; their answers count nothing.
  void receive(std::uint64_t now_ns, ReplicaId from, const Message& message);
  /// The first `count` records, counted from construction, are durable.
  void persisted(std::uint64_t now_ns, RecordCount count);
  /// Leader only: appends a command. Its position, to be compared with stable() and at(); nothing
  /// where another replica leads, and for more than kPayloadBytesMax.
  [[nodiscard]] std::optional<Position> propose(std::uint64_t now_ns,
                                                std::vector<std::byte> payload);
  /// The same without sending it: for several in a row, and then send_proposed().
  [[nodiscard]] std::optional<Position> propose_unsent(std::vector<std::byte> payload);
  void send_proposed(std::uint64_t now_ns);
  // Reading without an entry (replica_read.cpp).
  /// Leader only: everything that was decided anywhere before this call is up to the ticket's
  /// index, if its round is confirmed later in the ticket's epoch. Nothing where another replica
  /// leads, and while this one has not decided an entry of its own epoch. Readers that come between
  /// two calls of send_round() share a round.
  [[nodiscard]] std::optional<ReadTicket> begin_read();
  /// Asks the others whether it still leads, as far as what they were sent meanwhile does not ask.
  void send_round();
  /// Tickets of its epoch up to this round are confirmed. 0: it does not lead.
  [[nodiscard]] std::uint64_t confirmed_round();
  // Leases (replica_lease.cpp). Times are of the own clock. What is told here was read of the clock
  // after the message arrived, else promises are too short.
  /// Leader only: until then nobody leads a later epoch; 0: that is not known, or it gives no
  /// tickets. Whoever is told counts on it: this one then supports nobody else before. `now_ns`:
  /// read before this call.
  [[nodiscard]] std::uint64_t lease_until_ns(std::uint64_t now_ns);
  [[nodiscard]] bool has_leases() const noexcept { return options_.lease_ns != 0; }
  /// Leader only, with leases: lends no more, and leads on until what it lent is over; then it
  /// takes no more commands, and when all is decided, or `silence_ns` later, it gives promises back
  /// that it was given, follows, and does not stand itself for some time. Others lead within some
  /// round trips. Nothing where it does not lead or is alone.
  void hand_over(std::uint64_t now_ns);
  [[nodiscard]] bool is_handing_over() const noexcept { return is_handing_over_; }
  /// Whether it leads and takes commands: not at the end of a hand-over.
  [[nodiscard]] bool takes_commands() const noexcept {
    return role_ == Role::leader && closing_ns_ == 0;
  }
  /// Of this clock's `left_ns`, what is surely over when a reader's clock has gone on so far.
  [[nodiscard]] static std::uint64_t lent_ns(std::uint64_t left_ns, std::uint64_t drift_ppm) {
    const std::uint64_t wrong_ns =
        left_ns / 500'000 * drift_ppm + left_ns % 500'000 * drift_ppm / 500'000 + 1;
    return left_ns - std::min(left_ns, wrong_ns);
  }
  /// The connection to `member` broke: a leader that was heard there counts as silent at once, and
  /// an election begins with the next tick.
  void lost_contact(std::uint64_t now_ns, ReplicaId member);
  /// Leader only: appends a configuration. Nothing where another replica leads, and while this one
  /// has not decided an entry of its own epoch, or the last configuration is not settled().
  /// Requires: is_valid.
  [[nodiscard]] std::optional<Position> propose(std::uint64_t now_ns, const Configuration& next);
  /// With memory: takes in what a leader wrote into it. True: there was something. Every other call
  /// does this first; a replica that is only written to learns of it here or by the next heartbeat.
  /// Entries say nothing of whether their leader is still there: heartbeats do.
  bool poll();
  /// Replaces `writes` by what is to be carried out, in order, in others' memories.
  void take_lane_writes(std::vector<LaneWrite>& writes);
  /// One was carried out: all of it landed, and then `word` was found in that memory.
  void landed(std::uint64_t now_ns, ReplicaId to, LaneName lane, Index end, Epoch word,
              std::uint64_t round = 0);
  /// One was not, or only in part: the lane is not written again, and what is reported of it later
  /// counts no more.
  void lane_failed(std::uint64_t now_ns, ReplicaId to, LaneName lane);
  /// The word of a witness without compute was raised to `epoch` (and is that, or more): `former`
  /// is what it was before. `areas` are read before this returns.
  void raised(std::uint64_t now_ns, ReplicaId witness, Epoch epoch, Epoch former,
              std::span<const AreaView> areas);
  /// Nothing is known of its word.
  void raise_failed(std::uint64_t now_ns, ReplicaId witness, Epoch epoch);
  /// Leader: a witness without compute runs short of room, which a newer snapshot would make.
  [[nodiscard]] bool wants_snapshot() const noexcept;
  /// Leader: of the smallest area of its own at a witness without compute; nothing: none is known.
  [[nodiscard]] std::optional<std::size_t> area_bytes() const noexcept;
  /// With memory: another process has taken it over. This replica neither sends nor decides
  /// anything any more.
  [[nodiscard]] bool is_superseded() const noexcept { return is_superseded_; }

  /// Where no state machine makes snapshots: asks the leader for its latest, which is then kept
  /// like an own one, and the entries that it stands for forgotten. It may have none that is newer,
  /// and messages get lost: call again, but not more often than messages are answered. Follows to
  /// witnesses only.
  void ask_for_snapshot();
  /// The state of this snapshot, which was wanted once, is here durably: it is taken in, if a
  /// follower still lacks it.
  void state_arrived(std::uint64_t now_ns, const SnapshotPtr& snapshot);
  /// What the calls since the last one of this ask for.
  [[nodiscard]] Output take_output() { return std::exchange(output_, {}); }

  [[nodiscard]] ReplicaId self() const noexcept { return self_; }
  [[nodiscard]] Role role() const noexcept { return role_; }
  [[nodiscard]] Epoch epoch() const noexcept { return epoch_; }
  /// Who led when this replica last heard from a leader in its epoch.
  [[nodiscard]] std::optional<ReplicaId> leader() const noexcept { return leader_; }
  /// Every entry up to here is decided and will never change.
  [[nodiscard]] Index stable() const noexcept { return stable_; }
  [[nodiscard]] Position end() const noexcept { return position_at(last_index()); }
  /// Entries up to here are gone, but for what a snapshot says of them.
  [[nodiscard]] Position base() const noexcept { return base_; }
  /// Requires: base().index < index <= end().index.
  [[nodiscard]] const Entry& at(Index index) const;
  /// The configurations whose majorities count now: the last one, and before it, while the last is
  /// not known to be decided, the one that it follows.
  [[nodiscard]] std::vector<Configuration> deciding() const;
  /// The last one of its log, decided or not.
  [[nodiscard]] const Configuration& last_configuration() const noexcept {
    return configurations_.back().configuration;
  }
  /// The entry that says it; 0: the group began with it.
  [[nodiscard]] Index configured_at() const noexcept { return configurations_.back().index; }
  /// Whether this replica votes in that.
  [[nodiscard]] bool is_voter() const noexcept { return last_configuration().is_voter(self_); }
  /// Whether this replica is a witness in a configuration that counts.
  [[nodiscard]] bool is_witness() const noexcept;
  /// Whether the proof that the last configuration is decided is itself stable: who is no member
  /// any more may be taken away, with its disk.
  [[nodiscard]] bool settled() const noexcept;
  /// Leader only: the last entry that this member is known to have durably.
  [[nodiscard]] Index matched(ReplicaId member) const noexcept;

  /// Where a snapshot of the state after this entry would end, and who counts there.
  /// Requires: base().index < index <= stable().
  [[nodiscard]] SnapshotPlace place_at(Index index) const;
  /// Forgets entries that `snapshot` stands for (of place_at(), or of before). Nothing becomes
  /// durable by this: it is for who keeps durable_state() in place of the records so far.
  void compact(SnapshotPtr snapshot);
  [[nodiscard]] const SnapshotPtr& snapshot() const noexcept { return snapshot_; }
  /// What replaying all records made so far gives, or means the same.
  [[nodiscard]] DurableState durable_state() const {
    return {epoch_, granted_to_, snapshot_, base_, entries_};
  }

 private:
  struct Configured {
    Index index = 0;
    Configuration configuration;
    Index settled_at = 0;  ///< of the entry that proves it decided, in the log; 0: none
  };
  struct LaneOffer {
    std::uint32_t number = 0;
    std::size_t bytes = 0;
  };
  /// A lane of the own memory that a leader writes.
  struct InLane {
    LaneName name{};
    base::Bytes bytes{};
    std::size_t offset = kLaneHeaderBytes;  ///< of the next entry
    Index next = 0;                         ///< its index; 0: that of the lane's first entry
  };
  /// The leader's own lane: what others are sent is copied from here.
  struct OwnLane {
    LaneName name{};
    base::MutableBytes bytes{};
    Index first = 0;  ///< index of its first entry
    /// Of the entries, in order, and of what follows on the last one.
    std::vector<std::uint32_t> offsets{};
  };
  /// What a candidate or leader knows of a witness without compute. Of the lane that is written
  /// there Peer says the rest.
  struct AtWitness {
    bool is_raised = false;       ///< its word is the epoch, and the areas were read after that
    std::uint64_t under_way = 0;  ///< operations of which nothing is known yet
    std::uint32_t kept = 0;       ///< the own area with the later lane
    std::size_t area_bytes = 0;
    std::uint32_t area = 0;      ///< of the lane that is being written
    bool is_landed = false;      ///< … which has all that the other area has
    std::size_t entries_at = 0;  ///< in it
    Index snapshot_end = 0;      ///< of the snapshot in it
    bool lacks_room = false;     ///< a lane that begins with the snapshot up to `lacked_at` does
    Index lacked_at = 0;
    std::shared_ptr<const AreaLog> latest{};  ///< candidate: the latest log in any of its areas
  };
  /// What a leader knows of another member, or a candidate of who granted.
  struct Peer {
    ReplicaId id{};
    bool granted = false;  ///< candidate: it granted the epoch, or said that it would
    bool refused = false;  ///< candidate: … or granted it to another
    Position end{};        ///< candidate: of its log, when it granted
    Index matched = 0;     ///< leader: durable there and equal to the own log
    Index sent = 0;        ///< leader: sent up to here, or what the next attempt follows on
    /// Leader: its log is known to continue the own one at `sent`. Until then one message at a time
    /// is tried, and tried again from the same place.
    bool in_step = false;
    std::uint64_t sent_ns = 0;   ///< when something was last sent
    std::uint64_t waits_ns = 0;  ///< since when entries are unanswered; 0: none are
    std::uint64_t heard_ns = 0;
    /// Leader: what it is sent because entries behind `sent` are gone, and how much it has.
    SnapshotPtr sending{};
    std::uint64_t parts_taken = 0;
    std::uint64_t parts_said = 0;  ///< … as it said last
    /// Leader, direct path: entries are written into its lane, not sent; up to `written` by now.
    bool is_direct = false;
    Index written = 0;
    LaneOffer lane{};       ///< that is being written; number 0: none
    LaneOffer next_lane{};  ///< that follows on it
    std::size_t lane_used = 0;
    std::uint32_t lanes_given = 0;    ///< the highest number that was heard of
    std::uint32_t lanes_dropped = 0;  ///< what is reported of these counts no more
    std::uint64_t wanted_ns = 0;      ///< when a lane was last asked for
    SnapshotPtr lent{};               ///< leader: what it is being sent because it asked
    bool is_memory = false;           ///< a witness without compute
    std::uint64_t spared_ns = 0;      ///< since when there is something that it is not sent yet
    std::uint64_t round_sent = 0;     ///< leader: the last round that it was asked in
    std::uint64_t round = 0;          ///< … and that it answered
    /// Leader: the last question that it promised a lease in answer to was asked at this time, or
    /// later; 0: it promised none.
    std::uint64_t promised_ns = 0;
    AtWitness at_witness{};
  };
  enum class Stage : std::uint8_t { probing, asking, fetching };

  [[nodiscard]] Index last_index() const noexcept { return base_.index + entries_.size(); }
  /// Requires: base().index <= index <= last_index().
  [[nodiscard]] Position position_at(Index index) const;
  [[nodiscard]] Peer* peer(ReplicaId id) noexcept;
  [[nodiscard]] const Peer* peer(ReplicaId id) const noexcept;
  [[nodiscard]] std::span<const Configured> counting() const noexcept;
  /// Whether this replica is a voter of a configuration that counts.
  [[nodiscard]] bool votes() const noexcept;
  [[nodiscard]] bool can_lead() const noexcept;
  void lend(Peer& to, const Message& asked);
  /// A snapshot in place of entries that are here.
  void replace_entries(SnapshotPtr snapshot);
  /// Whether in each configuration that counts a majority of the voters is `good` (of this replica:
  /// `self_good`).
  [[nodiscard]] bool majority_is(bool self_good,
                                 const std::function<bool(const Peer&)>& good) const;
  /// The last index that a majority of these voters holds durably.
  [[nodiscard]] Index held_by_majority(const Configuration& configuration) const;
  void know_members();
  void take_note(const Entry& entry);
  void settle(std::uint64_t now_ns);

  void send(ReplicaId to, Message message);
  /// Sent once the records made so far are durable.
  void send_when_durable(ReplicaId to, Message message);
  void record_epoch(Epoch epoch, ReplicaId granted_to);
  void append(Entry entry);
  /// Made now; to be made durable by the driver unless there is no disk.
  RecordCount count_record();
  /// Takes over what differs; false: these are no entries of a log that this one can follow.
  bool take_over(const std::vector<Entry>& entries);
  bool take_over(Entry entry);
  /// The last entry that is durable here.
  [[nodiscard]] Index durable() const;
  void acknowledge();
  /// The head of what only a leader says; false: it is of no use, and was answered.
  bool hear_leader(std::uint64_t now_ns, ReplicaId from, Epoch epoch);
  void forget_entries(Index up_to);
  void install(SnapshotPtr snapshot);
  /// Adds a part to what was received; the whole when it is complete.
  SnapshotPtr collect(ReplicaId from, const Message& message);
  void want(ReplicaId from, const Message& message);
  void acknowledge_snapshot(ReplicaId to);
  /// Whether a witness may forget what this one stands for.
  [[nodiscard]] bool is_safe_at_witness(const Snapshot& snapshot) const;
  void truncate_from(Index index);
  void enter_epoch(std::uint64_t now_ns, Epoch epoch, ReplicaId granted_to);
  void follow(std::uint64_t now_ns);
  void rest_until_silence(std::uint64_t now_ns);

  void set_stable(Index index);

  void tick_as_leader(std::uint64_t now_ns);
  void start_probe(std::uint64_t now_ns);
  void start_asking(std::uint64_t now_ns);
  /// Of two candidates at the same time: the one with the later log, else the lower id.
  [[nodiscard]] bool goes_before(ReplicaId other, Position its_end) const noexcept;
  /// False: it keeps silent towards another candidate.
  bool meet_candidate(std::uint64_t now_ns, ReplicaId from, const Message& probe);
  void on_refuse(std::uint64_t now_ns, Peer* from, const Message& message);
  void give_up(std::uint64_t now_ns, bool was_in_vain);
  [[nodiscard]] bool is_stuck(std::uint64_t now_ns);
  void ask_the_rest(std::uint64_t now_ns);
  void ask_again(std::uint64_t now_ns);
  void count_grants(std::uint64_t now_ns);
  void fetch_more(std::uint64_t now_ns);
  void finish_fetching(std::uint64_t now_ns);
  void lead(std::uint64_t now_ns);
  void send_entries(std::uint64_t now_ns, Peer& follower);
  void send_part(std::uint64_t now_ns, Peer& follower, bool is_reminder);
  [[nodiscard]] Message part_of_snapshot(const Snapshot& snapshot, std::uint64_t offset) const;
  void retry(std::uint64_t now_ns, Peer& follower, Index behind);
  void count_matches(std::uint64_t now_ns);
  Position send_last(std::uint64_t now_ns);
  /// Entries from `first` on, to everybody who has got all before.
  void choose_spared(std::uint64_t now_ns);
  void distribute(std::uint64_t now_ns, Index first);

  void on_probe(std::uint64_t now_ns, ReplicaId from, const Message& message);
  void on_ask(std::uint64_t now_ns, ReplicaId from, const Message& message);
  void on_grant(std::uint64_t now_ns, Peer& from, const Message& message);
  void on_fetch(ReplicaId from, const Message& message);
  void on_fetched(std::uint64_t now_ns, ReplicaId from, const Message& message);
  void on_append(std::uint64_t now_ns, ReplicaId from, const Message& message);
  void on_answer(std::uint64_t now_ns, Peer& from, const Message& message);
  void on_fetched_part(std::uint64_t now_ns, ReplicaId from, const Message& message);
  void on_snapshot(std::uint64_t now_ns, ReplicaId from, const Message& message);
  void on_snapshot_taken(std::uint64_t now_ns, Peer& from, const Message& message);

  // The direct path: replica_direct.cpp.
  /// Whether the memory is still this replica's; else it is superseded from now on.
  bool owns_memory();
  /// For good.
  void stop();
  /// Raises the word, and then takes in what was written before.
  void raise_and_drain(Epoch epoch);
  void take_up_memory(std::uint64_t now_ns);
  std::size_t drain(std::size_t most = ~std::size_t{0});
  std::size_t drain(InLane& lane, std::size_t most);
  void begin_own_lane(std::uint64_t now_ns, std::size_t entry_bytes);
  void land_own(std::uint64_t now_ns);
  [[nodiscard]] std::size_t own_offset(Index index) const {
    return own_lane_.offsets[index - own_lane_.first];
  }
  void begin_direct(std::uint64_t now_ns, Peer& follower);
  void write_lane(std::uint64_t now_ns, Peer& follower);
  /// What was written may still be counted.
  void leave_direct(std::uint64_t now_ns, Peer& follower);
  /// … and may not.
  void abandon_lane(Peer& follower);
  void want_lane(std::uint64_t now_ns, Peer& follower);
  void on_want_lane(std::uint64_t now_ns, ReplicaId from, const Message& message);
  void on_lane(std::uint64_t now_ns, Peer& from, const Message& message);

  // Witnesses without compute: replica_witness.cpp.
  [[nodiscard]] bool is_memory(ReplicaId id) const noexcept;
  void forget_operations();
  void ask_memory(Peer& witness);
  void adopt_from_memory(std::uint64_t now_ns, Peer& witness);
  void tick_memory(std::uint64_t now_ns, Peer& witness);
  /// What it lacks.
  void write_memory(Peer& witness);
  void begin_lane_there(Peer& witness);
  void push_memory_write(Peer& witness, LaneWrite write);
  void landed_in_memory(std::uint64_t now_ns, Peer& witness, LaneName lane, Index end, Epoch word);
  void memory_failed(Peer& witness, LaneName lane);
  void lose_memory(Peer& witness);
  [[nodiscard]] static bool is_filling(const Peer& witness) noexcept;

  // Readers: replica_read.cpp.
  /// Whatever goes to it now asks in the latest round; that round.
  std::uint64_t ask_in_round(Peer& follower) noexcept;
  void hear_round(Peer& from, std::uint64_t round) noexcept;
  [[nodiscard]] std::uint64_t confirmed_by(const Configuration& configuration) const;

  // Leases: replica_lease.cpp.
  void see_clock(std::uint64_t now_ns) noexcept { seen_ns_ = now_ns; }
  /// Whether it promised, or lent, what a grant to `candidate` would break.
  [[nodiscard]] bool is_bound(std::uint64_t now_ns, ReplicaId candidate) const noexcept;
  /// Leader: goes on with a hand-over. True: it leads no more.
  bool go_on_handing_over(std::uint64_t now_ns);
  /// When that has something to do next.
  [[nodiscard]] std::uint64_t hand_over_due_ns() const noexcept;
  void on_hand_over(std::uint64_t now_ns, ReplicaId from, const Message& message);
  /// To support no candidate for a while; of what length.
  std::uint64_t promise(std::uint64_t now_ns) noexcept;
  void hear_promise(std::uint64_t now_ns, Peer& from, const Message& answer) noexcept;
  /// Before something is asked in a round: so that leases are of rounds that are not old.
  void begin_lease_round() noexcept;
  [[nodiscard]] std::uint64_t promised_to_majority(std::uint64_t now_ns,
                                                   const Configuration& configuration) const;
  /// Entries from the configuration on that waits for leases which its voters know nothing of
  /// are not decided yet.
  [[nodiscard]] Index held_back(std::uint64_t now_ns, Index held) const noexcept;

  const ReplicaId self_;
  const ReplicaOptions options_;
  LaneMemory* memory_;
  std::vector<Configured> configurations_;  ///< of the log, behind the first; ascending
  std::vector<Peer> peers_;                 ///< the other members of those that count
  base::Random random_;

  Epoch epoch_ = 0;
  ReplicaId granted_to_{};
  SnapshotPtr snapshot_;
  Position base_;               ///< covered by snapshot_
  std::vector<Entry> entries_;  ///< entries_[i] has index base_.index + i + 1
  Index stable_ = 0;

  Role role_ = Role::follower;
  std::optional<ReplicaId> leader_;
  Detector detector_;              ///< of leader_, if another one leads
  std::uint64_t pulse_ = 0;        ///< the leader's counter: what was heard of it
  Epoch suspected_epoch_ = 0;      ///< the last one whose leader was found silent
  std::uint64_t deadline_ns_ = 0;  ///< when patience ends
  unsigned attempts_ = 0;          ///< to lead, in vain, one after the other
  Index accepted_ = 0;             ///< follower: the log equals the leader's up to here
  Index acknowledged_ = 0;         ///< … and it was told so

  Index opening_ = 0;                 ///< leader: its first entry
  std::uint64_t direct_from_ns_ = 0;  ///< … and when it begins to write into others' memory
  Index unsent_ = 0;  ///< leader: proposed from here on and not sent yet; 0: nothing is
  /// Leader: what was decided when it last looked, and since when that is so although there is more
  /// to decide; and how often in vain, that is with how much more patience.
  Index seen_stable_ = 0;
  std::uint64_t stands_still_ns_ = 0;
  unsigned stalls_ = 0;
  std::uint64_t round_ = 0;      ///< of readers, the latest; of this process, whatever the epoch
  bool is_round_asked_ = false;  ///< somebody was asked in it: who reads from now on needs the next
  Stage stage_ = Stage::probing;
  std::uint64_t probed_ns_ = 0;  ///< candidate: when it became one
  ReplicaId gave_way_to_{};      ///< … and once before, whom it let go first, to which epoch
  Epoch gave_way_epoch_ = 0;
  std::uint64_t asked_ns_ = 0;  ///< candidate: when it last asked for anything
  ReplicaId source_{};          ///< candidate: whose log is the latest
  Position source_end_;
  std::vector<Entry> fetched_;  ///< of it, behind stable_

  /// A snapshot that is being received.
  struct Incoming {
    ReplicaId from{};
    Position last{};
    std::uint64_t bytes_in_all = 0;
    std::vector<std::byte> bytes{};
  };
  Incoming incoming_;
  SnapshotPtr wanted_;  ///< complete, and its state is not here yet

  std::uint64_t seen_ns_ = 0;              ///< the clock, not later than now
  std::uint64_t promised_until_ns_ = 0;    ///< it supports no candidate before
  std::uint64_t bound_from_start_ns_ = 0;  ///< … because of what an earlier life may have promised
  bool is_handing_over_ = false;           ///< leader: it lends no more
  std::uint64_t closing_ns_ = 0;           ///< … and takes no commands since; 0: it does
  std::uint64_t lent_until_ns_ = 0;        ///< what it told of its leases, in any epoch
  std::uint64_t members_not_before_ns_ = 0;  ///< leader: held_back() until then
  struct RoundAsked {
    std::uint64_t round = 0;
    std::uint64_t at_ns = 0;
  };
  std::array<RoundAsked, 64> rounds_asked_{};  ///< by round, of the last ones

  const bool makes_records_;
  RecordCount records_made_ = 0;
  RecordCount records_durable_ = 0;
  RecordCount epoch_record_ = 0;            ///< the record of epoch_
  RecordCount base_record_ = 0;             ///< of the snapshot that was installed last
  std::vector<RecordCount> entry_records_;  ///< of entries_, in the same order; if made
  struct Waiting {
    RecordCount record;
    Output::Letter letter;
  };
  std::vector<Waiting> waiting_;  ///< by record, ascending
  Output output_;

  bool is_superseded_ = false;
  std::vector<InLane> in_lanes_;  ///< of epoch_, ascending
  bool is_drained_ = true;        ///< nothing was left in them when they were last looked into
  std::uint32_t lanes_made_ = 0;  ///< … in this epoch, for `lane_writer_`
  OwnLane own_lane_;
  Index own_written_ = 0;  ///< leader: entries up to here are in own lanes
  Index own_counted_ = 0;  ///< … and were while the word was its epoch
  std::vector<LaneWrite> lane_writes_;
};

}  // namespace dolmen::log
