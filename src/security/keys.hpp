// SPDX-License-Identifier: Apache-2.0
//
// Who somebody is, and the key file that proves it (docs/links.md; byte by byte:
// docs/formats/keys.md). Every node and every client has an Ed25519 key of its own, and its file
// names the cluster and the cluster's owner, so that whoever holds it can tell what the owner
// signed. Files are read and written by others: this layer has no input or output.
//
// Thread contract: values; const calls from any thread.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <dolmen/error.hpp>

#include "security/secret.hpp"

namespace dolmen::security {

/// What a key is for. One is never taken for another.
enum class Role : std::uint8_t {
  node = 1,
  client = 2,
  owner = 3,  ///< signs who is trusted; never speaks on a link
};
/// "node", "client", "owner".
[[nodiscard]] std::string_view name_of(Role role) noexcept;

/// Random, the same for ever.
struct ClusterId {
  std::array<std::byte, 16> bytes{};
  friend constexpr auto operator<=>(const ClusterId&, const ClusterId&) = default;
};
struct PublicKey {
  std::array<std::byte, 32> bytes{};
  friend constexpr auto operator<=>(const PublicKey&, const PublicKey&) = default;
};
struct Signature {
  std::array<std::byte, 64> bytes{};
  friend constexpr bool operator==(const Signature&, const Signature&) = default;
};
/// Whether the holder of `key` signed `message`.
[[nodiscard]] bool verify(const PublicKey& key, base::Bytes message,
                          const Signature& signature) noexcept;

/// Highest number of a node or client.
inline constexpr std::uint32_t kNumberMax = 0x7FFFFFFF;
inline constexpr std::size_t kNameCharactersMax = 63;
/// No key file is longer.
inline constexpr std::size_t kKeyTextMax = 1024;

/// Nodes and clients are counted from 1 on, each for themselves; the owner has 0.
struct Identity {
  Role role = Role::node;
  std::uint32_t number = 0;
  friend constexpr auto operator<=>(const Identity&, const Identity&) = default;
};
[[nodiscard]] bool is_valid(const Identity& identity) noexcept;
/// 1 to 63 of a-z, 0-9, '.', '_', '-', the first one a letter or digit. For people.
[[nodiscard]] bool is_valid_name(std::string_view name) noexcept;

class Key {
 public:
  /// The key of a cluster's owner. `seed`: 32 unpredictable bytes that are used for nothing else.
  /// Errors: invalid_argument (a name that is none).
  [[nodiscard]] static Result<Key> make_owner(const ClusterId& cluster, std::string_view name,
                                              const Secret& seed);
  /// The key of a node or client of the cluster that `owner` owns. Errors: invalid_argument.
  [[nodiscard]] static Result<Key> make(const ClusterId& cluster, const PublicKey& owner,
                                        const Identity& identity, std::string_view name,
                                        const Secret& seed);
  /// A key file's text. Errors: corrupt, version_unsupported (detail: the file's version).
  [[nodiscard]] static Result<Key> parse(std::string_view text);
  /// The file, with the secret in it.
  [[nodiscard]] std::string text() const;

  [[nodiscard]] const ClusterId& cluster() const noexcept { return cluster_; }
  [[nodiscard]] const PublicKey& owner() const noexcept { return owner_; }
  [[nodiscard]] const Identity& identity() const noexcept { return identity_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const PublicKey& public_key() const noexcept { return public_; }
  /// About 20 us. What is signed begins with a text that says what it is, so that no signature can
  /// be shown as one of something else.
  [[nodiscard]] Signature sign(base::Bytes message) const;

 private:
  Key() = default;

  ClusterId cluster_;
  PublicKey owner_;
  PublicKey public_;
  Identity identity_;
  std::string name_;
  Secret seed_;
};

}  // namespace dolmen::security
