// SPDX-License-Identifier: Apache-2.0
//
// A table of keys and values, byte strings both, that groups of members keep the same: each shard
// of it is the state machine of one group (replicated.hpp). Clients read it in the memory of
// whoever leads, without asking anybody, and see the latest that anybody was told; they change it
// through the group's log. docs/index.md shows how, and what is true. In a cluster: cluster.hpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/replicated.hpp>
#include <dolmen/state_machine.hpp>

namespace dolmen {

namespace node {
class IndexMachine;
}

/// The same for all members of a shard's group, for ever. In a cluster the root group keeps them.
struct IndexShardOptions {
  /// For finding keys: 45 bytes each are enough, and 64 for sure. At least 1 KiB.
  std::size_t bucket_bytes = std::size_t{16} << 20;
  /// For keys and values: 40 bytes each more than they are, up to a quarter more, and whatever is
  /// replaced or erased within `grace`. At most 32 GiB.
  std::size_t record_bytes = std::size_t{64} << 20;
  /// Of the hashes. Who knows it can choose keys that have no room together: draw one at random
  /// where keys come from strangers. Cluster::create_index() draws one if this is 0.
  std::uint64_t seed = 0;
  /// Memory of what was replaced or erased is used again after this: who is still reading it then
  /// has to read anew. May differ.
  std::chrono::milliseconds grace{20};
};

/// One member's copy of a shard. Threads: run() of the member uses it; the rest before and after.
class IndexShard {
 public:
  /// Errors: invalid_argument (sizes).
  [[nodiscard]] static Result<IndexShard> make(const IndexShardOptions& options = {});
  IndexShard(IndexShard&&) noexcept;
  IndexShard& operator=(IndexShard&&) noexcept;
  ~IndexShard();

  /// Give it to Replicated::start(), of one member. Good as long as this is.
  [[nodiscard]] StateMachine& machine() noexcept;

 private:
  explicit IndexShard(std::unique_ptr<node::IndexMachine> machine) noexcept;
  std::unique_ptr<node::IndexMachine> machine_;
};

enum class IndexReads : std::uint8_t {
  /// What get() gives was so at some moment of the call, in one order with everything that anybody
  /// put, erased or got.
  linearizable,
  /// What is found was so at some moment, perhaps long ago. That a key is not there is found out as
  /// with `linearizable`.
  hint,
  /// As `linearizable`, and what is read is the leader's memory alone while the leader has a lease
  /// (ReplicatedOptions::lease) and lent it: right as long as clocks keep to
  /// ReplicatedOptions::clock_drift_ppm. Else as `linearizable`.
  lease,
};

struct IndexOptions {
  IndexReads reads = IndexReads::linearizable;
  /// How long a call looks for an answer itself before it lets the system wake it.
  std::chrono::microseconds spin{0};
  /// Of how many keys of each shard it remembers where their values were, 48 bytes each; their next
  /// get() takes one round trip, if they were not put since. Not in shared memory, and not of
  /// values above 16 KiB. At most 16 million.
  std::size_t remembered = 4096;
};

/// What was done by this client.
struct IndexCounts {
  std::uint64_t round_trips = 0;   ///< of one-sided reads; those of several keys at once count once
                                   ///< for each
  std::uint64_t one_sided = 0;     ///< keys that were answered by those alone
  std::uint64_t in_one_round = 0;  ///< … of these: in one round of reads
  std::uint64_t by_lease = 0;      ///< … of these: in the leader's memory alone, by its lease
  std::uint64_t asked = 0;         ///< keys that were asked for by message
  std::uint64_t learned = 0;       ///< how often it found out who leads
};

/// How many keys a shard of an index has and how full it is, as of one entry of its log.
struct IndexShardStats {
  std::uint64_t group = 0;  ///< that is the shard
  std::uint64_t keys = 0;
  /// Of what keys are found by, in which an ordered index has its short ones: in use, or waiting
  /// for its grace.
  std::uint64_t table_bytes_used = 0;
  std::uint64_t table_bytes = 0;  ///< that there are
  /// Of keys and values that are there (ordered: of the longer ones).
  std::uint64_t record_bytes_live = 0;
  /// Of the room for them: ever used. What is free within it is used again for ones of such sizes.
  std::uint64_t record_bytes_used = 0;
  std::uint64_t record_bytes = 0;  ///< that there are
  friend bool operator==(const IndexShardStats&, const IndexShardStats&) = default;
};
struct IndexStats {
  std::vector<IndexShardStats> shards{};  ///< in their order
  [[nodiscard]] std::uint64_t keys() const noexcept {
    std::uint64_t all = 0;
    for (const IndexShardStats& shard : shards) all += shard.keys;
    return all;
  }
};

/// A client of an index. Threads: one at a time. It has a connection to each member for each shard.
class Index {
 public:
  using Bytes = std::span<const std::byte>;
  using Value = std::vector<std::byte>;

