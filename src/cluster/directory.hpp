// SPDX-License-Identifier: Apache-2.0
//
// A shard of the directory: which group each object lives in (docs/homes.md), as a table that
// others read from afar (hash_index.hpp). It changes by the notices of homes, each a mail that an
// entry of the shard's group consumes. What it holds is as of stable entries alone.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cluster/hash_index.hpp"
#include "cluster/home.hpp"
#include "cluster/home_table.hpp"
#include "log/message.hpp"

namespace dolmen::cluster {

/// What a slot of the directory says.
struct DirectoryEntry {
  GroupNumber group = 0;
  MoveCounter counter = 0;
  std::uint16_t length_class = 0;
  friend bool operator==(const DirectoryEntry&, const DirectoryEntry&) = default;
};
/// Requires: a counter of at most kMoveCounterMax.
[[nodiscard]] Home home_of(const DirectoryEntry& entry) noexcept;
[[nodiscard]] DirectoryEntry entry_of(const Home& home) noexcept;

/// What a mail does to a shard; it has not happened.
struct DirectoryPlan {
  std::vector<HomeLetter> letters{};      ///< to be posted by the entry that consumes the mail
  std::optional<IndexCommand> command{};  ///< to be applied by it
};

/// Requires: a table of homes, as of the entry before the one that consumes the mail. What is no
/// notice does nothing.
[[nodiscard]] DirectoryPlan plan_notice(const HashIndex& table, GroupNumber from,
                                        const HomeMail& mail);

}  // namespace dolmen::cluster
