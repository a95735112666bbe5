// SPDX-License-Identifier: Apache-2.0
//
// What a client of a hash index says of one key, and what it makes of the answer.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <dolmen/error.hpp>

#include "cluster/index_record.hpp"
#include "node/shard_machine.hpp"

namespace dolmen::node {

/// Errors: too_large.
[[nodiscard]] Result<void> check_record(std::size_t key_bytes, std::size_t value_bytes);
[[nodiscard]] std::unexpected<Error> index_full();
[[nodiscard]] std::vector<std::byte> index_question(base::Bytes key);
[[nodiscard]] std::vector<std::byte> index_change(const cluster::IndexCommand& command);
/// Of one change: whether its outcome is the one. Errors: corrupt, no_space.
[[nodiscard]] Result<bool> index_outcome(base::Bytes reply, cluster::IndexOutcome wanted);

}  // namespace dolmen::node
