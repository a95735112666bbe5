// SPDX-License-Identifier: Apache-2.0
//
// The stored types that the tests of type tables share, and whose encoding is the golden file
// tests/golden/types_v1.bin: they never change. Thread contract: constant data.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <dolmen/reflect.hpp>

namespace type_fixtures {

template <class T>
struct Ptr {
  std::uint64_t bits = 0;
};
template <class T>
struct Vector {
  Ptr<T> data;
  std::uint32_t size = 0;
  std::uint32_t capacity = 0;
};
template <class K, class V>
struct Map {
  std::uint64_t root = 0;
};
struct Uuid {
  std::uint64_t halves[2];
};

enum class Topic : std::uint8_t { news, sport };
struct Page;
struct Link {
  Ptr<Page> target;
  std::uint32_t weight;
  char label[12];
};
struct Page {
  std::int64_t id;
  char title[24];
  Topic topic;
  double rank;
  std::array<Link, 2> best;
  Vector<Link> links;
  Map<std::uint64_t, Link[4]> archive;
  Uuid uuid;
  Ptr<const Page> next;
};

}  // namespace type_fixtures

template <class T>
struct dolmen::StorableTraits<type_fixtures::Ptr<T>> {
  static constexpr TypeKind kind = TypeKind::pointer;
  static constexpr std::string_view name = "ptr";
  using element = T;
};
template <class T>
struct dolmen::StorableTraits<type_fixtures::Vector<T>> {
  static constexpr TypeKind kind = TypeKind::vector;
  static constexpr std::string_view name = "vector";
  static constexpr std::uint32_t layout_version = 2;
  using element = T;
};
template <class K, class V>
struct dolmen::StorableTraits<type_fixtures::Map<K, V>> {
  static constexpr TypeKind kind = TypeKind::hash_map;
  static constexpr std::string_view name = "hash_map";
  using element = K;
  using element2 = V;
};
template <>
struct dolmen::StorableTraits<type_fixtures::Uuid> {
  static constexpr TypeKind kind = TypeKind::opaque;
  static constexpr std::string_view name = "uuid";
};
