// SPDX-License-Identifier: Apache-2.0
//
// Members over tcp in a simulated network, with journals on simulated disks or in memory alone, in
// virtual time; and clients that ask them. For tests.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "base/sanitizers.hpp"
#include "fabric/tcp_sim_world.hpp"
#include "replication/lease_message.hpp"
#include "replication/member.hpp"
#include "replication/memory_witness.hpp"
#include "sim/crash_plan.hpp"
#include "sim/group_judge.hpp"
#include "sim/mapped_memory.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sim/tally.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::replication {

inline constexpr GroupId kTestGroup{5, 8};
inline constexpr GroupId kOtherGroup{5, 9};

using sim::Tally;

struct MemberWorldOptions {
  std::uint64_t seed = 1;
  std::size_t members = 3;
  bool has_witness = false;  ///< the last of them
  std::size_t founders = 0;  ///< the first so many; the others wait to be taken in. 0: all
  bool has_other_group = false;
  bool is_ahead = false;
  bool is_read = false;  ///< its state, by others
  /// No journals: each start is a new life, whose memory is its own. Requires: all are founders,
  /// and memory is mapped if there is a witness, which is memory alone then.
  bool is_in_memory = false;
  bool is_mapped = false;  ///< … and members write into each other's
  std::size_t area_bytes = 64u << 10;
  std::size_t told_area_bytes = 0;  ///< … as servers are told; 0: the same
  JournalOptions journal{.segment_bytes = 8u << 10, .tail_bytes_max = 24u << 10};
  MemberOptions member{.replica = {.part_bytes = 4u << 10, .trailing_bytes = 2u << 10}};
  std::uint64_t step_ns = 50'000;
};

class MemberWorld;

/// A client's endpoint and what it was told.
class MemberClient final : private fabric::Sink {
 public:
  MemberClient(MemberWorld& world, fabric::NodeId self);
  ~MemberClient() override;

  struct Told {
    ReplyStatus status = ReplyStatus::done;
    std::uint64_t value = 0;
    std::vector<std::byte> result{};
    log::Index index = 0;
    Level level = Level::durable;
  };
  /// Its number; nothing where the node is not connected.
  std::optional<std::uint64_t> ask(std::size_t member, std::uint64_t session,
                                   std::uint64_t sequence, base::Bytes command) {
    const Request request{
        .number = ++asked_, .session = session, .sequence = sequence, .command = command};
    return send(member, EnvelopeKind::request, encode(request)) ? std::optional(asked_)
                                                                : std::nullopt;
  }
  /// What became of a command, as ask().
  std::optional<std::uint64_t> ask_outcome(std::size_t member, std::uint64_t session,
                                           std::uint64_t sequence) {
    const Request request{.number = ++asked_, .session = session, .sequence = sequence};
    return send(member, EnvelopeKind::ask_outcome, encode(request)) ? std::optional(asked_)
                                                                    : std::nullopt;
  }
  /// A query, as ask().
  std::optional<std::uint64_t> read(std::size_t member, ReadLevel level = ReadLevel::linearizable,
                                    base::Bytes query = {}) {
    const ReadRequest request{.number = ++asked_, .level = level, .query = query};
    return send(member, EnvelopeKind::read_request, encode(request)) ? std::optional(asked_)
                                                                     : std::nullopt;
  }
  bool send(std::size_t member, EnvelopeKind kind, base::Bytes body);
  /// With all that it asks from now on.
  void show(const Capability& shown) { shown_ = shown; }
  /// The first word of a region.
  bool can_read(std::size_t member, fabric::RegionId region);
  /// The answer to it, once.
  std::optional<Told> answer_to(std::uint64_t number) {
    const auto found = told_.find(number);
    if (found == told_.end()) return std::nullopt;
    Told told = std::move(found->second);
    told_.erase(found);
    return told;
  }
  [[nodiscard]] const std::optional<MemberStatus>& status() const { return status_; }
  [[nodiscard]] const std::optional<ChangeReply>& change_reply() const { return change_reply_; }
  [[nodiscard]] const std::optional<Roster>& roster() const { return roster_; }
  [[nodiscard]] std::optional<MemoryReply>& memory() { return memory_; }
  [[nodiscard]] std::optional<Denied>& denied() { return denied_; }
  [[nodiscard]] std::optional<LeaseTold>& lease() { return lease_; }
  /// The body of the last answer about a log.
  [[nodiscard]] std::optional<std::vector<std::byte>>& entries() { return entries_; }
  bool turn() {
    const auto polled = endpoint_->poll(*this);
    EXPECT_TRUE(polled);
    return polled.value_or(false);
  }

