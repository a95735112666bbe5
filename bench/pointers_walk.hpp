// SPDX-License-Identifier: Apache-2.0
//
// What one system offers to the pointers suite, and the two walks, the same text for all: `_ref`
// holds a `const Node*` and follows its field, `_ptr` holds the system's own pointer. Both count
// hops and add up payloads, so that no system can stop early or leave a load out.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/cycle.hpp"
#include "bench/harness.hpp"

namespace dolmen::bench {

/// One system with the cycle of one case in its memory.
struct Walker {
  std::string system;
  std::string mode;
  std::function<std::uint64_t(std::size_t hops)> by_reference;  ///< gives the sum of payloads
  std::function<std::uint64_t(std::size_t hops)> by_pointer;
  /// Wraps the measurement: opens the section or view in which the walk may happen.
  std::function<void(const std::function<void()>&)> inside;
};

/// Nodes are {next, payload, rest} of 64 bytes in every system.
inline constexpr std::size_t kNodeBytes = 64;

/// Distinct per node, so that the sum proves which nodes were visited.
constexpr std::uint64_t payload_of(Place place) noexcept {
  return (std::uint64_t{place.area} << 32) + place.slot + 1;
}

/// `follow(const Node&)` gives the `const Node*` that the node leads to.
template <class Node, class Follow>
[[gnu::noinline]] std::uint64_t walk_by_reference(const Node* head, std::size_t hops,
                                                  Follow follow) {
  std::uint64_t sum = 0;
  const Node* node = head;
  for (std::size_t left = hops; left > 0; --left) {
    sum += node->payload;
    node = follow(*node);
  }
  return sum;
}

template <class Pointer>
[[gnu::noinline]] std::uint64_t walk_by_pointer(const Pointer& head, std::size_t hops) {
  std::uint64_t sum = 0;
  std::size_t left = hops;
  for (auto p = head; p; p = p->next) {
    if (left-- == 0) break;
    sum += p->payload;
  }
  return sum;
}

/// `address(Place)` gives a place's `Node*`, `pointer(Place)` what to store for it.
template <class Address, class Pointer>
void close_cycle(const Cycle& cycle, Address address, Pointer pointer) {
  for (std::size_t i = 0; i < cycle.visits.size(); ++i) {
    const Place here = cycle.visits[i];
    address(here)->payload = payload_of(here);
    address(here)->next = pointer(cycle.visits[(i + 1) % cycle.visits.size()]);
  }
}

using Walkers = std::vector<Walker>;
/// Each adds its system, or says why it cannot.
void add_dolmen_walkers(Report& report, const Cycle& cycle, Walkers& walkers);
void add_raw_walker(const Cycle& cycle, Walkers& walkers);
void add_boost_walker(Report& report, const Cycle& cycle, Walkers& walkers);
void add_pmdk_walkers(Report& report, const Cycle& cycle, Walkers& walkers);

}  // namespace dolmen::bench
