// SPDX-License-Identifier: Apache-2.0
//
// Who looks into an ordered index from afar (docs/ordered-index.md, Who reads): told a key or a
// range, it says which bytes to read, and given them, what to read next or the answer. The nodes
// above the leaves are remembered, so that a key needs one round trip, and a range one for
// kLeavesMax leaves; records, in one more. Without input or output.
//
// Threads: one at a time; hints belong to one thread.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "cluster/ordered_layout.hpp"
#include "cluster/ordered_tree.hpp"
#include "cluster/region_reader.hpp"

namespace dolmen::cluster {

/// A copy of a node as it was read.
class NodeCopy {
 public:
  NodeCopy(base::Bytes bytes, TreeNodeNumber number, const OrderedGeometry& geometry)
      : image_(bytes.begin(), bytes.end()), node_(decode_node(image_, number, geometry)) {}
  NodeCopy(const NodeCopy&) = delete;
  NodeCopy& operator=(const NodeCopy&) = delete;
  NodeCopy(NodeCopy&&) = default;
  NodeCopy& operator=(NodeCopy&&) = default;
  ~NodeCopy() = default;
  /// Null: it was not whole.
  [[nodiscard]] const TreeNode* node() const noexcept { return node_ ? &*node_ : nullptr; }

 private:
  std::vector<std::byte> image_;  ///< the node's keys are in here
  std::optional<TreeNode> node_;
};

/// What a reader remembers of a tree: its root and nodes above leaves. All of it may be old: what
/// it leads to says so.
class OrderedHints {
 public:
  static constexpr std::size_t kNodesKept = 4096;
  explicit OrderedHints(const OrderedGeometry& geometry, std::size_t nodes = kNodesKept) noexcept
      : geometry_(geometry), nodes_max_(nodes) {}

  /// kNoNode: not known, look at kRootAt.
  [[nodiscard]] TreeNodeNumber root() const noexcept { return root_; }
  void learn_root(TreeNodeNumber root) noexcept;
  /// Null: not known. Good until the next call of another function.
  [[nodiscard]] const TreeNode* find(TreeNodeNumber number) const;
  /// Requires: it is live, and no leaf.
  void learn(TreeNodeNumber number, NodeCopy copy);
  /// kNoNode: the root.
  void forget(TreeNodeNumber number);
  void forget_all();
  /// How many entries leaves have, about.
  [[nodiscard]] std::size_t leaf_entries() const noexcept { return leaf_sixteenths_ / 16 + 1; }
  void learn_leaf(std::size_t entries) noexcept {
    leaf_sixteenths_ = leaf_sixteenths_ - leaf_sixteenths_ / 16 + entries;
  }

 private:
  OrderedGeometry geometry_;
  std::size_t nodes_max_;
  TreeNodeNumber root_ = kNoNode;
  std::map<TreeNodeNumber, NodeCopy> nodes_;
  TreeNodeNumber hand_ = kNoNode;  ///< what is forgotten next, where there are too many
  std::size_t leaf_sixteenths_ = 14 * 16;
};

/// What look-ups and scans have in common: the way down to whoever speaks for a key.
class OrderedWalk : public RegionReader {
 protected:
  OrderedWalk(const OrderedGeometry& geometry, std::uint32_t epoch, OrderedHints& hints,
              ReadLevel level, const LedEpoch& led)
      : RegionReader(level, led), geometry_(geometry), epoch_(epoch), hints_(&hints) {}

  struct Record {
    std::vector<std::byte> key;
    std::vector<std::byte> value;
  };

  /// Goes on with what is there. Either it ends, or it wants something.
  virtual void proceed() = 0;
  /// The first round.
  void begin();
  void go_on();

  /// The node of that level, or below it, which speaks for the key; `here()` then is its number.
  /// Null: something is wanted for that.
  [[nodiscard]] const TreeNode* descend(base::Bytes key, std::uint8_t level);
  [[nodiscard]] TreeNodeNumber here() const noexcept { return here_; }
  /// The next descend() begins at the root.
  void leave() noexcept { here_ = parent_ = kNoNode; }
  /// Null: it is wanted.
  [[nodiscard]] const NodeCopy* copy_of(TreeNodeNumber number);
  void drop_copy(TreeNodeNumber number) { copies_.erase(number); }
  /// It is wanted again, after a read that was of no use.
  void read_again(TreeNodeNumber number);
  /// Null: it is wanted, or it is gone by now (is_gone_).
  [[nodiscard]] const Record* record_at(const TreeKey& key);
  void want(const RecordPlace& place);
  [[nodiscard]] bool wants_any() const noexcept { return !reads_.empty(); }
  /// Nothing: a record is wanted, or is gone by now (is_gone_).
  [[nodiscard]] std::optional<std::strong_ordering> order(base::Bytes key, const TreeKey& other);
  /// Which child speaks for the key. Nothing: as order().
  [[nodiscard]] std::optional<std::size_t> child_of(const TreeNode& node, base::Bytes key);
  /// So that what was wrong so far does not count any more.
  void has_got_on() noexcept {
    futile_ = 0;
    got_on_at_ = round_trips();
  }

