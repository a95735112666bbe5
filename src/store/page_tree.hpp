// SPDX-License-Identifier: Apache-2.0
//
// The root of the page tree: the 32 bytes of a root slot that name one checkpoint's pages.
// Everything else about the checkpoint is reached from here, each block verified by the checksum
// beside its location. docs/formats/pages.md has the bytes. Values; safe from any thread.
#pragma once

#include <cstdint>
#include <type_traits>

namespace dolmen::store {

/// Stored as it is (little endian). All zero: an empty tree.
struct TreeRoot {
  std::uint64_t loc = 0;           ///< where the root node lies, and its level
  std::uint64_t checksum = 0;      ///< of the root node
  std::uint64_t object_count = 0;  ///< objects in the tree
  std::uint64_t live_blocks = 0;   ///< 512-byte units that the tree reaches, nodes included

  [[nodiscard]] constexpr bool empty() const noexcept { return loc == 0; }
  friend constexpr bool operator==(const TreeRoot&, const TreeRoot&) = default;
};
static_assert(sizeof(TreeRoot) == 32 && std::is_trivially_copyable_v<TreeRoot>,
              "stored in the root slot byte by byte");

}  // namespace dolmen::store
