// SPDX-License-Identifier: Apache-2.0
//
// The simulated fabric (sim/sim_fabric.hpp), in several of the shapes that it can have.
#include <cstdint>
#include <memory>

#include "fabric/conformance.hpp"
#include "sim/sim_fabric.hpp"

namespace dolmen::fabric {
namespace {

class SimWorld : public World {
 public:
  explicit SimWorld(const sim::FabricModel& model = {}, const sim::LinkFaults& faults = {})
      : fabric_(1, model) {
    fabric_.set_faults(faults);
  }
  std::unique_ptr<Endpoint> make(const NodeName& name) override {
    return fabric_.make({.self = name});
  }
  std::uint64_t now_ns() override { return fabric_.now_ns(); }
  void pass_time() override { fabric_.run_for(20'000); }
  [[nodiscard]] bool is_real_time() const override { return false; }

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

INSTANTIATE_TEST_SUITE_P(Sim, FabricConformance,
                         testing::Values(world<SimWorld>("Ordered"),
                                         world<SimUnordered>("Unordered"),
                                         world<SimServed>("Served"),
                                         world<SimPersistent>("Persistent"),
                                         world<SimHostile>("Hostile")),
                         world_name);

}  // namespace dolmen::fabric
