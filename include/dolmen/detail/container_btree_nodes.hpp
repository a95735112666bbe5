// SPDX-License-Identifier: Apache-2.0
//
// The two kinds of nodes of ordered_map's B+-tree, fixed in size, and what can be done inside them.
//
// A leaf keeps its entries in slots that do not move: `order` is a permutation of the slot numbers
// whose first `count` are the entries by key, the rest the free slots. An insertion changes its own
// slot and a few bytes of `order`. An inner node keeps `count` keys in order and count + 1
// children; keys[i] is greater than every key below children[i] and not greater than any below
// children[i + 1].
//
// Everything logs what it changes. Values move by their bytes, inside one home (see
// container_base.hpp). Threads: as the containers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <dolmen/detail/container_base.hpp>

namespace dolmen::detail {

/// Up to whole cache lines: allocations of those begin at one where the home can do it.
constexpr std::size_t node_bytes(std::size_t bytes) { return round_up(bytes, 64); }

/// The most elements that fit into a node of 1 KiB if that is at least `enough`, else 2, else 4
/// KiB; and never fewer than 4. `bytes_of(n)`: bytes of a node with n elements.
template <class BytesOf>
constexpr std::size_t node_capacity(BytesOf bytes_of, std::size_t enough) {
  std::size_t count = 4;
  for (const std::size_t target : {1024, 2048, 4096}) {
    while (count < 255 && bytes_of(count + 1) <= target) ++count;
    if (count >= enough) break;
  }
  return count;
}

/// Where the arrays of a leaf lie, from the sizes and alignments of its keys and values alone: who
/// reads it without the types computes the same.
struct LeafLayout {
  std::size_t key_bytes, key_align, value_bytes, value_align;

  [[nodiscard]] constexpr std::size_t keys_at(std::size_t order) const {
    return round_up(18 + order, key_align);
  }
  [[nodiscard]] constexpr std::size_t values_at(std::size_t slots, std::size_t order) const {
    return round_up(keys_at(order) + slots * key_bytes, value_align);
  }
  /// Bytes of a leaf with that many slots and bytes for their order.
  [[nodiscard]] constexpr std::size_t bytes(std::size_t slots, std::size_t order) const {
    return round_up(values_at(slots, order) + slots * value_bytes,
                    std::max({key_align, value_align, std::size_t{8}}));
  }
  [[nodiscard]] constexpr std::size_t capacity() const {
    return node_capacity([&](std::size_t n) { return node_bytes(bytes(n, n)); }, 16);
  }
  /// As many as make the leaf fill its cache lines.
  [[nodiscard]] constexpr std::size_t order_bytes() const {
    const std::size_t slots = capacity();
    std::size_t order = slots;
    while (bytes(slots, order) % 64 != 0) ++order;
    return order;
  }
};

/// The same of an inner node.
struct InnerLayout {
  std::size_t key_bytes, key_align;

  [[nodiscard]] constexpr std::size_t children_at(std::size_t keys) const {
    return round_up(round_up(2, key_align) + keys * key_bytes, 8);
  }
  /// Bytes of a node with that many keys.
  [[nodiscard]] constexpr std::size_t bytes(std::size_t keys) const {
    return children_at(keys) + (keys + 1) * 8;
  }
  [[nodiscard]] constexpr std::size_t capacity() const {
    return node_capacity([&](std::size_t n) { return node_bytes(bytes(n)); }, 16);
  }
};

/// Shifts elements [index, count) of an array by one place up or down, and logs.
template <class T>
void open_place(T* first, std::size_t index, std::size_t count) {
  log_and_relocate(first + index + 1, first + index, (count - index) * sizeof(T));
  log_write(first + index, sizeof(T));
}
template <class T>
void close_place(T* first, std::size_t index, std::size_t count) {
  log_and_relocate(first + index, first + index + 1, (count - index - 1) * sizeof(T));
  wipe(first + count - 1, 1);
}

template <class K, class V>
struct BTreeLeaf {
  static constexpr LeafLayout kLayout{sizeof(K), alignof(K), sizeof(V), alignof(V)};
  static constexpr std::size_t kCapacity = kLayout.capacity();
  static constexpr std::size_t kOrderBytes = kLayout.order_bytes();

