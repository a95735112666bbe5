// SPDX-License-Identifier: Apache-2.0
//
// The orderly end of a process that keeps members of groups (docs/log.md, "Handing over").
#pragma once

#include <cstdint>

#include <dolmen/error.hpp>

#include "base/hooks.hpp"
#include "replication/member.hpp"
#include "sys/clock.hpp"

namespace dolmen::node {

/// Longer than that nobody waits for an end.
inline constexpr std::uint64_t kHandOverMaxNs = 2'000'000'000;

/// What `member` leads is given to others while it can be; `kept` runs it (turn(), wait()). Errors:
/// those of a turn.
template <class Kept>
[[nodiscard]] Result<void> hand_over(sys::Clock& clock, replication::Member& member, Kept& kept) {
  if (DOLMEN_PLANTED("node.not_handed_over")) return {};
  const std::uint64_t deadline_ns = clock.monotonic_ns() + kHandOverMaxNs;
  while (!member.hand_over() && clock.monotonic_ns() < deadline_ns) {
    DOLMEN_TRY(const bool was_busy, kept.turn());
    if (!was_busy) DOLMEN_CHECK(kept.wait());
  }
  return {};
}

}  // namespace dolmen::node
