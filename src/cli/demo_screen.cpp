// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_screen.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "cli/demo_sources.hpp"
#include "sys/linux/child.hpp"

namespace dolmen::cli {
namespace {

constexpr std::size_t kColumns = 96;
constexpr std::size_t kFigureColumn = 44;
constexpr std::uint64_t kBarEvery_ns = 100'000'000;
constexpr std::uint64_t kLineEvery_ns = 2'000'000'000;

constexpr std::string_view kBold = "\033[1m";
constexpr std::string_view kDim = "\033[2m";
constexpr std::string_view kRed = "\033[1;31m";
constexpr std::string_view kGreen = "\033[32m";
constexpr std::string_view kPlain = "\033[0m";

void put(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace

Screen::Screen(bool silent, sys::Clock& clock)
    : clock_(clock),
      silent_(silent),
      colours_(!silent && sys::is_terminal(1)),
      bar_(sys::is_terminal(2)) {}

void Screen::line(std::string_view colour, std::string_view text) {
  if (silent_) return;
  if (colours_) put(colour);
  put(text);
  if (colours_) put(kPlain);
  put("\n");
  std::fflush(stdout);
  gap_above_ = text.empty();
}

void Screen::gap() {
  if (!gap_above_) line("", "");
}

void Screen::title(std::string_view text) { line(kBold, text); }

void Screen::heading(int number, std::string_view text) {
  gap();
  line(kBold, std::to_string(number) + ". " + std::string(text));
}

void Screen::paragraph(std::string_view text) {
  gap();
  say(text);
}

void Screen::say(std::string_view text) {
  while (!text.empty()) {
    std::size_t end = text.size();
    if (end > kColumns - 3) {
      end = text.rfind(' ', kColumns - 3);
      if (end == std::string_view::npos) end = std::min(text.find(' '), text.size());
    }
    line("", "   " + std::string(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void Screen::figure(std::string_view what, std::string_view value) {
  std::string text = "   " + std::string(what) + " ";
  while (text.size() < kFigureColumn) text += '.';
  line("", text + " " + std::string(value));
}

void Screen::check(std::string_view what, bool held) {
  line(held ? kGreen : kRed, (held ? "   checked: " : "   FAILED: ") + std::string(what));
}

void Screen::code(std::string_view name) {
  if (silent_) return;
  gap();
  for (const std::string& text : source_lines(name)) {
    line(kDim, text.empty() ? "   |" : "   | " + text);
  }
  gap();
}

void Screen::output(std::string_view text) { line(kDim, "   " + std::string(text)); }

void Screen::progress(std::string_view what, std::uint64_t done, std::uint64_t total) {
  const std::uint64_t now_ns = clock_.monotonic_ns();
  if (progress_start_ns_ == 0) {
    progress_start_ns_ = progress_shown_ns_ = now_ns;
    progress_start_done_ = done;
  }
  if (now_ns - progress_shown_ns_ < (bar_ ? kBarEvery_ns : kLineEvery_ns)) return;
  progress_shown_ns_ = now_ns;
  const double seconds = static_cast<double>(now_ns - progress_start_ns_) / 1e9;
  const auto rate = static_cast<double>(done - progress_start_done_) / seconds;
  std::string text = "   " + std::string(what) + " ";
  if (bar_) {
    constexpr std::size_t kWidth = 30;
    const std::size_t filled = total == 0 ? kWidth : done * kWidth / total;
    text += "[" + std::string(filled, '#') + std::string(kWidth - filled, '.') + "] ";
  }
  text += grouped(done) + " of " + grouped(total);
  if (rate >= 10) text += ", " + grouped(static_cast<std::uint64_t>(rate)) + "/s";
  std::fflush(stdout);
  std::fprintf(stderr, bar_ ? "\r%s\033[K" : "%s\n", text.c_str());
  std::fflush(stderr);
  bar_shown_ = bar_;
}

void Screen::end_progress() {
  progress_start_ns_ = 0;
  if (!bar_shown_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  bar_shown_ = false;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string decimal(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string duration_text(std::uint64_t duration_ns) {
  const auto value = static_cast<double>(duration_ns);
  const double scaled = value < 1e9 ? value / 1e6 : value / 1e9;
  const int digits = scaled < 10 ? 2 : scaled < 100 ? 1 : 0;
  return decimal(scaled, digits) + (value < 1e9 ? " ms" : " s");
}

std::string size_text(std::uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 10'000) return grouped(bytes) + " bytes";
  if (bytes < (1u << 20)) return decimal(value / 1024, 0) + " KiB";
  if (bytes < (1u << 30)) return decimal(value / (1 << 20), 1) + " MiB";
  if (bytes < (std::uint64_t{1} << 40)) return decimal(value / (1 << 30), 1) + " GiB";
  return decimal(value / 1024 / (1 << 30), 1) + " TiB";
}

}  // namespace dolmen::cli
