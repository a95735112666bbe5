// SPDX-License-Identifier: Apache-2.0
//
// The workload of the crash campaign: a seeded mix of everything that changes a space (allocation,
// every container, pointers across objects, creation, deletion, names, resize, aborts, deferred
// commits, views held across commits, checkpoints, also inside a running transaction), beside a
// model in plain std::. After every commit the model's text is kept: a recovered space must read
// like one of them.
//
// Threads: one. Deterministic: the seed decides everything.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/space.hpp>
#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

namespace dolmen::sim {

/// What a space holds, as text: equal texts mean equal structures, whatever their addresses.
/// Errors: whatever reading gives (corrupt, deleted, …).
[[nodiscard]] Result<std::string> render_space(Space& space);

struct Item {
  std::uint64_t value;
  ptr<Item> next;
};

/// Root of the large objects.
struct Box {
  std::uint64_t version;
  string text;
  vector<std::uint64_t> numbers;
  hash_map<std::uint64_t, std::uint64_t> table;
  ordered_map<std::uint64_t, std::uint64_t> sorted;
  ptr<Item> list;
  ptr<Box> other;  // into another object, or null
};

/// Root of objects of 512 bytes.
struct Small {
  std::uint64_t value;
  ptr<Box> box;
};

struct WorkloadHistory {
  /// states[k]: text after the k-th commit that took effect; states[0] is the empty space.
  std::vector<std::string> states;
  /// (disk operation count, k): from that operation on, commit k is acknowledged as durable.
  std::vector<std::pair<std::uint64_t, std::size_t>> acknowledged;
  /// (disk operation count, k): commit k was first attempted before this operation.
  std::vector<std::pair<std::uint64_t, std::size_t>> attempted;
  /// Things that were wrong while the workload ran (a view changed, an abort left traces, …).
  std::vector<std::string> violations;

  /// Fewest and most commits that a crash after `op` disk operations may leave.
  [[nodiscard]] std::pair<std::size_t, std::size_t> bounds(std::uint64_t op) const;
};

struct WorkloadOptions {
  std::uint64_t seed = 1;
  unsigned commits = 60;
};

/// Runs the workload in an open, empty space. `op_count` tells how many disk operations were made
/// so far.
[[nodiscard]] WorkloadHistory run_workload(Space& space, const WorkloadOptions& options,
                                           const std::function<std::uint64_t()>& op_count);

}  // namespace dolmen::sim
