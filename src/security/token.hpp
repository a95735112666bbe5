// SPDX-License-Identifier: Apache-2.0
//
// One-time tokens to join a cluster: what a node or client gets that has no key there yet, and the
// list of those that were given out, which holds hashes only (docs/formats/keys.md). Whoever keeps
// the list makes it durable before anybody is told of an admission.
//
// Thread contract: values, one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <dolmen/error.hpp>

#include "security/keys.hpp"

namespace dolmen::security {

inline constexpr std::size_t kTokensMax = 4096;
/// No list is longer.
inline constexpr std::size_t kTokensTextMax = std::size_t{1} << 20;

/// What its holder has: as whom it may join which cluster, and whose word it takes there.
struct JoinToken {
  ClusterId cluster;
  PublicKey owner;
  Identity identity;
  std::uint64_t expiry_s = 0;  ///< seconds since 1970 (UTC) from which on it is of no use
  Secret secret;               ///< 32 unpredictable bytes of this token alone

  /// One word, with the secret in it.
  [[nodiscard]] std::string text() const;
  /// Errors: corrupt (also: mistyped), version_unsupported (detail: the token's).
  [[nodiscard]] static Result<JoinToken> parse(std::string_view text);
  /// What is kept of it: of everything in it.
  [[nodiscard]] std::array<std::byte, 32> hash() const;
};

class TokenList {
 public:
  explicit TokenList(const ClusterId& cluster) noexcept : cluster_(cluster) {}
  /// Errors: corrupt, version_unsupported (detail: the list's).
  [[nodiscard]] static Result<TokenList> parse(std::string_view text);
  [[nodiscard]] std::string text() const;

  /// Errors: invalid_argument (an owner's identity, another cluster), already_exists, limit.
  [[nodiscard]] Result<void> add(const JoinToken& token);
  /// Uses the token up for the holder of `key`. The same key may repeat it, as after a crash.
  /// Errors: invalid_argument (unknown, expired at `now_s`, or used by another key; the context
  /// says which).
  [[nodiscard]] Result<Identity> redeem(const JoinToken& token, const PublicKey& key,
                                        std::uint64_t now_s);
  /// Drops those that have expired, used or not: they stay refused.
  void forget_expired(std::uint64_t now_s);

  struct Entry {
    Identity identity;
    std::uint64_t expiry_s = 0;
    std::optional<PublicKey> used_by;
  };
  [[nodiscard]] const ClusterId& cluster() const noexcept { return cluster_; }
  [[nodiscard]] const std::map<std::array<std::byte, 32>, Entry>& entries() const noexcept {
    return entries_;
  }

 private:
  ClusterId cluster_;
  std::map<std::array<std::byte, 32>, Entry> entries_;
};

}  // namespace dolmen::security
