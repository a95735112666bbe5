// SPDX-License-Identifier: Apache-2.0
//
// hash<K>, equal_to and less: the default ways in which keys are hashed and compared. Hash values
// decide where stored entries lie, so they are part of the format: equal on every machine and in
// every version (golden values in the test). Not resistant against keys chosen by an enemy.
//
// Integers, enumerations, bool, floating point: the finaliser of splitmix64. Byte sequences
// (strings, arrays of bytes or integers, records without padding): the wyhash construction, 64-bit
// halves of 128-bit products. ptr, link, ObjectId: what they lead to, never their bits.
//
// Threads: pure functions.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include <dolmen/id.hpp>
#include <dolmen/ptr.hpp>
#include <dolmen/string.hpp>

namespace dolmen {

namespace detail {

__extension__ using Uint128 = unsigned __int128;

inline constexpr std::uint64_t kHashSecret[3] = {0xA0761D6478BD642Full, 0xE7037ED1A0B428DBull,
                                                 0x8EBC6AF09C88C6E3ull};

[[nodiscard]] constexpr std::uint64_t multiply_mix(std::uint64_t a, std::uint64_t b) noexcept {
  const Uint128 product = static_cast<Uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

[[nodiscard]] constexpr std::uint64_t hash_integer(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15ull;  // zero must not stay zero
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

template <class Word>
[[nodiscard]] inline std::uint64_t load_word(const std::byte* from) noexcept {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

[[nodiscard]] inline std::uint64_t hash_bytes(const void* data, std::size_t bytes) noexcept {
  const std::byte* p = static_cast<const std::byte*>(data);
  std::uint64_t seed = kHashSecret[0];
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  if (bytes > 16) {
    std::size_t left = bytes;
    for (; left > 16; left -= 16, p += 16) {
      seed = multiply_mix(load_word<std::uint64_t>(p) ^ kHashSecret[1],
                          load_word<std::uint64_t>(p + 8) ^ seed);
    }
    a = load_word<std::uint64_t>(p + left - 16);
    b = load_word<std::uint64_t>(p + left - 8);
  } else if (bytes >= 8) {
    a = load_word<std::uint64_t>(p);
    b = load_word<std::uint64_t>(p + bytes - 8);
  } else if (bytes >= 4) {
    a = load_word<std::uint32_t>(p);
    b = load_word<std::uint32_t>(p + bytes - 4);
  } else if (bytes > 0) {
    a = (load_word<std::uint8_t>(p) << 16) | (load_word<std::uint8_t>(p + bytes / 2) << 8) |
        load_word<std::uint8_t>(p + bytes - 1);
  }
  return multiply_mix(kHashSecret[2] ^ bytes, multiply_mix(a ^ kHashSecret[1], b ^ seed));
}

[[nodiscard]] inline std::uint64_t hash_target(ObjectId object, std::uint64_t offset) noexcept {
  const std::uint64_t words[3] = {object.high, object.low, offset};
  return hash_bytes(words, sizeof(words));
}

/// Equal values have equal bytes, and the other way round.
template <class T>
inline constexpr bool kComparesByBytes =
    std::has_unique_object_representations_v<T> && std::is_trivially_copyable_v<T>;

template <class T>
inline constexpr bool kIsByte = std::is_same_v<T, std::byte> || std::is_same_v<T, unsigned char> ||
                                std::is_same_v<T, char> || std::is_same_v<T, char8_t>;

/// std::array whose == is equality of bytes.
template <class T>
inline constexpr bool kIsPlainArray = false;
template <class T, std::size_t N>
inline constexpr bool kIsPlainArray<std::array<T, N>> =
    N != 0 && (std::is_integral_v<T> || std::is_enum_v<T>) && kComparesByBytes<T>;

template <class T>
inline constexpr bool kIsByteArray = false;
template <class T, std::size_t N>
inline constexpr bool kIsByteArray<std::array<T, N>> = N != 0 && kIsByte<T>;

/// Bytes as numbers, most significant first: word by word as integers.
template <std::size_t N>
[[nodiscard]] inline bool bytes_less(const void* left, const void* right) noexcept {
  const std::byte* a = static_cast<const std::byte*>(left);
  const std::byte* b = static_cast<const std::byte*>(right);
  if constexpr (N == 8 || N == 16) {
    for (std::size_t i = 0; i + 8 < N; i += 8) {
      const std::uint64_t x = load_word<std::uint64_t>(a + i);
      const std::uint64_t y = load_word<std::uint64_t>(b + i);
      if (x != y) return __builtin_bswap64(x) < __builtin_bswap64(y);
    }
    return __builtin_bswap64(load_word<std::uint64_t>(a + N - 8)) <
           __builtin_bswap64(load_word<std::uint64_t>(b + N - 8));
  } else {
    return std::memcmp(a, b, N) < 0;
  }
}

}  // namespace detail

/// Specialise for a key type of your own: `std::uint64_t operator()(const Key&) const`, stable for
/// ever. With a member type `is_transparent`, maps look up by whatever else it accepts.
template <class K>
struct hash {
  [[nodiscard]] std::uint64_t operator()(const K& key) const noexcept {
    if constexpr (std::is_enum_v<K>) {
      return detail::hash_integer(
          static_cast<std::uint64_t>(static_cast<std::underlying_type_t<K>>(key)));
    } else if constexpr (std::is_integral_v<K>) {
      return detail::hash_integer(static_cast<std::uint64_t>(key));
    } else if constexpr (std::is_floating_point_v<K>) {
      return detail::hash_integer(std::bit_cast<std::uint64_t>(static_cast<double>(key) + 0.0));
    } else {
      static_assert(
          detail::kComparesByBytes<K>,
          "dolmen: no default hash for this key type (it has padding, pointers or floating "
          "point); specialise dolmen::hash or give the map a Hash");
      return detail::hash_bytes(&key, sizeof(K));
    }
  }
};

/// Of string, std::string_view and const char* alike.
template <>
struct hash<string> {
  using is_transparent = void;
  [[nodiscard]] std::uint64_t operator()(std::string_view text) const noexcept {
    return detail::hash_bytes(text.data(), text.size());
  }
};

template <>
struct hash<ObjectId> {
  [[nodiscard]] std::uint64_t operator()(const ObjectId& id) const noexcept {
    return detail::hash_target(id, 0);
  }
};

template <class T>
struct hash<link<T>> {
  [[nodiscard]] std::uint64_t operator()(const link<T>& key) const noexcept {
    return detail::hash_target(key.object(), key.offset());
  }
};

/// Equal to the hash of the link to the same place.
template <class T>
struct hash<ptr<T>> {
  [[nodiscard]] std::uint64_t operator()(const ptr<T>& key) const {
    const detail::Target where = detail::target_of(detail::Access::bits(key), &key);
    return detail::hash_target(where.object, where.offset);
  }
};

/// ==; arrays of integers as bytes.
struct equal_to {
  using is_transparent = void;
  template <class L, class R>
  [[nodiscard]] bool operator()(const L& left, const R& right) const {
    if constexpr (std::is_same_v<L, R> && detail::kIsPlainArray<L>) {
      return std::memcmp(&left, &right, sizeof(L)) == 0;
    } else {
      return left == right;
    }
  }
};

/// <; arrays of bytes (char too, on every machine) as memcmp orders them.
struct less {
  using is_transparent = void;
  template <class L, class R>
  [[nodiscard]] bool operator()(const L& left, const R& right) const {
    if constexpr (std::is_same_v<L, R> && detail::kIsByteArray<L>) {
      return detail::bytes_less<sizeof(L)>(&left, &right);
    } else {
      return left < right;
    }
  }
};

}  // namespace dolmen
