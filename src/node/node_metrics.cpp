// SPDX-License-Identifier: Apache-2.0
#include "node/node_metrics.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>

#include "node/cluster_identity.hpp"
#include "node/cluster_map.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

namespace {

using enum MetricKind;
using replication::GroupMeter;
using replication::ReplyStatus;

constexpr std::array kFamilies{
    MetricFamily{"dolmen_node_info", gauge, "Which node this is; always 1."},
    MetricFamily{"dolmen_uptime_seconds", gauge, "Since the node began to run."},
    MetricFamily{"dolmen_map_version", gauge, "Of the cluster's map that the node knows."},
    MetricFamily{"dolmen_replicas", gauge, "Replicas that the node keeps."},
    MetricFamily{"dolmen_memory_resident_bytes", gauge, "Memory that the process has in use."},
    MetricFamily{"dolmen_memory_machine_bytes", gauge, "Memory that the machine has."},
    MetricFamily{"dolmen_memory_room_bytes", gauge,
                 "Memory of the host that tables may take yet, so that other programs have some."},
    MetricFamily{"dolmen_disk_free_bytes", gauge, "Room on the disk of the node's directory."},
    MetricFamily{"dolmen_disk_used_bytes", gauge, "Disk that the node's files take."},
    MetricFamily{"dolmen_journal_tail_bytes", gauge, "Journal behind its last checkpoint."},
    MetricFamily{"dolmen_journal_sync_seconds", histogram, "Syncs of the journal."},
    MetricFamily{"dolmen_call_seconds", histogram,
                 "From the arrival of a client's call to its answer, of those done."},
    MetricFamily{"dolmen_read_seconds", histogram,
                 "From the arrival of a client's query to its answer, of those done."},
    MetricFamily{"dolmen_connections", gauge, "Open connections."},
    MetricFamily{"dolmen_connections_shared", gauge, "Of those, in shared memory."},
    MetricFamily{"dolmen_connections_opened_total", counter, "Connections that were opened."},
    MetricFamily{"dolmen_messages_sent_total", counter, "Messages sent."},
    MetricFamily{"dolmen_messages_received_total", counter, "Messages received."},
    MetricFamily{"dolmen_sent_bytes_total", counter, "Bytes of messages sent."},
    MetricFamily{"dolmen_received_bytes_total", counter, "Bytes of messages received."},
    MetricFamily{"dolmen_messages_refused_total", counter,
                 "Messages that were not sent: the connection was gone, or its queue full."},
    MetricFamily{"dolmen_mails_sent_total", counter, "Mails of groups that the node leads, sent."},
    MetricFamily{"dolmen_mails_again_total", counter, "Those of them that had been sent before."},
    MetricFamily{"dolmen_mails_received_total", counter, "Mails that arrived, also again."},
    MetricFamily{"dolmen_calls_total", counter, "Clients' calls, by what was answered."},
    MetricFamily{"dolmen_reads_total", counter, "Clients' queries, by what was answered."},
    MetricFamily{"dolmen_reads_by_lease_total", counter,
                 "Queries for which the leader asked nobody else, by its lease."},
    MetricFamily{"dolmen_requests_waiting", gauge, "Calls and queries not answered yet."},
    MetricFamily{"dolmen_entries_decided_total", counter,
                 "Entries of the group's log that the replica learned to be decided."},
    MetricFamily{"dolmen_log_entries_total", counter, "Entries written to the journal."},
    MetricFamily{"dolmen_log_bytes_total", counter, "Bytes of entries written to the journal."},
    MetricFamily{"dolmen_group_leads", gauge, "1: the replica leads its group."},
    MetricFamily{"dolmen_group_leader", gauge, "The node that leads the group; 0: not known."},
    MetricFamily{"dolmen_group_epoch", gauge, "The replica's epoch: higher with each election."},
    MetricFamily{"dolmen_group_last_index", gauge, "Of the last entry of the replica's log."},
    MetricFamily{"dolmen_group_stable_index", gauge, "Of the last entry known to be decided."},
    MetricFamily{"dolmen_group_applied_index", gauge, "Of the last entry that was executed."},
    MetricFamily{"dolmen_follower_lag_entries", gauge,
                 "Of a group that the node leads: entries that the member lacks."},
    MetricFamily{"dolmen_elections_total", counter, "Times the replica asked for leadership."},
    MetricFamily{"dolmen_leads_total", counter, "Times the replica began to lead."},
    MetricFamily{"dolmen_leader_changes_total", counter,
                 "Times the replica heard of another leader than the one before."},
    MetricFamily{"dolmen_states_taken_total", counter,
                 "Whole states that the replica got from another member."},
    MetricFamily{"dolmen_state_sent_bytes_total", counter,
                 "Bytes of states sent to members and for exports."},
    MetricFamily{"dolmen_state_received_bytes_total", counter, "Bytes of states received."},
    MetricFamily{"dolmen_state_received_pages_total", counter,
                 "Pages of the states taken that came from another member."},
    MetricFamily{"dolmen_state_kept_pages_total", counter,
                 "Pages of the states taken that the node had itself."},
    MetricFamily{"dolmen_outbox_mails", gauge, "Mails that the group posted, not acknowledged."},
    MetricFamily{"dolmen_outbox_bytes", gauge, "What the group's mails take until then."},
    MetricFamily{"dolmen_index_keys", gauge, "Keys of a shard's table; of the directory, objects."},
    MetricFamily{"dolmen_index_table_used_bytes", gauge, "What keys are found by, in use."},
    MetricFamily{"dolmen_index_table_bytes", gauge, "The same, in use or not."},
    MetricFamily{"dolmen_index_record_live_bytes", gauge, "Keys and values that are there."},
    MetricFamily{"dolmen_index_record_used_bytes", gauge, "Room for them that was ever used."},
    MetricFamily{"dolmen_index_record_bytes", gauge, "The same, used or not."},
};

struct Row {
  cluster::GroupNumber number = 0;
  std::string labels{};
  replication::Member::Inside inside{};
};

class Writer {
 public:
  explicit Writer(const MeteredNode& node) : node_(node) {}

