// SPDX-License-Identifier: Apache-2.0
//
// A whole cluster of nodes in the simulated world: node/cluster_core.hpp on two to nine nodes,
// with journals on simulated disks, over the simulated fabric; an operator who makes groups, adds,
// drains and removes nodes; clients of the groups, which count, keep a space or are shards of an
// index; and a nemesis. At the end all faults end, and then the map has to be what the groups are,
// every group what it should be, and what the clients of a group saw what one counter, or one
// table, could have said.
//
// Threads: one. Runs of equal options are equal to the bit (trace_hash).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "sim/accounts.hpp"

namespace dolmen::sys {
class Memory;
}

namespace dolmen::sim {

class SimHooks;

/// Kinds of faults, as bits.
enum NodeFault : std::uint32_t {
  kNodePackets = 1,        ///< lost, late, repeated
  kNodeCuts = 2,           ///< links cut in one direction; nodes cut off
  kNodeKills = 4,          ///< processes end, and begin again
  kNodePowersOff = 8,      ///< nodes lose their power, and what their disks had not synced
  kNodePowersOffAll = 16,  ///< … all at once
  kNodeKillsLeaders = 32,  ///< … who leads a group, mostly the root
  kNodePauses = 64,        ///< processes stand still and go on
  kNodeSlow = 128,         ///< slow turns, slow disks
  kNodeDiskErrors = 256,   ///< calls fail, disks are full; nodes end of it
  kNodeClockDrift = 512,   ///< clocks of different speed
  kNodeDies = 1024,        ///< a node is gone for ever
  kNodeOperator = 2048,    ///< no fault: nodes are added, drained and removed
  kAllNodeFaults = 4095,
};

struct NodeWorldOptions {
  std::uint64_t seed = 1;
  std::uint64_t faulty_ns = 2'500'000'000;
  /// So many nodes at least begin the cluster, and five at most; others join, up to nine of all.
  /// At least two: alone one decides, and forgets what it decided, within one turn, unseen by the
  /// judge. It changes all that is drawn.
  std::uint64_t founders_min = 3;
  /// After it, without faults: by then everybody agrees.
  std::uint64_t calm_ns = 60'000'000'000;
  /// Faults that a run may have; the seed chooses among them.
  std::uint32_t faults = kAllNodeFaults;
  /// Whether a run may have shards of an index and a directory beside counters and banks: without
  /// them changes of members are more frequent.
  bool may_have_indexes = true;
  /// Whether clients show rights, which are given anew now and then, and some ask for what they may
  /// not have: that changes what is drawn.
  bool has_intruders = true;
  /// Where spaces have their address space: then a group of some runs keeps one. Null: none does.
  sys::Memory* memory = nullptr;
  /// In half of the runs their BUGGIFY sites are those of the seed, until the faults end; in the
  /// others they are silent. Null: they are whatever is installed.
  SimHooks* hooks = nullptr;
};

struct NodeWorldResult {
  std::string violation;  ///< empty: none
  std::string state;      ///< with a violation: a line per node and group, as it was then
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0;
  std::uint64_t simulated_ns = 0;
  std::uint64_t answered = 0;        ///< commands, and what was looked up
  std::uint64_t read_afar = 0;       ///< of those: looked up in a leader's memory
  std::uint64_t scanned = 0;         ///< … as ranges
  std::uint64_t read_in_one = 0;     ///< … in one round of reads, with the value
  std::uint64_t read_by_lease = 0;   ///< … alone
  std::uint64_t ended = 0;           ///< processes, by the nemesis
  std::uint64_t changes = 0;         ///< of members, that the root group began
  std::uint64_t nodes = 0;           ///< that ever were
  std::uint64_t transfers = 0;       ///< between groups
  std::uint64_t published = 0;       ///< objects
  std::uint64_t refused = 0;         ///< what clients asked for without the right
  std::uint64_t moved = 0;           ///< objects that live, in the end, where they were not made
  std::uint64_t written = 0;         ///< to objects
  std::uint64_t homes_read = 0;      ///< objects looked up in a leader's memory of the directory
  std::uint64_t homes_by_lease = 0;  ///< … alone
  std::uint64_t in_spaces = 0;       ///< of those answered: by groups that keep a space
  std::uint64_t of_spaces = 0;       ///< of the transfers: to or from such groups
  AccountsJudge::Counts accounts{};  ///< in those
  // What the nodes of the end counted since their processes began (node/cluster_mail.hpp).
  std::uint64_t mails_sent = 0;
  std::uint64_t mails_again = 0;
  std::uint64_t mails_received = 0;
  std::uint64_t mails_left = 0;  ///< in the leaders' outboxes
};

/// One run. Its hooks are those that are installed; `options.hooks`, if there are any, are those.
[[nodiscard]] NodeWorldResult run_node_world(const NodeWorldOptions& options);

}  // namespace dolmen::sim
