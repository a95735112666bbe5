// SPDX-License-Identifier: Apache-2.0
//
// Assertions for broken invariants: programmer errors and states that must not exist. On in every
// build; a failure prints expression, values and place to standard error and aborts, it never
// throws. Bytes from a disk or a peer are never asserted on: they give `Errc::corrupt`.
#pragma once

#include <cstdint>
#include <type_traits>

namespace dolmen::detail {
[[noreturn, gnu::cold, gnu::noinline]] void assertion_failed(const char* expression,
                                                             const char* file, int line,
                                                             const char* note) noexcept;
[[noreturn, gnu::cold, gnu::noinline]] void comparison_failed(const char* expression,
                                                              const char* file, int line,
                                                              std::uint64_t left,
                                                              std::uint64_t right) noexcept;
}  // namespace dolmen::detail

/// Aborts unless the condition holds.
#define DOLMEN_ASSERT(...)                             \
  (__builtin_expect(static_cast<bool>(__VA_ARGS__), 1) \
       ? static_cast<void>(0)                          \
       : ::dolmen::detail::assertion_failed(#__VA_ARGS__, __FILE__, __LINE__, ""))

/// Aborts unless `left op right`; prints both integers.
#define DOLMEN_ASSERT_CMP(left, op, right)                                              \
  do {                                                                                  \
    const auto dolmen_left = (left);                                                    \
    const auto dolmen_right = (right);                                                  \
    if (__builtin_expect(!(dolmen_left op dolmen_right), 0)) {                          \
      ::dolmen::detail::comparison_failed(#left " " #op " " #right, __FILE__, __LINE__, \
                                          static_cast<std::uint64_t>(dolmen_left),      \
                                          static_cast<std::uint64_t>(dolmen_right));    \
    }                                                                                   \
  } while (false)

/// Marks code that cannot be reached.
#define DOLMEN_UNREACHABLE(note) \
  ::dolmen::detail::assertion_failed("unreachable", __FILE__, __LINE__, note)
