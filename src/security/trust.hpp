// SPDX-License-Identifier: Apache-2.0
//
// Who belongs to a cluster: the public keys of its nodes and clients, signed by its owner. The file
// holds no secret and may travel anywhere (docs/formats/keys.md).
//
// Thread contract: a value; const calls from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include <dolmen/error.hpp>

#include "security/keys.hpp"

namespace dolmen::security {

/// More than a cluster's map has, and less than what a file of so many bytes holds.
inline constexpr std::size_t kTrustEntriesMax = 6144;
/// No trust file is longer.
inline constexpr std::size_t kTrustTextMax = std::size_t{1} << 20;

class Trust {
 public:
  struct Entry {
    std::string name;
    bool is_revoked = false;
  };
  /// Several keys may stand for one identity: while it gets a new one.
  struct Place {
    Identity identity;
    PublicKey key;
    friend auto operator<=>(const Place&, const Place&) = default;
  };

  /// Nobody is trusted yet.
  Trust(const ClusterId& cluster, const PublicKey& owner) noexcept
      : cluster_(cluster), owner_(owner) {}
  /// What the owner of this cluster signed. Errors: corrupt, version_unsupported (detail: the
  /// file's version), not_authentic (another cluster's or owner's, or changed since).
  [[nodiscard]] static Result<Trust> parse(std::string_view text, const ClusterId& cluster,
                                           const PublicKey& owner);
  /// The next file: its serial is one higher. Errors: invalid_argument (`owner` is another one's
  /// key), limit.
  [[nodiscard]] Result<std::string> sign(const Key& owner);

  /// Errors: invalid_argument (identity or name; the owner's own key), already_exists (the key is
  /// in it), limit.
  [[nodiscard]] Result<void> add(const Identity& identity, std::string_view name,
                                 const PublicKey& key);
  /// For ever: the key stays listed, so that it cannot be added again. Errors: not_found.
  [[nodiscard]] Result<void> revoke(const PublicKey& key);
  /// Whether it is that identity's key, and not revoked.
  [[nodiscard]] bool trusts(const Identity& identity, const PublicKey& key) const noexcept;

  [[nodiscard]] const ClusterId& cluster() const noexcept { return cluster_; }
  [[nodiscard]] const PublicKey& owner() const noexcept { return owner_; }
  /// Of two files of a cluster the one with the higher serial is the later one.
  [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
  [[nodiscard]] const std::map<Place, Entry>& entries() const noexcept { return entries_; }

 private:
  [[nodiscard]] std::string unsigned_text() const;

  ClusterId cluster_;
  PublicKey owner_;
  std::uint64_t serial_ = 0;
  std::map<Place, Entry> entries_;
  std::set<PublicKey> keys_;  ///< of the entries
};

}  // namespace dolmen::security