 private:
  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& former) override {
    has_read_ = former.has_value();
  }
  void on_message(const fabric::NodeName& /*from*/, base::Bytes message) override {
    const auto opened = decode_envelope(message);
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ(opened->envelope.group, kTestGroup);
    if (opened->envelope.kind == EnvelopeKind::denied) {
      const auto denied = decode_denied(opened->body);
      ASSERT_TRUE(denied) << denied.error().message();
      denied_ = *denied;
      return;
    }
    if (opened->envelope.kind == EnvelopeKind::status) {
      const auto status = decode_status(opened->body);
      ASSERT_TRUE(status) << status.error().message();
      status_ = *status;
      return;
    }
    if (opened->envelope.kind == EnvelopeKind::change_reply) {
      const auto reply = decode_change_reply(opened->body);
      ASSERT_TRUE(reply) << reply.error().message();
      change_reply_ = *reply;
      return;
    }
    if (opened->envelope.kind == EnvelopeKind::roster) {
      auto roster = decode_roster(opened->body);
      ASSERT_TRUE(roster) << roster.error().message();
      roster_ = std::move(*roster);
      return;
    }
    if (opened->envelope.kind == EnvelopeKind::memory) {
      const auto reply = decode_memory_reply(opened->body);
      ASSERT_TRUE(reply) << reply.error().message();
      memory_ = *reply;
      return;
    }
    if (opened->envelope.kind == EnvelopeKind::lease) {
      const auto told = decode_lease_told(opened->body);
      ASSERT_TRUE(told) << told.error().message();
      lease_ = *told;
      return;
    }
    if (opened->envelope.kind == EnvelopeKind::entries) {
      entries_.emplace(opened->body.begin(), opened->body.end());
      return;
    }
    ASSERT_EQ(opened->envelope.kind, EnvelopeKind::reply);
    const auto reply = decode_reply(opened->body);
    ASSERT_TRUE(reply) << reply.error().message();
    const bool is_new =
        told_
            .emplace(reply->number, Told{.status = reply->status,
                                         .value = reply->value,
                                         .result = {reply->result.begin(), reply->result.end()},
                                         .index = reply->index,
                                         .level = reply->level})
            .second;
    EXPECT_TRUE(is_new) << "answered twice";
  }

  MemberWorld& world_;
  std::unique_ptr<fabric::TcpEndpoint> endpoint_;
  std::uint64_t asked_ = 0;
  std::map<std::uint64_t, Told> told_;
  std::optional<MemberStatus> status_;
  std::optional<ChangeReply> change_reply_;
  std::optional<Roster> roster_;
  std::optional<LeaseTold> lease_;
  std::optional<MemoryReply> memory_;
  std::optional<Denied> denied_;
  Capability shown_{};
  std::optional<bool> has_read_;
  std::optional<std::vector<std::byte>> entries_;
};

