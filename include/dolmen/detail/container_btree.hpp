// SPDX-License-Identifier: Apache-2.0
//
// BTree: the B+-tree of ordered_map. Leaves are linked in both directions for scans. A full leaf
// first gives entries to a neighbour with room, then splits; at the right edge it splits off an
// empty one, so that ascending insertion leaves full leaves. Leaves and inner nodes below a quarter
// are merged with a neighbour or refilled from it.
//
// Invariants:
//   1. Every leaf is at depth `height`; but for the empty tree every leaf has an entry, every inner
//   node a key.
//   2. first and last are the ends of the leaves' chain; all null and size 0 in the empty tree.
//
// Errors: a failed insertion changes nothing (nodes and copies are made before anything moves).
// Threads: as the containers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <dolmen/detail/container_base.hpp>
#include <dolmen/detail/container_btree_nodes.hpp>

namespace dolmen::detail {

template <class K, class V, class Less>
class BTree {
 public:
  using Leaf = BTreeLeaf<K, V>;
  using Inner = BTreeInner<K>;

  /// An entry, the end (last leaf, its count), or a gap before an entry.
  struct Cursor {
    Leaf* leaf = nullptr;
    std::size_t position = 0;
    friend bool operator==(const Cursor&, const Cursor&) noexcept = default;
  };

  BTree() = default;
  BTree(const BTree&) = delete;
  BTree& operator=(const BTree&) = delete;
  ~BTree() = default;  // its owner calls clear()

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Cursor first() const { return {first_.get(Home(this)), 0}; }
  [[nodiscard]] Cursor end() const {
    Leaf* const leaf = last_.get(Home(this));
    return {leaf, leaf == nullptr ? std::size_t{0} : leaf->count};
  }
  static void advance(Cursor& at) {
    ++at.position;
    if constexpr (Leaf::kFollowsEntries) {
      const std::size_t ahead = at.position + kScanAhead;
      if (ahead < at.leaf->count) [[likely]] {
        at.leaf->prefetch_entry(ahead);
      } else if (const Leaf* const next = at.leaf->next.get(Home(at.leaf))) {
        next->prefetch_entry(ahead - at.leaf->count);
      }
    }
    settle(at);
  }
  static void retreat(Cursor& at) {
    if (at.position == 0) {
      at.leaf = at.leaf->previous.must(Home(at.leaf));
      at.position = at.leaf->count;
    }
    --at.position;
  }

  /// The first entry whose key is not less than `key`.
  template <class Q>
  [[nodiscard]] Cursor lower_bound(const Q& key) const {
    return bound([&](const K& other) { return Less{}(other, key); }, key);
  }
  /// The first entry whose key is greater than `key`.
  template <class Q>
  [[nodiscard]] Cursor upper_bound(const Q& key) const {
    return bound([&](const K& other) { return !Less{}(key, other); }, key);
  }
  /// The entry of this key, or a null leaf.
  template <class Q>
  [[nodiscard]] [[gnu::always_inline]] Cursor find(const Q& key) const {
    if (size_ == 0) return {};
    Leaf* const leaf = descend(Home(this), key, nullptr);
    const std::size_t at =
        leaf->partition_point([&](const K& other) { return Less{}(other, key); });
    if (at == leaf->count || Less{}(key, leaf->key(at))) return {};
    return {leaf, at};
  }

  /// make_key(K*) and make_value(V*) construct the entry, if there is none.
  template <class Q, class MakeKey, class MakeValue>
  std::pair<Cursor, bool> emplace(const Q& key, MakeKey&& make_key, MakeValue&& make_value) {
    const Home home(this);
    if (size_ == 0) open_root(home);
    Path path;
    Leaf* const leaf = descend(home, key, &path);
    const std::size_t at =
        leaf->partition_point([&](const K& other) { return Less{}(other, key); });
    if (at < leaf->count && !Less{}(key, leaf->key(at))) return {{leaf, at}, false};
    auto make_entry = [&](Leaf& into, std::size_t slot) {
      into.log_slot(slot);
      make_key(into.keys + slot);
      Rollback destroy_key([&] { destroy_array(into.keys + slot, 1); });
      make_value(into.values + slot);
      destroy_key.dismiss();
    };
    Cursor gap{leaf, at};
    if (leaf->free_count() != 0) {
      Rollback close([&] { close_empty_root(home); });
      make_entry(*leaf, leaf->order[leaf->count]);
      close.dismiss();
      leaf->admit(at);
    } else {
      insert_into_full(home, path, gap, make_entry);
    }
    put(size_, size_ + 1);
    return {gap, true};
  }

