// SPDX-License-Identifier: Apache-2.0
//
// An ordered index in memory of its own, for tests and fuzzers, and keys that are hard to order.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "cluster/ordered_tree.hpp"

namespace dolmen::cluster {

class Tree {
 public:
  explicit Tree(std::uint32_t nodes = 400, std::uint64_t heap_bytes = 4 << 20,
                std::uint64_t table = 7)
      : geometry_{.table = {table, 9}, .heap_bytes = heap_bytes, .node_count = nodes},
        words_(geometry_.region_bytes() / 8),
        tree_(OrderedTree::make(region(), geometry_, 1).value()) {}

  base::MutableBytes region() { return std::as_writable_bytes(std::span(words_)); }
  OrderedTree& tree() { return tree_; }
  const OrderedGeometry& geometry() const { return geometry_; }
  log::Index last() const { return last_; }
  void goes_on_at(log::Index last) { last_ = last; }

  IndexOutcome apply(const IndexCommand& command) {
    // As a log holds it.
    const auto bytes = encode_index_command(command, IndexKind::records);
    return tree_.apply(++last_, decode_index_command(bytes, IndexKind::records).value());
  }
  IndexOutcome put(const std::string& key, const std::string& value) {
    return apply(IndexCommand::put(base::as_bytes(key), base::as_bytes(value)));
  }
  IndexOutcome erase(const std::string& key) {
    return apply(IndexCommand::erase(base::as_bytes(key)));
  }
  /// As readers see it.
  std::optional<TreeNode> node(TreeNodeNumber number) {
    return decode_node(base::Bytes(region()).subspan(geometry_.node_at(number), kNodeBytes), number,
                       geometry_);
  }

 private:
  OrderedGeometry geometry_;
  std::vector<std::uint64_t> words_;
  OrderedTree tree_;
  log::Index last_ = 0;
};

/// Short, long, with zeros, and alike for longer than a node holds of them. The order of strings is
/// that of their bytes.
inline std::string hard_key(std::uint64_t number) {
  std::string digits(3, '\0');
  for (std::size_t i = 0; i < 3; ++i) {
    digits[2 - i] = static_cast<char>(number * 37 >> (8 * i) & 0xFF);
  }
  switch (number % 8) {
    case 0:
      return digits;
    case 1:
      return std::string(number % 5, '\0');
    case 2:
      return std::string(100, 'p') + digits;
    case 3:
      return std::string(kKeyInlineBytes - 1, 'q') + digits;
    case 4:
      return std::string(kKeyInlineBytes + 60, 'q') + digits;
    case 5:
      return std::string(kKeyInlineBytes, 'q') + std::string(number % 7, 'q');
    case 6:
      return digits + std::string(200, '\xFF');
    default:
      return number % 64 == 7 ? std::string(64 * 1024 - 3, 'r') + digits : "key " + digits;
  }
}

inline std::string hard_value(base::Random& random) {
  const std::uint64_t bytes = random.chance(1, 12) ? random.below(3000) : random.below(80);
  return std::string(bytes, static_cast<char>('a' + random.below(26)));
}

/// The log of a small tree, which the golden file holds and the fuzzer begins with: it grows and
/// shrinks again in part.
inline void grow_golden(Tree& tree) {
  for (std::uint64_t i = 0; i < 48; ++i) {
    tree.put(i % 64 == 7 ? "seven" : hard_key(i), std::string(i * 4, 'v'));
  }
  for (std::uint64_t i = 0; i < 48; i += 3) tree.erase(hard_key(i));
  tree.apply(IndexCommand::release(tree.last() - 8));
  tree.apply(IndexCommand::restamp(5));
}

}  // namespace dolmen::cluster
