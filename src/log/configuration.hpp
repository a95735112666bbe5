// SPDX-License-Identifier: Apache-2.0
//
// Who belongs to a group. A change of it is an entry of the group's log (docs/log.md, rule 9).
#pragma once

#include <cstdint>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::log {

/// A replica, in one life of its memory and disk: one that lost them comes back as another.
enum class ReplicaId : std::uint64_t {};
inline constexpr ReplicaId kNobody{};

inline constexpr std::size_t kMembersMax = 64;

struct Configuration {
  std::vector<ReplicaId> voters;      ///< sorted
  std::vector<ReplicaId> learners{};  ///< sorted; get every entry and decide nothing
  /// Sorted, of the voters: keep entries and snapshots as bytes, grant and accept like others, and
  /// never lead, for they have no state machine.
  std::vector<ReplicaId> witnesses{};
  [[nodiscard]] bool is_voter(ReplicaId id) const noexcept;
  [[nodiscard]] bool is_learner(ReplicaId id) const noexcept;
  [[nodiscard]] bool is_witness(ReplicaId id) const noexcept;
  friend bool operator==(const Configuration&, const Configuration&) = default;
};

/// Whether it has voters that are no witnesses, at most kMembersMax members, and nobody twice.
[[nodiscard]] bool is_valid(const Configuration& configuration) noexcept;
/// The payload of its entry. Requires: is_valid.
[[nodiscard]] std::vector<std::byte> encode(const Configuration& configuration);
/// Errors: corrupt, version_unsupported.
[[nodiscard]] Result<Configuration> decode_configuration(base::Bytes bytes);

}  // namespace dolmen::log
