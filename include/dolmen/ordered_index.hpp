// SPDX-License-Identifier: Apache-2.0
//
// A table of keys and values, byte strings both, in the order of the keys' bytes: what index.hpp
// is, and the entries of a range besides. Each shard of it has a range of its own, and is the state
// machine of one group of members (replicated.hpp). Clients read keys and ranges in the memory of
// whoever leads. docs/ordered-index.md shows how, and what is true. In a cluster: cluster.hpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/index.hpp>
#include <dolmen/replicated.hpp>
#include <dolmen/state_machine.hpp>

namespace dolmen {

namespace node {
class OrderedMachine;
}

/// The same for all members of a shard's group, for ever. In a cluster the root group keeps them.
struct OrderedShardOptions {
  /// For keys and values that are together no longer than 256 bytes, which are here with 8 bytes
  /// more; twice that is enough for sure. At least 4 KiB.
  std::size_t node_bytes = std::size_t{64} << 20;
  /// For longer ones: 40 bytes each more than they are, up to a quarter more, and whatever is
  /// replaced or erased within `grace`. At least 64 bytes, at most 32 GiB.
  std::size_t record_bytes = std::size_t{64} << 20;
  /// Memory of what was replaced or erased is used again after this: who is still reading it then
  /// has to read anew. May differ.
  std::chrono::milliseconds grace{20};
};

/// One member's copy of a shard. Threads: run() of the member uses it; the rest before and after.
class OrderedIndexShard {
 public:
  /// Errors: invalid_argument (sizes).
  [[nodiscard]] static Result<OrderedIndexShard> make(const OrderedShardOptions& options = {});
  OrderedIndexShard(OrderedIndexShard&&) noexcept;
  OrderedIndexShard& operator=(OrderedIndexShard&&) noexcept;
  ~OrderedIndexShard();

  /// Give it to Replicated::start(), of one member. Good as long as this is.
  [[nodiscard]] StateMachine& machine() noexcept;

 private:
  explicit OrderedIndexShard(std::unique_ptr<node::OrderedMachine> machine) noexcept;
  std::unique_ptr<node::OrderedMachine> machine_;
};

/// A client of an ordered index. Threads: one at a time. It has a connection to each member for
/// each shard.
class OrderedIndex {
 public:
  using Bytes = std::span<const std::byte>;
  using Value = std::vector<std::byte>;

  /// `shards`: the numbers of the groups that are the shards, in the order of their keys. `splits`:
  /// the first key of each shard but the first one, rising. Both the same for everybody, for they
  /// say where a key is. Errors: as ReplicatedClient::make(), and invalid_argument (no shard; not
  /// one split less than shards; splits that do not rise, are empty or of more than 64 KiB).
  [[nodiscard]] static Result<OrderedIndex> make(const ReplicatedGroup& group,
                                                 std::span<const std::uint64_t> shards,
                                                 std::span<const Value> splits = {},
                                                 const IndexOptions& options = {});
  OrderedIndex(OrderedIndex&&) noexcept;
  OrderedIndex& operator=(OrderedIndex&&) noexcept;
  ~OrderedIndex();

  /// Text as the bytes that it is, good as long as the text.
  [[nodiscard]] static Bytes of(std::string_view text) noexcept {
    return std::as_bytes(std::span(text));
  }

  // Errors of all: those of ReplicatedClient::call(), after which outcome(last_call()) says what
  // became of a change; too_large (a key of more than 64 KiB, or one
  // that is with its value larger than nearly 1 MiB). Of put: no_space, and nothing was changed.
  // get, put and erase are linearizable as those of Index are.

  /// Nothing: the key is not there. Cost: in shared memory no system call and no message; else one
  /// round trip of several small reads, and another one for what is longer than 256 bytes.
  [[nodiscard]] Result<std::optional<Value>> get(Bytes key,
                                                 std::chrono::milliseconds patience = kPatience);
  /// True: the key was not there.
  Result<bool> put(Bytes key, Bytes value, std::chrono::milliseconds patience = kPatience);
  /// True: the key was there.
  Result<bool> erase(Bytes key, std::chrono::milliseconds patience = kPatience);

  /// As of Index.
  [[nodiscard]] CallId last_call() const noexcept;
  [[nodiscard]] ReplicatedCommit last_commit() const noexcept;
  [[nodiscard]] Result<CallOutcome> outcome(const CallId& call,
                                            std::chrono::milliseconds patience = kPatience);

  struct Range {
    Bytes from{};               ///< the first key; empty: from the begin on
    std::optional<Bytes> to{};  ///< the first one that is not meant; nothing: up to the end
    bool is_backward = false;   ///< the last ones first
  };
  struct Entry {
    Value key;
    Value value;
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  struct Page {
    std::vector<Entry> entries;
    /// There are no more. Else: go on behind the last one that came, with that key and a zero byte
    /// as `from`; backward, with it as `to`.
    bool is_last = false;
  };
  enum class Moment : std::uint8_t {
    /// Of each key that a page speaks for, what it says was so at some moment of the call: as if
    /// each were got by itself, in one order with all that anybody put, erased, got or scanned. A
    /// key that is there all the time is there, one that is not is not; two that change meanwhile
    /// may be seen at different moments. With IndexReads::hint: at moments that may be long ago.
    each,
    /// Of one shard, all that a page says was so at one moment of the call. It is asked for by
    /// message, and a page ends with its shard, or with 512 KiB.
    one,
  };
  /// At most `limit` entries, and no more behind the one that makes them longer than 1 MiB. Errors:
  /// as get(). Cost: one round trip for about 16 leaves of 2 KiB each, and one more where entries
  /// are longer than 256 bytes; backward, and where memory cannot be read, one message for 512 KiB.
  [[nodiscard]] Result<Page> scan(const Range& range, std::size_t limit,
                                  Moment moment = Moment::each,
                                  std::chrono::milliseconds patience = kPatience);

  /// As of Index.
  [[nodiscard]] Result<IndexStats> stats(std::chrono::milliseconds patience = kPatience);

  /// Pages of a shard count as keys do.
  [[nodiscard]] IndexCounts counts() const noexcept;

 private:
  static constexpr std::chrono::milliseconds kPatience = std::chrono::seconds(10);
  friend class Cluster;  // Cluster::ordered_index()
  struct Impl;
  explicit OrderedIndex(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dolmen
