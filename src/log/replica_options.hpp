// SPDX-License-Identifier: Apache-2.0
//
// How a replica goes about it: times, sizes, and what its driver can do. Values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dolmen::log {

struct ReplicaOptions {
  /// A leader that has nothing to send says so this often.
  std::uint64_t heartbeat_ns = 10'000'000;
  /// Who knows of no leader waits between this and twice this, drawn each time, before it tries to
  /// be one. Silence of a leader that was heard is noticed after 0.8 to 2.7 times this, depending
  /// on how regularly it was heard (log/detector.hpp).
  std::uint64_t silence_ns = 100'000'000;
  /// Unanswered entries are sent again after this.
  std::uint64_t resend_ns = 20'000'000;
  /// Most bytes of entries in one message; a single larger entry still travels.
  std::size_t message_bytes = 64u << 10;
  /// Bytes of a snapshot in one message.
  std::size_t part_bytes = 1u << 20;
  /// Entries that a snapshot stands for and that are kept, for who is only a little behind.
  std::size_t trailing_bytes = 4u << 20;
  /// Of a lane, a multiple of 8; a larger one is made for an entry that does not fit.
  std::size_t lane_bytes = 4u << 20;
  /// No state machine is here: it never leads, whatever the configuration says of it.
  bool has_machine = true;
  /// A snapshot only says which state it is; the state machine keeps the state itself, elsewhere.
  /// What another replica sends is not taken in before state_arrived() says that the state is here.
  bool snapshots_refer = false;
  /// False: no records are made, and what the replica has counts at once. With memory none are
  /// made anyway.
  bool has_disk = true;
  /// With memory: the group's witnesses are memory alone, which candidates and leaders read and
  /// write themselves. The same in all replicas of a group.
  bool witnesses_are_memory = false;
  /// As a leader over messages: a follower without which there is a majority gets entries this much
  /// later, all at once ("thrifty" in EPaxos, Moraru et al., SOSP 2013). That saves the work of one
  /// message per entry; when a follower becomes silent, entries wait so long for the others. 0: at
  /// once.
  std::uint64_t spare_ns = 0;
  /// Leases (docs/log.md). So long a member that answers a leader supports nobody else, and a new
  /// one nobody at all. Longer than some heartbeats, and shorter than the patience, or take-overs
  /// wait for it. 0: no leases, and no promises. A member that starts again with a shorter one has
  /// to have been down for as long as the former.
  std::uint64_t lease_ns = 0;
  /// Over any time every member's and reader's clock is at most so much too fast or too slow, in
  /// millionths. Requires: at most 500'000.
  std::uint64_t drift_ppm = 1000;
};

/// What a promise is kept longer than it has to be: clocks are read in steps.
inline constexpr std::uint64_t kLeaseSlackNs = 1'000'000;

}  // namespace dolmen::log
