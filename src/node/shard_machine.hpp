// SPDX-License-Identifier: Apache-2.0
//
// A shard of an index, of either kind, as a replicated state machine (docs/index.md, As a service),
// and what its clients send (docs/formats/index.md, Requests).
//
// Threads: one (the member's).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>
#include <dolmen/error.hpp>
#include <dolmen/index.hpp>
#include <dolmen/state_machine.hpp>

#include "base/bytes.hpp"
#include "cluster/hash_index.hpp"
#include "cluster/index_record.hpp"
#include "cluster/ordered_tree.hpp"
#include "cluster/record_heap.hpp"
#include "sys/clock.hpp"

namespace dolmen::node {

/// The shard's; nothing moves it yet.
inline constexpr std::uint32_t kIndexEpoch = 1;
/// Most changes of one request.
inline constexpr std::size_t kIndexChangesMax = 1024;

/// A page of a range has no more bytes of keys and values than this, or one entry.
inline constexpr std::size_t kPageBytesMax = std::size_t{512} << 10;

struct IndexScan {
  cluster::OrderedRange range{};
  std::uint32_t limit = 0;
  friend bool operator==(const IndexScan&, const IndexScan&) = default;
};

/// What a client sends, and what the log holds of it.
struct IndexRequest {
  std::optional<std::vector<std::byte>> asked{};  ///< the value of this key; or
  std::optional<IndexScan> scan{};                ///< a part of a range, of an ordered index; or
  bool asks_stats = false;                        ///< how many keys there are, and how full; else:
  log::Index release = 0;                         ///< first, of the log; 0: nothing
  std::vector<cluster::IndexCommand> changes{};   ///< put and erase
  friend bool operator==(const IndexRequest&, const IndexRequest&) = default;
};
/// The same where it lies, for whoever carries it out.
struct IndexRequestView {
  std::optional<base::Bytes> asked{};
  std::optional<IndexScan> scan{};
  bool asks_stats = false;
  log::Index release = 0;
  base::Bytes changes{};  ///< each with its length in front; for_each_change() gives them
  std::size_t count = 0;
};
/// Errors: as decode_index_request(), which is this and a copy.
[[nodiscard]] Result<IndexRequestView> view_index_request(base::Bytes bytes);
template <class Visit>
void for_each_change(const IndexRequestView& request, const Visit& visit) {
  base::ByteReader in(request.changes);
  while (in.remaining() > 0) {
    const base::Bytes one = in.take(in.get<std::uint32_t>());
    const auto change = cluster::view_index_command(one, cluster::IndexKind::records);
    DOLMEN_ASSERT(change && "view_index_request() has looked at it");
    visit(*change);
  }
}
/// The request with this release, which it has none of. Requires: it is one with changes.
[[nodiscard]] std::vector<std::byte> with_release(base::Bytes request, log::Index release);
/// Requires: the commands are possible; not more than kIndexChangesMax.
[[nodiscard]] std::vector<std::byte> encode(const IndexRequest& request);
/// Errors: corrupt.
[[nodiscard]] Result<IndexRequest> decode_index_request(base::Bytes bytes);

/// Of a request that asked. Errors: corrupt.
[[nodiscard]] Result<std::optional<std::vector<std::byte>>> decode_index_value(base::Bytes reply);
/// Of each change. Errors: corrupt.
[[nodiscard]] Result<std::vector<cluster::IndexOutcome>> decode_index_outcomes(base::Bytes reply,
                                                                               std::size_t count);
/// Requires: it has at most kPageBytesMax, or one entry.
[[nodiscard]] std::vector<std::byte> encode_index_page(const cluster::OrderedPage& page);
/// Of a request that scanned. Errors: corrupt.
[[nodiscard]] Result<cluster::OrderedPage> decode_index_page(base::Bytes reply);

/// What asks for them; a shard of the directory, too.
[[nodiscard]] std::vector<std::byte> index_stats_question();
[[nodiscard]] bool is_index_stats_question(base::Bytes query) noexcept;
/// Without the group. The answer to that. Errors: corrupt.
[[nodiscard]] std::vector<std::byte> encode_index_stats(const IndexShardStats& stats);
[[nodiscard]] Result<IndexShardStats> decode_index_stats(base::Bytes reply);
[[nodiscard]] IndexShardStats stats_of(const cluster::HashIndex& table) noexcept;
[[nodiscard]] IndexShardStats stats_of(const cluster::OrderedTree& table) noexcept;

/// What is said to somebody who asked for a value.
[[nodiscard]] std::vector<std::byte> encode_index_value(
    const std::optional<std::vector<std::byte>>& value);
[[nodiscard]] std::unexpected<Error> refused_request(const char* what);

/// Table: HashIndex or OrderedTree.
template <class Table, class Geometry>
class ShardMachine : public StateMachine {
 public:
  /// `clock` outlives it. Requires: the geometry is possible.
  ShardMachine(sys::Clock& clock, const Geometry& geometry, std::uint64_t grace_ns)
      : clock_(clock), geometry_(geometry), grace_ns_(grace_ns) {}