  std::string write() {
    find_rows();
    write_node();
    write_journal();
    write_peers();
    write_mail();
    write_groups();
    write_outboxes();
    write_tables();
    DOLMEN_ASSERT(next_ == kFamilies.size());
    return text_.text();
  }

 private:
  /// The families come in the order of their table.
  void begin(std::string_view name) {
    DOLMEN_ASSERT(next_ < kFamilies.size() && name == kFamilies[next_].name);
    text_.begin(kFamilies[next_++]);
  }
  void write_one(std::string_view name, std::uint64_t value) {
    begin(name);
    text_.add("", value);
  }
  [[nodiscard]] static std::string labels_of_group(cluster::GroupNumber number,
                                                   const cluster::RootGroup* group) {
    return labels_of({{"group", std::to_string(number)},
                      {"kind", group == nullptr ? "unknown" : text_of(*group)},
                      {"name", group == nullptr ? "" : group->name}});
  }

  void find_rows() {
    replication::Member& member = node_.core.member();
    for (const auto& [id, self] : member.replicas()) {
      const auto inside = member.inside(id);
      const auto number = static_cast<cluster::GroupNumber>(id.low);
      // Nobody runs those that only a later version knows.
      const cluster::RootGroup* const group = node_.core.map().group(number);
      const char* const role = !inside                                        ? "kept"
                               : inside->replica->role() == log::Role::leader ? "leader"
                               : inside->replica->role() == log::Role::candidate
                                   ? "candidate"
                                   : (inside->replica->is_voter() ? "follower" : "learner");
      ++replicas_[{group == nullptr ? "unknown" : text_of(*group), role}];
      if (!inside) continue;
      rows_.push_back({number, labels_of_group(number, group), *inside});
    }
  }

  void write_node() {
    const cluster::RootState& map = node_.core.map();
    const cluster::RootNode* const self = map.node(node_.self);
    begin("dolmen_node_info");
    text_.add(labels_of({{"node", std::to_string(node_.self)},
                         {"name", self == nullptr ? "" : self->name},
                         {"cluster", id_of(map)}}),
              1);
    begin("dolmen_uptime_seconds");
    text_.add_seconds("", node_.env.clock->monotonic_ns() - node_.began_ns);
    write_one("dolmen_map_version", map.version());
    begin("dolmen_replicas");
    for (const auto& [what, count] : replicas_) {
      text_.add(labels_of({{"kind", what.first}, {"role", what.second}}), count);
    }
    write_one("dolmen_memory_resident_bytes", node_.env.process->resident_bytes());
    write_one("dolmen_memory_machine_bytes", node_.env.process->machine_bytes());
    begin("dolmen_memory_room_bytes");
    if (node_.memory_room) text_.add("", *node_.memory_room);
  }

