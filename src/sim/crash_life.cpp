// SPDX-License-Identifier: Apache-2.0
//
// What a seed makes of the crash campaign, and what a life promises at each moment.
#include <algorithm>
#include <memory>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "node/open_space.hpp"
#include "sim/crash_workload.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"

namespace dolmen::sim {

Swarm::Swarm(std::uint64_t seed, sys::Memory& memory) {
  base::Random random(base::mix_seed(seed, 17));
  constexpr std::uint32_t kSegments[] = {8u << 10, 16u << 10, 32u << 10};
  segment_bytes = kSegments[random.below(3)];
  tail_bytes_max = segment_bytes * random.between(2, 8);
  for (std::uint8_t& weight : weights) {
    weight = random.chance(1, 4) ? 0 : static_cast<std::uint8_t>(random.between(1, 6));
  }
  weights[0] = static_cast<std::uint8_t>(weights[0] + 4);  // edits
  weights[1] = static_cast<std::uint8_t>(weights[1] + 1);  // something to edit
  durable_of_4 = static_cast<std::uint8_t>(random.between(1, 4));
  hub = random.chance(1, 8);
  guard_stores = random.chance(1, 2);
  if (!hub) weights[18] = 0;
  constexpr Trouble kTroubles[] = {
      Trouble::none,          Trouble::killed,        Trouble::killed,   Trouble::failing_sync,
      Trouble::failing_write, Trouble::failing_calls, Trouble::full_disk};
  const std::uint64_t troubled = random.below(4);
  for (std::uint64_t i = 0; i < troubled; ++i) lives.push_back(kTroubles[random.below(7)]);
  lives.push_back(Trouble::none);
  constexpr std::uint64_t kViewMemory[] = {0, 16u << 10, 64u << 20};
  view_memory_bytes = kViewMemory[random.below(3)];
  driver = random.chance(1, 8) ? sys::FaultDriver::protection : memory.best_driver();
  large_resizes = random.chance(1, 8);
}

void Swarm::change_hubs() {
  hub = true;
  weights[18] = 6;
}

std::pair<std::size_t, std::size_t> Life::bounds(std::uint64_t op) const {
  std::size_t fewest = 0;
  std::size_t most = 0;
  for (const auto& [at, k] : acknowledged) {
    if (at <= op) fewest = std::max(fewest, k);
  }
  for (const auto& [at, k] : attempted) {
    if (at <= op) most = std::max(most, k);
  }
  return {fewest, std::min(std::max(fewest, most), commits())};
}

Result<Space> open_on(const SimEnv& world, SimDisk& disk, const Swarm& swarm, bool create,
                      bool read_only, bool guard_stores) {
  SpaceOptions options;
  options.create = create;
  options.read_only = read_only;
  options.guard_stores = guard_stores;
  options.background = false;
  options.view_memory_bytes = swarm.view_memory_bytes;
  options.log_segment_bytes = swarm.segment_bytes;
  options.log_tail_bytes_max = swarm.tail_bytes_max;
  for (int attempt = 0;; ++attempt) {
    auto space = node::open_space(world.env(), std::make_unique<sys::BorrowedDisk>(disk), options,
                                  swarm.driver);
    // A disturbed world refuses to prepare a segment now and then; as a user would, try again.
    if (space || space.error().code() != Errc::no_space || attempt == 10) return space;
  }
}

}  // namespace dolmen::sim
