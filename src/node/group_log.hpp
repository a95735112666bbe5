// SPDX-License-Identifier: Apache-2.0
//
// The log of a cluster's group as one of its members has it, for people: docs/cli.md, The log of a
// group.
//
// Thread contract: one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/cluster.hpp>
#include <dolmen/error.hpp>

namespace dolmen::node {

struct GroupLogQuestion {
  std::string group;         ///< its name, or its number
  std::uint32_t member = 0;  ///< the node that is asked; 0: whichever answers first
  std::uint64_t from = 0;    ///< index of the first entry; 0: the last ones
  std::uint64_t count = 0;   ///< how many, at most
};

struct GroupLog {
  struct Entry {
    std::uint64_t index = 0;
    std::uint64_t epoch = 0;  ///< in which it was proposed
    /// "opening" (somebody leads), "configuration", "settled" (the one before is decided),
    /// "session" (a client came), "address" (where a node is), "command".
    std::string kind;
    std::uint64_t bytes = 0;  ///< of its payload
    std::string what;         ///< in words, if the first bytes of it say so; may hold any bytes
  };
  std::uint32_t group = 0;
  std::uint32_t member = 0;
  std::uint64_t first_index = 0;  ///< earlier entries are gone: a snapshot stands for them
  std::uint64_t last_index = 0;
  std::uint64_t stable_index = 0;  ///< up to here they are decided
  std::vector<Entry> entries;
};

/// Errors: not_found (no such group, or the node is no member), timed_out (nobody who has the log
/// answered), not_authentic, invalid_argument.
[[nodiscard]] Result<GroupLog> read_group_log(const ClusterAddress& address,
                                              const GroupLogQuestion& question,
                                              std::chrono::milliseconds patience);

}  // namespace dolmen::node
