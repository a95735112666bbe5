// SPDX-License-Identifier: Apache-2.0
//
// How a member asks another for the state that a snapshot refers to, part by part, and is answered
// (docs/formats/replication.md). Pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::replication {

/// Of what names a state.
inline constexpr std::size_t kReferenceBytesMax = 256;
/// Of what a machine asks another one.
inline constexpr std::size_t kQuestionBytesMax = 2048;
/// Of one part.
inline constexpr std::size_t kStatePartBytesMax = 1u << 20;

inline constexpr std::size_t kStatePartHeadBytes = 32;

struct AskState {
  std::uint64_t transfer = 0;  ///< the asker's own number of it, not 0: another one begins anew
  std::uint64_t part = 0;
  base::Bytes reference{};
  base::Bytes question{};  ///< of the asker's machine; empty: for the next part
};

enum class StateStatus : std::uint8_t {
  part = 0,  ///< nothing in it: it is the one behind the last
  gone = 1,  ///< not from this member, or not any more
  busy = 2,  ///< too many are being sent already
};

struct StatePart {
  std::uint64_t transfer = 0;
  std::uint64_t part = 0;
  StateStatus status = StateStatus::part;
  base::Bytes bytes{};
};

[[nodiscard]] std::vector<std::byte> encode(const AskState& ask);
/// What is in front of the part's bytes.
[[nodiscard]] std::array<std::byte, kStatePartHeadBytes> encode_head(const StatePart& part);
[[nodiscard]] std::vector<std::byte> encode(const StatePart& part);
/// Errors of both: corrupt. What they give refers to the bytes.
[[nodiscard]] Result<AskState> decode_ask_state(base::Bytes body);
[[nodiscard]] Result<StatePart> decode_state_part(base::Bytes body);

}  // namespace dolmen::replication
