// SPDX-License-Identifier: Apache-2.0
//
// Where the image of a line differs from its pre-image: what a commit has to write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "txn/home_object.hpp"

namespace dolmen::txn {

inline constexpr std::size_t kWordsPerLine = kLineBytes / sizeof(std::uint64_t);

/// Bit i: the i-th 8-byte word differs.
[[nodiscard]] inline unsigned changed_words_portable(const std::byte* before,
                                                     const std::byte* after) noexcept {
  unsigned changed = 0;
  for (std::size_t i = 0; i < kWordsPerLine; ++i) {
    std::uint64_t was = 0;
    std::uint64_t is = 0;
    std::memcpy(&was, before + i * sizeof was, sizeof was);
    std::memcpy(&is, after + i * sizeof is, sizeof is);
    changed |= static_cast<unsigned>(was != is) << i;
  }
  return changed;
}

/// The same, sixteen bytes at a time where the machine has that.
[[nodiscard]] inline unsigned changed_words(const std::byte* before,
                                            const std::byte* after) noexcept {
#if defined(__SSE2__)
  static_assert(kLineBytes == 4 * sizeof(__m128i));
  const auto equal_halves = [&](std::size_t i) {  // of words: all bits of 32, or none
    return _mm_castsi128_ps(_mm_cmpeq_epi32(
        _mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(before)) + i),
        _mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(after)) + i)));
  };
  const auto equal_words = [](__m128 a, __m128 b) {  // both halves are
    return _mm_castps_si128(_mm_and_ps(_mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)),
                                       _mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1))));
  };
  const __m128i equal = _mm_packs_epi32(equal_words(equal_halves(0), equal_halves(1)),
                                        equal_words(equal_halves(2), equal_halves(3)));
  const int bits = _mm_movemask_epi8(_mm_packs_epi16(equal, equal));
  return ~static_cast<unsigned>(bits) & 0xFFu;
#else
  return changed_words_portable(before, after);
#endif
}

}  // namespace dolmen::txn
