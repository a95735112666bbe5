// SPDX-License-Identifier: Apache-2.0
//
// What is in a member's log, for people who look at it: the question of a client, and the answer
// (docs/formats/replication.md). Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "log/message.hpp"

namespace dolmen::replication {

/// Of one answer, which so is at most about 64 KiB, whatever the entries hold.
inline constexpr std::uint32_t kEntriesToldMax = 256;
/// Of an entry's payload; more is told by its length alone.
inline constexpr std::size_t kEntryHeadToldMax = 192;

struct AskEntries {
  std::uint64_t number = 0;  ///< the asker's own, repeated in the answer
  log::Index from = 0;       ///< the first one that is wanted; 0: the last ones
  std::uint32_t count = 0;   ///< 1 to kEntriesToldMax
  friend bool operator==(const AskEntries&, const AskEntries&) = default;
};

struct EntriesTold {
  std::uint64_t number = 0;  ///< of the question
  log::Index base = 0;       ///< entries up to this index are gone
  log::Index end = 0;        ///< the last one that the member has
  log::Index stable = 0;     ///< up to here they are decided
  log::Index first = 1;      ///< index of `entries.front()`; the others follow on it
  struct One {
    log::Epoch origin = 0;
    log::EntryKind kind = log::EntryKind::command;
    std::uint32_t bytes = 0;  ///< of the payload
    base::Bytes head{};       ///< its first ones: all, or kEntryHeadToldMax
  };
  std::vector<One> entries{};
};

[[nodiscard]] std::vector<std::byte> encode(const AskEntries& ask);
[[nodiscard]] std::vector<std::byte> encode(const EntriesTold& told);
/// Errors of both: corrupt. What they give refers to the bytes.
[[nodiscard]] Result<AskEntries> decode_ask_entries(base::Bytes body);
[[nodiscard]] Result<EntriesTold> decode_entries_told(base::Bytes body);

}  // namespace dolmen::replication
