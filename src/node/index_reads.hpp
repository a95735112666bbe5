// SPDX-License-Identifier: Apache-2.0
//
// A client of one shard of an index: finds out who leads its group, and reads keys in that
// member's memory, with the lines of a majority (docs/index.md, As a service). Where memory is
// mapped it does so by loads, else by one-sided reads of many keys at once.
//
// What stays true: no read begins before its look-up does; a buffer is kept as long as an operation
// may write into it. Threads: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/index.hpp>

#include "node/index_copies.hpp"
#include "node/replicated_client.hpp"

namespace dolmen {

struct Index::Impl {
  struct Shard;
  struct Part {
    Shard* shard;  ///< within the client
    ReplicatedClient client;
  };
  std::vector<Part> parts;
  IndexCounts counts;
  [[nodiscard]] Part& part_of(Bytes key);
  /// The next shard: this group. Errors: as make().
  [[nodiscard]] Result<void> add(const node::GroupPlan& plan, std::uint64_t number,
                                 const IndexOptions& options);
};

struct Index::Impl::Shard final : ReplicatedClient::Impl {
  /// Most look-ups under way.
  static constexpr std::size_t kLookupsMax = 64;
  /// So long it tries to find out who leads before keys are asked for by message, and then for so
  /// long.
  static constexpr std::uint64_t kLearnNs = 50'000'000;
  static constexpr std::uint64_t kAskNs = 200'000'000;

  Shard(const IndexOptions& its_options, IndexCounts& its_counts)
      : options(its_options), counts(&its_counts) {}
  ~Shard() override;

  struct Answered {
    bool is_settled = false;  ///< else: it is to be asked for by message
    std::optional<Value> value{};
  };
  /// Errors: the endpoint's.
  [[nodiscard]] Result<Answered> read(Bytes key, std::uint64_t deadline_ns);
  [[nodiscard]] Result<void> read_many(std::span<const Bytes> keys,
                                       std::span<const std::size_t> wanted,
                                       std::span<Answered> answered, std::uint64_t deadline_ns);

  void on_lost(const fabric::NodeName& peer, const Error& why) override;
  void on_completed(fabric::OpId op, const Result<std::uint64_t>& former) override;
  void on_message(const fabric::NodeName& from, base::Bytes message) override;

 private:
  using Copy = node::IndexCopy;
  struct Led : node::IndexLed {
    std::vector<base::MutableBytes> mapped{};  ///< where memory is
  };
  struct Lookup {
    cluster::IndexLookup lookup;
    std::size_t key = 0;       ///< which of those asked for
    std::uint64_t led_in = 0;  ///< whom it reads: as `learned` was
    std::vector<std::vector<std::byte>> buffers{};
    std::vector<bool> has_failed{};
    std::size_t issued = 0;  ///< of its reads
    std::size_t under_way = 0;
  };

  /// False: nobody whose memory could be read is known now.
  [[nodiscard]] Result<bool> learn(std::uint64_t deadline_ns);
  [[nodiscard]] Result<bool> use(Led chosen, std::uint64_t deadline_ns);
  [[nodiscard]] bool map(Led& chosen);
  void let_go();
  /// Of the leader's region, by whatever the fabric has. Nothing: it failed.
  [[nodiscard]] Result<std::optional<std::vector<std::byte>>> fetch(std::uint64_t offset,
                                                                    std::size_t bytes,
                                                                    std::uint64_t deadline_ns);
  [[nodiscard]] cluster::IndexLookup look_up(Bytes key);
  void load(cluster::IndexLookup& lookup);
  [[nodiscard]] Result<void> read_slots(std::span<const Bytes> keys,
                                        std::span<const std::size_t> wanted,
                                        std::span<Answered> answered, std::uint64_t deadline_ns);
  [[nodiscard]] bool settle(const cluster::IndexLookup& lookup, std::uint64_t led_in,
                            Answered& answered);
  [[nodiscard]] Result<bool> issue(std::size_t slot);
  [[nodiscard]] Result<void> drain();

  IndexOptions options;
  IndexCounts* counts;
  std::map<fabric::NodeId, Copy> copies;
  std::optional<Led> led;
  std::uint64_t learned = 0;  ///< how often `led` became another
  std::optional<cluster::IndexGeometry> geometry;
  std::optional<cluster::IndexHints> hints;
  std::uint64_t ask_until_ns = 0;
  std::vector<std::optional<Lookup>> lookups;
  std::optional<Result<void>> fetched;  ///< of a fetch
  std::vector<std::byte> fetch_into;
  std::optional<Error> failure;   ///< of the endpoint, which may write into buffers still
  std::vector<std::byte> loaded;  ///< kept for its memory
  std::vector<base::Bytes> pieces;
};

}  // namespace dolmen
