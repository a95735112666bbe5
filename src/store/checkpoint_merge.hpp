// SPDX-License-Identifier: Apache-2.0
//
// One checkpoint's changes applied to the former tree: both are read in key order, subtrees that no
// change touches are taken over as they are, everything else is written to fresh blocks. Nothing of
// the former tree is overwritten; what the new tree does not use any more is listed.
//
// Not thread-safe.
#pragma once

#include <vector>

#include <dolmen/error.hpp>

#include "store/checkpoint_builder.hpp"
#include "store/checkpoint_plan.hpp"

namespace dolmen::store {

class CheckpointMerge {
 public:
  /// `changes` as plan_checkpoint() gives them; all references outlive the merge.
  CheckpointMerge(const CheckpointRequest& request, const std::vector<TreeChange>& changes,
                  const ObjectId& space, PageReader& reader, BlockWriter& writer);

  /// The new tree's root; its blocks are with the writer, which is not flushed.
  /// Errors: corrupt, io_error, no_space, aborted, invalid_argument, the source's own.
  [[nodiscard]] Result<TreeRoot> run(const TreeRoot& former);
  /// Units that only the former tree uses.
  [[nodiscard]] std::vector<BlockRun>& given_up() noexcept { return given_up_; }
  [[nodiscard]] std::uint64_t pages_written() const noexcept { return pages_written_; }

 private:
  [[nodiscard]] Result<void> merge_root(RootNode root);
  [[nodiscard]] Result<void> merge_node(const TreeEntry& where, unsigned level, bool is_root,
                                        const PageKey* next);
  [[nodiscard]] Result<void> merge_entry(const TreeEntry& former);
  [[nodiscard]] bool touches(const PageKey& from, const PageKey* next) const noexcept;
  [[nodiscard]] Result<void> advance(const PageKey& to);
  [[nodiscard]] Result<void> apply(const TreeChange& change, const TreeEntry* former);
  [[nodiscard]] Result<void> apply_first_page(const TreeChange& change, const TreeEntry* former);
  [[nodiscard]] Result<void> write_page(const PageKey& key, unsigned size_log2, unsigned tag,
                                        const TreeEntry* former);
  [[nodiscard]] bool dropped(const PageKey& key) const noexcept {
    return key.object == drop_.object && key.page >= drop_.page;
  }
  void give_up(BlockLoc loc);

  const CheckpointRequest& request_;
  const std::vector<TreeChange>& changes_;
  ObjectId space_;
  PageReader& reader_;
  BlockWriter& writer_;
  TreeBuilder builder_;
  std::size_t next_change_ = 0;
  PageKey drop_;                    // keys of this object from this page on go; null object: none
  ObjectId object_;                 // the object whose page 0 was met last,
  std::uint32_t object_pages_ = 0;  // and how many pages it may have
  NodeFrame page_;                  // contents on their way from the source
  std::vector<BlockRun> given_up_;
  std::uint64_t given_up_units_ = 0;
  std::uint64_t objects_added_ = 0;
  std::uint64_t objects_removed_ = 0;
  std::uint64_t pages_written_ = 0;
};

}  // namespace dolmen::store
