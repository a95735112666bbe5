// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/children.hpp"

#include <csignal>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

// As `dolmen up` does it: who is started while the signal comes is asked at once, by a process that
// handles the signal itself.
TEST(Children, HearThatTheyAreToEndBeforeTheirProgramRuns) {
  constexpr std::uint64_t kPatienceNs = 10'000'000'000;
  const auto former = std::signal(SIGTERM, [](int) {});
  Children children;
  ASSERT_TRUE(children.start("sleep", {"1000"}, {}));
  for (int i = 0; i < 8; ++i) {
    if (i > 0) {
      ASSERT_TRUE(children.start_again(0, "sleep", {"1000"}, {}));
    }
    children.terminate();
    const auto ended = children.wait_until(linux_env().clock->monotonic_ns() + kPatienceNs);
    ASSERT_TRUE(ended);
    ASSERT_TRUE(*ended) << "it runs on";
    EXPECT_EQ((*ended)->first, 0u);
    EXPECT_EQ((*ended)->second.signal, SIGTERM);
  }
  std::signal(SIGTERM, former);
}

}  // namespace
}  // namespace dolmen::sys
