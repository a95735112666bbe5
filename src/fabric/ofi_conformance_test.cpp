// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance.hpp"
#include "fabric/ofi_endpoint.hpp"
#include "fabric/tcp_loopback.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::fabric {

/// libfabric's TCP on the loopback interface, or what DOLMEN_OFI_PROVIDER and DOLMEN_OFI_SOURCE
/// say.
inline sys::OfiChoice chosen_fabric() {
  const auto variable = [](const char* name, const char* otherwise) -> std::string {
    const char* const value = std::getenv(name);
    return value == nullptr ? otherwise : value;
  };
  return {.provider = variable("DOLMEN_OFI_PROVIDER", "tcp;ofi_rxm"),
          .source = variable("DOLMEN_OFI_SOURCE", "127.0.0.1")};
}
/// One that cannot be waited for, and does not look at keys.
inline sys::OfiChoice shared_memory_fabric() { return {.provider = "shm", .source = ""}; }

/// Endpoints of one process over the fabric that `choose` chooses.
template <sys::OfiChoice (*choose)()>
class OfiFabric final : public World {
 public:
  [[nodiscard]] std::string missing() const override {
    const auto port = sys::open_ofi(choose());
    return port ? "" : std::string(port.error().message());
  }

  std::unique_ptr<Endpoint> make(const NodeName& name) override {
    auto port = sys::open_ofi(choose());
    EXPECT_TRUE(port) << port.error().message();
    TcpOptions options{
        .self = name, .key = test_key(), .listen = sys::NetworkAddress{"127.0.0.1", 0}};
    auto endpoint = OfiEndpoint::make(options, linux_world(), std::move(*port));
    EXPECT_TRUE(endpoint) << endpoint.error().message();
    nodes_.push_back(endpoint->get());
    for (OfiEndpoint* const one : nodes_) {
      std::vector<TcpPeer> others;
      for (const OfiEndpoint* const other : nodes_) {
        if (one != other) others.push_back({other->self().node, *other->address()});
      }
      EXPECT_TRUE(one->set_peers(others));
    }
    return std::move(*endpoint);
  }
  void before_end(NodeId node) override {
    std::erase_if(nodes_, [&](const OfiEndpoint* one) { return one->self().node == node; });
  }
  std::uint64_t now_ns() override { return sys::linux_env().clock->monotonic_ns(); }
  void pass_time() override { std::this_thread::yield(); }
  [[nodiscard]] bool is_real_time() const override { return true; }

 private:
  std::vector<OfiEndpoint*> nodes_;
};

INSTANTIATE_TEST_SUITE_P(Ofi, FabricConformance,
                         testing::Values(world<OfiFabric<chosen_fabric>>("Chosen"),
                                         world<OfiFabric<shared_memory_fabric>>("SharedMemory")),
                         world_name);

}  // namespace dolmen::fabric
