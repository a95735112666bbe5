// SPDX-License-Identifier: Apache-2.0
//
// One shard of the ordered index (docs/ordered-index.md): a tree whose nodes know their right
// neighbours, as a state machine over the entries of its group's log. It lies in memory of the
// caller's, which others may read while it changes.
//
// What stays true after each entry:
//  1. The region is the fold of the entries: equal entries give equal bytes.
//  2. The live nodes of a level speak for all keys, each for those from its `low` to its right
//     neighbour's; the nodes above lead to each of them.
//  3. A key is in the leaf that speaks for it, once; counts are exact.
//  4. Each node that was ever used is live, retired or free; so is each block of the heap, and a
//     record knows how many places lead to it.
// And between any two stores: a leaf that can be read as a whole and speaks for a key is right
// about it, as of some moment of the entry that is being applied.
//
// Threads: one at a time. No clock or randomness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "cluster/hash_index.hpp"
#include "cluster/ordered_layout.hpp"
#include "cluster/record_heap.hpp"

namespace dolmen::cluster {

/// Two neighbours that need no more bytes together than this become one.
inline constexpr std::size_t kMergeBytes = kNodeBytes / 2;

/// The words at kIndexStateAt. Readers look at the root and the levels, as a hint.
struct OrderedState {
  log::Index applied = 0;  ///< the last entry
  TreeNodeNumber root = kNoNode;
  std::uint32_t levels = 0;
  std::uint64_t keys = 0;
  std::uint32_t epoch = 0;
  std::uint32_t nodes_used = 0;  ///< that were ever used: the first ones
  std::uint32_t nodes_live = 0;
  std::uint32_t nodes_retired = 0;
  TreeNodeNumber free_node = kNoNode;
  TreeNodeNumber retired_first = kNoNode;
  TreeNodeNumber retired_last = kNoNode;
  std::uint32_t reserved = 0;
  HeapState heap{};
};
static_assert(std::is_trivially_copyable_v<OrderedState> && sizeof(OrderedState) == 312 &&
              std::has_unique_object_representations_v<OrderedState> &&
              kIndexStateAt + sizeof(OrderedState) <= kNodesAt);
/// Where readers find the root (the low half of a word) and the number of levels.
inline constexpr std::size_t kRootAt = kIndexStateAt + offsetof(OrderedState, root);
static_assert(kRootAt % 8 == 0);

struct OrderedStatistics {
  std::uint64_t keys = 0;
  std::uint32_t levels = 0;
  std::uint32_t nodes_live = 0;
  std::uint32_t nodes_retired = 0;
  std::uint32_t nodes_free = 0;       ///< those never used among them
  std::uint64_t record_bytes = 0;     ///< of live records
  std::uint64_t heap_bytes_used = 0;  ///< that was ever used
};

struct OrderedEntry {
  std::vector<std::byte> key{};
  std::vector<std::byte> value{};
  friend bool operator==(const OrderedEntry&, const OrderedEntry&) = default;
};

/// Keys from `from` on, up to but without `to`.
struct OrderedRange {
  std::vector<std::byte> from{};
  std::optional<std::vector<std::byte>> to{};  ///< none: all that come
  bool is_backward = false;                    ///< the last ones first
  friend bool operator==(const OrderedRange&, const OrderedRange&) = default;
};

/// Some of a range, in its order.
struct OrderedPage {
  std::vector<OrderedEntry> entries{};
  bool is_last = false;  ///< there are no more
};

class OrderedTree {
 public:
  /// An empty tree. Requires: the region begins at a multiple of 8, is all zero, stays as long as
  /// the tree, and nobody else writes there. Errors: invalid_argument (an impossible geometry, or
  /// more than the region holds).
  [[nodiscard]] static Result<OrderedTree> make(base::MutableBytes region,
                                                const OrderedGeometry& geometry,
                                                std::uint32_t epoch);

  /// Commands are those of a hash index of records. Requires: `index` is above that of every
  /// earlier one; the command is possible. Cost: a few nodes; `restamp` writes all nodes, `release`
  /// what becomes free.
  IndexOutcome apply(log::Index index, const IndexChange& command);