  void write_journal() {
    begin("dolmen_disk_free_bytes");
    if (const auto free = node_.disk.free_bytes()) text_.add("", *free);
    replication::Member& member = node_.core.member();
    const store::StoreStats journal = member.journal().stats();
    begin("dolmen_disk_used_bytes");
    text_.add(labels_of({{"what", "journal"}}), journal.log_disk_bytes + journal.pages_disk_bytes);
    std::uint64_t spaces = 0;
    for (const Row& row : rows_) spaces += node_.machines.disk_bytes(row.number);
    text_.add(labels_of({{"what", "spaces"}}), spaces);
    write_one("dolmen_journal_tail_bytes", journal.log_tail_bytes);
    begin("dolmen_journal_sync_seconds");
    text_.add("", member.meter().syncs);
    begin("dolmen_call_seconds");
    text_.add("", member.meter().calls);
    begin("dolmen_read_seconds");
    text_.add("", member.meter().reads);
  }

  template <class Value>
  void write_peers(std::string_view name, const Value& value) {
    begin(name);
    for (const fabric::PeerMeter& peer : node_.endpoint.meters()) {
      const bool is_node = peer.node != fabric::NodeId::nobody;
      const std::string who =
          is_node ? std::to_string(static_cast<std::uint64_t>(peer.node)) : "clients";
      text_.add(labels_of({{"peer", who}}), value(peer));
    }
  }
  void write_peers() {
    using Peer = fabric::PeerMeter;
    write_peers("dolmen_connections", [](const Peer& peer) { return peer.connects - peer.losses; });
    const fabric::JoinedEndpoint* const joined = node_.joined;
    write_peers("dolmen_connections_shared", [&](const Peer& peer) -> std::uint64_t {
      return joined == nullptr ? 0 : joined->shared_with(peer.node);
    });
    write_peers("dolmen_connections_opened_total", [](const Peer& peer) { return peer.connects; });
    write_peers("dolmen_messages_sent_total", [](const Peer& peer) { return peer.sent.count; });
    write_peers("dolmen_messages_received_total",
                [](const Peer& peer) { return peer.received.count; });
    write_peers("dolmen_sent_bytes_total", [](const Peer& peer) { return peer.sent.bytes; });
    write_peers("dolmen_received_bytes_total",
                [](const Peer& peer) { return peer.received.bytes; });
    write_peers("dolmen_messages_refused_total",
                [](const Peer& peer) { return peer.sent.busy + peer.sent.failed; });
  }

  void write_mail() {
    const ClusterMail::Meter& mail = node_.core.mail().meter();
    write_one("dolmen_mails_sent_total", mail.sent);
    write_one("dolmen_mails_again_total", mail.again);
    write_one("dolmen_mails_received_total", mail.received);
  }

