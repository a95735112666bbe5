// SPDX-License-Identifier: Apache-2.0
//
// Inside of sim_fabric.hpp: hosts, the lives of their processes, the connections between lives, and
// what travels on them.
//
// Two moments are kept apart everywhere: when something arrives at a host, whose card may act on
// it, and when the process polls, which alone reports. `inbox` is what lies between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "sim/sim_fabric.hpp"

namespace dolmen::sim {

struct SimLife;
struct SimLink;
using SimLifePtr = std::shared_ptr<SimLife>;
using SimLinkPtr = std::shared_ptr<SimLink>;

/// A one-sided operation on its way to the target.
struct SimOperation {
  enum class Kind : std::uint8_t { write, read, swap, add };
  Kind kind = Kind::write;
  fabric::Level level = fabric::Level::placed;
  fabric::RegionId region{};
  std::uint64_t offset = 0;
  std::size_t length = 0;
  std::uint64_t expected = 0;
  std::uint64_t operand = 0;
  std::uint64_t serial = 0;
  std::vector<std::byte> bytes{};  ///< of a write, once the card has taken them
  bool is_void = true;             ///< the card never took it
};
using SimOperationPtr = std::shared_ptr<SimOperation>;

/// … and at its issuer.
struct SimPending {
  fabric::OpId op{};
  base::Bytes from{};
  base::MutableBytes into{};
  std::size_t bytes = 0;
  bool is_reported = false;  ///< Level::local: it goes on, and nobody is told
};

/// One end of a connection.
struct SimSide {
  SimLifePtr life;
  bool is_reported = false;      ///< on_connected was, and on_lost was not
  bool is_ended = false;         ///< nothing leaves or arrives here any more
  bool is_dropped = false;       ///< … and what arrived before is not reported
  bool is_mute = false;          ///< something could not be delivered: nothing behind it may be
  std::uint64_t arrives_ns = 0;  ///< the last packet in order that left here, at the other end
  std::uint64_t numbered = 0;
  std::uint64_t received = 0;    ///< the other end's numbers
  std::size_t queued_bytes = 0;  ///< messages that the other process has not taken
  std::size_t consumed_bytes = 0;
  std::size_t operation_bytes = 0;
  std::uint64_t serials = 0;
  std::map<std::uint64_t, SimPending> pending{};
  std::deque<std::function<void()>> arrivals{};  ///< behind an operation that lands
  bool is_landing = false;
};

/// A connection, or the attempt to make one. sides[0] dials.
struct SimLink {
  SimSide sides[2];
  [[nodiscard]] int side_of(const SimLife& life) const noexcept {
    return sides[0].life.get() == &life ? 0 : 1;
  }
};

struct SimInboxItem {
  enum class Kind : std::uint8_t { hello, accepted, message, serve, completed, lost, refused };
  Kind kind = Kind::hello;
  SimLinkPtr link{};
  std::vector<std::byte> bytes{};
  SimOperationPtr operation{};
  fabric::OpId op{};
  Result<std::uint64_t> outcome = std::uint64_t{0};
  Errc why{};
};

struct SimLife {
  fabric::NodeName name;
  bool is_client = false;
  HostClock* clock = nullptr;
  std::function<void(std::uint64_t)> waker;
  std::shared_ptr<SimNic> nic;
  bool has_process = true;
  bool lingers = false;
  std::deque<SimInboxItem> inbox{};
  std::map<fabric::NodeId, SimLinkPtr> links{};      ///< that live, or are being made
  std::map<fabric::NodeId, SimLinkPtr> connected{};  ///< as far as was reported
  std::map<fabric::NodeId, std::uint64_t> known{};   ///< the highest incarnation seen
};

class SimFabricCore {
 public:
  using NodeId = fabric::NodeId;
  using Regions = std::map<fabric::RegionId, SimRegionPtr>;

  SimFabricCore(std::uint64_t seed, const FabricModel& model);
  ~SimFabricCore();

  // Lives.
  [[nodiscard]] SimLifePtr begin_life(const SimEndpointOptions& options);
  void end_process(const SimLifePtr& life);
  void linger(NodeId node);
  void silence(NodeId node);
  void power_off(NodeId node, std::uint32_t survives_ppm);
  void lose_memory(NodeId node) { hosts_[node].kept.clear(); }
  [[nodiscard]] SimLifePtr life_of(NodeId node) const;
  [[nodiscard]] Result<base::MutableBytes> make_region(SimLife& life, fabric::RegionId region,
                                                       std::size_t bytes);

  // Connections. `s` is the index of a side.
  void dial(const SimLifePtr& life, NodeId to);
  void take_hello(const SimLinkPtr& link, fabric::Sink& sink);
  void break_side(const SimLinkPtr& link, int s, Errc why, bool tells_other);
  /// Lets `arrive` happen at the other end, unless that end is gone by then.
  void carry(const SimLinkPtr& link, int s, bool in_order, std::function<void()> arrive);
  void push(const SimLifePtr& life, SimInboxItem item);

