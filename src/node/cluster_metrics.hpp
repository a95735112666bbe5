// SPDX-License-Identifier: Apache-2.0
//
// Asks the nodes of a cluster for their figures (docs/metrics.md), over connections that stay open
// from one time to the next.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cluster/root.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "security/handshake.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

class MetricsClient final : private fabric::Sink {
 public:
  /// Errors: those of an endpoint that does not listen.
  [[nodiscard]] static Result<std::unique_ptr<MetricsClient>> make(const sys::Env& env,
                                                                   const security::LinkSelf& self);
  /// What each of the map's nodes says that answers until `deadline_ns`. Who is lost as far as the
  /// map knows is not waited for. Errors: of the endpoint.
  [[nodiscard]] Result<std::map<cluster::NodeNumber, std::string>> ask(
      const cluster::RootState& map, const security::LinkSelf& self, std::uint64_t deadline_ns);

 private:
  explicit MetricsClient(const sys::Env& env) : env_(env) {}
  [[nodiscard]] Result<void> follow(const cluster::RootState& map, const security::LinkSelf& self);
  void say(const fabric::NodeName& to);

  void on_connected(const fabric::NodeName& peer) override;
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_message(const fabric::NodeName& from, base::Bytes message) override;
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}

  const sys::Env& env_;
  std::unique_ptr<fabric::TcpEndpoint> endpoint_;
  std::uint64_t version_ = 0;  ///< of the map that the endpoint knows
  bool is_asking_ = false;
  std::map<cluster::NodeNumber, std::string> texts_;
};

}  // namespace dolmen::node
