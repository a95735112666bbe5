// SPDX-License-Identifier: Apache-2.0
//
// The log of a small table, which the golden files hold and the fuzzers begin with.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "cluster/hash_index.hpp"
#include "cluster/index_table.hpp"

namespace dolmen::cluster {

inline TableSizes golden_sizes(IndexKind kind) {
  return {.kind = kind,
          .buckets = 6,
          .depth_max = 4,
          .heap_bytes = kind == IndexKind::homes ? 0u : 4096u};
}

/// It grows, shrinks again in part, and some of what was retired is released.
inline std::vector<IndexCommand> golden_commands(IndexKind kind) {
  const Table table(golden_sizes(kind));
  std::vector<IndexCommand> commands;
  for (std::uint64_t key = 0; key < 16; ++key) commands.push_back(table.put_command(key, key));
  for (std::uint64_t key = 6; key < 16; ++key) commands.push_back(table.erase_command(key));
  commands.push_back(table.put_command(4, 400));
  commands.push_back(IndexCommand::release(24));
  commands.push_back(IndexCommand::restamp(5));
  commands.push_back(table.erase_command(3));
  return commands;
}

/// Each with its length in front.
inline std::vector<std::byte> golden_log(IndexKind kind) {
  base::ByteWriter out;
  for (const IndexCommand& command : golden_commands(kind)) {
    const auto bytes = encode_index_command(command, kind);
    out.put(static_cast<std::uint16_t>(bytes.size()));
    out.put_bytes(bytes);
  }
  return out.release();
}

}  // namespace dolmen::cluster
