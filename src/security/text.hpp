// SPDX-License-Identifier: Apache-2.0
//
// The words of key, trust and token files: lines that end in LF, words with one space between, in
// one form only, so that what is read back is what was written. Pure functions.
#pragma once

#include <charconv>
#include <concepts>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace dolmen::security {

[[nodiscard]] inline std::string to_hex(base::Bytes bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

/// False: not two lower-case digits for each byte of `out`.
[[nodiscard]] inline bool from_hex(std::string_view text, base::MutableBytes out) noexcept {
  if (text.size() != out.size() * 2) return false;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::byte>(high * 16 + low);
  }
  return true;
}

/// Decimal, without leading zeros.
template <std::unsigned_integral T>
[[nodiscard]] bool from_decimal(std::string_view text, T& out) noexcept {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return false;
  const char* const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data(), end, out);
  return failed == std::errc{} && rest == end;
}

class TextReader {
 public:
  explicit TextReader(std::string_view text) noexcept : rest_(text) {}

  /// Whether another line begins here; what is not ended by LF is none.
  [[nodiscard]] bool next_line() noexcept {
    const std::size_t end = rest_.find('\n');
    if (end == std::string_view::npos) return false;
    line_ = rest_.substr(0, end);
    rest_ = rest_.substr(end + 1);
    has_words_ = true;
    return true;
  }
  /// The line's next word; nothing behind the last one.
  [[nodiscard]] std::optional<std::string_view> word() noexcept {
    if (!has_words_) return std::nullopt;
    const std::size_t end = line_.find(' ');
    has_words_ = end != std::string_view::npos;
    const std::string_view result = line_.substr(0, end);
    if (has_words_) line_ = line_.substr(end + 1);
    return result;
  }
  [[nodiscard]] bool is_word(std::string_view expected) noexcept { return word() == expected; }
  [[nodiscard]] bool hex(base::MutableBytes out) noexcept {
    const auto text = word();
    return text && from_hex(*text, out);
  }
  template <std::unsigned_integral T>
  [[nodiscard]] bool decimal(T& out) noexcept {
    const auto text = word();
    return text && from_decimal(*text, out);
  }
  /// Whether the line has no further word.
  [[nodiscard]] bool is_line_end() const noexcept { return !has_words_; }
  [[nodiscard]] bool is_end() const noexcept { return rest_.empty(); }
  /// What stands behind the line.
  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

 private:
  std::string_view rest_;
  std::string_view line_;
  bool has_words_ = false;
};

}  // namespace dolmen::security