  [[nodiscard]] std::size_t memory_bytes() const override { return geometry_.region_bytes(); }

  void use_memory(std::span<std::byte> memory) override {
    DOLMEN_ASSERT(memory.size() == memory_bytes());
    memory_ = memory;
    table_.reset();
    is_used_ = false;
  }

  [[nodiscard]] std::vector<std::byte> apply(Bytes command) override {
    const auto request = view_index_request(command);
    // By all members alike.
    if (!request || request->asks_stats || (request->scan && !kIsOrdered)) return {};
    if (request->asked) return encode_index_value(table_->find(*request->asked));
    if constexpr (kIsOrdered) {
      if (request->scan) {
        return encode_index_page(
            table_->scan(request->scan->range, request->scan->limit, kPageBytesMax));
      }
    }
    std::vector<std::byte> reply;
    reply.reserve(request->count);
    if (request->release > 0) (void)apply(cluster::IndexCommand::release(request->release));
    for_each_change(*request, [&](const cluster::IndexChange& change) {
      reply.push_back(std::byte{static_cast<std::uint8_t>(apply(change))});
    });
    return reply;
  }

  [[nodiscard]] Result<std::vector<std::byte>> read(Bytes query) const override {
    DOLMEN_TRY(const IndexRequestView request, view_index_request(query));
    if (request.asked) return encode_index_value(table_->find(*request.asked));
    if (request.asks_stats) return encode_index_stats(stats_of(*table_));
    if constexpr (kIsOrdered) {
      if (request.scan) {
        return encode_index_page(
            table_->scan(request.scan->range, request.scan->limit, kPageBytesMax));
      }
    }
    return refused_request("a query that is none");
  }

  [[nodiscard]] std::vector<std::byte> snapshot() const override { return table_->snapshot(); }

  [[nodiscard]] Result<void> restore(Bytes state) override {
    if (!table_) reset();
    marked_ = 0;
    return table_->restore(state);
  }

  void reset() override {
    clear();
    auto made = Table::make(memory_, geometry_, kIndexEpoch);
    DOLMEN_ASSERT(made && "the geometry was looked at");
    table_.emplace(std::move(*made));
    marked_ = 0;
  }

  [[nodiscard]] Result<std::vector<std::byte>> effect_of(Bytes request) override {
    DOLMEN_TRY(const IndexRequestView made, view_index_request(request));
    if (made.release != 0) return refused_request("a client's release");
    if (made.asks_stats) return refused_request("a question, as a change");
    if (made.scan && !kIsOrdered) return refused_request("a range of an index without an order");
    // Whoever leads lets memory be used again that nobody leads to since a grace or longer.
    const std::uint64_t now_ns = clock_.monotonic_ns();
    if (!made.asked && !made.scan && now_ns >= marked_ns_ + grace_ns_) {
      const log::Index release = std::exchange(marked_, table_->applied());
      marked_ns_ = now_ns;
      if (release != 0) return with_release(request, release);
    }
    return std::vector<std::byte>(request.begin(), request.end());
  }

  /// Requires: reset() or restore() was called.
  [[nodiscard]] const Table& table() const { return *table_; }
  [[nodiscard]] bool has_table() const noexcept { return table_.has_value(); }

 private:
  static constexpr bool kIsOrdered =
      requires(const Table& table, cluster::OrderedRange range) { table.scan(range, 1, 1); };

  /// As the table wants it. What others may have seen becomes nothing, word by word.
  void clear() {
    if (memory_.empty()) {
      own_.resize(memory_bytes() / 8);
      memory_ = std::as_writable_bytes(std::span(own_));
    }
    if (is_used_) cluster::SharedWords(memory_).clear(0, memory_.size());
    is_used_ = true;
  }
  /// The table counts what it applies itself, in the same order on all members.
  cluster::IndexOutcome apply(const cluster::IndexChange& command) {
    return table_->apply(table_->applied() + 1, command);
  }

  sys::Clock& clock_;
  const Geometry geometry_;
  const std::uint64_t grace_ns_;
  std::vector<std::uint64_t> own_;  ///< where no memory was given
  base::MutableBytes memory_{};
  bool is_used_ = false;
  std::optional<Table> table_;
  /// What was applied when the leader last let memory be used again, and when.
  log::Index marked_ = 0;
  std::uint64_t marked_ns_ = 0;
};

}  // namespace dolmen::node
