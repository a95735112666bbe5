// SPDX-License-Identifier: Apache-2.0
//
// Type names that are equal on every compiler. The text comes from __PRETTY_FUNCTION__, whose
// spelling differs ("{anonymous}", "long unsigned int", "main()::Local", "> >"), and is brought to
// one form here.
//
// Thread contract: compile time only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dolmen::detail {

/// A string under construction at compile time.
struct NameBuffer {
  std::array<char, 512> text{};
  std::size_t size = 0;

  constexpr void push(char c) { text.at(size++) = c; }  // a longer name fails to compile here
  constexpr void append(std::string_view more) {
    for (const char c : more) push(c);
  }
  constexpr void append_number(std::uint64_t number) {
    if (number >= 10) append_number(number / 10);
    push(static_cast<char>('0' + number % 10));
  }
  [[nodiscard]] constexpr char last() const { return size == 0 ? '\0' : text[size - 1]; }
  [[nodiscard]] constexpr std::string_view view() const { return {text.data(), size}; }
};

/// `Maker::make()`, a NameBuffer, kept in exactly the bytes that it needs.
template <class Maker>
struct StaticText {
  static constexpr auto kText = []() consteval {
    constexpr NameBuffer full = Maker::make();
    std::array<char, full.size + 1> exact{};
    for (std::size_t i = 0; i < full.size; ++i) exact[i] = full.text[i];
    return exact;
  }();
  static constexpr std::string_view view{kText.data(), kText.size() - 1};
};

/// A namespace without types: g++ leaves out the namespace that a type shares with the function.
namespace type_text {
template <class T>
consteval const char* raw() {
  return __PRETTY_FUNCTION__;
}
}  // namespace type_text

// Where the type stands in type_text::raw: measured on a type whose name is known.
struct TypeTextFrame {
  std::size_t prefix;
  std::size_t suffix;
};
consteval TypeTextFrame type_text_frame() {
  const std::string_view probe = type_text::raw<double>();
  const std::size_t at = probe.find("double");
  return {at, probe.size() - at - std::string_view("double").size()};
}

/// The compiler's own spelling of T.
template <class T>
consteval std::string_view compiler_type_text() {
  constexpr TypeTextFrame frame = type_text_frame();
  std::string_view text = type_text::raw<T>();
  text.remove_prefix(frame.prefix);
  text.remove_suffix(frame.suffix);
  return text;
}

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
// Bytes above ASCII belong to identifiers: both compilers print those in UTF-8.
constexpr bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// One pass over a compiler's spelling; see `normalised_type_text`.
class TypeTextNormaliser {
 public:
  constexpr explicit TypeTextNormaliser(std::string_view text) : text_(text) {}

  constexpr NameBuffer run() {
    while (at_ < text_.size()) step();
    flush_arithmetic();
    return out_;
  }

 private:
  // What has been read of a run such as "long unsigned int".
  struct Arithmetic {
    int longs = 0;
    bool any = false, is_unsigned = false, is_signed = false;
    bool is_short = false, is_char = false, is_double = false, is_float = false;
  };

  constexpr bool starts(std::string_view word) const { return text_.substr(at_).starts_with(word); }

  constexpr void step() {
    const char c = text_[at_];
    if (c == ' ') {
      ++at_;
    } else if (is_word(c)) {
      word();
    } else if (starts("{anonymous}") || starts("(anonymous namespace)")) {
      at_ += starts("{") ? 11 : 21;
      emit("(anonymous)");
    } else {
      punctuation(c);
    }
  }

  constexpr void word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    std::string_view word = text_.substr(begin, at_ - begin);
    if (word == "struct" || word == "class" || word == "enum" || word == "union") return;
    if (arithmetic_word(word)) return;
    if (is_digit(word.front())) {  // 4ul, 4UL and 4 are one number
      while (word.ends_with('u') || word.ends_with('U') || word.ends_with('l') ||
             word.ends_with('L'))
        word.remove_suffix(1);
    }
    emit(word);
  }

  constexpr bool arithmetic_word(std::string_view word) {
    Arithmetic& a = arithmetic_;
    if (word == "unsigned")
      a.is_unsigned = true;
    else if (word == "signed")
      a.is_signed = true;
    else if (word == "long")
      ++a.longs;
    else if (word == "short")
      a.is_short = true;
    else if (word == "char")
      a.is_char = true;
    else if (word == "double")
      a.is_double = true;
    else if (word == "float")
      a.is_float = true;
    else if (word != "int")
      return false;
    a.any = true;
    return true;
  }

  constexpr void flush_arithmetic() {
    const Arithmetic a = arithmetic_;
    arithmetic_ = {};
    if (!a.any) return;
    if (a.is_float) return emit("f32");
    if (a.is_double) return emit(a.longs != 0 ? "long double" : "f64");
    if (a.is_char && !a.is_signed && !a.is_unsigned) return emit("char");
    const std::size_t bits = 8 * (a.is_char      ? 1
                                  : a.is_short   ? sizeof(short)
                                  : a.longs == 0 ? sizeof(int)
                                  : a.longs == 1 ? sizeof(long)
                                                 : sizeof(long long));
    emit(a.is_unsigned ? "u" : "i");
    out_.append_number(bits);
  }

  constexpr void emit(std::string_view token) {
    flush_arithmetic();
    if (is_word(out_.last()) && is_word(token.front())) out_.push(' ');
    out_.append(token);
  }

  // Brackets open a scope; "…)::" and "<lambda…>::" close a function's scope, which only g++
  // prints: the qualifiers written since the bracket's own level began are taken back.
  constexpr void punctuation(char c) {
    flush_arithmetic();
    ++at_;
    if (c == '(' || c == '<') {
      is_lambda_.at(depth_) = starts("lambda");
      out_.push(c);
      start_.at(++depth_) = out_.size;
      return;
    }
    if ((c == ')' || c == '>') && depth_ > 0) {
      --depth_;
      if (c == ')' && starts(" const::")) at_ += 6;
      if (starts("::") && (c == ')' || is_lambda_[depth_])) {
        at_ += 2;
        out_.size = start_[depth_];
        return;
      }
    }
    out_.push(c);
    if (c == ',') start_[depth_] = out_.size;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  NameBuffer out_{};
  Arithmetic arithmetic_{};
  std::size_t depth_ = 0;
  std::array<std::size_t, 32> start_{};  // where the current type began, per bracket level
  std::array<bool, 32> is_lambda_{};
};

/// No "struct", no function scopes, no blanks but between words, arithmetic types by width
/// ("long unsigned int" → "u64"), "(anonymous)" for an unnamed namespace, numbers without suffix.
constexpr NameBuffer normalised_type_text(std::string_view compiler_text) {
  return TypeTextNormaliser(compiler_text).run();
}

}  // namespace dolmen::detail
