// SPDX-License-Identifier: Apache-2.0
//
// entry<K, V>: a key and its value, as maps show them; and what their edit_all() gives.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include <dolmen/ptr.hpp>
#include <dolmen/reflect.hpp>

namespace dolmen {

template <class K, class V>
struct entry {
  K first;
  V second;
  DOLMEN_FIELDS(entry, first, second)
  friend bool operator==(const entry&, const entry&) = default;
};

/// An entry whose key and value are kept apart: what ordered_map's iterators lead to.
template <class K, class V>
struct entry_ref {
  const K& first;
  const V& second;
  friend bool operator==(const entry_ref& left, const entry_ref& right) {
    return left.first == right.first && left.second == right.second;
  }
};

/// A key, and the right to write its value.
template <class K, class V>
struct edit_entry {
  const K& first;
  mut<V> second;
};

namespace detail {

template <class P>
concept PairLike = requires(P& pair) {
  pair.first;
  pair.second;
};

/// The key that a map looks up for `key`: itself where Function is transparent, else converted to
/// K.
template <class K, class Function, class Q>
decltype(auto) lookup_key(const Q& key) {
  if constexpr (std::is_same_v<K, Q>) {
    return (key);
  } else if constexpr (!std::is_arithmetic_v<K> &&
                       requires { typename Function::is_transparent; }) {
    return (key);
  } else {
    return static_cast<K>(key);
  }
}

/// Makes the layout of a map with a Hash or order of its own differ from the default's.
template <class Function, class Default>
consteval std::uint32_t function_version() {
  if constexpr (std::is_same_v<Function, Default>) {
    return 0;
  } else {
    LayoutHash hash;
    hash.string(type_name<Function>());
    return static_cast<std::uint32_t>(hash.value() >> 16) | 0x80000000u;
  }
}

/// A map's iterators as a range of edit_entry; each value is logged when it is reached.
template <class K, class V, class MapIterator>
class EditEntries {
 public:
  class Iterator {
   public:
    using value_type = edit_entry<K, V>;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    explicit Iterator(MapIterator at) : at_(at) {}
    edit_entry<K, V> operator*() const {
      V* const value = const_cast<V*>(&(*at_).second);
      log_write(value, sizeof(V));
      return {(*at_).first, Access::make_mut(value)};
    }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    Iterator operator++(int) {
      Iterator old(*this);
      ++at_;
      return old;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    MapIterator at_;
  };

  EditEntries(MapIterator first, MapIterator last) : first_(first), last_(last) {}
  [[nodiscard]] Iterator begin() const { return Iterator(first_); }
  [[nodiscard]] Iterator end() const { return Iterator(last_); }

 private:
  MapIterator first_;
  MapIterator last_;
};

}  // namespace detail
}  // namespace dolmen
