// SPDX-License-Identifier: Apache-2.0
//
// Snapshots of an ordered index, and the look at everything that a snapshot has to pass.
#include <algorithm>
#include <array>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "cluster/index_snapshot.hpp"
#include "cluster/ordered_tree.hpp"

namespace dolmen::cluster {

namespace {

/// "DLOS".
constexpr IndexSnapshotKind kSnapshotKind{.magic = 0x534F4C44, .version = kOrderedVersion};

std::unexpected<Error> bad_tree(const char* what, std::uint64_t where) {
  return fail(Errc::corrupt, what, where);
}
std::unexpected<Error> bad_node(TreeNodeNumber number) {
  return bad_tree("a node of an index", number);
}

bool is_rising(base::Bytes key, base::Bytes next) {
  return *compare_keys(key, TreeKey::of(next)) < 0;
}

}  // namespace

/// What is known of a tree that is looked at from its root on, from left to right.
struct OrderedTree::Survey {
  struct Edge {
    TreeNodeNumber link = kNoNode;
    bool is_first = true;
  };
  std::vector<bool> seen;
  std::array<Edge, kTreeLevelsMax> edges{};  ///< of the last node of each level
  std::uint64_t keys = 0;
  std::vector<RecordPlace> places{};
};

std::uint64_t OrderedTree::fingerprint() const {
  const auto of = [&](std::size_t at, std::size_t size, std::uint64_t seed) {
    return base::checksum64(memory_.bytes(at, size), seed);
  };
  const std::uint64_t nodes =
      of(0, kNodesAt + std::size_t{state_.nodes_used} * kNodeBytes, kOrderedMagic);
  return of(geometry_.heap_at(), state_.heap.bytes_used(), nodes);
}

std::vector<std::byte> OrderedTree::snapshot() const {
  return seal_index_snapshot(
      kSnapshotKind, {memory_.bytes(0, kNodesAt + std::size_t{state_.nodes_used} * kNodeBytes),
                      memory_.bytes(geometry_.heap_at(), state_.heap.bytes_used())});
}

bool OrderedTree::is_possible(const OrderedState& state) const noexcept {
  const std::uint64_t counted = std::uint64_t{state.nodes_live} + state.nodes_retired;
  return state.applied <= log::kIndexMax && state.levels >= 1 && state.levels <= kTreeLevelsMax &&
         state.nodes_used >= 1 && state.nodes_used <= geometry_.node_count &&
         state.nodes_live >= 1 && counted <= state.nodes_used && state.root >= 1 &&
         state.root <= state.nodes_used && state.reserved == 0 && state.heap.reserved == 0 &&
         state.heap.padding == 0 && state.heap.used >= kHeapFirst &&
         state.heap.bytes_used() <= geometry_.heap_bytes;
}

Result<void> OrderedTree::restore(base::Bytes snapshot) {
  const auto bad = [] { return bad_tree("the snapshot of an index", 0); };
  DOLMEN_TRY(const base::Bytes ranges, open_index_snapshot(kSnapshotKind, snapshot));
  if (ranges.size() < kNodesAt) return bad();
  DOLMEN_TRY(const OrderedGeometry of, decode_ordered_geometry(ranges, geometry_.region_bytes()));
  const auto state = base::load<OrderedState>(ranges, kIndexStateAt);
  if (of != geometry_ || !is_possible(state)) return bad();
  const std::size_t nodes = std::size_t{state.nodes_used} * kNodeBytes;
  if (ranges.size() != kNodesAt + nodes + state.heap.bytes_used()) return bad();
  const std::uint32_t former_epoch = state_.epoch;
  become(state, ranges);
  auto checked = check();
  if (!checked) {
    become({}, {});
    start(former_epoch);
  }
  return checked;
}

/// The ranges of a snapshot; or empty, and the region is all zero.
void OrderedTree::become(const OrderedState& state, base::Bytes ranges) {
  for (TreeNodeNumber number = 1; number <= state_.nodes_used; ++number) {
    memory_.spoil_piece(geometry_.node_at(number));
  }
  const auto range = [&](std::size_t at, std::size_t former, std::size_t size) {
    memory_.store_bytes(at, ranges.first(size));
    ranges = ranges.subspan(size);
    if (former > size) memory_.clear(at + size, former - size);
  };
  const auto front_of = [&](const OrderedState& of) {
    return kNodesAt + std::size_t{of.nodes_used} * kNodeBytes;
  };
  range(0, front_of(state_), ranges.empty() ? 0 : front_of(state));
  range(geometry_.heap_at(), state_.heap.bytes_used(), state.heap.bytes_used());
  state_ = state;
}

Result<void> OrderedTree::check() const {
  constexpr std::size_t kSpareAt = kIndexStateAt + sizeof(OrderedState);
  const bool is_spare_empty = std::ranges::all_of(memory_.bytes(kSpareAt, kNodesAt - kSpareAt),
                                                  [](std::byte b) { return b == std::byte{0}; });
  if (!is_possible(state_) || memory_.half(kRootAt) != state_.root || !is_spare_empty) {
    return bad_tree("the state of an index", 0);
  }
  Survey survey{.seen = std::vector<bool>(state_.nodes_used + std::size_t{1})};
  DOLMEN_CHECK(check_below(state_.root, state_.levels - 1, survey));
  for (std::uint32_t level = 0; level < state_.levels; ++level) {
    if (survey.edges[level].link != kNoNode) return bad_node(survey.edges[level].link);
  }
  std::uint32_t live = 0;
  std::uint32_t retired = 0;
  for (TreeNodeNumber number = 1; number <= state_.nodes_used; ++number) {
    const auto node =
        decode_node(memory_.bytes(geometry_.node_at(number), kNodeBytes), number, geometry_);
    if (!node || node->epoch != state_.epoch || node->is_live() != survey.seen[number] ||
        node->link > state_.nodes_used || node->next > state_.nodes_used ||
        node->retired_at > state_.applied) {
      return bad_node(number);
    }
    live += node->is_live() ? 1 : 0;
    if (node->state != TreeNodeState::forward) continue;
    ++retired;
    // X4: nothing leads to what is free.
    const auto heir = decode_node(memory_.bytes(geometry_.node_at(node->link), kNodeBytes),
                                  node->link, geometry_);
    if (!heir || heir->state == TreeNodeState::free) return bad_node(number);
  }
  if (live != state_.nodes_live || retired != state_.nodes_retired || survey.keys != state_.keys) {
    return bad_tree("the counts of an index", 0);
  }
  DOLMEN_CHECK(check_queues());
  return heap_.check(state_.heap, survey.places, state_.applied);
}

Result<void> OrderedTree::check_below(TreeNodeNumber number, std::uint32_t level,
                                      Survey& survey) const {
  if (number == kNoNode || number > state_.nodes_used || survey.seen[number]) {
    return bad_node(number);
  }
  survey.seen[number] = true;
  const auto node =
      decode_node(memory_.bytes(geometry_.node_at(number), kNodeBytes), number, geometry_);
  if (!node || !node->is_live() || node->level != level) return bad_node(number);
  Survey::Edge& edge = survey.edges[level];
  if (edge.is_first ? node->low.bytes != 0 : edge.link != number) return bad_node(number);
  edge = {.link = node->link, .is_first = false};
  DOLMEN_CHECK(check_cells(number, *node, survey));
  if (level == 0) return {};
  const auto& cells = node->cells;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    DOLMEN_CHECK(check_below(cells[i].child, level - 1, survey));
    const TreeNode child = view(cells[i].child);
    const bool is_last = i + 1 == cells.size();
    const bool has_high = !is_last || node->has_high;
    const bool is_tiled =
        child.low.is_same(i == 0 ? node->low : cells[i].key) && child.has_high == has_high &&
        (!has_high || child.high.is_same(is_last ? node->high : cells[i + 1].key));
    if (!is_tiled) return bad_node(cells[i].child);
  }
  return {};
}