  OrderedGeometry geometry_;
  std::uint32_t epoch_;
  OrderedHints* hints_;
  std::uint32_t futile_ = 0;  ///< reads that were of no use
  bool is_gone_ = false;      ///< a record that is led to: whoever leads there is to be read again

 private:
  /// What one of reads_ is of.
  struct Wanted {
    TreeNodeNumber node = kNoNode;
    std::optional<RecordPlace> record{};  ///< neither: the root's word
  };
  using RecordKey = std::pair<std::uint32_t, std::uint64_t>;
  [[nodiscard]] static RecordKey key_of(const RecordPlace& place) noexcept {
    return {place.granule, place.generation};
  }

  void take(std::span<const base::Bytes> bytes) final;
  void want(TreeNodeNumber number);
  void want_root();
  void start_over(TreeNodeNumber suspect);

  std::vector<Wanted> wanted_;
  std::map<TreeNodeNumber, NodeCopy> copies_;  ///< read since this began, and not used up
  std::map<RecordKey, std::optional<Record>> records_;
  TreeNodeNumber here_ = kNoNode;
  TreeNodeNumber parent_ = kNoNode;
  std::uint32_t got_on_at_ = 0;  ///< round trips
};

/// One key.
class OrderedLookup final : public OrderedWalk {
 public:
  /// `epoch`: the shard's. Requires: lines for level `epoch` and no other; the hints stay while it
  /// reads.
  OrderedLookup(const OrderedGeometry& geometry, std::uint32_t epoch, OrderedHints& hints,
                base::Bytes key, ReadLevel level, const LedEpoch& led = {});

  /// Requires: found.
  [[nodiscard]] const std::vector<std::byte>& value() const noexcept { return value_; }

 private:
  void proceed() override;

  std::vector<std::byte> key_;
  std::vector<std::byte> value_;
};

/// Most leaves that are read together.
inline constexpr std::size_t kLeavesMax = 16;
/// Records that are read together are no more, and have no more bytes than this, or are one.
inline constexpr std::size_t kScanRecordsMax = 128;
inline constexpr std::size_t kScanRecordBytes = std::size_t{1} << 20;

/// A range, from its begin on; ends as `found`. Each key of it that is or is not there was so at
/// some moment since this began; not all of them at the same moment. At level `hint`, all of it was
/// so at moments that may be long ago, also what is not there.
class OrderedScan final : public OrderedWalk {
 public:
  /// As OrderedTree::scan(). Requires: as OrderedLookup; the range is not backward.
  OrderedScan(const OrderedGeometry& geometry, std::uint32_t epoch, OrderedHints& hints,
              const OrderedRange& range, std::size_t limit, std::size_t bytes, ReadLevel level,
              const LedEpoch& led = {});

  /// Requires: found.
  [[nodiscard]] OrderedPage& page() noexcept { return page_; }

 private:
  enum class Step : std::uint8_t { wait, next, over };
  /// A fence as a leaf had it, whose bytes are kept.
  struct Fence {
    std::vector<std::byte> front;
    TreeKey key;
  };

  void proceed() override;
  void plan();
  [[nodiscard]] Step use(TreeNodeNumber number);
  [[nodiscard]] std::optional<Step> enter(TreeNodeNumber number, const TreeNode& leaf);
  [[nodiscard]] std::optional<Step> use_cell(TreeNodeNumber number, const TreeNode& leaf,
                                             std::size_t at);
  [[nodiscard]] Step leave_leaf(TreeNodeNumber number, const TreeNode& leaf);
  [[nodiscard]] Step go_to(TreeNodeNumber number);
  void want_records(TreeNodeNumber number, std::size_t first);

  OrderedRange range_;
  std::size_t limit_;
  std::size_t bytes_;
  std::size_t used_ = 0;
  OrderedPage page_;
  /// All that is below this is settled.
  std::vector<std::byte> at_;
  /// And all that is below this, which may be more.
  std::optional<Fence> fence_;
  std::deque<TreeNodeNumber> leaves_;  ///< to come
  TreeNodeNumber parent_of_leaves_ = kNoNode;
  TreeNodeNumber link_ = kNoNode;  ///< of the last leaf
  bool is_inside_ = false;         ///< the first of them speaks for what comes next
};

}  // namespace dolmen::cluster
