// SPDX-License-Identifier: Apache-2.0
//
// Tcp endpoints in a simulated network and virtual time, for tests: the conformance suite's world,
// and what the tests of tcp's own promises are built on.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance_world.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "sim/sim_streams.hpp"

namespace dolmen::fabric {

class TcpSimWorld : public World {
 public:
  explicit TcpSimWorld(std::uint64_t seed = 1) : entropy_(seed), streams_(clock_, seed) {}

  static std::string host_of(NodeId node) {
    return "10.0.0." + std::to_string(static_cast<std::uint64_t>(node));
  }
  static Secret key(unsigned char first = 1) {
    std::array<std::byte, 32> bytes{};
    bytes[0] = std::byte{first};
    return Secret(bytes);
  }
  static TcpOptions options(const NodeName& name) {
    return {.self = name, .key = key(), .listen = sys::NetworkAddress{host_of(name.node), 0}};
  }

  std::unique_ptr<Endpoint> make(const NodeName& name) override { return make(options(name)); }
  /// Knows every other one that listens, made before or later.
  std::unique_ptr<TcpEndpoint> make(const TcpOptions& options) {
    auto endpoint = alone(options);
    nodes_.push_back(endpoint.get());
    introduce();
    return endpoint;
  }
  /// Knows whom its options name, and is known to nobody.
  std::unique_ptr<TcpEndpoint> alone(const TcpOptions& options) {
    const TcpWorld world{.network = &streams_.host(host_of(options.self.node)),
                         .clock = &clock_,
                         .entropy = &entropy_};
    auto endpoint = TcpEndpoint::make(options, world);
    EXPECT_TRUE(endpoint) << endpoint.error().message();
    return std::move(*endpoint);
  }
  void before_end(NodeId node) override {
    std::erase_if(nodes_, [&](const TcpEndpoint* one) { return one->self().node == node; });
  }
  std::uint64_t now_ns() override { return clock_.monotonic_ns(); }
  void pass_time() override { clock_.advance_ns(20'000); }
  [[nodiscard]] bool is_real_time() const override { return false; }
  sim::StreamWorld& streams() { return streams_; }
  sim::SimClock& clock() { return clock_; }

 private:
  void introduce() {
    for (TcpEndpoint* const one : nodes_) {
      std::vector<TcpPeer> others;
      for (const TcpEndpoint* const other : nodes_) {
        if (one != other && other->address()) {
          others.push_back({other->self().node, *other->address()});
        }
      }
      EXPECT_TRUE(one->set_peers(others));
    }
  }

  sim::SimClock clock_;
  sim::SimEntropy entropy_;
  sim::StreamWorld streams_;
  std::vector<TcpEndpoint*> nodes_;
};

}  // namespace dolmen::fabric
