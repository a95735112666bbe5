// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance.hpp"
#include "fabric/tcp_loopback.hpp"
#include "fabric/verbs_endpoint.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::fabric {

/// Endpoints of one process over the machine's first RDMA device. tools/guest has one.
class VerbsDevice final : public World {
 public:
  [[nodiscard]] std::string missing() const override {
    const auto device = sys::open_rdma("");
    return device ? "" : std::string(device.error().message());
  }

  std::unique_ptr<Endpoint> make(const NodeName& name) override {
    auto device = sys::open_rdma("");
    EXPECT_TRUE(device) << device.error().message();
    TcpOptions options{
        .self = name, .key = test_key(), .listen = sys::NetworkAddress{"127.0.0.1", 0}};
    auto endpoint = VerbsEndpoint::make(options, linux_world(), std::move(*device));
    EXPECT_TRUE(endpoint) << endpoint.error().message();
    nodes_.push_back(endpoint->get());
    for (VerbsEndpoint* const one : nodes_) {
      std::vector<TcpPeer> others;
      for (const VerbsEndpoint* const other : nodes_) {
        if (one != other) others.push_back({other->self().node, *other->address()});
      }
      EXPECT_TRUE(one->set_peers(others));
    }
    return std::move(*endpoint);
  }
  void before_end(NodeId node) override {
    std::erase_if(nodes_, [&](const VerbsEndpoint* one) { return one->self().node == node; });
  }
  std::uint64_t now_ns() override { return sys::linux_env().clock->monotonic_ns(); }
  void pass_time() override { std::this_thread::yield(); }
  [[nodiscard]] bool is_real_time() const override { return true; }

 private:
  std::vector<VerbsEndpoint*> nodes_;
};

INSTANTIATE_TEST_SUITE_P(Verbs, FabricConformance, testing::Values(world<VerbsDevice>("Device")),
                         world_name);

}  // namespace dolmen::fabric
