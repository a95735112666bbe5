// SPDX-License-Identifier: Apache-2.0
//
// hash_map<K, V>: linear hashing with one node per entry, in the map's home (an object or the
// heap). Reads like std::unordered_map; iteration is const even through mut. Writing is by name:
// `edit(key)`, `update(key, fn)`, `edit_all()`; `m[k]` through a non-const map logs the value that
// it returns. Growing never rehashes as a whole: one bucket is split per 7.5 insertions.
//
// 24 bytes when empty. A node is 8 bytes and the entry, buckets add 8.5 to 9 bytes per entry. The
// map never gives buckets back but in clear(). Order of iteration: by bucket. Stored form:
// container_hash_table.hpp.
//
// References and pointers to entries stay valid until the entry is erased; iterators, until the
// next insertion; raw addresses only within the section. A copy into another home is a deep one.
// Hash and Eq: stateless, must not throw, are part of the stored layout by their names.
// Errors: AccessError (object_full, no_transaction, out_of_bounds, …). In a transaction the abort
// restores everything; off the arena a failed insertion leaves the entries as they were. Threads:
// as std::unordered_map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <type_traits>
#include <utility>

#include <dolmen/detail/container_base.hpp>
#include <dolmen/detail/container_entry.hpp>
#include <dolmen/detail/container_hash.hpp>
#include <dolmen/detail/container_hash_table.hpp>

namespace dolmen {

namespace detail {

template <class K, class V>
struct HashNode {
  std::uint64_t next;
  dolmen::entry<K, V> entry;
  DOLMEN_FIELDS(HashNode, next, entry)
};

}  // namespace detail

template <class K, class V, class Hash = hash<K>, class Eq = equal_to>
class hash_map {
  using Node = detail::HashNode<K, V>;
  using Position = detail::HashTable::Position;

 public:
  using key_type = K;
  using mapped_type = V;
  using value_type = entry<K, V>;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using hasher = Hash;
  using key_equal = Eq;

  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = entry<K, V>;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = const value_type&;

    const_iterator() = default;
    const value_type& operator*() const { return node_of(at_)->entry; }
    const value_type* operator->() const { return &node_of(at_)->entry; }
    const_iterator& operator++() {
      table_->advance(at_);
      return *this;
    }
    const_iterator operator++(int) {
      const_iterator old(*this);
      ++*this;
      return old;
    }
    friend bool operator==(const const_iterator& left, const const_iterator& right) noexcept {
      return left.at_ == right.at_;
    }

   private:
    friend class hash_map;
    const_iterator(const detail::HashTable* table, const Position& at) : table_(table), at_(at) {}
    const detail::HashTable* table_ = nullptr;
    Position at_;
  };
  using iterator = const_iterator;

  hash_map() = default;
  hash_map(std::initializer_list<value_type> entries) : hash_map() {
    insert(entries.begin(), entries.end());
  }
  template <std::input_iterator It>
  hash_map(It first, It last) : hash_map() {
    insert(first, last);
  }
  hash_map(const hash_map& other) : hash_map() { copy_from(other); }
  /// Takes the entries over inside one home, else copies.
  hash_map(hash_map&& other) : hash_map() {  // NOLINT(performance-noexcept-move-constructor)
    if (detail::Home(this) == detail::Home(&other)) {
      table_.take(other.table_);
    } else {
      copy_from(other);
    }
  }
  hash_map& operator=(const hash_map& other) {
    if (this == &other) return *this;
    clear();
    copy_from(other);
    return *this;
  }
  hash_map& operator=(hash_map&& other) {  // NOLINT(performance-noexcept-move-constructor)
    if (this == &other) return *this;
    clear();
    if (detail::Home(this) == detail::Home(&other)) {
      detail::log_write(this, sizeof(*this));
      table_.take(other.table_);
    } else {
      copy_from(other);
    }
    return *this;
  }
  ~hash_map() {
    if (table_.bucket_count() != 0) detail::quietly([this] { clear(); });
  }

