// SPDX-License-Identifier: Apache-2.0
//
// Down the tree, and one key.
#include "cluster/ordered_reader.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

/// So often it reads in vain what was not whole, or is elsewhere by now.
constexpr std::uint32_t kVainMax = 4;
/// Without getting on.
constexpr std::uint32_t kTripsMax = 2 * kTreeLevelsMax;
/// From node to node without a read: more are a circle of old ones.
constexpr std::uint32_t kHopsMax = 4 * kTreeLevelsMax;

std::strong_ordering order_of(base::Bytes left, base::Bytes right) {
  return std::lexicographical_compare_three_way(left.begin(), left.end(), right.begin(),
                                                right.end());
}

}  // namespace

// --- what is remembered --------------------------------------------------------------------------

void OrderedHints::learn_root(TreeNodeNumber root) noexcept {
  root_ = root <= geometry_.node_count ? root : kNoNode;
}

const TreeNode* OrderedHints::find(TreeNodeNumber number) const {
  const auto found = nodes_.find(number);
  return found == nodes_.end() ? nullptr : found->second.node();
}

void OrderedHints::learn(TreeNodeNumber number, NodeCopy copy) {
  DOLMEN_ASSERT(copy.node() != nullptr && copy.node()->is_live() && copy.node()->level > 0);
  nodes_.insert_or_assign(number, std::move(copy));
  if (nodes_.size() <= nodes_max_) return;
  auto victim = nodes_.upper_bound(hand_);
  if (victim == nodes_.end()) victim = nodes_.begin();
  if (victim->first == number) ++victim;
  if (victim == nodes_.end()) victim = nodes_.begin();
  hand_ = victim->first;
  nodes_.erase(victim);
}

void OrderedHints::forget(TreeNodeNumber number) {
  if (number == kNoNode || number == root_) root_ = kNoNode;
  nodes_.erase(number);
}

void OrderedHints::forget_all() {
  root_ = kNoNode;
  nodes_.clear();
}

// --- rounds --------------------------------------------------------------------------------------

void OrderedWalk::begin() {
  go_on();
  if (state() == LookupState::reading) read_lines();
}

void OrderedWalk::go_on() {
  reads_.clear();
  wanted_.clear();
  is_gone_ = false;
  proceed();
  if (state() != LookupState::reading) return;
  if (futile_ > kVainMax || round_trips() > got_on_at_ + kTripsMax) return end(LookupState::ask);
  DOLMEN_ASSERT(!reads_.empty());
}

void OrderedWalk::take(std::span<const base::Bytes> bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const Wanted& wanted = wanted_[i];
    if (wanted.record) {
      std::optional<Record> record;
      if (const auto read = decode_record(bytes[i], *wanted.record, geometry_.of_records())) {
        record = Record{.key = {read->key.begin(), read->key.end()},
                        .value = {read->value.begin(), read->value.end()}};
      }
      records_.insert_or_assign(key_of(*wanted.record), std::move(record));
    } else if (wanted.node == kNoNode) {
      hints_->learn_root(base::load<TreeNodeNumber>(bytes[i]));
      if (hints_->root() == kNoNode) ++futile_;
    } else {
      NodeCopy copy(bytes[i], wanted.node, geometry_);
      if (copy.node() != nullptr && copy.node()->is_live() && copy.node()->level > 0) {
        hints_->learn(wanted.node, std::move(copy));
      } else {
        copies_.insert_or_assign(wanted.node, std::move(copy));
      }
    }
  }
  go_on();
}

void OrderedWalk::want(TreeNodeNumber number) {
  wanted_.push_back({.node = number});
  reads_.push_back({.offset = geometry_.node_at(number), .bytes = kNodeBytes});
}

void OrderedWalk::want_root() {
  wanted_.push_back({});
  reads_.push_back({.offset = kRootAt, .bytes = 8});
}

void OrderedWalk::want(const RecordPlace& place) {
  const bool is_wanted = std::ranges::any_of(
      wanted_, [&](const Wanted& one) { return one.record && *one.record == place; });
  if (is_wanted || records_.contains(key_of(place))) return;
  wanted_.push_back({.record = place});
  reads_.push_back({.offset = geometry_.heap_at() + std::size_t{place.granule} * kHeapGranuleBytes,
                    .bytes = place.bytes});
}

const NodeCopy* OrderedWalk::copy_of(TreeNodeNumber number) {
  const auto found = copies_.find(number);
  if (found != copies_.end()) return &found->second;
  want(number);
  return nullptr;
}

void OrderedWalk::read_again(TreeNodeNumber number) {
  ++futile_;
  copies_.erase(number);
  records_.clear();
  want(number);
}

const OrderedWalk::Record* OrderedWalk::record_at(const TreeKey& key) {
  const auto found = records_.find(key_of(key.place));
  if (found == records_.end()) {
    want(key.place);
    return nullptr;
  }
  const auto& record = found->second;
  // What is led to begins as it does there.
  const bool is_it =
      record && record->key.size() == key.bytes &&
      std::ranges::equal(base::Bytes(record->key).first(key.front.size()), key.front);
  if (is_it) return &*record;
  is_gone_ = true;
  return nullptr;
}

// --- down ----------------------------------------------------------------------------------------

