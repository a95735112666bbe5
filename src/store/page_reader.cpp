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
/// Of neighbours that are read together: what stays in the first cache until it is copied.
constexpr std::size_t kRunBytes = std::size_t{32} << 10;

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

template <class Leaf>
Result<std::optional<TreeEntry>> PageReader::descend(const TreeRoot& root, const PageKey& key,
                                                     Leaf&& leaf) {
  if (root.empty()) return std::optional<TreeEntry>{};
  DOLMEN_TRY(const RootNode top, root_node(root));
  TreeEntry at = top.entry;
  std::optional<PageKey> end;
  for (unsigned level = top.level;; --level) {
    std::optional<TreeEntry> found;
    unsigned level_seen = 0;
    const auto search = [&](const NodeView& view) {
      level_seen = view.level();
      const std::size_t below = view.count_up_to(key);
      if (below == 0) return;
      found = view.entry(below - 1);
      if (level == 0) return leaf(view, below - 1, end);
      if (below == view.count()) return;
      const PageKey next = view.key(below);
      if (!end || next < *end) end = next;
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

Result<std::optional<TreeEntry>> PageReader::floor(const TreeRoot& root, const PageKey& key) {
  return descend(root, key, [](const NodeView&, std::size_t, const std::optional<PageKey>&) {});
}

Result<void> PageReader::find_all(const TreeRoot& root, const ObjectId& object,
                                  std::span<const std::uint32_t> pages,
                                  std::span<std::optional<TreeEntry>> found) {
  DOLMEN_ASSERT_CMP(found.size(), ==, pages.size());
  for (std::size_t next = 0; next < pages.size();) {
    const std::size_t first = next;
    const auto look = [&](const NodeView& view, std::size_t at, const std::optional<PageKey>& end) {
      // Whether the first one is here, this leaf says; of others only those up to its last key.
      const PageKey last = view.key(view.count() - 1);
      for (next = first; next < pages.size(); ++next) {
        const PageKey key{object, pages[next]};
        if (next > first && (key > last || (end && key >= *end))) return;
        if (at + 1 < view.count()) {
          const PageKey after = view.key(at + 1);
          if (after == key) ++at;
          if (after < key) at = view.count_up_to(key) - 1;
        }
        found[next].reset();
        const TreeEntry entry = view.entry(at);
        if (entry.key == key) found[next] = entry;
      }
    };
    DOLMEN_TRY(const auto floor, descend(root, {object, pages[first]}, look));
    if (!floor) found[next++].reset();  // before everything that there is
  }
  return {};
}

Result<std::vector<std::uint32_t>> PageReader::pages_of(const TreeRoot& root,
                                                        const ObjectId& object) {
  std::vector<std::uint32_t> pages;
  for (std::optional<PageKey> next = PageKey{object, 0}; next && next->object == object;) {
    const std::size_t known = pages.size();
    std::optional<PageKey> behind;
    const auto take = [&](const NodeView& view, std::size_t at, const std::optional<PageKey>& end) {
      pages.resize(known);
      behind = end;
      for (; at < view.count(); ++at) {
        const PageKey key = view.key(at);
        if (key < *next) continue;
        if (key.object != object || (end && key >= *end)) break;
        pages.push_back(key.page);
      }
    };
    DOLMEN_TRY(const auto floor, descend(root, *next, take));
    next = floor ? behind : std::nullopt;
  }
  return pages;
}

Result<std::optional<TreeEntry>> PageReader::find(const TreeRoot& root, const PageKey& key) {
  DOLMEN_TRY(std::optional<TreeEntry> found, floor(root, key));
  if (found && found->key != key) found.reset();
  return found;
}

bool PageReader::is_right(const TreeEntry& entry, base::Bytes page) const noexcept {
  return DOLMEN_PLANTED("store.page_checksum_unchecked") ||
         base::checksum64(page, page_seed(space_, entry.key)) == entry.checksum;
}

Result<void> PageReader::read_page(const TreeEntry& entry, base::MutableBytes out) {
  DOLMEN_ASSERT_CMP(out.size(), ==, entry.loc.bytes());
  const Result<void> read = read_block(entry, out);
  if (read && is_right(entry, out)) return {};
  std::ranges::fill(out, std::byte{0});
  if (!read) return read;
  const std::string text = describe(entry.key) + ": " + describe(entry.loc);
  return fail(Errc::corrupt, interned(text), entry.loc.unit());
}

Result<void> PageReader::read_as(const TreeEntry& entry, base::MutableBytes out) {
  const std::size_t stored = entry.loc.bytes();
  if (stored <= out.size()) {
    std::ranges::fill(out.subspan(stored), std::byte{0});
    return read_page(entry, out.first(stored));
  }
  // The object shrank since: only a whole page can be verified.
  const auto whole = std::make_unique<NodeFrame>();
  const base::MutableBytes page = base::MutableBytes(*whole).first(stored);
  const Result<void> read = read_page(entry, page);
  std::ranges::copy(page.first(out.size()), out.begin());
  return read;
}

Result<void> PageReader::read_all(std::span<const std::optional<TreeEntry>> entries,
                                  std::size_t page_bytes, std::size_t stride,
                                  base::MutableBytes out) {
  const auto place = [&](std::size_t i) { return out.subspan(i * stride, page_bytes); };
  std::unique_ptr<std::byte[]> memory;
  for (std::size_t i = 0; i < entries.size();) {
    if (!entries[i]) {
      std::ranges::fill(place(i++), std::byte{0});
      continue;
    }
    const std::uint64_t offset = entries[i]->loc.offset();
    std::size_t end = i;
    for (; end < entries.size() && (end - i + 1) * page_bytes <= kRunBytes; ++end) {
      const std::optional<TreeEntry>& one = entries[end];
      if (!one || one->loc.bytes() != page_bytes) break;
      if (one->loc.offset() != offset + (end - i) * page_bytes) break;
    }
    bool is_read = false;
    base::MutableBytes run;
    if (end - i > 1) {
      if (!memory) memory = std::make_unique_for_overwrite<std::byte[]>(kRunBytes);
      run = base::MutableBytes(memory.get(), (end - i) * page_bytes);
      const auto count = file_ != nullptr ? file_->read(offset, run) : Result<std::size_t>(0);
      is_read = count && *count == run.size();
    }
    // What is wrong with one is said by reading it alone.
    end = std::max(end, i + 1);
    for (const std::size_t first = i; i < end; ++i) {
      const base::Bytes page =
          is_read ? base::Bytes(run).subspan((i - first) * page_bytes, page_bytes) : base::Bytes();
      if (is_read && is_right(*entries[i], page)) {
        base::copy_bytes(page, place(i));
      } else {
        DOLMEN_CHECK(read_as(*entries[i], place(i)));
      }
    }
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