  // ---- Reading ----

  [[nodiscard]] size_type size() const noexcept { return table_.size(); }
  [[nodiscard]] bool empty() const noexcept { return table_.size() == 0; }
  [[nodiscard]] size_type bucket_count() const noexcept { return table_.bucket_count(); }
  [[nodiscard]] const_iterator begin() const { return {&table_, table_.first()}; }
  [[nodiscard]] const_iterator end() const { return {&table_, {}}; }
  [[nodiscard]] const_iterator cbegin() const { return begin(); }
  [[nodiscard]] const_iterator cend() const { return end(); }

  template <class Q = K>
  [[nodiscard]] const_iterator find(const Q& key) const {
    return {&table_, position(key)};
  }
  /// Null if there is no such key. Cost: two cache misses in a large map.
  template <class Q = K>
  [[nodiscard]] const V* get(const Q& key) const {
    const Position at = position(key);
    return at.node == nullptr ? nullptr : &node_of(at)->entry.second;
  }
  template <class Q = K>
  [[nodiscard]] bool contains(const Q& key) const {
    return position(key).node != nullptr;
  }
  template <class Q = K>
  [[nodiscard]] size_type count(const Q& key) const {
    return contains(key) ? 1 : 0;
  }
  /// Throws AccessError out_of_bounds if there is no such key.
  template <class Q = K>
  [[nodiscard]] const V& at(const Q& key) const {
    return present(key)->entry.second;
  }

  friend bool operator==(const hash_map& left, const hash_map& right) {
    if (left.size() != right.size()) return false;
    for (const auto& [key, value] : left) {
      const V* const other = right.get(key);
      if (other == nullptr || !(*other == value)) return false;
    }
    return true;
  }

  // ---- Writing values ----

  /// Throws AccessError out_of_bounds if there is no such key.
  template <class Q = K>
  [[nodiscard]] mut<V> edit(const Q& key) {
    return detail::Access::make_mut(logged(present(key)));
  }
  [[nodiscard]] mut<V> edit(const_iterator at) {
    return detail::Access::make_mut(logged(node_of(at.at_)));
  }
  /// Calls fn(V&) if there is such a key; returns whether there is.
  template <class Q = K, class F>
  bool update(const Q& key, F&& fn) {
    const Position at = position(key);
    if (at.node == nullptr) return false;
    std::forward<F>(fn)(*logged(node_of(at)));
    return true;
  }
  /// A range of {first, second}: const K& and mut<V>; each value is logged when it is reached.
  [[nodiscard]] auto edit_all() {
    return detail::EditEntries<K, V, const_iterator>(begin(), end());
  }
  /// The value, made if there is none, and logged.
  template <class Q = K>
  [[nodiscard]] V& operator[](Q&& key) {
    const auto [at, is_new] = try_emplace(std::forward<Q>(key));
    return is_new ? node_of(at.at_)->entry.second : *logged(node_of(at.at_));
  }

  // ---- Writing entries ----

