// SPDX-License-Identifier: Apache-2.0
#include <dolmen/id.hpp>

#include "base/bytes.hpp"
#include "base/sha256.hpp"

namespace dolmen {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::size_t kHalfDigits = 16;

std::optional<std::uint64_t> parse_half(std::string_view text) noexcept {
  std::uint64_t value = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = value << 4 | digit;
  }
  return value;
}

}  // namespace

std::string ObjectId::to_string() const {
  std::string text(2 * kHalfDigits, '0');
  for (std::size_t i = 0; i < kHalfDigits; ++i) {
    const std::size_t shift = 60 - 4 * i;
    text[i] = kDigits[high >> shift & 15];
    text[kHalfDigits + i] = kDigits[low >> shift & 15];
  }
  return text;
}

std::optional<ObjectId> ObjectId::parse(std::string_view text) noexcept {
  if (text.size() != 2 * kHalfDigits) return std::nullopt;
  const auto high = parse_half(text.substr(0, kHalfDigits));
  const auto low = parse_half(text.substr(kHalfDigits));
  if (!high || !low) return std::nullopt;
  return ObjectId{*high, *low};
}

ObjectId derive_object_id(const ObjectIdSeed& seed) noexcept {
  std::array<std::byte, 48> input{};
  const base::MutableBytes out(input);
  std::memcpy(input.data(), seed.nonce.data(), seed.nonce.size());
  base::store(out, 16, __builtin_bswap64(seed.owner_key.high));
  base::store(out, 24, __builtin_bswap64(seed.owner_key.low));
  base::store(out, 32, seed.flags);
  base::store(out, 34, seed.default_rights);
  const base::Sha256Digest digest = base::sha256(input);
  const auto word = [&](std::size_t offset) {
    return __builtin_bswap64(base::load<std::uint64_t>(digest, offset));
  };
  return ObjectId{word(0) ^ word(16), word(8) ^ word(24)};
}

}  // namespace dolmen