  void write_answers(std::string_view name, replication::AnswerMeter GroupMeter::* answers) {
    constexpr std::array<std::pair<ReplyStatus, const char*>, 9> kOutcomes{
        {{ReplyStatus::done, "done"},
         {ReplyStatus::not_leader, "elsewhere"},
         {ReplyStatus::busy, "busy"},
         {ReplyStatus::refused, "refused"},
         {ReplyStatus::lost, "lost"},
         {ReplyStatus::no_right, "no_right"},
         {ReplyStatus::stale, "stale"},
         {ReplyStatus::expired, "expired"},
         {ReplyStatus::aborted, "aborted"}}};
    begin(name);
    for (const Row& row : rows_) {
      for (const auto& [status, outcome] : kOutcomes) {
        text_.add(row.labels + "," + labels_of({{"outcome", outcome}}),
                  (row.inside.meter->*answers).of(status));
      }
    }
  }
  template <class Value>
  void write_rows(std::string_view name, const Value& value) {
    begin(name);
    for (const Row& row : rows_) text_.add(row.labels, std::uint64_t{value(row.inside)});
  }
  void write_meter(std::string_view name, std::uint64_t GroupMeter::* value) {
    begin(name);
    for (const Row& row : rows_) text_.add(row.labels, row.inside.meter->*value);
  }
  void write_groups() {
    using Inside = replication::Member::Inside;
    write_answers("dolmen_calls_total", &GroupMeter::calls);
    write_answers("dolmen_reads_total", &GroupMeter::reads);
    write_meter("dolmen_reads_by_lease_total", &GroupMeter::reads_by_lease);
    write_rows("dolmen_requests_waiting", [](const Inside& one) { return one.held; });
    write_meter("dolmen_entries_decided_total", &GroupMeter::decided);
    write_meter("dolmen_log_entries_total", &GroupMeter::written);
    write_meter("dolmen_log_bytes_total", &GroupMeter::written_bytes);
    write_rows("dolmen_group_leads", [](const Inside& one) {
      return one.replica->role() == log::Role::leader ? 1u : 0u;
    });
    write_rows("dolmen_group_leader", [](const Inside& one) {
      return member_of(one.replica->leader().value_or(log::ReplicaId{}));
    });
    write_rows("dolmen_group_epoch", [](const Inside& one) { return one.replica->epoch(); });
    write_rows("dolmen_group_last_index",
               [](const Inside& one) { return one.replica->end().index; });
    write_rows("dolmen_group_stable_index",
               [](const Inside& one) { return one.replica->stable(); });
    write_rows("dolmen_group_applied_index", [](const Inside& one) { return one.executed; });
    write_lags();
    write_meter("dolmen_elections_total", &GroupMeter::elections);
    write_meter("dolmen_leads_total", &GroupMeter::led);
    write_meter("dolmen_leader_changes_total", &GroupMeter::leaders);
    write_meter("dolmen_states_taken_total", &GroupMeter::states_taken);
    write_meter("dolmen_state_sent_bytes_total", &GroupMeter::state_bytes_sent);
    write_meter("dolmen_state_received_bytes_total", &GroupMeter::state_bytes_received);
    write_meter("dolmen_state_received_pages_total", &GroupMeter::state_pages_received);
    write_meter("dolmen_state_kept_pages_total", &GroupMeter::state_pages_kept);
  }
  void write_lags() {
    begin("dolmen_follower_lag_entries");
    for (const Row& row : rows_) {
      const log::Replica& replica = *row.inside.replica;
      if (replica.role() != log::Role::leader) continue;
      const log::Index end = replica.end().index;
      const auto add = [&](log::ReplicaId id) {
        if (id == replica.self()) return;
        text_.add(row.labels + "," + labels_of({{"member", std::to_string(member_of(id))}}),
                  end - std::min(replica.matched(id), end));
      };
      std::ranges::for_each(replica.last_configuration().voters, add);
      std::ranges::for_each(replica.last_configuration().learners, add);
    }
  }
  void write_outboxes() {
    for (const bool is_bytes : {false, true}) {
      begin(is_bytes ? "dolmen_outbox_bytes" : "dolmen_outbox_mails");
      for (const Row& row : rows_) {
        const auto outbox = node_.core.mail().outbox(row.number);
        if (outbox) text_.add(row.labels, is_bytes ? outbox->bytes : outbox->mails);
      }
    }
  }

  void write_tables() {
    using Stats = IndexShardStats;
    std::vector<std::pair<const Row*, Stats>> tables;
    for (const Row& row : rows_) {
      if (const auto stats = node_.machines.stats_of(row.number)) tables.emplace_back(&row, *stats);
    }
    constexpr std::array<std::pair<const char*, std::uint64_t Stats::*>, 6> kFigures{
        {{"dolmen_index_keys", &Stats::keys},
         {"dolmen_index_table_used_bytes", &Stats::table_bytes_used},
         {"dolmen_index_table_bytes", &Stats::table_bytes},
         {"dolmen_index_record_live_bytes", &Stats::record_bytes_live},
         {"dolmen_index_record_used_bytes", &Stats::record_bytes_used},
         {"dolmen_index_record_bytes", &Stats::record_bytes}}};
    for (const auto& [name, figure] : kFigures) {
      begin(name);
      for (const auto& [row, stats] : tables) text_.add(row->labels, stats.*figure);
    }
  }

  const MeteredNode& node_;
  std::vector<Row> rows_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> replicas_;
  std::size_t next_ = 0;
  MetricsText text_;
};

}  // namespace

std::string node_metrics(const MeteredNode& node) { return Writer(node).write(); }

std::span<const MetricFamily> metric_families() { return kFamilies; }

}  // namespace dolmen::node