  /// Makes V(args…) unless there is such a key; neither argument is touched then.
  template <class Q = K, class... Args>
  std::pair<const_iterator, bool> try_emplace(Q&& key, Args&&... args) {
    check_storable<K>();
    check_storable<V>();
    decltype(auto) wanted = detail::lookup_key<K, Hash>(key);
    const std::uint64_t hash = Hash{}(wanted);
    const Position found = position_of(wanted, hash);
    if (found.node != nullptr) return {{&table_, found}, false};
    table_.make_room(HashOf{});
    Node* const node = detail::allocate_array<Node>(this, 1);
    detail::Rollback free_node([&] { detail::deallocate_array(node, 1); });
    if constexpr (std::is_same_v<std::remove_cvref_t<Q>, K>) {
      detail::construct(&node->entry.first, std::forward<Q>(key));
    } else {
      detail::construct(&node->entry.first, wanted);
    }
    detail::Rollback destroy_key([&] { detail::destroy_array(&node->entry.first, 1); });
    detail::construct(&node->entry.second, std::forward<Args>(args)...);
    destroy_key.dismiss();
    free_node.dismiss();
    return {{&table_, table_.link(hash, &node->next)}, true};
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
    if (!is_new) *logged(node_of(at.at_)) = std::forward<W>(value);
    return {at, is_new};
  }
  template <class Q = K>
    requires(!std::is_convertible_v<const Q&, const_iterator>)
  size_type erase(const Q& key) {
    const Position at = position(key);
    if (at.node == nullptr) return 0;
    remove(at);
    return 1;
  }
  /// Returns the entry behind it.
  const_iterator erase(const_iterator at) {
    const_iterator next = at;
    ++next;
    remove(at.at_);
    return next;
  }
  /// Gives all memory back.
  void clear() {
    for (Position at = table_.first(); at.node != nullptr;) {
      Node* const node = node_of(at);
      table_.advance(at);
      free_node(node);
    }
    table_.release();
  }
  /// Buckets for `count` entries, so that no later insertion up to there splits one.
  void reserve(size_type count) { table_.reserve(count, HashOf{}); }
  void swap(hash_map& other) {
    hash_map mine(std::move(*this));
    *this = std::move(other);
    other = std::move(mine);
  }
  friend void swap(hash_map& left, hash_map& right) { left.swap(right); }

 private:
  static Node* node_of(const Position& at) {
    return static_cast<Node*>(static_cast<void*>(at.node));
  }
  struct HashOf {  // a class, so that its body is compiled when K and V are complete
    std::uint64_t operator()(const std::uint64_t* node) const {
      return Hash{}(static_cast<const Node*>(static_cast<const void*>(node))->entry.first);
    }
  };
  template <class Q>
  [[gnu::always_inline]] Position position_of(const Q& wanted, std::uint64_t hash) const {
    return table_.find(hash, [&](const std::uint64_t* node) {
      return Eq{}(static_cast<const Node*>(static_cast<const void*>(node))->entry.first, wanted);
    });
  }
  template <class Q>
  [[gnu::always_inline]] Position position(const Q& key) const {
    decltype(auto) wanted = detail::lookup_key<K, Hash>(key);
    return position_of(wanted, Hash{}(wanted));
  }
  template <class Q>
  Node* present(const Q& key) const {
    const Position at = position(key);
    if (at.node == nullptr) detail::throw_absent("hash_map: no such key");
    return node_of(at);
  }
  static V* logged(Node* node) {
    detail::log_write(&node->entry.second, sizeof(V));
    return &node->entry.second;
  }
  static void free_node(Node* node) {
    detail::destroy_array(&node->entry.second, 1);
    detail::destroy_array(&node->entry.first, 1);
    detail::deallocate_array(node, 1);
  }
  void remove(const Position& at) {
    table_.unlink(at);
    free_node(node_of(at));
  }
  void copy_from(const hash_map& other) {
    reserve(other.size());
    for (const auto& [key, value] : other) try_emplace(key, value);
  }

  detail::HashTable table_;
};

/// Removes the entries that satisfy `predicate`; returns their number.
template <class K, class V, class Hash, class Eq, class Predicate>
std::size_t erase_if(hash_map<K, V, Hash, Eq>& from, Predicate predicate) {
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

template <class K, class V, class Hash, class Eq>
struct StorableTraits<hash_map<K, V, Hash, Eq>> {
  static constexpr TypeKind kind = TypeKind::hash_map;
  static constexpr std::string_view name = "hash_map";
  using element = K;
  using element2 = V;
  static constexpr std::uint32_t layout_version =
      1 + detail::function_version<Hash, hash<K>>() + 3 * detail::function_version<Eq, equal_to>();
};

}  // namespace dolmen
