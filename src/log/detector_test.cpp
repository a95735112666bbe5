// SPDX-License-Identifier: Apache-2.0
#include "log/detector.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace dolmen::log {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr DetectorOptions kOptions{.beat_ns = 10 * kMs, .period_max_ns = 33 * kMs};

/// A counter that moves in its own rhythm, and somebody who looks at it when it is time.
class DetectorTest : public testing::Test {
 protected:
  DetectorTest() { detector_.watch(now_ns_, true); }
  /// Looks until then; how often it was found silent.
  int look_until(std::uint64_t until_ns) {
    int silent = 0;
    while (detector_.next_look_ns() <= until_ns) {
      now_ns_ = detector_.next_look_ns();
      silent += detector_.look(now_ns_) ? 1 : 0;
    }
    now_ns_ = until_ns;
    return silent;
  }
  /// Beats for that long, each later than it should be by up to `jitter_ns`.
  int beat(std::uint64_t length_ns, std::uint64_t jitter_ns) {
    int silent = 0;
    for (const std::uint64_t end_ns = now_ns_ + length_ns; now_ns_ < end_ns;) {
      const std::uint64_t late_ns = jitter_ns == 0 ? 0 : random_.below(jitter_ns);
      silent += look_until(now_ns_ + kOptions.beat_ns + late_ns);
      detector_.saw(now_ns_, ++counter_);
    }
    return silent;
  }
  /// How long it takes until silence is noticed.
  std::uint64_t time_to_notice() {
    const std::uint64_t begin_ns = now_ns_;
    while (look_until(detector_.next_look_ns()) == 0) {
      if (now_ns_ > begin_ns + 60'000 * kMs) return ~std::uint64_t{0};
    }
    return now_ns_ - begin_ns;
  }

  base::Random random_{7};
  Detector detector_{kOptions};
  std::uint64_t now_ns_ = 1000 * kMs;
  std::uint64_t counter_ = 0;
};

TEST_F(DetectorTest, ARegularCounterIsTrustedAndItsSilenceNoticedSoon) {
  EXPECT_EQ(beat(10'000 * kMs, 0), 0);
  EXPECT_EQ(detector_.period_ns(), 10 * kMs);
  EXPECT_TRUE(detector_.trusts(now_ns_));
  EXPECT_LE(time_to_notice(), 80 * kMs);
  EXPECT_FALSE(detector_.trusts(now_ns_));
}

TEST_F(DetectorTest, AnIrregularCounterIsGivenMoreTimeAndNotSuspected) {
  EXPECT_EQ(beat(20'000 * kMs, 60 * kMs), 0);
  EXPECT_GT(detector_.period_ns(), 20 * kMs);
  const std::uint64_t noticed_ns = time_to_notice();
  EXPECT_GT(noticed_ns, 100 * kMs);
  EXPECT_LE(noticed_ns, 270 * kMs);
}

TEST_F(DetectorTest, WhatWasNoisyAndIsQuietAgainIsNoticedSoonAgain) {
  beat(5'000 * kMs, 60 * kMs);
  beat(5'000 * kMs, 0);
  EXPECT_LE(time_to_notice(), 90 * kMs);
}

// Many moves within a beat say nothing of how late the next one may be.
TEST_F(DetectorTest, ABurstOfMovesDoesNotShortenItsPatience) {
  for (int i = 0; i < 10'000; ++i) {
    look_until(now_ns_ + kMs / 10);
    detector_.saw(now_ns_, ++counter_);
  }
  EXPECT_GE(detector_.period_ns(), kOptions.beat_ns);
  EXPECT_EQ(beat(1'000 * kMs, 0), 0);
}

TEST_F(DetectorTest, WhoStoodStillItselfBlamesNobody) {
  beat(1'000 * kMs, 0);
  now_ns_ += 60'000 * kMs;  // and the counter was not read meanwhile
  EXPECT_FALSE(detector_.look(now_ns_));
  detector_.saw(now_ns_, ++counter_);
  EXPECT_EQ(beat(1'000 * kMs, 0), 0);
}

TEST_F(DetectorTest, AValueThatIsRepeatedIsNoMove) {
  beat(1'000 * kMs, 0);
  const std::uint64_t begin_ns = now_ns_;
  int silent = 0;
  while (silent == 0 && now_ns_ < begin_ns + 1'000 * kMs) {
    detector_.saw(now_ns_, counter_);
    silent = look_until(now_ns_ + kMs);
  }
  EXPECT_LE(now_ns_ - begin_ns, 80 * kMs);
}

TEST_F(DetectorTest, WhoWasSilentHasToRecoverBeforeItIsTrusted) {
  beat(1'000 * kMs, 0);
  (void)time_to_notice();
  detector_.watch(now_ns_, false);
  EXPECT_FALSE(detector_.trusts(now_ns_));
  beat(50 * kMs, 0);
  EXPECT_TRUE(detector_.trusts(now_ns_));
}

TEST_F(DetectorTest, WhoComesBackAndFallsSilentAtOnceIsNoticedSooner) {
  beat(1'000 * kMs, 0);
  (void)time_to_notice();
  detector_.watch(now_ns_, false);
  EXPECT_LE(time_to_notice(), 90 * kMs);
}

TEST_F(DetectorTest, WhatNobodyLookedAtForLongIsNotTrusted) {
  EXPECT_TRUE(detector_.trusts(now_ns_));
  EXPECT_FALSE(detector_.trusts(now_ns_ + 5'000 * kMs));
}

}  // namespace
}  // namespace dolmen::log
