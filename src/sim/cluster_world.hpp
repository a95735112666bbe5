// SPDX-License-Identifier: Apache-2.0
//
// A whole cluster in the simulated world: members (replication/member.hpp) of several groups on a
// dozen nodes, with journals on simulated disks, over the simulated fabric; clients that ask until
// they are answered; and a nemesis. The seed decides which kinds of faults a run has. At the end
// all faults end, and everybody has to agree; what the clients of a group saw has to be what one
// counter could have said.
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
enum ClusterFault : std::uint32_t {
  kPacketLoss = 1,           ///< packets are lost and repeated
  kPacketLate = 2,           ///< … late, and hold up what is behind them
  kOvertaken = 4,            ///< … overtaken: connections end of it
  kGivesUp = 8,              ///< connections end when they are cut for long
  kBreaks = 16,              ///< … and for no reason
  kCutsOneWay = 32,          ///< one direction of a link is cut
  kCutsOff = 64,             ///< a node is cut off from all others
  kFlaps = 128,              ///< cuts come and go
  kKills = 256,              ///< processes end, and begin again
  kHangs = 512,              ///< … and nobody hears of their end
  kPowersOff = 1024,         ///< nodes lose their power, and what their disks had not synced
  kPowersOffAll = 2048,      ///< … all at once
  kKillsLeaders = 4096,      ///< … who leads a group
  kPauses = 8192,            ///< processes stand still and go on
  kSlowNodes = 16384,        ///< turns take a hundred times longer
  kSlowDisks = 32768,        ///< syncs take milliseconds
  kDiskErrors = 65536,       ///< calls fail, disks are full; members end of it
  kClockDrift = 131072,      ///< clocks of different speed
  kChanges = 262144,         ///< no fault: members are added, made voters, removed meanwhile
  kCutsOffLeaders = 524288,  ///< who leads a group is cut off from all others, not from clients
  kAllClusterFaults = 1048575,
};

struct ClusterWorldOptions {
  std::uint64_t seed = 1;
  std::size_t nodes = 12;
  std::size_t groups = 5;   ///< of three to five members each
  std::size_t clients = 2;  ///< of each group
  std::size_t readers = 1;  ///< … further ones, who only ask queries
  /// Where spaces have their address space: then some groups keep one each. Null: none do.
  sys::Memory* memory = nullptr;
  std::uint64_t faulty_ns = 1'000'000'000;
  /// After it, without faults: by then everybody agrees.
  std::uint64_t calm_ns = 20'000'000'000;
  /// Faults that a run may have; the seed chooses among them.
  std::uint32_t faults = kAllClusterFaults;
  /// In half of the runs their BUGGIFY sites are those of the seed, until the faults end; in the
  /// others they are silent. Null: they are whatever is installed.
  SimHooks* hooks = nullptr;
};

struct ClusterWorldResult {
  std::string violation;  ///< empty: none
  std::string state;      ///< with a violation: a line per replica, as it was then
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0;
  std::uint64_t simulated_ns = 0;
  std::uint64_t answered = 0;     ///< commands and queries
  std::uint64_t reads = 0;        ///< … queries
  std::uint64_t attempts = 0;     ///< further ones
  std::uint64_t changes = 0;      ///< of members, that leaders took
  std::uint64_t ended = 0;        ///< processes, by the nemesis
  std::uint64_t disks_ended = 0;  ///< members, by their disks
  std::uint64_t connections_lost = 0;
  std::uint64_t packets = 0;
  std::uint64_t in_spaces = 0;  ///< of the commands answered, by groups that keep a space
  AccountsJudge::Counts accounts{};
};

/// One run. Its hooks are those that are installed; `options.hooks`, if there are any, are those.
[[nodiscard]] ClusterWorldResult run_cluster_world(const ClusterWorldOptions& options);

/// Fewer faults and a shorter time that still show a violation that `options` shows.
[[nodiscard]] ClusterWorldOptions minimise(const ClusterWorldOptions& options);

/// What a person types to see a run again.
[[nodiscard]] std::string command_of(const ClusterWorldOptions& options);

}  // namespace dolmen::sim