/// Fences and cells rise, and lead to records that hold them.
Result<void> OrderedTree::check_cells(TreeNodeNumber number, const TreeNode& node,
                                      Survey& survey) const {
  const auto key_of = [&](const TreeKey& key) {
    if (!key.is_whole()) survey.places.push_back(key.place);
    return key.is_whole() || key.place.generation <= state_.applied ? try_whole(key) : std::nullopt;
  };
  std::optional<base::Bytes> before = key_of(node.low);
  if (!before) return bad_node(number);
  for (std::size_t i = 0; i < node.cells.size(); ++i) {
    const TreeCell& cell = node.cells[i];
    if (node.level > 0 && i == 0) continue;
    if (node.level == 0 && cell.is_record()) {
      const auto record = heap_.read(cell.key.place);
      if (!record || record->value.size() != cell.value_bytes ||
          record->key.size() != cell.key.bytes || cell.key.place.generation > state_.applied ||
          !std::ranges::equal(record->key.first(cell.key.front.size()), cell.key.front)) {
        return bad_node(number);
      }
      if (cell.key.is_whole()) survey.places.push_back(cell.key.place);
    }
    const auto key = key_of(cell.key);
    const bool may_be_low = node.level == 0 && i == 0;
    if (!key || !(is_rising(*before, *key) || (may_be_low && std::ranges::equal(*before, *key)))) {
      return bad_node(number);
    }
    before = key;
  }
  if (node.has_high) {
    const auto high = key_of(node.high);
    if (!high || !is_rising(*before, *high)) return bad_node(number);
  }
  if (node.level == 0) survey.keys += node.cells.size();
  return {};
}

Result<void> OrderedTree::check_queues() const {
  const auto bad = [](TreeNodeNumber number) { return bad_tree("a queue of an index", number); };
  std::uint32_t expected = state_.nodes_used - state_.nodes_live - state_.nodes_retired;
  TreeNodeNumber number = state_.free_node;
  for (; expected != 0; --expected) {
    if (number == kNoNode || number > state_.nodes_used) return bad(number);
    const TreeNode node = view(number);
    if (node.state != TreeNodeState::free) return bad(number);
    number = node.next;
  }
  if (number != kNoNode) return bad(number);
  log::Index before = 0;
  TreeNodeNumber last = kNoNode;
  number = state_.retired_first;
  for (expected = state_.nodes_retired; expected != 0; --expected) {
    if (number == kNoNode || number > state_.nodes_used) return bad(number);
    const TreeNode node = view(number);
    if (node.state != TreeNodeState::forward || node.retired_at < before) return bad(number);
    before = node.retired_at;
    last = number;
    number = node.next;
  }
  if (number != kNoNode || last != state_.retired_last) return bad(number);
  return {};
}

}  // namespace dolmen::cluster
