// SPDX-License-Identifier: Apache-2.0
//
// Nodes of one cluster on one host: processes of one user that share a directory in memory.
// Messages go through rings, one-sided operations are loads and stores of this process in the
// target's region, whose process may sleep meanwhile. docs/fabric.md says how nodes find each other
// and what a dead one leaves; docs/formats/fabric-shm.md has the layout.
//
// One trust domain: grants say who is told of a region and what this side's operations may do
// there, but whoever runs as the same user can reach everything. Nothing here is a fence.
#pragma once

#include <cstddef>
#include <memory>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "sys/env.hpp"
#include "sys/shared_memory.hpp"

namespace dolmen::fabric {

struct ShmOptions {
  NodeName self;
  WaitPolicy wait;
  /// Of each connection and direction: a power of two from 4 KiB to 1 GiB. Longer messages pass in
  /// pieces. The memory is reserved when a connection is made, by the side with the lower node id.
  std::size_t ring_bytes = std::size_t{256} << 10;
  std::size_t message_bytes_max = std::size_t{4} << 20;  ///< taken; and sent, if the other takes it
  std::size_t queue_bytes_max = std::size_t{8} << 20;    ///< per node, beyond its ring
  std::size_t operations_max = 4096;                     ///< done, but not reported yet by poll()
  std::size_t nodes_max = 256;
  /// Connects with those alone that were introduced (JoinedEndpoint).
  bool by_introduction = false;
};

/// Joins the cluster whose directory this is: connects with every node in it, and every node that
/// comes later with this one; a client (is_client()) with all but clients. Reaps what the dead left
/// there. Errors: superseded (a later life of this node is there), already_exists (this very one),
/// invalid_argument, those of the directory.
[[nodiscard]] Result<std::unique_ptr<Endpoint>> open_shm(
    const sys::Env& env, std::unique_ptr<sys::SharedDirectory> directory,
    const ShmOptions& options);

}  // namespace dolmen::fabric
