// SPDX-License-Identifier: Apache-2.0
//
// Identities. An object's id is 128 bits, made without coordination by hashing a random nonce with
// the owner's key id, default rights and flags (Twizzler), so that a holder of those can verify
// whose it is. Ids are values, totally ordered by their big-endian text form, and mean the same
// everywhere, for ever.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace dolmen {

struct ObjectId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  friend constexpr auto operator<=>(const ObjectId&, const ObjectId&) = default;
  /// The all-zero id names no object.
  [[nodiscard]] constexpr bool is_null() const noexcept { return high == 0 && low == 0; }
  /// 32 lower-case hexadecimal digits.
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] static std::optional<ObjectId> parse(std::string_view text) noexcept;
};

/// What an object's id is derived from; kept in the object's record so that the id can be verified.
struct ObjectIdSeed {
  std::array<std::byte, 16> nonce{};  ///< random, never reused
  ObjectId owner_key{};               ///< id of the owner's public-key object; null = unowned
  std::uint16_t flags = 0;
  std::uint16_t default_rights = 0;
};

/// SHA-256 over the 48 bytes {nonce, owner key (big endian), flags, default rights (little endian),
/// 12 zero bytes}, its two halves combined by exclusive or.
[[nodiscard]] ObjectId derive_object_id(const ObjectIdSeed& seed) noexcept;

}  // namespace dolmen

template <>
struct std::hash<dolmen::ObjectId> {
  std::size_t operator()(const dolmen::ObjectId& id) const noexcept {
    return static_cast<std::size_t>(id.high ^ (id.low * 0x9E3779B97F4A7C15ull));
  }
};
