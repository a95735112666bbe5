// SPDX-License-Identifier: Apache-2.0
//
// The workload of the crash campaign: a seeded mix of everything that changes a space (allocation,
// every container, pointers across objects, creation, deletion, names, resize, aborts, deferred
// commits, transactions larger than a log segment, views and readers held across commits,
// checkpoints, also inside a running transaction, scrub), beside a model in plain std::. After
// every commit the model is kept: a recovered space must read like one of them.
//
// The program may live several times on one disk: it is closed, killed at some disk operation while
// the system goes on, or meets failing calls or a full disk. Each life is one run_life().
//
// Threads: one. Deterministic: the seed decides everything.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/crash_model.hpp"
#include "sim/sim_disk.hpp"
#include "sys/memory.hpp"

namespace dolmen::sim {

/// What one life goes through besides its workload.
enum class Trouble : std::uint8_t {
  none,
  killed,         ///< at some disk operation; what it wrote stays in the system's cache
  failing_sync,   ///< one sync fails, once or for ever
  failing_write,  ///< one write fails
  failing_calls,  ///< any call fails, once or a few times
  full_disk,      ///< little room for a while
};

/// One life's view of history. Indices are into states.
struct Life {
  std::uint64_t opened_at = 0;  ///< disk operations when the space was open
  /// states[0]: what the life found; states[k]: after its k-th commit that may take effect.
  std::vector<Model> states;
  std::vector<std::string> texts;
  /// (disk operation count, k): from that operation on, commit k is acknowledged as durable.
  std::vector<std::pair<std::uint64_t, std::size_t>> acknowledged;
  /// (disk operation count, k): commit k was first attempted before this operation.
  std::vector<std::pair<std::uint64_t, std::size_t>> attempted;
  /// Things that were wrong while it ran (a view changed, an abort left traces, …).
  std::vector<std::string> violations;

  /// Fewest and most commits that a crash after `op` disk operations may leave.
  [[nodiscard]] std::pair<std::size_t, std::size_t> bounds(std::uint64_t op) const;
  [[nodiscard]] std::size_t commits() const noexcept { return states.size() - 1; }
};

/// What a seed makes of the workload: every seed another mix (swarm testing).
struct Swarm {
  static constexpr std::size_t kSteps = 21;
  Swarm(std::uint64_t seed, sys::Memory& memory);
  /// Objects that point into hundreds, often.
  void change_hubs();

  std::uint32_t segment_bytes = 0;
  std::uint64_t tail_bytes_max = 0;
  std::array<std::uint8_t, kSteps> weights{};
  std::uint8_t durable_of_4 = 3;        ///< how many commits in four ask for durability
  bool hub = false;                     ///< with an object that points into hundreds
  bool guard_stores = false;            ///< stores past logging are refused
  bool large_resizes = false;           ///< in records of many log segments
  std::uint64_t view_memory_bytes = 0;  ///< beyond it what views need goes to the scratch file
  sys::FaultDriver driver = sys::FaultDriver::none;
  std::vector<Trouble> lives;  ///< at least one; the last is untroubled
};

struct LifeOptions {
  std::uint64_t seed = 1;
  unsigned steps = 40;
  unsigned stamps = 0;  ///< the life begins with so many small commits
  bool uneven = false;  ///< of which some have records twice as long
  Trouble trouble = Trouble::none;
};

/// Runs a part of the workload in an open space on `disk` that reads like `start`, and checks on
/// the way. Trouble is over when it returns: faults cleared, room back, power on.
[[nodiscard]] Life run_life(Space& space, SimDisk& disk, sys::Memory& memory, const Swarm& swarm,
                            Model start, const LifeOptions& options);

/// Opens a space on a simulated disk, without background thread; `seed` is that of the world, which
/// must outlive the space.
class SimEnv;
[[nodiscard]] Result<Space> open_on(const SimEnv& world, SimDisk& disk, const Swarm& swarm,
                                    bool create, bool read_only = false, bool guard_stores = false);

}  // namespace dolmen::sim