  // Operations.
  void issue(const SimLinkPtr& link, int s, SimOperation operation, SimPending pending);
  void serve(const SimLinkPtr& link, int s, const SimOperationPtr& operation);

  [[nodiscard]] std::uint64_t leaves_ns(const SimLife& life) const {
    return life.clock == nullptr ? queue.now_ns() : life.clock->true_ns();
  }
  void trace(std::uint64_t value);

  EventQueue queue;
  const FabricModel model;
  std::uint64_t trace_hash = 0;
  SimFabricCounts counts;
  LinkFaults faults;
  std::map<std::pair<NodeId, NodeId>, LinkFaults> link_faults;
  std::map<std::pair<NodeId, NodeId>, std::uint64_t> cut_until_ns;
  std::uint64_t times_healed = 0;

 private:
  struct Host {
    SimLifePtr life;  ///< the latest
    Regions kept;     ///< of lives that ended
  };
  struct Flight {
    std::uint64_t arrives_ns = 0;
    std::uint64_t takes_ns = 0;
    bool is_given_up = false;
  };

  [[nodiscard]] const LinkFaults& faults_of(NodeId from, NodeId to) const;
  [[nodiscard]] bool chance(std::uint32_t ppm) {
    return ppm != 0 && random_.below(1'000'000) < ppm;
  }
  [[nodiscard]] Flight fly(NodeId from, NodeId to, std::uint64_t leaves_ns);
  void tell_end(const SimLinkPtr& link, int s, Errc why);
  void redial(const SimLifePtr& life, NodeId to);
  void take_in_order(const SimLinkPtr& link, int s);
  void begin(const SimLinkPtr& link, int s, const SimOperationPtr& operation);
  void finish(const SimLinkPtr& link, int s, const SimOperationPtr& operation,
              Result<std::uint64_t> outcome, std::vector<std::byte> bytes);
  void answer(const SimLinkPtr& link, int s, std::uint64_t serial, Result<std::uint64_t> outcome,
              std::vector<std::byte> bytes);
  void keep_memory(SimLife& life);
  void forget(SimLife& life);

  base::Random random_;
  std::uint64_t lives_begun_ = 0;
  std::map<NodeId, Host> hosts_;
  std::vector<SimLifePtr> lives_;
};

/// The process's side of it.
class SimEndpoint final : public fabric::Endpoint {
 public:
  SimEndpoint(SimFabricCore& core, SimLifePtr life) : core_(core), life_(std::move(life)) {}
  ~SimEndpoint() override { core_.end_process(life_); }
  SimEndpoint(const SimEndpoint&) = delete;
  SimEndpoint& operator=(const SimEndpoint&) = delete;

  using NodeId = fabric::NodeId;
  using NodeName = fabric::NodeName;
  using RegionId = fabric::RegionId;
  using OpId = fabric::OpId;
  using Place = fabric::Place;

  [[nodiscard]] NodeName self() const noexcept override { return life_->name; }
  [[nodiscard]] const fabric::Traits& traits() const noexcept override {
    return core_.model.traits;
  }
  [[nodiscard]] std::optional<NodeName> connected(NodeId node) const noexcept override;

  using Endpoint::send;
  [[nodiscard]] Result<void> send(const NodeName& to, std::span<const base::Bytes> parts) override;

  [[nodiscard]] Result<base::MutableBytes> make_region(RegionId region, std::size_t bytes) override;
  [[nodiscard]] Result<void> close_region(RegionId region) override;
  [[nodiscard]] Result<void> grant(RegionId region, NodeId node, fabric::Rights rights) override;
  [[nodiscard]] Result<void> revoke(RegionId region, NodeId node) override;

  [[nodiscard]] Result<void> write(OpId op, const Place& place, base::Bytes bytes,
                                   fabric::Level level) override;
  [[nodiscard]] Result<void> read(OpId op, const Place& place, base::MutableBytes into) override;
  [[nodiscard]] Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) override;
  [[nodiscard]] Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override;
  [[nodiscard]] Result<base::MutableBytes> map(const NodeName& target, RegionId region) override;

  [[nodiscard]] Result<bool> poll(fabric::Sink& sink) override;
  [[nodiscard]] Result<void> wait(std::uint64_t until_ns) override;
  void wake() noexcept override;
  void disconnect(NodeId node) noexcept override;

 private:
  [[nodiscard]] Result<SimLinkPtr> link_to(const NodeName& to) const;
  [[nodiscard]] Result<void> issue(OpId op, const Place& place, SimOperation operation,
                                   SimPending pending);
  void report(SimInboxItem item, fabric::Sink& sink);
  void report_lost(const SimLinkPtr& link, Errc why, fabric::Sink& sink);

  SimFabricCore& core_;
  const SimLifePtr life_;
  std::vector<SimLinkPtr> read_from_;
};

}  // namespace dolmen::sim
