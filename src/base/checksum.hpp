// SPDX-License-Identifier: Apache-2.0
//
// Checksums of stored bytes: 64 bits, seeded with what the bytes claim to be, so that a block which
// was written to the wrong place, or is an old version of the right one, does not verify. Detects
// damage, not malice. The algorithm is XXH3-64 (stable since xxHash 0.8.0).
#pragma once

#include <cstdint>

#include "base/bytes.hpp"

namespace dolmen::base {

[[nodiscard]] std::uint64_t checksum64(Bytes bytes, std::uint64_t seed) noexcept;

/// XXH3-128, for where two pieces are taken for equal by it alone.
struct Checksum128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Checksum128&, const Checksum128&) = default;
};
[[nodiscard]] Checksum128 checksum128(Bytes bytes, std::uint64_t seed) noexcept;

/// Folds identifying numbers into a seed; order matters.
[[nodiscard]] constexpr std::uint64_t mix_seed(std::uint64_t seed, std::uint64_t value) noexcept {
  seed ^= value + 0x9E3779B97F4A7C15ull + (seed << 6) + (seed >> 2);
  seed ^= seed >> 30;
  seed *= 0xBF58476D1CE4E5B9ull;
  seed ^= seed >> 27;
  seed *= 0x94D049BB133111EBull;
  return seed ^ (seed >> 31);
}

}  // namespace dolmen::base
