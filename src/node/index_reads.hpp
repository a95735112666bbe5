// SPDX-License-Identifier: Apache-2.0
//
// A client of one shard of a hash index: keys in the leader's memory. Threads: one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <dolmen/index.hpp>

#include "cluster/hash_index.hpp"
#include "cluster/index_reader.hpp"
#include "node/hash_reads.hpp"
#include "node/index_changed.hpp"

namespace dolmen {

struct Index::Impl {
  struct Shard;
  struct Part {
    Shard* shard;  ///< within the client
    ReplicatedClient client;
  };
  std::vector<Part> parts;
  IndexCounts counts;
  node::IndexChanged changed{};
  /// Of many at once: what was read at once, and is to be told.
  std::deque<std::pair<GetTold, Result<std::optional<Value>>>> read;
  std::size_t next_part = 0;  ///< that is waited for
  [[nodiscard]] Part& part_of(Bytes key);
  [[nodiscard]] Result<void> begin_change(Bytes key, const cluster::IndexChange& change,
                                          cluster::IndexOutcome wanted, ChangeTold when_done,
                                          std::chrono::milliseconds patience);
  /// The next shard: this group. Errors: as make().
  [[nodiscard]] Result<void> add(const node::GroupPlan& plan, std::uint64_t number,
                                 const IndexOptions& options);
};

struct Index::Impl::Shard final : node::HashReads {
  Shard(const IndexOptions& its_options, IndexCounts& its_counts)
      : HashReads(its_options, its_counts, cluster::IndexKind::records) {}

  struct Answered {
    bool is_settled = false;  ///< else: it is to be asked for by message
    std::optional<Value> value{};
  };
  /// By loads, of who is known to lead. False: nothing came of it, and read() is what is left.
  [[nodiscard]] bool read_at_once(Bytes key, Answered& answered);
  /// Errors: the endpoint's.
  [[nodiscard]] Result<Answered> read(Bytes key, std::uint64_t now_ns, std::uint64_t deadline_ns);
  [[nodiscard]] Result<void> read_many(std::span<const Bytes> keys,
                                       std::span<const std::size_t> wanted,
                                       std::span<Answered> answered, std::uint64_t deadline_ns);

 private:
  [[nodiscard]] cluster::IndexLookup look_up(Bytes key);
  /// The same in the memory of the one before: one at a time.
  [[nodiscard]] cluster::IndexLookup& look_up_again(Bytes key);
  void take(cluster::IndexLookup& lookup, Answered& answered);

  std::optional<cluster::IndexLookup> single;  ///< of look_up_again()
};

}  // namespace dolmen
