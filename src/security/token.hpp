// SPDX-License-Identifier: Apache-2.0
//
// One-time tokens to join a cluster: what a node gets that has no key there yet
// (docs/formats/keys.md). Which were made and used the cluster itself knows.
//
// Thread contract: values, one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>

#include "security/keys.hpp"

namespace dolmen::security {

/// Nodes that a token names, and characters of where one is.
inline constexpr std::size_t kTokenNodesMax = 5;
inline constexpr std::size_t kTokenAddressMax = 255;
inline constexpr std::size_t kTokenTextMax = 4096;

/// A node of the cluster, by which whoever joins knows that it is there.
struct KnownNode {
  std::uint32_t number = 0;
  PublicKey key{};
  std::string address{};
  friend bool operator==(const KnownNode&, const KnownNode&) = default;
};

/// What its holder has: as whom it may join which cluster, and whose word it takes there.
struct JoinToken {
  ClusterId cluster;
  PublicKey owner;
  Identity identity;
  std::uint64_t expiry_s = 0;      ///< seconds since 1970 (UTC) from which on it is of no use
  Secret secret;                   ///< the seed of a key of this token alone
  std::vector<KnownNode> nodes{};  ///< 1 to kTokenNodesMax, ascending: where it is used

  /// One word, with the secret in it. Requires: what parse() asks for.
  [[nodiscard]] std::string text() const;
  /// Errors: corrupt (also: mistyped), version_unsupported (detail: the token's).
  [[nodiscard]] static Result<JoinToken> parse(std::string_view text);
};

}  // namespace dolmen::security