  raw_ptr<BTreeLeaf> previous;
  raw_ptr<BTreeLeaf> next;
  std::uint16_t count;
  std::uint8_t order[kOrderBytes];  // directly behind count: they change together
  K keys[kCapacity];
  V values[kCapacity];
  DOLMEN_FIELDS(BTreeLeaf, previous, next, count, order, keys, values)

  BTreeLeaf() = delete;  // made from zeroed memory by prepare()
  void prepare() noexcept {
    static_assert(sizeof(BTreeLeaf) == kLayout.bytes(kCapacity, kOrderBytes));
    for (std::size_t i = 0; i < kCapacity; ++i) order[i] = static_cast<std::uint8_t>(i);
  }

  [[nodiscard]] std::size_t free_count() const noexcept { return kCapacity - count; }
  [[nodiscard]] K& key(std::size_t position) { return keys[order[position]]; }
  [[nodiscard]] V& value(std::size_t position) { return values[order[position]]; }

  /// Number of entries for whose keys before(key) holds; those come first.
  template <class Before>
  [[gnu::always_inline]] std::size_t partition_point(Before&& before) const {
    std::size_t first = 0;
    std::size_t left = count;
    while (left > 1) {
      const std::size_t half = left / 2;
      first += before(keys[order[first + half - 1]]) ? half : 0;
      left -= half;
    }
    return first + (left == 1 && before(keys[order[first]]) ? 1 : 0);
  }

  /// Everything that changes when entries come and go, but the entries.
  void log_order() { log_write(&count, sizeof(count) + kCapacity); }
  void log_slot(std::size_t slot) {
    log_write(keys + slot, sizeof(K));
    log_write(values + slot, sizeof(V));
  }
  /// Makes the first free slot, which is filled, the entry at `position`.
  void admit(std::size_t position) {
    log_write(&count, sizeof(count) + count + 1u);
    const std::uint8_t slot = order[count];
    relocate(order + position + 1, order + position, count - position);
    order[position] = slot;
    ++count;
  }
  /// Destroys the entry at `position` and frees its slot.
  void remove(std::size_t position) {
    const std::uint8_t slot = order[position];
    destroy_array(values + slot, 1);
    destroy_array(keys + slot, 1);
    wipe(keys + slot, 1);
    wipe(values + slot, 1);
    log_write(&count, sizeof(count) + count);
    relocate(order + position, order + position + 1, count - position - 1u);
    --count;
    order[count] = slot;
  }
  /// Moves entries [position, position + moved) of `from` to `to_position` here. Requires: room for
  /// them.
  void take(BTreeLeaf& from, std::size_t position, std::size_t moved, std::size_t to_position) {
    log_order();
    from.log_order();
    for (std::size_t i = 0; i < moved; ++i) {
      const std::size_t to = order[count + i];
      const std::size_t source = from.order[position + i];
      log_slot(to);
      relocate(keys + to, from.keys + source, sizeof(K));
      relocate(values + to, from.values + source, sizeof(V));
      wipe(from.keys + source, 1);
      wipe(from.values + source, 1);
    }
    std::rotate(order + to_position, order + count, order + count + moved);
    count = static_cast<std::uint16_t>(count + moved);
    std::rotate(from.order + position, from.order + position + moved, from.order + from.count);
    from.count = static_cast<std::uint16_t>(from.count - moved);
  }
  /// The cache lines that a search reads, all at once.
  void prefetch() const noexcept { prefetch_lines(18 + kOrderBytes + kCapacity * sizeof(K)); }
  /// For scans: what they read next, the whole leaf if its entries are small.
  void prefetch_ahead() const noexcept { prefetch_lines(kFollowsEntries ? 64 : 1024); }
  void prefetch_entry(std::size_t position) const noexcept {
    const std::size_t slot = order[position];
    __builtin_prefetch(keys + slot);
    __builtin_prefetch(values + slot);
    if constexpr (sizeof(V) > 64) {
      __builtin_prefetch(static_cast<const std::byte*>(static_cast<const void*>(values + slot)) +
                         sizeof(V) - 1);
    }
  }
  /// Entries large enough to be fetched one by one during a scan: their slots are in no order.
  static constexpr bool kFollowsEntries = sizeof(K) + sizeof(V) > 32;

