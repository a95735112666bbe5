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

namespace dolmen::fabric {
class JoinedEndpoint;
}

namespace dolmen::node {

/// The group with this number among those of a Replicated.
[[nodiscard]] constexpr replication::GroupId group_of(std::uint64_t number) {
  return {0x646F6C6D656E, number};
}

struct GroupPlan {
  fabric::Secret key;                        ///< that all share
  bool is_trusted_fabric = false;            ///< … and need not encrypt with
  std::optional<security::LinkSelf> link{};  ///< set: instead, everybody has a key of its own
  std::vector<fabric::TcpPeer> members;      ///< ascending by number; addresses of tcp only
  replication::Addresses addresses;          ///< the same as text
  std::string shared_directory;              ///< set: they meet there instead; with keys, too
  /// Of a cluster's group: other nodes, and which map says all this; 0: none does.
  replication::Addresses others{};
  std::uint64_t map_version = 0;
  replication::Capability shown{};  ///< what this client has there
  [[nodiscard]] const fabric::TcpPeer* find(std::uint32_t member) const;
};

/// Errors: invalid_argument (an address, a member twice, a key that is none, witnesses that are no
/// members or all of them), not_found, io_error.
[[nodiscard]] Result<GroupPlan> plan(const ReplicatedGroup& group);

/// An endpoint of either kind.
struct Joined {
  std::unique_ptr<fabric::Endpoint> endpoint;
  fabric::TcpEndpoint* tcp = nullptr;      ///< the same, or within it; null: in shared memory alone
  fabric::JoinedEndpoint* both = nullptr;  ///< the same, where it has shared memory, too
};
/// How a cluster's node is spoken to: "shm", "tcp", "clear" (tcp, through a trusted fabric); empty:
/// it is not connected.
[[nodiscard]] const char* link_of(const fabric::TcpEndpoint& tcp,
                                  const fabric::JoinedEndpoint* both, fabric::NodeId node);
/// Joins the group's fabric as `self`; a member listens at its own address. Errors: those of
/// fabric::open_shm() and TcpEndpoint::make().
[[nodiscard]] Result<Joined> connect(const GroupPlan& plan, const fabric::NodeName& self,
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

/// The key in a file. Errors: not_found, invalid_argument (none is in it), io_error.
[[nodiscard]] Result<fabric::Secret> read_key_file(const std::string& path);
/// The replicas that the group begins with. Requires: plan() took the group that has these
/// witnesses.
[[nodiscard]] log::Configuration first_members(const GroupPlan& plan,
                                               std::vector<std::uint32_t> witnesses);
/// Where `text` says: "192.0.2.7:7400" or "[2001:db8::7]:7400". Errors: invalid_argument.
[[nodiscard]] Result<sys::NetworkAddress> address(const std::string& text);
/// Those whose address is one, but `self`.
[[nodiscard]] std::vector<fabric::TcpPeer> peers_at(const replication::Addresses& addresses,
                                                    fabric::NodeId self);

[[nodiscard]] inline std::uint32_t member_of(log::ReplicaId id) {
  return static_cast<std::uint32_t>(replication::node_of(id));
}

}  // namespace dolmen::node
