// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include <gtest/gtest.h>

#include "sim/sim_env.hpp"

namespace dolmen::cli {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

class ProgressTest : public testing::Test {
 protected:
  /// What is shown at these times, in ms from the start; each time is a tenth of the way further.
  std::string shown(bool terminal, bool lines, std::initializer_list<std::uint64_t> at_ms) {
    testing::internal::CaptureStderr();
    sim::SimClock clock;
    {
      ProgressBar bar("working", clock, terminal, lines);
      std::uint64_t now_ms = 0;
      std::uint64_t done = 0;
      for (const std::uint64_t at : at_ms) {
        clock.advance_ns((at - now_ms) * kMs);
        now_ms = at;
        bar.show(++done, 10);
      }
    }
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(ProgressTest, NothingIsShownInTheFirstSecond) {
  EXPECT_EQ(shown(true, true, {0, 500, 999}), "");
}

TEST_F(ProgressTest, ATerminalSeesOneLineThatGoesAwayInTheEnd) {
  EXPECT_EQ(shown(true, false, {500, 1000, 1050, 1100}),
            "\r\x1b[Kworking: 20 %\r\x1b[Kworking: 40 %\r\x1b[K");
}

TEST_F(ProgressTest, ElsewhereALinePerSecondIsShownIfAskedFor) {
  EXPECT_EQ(shown(false, true, {500, 1000, 1900, 2000}), "working: 20 %\nworking: 40 %\n");
  EXPECT_EQ(shown(false, false, {500, 1000, 1900, 2000}), "");
}

TEST_F(ProgressTest, AnUnknownTotalIsShownInBytes) {
  testing::internal::CaptureStderr();
  sim::SimClock clock;
  ProgressBar bar("loading", clock, false, true);
  clock.advance_ns(1000 * kMs);
  bar.show_bytes(3u << 20);
  bar.show(5, 0);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "loading: 3.0 MiB\n");
}

}  // namespace
}  // namespace dolmen::cli