  /// Returns the entry behind it.
  Cursor erase(Cursor at) {
    const Home home(this);
    Path path;
    if (height_ != 0) descend(home, std::as_const(at.leaf->key(at.position)), &path);
    at.leaf->remove(at.position);
    put(size_, size_ - 1);
    if (size_ == 0) {
      close_empty_root(home);
      return {};
    }
    if (at.leaf->count < kLeafMin && height_ != 0) refill_leaf(home, path, at);
    settle(at);
    return at;
  }

  /// Gives everything back. Logs itself.
  void clear() {
    if (root_.is_null()) return;
    const Home home(this);
    log_write(this, sizeof(*this));
    free_subtree(home, root_.must(home), height_);
    reset(home);
  }
  /// Requires: same home, this tree is empty and logged.
  void take(BTree& other) {
    log_write(&other, sizeof(other));
    root_.take(other.root_);
    first_.take(other.first_);
    last_.take(other.last_);
    size_ = std::exchange(other.size_, 0);
    height_ = std::exchange(other.height_, 0);
  }

  static void settle(Cursor& at) {
    if (at.position < at.leaf->count) [[likely]]
      return;
    if (Leaf* const next = at.leaf->next.get(Home(at.leaf))) {
      at = {next, 0};
      if (Leaf* const behind = next->next.get(Home(next))) behind->prefetch_ahead();
    }
  }

 private:
  static constexpr std::size_t kScanAhead = Leaf::kCapacity < 8 ? 1 : 4;
  static constexpr std::size_t kLeafMin = Leaf::kCapacity / 4 < 1 ? 1 : Leaf::kCapacity / 4;
  static constexpr std::size_t kInnerMin = Inner::kCapacity / 4 < 1 ? 1 : Inner::kCapacity / 4;
  static constexpr std::uint32_t kHeightMax = 32;

  /// The way down: steps[0] is the leaf's parent, steps[height - 1] the root.
  struct Path {
    struct Step {
      Inner* inner;
      std::size_t index;  ///< of the child that was taken
    };
    Step steps[kHeightMax];
  };
  /// Inner nodes for the splits of one insertion, made beforehand.
  struct Spares {
    Inner* nodes[kHeightMax + 1];
    std::size_t count = 0;
  };

  static Inner* as_inner(std::byte* node) { return static_cast<Inner*>(static_cast<void*>(node)); }
  static Leaf* as_leaf(std::byte* node) { return static_cast<Leaf*>(static_cast<void*>(node)); }
  static std::byte* as_node(void* node) { return static_cast<std::byte*>(node); }
  static Leaf* leaf_at(Home home, const Inner& inner, std::size_t index) {
    return as_leaf(inner.children[index].must(home));
  }

  template <class Q>
  [[gnu::always_inline]] Leaf* descend(Home home, const Q& key, Path* path) const {
    std::byte* node = root_.must(home);
    if (height_ > kHeightMax) throw_error(Errc::corrupt, "ordered_map", height_);
    for (std::uint32_t level = height_; level-- > 0;) {
      Inner* const inner = as_inner(node);
      const std::size_t index =
          inner->partition_point([&](const K& other) { return !Less{}(key, other); });
      if (path != nullptr) path->steps[level] = {inner, index};
      node = inner->children[index].must(home);
    }
    as_leaf(node)->prefetch();
    return as_leaf(node);
  }
  template <class Before, class Q>
  [[gnu::always_inline]] Cursor bound(Before&& before, const Q& key) const {
    if (size_ == 0) return {};
    Leaf* const leaf = descend(Home(this), key, nullptr);
    Cursor at{leaf, leaf->partition_point(before)};
    settle(at);
    return at;
  }

