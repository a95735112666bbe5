// SPDX-License-Identifier: Apache-2.0
//
// Reading below a TreeRoot: lookups through the node cache, whole nodes and pages, and walks in key
// order. Knows nothing of which root is the current one; the caller keeps the root's blocks from
// being reused while it reads.
//
// Every node and page is verified against the checksum in its parent, then for its place in the
// tree (level, first key, upper bound), so that even a forged file makes every walk end.
//
// Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <dolmen/error.hpp>

#include "store/node_cache.hpp"
#include "store/page_node.hpp"
#include "store/page_tree.hpp"
#include "sys/disk.hpp"

namespace dolmen::store {

/// The root as an entry whose key is below every key, and its level.
struct RootNode {
  TreeEntry entry;
  unsigned level = 0;
};
/// Requires: !root.empty(). Errors: corrupt.
[[nodiscard]] Result<RootNode> root_node(const TreeRoot& root);

/// "pages file, block 1234".
[[nodiscard]] std::string describe(BlockLoc loc);
/// "object …, page 7".
[[nodiscard]] std::string describe(const PageKey& key);

/// What a walk meets, in key order. Nothing is locked while it is called.
class TreeVisitor {
 public:
  virtual ~TreeVisitor() = default;
  /// Whether to read this child; `next` is the key that its keys stay below, if any.
  [[nodiscard]] virtual bool enter(const TreeEntry& /*child*/, unsigned /*level*/,
                                   const PageKey* /*next*/) {
    return true;
  }
  /// A verified node, before its children. False ends the walk.
  [[nodiscard]] virtual Result<bool> node(const TreeEntry& where, const NodeView& view) = 0;
  /// A child that cannot be read; what is returned becomes the walk's result if it is an error.
  [[nodiscard]] virtual Result<void> damaged(const TreeEntry& /*where*/, unsigned /*level*/,
                                             const Error& error) {
    return std::unexpected(error);
  }
};

/// Whether a walk may take nodes that are in memory, verified when they came from the disk.
enum class NodeSource : std::uint8_t { cache, disk };

class PageReader {
 public:
  /// `file` may be null when every root is empty; it outlives the reader.
  PageReader(sys::File* file, const ObjectId& space, std::size_t cache_bytes)
      : file_(file), space_(space), cache_(cache_bytes) {}

  /// The last entry whose key is not above `key`. Errors: corrupt, io_error.
  [[nodiscard]] Result<std::optional<TreeEntry>> floor(const TreeRoot& root, const PageKey& key);
  /// The entry of exactly this key.
  [[nodiscard]] Result<std::optional<TreeEntry>> find(const TreeRoot& root, const PageKey& key);
  /// The same for several pages of one object, which ascend: the tree is walked once for those that
  /// are in one leaf. Requires: found.size() == pages.size().
  [[nodiscard]] Result<void> find_all(const TreeRoot& root, const ObjectId& object,
                                      std::span<const std::uint32_t> pages,
                                      std::span<std::optional<TreeEntry>> found);
  /// All pages of the object, ascending.
  [[nodiscard]] Result<std::vector<std::uint32_t>> pages_of(const TreeRoot& root,
                                                            const ObjectId& object);
  /// The page's bytes, verified; out.size() == entry.loc.bytes(). On an error `out` is zeros.
  [[nodiscard]] Result<void> read_page(const TreeEntry& entry, base::MutableBytes out);
  /// The page's bytes up to out.size(), and zeros behind them; verified, and on an error zeros.
  [[nodiscard]] Result<void> read_as(const TreeEntry& entry, base::MutableBytes out);
  /// read_as() of each into `page_bytes` bytes, `stride` bytes apart; zeros for nothing. Neighbours
  /// in the file are read together.
  [[nodiscard]] Result<void> read_all(std::span<const std::optional<TreeEntry>> entries,
                                      std::size_t page_bytes, std::size_t stride,
                                      base::MutableBytes out);
  /// A whole node into `frame`, verified and in its place: keys from where.key (if `first_known`)
  /// up to below `*next`.
  [[nodiscard]] Result<void> read_node(const TreeEntry& where, unsigned level, bool first_known,
                                       const PageKey* next, NodeFrame& frame,
                                       NodeSource source = NodeSource::cache);
  [[nodiscard]] Result<void> walk(const TreeRoot& root, TreeVisitor& visitor,
                                  NodeSource source = NodeSource::cache);

 private:
  /// floor(). `leaf` is shown the leaf that has it: which entry of it, and what all keys of the
  /// leaf are below, if anything. What it is shown counts only if there is no error.
  template <class Leaf>
  [[nodiscard]] Result<std::optional<TreeEntry>> descend(const TreeRoot& root, const PageKey& key,
                                                         Leaf&& leaf);
  [[nodiscard]] bool is_right(const TreeEntry& entry, base::Bytes page) const noexcept;
  [[nodiscard]] Result<void> read_block(const TreeEntry& where, base::MutableBytes out);
  [[nodiscard]] Result<void> fetch_node(const TreeEntry& where, unsigned level, NodeFrame& frame);
  [[nodiscard]] Result<bool> walk_node(const TreeEntry& where, unsigned level, bool first_known,
                                       const PageKey* next, TreeVisitor& visitor,
                                       NodeSource source);

  sys::File* file_;
  ObjectId space_;
  NodeCache cache_;
};

}  // namespace dolmen::store