  [[nodiscard]] std::optional<std::vector<std::byte>> find(base::Bytes key) const;
  /// At most `limit` entries, and no more behind the one that makes them longer than `bytes`.
  [[nodiscard]] OrderedPage scan(const OrderedRange& range, std::size_t limit,
                                 std::size_t bytes) const;

  /// The last entry that was applied; 0: none.
  [[nodiscard]] log::Index applied() const noexcept { return state_.applied; }
  [[nodiscard]] std::uint32_t epoch() const noexcept { return state_.epoch; }
  [[nodiscard]] const OrderedGeometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] OrderedStatistics statistics() const noexcept;

  /// Of all that was ever used of the region: equal on all replicas that applied the same entries.
  [[nodiscard]] std::uint64_t fingerprint() const;
  /// Everything. Cost: a copy of what was ever used.
  [[nodiscard]] std::vector<std::byte> snapshot() const;
  /// Becomes what snapshot() told, possibly in another region, byte for byte. Nobody who reads
  /// meanwhile sees parts of both. Errors: corrupt, and the tree is as it was, or empty (applied()
  /// is 0) where a checksum fits and what is inside does not. Cost: as check().
  [[nodiscard]] Result<void> restore(base::Bytes snapshot);
  /// Looks at everything: rules 2 to 4 above. Errors: corrupt, with a node's number or a place in
  /// the heap. Cost: reads all.
  [[nodiscard]] Result<void> check() const;

 private:
  /// A node and the copy that its keys are in.
  struct Loaded {
    std::vector<std::byte> image;
    TreeNode node;
  };
  struct Step {
    TreeNodeNumber number = kNoNode;
    std::size_t child = 0;  ///< which one the path goes on in
  };
  using Path = std::vector<Step>;  ///< from the root to a leaf
  struct Survey;

  OrderedTree(base::MutableBytes region, const OrderedGeometry& geometry)
      : memory_(region),
        geometry_(geometry),
        heap_(memory_, geometry.of_records(), geometry.heap_at()) {}

  void start(std::uint32_t epoch);
  IndexOutcome put(const IndexChange& command);
  IndexOutcome erase(const IndexChange& command);
  void release(log::Index upto);
  void restamp(std::uint32_t epoch);

  [[nodiscard]] TreeNode view(TreeNodeNumber number) const;
  [[nodiscard]] Loaded load(TreeNodeNumber number) const;
  /// All of a key. Requires: its record is there.
  [[nodiscard]] base::Bytes whole(const TreeKey& key) const;
  [[nodiscard]] std::optional<base::Bytes> try_whole(const TreeKey& key) const;
  [[nodiscard]] bool is_below(base::Bytes key, const TreeKey& other) const;
  [[nodiscard]] Path descend(base::Bytes key) const;
  /// The first cell of a leaf that is not below the key.
  [[nodiscard]] std::size_t lower_bound(const TreeNode& leaf, base::Bytes key) const;
  [[nodiscard]] std::size_t child_of(const TreeNode& node, base::Bytes key) const;
  [[nodiscard]] OrderedEntry entry_of(const TreeCell& cell) const;

  /// Stores it, and counts who leads to records.
  void write(TreeNodeNumber number, TreeNode node);
  [[nodiscard]] std::uint32_t nodes_at_hand() const noexcept;
  TreeNodeNumber take_node();
  void retire_node(TreeNodeNumber number, TreeNodeNumber heir);
  void write_state() noexcept;

  void split(const Path& path, std::size_t depth, std::size_t at, const TreeKey& low);
  void lead_to(const Path& path, std::size_t depth, const TreeKey& low, TreeNodeNumber child);
  void merge(Path& path, std::size_t depth);
  [[nodiscard]] bool merge_at(TreeNodeNumber parent, std::size_t left);
  void lower_root();

  [[nodiscard]] bool is_possible(const OrderedState& state) const noexcept;
  [[nodiscard]] Result<void> check_queues() const;
  [[nodiscard]] Result<void> check_below(TreeNodeNumber number, std::uint32_t level,
                                         Survey& survey) const;
  [[nodiscard]] Result<void> check_cells(TreeNodeNumber number, const TreeNode& node,
                                         Survey& survey) const;
  void become(const OrderedState& state, base::Bytes ranges);

  SharedWords memory_;
  OrderedGeometry geometry_;
  RecordHeap heap_;
  OrderedState state_;
};

}  // namespace dolmen::cluster
