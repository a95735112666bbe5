// SPDX-License-Identifier: Apache-2.0
//
// The conformance suite's worlds of tcp endpoints that have a key each. Tests only.
#pragma once

#include <memory>

#include <gtest/gtest.h>

#include "fabric/tcp_loopback.hpp"
#include "fabric/tcp_sim_world.hpp"
#include "security/test_cluster.hpp"

namespace dolmen::fabric {

/// Nodes 1 to 19 and client 1, who trust each other.
struct LinkCluster : security::TestCluster {
  LinkCluster() {
    for (unsigned char number = 3; number < 20; ++number) {
      if (number != 0x11) add(node(number));
    }
    shared = std::make_shared<const security::Trust>(trust);
  }
  /// The seed of node 17 is that of client 1.
  [[nodiscard]] security::LinkSelf link(NodeId node) const {
    const auto identity = identity_of(node);
    DOLMEN_ASSERT(identity.has_value());
    const auto number = static_cast<unsigned char>(identity->number);
    return link(identity->role == security::Role::node ? this->node(number) : client(number));
  }
  [[nodiscard]] security::LinkSelf link(const security::Key& key) const {
    return {std::make_shared<const security::Key>(key), shared};
  }

  std::shared_ptr<const security::Trust> shared;
};

class TcpLinkLoopback final : public TcpLoopback {
 protected:
  TcpOptions options(const NodeName& name) override {
    TcpOptions options = TcpLoopback::options(name);
    options.key = {};
    options.link = cluster_.link(name.node);
    return options;
  }

 private:
  LinkCluster cluster_;
};

class TcpLinkSim final : public TcpSimWorld {
 public:
  using TcpSimWorld::make;
  using TcpSimWorld::TcpSimWorld;
  std::unique_ptr<Endpoint> make(const NodeName& name) override {
    return TcpSimWorld::make(options(name));
  }
  TcpOptions options(const NodeName& name) const {
    TcpOptions options = TcpSimWorld::options(name);
    options.key = {};
    options.link = cluster_.link(name.node);
    return options;
  }
  [[nodiscard]] const LinkCluster& cluster() const { return cluster_; }

 private:
  LinkCluster cluster_;
};

}  // namespace dolmen::fabric
