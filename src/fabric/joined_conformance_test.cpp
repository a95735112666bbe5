// SPDX-License-Identifier: Apache-2.0
#include "fabric/conformance.hpp"
#include "fabric/joined_world.hpp"

namespace dolmen::fabric {

/// In the clear, where it goes by tcp.
class JoinedTrusted final : public JoinedWorld {
 public:
  [[nodiscard]] JoinedOptions options(const NodeName& name) const override {
    JoinedOptions options = JoinedWorld::options(name);
    options.tcp.link->says = security::kSaysClear;
    return options;
  }
  [[nodiscard]] const sys::test::SharedScratch& exchange_of(NodeId node) const override {
    return node == kAlice ? first_ : second_;
  }
  [[nodiscard]] bool shares_memory() const override { return false; }
};

INSTANTIATE_TEST_SUITE_P(Joined, FabricConformance,
                         testing::Values(world<JoinedWorld>("Shared"), world<JoinedApart>("Apart"),
                                         world<JoinedMixed>("Mixed"),
                                         world<JoinedTrusted>("Trusted")),
                         world_name);

}  // namespace dolmen::fabric
