// SPDX-License-Identifier: Apache-2.0
//
// What the demo shows on a terminal: headings, sentences, figures, code, progress. Colours and a
// moving progress bar only on a terminal; silent (but for progress) when the figures go out as
// JSON.
//
// Thread contract: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sys/clock.hpp"

namespace dolmen::cli {

class Screen {
 public:
  Screen(bool silent, sys::Clock& clock);

  void title(std::string_view text);
  void heading(int number, std::string_view text);
  /// A paragraph, wrapped, with an empty line above it.
  void paragraph(std::string_view text);
  /// The same without the empty line.
  void say(std::string_view text);
  void figure(std::string_view what, std::string_view value);
  void check(std::string_view what, bool held);
  /// The lines between [demo:name] and [/demo:name] of a source that is part of this program.
  void code(std::string_view name);
  /// Overwrites itself on a terminal; else one line every few seconds. Goes to standard error.
  /// A line as it stands: a command, or what one says.
  void output(std::string_view text);
  void progress(std::string_view what, std::uint64_t done, std::uint64_t total);
  void end_progress();

 private:
  void line(std::string_view colour, std::string_view text);
  void gap();

  sys::Clock& clock_;
  bool silent_;
  bool colours_;
  bool bar_;
  bool bar_shown_ = false;
  bool gap_above_ = true;
  std::uint64_t progress_start_ns_ = 0;  // 0: none under way
  std::uint64_t progress_start_done_ = 0;
  std::uint64_t progress_shown_ns_ = 0;
};

/// 1234567 is "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t number);
/// Three figures: "0.52 ms", "13.9 ms", "2.41 s".
[[nodiscard]] std::string duration_text(std::uint64_t duration_ns);
/// "812 KiB", "13.2 MiB", "5.1 GiB".
[[nodiscard]] std::string size_text(std::uint64_t bytes);
/// With so many digits behind the point.
[[nodiscard]] std::string decimal(double value, int digits);

}  // namespace dolmen::cli
