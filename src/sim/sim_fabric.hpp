// SPDX-License-Identifier: Apache-2.0
//
// The fabric between simulated nodes: endpoints (fabric/fabric.hpp) of one process and one thread
// in virtual time, tens of them, under one seed. What the interface promises holds whatever fails;
// what it leaves open is used: README.md in this folder lists the faults.
//
// A driver runs queue() and gives a node's endpoint its polls; waker tells it when. Time stands
// still while a node's code runs, except on its own clock.
//
// Threads: one. Deterministic: everything comes from the seed and the order of calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "base/random.hpp"
#include "fabric/fabric.hpp"
#include "sim/event_queue.hpp"
#include "sim/host_clock.hpp"
#include "sim/sim_memory.hpp"

namespace dolmen::sim {

/// One direction of a link. A connection carries everything in order: what is lost is sent again,
/// and holds up what is behind it.
struct LinkFaults {
  std::uint64_t delay_min_ns = 1'000;
  std::uint64_t delay_max_ns = 3'000;
  std::uint32_t late_ppm = 0;  ///< up to late_ns more
  std::uint64_t late_ns = 0;
  std::uint32_t loss_ppm = 0;
  std::uint32_t repeat_ppm = 0;  ///< arrives twice; the second one is seen to be that and dropped
  /// Is overtaken by what was sent later. The receiver of an ordered connection ends it then.
  std::uint32_t overtaken_ppm = 0;
};

/// What becomes of a region when its process ends.
enum class MemoryKind : std::uint8_t {
  of_process,  ///< gone
  of_host,     ///< make_region() of the next life finds it as it was, until the power ends
  persistent,  ///< … also then, but only what was flushed is sure to be there
};

/// What a fabric can do, and how fast.
struct FabricModel {
  fabric::Traits traits{.passive_target = true,
                        .revocable = true,
                        .ordered = true,
                        .message_bytes_max = 1u << 20,
                        .operation_bytes_max = 1u << 20};
  MemoryKind memory = MemoryKind::of_process;
  /// `placed` is reported when the bytes have arrived, though they land later: what libfabric's
  /// software providers do unless they are told otherwise. Breaks what Level::placed says.
  bool places_early = false;
  /// revoke() takes the right away and returns, although something under way still lands. Breaks
  /// what Traits::revocable says.
  bool revokes_early = false;
  /// Its order and atomicity come from `traits`.
  NicModel nic{};
  std::uint64_t resend_ns = 200'000;  ///< until a lost packet is sent again; twice that, and so on
  /// A connection on which something is on its way for longer is lost; 0: never.
  std::uint64_t give_up_ns = 0;
  std::uint64_t redial_ns = 2'000'000;
  std::uint64_t handshake_ns = 100'000'000;
  std::size_t send_queue_bytes = 1u << 20;
  std::size_t operations_max = 1024;
  std::size_t operation_queue_bytes = 8u << 20;
};

struct SimEndpointOptions {
  fabric::NodeName self;
  /// Dials everybody and is dialled by nobody; two of them are never connected.
  bool is_client = false;
  /// Of its host; none: the world's time. Outlives the endpoint.
  HostClock* clock = nullptr;
  /// Told when a poll may have something to do, in the world's time: on wait(), on wake(), and when
  /// something has arrived. From within queue().run_until() and the endpoint's calls.
  std::function<void(std::uint64_t at_ns)> waker{};
};

struct SimFabricCounts {
  std::uint64_t packets = 0;
  std::uint64_t lost = 0;
  std::uint64_t repeated = 0;
  std::uint64_t overtaken = 0;
  std::uint64_t connections = 0;
  std::uint64_t connections_lost = 0;
};

class SimFabricCore;

class SimFabric {
 public:
  using NodeId = fabric::NodeId;

  SimFabric(std::uint64_t seed, FabricModel model = {});
  /// Requires: all endpoints are gone.
  ~SimFabric();
  SimFabric(const SimFabric&) = delete;
  SimFabric& operator=(const SimFabric&) = delete;

  /// Knows every other one, made before or later.
  [[nodiscard]] std::unique_ptr<fabric::Endpoint> make(const SimEndpointOptions& options);

  [[nodiscard]] EventQueue& queue() noexcept;
  [[nodiscard]] std::uint64_t now_ns() noexcept { return queue().now_ns(); }
  void run_for(std::uint64_t length_ns) { queue().run_until(now_ns() + length_ns); }

  // --- Links. ---
  void set_faults(const LinkFaults& faults);  ///< of all links
  void set_faults(NodeId from, NodeId to, const LinkFaults& faults);
  /// One direction, for so long from now on; never shortens an earlier cut. What is on its way
  /// still arrives; what is sent meanwhile leaves when the cut ends.
  void cut(NodeId from, NodeId to, std::uint64_t length_ns);
  /// Cut and whole in turn.
  void flap(NodeId from, NodeId to, std::uint64_t cut_ns, std::uint64_t whole_ns,
            std::uint64_t length_ns);
  /// No cuts any more, and no faults.
  void heal();
  /// The connection between them is lost, at both ends; it is made again.
  void break_connection(NodeId one, NodeId other);

  // --- Nodes. An endpoint that is destroyed is a process that ended: its connections end. ---
  /// When the process that runs now ends, its card goes on serving its memory, and nobody hears of
  /// the end: a host whose processor stands still. Until the next life, power_off() or stop_nic().
  void linger(NodeId node);
  /// … and that ends, too.
  void stop_nic(NodeId node);
  /// Nothing of the node works from here on, and nobody hears of it. Its endpoint is to be
  /// destroyed before the next life. Lines of persistent memory that were not flushed survive with
  /// this chance each.
  void power_off(NodeId node, std::uint32_t survives_ppm = 0);
  /// What an ended life has left is gone: the next one begins with empty memory.
  void lose_memory(NodeId node);
  /// Makes persistent bytes durable, as the owner's own instructions would. Errors: not_found,
  /// out_of_bounds.
  [[nodiscard]] Result<void> flush(NodeId node, fabric::RegionId region, std::uint64_t offset,
                                   std::uint64_t bytes);

  /// Equal for equal runs.
  [[nodiscard]] std::uint64_t trace_hash() const noexcept;
  [[nodiscard]] const SimFabricCounts& counts() const noexcept;

 private:
  std::unique_ptr<SimFabricCore> core_;
};

}  // namespace dolmen::sim
