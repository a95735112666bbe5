// SPDX-License-Identifier: Apache-2.0
//
// The frame of an index's snapshot (docs/formats/index.md): whose it is, its version, those pieces
// of the region that were ever used, and a checksum of all that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::cluster {

struct IndexSnapshotKind {
  std::uint32_t magic = 0;
  std::uint32_t version = 0;
};

[[nodiscard]] std::vector<std::byte> seal_index_snapshot(IndexSnapshotKind kind,
                                                         std::initializer_list<base::Bytes> pieces);

/// The pieces, one behind the other, within `snapshot`; what they say is not looked at. Errors:
/// corrupt; version_unsupported.
[[nodiscard]] Result<base::Bytes> open_index_snapshot(IndexSnapshotKind kind, base::Bytes snapshot);

}  // namespace dolmen::cluster
