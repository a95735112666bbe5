// SPDX-License-Identifier: Apache-2.0
//
// Inside of node_world.hpp: a client of a shard of the directory, which looks objects up in the
// leader's memory, with the lines of a majority or by the leader's lease. What would be asked for
// by message ends unanswered.
//
// Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "cluster/index_reader.hpp"
#include "fabric/fabric.hpp"
#include "node/index_copies.hpp"
#include "node/region_lease.hpp"
#include "sim/cluster_client.hpp"
#include "sim/home_oracle.hpp"
#include "sim/sim_fabric.hpp"

namespace dolmen::sim {

class HomeClient final : private fabric::Sink {
 public:
  HomeClient(SimFabric& fabric, SimEndpointOptions endpoint, ClusterClient::Place place,
             const cluster::IndexGeometry& geometry, HomeOracle& oracle, std::uint64_t seed);

  /// Does what is to be done now; the time of the next turn, if nothing arrives before.
  std::uint64_t turn();
  /// Begins nothing more.
  void rest() { is_resting_ = true; }
  [[nodiscard]] bool is_done() const { return is_resting_ && doing_ == Doing::nothing; }
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::uint64_t answered() const { return answered_; }
  /// … of those in the leader's memory alone.
  [[nodiscard]] std::uint64_t read_by_lease() const { return read_by_lease_; }

 private:
  static constexpr std::uint64_t kMs = 1'000'000;
  enum class Doing : std::uint8_t { nothing, learning, reading };

  /// Its own clock.
  [[nodiscard]] std::uint64_t clock_ns() const {
    const std::uint64_t now_ns = fabric_.now_ns();
    const auto rate = static_cast<std::uint64_t>(1'000'000 + place_.drift_ppm);
    return now_ns / 1'000'000 * rate + now_ns % 1'000'000 * rate / 1'000'000;
  }
  void begin();
  void learn();
  void look_up();
  void issue();
  void arrived();
  void ends();
  void send(const fabric::NodeName& to, replication::EnvelopeKind kind, base::Bytes body);

  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& peer, const Error& why) override;
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_completed(fabric::OpId op, const Result<std::uint64_t>& former) override;
  void on_message(const fabric::NodeName& from, base::Bytes message) override;

  SimFabric& fabric_;
  const ClusterClient::Place place_;
  const cluster::IndexGeometry geometry_;
  cluster::IndexHints hints_;
  HomeOracle& oracle_;
  base::Random random_;
  // What reads may write into outlives the endpoint.
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<bool> has_failed_;
  std::unique_ptr<fabric::Endpoint> endpoint_;
  std::string violation_;
  Doing doing_ = Doing::nothing;
  bool is_resting_ = false;
  std::map<fabric::NodeId, node::IndexCopy> copies_;
  std::optional<node::IndexLed> led_;
  node::RegionLease lease_;  ///< of `led_`
  std::optional<cluster::IndexLookup> lookup_;
  ObjectId id_{};
  HomeOracle::Told before_{};
  std::size_t under_way_ = 0;
  std::uint64_t patience_end_ns_ = 0;
  std::uint64_t not_before_ns_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t read_by_lease_ = 0;
};

}  // namespace dolmen::sim
