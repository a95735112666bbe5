// SPDX-License-Identifier: Apache-2.0
//
// How a client gets a lease to read a leader's memory by (docs/index.md, By a lease): the question
// and the answer (docs/formats/replication.md). Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "log/message.hpp"

namespace dolmen::replication {

/// No answer says more.
inline constexpr std::uint64_t kLeaseMaxNs = 10'000'000'000;

struct AskLease {
  std::uint64_t number = 0;  ///< the asker's own, repeated in the answer
  log::Epoch epoch = 0;      ///< in which it was told that the member leads
  friend bool operator==(const AskLease&, const AskLease&) = default;
};

struct LeaseTold {
  std::uint64_t number = 0;  ///< of the question
  /// Of the member's clock, from some moment since the question was sent; 0: there is none.
  std::uint64_t left_ns = 0;
  std::uint64_t drift_ppm = 0;  ///< of any clock, in millionths; at most 500'000
  friend bool operator==(const LeaseTold&, const LeaseTold&) = default;
};

[[nodiscard]] std::vector<std::byte> encode(const AskLease& ask);
[[nodiscard]] std::vector<std::byte> encode(const LeaseTold& told);
/// Errors of both: corrupt.
[[nodiscard]] Result<AskLease> decode_ask_lease(base::Bytes body);
[[nodiscard]] Result<LeaseTold> decode_lease_told(base::Bytes body);

}  // namespace dolmen::replication