std::optional<std::strong_ordering> OrderedWalk::order(base::Bytes key, const TreeKey& other) {
  if (const auto known = compare_keys(key, other)) return known;
  const Record* record = record_at(other);
  if (record == nullptr) return std::nullopt;
  return order_of(key, record->key);
}

std::optional<std::size_t> OrderedWalk::child_of(const TreeNode& node, base::Bytes key) {
  // Those that are alike as far as the node has them are neighbours: their records are read
  // together.
  const auto begins = node.cells.begin() + 1;
  const auto alike = std::partition_point(begins, node.cells.end(), [&](const TreeCell& cell) {
    const auto known = compare_keys(key, cell.key);
    return known && *known != std::strong_ordering::less;
  });
  const auto above = std::partition_point(alike, node.cells.end(), [&](const TreeCell& cell) {
    return compare_keys(key, cell.key) != std::strong_ordering::less;
  });
  auto child = alike;
  bool is_known = true;
  for (auto cell = alike; cell != above; ++cell) {
    const auto known = order(key, cell->key);
    is_known &= known.has_value();
    if (known && *known != std::strong_ordering::less) child = cell + 1;
  }
  if (!is_known) return std::nullopt;
  return static_cast<std::size_t>(child - node.cells.begin()) - 1;
}

void OrderedWalk::start_over(TreeNodeNumber suspect) {
  ++futile_;
  hints_->forget(suspect);
  leave();
}

const TreeNode* OrderedWalk::descend(base::Bytes key, std::uint8_t level) {
  std::uint32_t hops = 0;
  while (futile_ <= kVainMax) {
    if (here_ == kNoNode) {
      here_ = hints_->root();
      parent_ = kNoNode;
    }
    if (here_ == kNoNode) {
      want_root();
      return nullptr;
    }
    if (++hops > kHopsMax) {
      hints_->forget_all();
      start_over(kNoNode);
      continue;
    }
    const TreeNode* node = hints_->find(here_);
    if (node == nullptr) {
      const NodeCopy* copy = copy_of(here_);
      if (copy == nullptr) return nullptr;
      node = copy->node();
      if (node == nullptr) {
        read_again(here_);
        // Perhaps nothing is there any more.
        if (futile_ % 2 == 0) hints_->forget(parent_);
        return nullptr;
      }
    }
    const TreeNodeNumber number = here_;
    const auto to_the_right = [&] {
      here_ = node->link;  // the node may be one of those that are forgotten
      hints_->forget(parent_);
      parent_ = kNoNode;
      if (number == hints_->root()) hints_->forget(kNoNode);
      drop_copy(number);
    };
    if (node->state == TreeNodeState::free) {
      const TreeNodeNumber suspect = parent_;
      drop_copy(number);
      start_over(suspect);
      continue;
    }
    if (node->state == TreeNodeState::forward) {
      to_the_right();
      continue;
    }
    const auto low = order(key, node->low);
    const auto high = node->has_high ? order(key, node->high) : std::strong_ordering::less;
    if (is_gone_) {
      // Its fences are of a former time.
      is_gone_ = false;
      hints_->forget(number);
      read_again(number);
      return nullptr;
    }
    if (!low || !high) return nullptr;
    const bool is_unchecked = DOLMEN_PLANTED("cluster.tree_fence_unchecked");
    if (*low == std::strong_ordering::less && !is_unchecked) {
      const TreeNodeNumber suspect = parent_;
      drop_copy(number);
      start_over(suspect);
      continue;
    }
    if (*high != std::strong_ordering::less && !is_unchecked) {
      to_the_right();
      continue;
    }
    if (node->level <= level) return node;
    const auto child = child_of(*node, key);
    if (is_gone_) {
      is_gone_ = false;
      hints_->forget(number);
      read_again(number);
      return nullptr;
    }
    if (!child) return nullptr;
    parent_ = number;
    here_ = node->cells[*child].child;
  }
  return nullptr;
}

// --- one key -------------------------------------------------------------------------------------

OrderedLookup::OrderedLookup(const OrderedGeometry& geometry, std::uint32_t epoch,
                             OrderedHints& hints, base::Bytes key, ReadLevel level,
                             const LedEpoch& led)
    : OrderedWalk(geometry, epoch, hints, level, led), key_(key.begin(), key.end()) {
  begin();
}

void OrderedLookup::proceed() {
  const TreeNode* leaf = descend(key_, 0);
  if (leaf == nullptr) return;
  if (leaf->epoch != epoch_) return end(LookupState::wrong_epoch);
  bool is_settled = true;
  for (const TreeCell& cell : leaf->cells) {
    if (cell.key.bytes != key_.size() ||
        !std::ranges::equal(cell.key.front, base::Bytes(key_).first(cell.key.front.size()))) {
      continue;
    }
    if (!cell.is_record()) {
      value_.assign(cell.value.begin(), cell.value.end());
      return end(LookupState::found);
    }
    const Record* record = record_at(cell.key);
    if (record == nullptr) {
      is_settled = false;
    } else if (record->key == key_ || DOLMEN_PLANTED("cluster.tree_record_unmatched")) {
      value_ = record->value;
      return end(LookupState::found);
    }
  }
  if (is_gone_) {
    // Another one is led to by now.
    return read_again(here());
  }
  if (is_settled) end_absent();
}

}  // namespace dolmen::cluster
