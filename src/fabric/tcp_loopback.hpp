// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite's world of tcp endpoints over the loopback interface.
#pragma once

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance_world.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::fabric {

inline Secret test_key(unsigned char first = 1) {
  std::array<std::byte, 32> bytes{};
  bytes[0] = std::byte{first};
  return Secret(bytes);
}

inline TcpWorld linux_world() {
  const sys::Env& env = sys::linux_env();
  return {.network = env.network, .clock = env.clock, .entropy = env.entropy};
}

class TcpLoopback : public World {
 public:
  std::unique_ptr<Endpoint> make(const NodeName& name) override {
    auto endpoint = TcpEndpoint::make(options(name), linux_world());
    EXPECT_TRUE(endpoint) << endpoint.error().message();
    nodes_.push_back(endpoint->get());
    introduce();
    return std::move(*endpoint);
  }
  void before_end(NodeId node) override {
    std::erase_if(nodes_, [&](const TcpEndpoint* one) { return one->self().node == node; });
  }
  std::uint64_t now_ns() override { return sys::linux_env().clock->monotonic_ns(); }
  void pass_time() override { std::this_thread::yield(); }
  [[nodiscard]] bool is_real_time() const override { return true; }

 protected:
  virtual TcpOptions options(const NodeName& name) {
    return {.self = name, .key = test_key(), .listen = sys::NetworkAddress{"127.0.0.1", 0}};
  }

 private:
  void introduce() {
    for (TcpEndpoint* const one : nodes_) {
      std::vector<TcpPeer> others;
      for (const TcpEndpoint* const other : nodes_) {
        if (one != other) others.push_back({other->self().node, *other->address()});
      }
      EXPECT_TRUE(one->set_peers(others));
    }
  }

  std::vector<TcpEndpoint*> nodes_;
};

}  // namespace dolmen::fabric
