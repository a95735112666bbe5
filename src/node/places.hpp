// SPDX-License-Identifier: Apache-2.0
//
// Names of hosts in addresses that a user gave. They are looked up once, when a client opens or a
// node's directory is made: what is kept, said to others and dialled has numbers.
//
// Threads: any. Blocks as long as the system looks a name up. Errors: invalid_argument (no
// address), not_found (no such host), out_of_memory.
#pragma once

#include <string>
#include <vector>

#include <dolmen/error.hpp>

#include "sys/network.hpp"

namespace dolmen::node {

/// All that "localhost:7400" means, like "127.0.0.1:7400"; an address with a number stays as it is.
[[nodiscard]] Result<std::vector<std::string>> places_of(sys::Network& network,
                                                         const std::string& text);
/// The first one: where a node listens, and is reached.
[[nodiscard]] Result<std::string> place_of(sys::Network& network, const std::string& text);
/// Of each address the first one.
[[nodiscard]] Result<std::vector<std::string>> place_of_each(sys::Network& network,
                                                             const std::vector<std::string>& texts);
/// Where a cluster is looked for: everything that the addresses mean. Of those whose host is not
/// known the others do; the error of the first one, if none is.
[[nodiscard]] Result<std::vector<std::string>> seeds_of(sys::Network& network,
                                                        const std::vector<std::string>& texts);

}  // namespace dolmen::node
