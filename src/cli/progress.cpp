// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include <algorithm>
#include <cstdio>

#include "cli/demo_screen.hpp"
#include "sys/linux/child.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::cli {

namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

}  // namespace

ProgressBar::ProgressBar(std::string what, bool lines)
    : ProgressBar(std::move(what), *sys::linux_env().clock, sys::is_terminal(2), lines) {}

ProgressBar::ProgressBar(std::string what, sys::Clock& clock, bool terminal, bool lines)
    : what_(std::move(what)),
      clock_(clock),
      terminal_(terminal),
      lines_(lines),
      start_ns_(clock.monotonic_ns()) {}

ProgressBar::~ProgressBar() {
  if (terminal_ && shown_ns_ != 0) std::fputs("\r\x1b[K", stderr);
}

bool ProgressBar::due() {
  if (!terminal_ && !lines_) return false;
  const std::uint64_t now_ns = clock_.monotonic_ns();
  const std::uint64_t every_ns = terminal_ ? kSecondNs / 10 : kSecondNs;
  if (now_ns - start_ns_ < kSecondNs || now_ns - shown_ns_ < every_ns) return false;
  shown_ns_ = now_ns;
  return true;
}

void ProgressBar::print(const std::string& how_far) const {
  std::fprintf(stderr, terminal_ ? "\r\x1b[K%s: %s" : "%s: %s\n", what_.c_str(), how_far.c_str());
  std::fflush(stderr);
}

void ProgressBar::show(std::uint64_t done, std::uint64_t total) {
  if (total == 0 || !due()) return;
  const double share = static_cast<double>(std::min(done, total)) / static_cast<double>(total);
  print(decimal(100 * share, 0) + " %");
}

void ProgressBar::show_bytes(std::uint64_t done) {
  if (due()) print(size_text(done));
}

}  // namespace dolmen::cli
