// SPDX-License-Identifier: Apache-2.0
//
// For tests: where the endpoints of one test of the conformance suite (conformance.hpp) live.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fabric/fabric.hpp"

namespace dolmen::fabric {

class World {
 public:
  World() = default;
  virtual ~World() = default;
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Knows every other one, made before or later.
  virtual std::unique_ptr<Endpoint> make(const NodeName& name) = 0;
  /// The endpoint of `node` is destroyed next.
  virtual void before_end(NodeId) {}
  /// The clock of Endpoint::wait().
  virtual std::uint64_t now_ns() = 0;
  /// No endpoint has anything to do.
  virtual void pass_time() {}
  /// Whether wait() and wake() block threads.
  [[nodiscard]] virtual bool is_real_time() const = 0;
  /// Where traits().mapped is set: whether that holds for Alice and Bob, or they have no memory in
  /// common.
  [[nodiscard]] virtual bool shares_memory() const { return true; }
  /// Why it cannot run here; empty: it can.
  [[nodiscard]] virtual std::string missing() const { return {}; }
};

}  // namespace dolmen::fabric
