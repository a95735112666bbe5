// SPDX-License-Identifier: Apache-2.0
//
// What stands for the first part of a log, so that its entries can be forgotten: the state that the
// group's state machine has after them, and who was a member then. As bytes it is what a disk keeps
// and what a replica that is far behind is sent (docs/formats/log-snapshot.md).
//
// Immutable once made; safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "log/message.hpp"

namespace dolmen::log {

inline constexpr std::uint32_t kSnapshotVersion = 1;
/// "DLSN": the first bytes of a snapshot, and what its checksum is seeded with.
inline constexpr std::uint32_t kSnapshotMagic = 0x4E534C44;
inline constexpr std::uint64_t kSnapshotSeed = kSnapshotMagic;
/// Most bytes of a snapshot, its state included: what one record of a journal can hold.
inline constexpr std::uint64_t kSnapshotBytesMax = (std::uint64_t{1} << 30) - (64u << 10);

/// Where a snapshot ends and who counts there.
struct SnapshotPlace {
  Position last;            ///< it stands for the entries up to this one, which is decided
  Index configured_at = 0;  ///< of the entry that made `configuration`; 0: the group's first one
  Index settled_at = 0;     ///< of the entry that proves it decided; 0: there is none up to `last`
  Configuration configuration;
};

class Snapshot {
 public:
  /// Errors: too_large.
  [[nodiscard]] static Result<std::shared_ptr<const Snapshot>> make(const SnapshotPlace& place,
                                                                    base::Bytes state);
  /// Errors: corrupt, version_unsupported.
  [[nodiscard]] static Result<std::shared_ptr<const Snapshot>> decode(std::vector<std::byte> bytes);

  [[nodiscard]] const SnapshotPlace& place() const noexcept { return place_; }
  [[nodiscard]] Position last() const noexcept { return place_.last; }
  [[nodiscard]] base::Bytes state() const noexcept {
    return base::Bytes(bytes_).subspan(state_offset_, state_bytes_);
  }
  [[nodiscard]] base::Bytes bytes() const noexcept { return bytes_; }

 private:
  Snapshot() = default;
  SnapshotPlace place_;
  std::size_t state_offset_ = 0;
  std::size_t state_bytes_ = 0;
  std::vector<std::byte> bytes_;
};

using SnapshotPtr = std::shared_ptr<const Snapshot>;

}  // namespace dolmen::log
