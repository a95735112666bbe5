// SPDX-License-Identifier: Apache-2.0
//
// The simulated fabric (sim/sim_fabric.hpp), in several of the shapes that it can have.
#include <cstdint>
#include <memory>

#include "fabric/conformance.hpp"
#include "sim/sim_fabric.hpp"

namespace dolmen::fabric {
namespace {

class SimWorld {
 public:
  static constexpr bool kRealTime = false;

  explicit SimWorld(const sim::FabricModel& model = {}, const sim::LinkFaults& faults = {})
      : fabric_(1, model) {
    fabric_.set_faults(faults);
  }
  std::unique_ptr<Endpoint> make(const NodeName& name) { return fabric_.make({.self = name}); }
  void before_end(NodeId) {}
  std::uint64_t now_ns() { return fabric_.now_ns(); }
  void pass_time() { fabric_.run_for(20'000); }

 private:
  sim::SimFabric fabric_;
};

/// As RDMA without order: lines and operations land in any order.
struct SimUnordered : SimWorld {
  static sim::FabricModel model() {
    sim::FabricModel model;
    model.traits.ordered = false;
    model.nic.scatter_ns = 200;
    return model;
  }
  SimUnordered() : SimWorld(model()) {}
};

/// As tcp: the target's poll serves.
struct SimServed : SimWorld {
  static sim::FabricModel model() {
    sim::FabricModel model;
    model.traits.passive_target = false;
    model.traits.atomic_with_cpu = true;
    return model;
  }
  SimServed() : SimWorld(model()) {}
};

/// Persistent memory behind a card that revokes nothing.
struct SimPersistent : SimWorld {
  static sim::FabricModel model() {
    sim::FabricModel model;
    model.traits.revocable = false;
    model.traits.level_max = Level::durable;
    model.memory = sim::MemoryKind::persistent;
    return model;
  }
  SimPersistent() : SimWorld(model()) {}
};

/// Packets lost, repeated and late.
struct SimHostile : SimWorld {
  SimHostile()
      : SimWorld({}, {.delay_min_ns = 1'000,
                      .delay_max_ns = 100'000,
                      .late_ppm = 100'000,
                      .late_ns = 1'000'000,
                      .loss_ppm = 200'000,
                      .repeat_ppm = 200'000}) {}
};

}  // namespace

using SimWorlds = testing::Types<SimWorld, SimUnordered, SimServed, SimPersistent, SimHostile>;
INSTANTIATE_TYPED_TEST_SUITE_P(Sim, FabricConformance, SimWorlds);

}  // namespace dolmen::fabric
