// SPDX-License-Identifier: Apache-2.0
#pragma once

/// DOLMEN_SANITIZED: 1 with a sanitizer that has its own allocator, for what a test may not define
/// then. g++ defines a macro, clang answers `__has_feature`.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define DOLMEN_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DOLMEN_SANITIZED 1
#endif
#ifndef DOLMEN_SANITIZED
#define DOLMEN_SANITIZED 0
#endif

/// Which sanitizers this translation unit is compiled with: g++ defines a macro, clang answers
/// `__has_feature`. For tests: how long a search may take, and what a sanitizer cannot be put
/// through.
namespace dolmen::base {

#if defined(__has_feature)
inline constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
inline constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
#endif
inline constexpr bool kSanitized = DOLMEN_SANITIZED == 1;

}  // namespace dolmen::base
