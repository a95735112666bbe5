// SPDX-License-Identifier: Apache-2.0
//
// Builds the tree of a checkpoint from left to right, out of single leaf entries and whole subtrees
// of the former tree. A node is written when it is full, so that bulk loads fill nodes to the end;
// where old and new meet, what is gathered is split evenly or joined with the old neighbour.
//
// Invariant: every node is at least 40 % full, except the root and the right-most node of each
// level.
//
// Not thread-safe.
#pragma once

#include <vector>

#include <dolmen/error.hpp>

#include "store/block_writer.hpp"
#include "store/page_reader.hpp"

namespace dolmen::store {

class TreeBuilder {
 public:
  TreeBuilder(BlockWriter& writer, const ObjectId& space);

  /// The next leaf entry. Requires: its key is above everything added.
  [[nodiscard]] Result<void> add(const TreeEntry& entry);
  /// Offers the former tree's node `child` with all below it. False: what was gathered before it
  /// needs a neighbour; the caller adds the node's children (or entries) one by one instead.
  [[nodiscard]] Result<bool> add_subtree(const TreeEntry& child, unsigned level);
  /// Writes what is gathered. An empty tree gives no node.
  [[nodiscard]] Result<std::optional<RootNode>> finish();

 private:
  // What belongs into the next nodes of one level.
  struct Level {
    std::vector<TreeEntry> entries;
    std::size_t bytes = 0;  // of their content
  };
  [[nodiscard]] Result<void> push(unsigned level, const TreeEntry& entry);
  [[nodiscard]] Result<void> flush(unsigned level);
  [[nodiscard]] Result<void> emit(unsigned level, std::size_t count);

  BlockWriter& writer_;
  ObjectId space_;
  std::size_t content_bytes_max_;  // of one node
  std::vector<Level> levels_;
};

}  // namespace dolmen::store
