// SPDX-License-Identifier: Apache-2.0
//
// Stored containers of an object whose bytes nobody vouches for: before code that trusts its
// storage follows it, everything that it would follow is looked at here. Bounded by the object.
//
// Threads: as the object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include <dolmen/detail/container_btree_nodes.hpp>
#include <dolmen/detail/container_hash_table.hpp>

#include "object/heap.hpp"

namespace dolmen::txn {

/// Every function gives success if what it looks at can be followed, else corrupt with a context
/// that says what is wrong and the offset where.
class ContainerCheck {
 public:
  /// Looks at a node's entry; given the node's offset.
  using Entry = std::function<Result<void>(std::uint64_t node)>;

  explicit ContainerCheck(const object::HeapReader& heap) noexcept : heap_(heap) {}

  [[nodiscard]] Result<void> string(std::uint64_t at) const;
  /// All of a hash_map whose nodes have `node_bytes`.
  [[nodiscard]] Result<void> hash_map(std::uint64_t at, std::uint64_t node_bytes,
                                      const Entry& entry) const;
  /// What looking up, inserting or erasing one key of this hash follows.
  [[nodiscard]] Result<void> hash_map_key(std::uint64_t at, std::uint64_t hash,
                                          std::uint64_t node_bytes, const Entry& entry) const;
  /// All of an ordered_map. Its keys' order is not looked at.
  [[nodiscard]] Result<void> ordered_map(std::uint64_t at, const detail::LeafLayout& leaf) const;

  /// Whether an allocation of that many bytes begins at `location`.
  [[nodiscard]] bool is_storage(std::uint64_t location, std::uint64_t bytes) const noexcept;

 private:
  struct Buckets;
  struct Tree;

  template <class T>
  [[nodiscard]] T load(std::uint64_t offset) const noexcept;
  [[nodiscard]] Result<Buckets> buckets_of(std::uint64_t at, std::uint64_t node_bytes) const;
  [[nodiscard]] Result<std::uint64_t> segment(const Buckets& buckets,
                                              const detail::HashLayout::Place& place) const;
  [[nodiscard]] Result<void> bucket(Buckets& buckets, std::uint32_t index,
                                    const Entry& entry) const;
  [[nodiscard]] Result<void> subtree(Tree& tree, std::uint64_t node, std::uint32_t level) const;
  [[nodiscard]] Result<void> leaf(Tree& tree, std::uint64_t node) const;

  const object::HeapReader& heap_;
};

}  // namespace dolmen::txn
