// SPDX-License-Identifier: Apache-2.0
#include "fabric/conformance.hpp"
#include "fabric/tcp_loopback.hpp"

namespace dolmen::fabric {

INSTANTIATE_TYPED_TEST_SUITE_P(Tcp, FabricConformance, TcpLoopback);

}  // namespace dolmen::fabric
