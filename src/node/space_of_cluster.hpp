// SPDX-License-Identifier: Apache-2.0
//
// Space::open("dolmen://…/NAME"): a copy of a cluster's space, to be read (docs/cluster.md).
//
// Threads: any; each call is on its own.
#pragma once

#include <string>
#include <string_view>

#include <dolmen/space.hpp>

#include "node/inspect.hpp"
#include "sys/env.hpp"

namespace dolmen::node {

/// Whether it is an address, and no directory.
[[nodiscard]] bool is_of_cluster(std::string_view text) noexcept;

struct SpaceAddress {
  std::string cluster{};  ///< as ClusterAddress::parse() takes it
  std::string name{};     ///< may hold '/' and '?', as names do; empty: none was given
};
/// Of "dolmen://HOST:PORT[,…]/NAME[?identity=…]".
[[nodiscard]] SpaceAddress space_address(std::string_view text);

/// As of one moment behind the call's begin: all that anybody was told before is in it.
/// `options`: of prepare_process(). Errors: read_only (the options do not say so; what to do
/// instead), invalid_argument (no name, no such kind; which spaces there are), not_found, those of
/// Cluster::open() and export_space().
[[nodiscard]] Result<Space> open_space_of_cluster(const sys::Env& env, std::string_view address,
                                                  const SpaceOptions& options,
                                                  const Progress& progress = {});

}  // namespace dolmen::node
