// SPDX-License-Identifier: Apache-2.0
//
// One run of the crash campaign: a program lives one or several times on a simulated disk (it is
// closed, killed, meets failing calls or a full disk), then every crash state of the whole history
// is recovered, twice, and must read like a prefix of the commits that holds all acknowledged ones.
// Some states also crash inside their recovery, some go on with another life and crash in it. At
// the end the closed space is damaged: a flipped bit gives an error or the right state.
//
// Threads: one. Deterministic: the options decide everything, trace_hash is the proof.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sim/crash_workload.hpp"
#include "sim/sim_hooks.hpp"
#include "sys/memory.hpp"

namespace dolmen::sim {

struct CampaignOptions {
  std::uint64_t seed = 1;
  unsigned steps = 25;                          ///< of each life
  unsigned random_subsets = 64;                 ///< per sync window
  std::uint64_t units_max = ~std::uint64_t{0};  ///< units per window beyond this are sampled
  unsigned recovery_crashes_every = 40;         ///< every n-th disk also crashes in its recovery
  unsigned continue_every = 40;                 ///< every n-th disk lives on and crashes again
  unsigned unsound_every = 4;                   ///< every n-th disk is checked in full
  unsigned flips = 64;                          ///< bits flipped in the closed space, one by one
  std::uint64_t disks_max = ~std::uint64_t{0};  ///< stops after so many different disks
  std::size_t from_life = 0;  ///< crash states before this life began are passed over
  bool buggify = true;
  bool hub = false;           ///< every life makes and gives up many objects, whatever the seed
  std::string planted = {};   ///< a bug to plant (base/hooks.hpp)
  bool stop_at_first = true;  ///< one violation is enough
};

struct CampaignReport {
  std::uint64_t states = 0;           ///< crash states judged
  std::uint64_t disks = 0;            ///< different disks among them: each recovered twice or more
  std::uint64_t recovery_states = 0;  ///< crash states inside a recovery
  std::uint64_t later_states = 0;     ///< crash states of lives that began in a crash state
  std::uint64_t flips = 0;
  std::uint64_t sync_windows = 0;
  std::uint64_t sampled_out = 0;  ///< units that units_max left out
  std::uint64_t commits = 0;
  std::uint64_t lives = 0;
  std::map<Trouble, std::uint64_t> troubles;
  std::uint64_t trace_hash = 0;       ///< over every call to every disk of the run
  std::uint64_t planted_reached = 0;  ///< how often the planted bug's place was passed
  std::map<std::string, SimHooks::Site> buggify_sites;
  SimHooks::Counts probes;
  std::vector<std::string> violations;  ///< with seed and crash state, enough to make it again
};

[[nodiscard]] CampaignReport run_campaign(const CampaignOptions& options, sys::Memory& memory);

}  // namespace dolmen::sim
