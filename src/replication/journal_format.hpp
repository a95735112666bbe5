// SPDX-License-Identifier: Apache-2.0
//
// The bytes that a journal keeps of a node's replicas: records, several in a batch, and whole
// replicas as of a checkpoint (docs/formats/journal.md). Pure functions over bytes that a checksum
// of the store already covers; what they accept is still checked field by field.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "log/replica.hpp"

namespace dolmen::replication {

/// A replica group, for ever. Not null.
using GroupId = ObjectId;

inline constexpr std::uint16_t kJournalVersion = 2;

/// One group's replica on this node.
struct Hosted {
  log::ReplicaId self{};
  log::Configuration first{};  ///< of the group, before its log says another
  log::DurableState state{};
};

/// A record of the journal: this node's replica of a group is new, made these records, or is gone.
struct Batch {
  GroupId group;
  bool is_removed = false;     ///< the rest is empty then
  log::ReplicaId self{};       ///< set: the replica is new, with the next
  log::Configuration first{};  ///< … and there are no records
  std::vector<log::Record> records{};
};

[[nodiscard]] std::vector<std::byte> encode_new_replica(const GroupId& group, log::ReplicaId self,
                                                        const log::Configuration& first);
[[nodiscard]] std::vector<std::byte> encode_removed_replica(const GroupId& group);
[[nodiscard]] std::vector<std::byte> encode_records(const GroupId& group,
                                                    const std::vector<log::Record>& records);
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<Batch> decode_batch(base::Bytes bytes);

/// Everything of a replica but its snapshot, which is kept beside it.
[[nodiscard]] std::vector<std::byte> encode_hosted(const Hosted& hosted);
/// Requires: `snapshot` is what was kept beside it. Errors: corrupt, version_unsupported.
[[nodiscard]] Result<Hosted> decode_hosted(base::Bytes bytes, log::SnapshotPtr snapshot);

/// Whose replicas a checkpoint keeps, by their numbers; null: nobody's. The last one is somebody's.
[[nodiscard]] std::vector<std::byte> encode_catalog(const std::vector<GroupId>& groups);
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<std::vector<GroupId>> decode_catalog(base::Bytes bytes);

/// Applies a record to the state before it. Errors: corrupt (nothing that a replica makes there).
[[nodiscard]] Result<void> apply(log::DurableState& state, const log::Record& record);

}  // namespace dolmen::replication
