// SPDX-License-Identifier: Apache-2.0
#include "store/checkpoint_merge.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "base/hooks.hpp"

namespace dolmen::store {
namespace {

constexpr std::uint32_t kNoPage = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t kMaxId = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kLargeErasePages = 1024;

bool is_zero(base::Bytes bytes) noexcept {
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    if (base::load<std::uint64_t>(bytes, at) != 0) return false;
  }
  return true;
}

}  // namespace

CheckpointMerge::CheckpointMerge(const CheckpointRequest& request,
                                 const std::vector<TreeChange>& changes, const ObjectId& space,
                                 PageReader& reader, BlockWriter& writer)
    : request_(request),
      changes_(changes),
      space_(space),
      reader_(reader),
      writer_(writer),
      builder_(writer, space) {}

Result<TreeRoot> CheckpointMerge::run(const TreeRoot& former) {
  if (changes_.empty()) return former;
  if (!former.empty()) {
    DOLMEN_TRY(const RootNode root, root_node(former));
    DOLMEN_CHECK(merge_root(root));
  }
  DOLMEN_CHECK(advance({{kMaxId, kMaxId}, kNoPage}));
  DOLMEN_TRY(const std::optional<RootNode> top, builder_.finish());

  const std::uint64_t units = former.live_blocks + writer_.fresh_units();
  const std::uint64_t objects = former.object_count + objects_added_;
  if (given_up_units_ > units || objects_removed_ > objects) {
    return fail(Errc::corrupt, "the root of the pages file counts less than its tree holds");
  }
  if (!top) return TreeRoot{};
  const BlockLoc loc(top->entry.loc.unit(), kNodeSizeLog2, top->level);
  return TreeRoot{loc.packed(), top->entry.checksum, objects - objects_removed_,
                  units - given_up_units_};
}

Result<void> CheckpointMerge::merge_root(RootNode root) {
  // A root with one child, left behind when everything beside that child went.
  while (root.level > 0) {
    const auto frame = std::make_unique<NodeFrame>();
    DOLMEN_CHECK(reader_.read_node(root.entry, root.level, false, nullptr, *frame));
    const NodeView view(*frame);
    if (view.count() != 1) break;
    DOLMEN_PROBE("store.root_shrink");
    give_up(root.entry.loc);
    root = {view.entry(0), root.level - 1};
  }
  return merge_node(root.entry, root.level, true, nullptr);
}

Result<void> CheckpointMerge::merge_node(const TreeEntry& where, unsigned level, bool is_root,
                                         const PageKey* next) {
  if (!is_root) {
    DOLMEN_CHECK(advance(where.key));
    if (!touches(where.key, next)) {
      DOLMEN_TRY(const bool taken, builder_.add_subtree(where, level));
      if (taken) return {};
    }
  }
  const auto frame = std::make_unique<NodeFrame>();
  DOLMEN_CHECK(reader_.read_node(where, level, !is_root, next, *frame));
  give_up(where.loc);
  DOLMEN_CHECK(writer_.poll());
  const NodeView view(*frame);
  for (std::size_t i = 0; i < view.count(); ++i) {
    if (level == 0) {
      DOLMEN_CHECK(merge_entry(view.entry(i)));
    } else {
      const bool last = i + 1 == view.count();
      const PageKey following = last ? PageKey{} : view.key(i + 1);
      DOLMEN_CHECK(merge_node(view.entry(i), level - 1, false, last ? next : &following));
    }
  }
  return {};
}

// Requires: advance(from), so that no change before `from` is left.
bool CheckpointMerge::touches(const PageKey& from, const PageKey* next) const noexcept {
  const bool change =
      next_change_ < changes_.size() && (next == nullptr || changes_[next_change_].key < *next);
  const PageKey drop_end{drop_.object, kNoPage};
  const bool drop =
      !drop_.object.is_null() && from <= drop_end && (next == nullptr || drop_ < *next);
  return change || drop;
}

Result<void> CheckpointMerge::merge_entry(const TreeEntry& former) {
  DOLMEN_CHECK(advance(former.key));
  if (former.key.page == 0) {
    object_ = former.key.object;
    object_pages_ = pages_of(former.loc.tag());
  }
  if (next_change_ < changes_.size() && changes_[next_change_].key == former.key) {
    return apply(changes_[next_change_++], &former);
  }
  if (!dropped(former.key)) return builder_.add(former);
  give_up(former.loc);
  return {};
}

Result<void> CheckpointMerge::advance(const PageKey& to) {
  while (next_change_ < changes_.size() && changes_[next_change_].key < to) {
    DOLMEN_CHECK(apply(changes_[next_change_++], nullptr));
  }
  return {};
}

Result<void> CheckpointMerge::apply(const TreeChange& change, const TreeEntry* former) {
  const PageKey& key = change.key;
  if (change.erase) {
    drop_ = {key.object, 0};
    if (former == nullptr) return {};
    ++objects_removed_;
    give_up(former->loc);
    if (pages_of(former->loc.tag()) >= kLargeErasePages) DOLMEN_PROBE("store.large_object_erased");
    return {};
  }
  if (key.page == 0) return apply_first_page(change, former);
  const bool beyond = key.object == object_ && key.page >= object_pages_;
  if (!beyond) return write_page(key, 3, 0, former);
  if (former != nullptr) give_up(former->loc);
  return {};
}

Result<void> CheckpointMerge::apply_first_page(const TreeChange& change, const TreeEntry* former) {
  const unsigned before = former == nullptr ? 0 : former->loc.tag();
  const unsigned after = change.capacity_log2 != 0 ? change.capacity_log2 : before;
  if (after == 0) {
    return fail(Errc::invalid_argument, "a checkpoint names a page of an unknown object");
  }
  object_ = change.key.object;
  object_pages_ = pages_of(after);
  if (former == nullptr) {
    ++objects_added_;
  } else if (after < before) {
    drop_ = {object_, object_pages_};
  }
  // Also after a mere resize: a first page that was cut off and grew again is zero beyond the cut.
  return write_page(change.key, page_size_log2(after), after, former);
}

Result<void> CheckpointMerge::write_page(const PageKey& key, unsigned size_log2, unsigned tag,
                                         const TreeEntry* former) {
  // The source may touch the arena, whose fault handler reads pages through this store: no lock of
  // the store is held here.
  const base::MutableBytes room = base::MutableBytes(page_).first(kUnitBytes << size_log2);
  base::Bytes page = room;
  const auto lent = request_.source->lend_page(key, request_.as_of);
  if (lent && lent->size() == room.size()) {
    page = *lent;
  } else {
    DOLMEN_CHECK(request_.source->read_page_as_of(key, request_.as_of, room));
  }
  if (former != nullptr) give_up(former->loc);
  // An object exists by its page 0: that one is kept even if it holds nothing.
  if (key.page > 0 && is_zero(page)) {
    if (former != nullptr) DOLMEN_PROBE("store.page_became_sparse");
    return {};
  }
  TreeEntry entry{key, {}, base::checksum64(page, page_seed(space_, key))};
  DOLMEN_TRY(entry.loc, writer_.put(size_log2, tag, page));
  ++pages_written_;
  return builder_.add(entry);
}

void CheckpointMerge::give_up(BlockLoc loc) {
  given_up_units_ += loc.units();
  append_run(given_up_, loc);
}

}  // namespace dolmen::store
