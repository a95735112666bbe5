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
/// Requires: possible ones, put and erase; not more than kIndexChangesMax.
[[nodiscard]] std::vector<std::byte> index_changes(std::span<const cluster::IndexChange> changes);
[[nodiscard]] inline std::vector<std::byte> index_change(const cluster::IndexChange& change) {
  return index_changes(std::span(&change, 1));
}
/// Bytes of keys and values in one entry of a log, unless one alone has more.
inline constexpr std::size_t kIndexBatchBytes = 256u << 10;
/// Of so many puts: all were done. Errors: corrupt, no_space.
[[nodiscard]] Result<void> index_has_room(base::Bytes reply, std::size_t count);
/// Of one change: whether its outcome is the one. Errors: corrupt, no_space.
[[nodiscard]] Result<bool> index_outcome(base::Bytes reply, cluster::IndexOutcome wanted);

/// As decode_index_value(), in the memory of the reply.
[[nodiscard]] Result<std::optional<std::vector<std::byte>>> take_index_value(
    std::vector<std::byte>&& reply);

}  // namespace dolmen::node
