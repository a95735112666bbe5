// SPDX-License-Identifier: Apache-2.0
//
// ordered_map<K, V>: a B+-tree in the map's home (an object or the heap), entries in ascending
// order of their keys. Reads like std::map; iterators give {first, second} by value, as references
// to key and value; iteration is const even through mut. Writing is by name: `edit(key)`,
// `update(key, fn)`, `edit_all()`; `m[k]` through a non-const map logs the value that it returns.
//
// 40 bytes when empty. Nodes are 1 KiB for small entries, 2 or 4 KiB for larger ones; they are full
// after ascending insertion and about 80 % full after random insertion. Stored form:
// container_btree_nodes.hpp.
//
// References, iterators and addresses are valid until the next insertion or removal, unlike
// std::map's, and raw addresses only within the section. A copy into another home is a deep one.
// Less: stateless, must not throw, is part of the stored layout by its name.
// Errors: AccessError (object_full, no_transaction, out_of_bounds, …). In a transaction the abort
// restores everything; off the arena a failed insertion leaves the map as it was. Threads: as
// std::map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <ranges>
#include <type_traits>
#include <utility>

#include <dolmen/detail/container_base.hpp>
#include <dolmen/detail/container_btree.hpp>
#include <dolmen/detail/container_entry.hpp>
#include <dolmen/detail/container_hash.hpp>

namespace dolmen {

template <class K, class V, class Less = less>
class ordered_map {
  using Tree = detail::BTree<K, V, Less>;
  using Cursor = typename Tree::Cursor;

 public:
  using key_type = K;
  using mapped_type = V;
  using value_type = entry<K, V>;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using key_compare = Less;

  class const_iterator {
    struct Arrow {
      entry_ref<K, V> entry;
      const entry_ref<K, V>* operator->() const noexcept { return &entry; }
    };

   public:
    using iterator_concept = std::bidirectional_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = entry_ref<K, V>;
    using difference_type = std::ptrdiff_t;
    using reference = entry_ref<K, V>;
    using pointer = Arrow;

    const_iterator() = default;
    reference operator*() const {
      const std::size_t slot = at_.leaf->order[at_.position];
      return {at_.leaf->keys[slot], at_.leaf->values[slot]};
    }
    pointer operator->() const { return {**this}; }
    const_iterator& operator++() {
      Tree::advance(at_);
      return *this;
    }
    const_iterator operator++(int) {
      const_iterator old(*this);
      ++*this;
      return old;
    }
    const_iterator& operator--() {
      Tree::retreat(at_);
      return *this;
    }
    const_iterator operator--(int) {
      const_iterator old(*this);
      --*this;
      return old;
    }
    friend bool operator==(const const_iterator&, const const_iterator&) noexcept = default;

   private:
    friend class ordered_map;
    const_iterator(const Cursor& at) : at_(at) {}  // NOLINT(google-explicit-constructor): private
    Cursor at_;
  };
  using iterator = const_iterator;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;
  using reverse_iterator = const_reverse_iterator;

  ordered_map() = default;
  ordered_map(std::initializer_list<value_type> entries) : ordered_map() {
    insert(entries.begin(), entries.end());
  }
  template <std::input_iterator It>
  ordered_map(It first, It last) : ordered_map() {
    insert(first, last);
  }
  ordered_map(const ordered_map& other) : ordered_map() { copy_from(other); }
  /// Takes the entries over inside one home, else copies.
  // NOLINTNEXTLINE(performance-noexcept-move-constructor): may have to copy
  ordered_map(ordered_map&& other) : ordered_map() {
    if (detail::Home(this) == detail::Home(&other)) {
      tree_.take(other.tree_);
    } else {
      copy_from(other);
    }
  }
  ordered_map& operator=(const ordered_map& other) {
    if (this == &other) return *this;
    clear();
    copy_from(other);
    return *this;
  }
  ordered_map& operator=(ordered_map&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (this == &other) return *this;
    clear();
    if (detail::Home(this) == detail::Home(&other)) {
      detail::log_write(this, sizeof(*this));
      tree_.take(other.tree_);
    } else {
      copy_from(other);
    }
    return *this;
  }
  ~ordered_map() {
    if (!empty()) detail::quietly([this] { clear(); });
  }

  // ---- Reading ----