  /// `shards`: the numbers of the groups that are the shards; the same in the same order for
  /// everybody, for it says where a key is. Errors: as ReplicatedClient::make(), and
  /// invalid_argument (no shard).
  [[nodiscard]] static Result<Index> make(const ReplicatedGroup& group,
                                          std::span<const std::uint64_t> shards,
                                          const IndexOptions& options = {});
  Index(Index&&) noexcept;
  Index& operator=(Index&&) noexcept;
  ~Index();

  // Errors of all: those of ReplicatedClient::call(), after which outcome(last_call()) says what
  // became of a change; too_large (a key of more than 64 KiB, or one
  // that is with its value larger than nearly 1 MiB). Of put: no_space, and nothing was changed.
  // Cost: get: in shared memory no system call and no message; else one round trip of several small
  // reads, and another one for the value, unless that is where this client found it last.

  /// Nothing: the key is not there.
  [[nodiscard]] Result<std::optional<Value>> get(Bytes key,
                                                 std::chrono::milliseconds patience = kPatience);
  /// True: the key was not there.
  Result<bool> put(Bytes key, Bytes value, std::chrono::milliseconds patience = kPatience);
  /// True: the key was there.
  Result<bool> erase(Bytes key, std::chrono::milliseconds patience = kPatience);

  /// get() of each, many under way at once; not as of one moment. Errors: the first one.
  [[nodiscard]] Result<std::vector<std::optional<Value>>> get_many(
      std::span<const Bytes> keys, std::chrono::milliseconds patience = kPatience);
  /// put() of each, many in one entry of the log; not as a whole, but those of one key in their
  /// order. After an error some were put and some may have been. Errors: the first one.
  Result<void> put_many(std::span<const std::pair<Bytes, Bytes>> pairs,
                        std::chrono::milliseconds patience = kPatience);

  /// Exact: what is told of each shard was so at some moment of the call, in one order with all
  /// puts and erases of its keys; not of all at the same one. Errors: as get(). Cost: a message to
  /// the leader of each shard, whatever it holds.
  [[nodiscard]] Result<IndexStats> stats(std::chrono::milliseconds patience = kPatience);

  // Many at once, by one thread: what as many clients would do, each in a thread of its own,
  // without waking any of them. Those under way at once happen in any order.

  using GetTold = std::function<void(Result<std::optional<Value>>)>;
  using ChangeTold = std::function<void(Result<bool>)>;
  /// Begins what get() does; `when_done` is called once, by go_on(). In shared memory it is read at
  /// once; else the leader is asked, which answers many with one round to the others. Errors: busy
  /// (1000 are under way in a shard; go_on() first), too_large; others are told to `when_done`.
  [[nodiscard]] Result<void> begin_get(Bytes key, GetTold when_done,
                                       std::chrono::milliseconds patience = kPatience);
  /// The same of put() and erase().
  [[nodiscard]] Result<void> begin_put(Bytes key, Bytes value, ChangeTold when_done,
                                       std::chrono::milliseconds patience = kPatience);
  [[nodiscard]] Result<void> begin_erase(Bytes key, ChangeTold when_done,
                                         std::chrono::milliseconds patience = kPatience);
  /// The same of put_many(), in one entry of each shard's log. Errors also: too_large (more than
  /// 1024 puts, or 256 KiB, of one shard).
  using PutsTold = std::function<void(Result<void>)>;
  [[nodiscard]] Result<void> begin_put_many(std::span<const std::pair<Bytes, Bytes>> pairs,
                                            PutsTold when_done,
                                            std::chrono::milliseconds patience = kPatience);
  /// Which call of which shard's group the last change was, and where and how safe the last one is
  /// that gave a result; within what is told of a begun change: of that one. Of several shards: of
  /// the last.
  [[nodiscard]] CallId last_call() const noexcept;
  [[nodiscard]] ReplicatedCommit last_commit() const noexcept;
  /// What became of a change, as ReplicatedClient::outcome(), without a result. Errors: those;
  /// invalid_argument also: of none of the shards.
  [[nodiscard]] Result<CallOutcome> outcome(const CallId& call,
                                            std::chrono::milliseconds patience = kPatience);
  /// As ReplicatedClient::go_on().
  [[nodiscard]] Result<std::size_t> go_on(std::chrono::milliseconds wait);
  [[nodiscard]] std::size_t under_way() const noexcept;

  [[nodiscard]] IndexCounts counts() const noexcept;

 private:
  static constexpr std::chrono::milliseconds kPatience = std::chrono::seconds(10);
  friend class Cluster;  // Cluster::index()
  struct Impl;
  explicit Index(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dolmen
