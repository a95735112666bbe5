// SPDX-License-Identifier: Apache-2.0
//
// The memory of a witness without compute (docs/direct-path.md): an epoch word, and for each server
// two areas that it alone writes. An area holds one lane: a leader's log from its snapshot on. The
// bytes: docs/formats/lane.md.
//
// Values and pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "log/lane.hpp"
#include "log/snapshot.hpp"

namespace dolmen::log {

inline constexpr std::uint32_t kAreaVersion = 1;
/// "DLAR": the first bytes of an area that was written, and what their checksum is seeded with.
inline constexpr std::uint32_t kAreaMagic = 0x52414C44;
inline constexpr std::size_t kAreaHeaderBytes = 64;
/// Of each server, at each witness.
inline constexpr std::uint32_t kAreasOfServer = 2;

struct AreaHeader {
  ReplicaId owner{};  ///< the witness
  ReplicaId writer{};
  LaneName name{};
  std::uint64_t snapshot_bytes = 0;  ///< behind the header; 0: the lane begins with the log
  friend bool operator==(const AreaHeader&, const AreaHeader&) = default;
};

/// What an area holds.
struct AreaLog {
  AreaHeader header;
  SnapshotPtr snapshot{};        ///< null: none
  std::vector<Entry> entries{};  ///< that follow on it
  Index stable = 0;              ///< decided, as their leader knew
  [[nodiscard]] Position end() const noexcept {
    if (!entries.empty()) return entries.back().position();
    return snapshot ? snapshot->last() : Position{};
  }
};

/// Where the first entry of a lane with such a snapshot is: a multiple of 8.
[[nodiscard]] constexpr std::size_t area_base_bytes(std::size_t snapshot_bytes) noexcept {
  return kAreaHeaderBytes + (snapshot_bytes + 7) / 8 * 8;
}
/// Requires: area.size() >= kAreaHeaderBytes.
void encode_area_header(base::MutableBytes area, const AreaHeader& header);
/// Others may be writing there: it looks at a copy. Requires: the area begins at a multiple of 8.
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<AreaHeader> decode_area_header(base::Bytes area);
/// As far as it has landed; nothing where no lane is, or one whose snapshot is not complete. Cost:
/// it reads and copies all of it. Requires: the area begins at a multiple of 8.
[[nodiscard]] std::optional<AreaLog> read_area(base::Bytes area);

}  // namespace dolmen::log
