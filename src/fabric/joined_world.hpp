// SPDX-License-Identifier: Apache-2.0
//
// Worlds of joined endpoints over the loopback interface, with exchanges of their own. Tests only.
#pragma once

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance_cluster.hpp"
#include "fabric/joined_endpoint.hpp"
#include "fabric/tcp_link_world.hpp"
#include "sys/linux/shared_scratch.hpp"

namespace dolmen::fabric {

class JoinedWorld : public World {
 public:
  std::unique_ptr<Endpoint> make(const NodeName& name) override {
    auto made = open(options(name), exchange_of(name.node));
    EXPECT_TRUE(made) << made.error().message();
    if (!made) return nullptr;
    nodes_.push_back(made->get());
    introduce();
    return std::move(*made);
  }
  void before_end(NodeId node) override {
    std::erase_if(nodes_, [&](const JoinedEndpoint* one) { return one->self().node == node; });
  }
  std::uint64_t now_ns() override { return sys::linux_env().clock->monotonic_ns(); }
  void pass_time() override { std::this_thread::yield(); }
  [[nodiscard]] bool is_real_time() const override { return true; }

  [[nodiscard]] static Result<std::unique_ptr<JoinedEndpoint>> open(
      const JoinedOptions& options, const sys::test::SharedScratch& exchange) {
    return JoinedEndpoint::make(options, sys::linux_env(), exchange.open());
  }
  [[nodiscard]] virtual JoinedOptions options(const NodeName& name) const {
    return {.tcp = {.self = name,
                    .link = cluster_.link(name.node),
                    .listen = sys::NetworkAddress{"127.0.0.1", 0}},
            .ring_bytes = 32 << 10};  // some messages of the suite are longer
  }
  [[nodiscard]] virtual const sys::test::SharedScratch& exchange_of(NodeId /*node*/) const {
    return first_;
  }
  [[nodiscard]] const LinkCluster& cluster() const { return cluster_; }

 protected:
  sys::test::SharedScratch first_;
  sys::test::SharedScratch second_;

 private:
  void introduce() {
    for (JoinedEndpoint* const one : nodes_) {
      std::vector<TcpPeer> others;
      for (JoinedEndpoint* const other : nodes_) {
        if (one != other) others.push_back({other->self().node, *other->tcp().address()});
      }
      EXPECT_TRUE(one->tcp().set_peers(others));
    }
  }

  LinkCluster cluster_;
  std::vector<JoinedEndpoint*> nodes_;
};

/// Nobody meets anybody.
class JoinedApart final : public JoinedWorld {
 public:
  [[nodiscard]] const sys::test::SharedScratch& exchange_of(NodeId node) const override {
    if (node == kAlice) return first_;
    return node == kBob ? second_ : third_;
  }
  [[nodiscard]] bool shares_memory() const override { return false; }

 private:
  sys::test::SharedScratch third_;
};

/// Alice and Bob meet; Carol is elsewhere.
class JoinedMixed final : public JoinedWorld {
 public:
  [[nodiscard]] const sys::test::SharedScratch& exchange_of(NodeId node) const override {
    return node == kCarol ? second_ : first_;
  }
};

}  // namespace dolmen::fabric
