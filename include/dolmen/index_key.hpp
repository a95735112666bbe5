// SPDX-License-Identifier: Apache-2.0
//
// Keys of an index that are made of parts: numbers, texts and tuples of them, as bytes whose order
// is the order of the parts. Byte by byte: docs/formats/index-key.md.
//
//   const auto key = dolmen::key_of("orders", std::int64_t{-7}, 2.5);
//   const auto parts = dolmen::key_parts<std::string, std::int64_t, double>(key);
//
// An unsigned number of any width is the same key as one of 64 bits, and a signed one likewise; a
// signed and an unsigned one are not comparable: give a place in a key one type, for ever. -0.0 is
// 0.0; all NaN are one, above infinity. Keys of as many parts of the same types compare as tuples
// of them do; a key that another one begins with is below it.
//
// Threads: pure functions.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <dolmen/error.hpp>

namespace dolmen {

namespace detail {

void put_key_unsigned(std::vector<std::byte>& key, std::uint64_t value);
void put_key_signed(std::vector<std::byte>& key, std::int64_t value);
void put_key_double(std::vector<std::byte>& key, double value);
/// `is_open`: without its end, so that it is a beginning of longer ones.
void put_key_bytes(std::vector<std::byte>& key, std::span<const std::byte> bytes, bool is_open);

/// Takes one off the front. Nothing: it is none.
[[nodiscard]] std::optional<std::uint64_t> take_key_unsigned(std::span<const std::byte>& key);
[[nodiscard]] std::optional<std::int64_t> take_key_signed(std::span<const std::byte>& key);
[[nodiscard]] std::optional<double> take_key_double(std::span<const std::byte>& key);
[[nodiscard]] std::optional<std::vector<std::byte>> take_key_bytes(std::span<const std::byte>& key);

template <class T>
inline constexpr bool is_key_tuple = false;
template <class... Parts>
inline constexpr bool is_key_tuple<std::tuple<Parts...>> = true;
template <class A, class B>
inline constexpr bool is_key_tuple<std::pair<A, B>> = true;

/// Numbers, and nothing that happens to be stored as one.
template <class T>
concept KeyNumber =
    std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
    !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> && !std::same_as<T, char16_t> &&
    !std::same_as<T, char32_t> && sizeof(T) <= sizeof(std::uint64_t);

template <class T>
void put_key_part(std::vector<std::byte>& key, const T& part, bool is_open) {
  if constexpr (KeyNumber<T> && std::unsigned_integral<T>) {
    put_key_unsigned(key, part);
  } else if constexpr (KeyNumber<T>) {
    put_key_signed(key, part);
  } else if constexpr (std::same_as<T, double>) {
    put_key_double(key, part);
  } else if constexpr (std::convertible_to<const T&, std::string_view>) {
    put_key_bytes(key, std::as_bytes(std::span(std::string_view(part))), is_open);
  } else if constexpr (std::convertible_to<const T&, std::span<const std::byte>>) {
    put_key_bytes(key, part, is_open);
  } else {
    static_assert(is_key_tuple<T>,
                  "dolmen: parts of a key are integers, double, text, bytes and tuples of them");
    std::apply(
        [&](const auto&... parts) {
          std::size_t left = sizeof...(parts);
          (put_key_part(key, parts, is_open && --left == 0), ...);
        },
        part);
  }
}

template <class T>
[[nodiscard]] std::optional<T> take_key_part(std::span<const std::byte>& key) {
  if constexpr (KeyNumber<T> && std::unsigned_integral<T>) {
    const auto value = take_key_unsigned(key);
    if (!value || *value > std::numeric_limits<T>::max()) return std::nullopt;
    return static_cast<T>(*value);
  } else if constexpr (KeyNumber<T>) {
    const auto value = take_key_signed(key);
    if (!value || *value < std::numeric_limits<T>::min() ||
        *value > std::numeric_limits<T>::max()) {
      return std::nullopt;
    }
    return static_cast<T>(*value);
  } else if constexpr (std::same_as<T, double>) {
    return take_key_double(key);
  } else if constexpr (std::same_as<T, std::string>) {
    const auto bytes = take_key_bytes(key);
    if (!bytes) return std::nullopt;
    std::string text;
    text.reserve(bytes->size());
    for (const std::byte byte : *bytes) text += static_cast<char>(byte);
    return text;
  } else if constexpr (std::same_as<T, std::vector<std::byte>>) {
    return take_key_bytes(key);
  } else {
    static_assert(is_key_tuple<T>,
                  "dolmen: parts of a key are read as integers, double, std::string, "
                  "std::vector<std::byte> and tuples of them");
    return []<std::size_t... I>(std::span<const std::byte>& rest, std::index_sequence<I...>) {
      std::tuple<std::optional<std::tuple_element_t<I, T>>...> parts;
      // In their order, up to the first one that is none.
      const bool is_whole =
          ((std::get<I>(parts) = take_key_part<std::tuple_element_t<I, T>>(rest)).has_value() &&
           ...);
      return is_whole ? std::optional<T>(T(std::move(*std::get<I>(parts))...)) : std::nullopt;
    }(key, std::make_index_sequence<std::tuple_size_v<T>>{});
  }
}

}  // namespace detail

/// The key of these parts: integers, double, text (whatever is a std::string_view), bytes, and
/// tuples and pairs of them, which are their parts one after the other. Cost: 8 bytes a number;
/// of a text its length, 2, and 1 for each zero byte in it.
template <class... Parts>
[[nodiscard]] std::vector<std::byte> key_of(const Parts&... parts) {
  std::vector<std::byte> key;
  (detail::put_key_part(key, parts, false), ...);
  return key;
}

/// What all keys begin with whose first parts are these; the last one, if it is a text or bytes,
/// may go on. With key_behind() it is a range: {.from = prefix, .to = *key_behind(prefix)}.
template <class... Parts>
[[nodiscard]] std::vector<std::byte> key_prefix(const Parts&... parts) {
  std::vector<std::byte> key;
  std::size_t left = sizeof...(parts);
  (detail::put_key_part(key, parts, --left == 0), ...);
  return key;
}

/// The first one of all bytes that is above everything that begins with these. Nothing: there is
/// none (they are empty, or all 255).
[[nodiscard]] std::optional<std::vector<std::byte>> key_behind(std::span<const std::byte> prefix);

/// The parts of a key. Errors: corrupt (it is no key of such parts, all of it; or a number is too
/// large for its type).
template <class... Parts>
[[nodiscard]] Result<std::tuple<Parts...>> key_parts(std::span<const std::byte> key) {
  auto parts = detail::take_key_part<std::tuple<Parts...>>(key);
  if (!parts || !key.empty()) return fail(Errc::corrupt, "a key of other parts", key.size());
  return std::move(*parts);
}

}  // namespace dolmen
