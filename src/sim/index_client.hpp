// SPDX-License-Identifier: Apache-2.0
//
// Inside of node_world.hpp: a client of one shard of an index. It puts and erases by message, each
// repeated at one member after the other until it is answered, and looks keys up in the leader's
// memory, with the lines of a majority, or by message where that leads nowhere. Of an ordered one
// it scans ranges likewise, which is a look-up of each key of them.
//
// Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "cluster/index_reader.hpp"
#include "cluster/index_shape.hpp"
#include "cluster/ordered_reader.hpp"
#include "fabric/fabric.hpp"
#include "node/index_copies.hpp"
#include "node/region_lease.hpp"
#include "sim/cluster_client.hpp"
#include "sim/linearizability_models.hpp"
#include "sim/sim_fabric.hpp"

namespace dolmen::sim {

using IndexHistory = History<MapModel::Operation>;

class IndexClient final : private fabric::Sink {
 public:
  /// Few, so that they meet. Those of an ordered one have more than one leaf.
  [[nodiscard]] static constexpr std::uint64_t keys_of(cluster::TableKind table) {
    return table == cluster::TableKind::ordered ? 20 : 5;
  }
  [[nodiscard]] static std::vector<std::byte> key_of(cluster::TableKind table, std::uint64_t key);

  IndexClient(SimFabric& fabric, SimEndpointOptions endpoint, ClusterClient::Place place,
              const cluster::IndexShape& shape, IndexHistory& history, std::uint64_t seed);

  /// Does what is to be done now; the time of the next turn, if nothing arrives before.
  std::uint64_t turn();
  /// Begins nothing more.
  void rest() { is_resting_ = true; }
  [[nodiscard]] bool is_done() const { return is_resting_ && operations_.empty(); }
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::uint64_t answered() const { return answered_; }
  /// Of those, by one-sided reads alone.
  [[nodiscard]] std::uint64_t read_afar() const { return read_afar_; }
  /// … and of those, in one round of reads with the value.
  [[nodiscard]] std::uint64_t read_in_one() const { return read_in_one_; }
  /// Of those afar: ranges.
  [[nodiscard]] std::uint64_t scanned() const { return scanned_; }
  /// … and of those afar, in the leader's memory alone.
  [[nodiscard]] std::uint64_t read_by_lease() const { return read_by_lease_; }

  /// 0: none.
  [[nodiscard]] static std::uint64_t number_in(base::Bytes value);

 private:
  static constexpr std::uint64_t kMs = 1'000'000;
  /// More than there is.
  static constexpr std::uint32_t kScanLimit = 100;
  /// More look-ups of one key in vain are asked for by message.
  static constexpr int kAttemptsMax = 4;

  enum class Doing : std::uint8_t {
    nothing,
    learning,  ///< asked members for their memory
    reading,   ///< of a look-up; or waits for reads of one that is over
    asking,    ///< by message
  };

  [[nodiscard]] replication::Capability shown() const {
    return place_.shown ? place_.shown() : replication::Capability{};
  }
  void begin();
  /// Its own clock.
  [[nodiscard]] std::uint64_t clock_ns() const {
    const std::uint64_t now_ns = fabric_.now_ns();
    const auto rate = static_cast<std::uint64_t>(1'000'000 + place_.drift_ppm);
    return now_ns / 1'000'000 * rate + now_ns % 1'000'000 * rate / 1'000'000;
  }
  [[nodiscard]] cluster::OrderedRange range() const;
  [[nodiscard]] bool look_after_lease();
  void learn();
  void look_up();
  void issue();
  void arrived();
  void ask();
  void look_elsewhere();
  void take(const replication::Reply& reply);
  void ends(std::optional<std::uint64_t> read);
  void ends(const cluster::OrderedPage& page);
  void rests();
  [[nodiscard]] bool is_ordered() const { return tree_.has_value(); }
  bool send(const fabric::NodeName& to, replication::EnvelopeKind kind, base::Bytes body);

  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& peer, const Error& why) override;
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_completed(fabric::OpId op, const Result<std::uint64_t>& former) override;
  void on_message(const fabric::NodeName& from, base::Bytes message) override;

  SimFabric& fabric_;
  const ClusterClient::Place place_;
  const cluster::TableKind table_;
  const std::optional<cluster::IndexGeometry> geometry_;
  const std::optional<cluster::OrderedGeometry> tree_;  ///< or this one
  std::optional<cluster::IndexHints> hints_;
  std::optional<cluster::OrderedHints> tree_hints_;
  IndexHistory& history_;
  base::Random random_;
  const bool remembers_;
  // What reads may write into outlives the endpoint.
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<bool> has_failed_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  std::string violation_;
  Doing doing_ = Doing::nothing;
  std::map<fabric::NodeId, node::IndexCopy> copies_;
  std::optional<node::IndexLed> led_;
  node::RegionLease lease_;  ///< of `led_`
  std::unique_ptr<cluster::RegionReader> lookup_;
  std::size_t under_way_ = 0;
  int attempts_ = 0;
  std::uint64_t key_ = 0;       ///< or the first one of a range
  std::uint64_t keys_end_ = 0;  ///< of a range: behind its last one; else 0
  std::size_t member_ = 0;
  std::uint64_t session_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t asked_ = 0;
  std::uint64_t values_ = 0;
  std::vector<std::byte> command_;
  std::vector<std::size_t> operations_;  ///< of each key of a range; none: nothing is asked
  bool is_get_ = false;
  bool is_resting_ = false;
  std::uint64_t patience_end_ns_ = 0;
  std::uint64_t not_before_ns_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t read_afar_ = 0;
  std::uint64_t read_in_one_ = 0;
  std::uint64_t scanned_ = 0;
  std::uint64_t read_by_lease_ = 0;
};

}  // namespace dolmen::sim