  [[nodiscard]] size_type size() const noexcept { return tree_.size(); }
  [[nodiscard]] bool empty() const noexcept { return tree_.size() == 0; }
  [[nodiscard]] const_iterator begin() const { return tree_.first(); }
  [[nodiscard]] const_iterator end() const { return tree_.end(); }
  [[nodiscard]] const_iterator cbegin() const { return begin(); }
  [[nodiscard]] const_iterator cend() const { return end(); }
  [[nodiscard]] const_reverse_iterator rbegin() const { return const_reverse_iterator(end()); }
  [[nodiscard]] const_reverse_iterator rend() const { return const_reverse_iterator(begin()); }
  /// The entries with the least and the greatest key. Throws AccessError out_of_bounds if empty.
  [[nodiscard]] entry_ref<K, V> front() const {
    check_not_empty();
    return *begin();
  }
  [[nodiscard]] entry_ref<K, V> back() const {
    check_not_empty();
    return *--end();
  }

  template <class Q = K>
  [[nodiscard]] const_iterator find(const Q& key) const {
    const Cursor at = cursor(key);
    return at.leaf == nullptr ? end() : const_iterator(at);
  }
  /// Null if there is no such key.
  template <class Q = K>
  [[nodiscard]] const V* get(const Q& key) const {
    const Cursor at = cursor(key);
    return at.leaf == nullptr ? nullptr : &at.leaf->value(at.position);
  }
  template <class Q = K>
  [[nodiscard]] bool contains(const Q& key) const {
    return cursor(key).leaf != nullptr;
  }
  template <class Q = K>
  [[nodiscard]] size_type count(const Q& key) const {
    return contains(key) ? 1 : 0;
  }
  /// Throws AccessError out_of_bounds if there is no such key.
  template <class Q = K>
  [[nodiscard]] const V& at(const Q& key) const {
    const Cursor at = present(key);
    return at.leaf->value(at.position);
  }
  /// The first entry whose key is not less than `key`.
  template <class Q = K>
  [[nodiscard]] const_iterator lower_bound(const Q& key) const {
    return tree_.lower_bound(detail::lookup_key<K, Less>(key));
  }
  /// The first entry whose key is greater than `key`.
  template <class Q = K>
  [[nodiscard]] const_iterator upper_bound(const Q& key) const {
    return tree_.upper_bound(detail::lookup_key<K, Less>(key));
  }
  /// The entries with keys from `from` (included) to `to` (not included).
  template <class Q = K, class R = K>
  [[nodiscard]] std::ranges::subrange<const_iterator> range(const Q& from, const R& to) const {
    return {lower_bound(from), lower_bound(to)};
  }

  friend bool operator==(const ordered_map& left, const ordered_map& right) {
    if (left.size() != right.size()) return false;
    auto other = right.begin();
    for (const auto& mine : left) {
      if (!(mine == *other)) return false;
      ++other;
    }
    return true;
  }

  // ---- Writing values ----

  /// Throws AccessError out_of_bounds if there is no such key.
  template <class Q = K>
  [[nodiscard]] mut<V> edit(const Q& key) {
    return detail::Access::make_mut(logged(present(key)));
  }
  [[nodiscard]] mut<V> edit(const_iterator at) { return detail::Access::make_mut(logged(at.at_)); }
  /// Calls fn(V&) if there is such a key; returns whether there is.
  template <class Q = K, class F>
  bool update(const Q& key, F&& fn) {
    const Cursor at = cursor(key);
    if (at.leaf == nullptr) return false;
    std::forward<F>(fn)(*logged(at));
    return true;
  }
  /// A range of {first, second}: const K& and mut<V>; each value is logged when it is reached.
  [[nodiscard]] auto edit_all() { return edit_all(begin(), end()); }
  [[nodiscard]] auto edit_all(const_iterator first, const_iterator last) {
    return detail::EditEntries<K, V, const_iterator>(first, last);
  }
  /// The value, made if there is none, and logged.
  template <class Q = K>
  [[nodiscard]] V& operator[](Q&& key) {
    const auto [at, is_new] = try_emplace(std::forward<Q>(key));
    return is_new ? at.at_.leaf->value(at.at_.position) : *logged(at.at_);
  }

  // ---- Writing entries ----

