// SPDX-License-Identifier: Apache-2.0
//
// What clients do about objects that live somewhere in a cluster (docs/homes.md).
#pragma once

#include <chrono>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/replicated.hpp>

#include "base/bytes.hpp"

namespace dolmen::node {

/// Calls, and tells what came of it when the directory has logged all objects that it published.
/// Errors: as ReplicatedClient::call(), those of the function; connection_lost as well if it is
/// done, and that is not known of the directory in time.
[[nodiscard]] Result<std::vector<std::byte>> call_until_told(ReplicatedClient& client,
                                                             base::Bytes call,
                                                             std::chrono::milliseconds patience);

}  // namespace dolmen::node
