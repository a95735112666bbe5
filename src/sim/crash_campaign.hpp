// SPDX-License-Identifier: Apache-2.0
//
// One run of the crash campaign: a workload on a simulated disk, then every crash state of its
// history is recovered, twice, and must read like a prefix of the commits that holds all
// acknowledged ones.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/crash_workload.hpp"
#include "sys/memory.hpp"

namespace dolmen::sim {

struct CampaignOptions {
  WorkloadOptions workload;
  unsigned random_subsets = 64;  ///< per sync window
  std::uint64_t units_max = 24;  ///< prefixes and lost sectors per window beyond this are sampled
  unsigned recovery_crashes_every = 20;  ///< every n-th state also crashes inside its recovery
  unsigned continue_every = 25;  ///< every n-th state goes on after recovery and crashes again
  std::uint64_t states_max = ~std::uint64_t{0};
  bool buggify = true;
  std::string planted = {};   ///< a bug to plant (base/hooks.hpp)
  bool stop_at_first = true;  ///< one violation is enough
};

struct CampaignReport {
  std::uint64_t states = 0;           ///< crash states recovered
  std::uint64_t recovery_states = 0;  ///< crash states inside recovery
  std::uint64_t sync_windows = 0;
  std::uint64_t commits = 0;
  std::uint64_t trace_hash = 0;         ///< of the workload's disk
  std::uint64_t planted_reached = 0;    ///< how often the planted bug's place was passed
  std::vector<std::string> violations;  ///< with seed and crash state, enough to make it again
};

[[nodiscard]] CampaignReport run_campaign(const CampaignOptions& options, sys::Memory& memory);

}  // namespace dolmen::sim