  /// Makes V(args…) unless there is such a key; neither argument is touched then.
  template <class Q = K, class... Args>
  std::pair<const_iterator, bool> try_emplace(Q&& key, Args&&... args) {
    check_storable<K>();
    check_storable<V>();
    decltype(auto) wanted = detail::lookup_key<K, Less>(key);
    const auto [at, is_new] = tree_.emplace(
        wanted,
        [&](K* to) {
          if constexpr (std::is_same_v<std::remove_cvref_t<Q>, K>) {
            detail::construct(to, std::forward<Q>(key));
          } else {
            detail::construct(to, wanted);
          }
        },
        [&](V* to) { detail::construct(to, std::forward<Args>(args)...); });
    return {const_iterator(at), is_new};
  }
  template <class Q = K, class W = V>
  std::pair<const_iterator, bool> emplace(Q&& key, W&& value) {
    return try_emplace(std::forward<Q>(key), std::forward<W>(value));
  }
  std::pair<const_iterator, bool> insert(const value_type& entry) {
    return try_emplace(entry.first, entry.second);
  }
  std::pair<const_iterator, bool> insert(value_type&& entry) {
    return try_emplace(std::move(entry.first), std::move(entry.second));
  }
  /// Of a std::pair or anything else with `first` and `second`.
  template <detail::PairLike P>
  std::pair<const_iterator, bool> insert(const P& pair) {
    return try_emplace(pair.first, pair.second);
  }
  template <std::input_iterator It>
  void insert(It first, It last) {
    for (; first != last; ++first) insert(*first);
  }
  template <class Q = K, class W = V>
  std::pair<const_iterator, bool> insert_or_assign(Q&& key, W&& value) {
    const auto [at, is_new] = try_emplace(std::forward<Q>(key), std::forward<W>(value));
    if (!is_new) *logged(at.at_) = std::forward<W>(value);
    return {at, is_new};
  }
  template <class Q = K>
    requires(!std::is_convertible_v<const Q&, const_iterator>)
  size_type erase(const Q& key) {
    const Cursor at = cursor(key);
    if (at.leaf == nullptr) return 0;
    tree_.erase(at);
    return 1;
  }
  /// Returns the entry behind it.
  const_iterator erase(const_iterator at) { return tree_.erase(at.at_); }
  /// Requires: [first, last) is a range of this map.
  const_iterator erase(const_iterator first, const_iterator last) {
    size_type count = 0;
    for (const_iterator at = first; at != last; ++at) ++count;
    for (; count > 0; --count) first = erase(first);
    return first;
  }
  /// Gives all memory back.
  void clear() { tree_.clear(); }
  void swap(ordered_map& other) {
    ordered_map mine(std::move(*this));
    *this = std::move(other);
    other = std::move(mine);
  }
  friend void swap(ordered_map& left, ordered_map& right) { left.swap(right); }

 private:
  template <class Q>
  [[gnu::always_inline]] Cursor cursor(const Q& key) const {
    return tree_.find(detail::lookup_key<K, Less>(key));
  }
  template <class Q>
  Cursor present(const Q& key) const {
    const Cursor at = cursor(key);
    if (at.leaf == nullptr) detail::throw_absent("ordered_map: no such key");
    return at;
  }
  void check_not_empty() const {
    if (empty()) detail::throw_absent("ordered_map: empty");
  }
  static V* logged(const Cursor& at) {
    V* const value = &at.leaf->value(at.position);
    detail::log_write(value, sizeof(V));
    return value;
  }
  void copy_from(const ordered_map& other) {
    for (const auto& [key, value] : other) try_emplace(key, value);
  }

  Tree tree_;
};

/// Removes the entries that satisfy `predicate`; returns their number.
template <class K, class V, class Less, class Predicate>
std::size_t erase_if(ordered_map<K, V, Less>& from, Predicate predicate) {
  std::size_t removed = 0;
  for (auto at = from.begin(); at != from.end();) {
    if (predicate(*at)) {
      at = from.erase(at);
      ++removed;
    } else {
      ++at;
    }
  }
  return removed;
}

template <class K, class V, class Less>
struct StorableTraits<ordered_map<K, V, Less>> {
  static constexpr TypeKind kind = TypeKind::ordered_map;
  static constexpr std::string_view name = "ordered_map";
  using element = K;
  using element2 = V;
  static constexpr std::uint32_t layout_version = 1 + detail::function_version<Less, less>();
};

}  // namespace dolmen