class MemberWorld {
 public:
  explicit MemberWorld(const MemberWorldOptions& options)
      : options_(options), network_(options.seed) {
    const std::size_t founders = options.founders == 0 ? options.members : options.founders;
    for (std::size_t i = 0; i < founders; ++i) first_.voters.push_back(replica(i));
    if (options.has_witness) first_.witnesses.push_back(first_.voters.back());
    for (const GroupId& group : groups()) {
      judges_.try_emplace(group, sim::JudgedGroup{.first = first_,
                                                  .is_direct = options.is_in_memory,
                                                  .takes_in_at_once = options.is_in_memory});
    }
    for (std::size_t i = 0; i < options.members; ++i) {
      nodes_.push_back(std::make_unique<Node>(base::mix_seed(options.seed, i), options.is_ahead));
      Node& node = *nodes_.back();
      node.env = {&network_.clock(), &node.entropy, nullptr, &node.process};
      if (options.is_in_memory) continue;
      make_journal(i, i < founders ? replica(i) : replica_of(id(i), kJoinedLife));
    }
    for (std::size_t i = 0; i < options.members; ++i) start(i);
  }
  ~MemberWorld() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) end(i);
  }
  MemberWorld(const MemberWorld&) = delete;
  MemberWorld& operator=(const MemberWorld&) = delete;

  static fabric::NodeId id(std::size_t member) { return fabric::NodeId{member + 1}; }
  static std::string host(std::size_t member) { return fabric::TcpSimWorld::host_of(id(member)); }
  static log::ReplicaId replica(std::size_t member) { return replica_of(id(member), 1); }
  static constexpr std::uint32_t kJoinedLife = 7;
  static std::string address(std::size_t member) { return "place " + std::to_string(member); }

  /// A new life of a member that does not run.
  void start(std::size_t i) {
    Node& node = *nodes_[i];
    ASSERT_FALSE(is_up(i));
    if (is_memory_alone(i)) return start_memory_witness(i);
    open(i);
    const auto hosted = is_witness(i) ? node.member->host_witness(kTestGroup)
                                      : node.member->host(kTestGroup, *node.machine);
    ASSERT_TRUE(hosted) << hosted.error().message();
    if (options_.has_other_group) {
      node.other_machine = std::make_unique<Tally>(options_.is_ahead);
      const auto other = node.member->host(kOtherGroup, *node.other_machine);
      ASSERT_TRUE(other) << other.error().message();
    }
    for (auto& [group, judge] : judges_) {
      node.judged[group] = judge.begins(*node.member->inside(group)->replica);
    }
  }
  /// What must not be, of any group; empty: nothing. Every step of those who start() is looked at.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  /// … that runs no replica yet.
  Member* open(std::size_t i) {
    Node& node = *nodes_[i];
    node.why.reset();
    node.judged.clear();
    node.paused_until_ns = 0;
    node.machine = std::make_unique<Tally>(options_.is_ahead, options_.is_read);
    make_endpoint(i);
    MemberOptions options = options_.member;
    options.undecided_bytes_max =
        (options_.told_area_bytes == 0 ? options_.area_bytes : options_.told_area_bytes) / 4;
    options.replica.witnesses_are_memory = options_.is_in_memory && options_.has_witness;
    for (const log::ReplicaId founder : first_.voters) {
      const fabric::NodeId node_id = node_of(founder);
      options.addresses[node_id] = address(static_cast<std::size_t>(node_id) - 1);
    }
    options.on_addresses = [&node](const Addresses& addresses) { node.addresses = addresses; };
    node.member = std::make_unique<Member>(
        node.env, *node.endpoint, options_.is_in_memory ? nullptr : open_journal(node), options);
    if (options_.is_in_memory) {
      const auto life = static_cast<std::uint32_t>(node.incarnation);
      node.member->add_in_memory(kTestGroup, replica_of(id(i), life), first_);
      if (options_.has_other_group) {
        node.member->add_in_memory(kOtherGroup, replica_of(id(i), life), first_);
      }
    }
    return node.member.get();
  }
  /// A member that does not run begins on an empty disk, as another replica.
  void lose_disk(std::size_t i, std::uint32_t life) {
    Node& node = *nodes_[i];
    node.disk = std::make_unique<sim::SimDisk>(base::mix_seed(options_.seed, life));
    make_journal(i, replica_of(id(i), life));
  }
  /// The process is gone; its disk keeps everything that was written.
  void end(std::size_t i) {
    Node& node = *nodes_[i];
    if (!node.endpoint) return;
    node.member.reset();
    node.memory_witness.reset();
    network_.before_end(id(i));
    node.endpoint.reset();
  }
  /// The power, too: of what was not synced only what the plan says is kept, of memory nothing.
  void crash(std::size_t i, const sim::CrashPlan& plan = {}) {
    Node& node = *nodes_[i];
    if (options_.is_in_memory) return end(i);
    auto left = node.disk->crash(plan, node.incarnation);
    node.disk->power_off();
    end(i);
    node.disk = std::move(left);
  }

  /// One turn of everybody, and some time if nobody had anything to do.
  void step() {
    bool did_something = false;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      if (node.memory_witness) {
        const auto turned = node.memory_witness->turn();
        ASSERT_TRUE(turned) << turned.error().message();
        did_something |= *turned;
      }
      if (!node.member || now_ns() < node.paused_until_ns) continue;
      const auto turned = node.member->turn();
      look_at(i);
      if (!turned) {
        node.why = turned.error();
        end(i);
        continue;
      }
      did_something |= *turned;
    }
    for (MemberClient* const client : clients_) did_something |= client->turn();
    if (!did_something) network_.clock().advance_ns(options_.step_ns);
  }
  /// False: nothing came of it in so long.
  bool run(const std::function<bool()>& done, std::uint64_t patience_ns = 10'000'000'000) {
    const std::uint64_t end_ns = now_ns() + patience_ns;
    while (!done()) {
      if (now_ns() > end_ns) return false;
      step();
    }
    return true;
  }
  void run_for(std::uint64_t length_ns) {
    (void)run([] { return false; }, length_ns);
  }

  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  [[nodiscard]] bool is_witness(std::size_t i) const {
    return options_.has_witness && i + 1 == options_.members;
  }
  /// … that no replica runs for.
  [[nodiscard]] bool is_memory_alone(std::size_t i) const {
    return options_.is_in_memory && is_witness(i);
  }
  [[nodiscard]] bool is_up(std::size_t i) const { return nodes_[i]->endpoint != nullptr; }
  /// Why it ended by itself.
  [[nodiscard]] const std::optional<Error>& why(std::size_t i) const { return nodes_[i]->why; }
  [[nodiscard]] Member& member(std::size_t i) { return *nodes_[i]->member; }
  /// Of others, by its endpoint. Requires: memory is mapped.
  [[nodiscard]] std::size_t mapped_regions(std::size_t i) {
    return dynamic_cast<sim::MappedEndpoint&>(*nodes_[i]->endpoint).mapped();
  }
  [[nodiscard]] MemoryWitness& memory_witness(std::size_t i) { return *nodes_[i]->memory_witness; }
  [[nodiscard]] Tally& machine(std::size_t i) { return *nodes_[i]->machine; }
  [[nodiscard]] sim::SimDisk& disk(std::size_t i) { return *nodes_[i]->disk; }
  [[nodiscard]] Tally& other_machine(std::size_t i) { return *nodes_[i]->other_machine; }
  /// What it was told to dial.
  [[nodiscard]] const Addresses& addresses(std::size_t i) { return nodes_[i]->addresses; }
  [[nodiscard]] MemberStatus status(std::size_t i, const GroupId& group = kTestGroup) {
    return is_memory_alone(i) ? *memory_witness(i).status(group) : *member(i).status(group);
  }
  [[nodiscard]] fabric::TcpSimWorld& network() { return network_; }
  [[nodiscard]] std::uint64_t now_ns() { return network_.now_ns(); }

  /// Who leads with the highest epoch, and is followed by a majority of those that run.
  [[nodiscard]] std::optional<std::size_t> leader(const GroupId& group = kTestGroup) {
    const auto follows = [&](std::size_t k, const MemberStatus& its) {
      if (!is_up(k)) return false;
      if (is_memory_alone(k)) return memory_witness(k).word(group) == its.epoch;
      return status(k, group).epoch == its.epoch && status(k, group).leader == its.self;
    };
    for (std::size_t i = 0; i < size(); ++i) {
      if (!is_up(i) || is_memory_alone(i) || status(i, group).role != log::Role::leader) continue;
      std::size_t following = 0;
      for (std::size_t k = 0; k < size(); ++k) following += follows(k, status(i, group));
      if (2 * following > status(i, group).configuration.voters.size()) return i;
    }
    return std::nullopt;
  }
  /// Waits for one.
  std::size_t lead(std::uint64_t patience_ns = 10'000'000'000) {
    EXPECT_TRUE(run([&] { return leader().has_value(); }, patience_ns)) << "nobody leads";
    return leader().value_or(0);
  }
  /// Whether all that run have executed the same, and everything.
  [[nodiscard]] bool agrees() {
    const auto first = leader();
    if (!first) return false;
    const MemberStatus right = status(*first);
    for (std::size_t i = 0; i < size(); ++i) {
      if (!is_up(i)) continue;
      const MemberStatus one = status(i);
      if (is_memory_alone(i)) {
        if (one.epoch != right.epoch || one.end != right.end) return false;
        continue;
      }
      if (one.epoch != right.epoch || one.end != right.end ||
          one.applied != (is_witness(i) ? 0 : right.end.index) || one.stable != right.end.index) {
        return false;
      }
    }
    return true;
  }
  /// Its process stands still; what is connected stays so.
  void pause(std::size_t i, std::uint64_t length_ns) {
    nodes_[i]->paused_until_ns = now_ns() + length_ns;
  }
  void cut_off(std::size_t i, std::uint64_t length_ns) {
    for (std::size_t k = 0; k < size(); ++k) {
      if (k == i) continue;
      network_.streams().cut(host(i), host(k), length_ns);
      network_.streams().cut(host(k), host(i), length_ns);
    }
  }

 private:
  friend class MemberClient;
  struct Node {
    Node(std::uint64_t seed, bool is_ahead)
        : disk(std::make_unique<sim::SimDisk>(seed)),
          entropy(seed),
          process(1),
          machine(std::make_unique<Tally>(is_ahead)) {}
    std::unique_ptr<sim::SimDisk> disk;
    sim::SimEntropy entropy;
    sim::SimProcess process;
    sys::Env env;
    std::unique_ptr<Tally> machine;
    std::unique_ptr<fabric::Endpoint> endpoint;
    std::unique_ptr<Tally> other_machine;
    Addresses addresses;
    std::unique_ptr<Member> member;
    std::unique_ptr<MemoryWitness> memory_witness;  ///< instead
    std::uint64_t incarnation = 0;
    std::uint64_t paused_until_ns = 0;
    std::optional<Error> why;
    std::map<GroupId, sim::GroupJudge::Life> judged{};
  };

  [[nodiscard]] std::vector<GroupId> groups() const {
    std::vector<GroupId> all{kTestGroup};
    if (options_.has_other_group) all.push_back(kOtherGroup);
    return all;
  }
  void make_endpoint(std::size_t i) {
    Node& node = *nodes_[i];
    node.endpoint =
        network_.make(fabric::TcpSimWorld::options(fabric::NodeName{id(i), ++node.incarnation}));
    if (!options_.is_mapped) return;
    node.endpoint = std::make_unique<sim::MappedEndpoint>(std::move(node.endpoint), mapped_memory_);
  }
  void start_memory_witness(std::size_t i) {
    Node& node = *nodes_[i];
    make_endpoint(i);
    auto made = MemoryWitness::make(node.env, *node.endpoint, {.area_bytes = options_.area_bytes});
    ASSERT_TRUE(made) << made.error().message();
    node.memory_witness = std::move(*made);
    const auto life = static_cast<std::uint32_t>(node.incarnation);
    for (const GroupId& group : groups()) {
      const auto added = node.memory_witness->add(group, replica_of(id(i), life), first_);
      ASSERT_TRUE(added) << added.error().message();
    }
  }
  void look_at(std::size_t i) {
    const Node& node = *nodes_[i];
    for (const auto& [group, life] : node.judged) {
      const auto inside = node.member->inside(group);
      if (!inside) continue;  // a test that hosts what it likes
      sim::GroupJudge& judge = judges_.at(group);
      judge.look_at(life, *inside->replica);
      const Tally& machine = group == kTestGroup ? *node.machine : *node.other_machine;
      // Ahead of what is decided its state is nobody else's business; a witness has none.
      if (inside->executed <= inside->replica->stable()) {
        judge.executed(inside->executed, machine.value());
      }
      if (violation_.empty()) violation_ = judge.violation();
    }
  }

  void make_journal(std::size_t i, log::ReplicaId self) {
    auto journal = open_journal(*nodes_[i]);
    EXPECT_TRUE(journal->add(kTestGroup, self, first_));
    if (options_.has_other_group) {
      EXPECT_TRUE(journal->add(kOtherGroup, self, first_));
    }
    EXPECT_TRUE(journal->close());
  }
  std::unique_ptr<Journal> open_journal(Node& node) {
    auto journal =
        Journal::open(node.env, std::make_unique<sys::BorrowedDisk>(*node.disk), options_.journal);
    EXPECT_TRUE(journal) << journal.error().message();
    return std::move(*journal);
  }

  const MemberWorldOptions options_;
  log::Configuration first_;
  fabric::TcpSimWorld network_;
  sim::MappedMemory mapped_memory_;
  std::map<GroupId, sim::GroupJudge> judges_;
  std::string violation_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<MemberClient*> clients_;
};

