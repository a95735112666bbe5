// SPDX-License-Identifier: Apache-2.0
//
// Opens a space in a given world: the real one (Space::open) or a simulated one (tests, campaigns).
#pragma once

#include <memory>

#include <dolmen/space.hpp>

#include "object/arena.hpp"
#include "store/store.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

/// What this process needs before it opens its first space, and `options` with what its environment
/// adds to them. Errors: out_of_memory.
[[nodiscard]] Result<SpaceOptions> prepare_process(const sys::Env& env,
                                                   const SpaceOptions& options);

/// `env` must outlive the Space. An empty directory becomes a new space if options.create says so.
/// Errors: as Space::open(). `how_to_write`: what to do in place of changing one that is read only;
/// it lives as long as the process.
[[nodiscard]] Result<Space> open_space(const sys::Env& env, std::unique_ptr<sys::Disk> disk,
                                       const SpaceOptions& options, sys::FaultDriver driver,
                                       const char* how_to_write = "");
/// The same on a store that is open already.
[[nodiscard]] Result<Space> open_space(const sys::Env& env, std::unique_ptr<store::Store> store,
                                       const SpaceOptions& options, sys::FaultDriver driver,
                                       const char* how_to_write = "");

}  // namespace dolmen::node
