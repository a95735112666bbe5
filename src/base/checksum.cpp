// SPDX-License-Identifier: Apache-2.0
#include "base/checksum.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace dolmen::base {

std::uint64_t checksum64(Bytes bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

Checksum128 checksum128(Bytes bytes, std::uint64_t seed) noexcept {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {.low = hash.low64, .high = hash.high64};
}

}  // namespace dolmen::base
