// SPDX-License-Identifier: Apache-2.0
#include "store/page_reader.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/copy.hpp"
#include "base/hooks.hpp"

namespace dolmen::store {
namespace {

std::unexpected<Error> corrupt_node(const TreeEntry& where, const char* defect) {
  const std::string text =
      describe(where.loc) + " (tree node from " + describe(where.key) + "): " + defect;
  return fail(Errc::corrupt, interned(text), where.loc.unit());
}

constexpr const char* kBadChecksum = "the checksum does not match";

}  // namespace

std::string describe(BlockLoc loc) { return "pages file, block " + std::to_string(loc.unit()); }

std::string describe(const PageKey& key) {
  return "object " + key.object.to_string() + ", page " + std::to_string(key.page);
}

Result<RootNode> root_node(const TreeRoot& root) {
  const BlockLoc packed(root.loc);
  if (!packed.well_formed() || packed.size_log2() != kNodeSizeLog2 ||
      packed.tag() > kMaxTreeLevel) {
    return fail(Errc::corrupt, "the root of the pages file names no node", root.loc);
  }
  return RootNode{{{}, BlockLoc(packed.unit(), kNodeSizeLog2, 0), root.checksum}, packed.tag()};
}

Result<void> PageReader::read_block(const TreeEntry& where, base::MutableBytes out) {
  if (file_ == nullptr) return fail(Errc::corrupt, "the pages file is missing");
  DOLMEN_TRY(const std::size_t count, file_->read(where.loc.offset(), out));
  if (count != out.size()) {
    const std::string text =
        describe(where.loc) + " (" + describe(where.key) + ") lies beyond the end of the file";
    return fail(Errc::corrupt, interned(text), where.loc.unit());
  }
  return {};
}

Result<void> PageReader::fetch_node(const TreeEntry& where, unsigned level, NodeFrame& frame) {
  DOLMEN_CHECK(read_block(where, frame));
  if (base::checksum64(frame, node_seed(space_, level)) != where.checksum) {
    return corrupt_node(where, kBadChecksum);
  }
  if (const char* defect = node_defect(frame, level)) return corrupt_node(where, defect);
  return {};
}

Result<std::optional<TreeEntry>> PageReader::floor(const TreeRoot& root, const PageKey& key) {
  if (root.empty()) return std::optional<TreeEntry>{};
  DOLMEN_TRY(const RootNode top, root_node(root));
  TreeEntry at = top.entry;
  for (unsigned level = top.level;; --level) {
    std::optional<TreeEntry> found;
    unsigned level_seen = 0;
    const auto search = [&](const NodeView& view) {
      level_seen = view.level();
      const std::size_t below = view.count_up_to(key);
      if (below > 0) found = view.entry(below - 1);
    };
    if (!cache_.visit(at.loc.unit(), at.checksum, search)) {
      auto frame = std::make_unique<NodeFrame>();
      DOLMEN_CHECK(fetch_node(at, level, *frame));
      search(NodeView(*frame));
      cache_.insert(at.loc.unit(), at.checksum, std::move(frame));
    }
    if (level_seen != level) return corrupt_node(at, "a node is used at two levels");
    if (level == top.level && !found) return std::optional<TreeEntry>{};
    // The parent's key is the child's first, and it is not above `key`.
    if (!found || found->key < at.key) return corrupt_node(at, "the first key is not the parent's");
    if (level == 0) return found;
    at = *found;
  }
}

Result<std::optional<TreeEntry>> PageReader::find(const TreeRoot& root, const PageKey& key) {
  DOLMEN_TRY(std::optional<TreeEntry> found, floor(root, key));
  if (found && found->key != key) found.reset();
  return found;
}

Result<void> PageReader::read_page(const TreeEntry& entry, base::MutableBytes out) {
  DOLMEN_ASSERT_CMP(out.size(), ==, entry.loc.bytes());
  const Result<void> read = read_block(entry, out);
  if (!read) {
    std::ranges::fill(out, std::byte{0});
    return read;
  }
  if (DOLMEN_PLANTED("store.page_checksum_unchecked")) return {};
  if (base::checksum64(out, page_seed(space_, entry.key)) != entry.checksum) {
    std::ranges::fill(out, std::byte{0});
    const std::string text = describe(entry.key) + ": " + describe(entry.loc);
    return fail(Errc::corrupt, interned(text), entry.loc.unit());
  }
  return {};
}

Result<void> PageReader::read_node(const TreeEntry& where, unsigned level, bool first_known,
                                   const PageKey* next, NodeFrame& frame, NodeSource source) {
  const auto copy = [&](const NodeView& view) { base::copy_bytes(view.bytes(), frame); };
  const bool cached =
      source == NodeSource::cache && cache_.visit(where.loc.unit(), where.checksum, copy);
  if (!cached) DOLMEN_CHECK(fetch_node(where, level, frame));
  const NodeView view(frame);
  if (view.level() != level) return corrupt_node(where, "a node is used at two levels");
  if (first_known && view.key(0) != where.key) {
    return corrupt_node(where, "the first key is not the parent's");
  }
  if (next != nullptr && view.key(view.count() - 1) >= *next) {
    return corrupt_node(where, "the last key belongs to the next node");
  }
  return {};
}

Result<void> PageReader::walk(const TreeRoot& root, TreeVisitor& visitor, NodeSource source) {
  if (root.empty()) return {};
  DOLMEN_TRY(const RootNode top, root_node(root));
  DOLMEN_CHECK(walk_node(top.entry, top.level, false, nullptr, visitor, source));
  return {};
}

Result<bool> PageReader::walk_node(const TreeEntry& where, unsigned level, bool first_known,
                                   const PageKey* next, TreeVisitor& visitor, NodeSource source) {
  const auto frame = std::make_unique<NodeFrame>();
  if (const Result<void> read = read_node(where, level, first_known, next, *frame, source); !read) {
    DOLMEN_CHECK(visitor.damaged(where, level, read.error()));
    return true;
  }
  const NodeView view(*frame);
  DOLMEN_TRY(bool go_on, visitor.node(where, view));
  for (std::size_t i = 0; go_on && level > 0 && i < view.count(); ++i) {
    const bool last = i + 1 == view.count();
    const PageKey following = last ? PageKey{} : view.key(i + 1);
    const PageKey* const upper = last ? next : &following;
    const TreeEntry child = view.entry(i);
    if (!visitor.enter(child, level - 1, upper)) continue;
    DOLMEN_TRY(go_on, walk_node(child, level - 1, true, upper, visitor, source));
  }
  return go_on;
}

}  // namespace dolmen::store
