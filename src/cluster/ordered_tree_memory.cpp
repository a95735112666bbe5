// SPDX-License-Identifier: Apache-2.0
//
// How nodes of an ordered index are stored, where they come from, and where they go.
#include <algorithm>
#include <array>
#include <bit>
#include <iterator>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"
#include "cluster/ordered_tree.hpp"

namespace dolmen::cluster {

namespace {

/// All that a node leads to in the heap, sorted.
std::vector<RecordPlace> places_of(const TreeNode& node) {
  std::vector<RecordPlace> places;
  if (!node.is_live()) return places;
  if (!node.low.is_whole()) places.push_back(node.low.place);
  if (node.has_high && !node.high.is_whole()) places.push_back(node.high.place);
  for (const TreeCell& cell : node.cells) {
    const bool is_record = node.level == 0 ? cell.is_record() : !cell.key.is_whole();
    if (is_record) places.push_back(cell.key.place);
  }
  std::ranges::sort(places, {}, &RecordPlace::granule);
  return places;
}

}  // namespace

OrderedStatistics OrderedTree::statistics() const noexcept {
  return {.keys = state_.keys,
          .levels = state_.levels,
          .nodes_live = state_.nodes_live,
          .nodes_retired = state_.nodes_retired,
          .nodes_free = nodes_at_hand(),
          .record_bytes = state_.heap.record_bytes,
          .heap_bytes_used = state_.heap.bytes_used()};
}

void OrderedTree::write_state() noexcept {
  const auto image = std::bit_cast<std::array<std::byte, sizeof(OrderedState)>>(state_);
  memory_.store_bytes(kIndexStateAt, image);
}

void OrderedTree::write(TreeNodeNumber number, TreeNode node) {
  const std::size_t at = geometry_.node_at(number);
  std::vector<RecordPlace> former;
  if (memory_.word(at + 8) != 0) former = places_of(view(number));
  const std::vector<RecordPlace> now = places_of(node);
  node.sequence = memory_.next_sequence(at);
  memory_.store_piece(at, encode_node(node, number, geometry_));
  std::vector<RecordPlace> differ;
  std::ranges::set_difference(now, former, std::back_inserter(differ), {}, &RecordPlace::granule,
                              &RecordPlace::granule);
  if (DOLMEN_PLANTED("cluster.record_not_shared") && differ.size() > 1) differ.pop_back();
  for (const RecordPlace& place : differ) heap_.share(place);
  differ.clear();
  std::ranges::set_difference(former, now, std::back_inserter(differ), {}, &RecordPlace::granule,
                              &RecordPlace::granule);
  for (const RecordPlace& place : differ) heap_.drop(state_.heap, place, state_.applied);
}

std::uint32_t OrderedTree::nodes_at_hand() const noexcept {
  return geometry_.node_count - state_.nodes_live - state_.nodes_retired;
}

TreeNodeNumber OrderedTree::take_node() {
  if (DOLMEN_PLANTED("cluster.node_reused_at_once") && state_.retired_first != kNoNode) {
    release(view(state_.retired_first).retired_at);
  }
  if (state_.free_node == kNoNode) {
    DOLMEN_ASSERT_CMP(state_.nodes_used, <, geometry_.node_count);
    return ++state_.nodes_used;
  }
  const TreeNodeNumber number = state_.free_node;
  state_.free_node = view(number).next;
  return number;
}

void OrderedTree::retire_node(TreeNodeNumber number, TreeNodeNumber heir) {
  const std::uint8_t level = view(number).level;
  write(number, {.epoch = state_.epoch,
                 .link = heir,
                 .level = level,
                 .state = TreeNodeState::forward,
                 .retired_at = state_.applied});
  if (state_.retired_last == kNoNode) {
    state_.retired_first = number;
  } else {
    TreeNode last = view(state_.retired_last);
    last.next = number;
    write(state_.retired_last, std::move(last));
  }
  state_.retired_last = number;
  --state_.nodes_live;
  ++state_.nodes_retired;
}

void OrderedTree::release(log::Index upto) {
  while (state_.retired_first != kNoNode) {
    const TreeNodeNumber number = state_.retired_first;
    const TreeNode node = view(number);
    if (node.retired_at > upto) break;
    state_.retired_first = node.next;
    if (node.next == kNoNode) state_.retired_last = kNoNode;
    write(number, {.epoch = node.epoch, .level = node.level, .next = state_.free_node});
    state_.free_node = number;
    --state_.nodes_retired;
  }
  heap_.release(state_.heap, upto);
}

}  // namespace dolmen::cluster