inline MemberClient::MemberClient(MemberWorld& world, fabric::NodeId self) : world_(world) {
  fabric::TcpOptions options = fabric::TcpSimWorld::options({self, 1});
  options.listen.reset();
  endpoint_ = world.network_.make(options);
  world.clients_.push_back(this);
}
inline MemberClient::~MemberClient() {
  std::erase(world_.clients_, this);
  world_.network_.before_end(endpoint_->self().node);
}
inline bool MemberClient::send(std::size_t member, EnvelopeKind kind, base::Bytes body) {
  const auto to = endpoint_->connected(MemberWorld::id(member));
  if (!to) return false;
  const std::vector<std::byte> head =
      encode(Envelope{.kind = kind, .group = kTestGroup, .shown = shown_});
  const std::array<base::Bytes, 2> parts{head, body};
  return endpoint_->send(*to, parts).has_value();
}
inline bool MemberClient::can_read(std::size_t member, fabric::RegionId region) {
  const auto from = endpoint_->connected(MemberWorld::id(member));
  std::array<std::byte, 8> word{};
  has_read_.reset();
  if (!from || !endpoint_->read(fabric::OpId{1}, {*from, region, 0}, word)) return false;
  EXPECT_TRUE(world_.run([&] { return has_read_.has_value(); }));
  return has_read_.value_or(false);
}

}  // namespace dolmen::replication
