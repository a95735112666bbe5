// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>

#include <dolmen/assert.hpp>

#include "base/print.hpp"

namespace dolmen::base {

void print_last_words(const char* text) noexcept { std::fprintf(stderr, "dolmen: %s\n", text); }

}  // namespace dolmen::base

namespace dolmen::detail {

void assertion_failed(const char* expression, const char* file, int line,
                      const char* note) noexcept {
  std::fprintf(stderr, "dolmen: assertion failed: %s %s (%s:%d)\n", expression, note, file, line);
  std::abort();
}

void comparison_failed(const char* expression, const char* file, int line, std::uint64_t left,
                       std::uint64_t right) noexcept {
  std::fprintf(stderr, "dolmen: assertion failed: %s, with %llu and %llu (%s:%d)\n", expression,
               static_cast<unsigned long long>(left), static_cast<unsigned long long>(right), file,
               line);
  std::abort();
}

}  // namespace dolmen::detail
