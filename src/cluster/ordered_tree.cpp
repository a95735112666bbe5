// SPDX-License-Identifier: Apache-2.0
#include "cluster/ordered_tree.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/hooks.hpp"

namespace dolmen::cluster {

namespace {

TreeKey key_in_node(base::Bytes key) {
  return {.front = key.first(std::min(key.size(), kKeyInlineBytes)),
          .bytes = static_cast<std::uint32_t>(key.size())};
}

/// The shortest beginning of `right` that is not below it and above `left`. Requires: left < right.
base::Bytes separator(base::Bytes left, base::Bytes right) {
  const auto differ = std::ranges::mismatch(left, right);
  const auto common = static_cast<std::size_t>(differ.in2 - right.begin());
  return right.first(common + (DOLMEN_PLANTED("cluster.separator_too_short") ? 0 : 1));
}

/// Where cells are parted so that both parts need about the same. Requires: at least two.
std::size_t middle_of(const std::vector<TreeCell>& cells, std::uint8_t level) {
  std::size_t all = 0;
  for (const TreeCell& cell : cells) all += cell_bytes(cell, level);
  std::size_t sum = 0;
  std::size_t at = 0;
  while (at + 1 < cells.size()) {
    const std::size_t with = sum + cell_bytes(cells[at], level);
    if (at > 0 && with > all / 2) break;
    sum = with;
    ++at;
  }
  return at;
}

}  // namespace

Result<OrderedTree> OrderedTree::make(base::MutableBytes region, const OrderedGeometry& geometry,
                                      std::uint32_t epoch) {
  if (!geometry.is_possible(region.size())) {
    return fail(Errc::invalid_argument, "the geometry of an index", region.size());
  }
  OrderedTree tree(region, geometry);
  tree.start(epoch);
  return tree;
}

void OrderedTree::start(std::uint32_t epoch) {
  state_ = {.root = 1, .levels = 1, .epoch = epoch, .nodes_used = 1, .nodes_live = 1};
  state_.heap.used = kHeapFirst;
  write(1, {.epoch = epoch, .state = TreeNodeState::live});
  write_state();
  std::array<std::byte, kGeometryBytes> front;
  encode_ordered_geometry(front, geometry_);
  memory_.store_bytes(0, front);
}

IndexOutcome OrderedTree::apply(log::Index index, const IndexChange& command) {
  DOLMEN_ASSERT_CMP(index, >, state_.applied);
  state_.applied = index;
  IndexOutcome outcome = IndexOutcome::done;
  switch (command.kind) {
    case IndexCommand::Kind::put:
      outcome = put(command);
      break;
    case IndexCommand::Kind::erase:
      outcome = erase(command);
      break;
    case IndexCommand::Kind::release:
      release(command.upto);
      break;
    case IndexCommand::Kind::restamp:
      restamp(command.epoch);
      break;
  }
  write_state();
  return outcome;
}

IndexOutcome OrderedTree::put(const IndexChange& command) {
  const base::Bytes key = command.key;
  const Path path = descend(key);
  Loaded leaf = load(path.back().number);
  std::size_t at = lower_bound(leaf.node, key);
  auto& cells = leaf.node.cells;
  const bool is_there = at < cells.size() && std::ranges::equal(whole(cells[at].key), key);
  TreeCell cell{.key = key_in_node(key),
                .value_bytes = static_cast<std::uint32_t>(command.value.size())};
  if (!cell.is_record()) cell.value = command.value;
  const std::size_t former_bytes = is_there ? cell_bytes(cells[at], 0) : 0;
  const bool has_room = leaf.node.bytes() - former_bytes + cell_bytes(cell, 0) <= kNodeBytes;
  // Every level may have to split, and the tree to grow by one.
  if (!has_room && nodes_at_hand() < state_.levels + 1) return IndexOutcome::no_space;

  std::optional<RecordPlace> record;
  if (cell.is_record()) {
    record = heap_.write(state_.heap, key, command.value, state_.applied);
    if (!record) return IndexOutcome::no_space;
    cell.key.place = *record;
  }
  TreeNodeNumber number = path.back().number;
  if (!has_room) {
    std::vector<TreeCell> after = cells;
    if (is_there) after.erase(after.begin() + static_cast<std::ptrdiff_t>(at));
    after.insert(after.begin() + static_cast<std::ptrdiff_t>(at), cell);
    const std::size_t middle = middle_of(after, 0);
    const base::Bytes low = separator(whole(after[middle - 1].key), whole(after[middle].key));
    TreeKey parted = key_in_node(low);
    std::optional<RecordPlace> parted_record;
    if (!parted.is_whole()) {
      parted_record = heap_.write(state_.heap, low, {}, state_.applied);
      if (!parted_record) {
        if (record) heap_.take_back(state_.heap, *record);
        return IndexOutcome::no_space;
      }
      parted.place = *parted_record;
    }
    // First the keys that are there, then the new one: it is never seen beside a leaf without it.
    split(path, path.size() - 1, is_there || middle <= at ? middle : middle - 1, parted);
    if (!is_below(key, parted)) number = view(number).link;
    if (parted_record) heap_.drop(state_.heap, *parted_record, state_.applied);
    leaf = load(number);
    at = lower_bound(leaf.node, key);
  }
  if (is_there) {
    leaf.node.cells[at] = cell;
  } else {
    leaf.node.cells.insert(leaf.node.cells.begin() + static_cast<std::ptrdiff_t>(at), cell);
    ++state_.keys;
  }
  write(number, std::move(leaf.node));
  if (record) heap_.drop(state_.heap, *record, state_.applied);  // the leaf leads there now
  return is_there ? IndexOutcome::replaced : IndexOutcome::created;
}

IndexOutcome OrderedTree::erase(const IndexChange& command) {
  Path path = descend(command.key);
  Loaded leaf = load(path.back().number);
  const std::size_t at = lower_bound(leaf.node, command.key);
  auto& cells = leaf.node.cells;
  if (at == cells.size() || !std::ranges::equal(whole(cells[at].key), command.key)) {
    return IndexOutcome::absent;
  }
  cells.erase(cells.begin() + static_cast<std::ptrdiff_t>(at));
  write(path.back().number, std::move(leaf.node));
  --state_.keys;
  merge(path, path.size() - 1);
  return IndexOutcome::erased;
}

void OrderedTree::restamp(std::uint32_t epoch) {
  state_.epoch = epoch;
  for (TreeNodeNumber number = 1; number <= state_.nodes_used; ++number) {
    Loaded loaded = load(number);
    loaded.node.epoch = epoch;
    write(number, std::move(loaded.node));
  }
}

// --- finding -------------------------------------------------------------------------------------

TreeNode OrderedTree::view(TreeNodeNumber number) const {
  auto node = decode_node(memory_.bytes(geometry_.node_at(number), kNodeBytes), number, geometry_);
  DOLMEN_ASSERT(node && "the region is written by its owner alone");
  return std::move(*node);
}

OrderedTree::Loaded OrderedTree::load(TreeNodeNumber number) const {
  const base::Bytes bytes = memory_.bytes(geometry_.node_at(number), kNodeBytes);
  Loaded loaded{.image = {bytes.begin(), bytes.end()}, .node = {}};
  auto node = decode_node(loaded.image, number, geometry_);
  DOLMEN_ASSERT(node && "the region is written by its owner alone");
  loaded.node = std::move(*node);
  return loaded;
}

std::optional<base::Bytes> OrderedTree::try_whole(const TreeKey& key) const {
  if (key.is_whole()) return key.front;
  const auto record = heap_.read(key.place);
  if (!record || record->key.size() != key.bytes ||
      !std::ranges::equal(record->key.first(key.front.size()), key.front)) {
    return std::nullopt;
  }
  return record->key;
}

base::Bytes OrderedTree::whole(const TreeKey& key) const {
  const auto found = try_whole(key);
  DOLMEN_ASSERT(found && "a node leads to its records");
  return *found;
}

bool OrderedTree::is_below(base::Bytes key, const TreeKey& other) const {
  if (const auto order = compare_keys(key, other)) return *order < 0;
  return *compare_keys(key, TreeKey::of(whole(other))) < 0;
}

std::size_t OrderedTree::child_of(const TreeNode& node, base::Bytes key) const {
  const auto above =
      std::partition_point(node.cells.begin() + 1, node.cells.end(),
                           [&](const TreeCell& cell) { return !is_below(key, cell.key); });
  return static_cast<std::size_t>(above - node.cells.begin()) - 1;
}

std::size_t OrderedTree::lower_bound(const TreeNode& leaf, base::Bytes key) const {
  const auto found = std::ranges::partition_point(leaf.cells, [&](const TreeCell& cell) {
    const base::Bytes all = whole(cell.key);
    return *compare_keys(all, TreeKey::of(key)) < 0;
  });
  return static_cast<std::size_t>(found - leaf.cells.begin());
}

OrderedTree::Path OrderedTree::descend(base::Bytes key) const {
  Path path;
  TreeNodeNumber number = state_.root;
  for (std::uint32_t level = state_.levels - 1; level > 0; --level) {
    const TreeNode node = view(number);
    const std::size_t child = child_of(node, key);
    path.push_back({number, child});
    number = node.cells[child].child;
  }
  path.push_back({number, 0});
  return path;
}

OrderedEntry OrderedTree::entry_of(const TreeCell& cell) const {
  base::Bytes key = cell.key.front;
  base::Bytes value = cell.value;
  if (cell.is_record()) {
    const auto record = heap_.read(cell.key.place);
    DOLMEN_ASSERT(record && "a leaf leads to its records");
    key = record->key;
    value = record->value;
  }
  return {.key = {key.begin(), key.end()}, .value = {value.begin(), value.end()}};
}

std::optional<std::vector<std::byte>> OrderedTree::find(base::Bytes key) const {
  const TreeNode leaf = view(descend(key).back().number);
  const std::size_t at = lower_bound(leaf, key);
  if (at == leaf.cells.size() || !std::ranges::equal(whole(leaf.cells[at].key), key)) {
    return std::nullopt;
  }
  return entry_of(leaf.cells[at]).value;
}

OrderedPage OrderedTree::scan(const OrderedRange& range, std::size_t limit,
                              std::size_t bytes) const {
  OrderedPage page;
  std::size_t used = 0;
  // Whether there is room for more behind this one.
  const auto take = [&](const TreeCell& cell) {
    page.entries.push_back(entry_of(cell));
    used += page.entries.back().key.size() + page.entries.back().value.size();
    return page.entries.size() < limit && used < bytes;
  };
  if (limit == 0) return page;
  const auto end_of = [&](const TreeNode& leaf) {
    return range.to ? lower_bound(leaf, *range.to) : leaf.cells.size();
  };
  if (!range.is_backward) {
    for (TreeNodeNumber number = descend(range.from).back().number;;) {
      const TreeNode leaf = view(number);
      const std::size_t end = end_of(leaf);
      for (std::size_t i = lower_bound(leaf, range.from); i < end; ++i) {
        if (!take(leaf.cells[i])) return page;
      }
      page.is_last = end < leaf.cells.size() || leaf.link == kNoNode;
      if (page.is_last) return page;
      number = leaf.link;
    }
  }
  // Leaves do not know who is on their left: the next one is looked for below this one's low.
  std::vector<TreeNodeNumber> lefts;  // what is left of the path, the nearest last
  const auto push_lefts = [&](TreeNodeNumber number, std::uint32_t level) {
    for (; level > 0; --level) {
      const TreeNode node = view(number);
      std::size_t child = node.cells.size() - 1;
      if (range.to) child = child_of(node, *range.to);
      for (std::size_t i = 0; i < child; ++i) lefts.push_back(node.cells[i].child);
      number = node.cells[child].child;
    }
    lefts.push_back(number);
  };
  push_lefts(state_.root, state_.levels - 1);
  while (!lefts.empty()) {
    const TreeNodeNumber number = lefts.back();
    lefts.pop_back();
    const TreeNode node = view(number);
    if (node.level > 0) {
      push_lefts(number, node.level);
      continue;
    }
    const std::size_t begin = lower_bound(node, range.from);
    for (std::size_t i = end_of(node); i > begin; --i) {
      if (!take(node.cells[i - 1])) return page;
    }
    if (begin > 0 || is_below(range.from, node.low) == false) break;
  }
  page.is_last = true;
  return page;
}

// --- changing ------------------------------------------------------------------------------------

void OrderedTree::split(const Path& path, std::size_t depth, std::size_t at, const TreeKey& low) {
  const TreeNodeNumber number = path[depth].number;
  Loaded loaded = load(number);
  TreeNode& left = loaded.node;
  const auto middle = left.cells.begin() + static_cast<std::ptrdiff_t>(at);
  TreeNode right{.epoch = left.epoch,
                 .link = left.link,
                 .level = left.level,
                 .state = TreeNodeState::live,
                 .has_high = left.has_high,
                 .low = low,
                 .high = left.high,
                 .cells = {middle, left.cells.end()}};
  if (right.level > 0) right.cells.front().key = {};
  left.cells.erase(middle, left.cells.end());
  left.has_high = true;
  left.high = low;
  const TreeNodeNumber other = take_node();
  left.link = other;
  if (DOLMEN_PLANTED("cluster.split_forgets_first")) {
    write(number, left);
    write(other, right);
  } else {
    write(other, right);
    write(number, left);
  }
  ++state_.nodes_live;
  if (depth > 0) return lead_to(path, depth - 1, low, other);
  const TreeNodeNumber root = take_node();
  write(root, {.epoch = state_.epoch,
               .level = static_cast<std::uint8_t>(state_.levels),
               .state = TreeNodeState::live,
               .cells = {{.child = number}, {.key = low, .child = other}}});
  ++state_.nodes_live;
  ++state_.levels;
  state_.root = root;
  write_state();
}

void OrderedTree::lead_to(const Path& path, std::size_t depth, const TreeKey& low,
                          TreeNodeNumber child) {
  TreeNodeNumber number = path[depth].number;
  std::size_t at = path[depth].child + 1;
  const TreeCell cell{.key = low, .child = child};
  Loaded node = load(number);
  if (node.node.bytes() + cell_bytes(cell, node.node.level) > kNodeBytes) {
    const std::size_t middle = middle_of(node.node.cells, node.node.level);
    const TreeKey parted = node.node.cells[middle].key;
    split(path, depth, middle, parted);
    if (at > middle) {
      number = view(number).link;
      at -= middle;
    }
    // What `parted` is in has to stay until the split is over.
    Loaded half = load(number);
    half.node.cells.insert(half.node.cells.begin() + static_cast<std::ptrdiff_t>(at), cell);
    return write(number, std::move(half.node));
  }
  node.node.cells.insert(node.node.cells.begin() + static_cast<std::ptrdiff_t>(at), cell);
  write(number, std::move(node.node));
}

void OrderedTree::merge(Path& path, std::size_t depth) {
  for (; depth > 0; --depth) {
    Step& parent = path[depth - 1];
    bool is_merged = false;
    for (;;) {
      const std::size_t count = view(parent.number).cells.size();
      if (parent.child + 1 < count && merge_at(parent.number, parent.child)) {
        is_merged = true;
      } else if (parent.child > 0 && merge_at(parent.number, parent.child - 1)) {
        is_merged = true;
        --parent.child;
      } else {
        break;
      }
    }
    if (!is_merged) break;
  }
  lower_root();
}

/// The left one takes its right neighbour in, if that is worth it.
bool OrderedTree::merge_at(TreeNodeNumber parent, std::size_t left) {
  Loaded above = load(parent);
  const TreeNodeNumber heir = above.node.cells[left].child;
  const TreeNodeNumber retired = above.node.cells[left + 1].child;
  Loaded whole = load(heir);
  Loaded other = load(retired);
  const std::size_t few = whole.node.level == 0 ? 0 : 1;
  const bool has_few = whole.node.cells.size() <= few || other.node.cells.size() <= few;
  if (other.node.level > 0) other.node.cells.front().key = other.node.low;
  whole.node.has_high = other.node.has_high;
  if (!DOLMEN_PLANTED("cluster.merge_keeps_high")) whole.node.high = other.node.high;
  whole.node.link = other.node.link;
  const TreeNode claimed = whole.node;
  whole.node.cells.insert(whole.node.cells.end(), other.node.cells.begin(), other.node.cells.end());
  if (whole.node.bytes() > (has_few ? kNodeBytes : kMergeBytes)) return false;
  if (DOLMEN_PLANTED("cluster.tree_merge_claims_first")) write(heir, claimed);
  write(heir, std::move(whole.node));
  retire_node(retired, heir);
  above.node.cells.erase(above.node.cells.begin() + static_cast<std::ptrdiff_t>(left) + 1);
  write(parent, std::move(above.node));
  return true;
}

void OrderedTree::lower_root() {
  while (state_.levels > 1) {
    const TreeNodeNumber former = state_.root;
    const TreeNode root = view(former);
    if (root.cells.size() > 1) return;
    state_.root = root.cells.front().child;
    --state_.levels;
    write_state();
    retire_node(former, state_.root);
  }
}

}  // namespace dolmen::cluster
