// SPDX-License-Identifier: Apache-2.0
//
// A range: leaf after leaf. What makes it right: a leaf is used only where it speaks for the very
// key at which the last one ended.
#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "cluster/ordered_reader.hpp"

namespace dolmen::cluster {

OrderedScan::OrderedScan(const OrderedGeometry& geometry, std::uint32_t epoch, OrderedHints& hints,
                         const OrderedRange& range, std::size_t limit, std::size_t bytes,
                         ReadLevel level, const LedEpoch& led)
    : OrderedWalk(geometry, epoch, hints, level, led),
      range_(range),
      limit_(limit),
      bytes_(bytes),
      at_(range.from) {
  DOLMEN_ASSERT(!range.is_backward);
  page_.is_last = range_.to && *range_.to <= range_.from;
  if (page_.is_last || limit_ == 0) {
    end(LookupState::found);
  } else {
    begin();
  }
}

void OrderedScan::proceed() {
  while (state() == LookupState::reading) {
    if (leaves_.empty()) plan();
    if (leaves_.empty()) return;
    for (const TreeNodeNumber leaf : leaves_) static_cast<void>(copy_of(leaf));
    if (wants_any()) return;
    switch (use(leaves_.front())) {
      case Step::wait:
        return;
      case Step::next:
        break;
      case Step::over:
        return end(LookupState::found);
    }
  }
}

/// Which leaves to read next, by what is remembered of the node above them.
void OrderedScan::plan() {
  const TreeNode* node = descend(at_, 1);
  if (node == nullptr) return;
  if (node->level == 0) {
    parent_of_leaves_ = kNoNode;
    leaves_ = {here()};
    return leave();
  }
  const auto first = child_of(*node, at_);
  if (is_gone_) {
    is_gone_ = false;
    const TreeNodeNumber number = here();
    hints_->forget(number);
    return read_again(number);
  }
  if (!first) return;
  const std::size_t few = (limit_ - page_.entries.size()) / hints_->leaf_entries() + 1;
  const std::size_t end = std::min(node->cells.size(), *first + std::min(few, kLeavesMax));
  for (std::size_t i = *first; i < end; ++i) {
    const TreeCell& cell = node->cells[i];
    if (i > *first && range_.to) {
      const auto known = compare_keys(*range_.to, cell.key);
      if (known && *known != std::strong_ordering::greater) break;
    }
    leaves_.push_back(cell.child);
  }
  parent_of_leaves_ = here();
  leave();
}

/// That one instead of those that were to come.
OrderedScan::Step OrderedScan::go_to(TreeNodeNumber number) {
  hints_->forget(parent_of_leaves_);
  parent_of_leaves_ = kNoNode;
  leaves_.clear();
  if (number != kNoNode) leaves_.push_back(number);
  return Step::next;
}

OrderedScan::Step OrderedScan::use(TreeNodeNumber number) {
  const NodeCopy* copy = copy_of(number);
  if (copy->node() == nullptr) {
    is_inside_ = false;
    if (futile_ % 2 == 1) hints_->forget(parent_of_leaves_);
    read_again(number);
    return Step::wait;
  }
  const TreeNode& leaf = *copy->node();
  if (!is_inside_) {
    if (const auto step = enter(number, leaf)) return *step;
    is_inside_ = true;
  }
  for (std::size_t i = 0; i < leaf.cells.size(); ++i) {
    if (const auto step = use_cell(number, leaf, i)) return *step;
  }
  return leave_leaf(number, leaf);
}

/// Nothing: it speaks for what comes next.
std::optional<OrderedScan::Step> OrderedScan::enter(TreeNodeNumber number, const TreeNode& leaf) {
  // Where the tree is no more as the node above said: what the last leaf named, then from the root.
  const auto elsewhere = [&] {
    drop_copy(number);
    ++futile_;
    TreeNodeNumber other = std::exchange(link_, kNoNode);
    if (other == number) other = kNoNode;
    if (other == kNoNode) fence_.reset();
    return go_to(other);
  };
  if (leaf.state == TreeNodeState::forward) {
    const TreeNodeNumber heir = leaf.link;
    drop_copy(number);
    ++futile_;
    fence_.reset();
    return go_to(heir);
  }
  if (!leaf.is_live() || leaf.level != 0) return elsewhere();
  if (leaf.epoch != epoch_) {
    end(LookupState::wrong_epoch);
    return Step::wait;
  }
  if (DOLMEN_PLANTED("cluster.scan_chain_unchecked")) return std::nullopt;
  if (fence_) {
    if (leaf.low.is_same(fence_->key)) return std::nullopt;
    return elsewhere();
  }
  const auto low = order(at_, leaf.low);
  const auto high = leaf.has_high ? order(at_, leaf.high) : std::strong_ordering::less;
  if (is_gone_) {
    is_gone_ = false;
    read_again(number);
    return Step::wait;
  }
  if (!low || !high) return Step::wait;
  if (*low == std::strong_ordering::less) return elsewhere();
  if (*high != std::strong_ordering::less) {
    const TreeNodeNumber right = leaf.link;
    drop_copy(number);
    return go_to(right);
  }
  return std::nullopt;
}

/// Nothing: the next one.
std::optional<OrderedScan::Step> OrderedScan::use_cell(TreeNodeNumber number, const TreeNode& leaf,
                                                       std::size_t at) {
  const TreeCell& cell = leaf.cells[at];
  // Behind a fence all are new.
  auto is_new = fence_ ? std::strong_ordering::less : compare_keys(at_, cell.key);
  if (is_new == std::strong_ordering::greater) return std::nullopt;
  auto is_in = std::optional(std::strong_ordering::greater);
  if (range_.to) is_in = compare_keys(*range_.to, cell.key);
  OrderedEntry entry;
  if (!is_in || *is_in == std::strong_ordering::greater) {
    if (cell.is_record()) {
      const Record* record = record_at(cell.key);
      if (is_gone_) {
        is_gone_ = false;
        is_inside_ = false;
        read_again(number);
        return Step::wait;
      }
      if (record == nullptr) {
        want_records(number, at + 1);
        return Step::wait;
      }
      if (!is_new && record->key < at_) return std::nullopt;
      if (!is_in) is_in = *range_.to <=> record->key;
      entry = {.key = record->key, .value = record->value};
    } else {
      entry = {.key = {cell.key.front.begin(), cell.key.front.end()},
               .value = {cell.value.begin(), cell.value.end()}};
    }
  }
  if (*is_in != std::strong_ordering::greater) {
    page_.is_last = true;
    return Step::over;
  }
  used_ += entry.key.size() + entry.value.size();
  at_ = entry.key;
  at_.push_back(std::byte{0});
  fence_.reset();
  page_.entries.push_back(std::move(entry));
  has_got_on();
  if (page_.entries.size() < limit_ && used_ < bytes_) return std::nullopt;
  return Step::over;
}

/// Of those that come next, also in other leaves that are here: what is worth a round trip.
void OrderedScan::want_records(TreeNodeNumber number, std::size_t first) {
  std::size_t bytes = reads_.back().bytes;
  std::size_t entries = page_.entries.size() + 1;
  for (const TreeNodeNumber leaf : leaves_) {
    const TreeNode* node = copy_of(leaf)->node();
    if (node == nullptr || !node->is_live() || node->level != 0) return;
    for (std::size_t i = leaf == number ? first : 0; i < node->cells.size(); ++i) {
      const TreeCell& cell = node->cells[i];
      if (range_.to) {
        const auto known = compare_keys(*range_.to, cell.key);
        if (known && *known != std::strong_ordering::greater) return;
      }
      bytes += cell.is_record() ? cell.key.place.bytes : 0;
      if (entries++ >= limit_ || bytes > kScanRecordBytes || used_ + bytes > bytes_) return;
      if (reads_.size() == kScanRecordsMax) return;
      if (cell.is_record()) want(cell.key.place);
    }
  }
}

OrderedScan::Step OrderedScan::leave_leaf(TreeNodeNumber number, const TreeNode& leaf) {
  hints_->learn_leaf(leaf.cells.size());
  page_.is_last = !leaf.has_high;
  if (leaf.has_high && range_.to) {
    const auto known = compare_keys(*range_.to, leaf.high);
    page_.is_last = known && *known != std::strong_ordering::greater;
  }
  if (page_.is_last) return Step::over;
  link_ = leaf.link;
  if (leaf.high.is_whole()) {
    const bool is_further = compare_keys(at_, leaf.high) == std::strong_ordering::less;
    if (is_further) has_got_on();
    at_.assign(leaf.high.front.begin(), leaf.high.front.end());
    fence_.reset();
  } else {
    fence_.emplace();
    fence_->front.assign(leaf.high.front.begin(), leaf.high.front.end());
    fence_->key = leaf.high;
    fence_->key.front = fence_->front;
  }
  drop_copy(number);
  is_inside_ = false;
  leaves_.pop_front();
  // Where it begins is not known as a key that could be looked for.
  if (leaves_.empty() && fence_) leaves_.push_back(link_);
  return Step::next;
}

}  // namespace dolmen::cluster