  Leaf* new_leaf() {
    Leaf* const leaf = allocate_array<Leaf>(this, 1);
    leaf->prepare();
    return leaf;
  }
  void open_root(Home home) {
    if (!root_.is_null()) return;
    Leaf* const leaf = new_leaf();
    log_write(this, sizeof(*this));
    root_.set(home, as_node(leaf));
    first_.set(home, leaf);
    last_.set(home, leaf);
  }
  void close_empty_root(Home home) {
    if (size_ != 0) return;
    log_write(this, sizeof(*this));
    deallocate_array(as_leaf(root_.must(home)), 1);
    reset(home);
  }
  void reset(Home home) noexcept {
    root_.set(home, nullptr);
    first_.set(home, nullptr);
    last_.set(home, nullptr);
    size_ = 0;
    height_ = 0;
  }
  void free_subtree(Home home, std::byte* node, std::uint32_t level) {
    if (level == 0) {
      Leaf* const leaf = as_leaf(node);
      for (std::size_t i = 0; i < leaf->count; ++i) {
        destroy_array(&leaf->value(i), 1);
        destroy_array(&leaf->key(i), 1);
      }
      deallocate_array(leaf, 1);
      return;
    }
    Inner* const inner = as_inner(node);
    for (std::size_t i = 0; i <= inner->count; ++i) {
      free_subtree(home, inner->children[i].must(home), level - 1);
    }
    destroy_array(inner->keys, inner->count);
    deallocate_array(inner, 1);
  }

  // ---- Insertion into a full leaf ----

  template <class MakeEntry>
  [[gnu::noinline]] void insert_into_full(Home home, Path& path, Cursor& gap,
                                          MakeEntry& make_entry) {
    Leaf* const leaf = gap.leaf;
    const bool at_right_edge = gap.position == leaf->count && leaf->next.is_null();
    if (height_ != 0 && !at_right_edge) {
      Inner& parent = *path.steps[0].inner;
      const std::size_t index = path.steps[0].index;
      Leaf* const left = index > 0 ? leaf_at(home, parent, index - 1) : nullptr;
      Leaf* const right = index < parent.count ? leaf_at(home, parent, index + 1) : nullptr;
      const std::size_t left_free = left == nullptr ? 0 : left->free_count();
      const std::size_t right_free = right == nullptr ? 0 : right->free_count();
      if (left_free >= kRoomWorthMoving && left_free >= right_free) {
        return spill(parent, index - 1, *left, *leaf, *left, gap, make_entry);
      }
      if (right_free >= kRoomWorthMoving) {
        return spill(parent, index, *leaf, *right, *right, gap, make_entry);
      }
    }
    split_leaf(home, path, gap, at_right_edge, make_entry);
  }
  static constexpr std::size_t kRoomWorthMoving = 2 + Leaf::kCapacity / 8;

  /// Evens two neighbours out, of which `roomy` has at least two free slots, and inserts.
  template <class MakeEntry>
  void spill(Inner& parent, std::size_t separator, Leaf& left, Leaf& right, Leaf& roomy,
             Cursor& gap, MakeEntry& make_entry) {
    const std::size_t total = left.count + right.count;
    const std::size_t left_count = total / 2;
    const K& first_right =
        left_count < left.count ? left.key(left_count) : right.key(left_count - left.count);
    const ByteBuffer copy = copied_key(roomy, roomy.order[roomy.count], first_right);
    Rollback drop_copy([&] { drop_key(roomy, roomy.order[roomy.count], copy); });
    const Made made(roomy, roomy.order[roomy.count + 1u], make_entry);
    drop_copy.dismiss();
    even_out(left, right, left_count, gap);
    replace_separator(parent, separator, copy);
    made.place(gap);
  }

  template <class MakeEntry>
  void split_leaf(Home home, Path& path, Cursor& gap, bool at_right_edge, MakeEntry& make_entry) {
    Spares spares;
    Rollback free_spares([&] {
      while (spares.count > 0) deallocate_array(spares.nodes[--spares.count], 1);
    });
    make_spares(path, spares);
    Leaf& left = *gap.leaf;
    Leaf& right = *new_leaf();
    Rollback free_leaf([&] { deallocate_array(&right, 1); });
    constexpr std::size_t kLast = Leaf::kCapacity - 1;
    const Made made(right, kLast, make_entry);
    Rollback drop_entry([&] { made.drop(right, kLast); });
    const std::size_t left_count = at_right_edge ? left.count : (left.count + 1u) / 2;
    const ByteBuffer separator = copied_key(
        right, kLast - 1, at_right_edge ? made.key_in(right, kLast) : left.key(left_count));
    if (at_right_edge) wipe(right.keys + kLast, 1);
    drop_entry.dismiss();
    free_leaf.dismiss();
    free_spares.dismiss();

    link_behind(home, left, right);
    if (at_right_edge) {
      gap = {&right, 0};
    } else {
      even_out(left, right, left_count, gap);
    }
    made.place(gap);
    insert_child(home, path, 0, separator, as_node(&right), spares);
    for (; spares.count > 0; --spares.count) deallocate_array(spares.nodes[spares.count - 1], 1);
  }

