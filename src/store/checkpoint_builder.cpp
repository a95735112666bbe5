// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_builder.hpp"

#include <span>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"

namespace dolmen::store {
namespace {

// Room that is kept when two nodes' worth is gathered: a split repeats an id, and it is not exact.
constexpr std::size_t kSplitSlackBytes = 128;

std::size_t content_bytes(const TreeEntry* former, const TreeEntry& entry) noexcept {
  const bool new_id = former == nullptr || former->key.object != entry.key.object;
  return node_content_bytes(1, new_id ? 1 : 0);
}

// How many entries from the front take at most `bytes_max`, and the bytes they take.
struct Prefix {
  std::size_t count = 0;
  std::size_t bytes = 0;
};
Prefix prefix_within(std::span<const TreeEntry> entries, std::size_t bytes_max) noexcept {
  Prefix prefix;
  for (; prefix.count < entries.size(); ++prefix.count) {
    const TreeEntry* const former = prefix.count == 0 ? nullptr : &entries[prefix.count - 1];
    const std::size_t more = content_bytes(former, entries[prefix.count]);
    if (prefix.bytes + more > bytes_max) break;
    prefix.bytes += more;
  }
  return prefix;
}

}  // namespace

TreeBuilder::TreeBuilder(BlockWriter& writer, const ObjectId& space)
    : writer_(writer), space_(space), content_bytes_max_(kNodeBytes - kNodeHeaderBytes) {
  if (DOLMEN_BUGGIFY("store.tree_nodes_small")) content_bytes_max_ = 6 * kSplitSlackBytes;
}

Result<void> TreeBuilder::add(const TreeEntry& entry) { return push(0, entry); }

Result<void> TreeBuilder::push(unsigned level, const TreeEntry& entry) {
  if (level > kMaxTreeLevel) return fail(Errc::limit, "the page tree has too many levels");
  if (levels_.size() <= level) levels_.resize(level + 1);
  Level& at = levels_[level];
  const TreeEntry* const former = at.entries.empty() ? nullptr : &at.entries.back();
  DOLMEN_ASSERT(former == nullptr || former->key < entry.key);
  at.bytes += content_bytes(former, entry);
  at.entries.push_back(entry);
  if (at.bytes <= 2 * content_bytes_max_ - kSplitSlackBytes) return {};
  return emit(level, prefix_within(at.entries, content_bytes_max_).count);
}

Result<void> TreeBuilder::emit(unsigned level, std::size_t count) {
  TreeEntry node;
  {
    Level& at = levels_[level];
    DOLMEN_ASSERT(count > 0 && count <= at.entries.size());
    NodeFrame frame;
    encode_node(std::span(at.entries).first(count), level, frame);
    node.key = at.entries.front().key;
    node.checksum = base::checksum64(frame, node_seed(space_, level));
    DOLMEN_TRY(node.loc, writer_.put(kNodeSizeLog2, 0, frame));
    at.entries.erase(at.entries.begin(), at.entries.begin() + static_cast<std::ptrdiff_t>(count));
    at.bytes = prefix_within(at.entries, ~std::size_t{0}).bytes;
  }
  return push(level + 1, node);
}

Result<void> TreeBuilder::flush(unsigned level) {
  Level& at = levels_[level];
  if (at.entries.empty()) return {};
  if (at.bytes > content_bytes_max_) {
    DOLMEN_PROBE("store.node_split");
    Prefix left = prefix_within(at.entries, content_bytes_max_);
    if (at.bytes - left.bytes < content_bytes_max_ / 2) {
      left = prefix_within(at.entries, at.bytes / 2);
    }
    DOLMEN_CHECK(emit(level, left.count));
  }
  return emit(level, levels_[level].entries.size());
}

Result<bool> TreeBuilder::add_subtree(const TreeEntry& child, unsigned level) {
  for (unsigned below = 0; below <= level && below < levels_.size(); ++below) {
    const Level& at = levels_[below];
    if (!at.entries.empty() && at.bytes < content_bytes_max_ * 2 / 5) {
      DOLMEN_PROBE("store.node_merge");
      if (DOLMEN_PLANTED("store.node_merge_drops_entry")) levels_[below].entries.pop_back();
      return false;
    }
    DOLMEN_CHECK(flush(below));
  }
  DOLMEN_CHECK(push(level + 1, child));
  return true;
}

Result<std::optional<RootNode>> TreeBuilder::finish() {
  for (unsigned level = 0; level < levels_.size(); ++level) {
    const bool top = level + 1 == levels_.size();
    const std::vector<TreeEntry>& entries = levels_[level].entries;
    if (top && level > 0 && entries.size() == 1) {
      return std::optional(RootNode{entries.front(), level - 1});
    }
    DOLMEN_CHECK(flush(level));
  }
  return std::optional<RootNode>{};
}

}  // namespace dolmen::store
