// SPDX-License-Identifier: Apache-2.0
#include "fabric/conformance.hpp"
#include "fabric/tcp_link_world.hpp"
#include "fabric/tcp_loopback.hpp"
#include "fabric/tcp_sim_world.hpp"

namespace dolmen::fabric {

/// Bytes in small pieces, and much time between them.
struct TcpSimSlow final : TcpSimWorld {
  TcpSimSlow() : TcpSimWorld(2) {
    streams().set_faults(
        {.delay_min_ns = 1'000, .delay_max_ns = 3'000'000, .piece_max = 1'000, .window = 20'000});
  }
};

INSTANTIATE_TEST_SUITE_P(Tcp, FabricConformance,
                         testing::Values(world<TcpLoopback>("Loopback"), world<TcpSimWorld>("Sim"),
                                         world<TcpSimSlow>("SimSlow"),
                                         world<TcpLinkLoopback>("LinkLoopback"),
                                         world<TcpLinkSim>("LinkSim")),
                         world_name);

}  // namespace dolmen::fabric