  /// An entry that was constructed in a free slot of this home and waits, as bytes, for its place.
  struct Made {
    ByteBuffer key;
    ByteBuffer value;

    template <class MakeEntry>
    Made(Leaf& donor, std::size_t slot, MakeEntry& make_entry)
        : Made(donor, (make_entry(donor, slot), slot)) {}
    Made(Leaf& donor, std::size_t slot)
        : key(donor.keys + slot, sizeof(K)), value(donor.values + slot, sizeof(V)) {
      wipe(donor.keys + slot, 1);
      wipe(donor.values + slot, 1);
    }
    /// Requires: free slots in the gap's leaf.
    void place(const Cursor& gap) const {
      const std::size_t slot = gap.leaf->order[gap.leaf->count];
      gap.leaf->log_slot(slot);
      key.copy_to(gap.leaf->keys + slot);
      value.copy_to(gap.leaf->values + slot);
      gap.leaf->admit(gap.position);
    }
    /// The key, back in the slot that it was made in.
    [[nodiscard]] const K& key_in(Leaf& donor, std::size_t slot) const {
      key.copy_to(donor.keys + slot);
      return donor.keys[slot];
    }
    void drop(Leaf& donor, std::size_t slot) const {
      key.copy_to(donor.keys + slot);
      value.copy_to(donor.values + slot);
      destroy_array(donor.values + slot, 1);
      destroy_array(donor.keys + slot, 1);
    }
  };
  /// Bytes of a copy of `key`, made in a free slot of a leaf of this home.
  static ByteBuffer copied_key(Leaf& donor, std::size_t slot, const K& key) {
    log_write(donor.keys + slot, sizeof(K));
    construct(donor.keys + slot, key);
    ByteBuffer copy(donor.keys + slot, sizeof(K));
    wipe(donor.keys + slot, 1);
    return copy;
  }
  static void drop_key(Leaf& donor, std::size_t slot, const ByteBuffer& copy) {
    copy.copy_to(donor.keys + slot);
    destroy_array(donor.keys + slot, 1);
    wipe(donor.keys + slot, 1);
  }
  static void replace_separator(Inner& inner, std::size_t index, const ByteBuffer& key) {
    destroy_array(inner.keys + index, 1);
    log_write(inner.keys + index, sizeof(K));
    key.copy_to(inner.keys + index);
  }
  /// Moves entries between neighbours until the left one has `left_count`; `gap` stays where it was
  /// in the sequence, on the left side of a border.
  static void even_out(Leaf& left, Leaf& right, std::size_t left_count, Cursor& gap) {
    const std::size_t old_left = left.count;
    const std::size_t at = gap.position + (gap.leaf == &right ? old_left : 0);
    if (left_count < old_left) {
      right.take(left, left_count, old_left - left_count, 0);
    } else {
      left.take(right, 0, left_count - old_left, old_left);
    }
    gap = at <= left_count ? Cursor{&left, at} : Cursor{&right, at - left_count};
  }
  void link_behind(Home home, Leaf& left, Leaf& right) {
    Leaf* const behind = left.next.get(home);
    right.next.set(home, behind);
    right.previous.set(home, &left);
    log_write(&left.next, sizeof(left.next));
    left.next.set(home, &right);
    if (behind != nullptr) {
      log_write(&behind->previous, sizeof(behind->previous));
      behind->previous.set(home, &right);
    } else {
      log_write(&last_, sizeof(last_));
      last_.set(home, &right);
    }
  }
  void make_spares(const Path& path, Spares& spares) {
    std::uint32_t level = 0;
    for (; level < height_ && path.steps[level].inner->full(); ++level) {
      spares.nodes[spares.count] = allocate_array<Inner>(this, 1);
      ++spares.count;
    }
    if (level == height_) {
      if (height_ == kHeightMax) throw_error(Errc::limit, "ordered_map", size_);
      spares.nodes[spares.count] = allocate_array<Inner>(this, 1);
      ++spares.count;
    }
  }
  /// Puts `child` and the key before it behind the child that the path took at `level`.
  void insert_child(Home home, Path& path, std::uint32_t level, const ByteBuffer& key,
                    const std::byte* child, Spares& spares) {
    if (level == height_) {
      Inner& root = *spares.nodes[--spares.count];
      log_write(this, sizeof(*this));
      root.children[0].take(root_);
      root.insert(home, 0, key, child);
      root_.set(home, as_node(&root));
      ++height_;
      return;
    }
    Inner& inner = *path.steps[level].inner;
    const std::size_t index = path.steps[level].index;
    if (!inner.full()) return inner.insert(home, index, key, child);

    // At the right edge the old node stays full, but for the two children of the new one.
    const bool at_right_edge = index == inner.count && is_right_edge(path, level);
    const std::size_t kept = at_right_edge ? inner.count - 1u : inner.count / 2;
    Inner& right = *spares.nodes[--spares.count];
    inner.move_tail(kept + 1, right);
    const ByteBuffer up(inner.keys + kept, sizeof(K));
    wipe(inner.keys + kept, 1);
    inner.set_count(kept);
    if (index <= kept) {
      inner.insert(home, index, key, child);
    } else {
      right.insert(home, index - kept - 1, key, child);
    }
    insert_child(home, path, level + 1, up, as_node(&right), spares);
  }
  [[nodiscard]] bool is_right_edge(const Path& path, std::uint32_t level) const {
    for (std::uint32_t above = level + 1; above < height_; ++above) {
      if (path.steps[above].index != path.steps[above].inner->count) return false;
    }
    return true;
  }

