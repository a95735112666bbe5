// SPDX-License-Identifier: Apache-2.0
//
// One group of replicas in the simulated world: replicas (log/replica.hpp), their disks, a network,
// clients, and a nemesis that crashes, pauses and cuts them off. Everything is drawn from the seed:
// which kinds of faults a run has, and how many of each (swarm testing). Rules that are checked at
// every step are those of docs/log.md; a violation is a text, with the seed to see it again.
//
// Threads: one. Runs of equal options are equal to the bit (trace_hash).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/event_queue.hpp"

namespace dolmen::sim {

/// Kinds of faults, as bits; the minimiser takes them away one by one.
enum LogFault : std::uint32_t {
  kLoss = 1,             ///< messages are lost
  kRepeat = 2,           ///< … arrive twice
  kLate = 4,             ///< … arrive much later, behind newer ones
  kCrash = 8,            ///< replicas crash, with what their disks had not synced, and restart
  kCrashAll = 16,        ///< … all of them at once
  kPause = 32,           ///< … stand still, longer than any patience, and go on
  kIsolate = 64,         ///< one replica is cut off from all others
  kOneWay = 128,         ///< a direction of a link is cut
  kFlap = 256,           ///< cuts that come and go
  kSlowDisk = 512,       ///< syncs take long
  kDrift = 1024,         ///< clocks run at different speeds
  kCrashLeader = 2048,   ///< a replica crashes soon after it began to lead
  kCrashPromise = 4096,  ///< … just after it entered an epoch, before its disk has it
  kPartial = 8192,       ///< a link is cut, and both its ends still reach the others
  kMembers = 16384,      ///< members are added, made voters, removed
  kLoseDisk = 32768,     ///< a voter is gone for good; another one is to take its place
  kCompact = 65536,      ///< logs are cut behind snapshots, and who is behind gets one
  kMute = 131072,        ///< a replica's entries reach nobody, all else does; to the end
  kWitness = 262144,     ///< no fault: one of the voters is a witness
  kAllLogFaults = 524287,
};

struct LogWorldOptions {
  std::uint64_t seed = 1;
  /// Simulated time with faults; after it, time without, in which everybody has to agree.
  std::uint64_t faulty_ns = 6'000'000'000;
  std::uint64_t calm_ns = 4'000'000'000;
  /// Then one of them is taken away for so long, and the others have to go on; and it comes back.
  std::uint64_t without_one_ns = 1'500'000'000;
  std::uint64_t back_again_ns = 1'000'000'000;
  /// Faults that a run may have; the seed chooses among them.
  std::uint32_t faults = kAllLogFaults;
  /// Whether the group lives in memory alone and its leaders write into others'; else: one seed of
  /// four.
  std::optional<bool> is_direct{};
  /// A replica that restarts has lost its disk, or memory, and does not know it: a bug of who runs
  /// it.
  bool restart_empty = false;
  /// … or has forgotten to whom it granted its epoch.
  bool restart_without_grant = false;
  /// Whether leaders have leases, which clients read by; else: one seed of two.
  std::optional<bool> has_leases{};
};

struct LogWorldResult {
  std::string violation;  ///< empty: none
  std::string state;      ///< with a violation: a line per replica, as it was then
  std::uint64_t trace_hash = 0;
  std::uint64_t events = 0;
  std::uint64_t proposed = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t leaders = 0;  ///< epochs that had one
  std::uint64_t crashes = 0;
  std::uint64_t lane_writes = 0;     ///< that landed and were counted, or not
  std::uint64_t configurations = 0;  ///< proposed to leaders that took them
  /// How long it took until the first command was acknowledged, 0: none was. After all faults ended
  std::uint64_t calm_until_decided_ns = 0;
  /// … and after one of them was gone
  std::uint64_t without_one_until_decided_ns = 0;
  bool lost_leader = false;        ///< … which led
  bool was_noticed = false;        ///< … and whose end the others were told of
  std::uint64_t leased_reads = 0;  ///< that were believed
  std::uint64_t hand_overs = 0;    ///< that leaders with leases were asked for
  bool has_witness = false;
  bool has_memory_witness = false;  ///< … that is memory alone
  std::uint64_t simulated_ns = 0;
};

/// One run. Its hooks (DOLMEN_PLANTED, DOLMEN_PROBE) are those that are installed.
[[nodiscard]] LogWorldResult run_log_world(const LogWorldOptions& options);

/// The smallest set of faults, and the shortest time, that still shows a violation that `options`
/// shows: greedy, in at most some dozens of runs.
[[nodiscard]] LogWorldOptions minimise(const LogWorldOptions& options);

/// What a person types to see a run again.
[[nodiscard]] std::string command_of(const LogWorldOptions& options);

}  // namespace dolmen::sim
