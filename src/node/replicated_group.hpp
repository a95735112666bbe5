// SPDX-License-Identifier: Apache-2.0
//
// What members and clients of a group make of its addresses and its key. Values.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dolmen/replicated.hpp>

#include "fabric/noise.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "replication/member.hpp"
#include "sys/disk.hpp"

namespace dolmen::node {

/// The one group that a Replicated serves.
inline constexpr replication::GroupId kReplicatedGroup{0x646F6C6D656E, 1};

struct GroupPlan {
  fabric::Secret key;
  std::vector<fabric::TcpPeer> members;  ///< member i + 1 at i; addresses of tcp only
  std::string shared_directory;          ///< set: they meet there instead
};

/// Errors: invalid_argument (an address, a member twice, a key that is none, witnesses that are no
/// members or all of them), not_found, io_error.
[[nodiscard]] Result<GroupPlan> plan(const ReplicatedGroup& group);

/// Joins the group's fabric as `self`; a member listens at its own address. Errors: those of
/// fabric::open_shm() and TcpEndpoint::make().
[[nodiscard]] Result<std::unique_ptr<fabric::Endpoint>> connect(const GroupPlan& plan,
                                                                const fabric::NodeName& self,
                                                                std::chrono::microseconds spin);

/// A memory-only member's directory holds one empty file, whose name says which life is next
/// (docs/formats/replication.md). Makes it. Errors: already_exists, those of the disk.
[[nodiscard]] Result<void> make_first_life(sys::Disk& disk);
/// Held by who runs as the member. Errors: held.
[[nodiscard]] Result<std::unique_ptr<sys::FileLock>> lock_lives(sys::Disk& disk);
/// The life that begins now; no later one gets its number. Errors: not_found (no member of any
/// kind), invalid_argument (one with a journal), corrupt, limit (no number is left), those of the
/// disk.
[[nodiscard]] Result<std::uint32_t> begin_life(sys::Disk& disk);
/// Whether this is such a directory.
[[nodiscard]] bool counts_lives(const std::vector<std::string>& names);

/// The replicas that the group begins with. Requires: plan() took the group.
[[nodiscard]] log::Configuration first_members(std::size_t count,
                                               std::vector<std::uint32_t> witnesses);

[[nodiscard]] inline std::uint32_t member_of(log::ReplicaId id) {
  return static_cast<std::uint32_t>(replication::node_of(id));
}

}  // namespace dolmen::node