  // ---- Removal from a nearly empty node ----

  void refill_leaf(Home home, Path& path, Cursor& at) {
    Inner& parent = *path.steps[0].inner;
    const std::size_t index = path.steps[0].index;
    const std::size_t separator = index < parent.count ? index : index - 1;
    Leaf& left = *leaf_at(home, parent, separator);
    Leaf& right = *leaf_at(home, parent, separator + 1);
    const std::size_t total = left.count + right.count;
    if (total > Leaf::kCapacity) {
      const std::size_t left_count = total / 2;
      const K& first_right =
          left_count < left.count ? left.key(left_count) : right.key(left_count - left.count);
      const ByteBuffer copy = copied_key(*at.leaf, at.leaf->order[at.leaf->count], first_right);
      even_out(left, right, left_count, at);
      replace_separator(parent, separator, copy);
      return;
    }
    even_out(left, right, total, at);
    log_write(&left.next, sizeof(left.next));
    Leaf* const behind = right.next.get(home);
    left.next.set(home, behind);
    if (behind != nullptr) {
      log_write(&behind->previous, sizeof(behind->previous));
      behind->previous.set(home, &left);
    } else {
      log_write(&last_, sizeof(last_));
      last_.set(home, &left);
    }
    deallocate_array(&right, 1);
    destroy_array(parent.keys + separator, 1);
    parent.remove(separator);
    refill_inner(home, path, 0);
  }
  void refill_inner(Home home, Path& path, std::uint32_t level) {
    Inner& inner = *path.steps[level].inner;
    if (level + 1 == height_) {
      if (inner.count != 0) return;
      log_write(this, sizeof(*this));
      root_.set(home, inner.children[0].must(home));
      --height_;
      deallocate_array(&inner, 1);
      return;
    }
    if (inner.count >= kInnerMin) return;
    Inner& parent = *path.steps[level + 1].inner;
    const std::size_t index = path.steps[level + 1].index;
    const std::size_t separator = index < parent.count ? index : index - 1;
    Inner& left = *as_inner(parent.children[separator].must(home));
    Inner& right = *as_inner(parent.children[separator + 1].must(home));
    if (left.count + right.count + 1u <= Inner::kCapacity) {
      left.append(parent.keys[separator], right);
      deallocate_array(&right, 1);
      parent.remove(separator);
      return refill_inner(home, path, level + 1);
    }
    while (left.count + 1u < right.count) left.rotate_left(parent.keys[separator], right);
    while (right.count + 1u < left.count) left.rotate_right(parent.keys[separator], right);
  }

  raw_ptr<std::byte> root_;
  raw_ptr<Leaf> first_;
  raw_ptr<Leaf> last_;
  std::uint64_t size_ = 0;
  std::uint32_t height_ = 0;    ///< levels of inner nodes
  std::uint32_t reserved_ = 0;  ///< zero
};

}  // namespace dolmen::detail
