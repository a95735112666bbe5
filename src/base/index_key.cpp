// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>

#include <dolmen/index_key.hpp>

namespace dolmen {

namespace detail {

namespace {

constexpr std::size_t kNumberBytes = 8;
constexpr std::uint64_t kSign = std::uint64_t{1} << 63;
/// A zero byte within a text, and its end: the end is below whatever goes on.
constexpr std::byte kZero{0};
constexpr std::byte kZeroWithin{0xFF};
constexpr std::byte kEnd{0x01};

}  // namespace

void put_key_unsigned(std::vector<std::byte>& key, std::uint64_t value) {
  for (std::size_t i = kNumberBytes; i-- > 0;)
    key.push_back(static_cast<std::byte>(value >> 8 * i));
}

void put_key_signed(std::vector<std::byte>& key, std::int64_t value) {
  put_key_unsigned(key, static_cast<std::uint64_t>(value) ^ kSign);
}

void put_key_double(std::vector<std::byte>& key, double value) {
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  if (value == 0) value = 0;  // -0.0 too
  const auto bits = std::bit_cast<std::uint64_t>(value);
  put_key_unsigned(key, (bits & kSign) != 0 ? ~bits : bits | kSign);
}

void put_key_bytes(std::vector<std::byte>& key, std::span<const std::byte> bytes, bool is_open) {
  for (const std::byte byte : bytes) {
    key.push_back(byte);
    if (byte == kZero) key.push_back(kZeroWithin);
  }
  if (is_open) return;
  key.push_back(kZero);
  key.push_back(kEnd);
}

std::optional<std::uint64_t> take_key_unsigned(std::span<const std::byte>& key) {
  if (key.size() < kNumberBytes) return std::nullopt;
  std::uint64_t value = 0;
  for (const std::byte byte : key.first(kNumberBytes)) {
    value = value << 8 | std::to_integer<std::uint64_t>(byte);
  }
  key = key.subspan(kNumberBytes);
  return value;
}

std::optional<std::int64_t> take_key_signed(std::span<const std::byte>& key) {
  const auto value = take_key_unsigned(key);
  if (!value) return std::nullopt;
  return static_cast<std::int64_t>(*value ^ kSign);
}

std::optional<double> take_key_double(std::span<const std::byte>& key) {
  std::span<const std::byte> rest = key;
  const auto stored = take_key_unsigned(rest);
  if (!stored) return std::nullopt;
  const auto value = std::bit_cast<double>((*stored & kSign) != 0 ? *stored ^ kSign : ~*stored);
  // What is not written so is no key: equal numbers have equal keys.
  std::vector<std::byte> again;
  put_key_double(again, value);
  std::span<const std::byte> written = again;
  if (take_key_unsigned(written) != stored) return std::nullopt;
  key = rest;
  return value;
}

std::optional<std::vector<std::byte>> take_key_bytes(std::span<const std::byte>& key) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < key.size(); ++i) {
    if (key[i] != kZero) {
      bytes.push_back(key[i]);
      continue;
    }
    if (++i == key.size()) return std::nullopt;
    if (key[i] == kEnd) {
      key = key.subspan(i + 1);
      return bytes;
    }
    if (key[i] != kZeroWithin) return std::nullopt;
    bytes.push_back(kZero);
  }
  return std::nullopt;
}

}  // namespace detail

std::optional<std::vector<std::byte>> key_behind(std::span<const std::byte> prefix) {
  std::vector<std::byte> behind(prefix.begin(), prefix.end());
  while (!behind.empty() && behind.back() == std::byte{0xFF}) behind.pop_back();
  if (behind.empty()) return std::nullopt;
  behind.back() = static_cast<std::byte>(std::to_integer<unsigned>(behind.back()) + 1);
  return behind;
}

}  // namespace dolmen