 private:
  void prefetch_lines(std::size_t end) const noexcept {
    const std::byte* const begin = static_cast<const std::byte*>(static_cast<const void*>(this));
    for (std::size_t at = 0; at < end && at < sizeof(*this) && at < 1024; at += 64) {
      __builtin_prefetch(begin + at);
    }
  }
};

template <class K>
struct BTreeInner {
  static constexpr InnerLayout kLayout{sizeof(K), alignof(K)};
  static constexpr std::size_t kCapacity = kLayout.capacity();
  static constexpr std::size_t kSpare =
      (node_bytes(kLayout.bytes(kCapacity)) - kLayout.bytes(kCapacity)) / 8;
  using Child = raw_ptr<std::byte>;

  std::uint16_t count;
  K keys[kCapacity];
  Child children[kCapacity + 1 + kSpare];
  DOLMEN_FIELDS(BTreeInner, count, keys, children)

  BTreeInner() = delete;  // zeroed memory is an inner node without keys

  [[nodiscard]] bool full() const noexcept { return count == kCapacity; }
  template <class Before>
  [[gnu::always_inline]] std::size_t partition_point(Before&& before) const {
    std::size_t first = 0;
    std::size_t left = count;
    while (left > 1) {
      const std::size_t half = left / 2;
      first += before(keys[first + half - 1]) ? half : 0;
      left -= half;
    }
    return first + (left == 1 && before(keys[first]) ? 1 : 0);
  }

  void set_count(std::size_t value) { put(count, static_cast<std::uint16_t>(value)); }
  /// Puts a key's bytes at `index` and a child behind it. Requires: not full.
  void insert(Home home, std::size_t index, const ByteBuffer& key, const std::byte* child) {
    open_place(keys, index, count);
    key.copy_to(keys + index);
    open_place(children, index + 1, count + 1u);
    children[index + 1].set(home, child);
    set_count(count + 1u);
  }
  /// Forgets the key at `index` (whose bytes live on elsewhere or are dead) and the child behind
  /// it.
  void remove(std::size_t index) {
    close_place(keys, index, count);
    close_place(children, index + 1, count + 1u);
    set_count(count - 1u);
  }
  /// Moves keys [first, count) and the children behind each, and the child before them, to an empty
  /// node.
  void move_tail(std::size_t first, BTreeInner& to) {
    const std::size_t moved = count - first;
    log_and_relocate(to.keys, keys + first, moved * sizeof(K));
    log_and_relocate(to.children, children + first, (moved + 1) * sizeof(Child));
    wipe(keys + first, moved);
    wipe(children + first, moved + 1);
    to.set_count(moved);
    set_count(first);
  }
  /// Appends a key that came down from the parent, and everything of `right`.
  void append(const K& key, BTreeInner& right) {
    log_and_relocate(keys + count, &key, sizeof(K));
    log_and_relocate(keys + count + 1, right.keys, right.count * sizeof(K));
    log_and_relocate(children + count + 1, right.children, (right.count + 1u) * sizeof(Child));
    set_count(count + right.count + 1u);
  }
  /// Moves a child from the end of this node to the front of `right`; the key between them goes
  /// round.
  void rotate_right(K& between, BTreeInner& right) {
    open_place(right.keys, 0, right.count);
    open_place(right.children, 0, right.count + 1u);
    relocate(right.keys, &between, sizeof(K));
    right.children[0].take(logged(children[count]));
    log_and_relocate(&between, keys + count - 1, sizeof(K));
    wipe(keys + count - 1, 1);
    right.set_count(right.count + 1u);
    set_count(count - 1u);
  }
  void rotate_left(K& between, BTreeInner& right) {
    log_and_relocate(keys + count, &between, sizeof(K));
    logged(children[count + 1]).take(logged(right.children[0]));
    log_and_relocate(&between, right.keys, sizeof(K));
    close_place(right.keys, 0, right.count);
    close_place(right.children, 0, right.count + 1u);
    set_count(count + 1u);
    right.set_count(right.count - 1u);
  }

 private:
  static Child& logged(Child& child) {
    log_write(&child, sizeof(child));
    return child;
  }
};

}  // namespace dolmen::detail
