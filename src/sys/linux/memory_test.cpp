// SPDX-License-Identifier: Apache-2.0
#include "sys/memory.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

Memory& memory() { return *linux_env().memory; }

TEST(Memory, ReservationsAreAlignedAndInaccessibleUntilActivated) {
  constexpr std::size_t kBytes = 4 << 20;
  auto place = memory().reserve(kBytes, 1 << 22);
  ASSERT_TRUE(place);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(*place) % (1 << 22), 0u);
  ASSERT_TRUE(memory().activate(*place + 4096, 4096));
  EXPECT_EQ((*place)[4096], std::byte{0});
  (*place)[4096] = std::byte{9};
  EXPECT_TRUE(memory().present(*place + 4096));
  EXPECT_FALSE(memory().present(*place));
  memory().discard(*place + 4096, 4096);
  EXPECT_EQ((*place)[4096], std::byte{0});
  memory().release(*place, kBytes);
}

TEST(Memory, RefusesSizesThatAreNotPages) {
  EXPECT_EQ(memory().reserve(100, 4096).error().code(), Errc::invalid_argument);
  EXPECT_EQ(memory().reserve(0, 4096).error().code(), Errc::invalid_argument);
  EXPECT_EQ(memory().reserve(4096, 4096 * 3).error().code(), Errc::invalid_argument);
}

TEST(Memory, ReservesAnArenaOf32RegionsAlignedToItsSize) {
  constexpr std::size_t kBytes = std::size_t{32} << DOLMEN_REGION_SHIFT;
  for (int round = 0; round < 3; ++round) {
    auto place = memory().reserve(kBytes, kBytes);
    ASSERT_TRUE(place) << place.error().message();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(*place) % kBytes, 0u);
    ASSERT_TRUE(memory().activate(*place + kBytes - 4096, 4096));
    (*place)[kBytes - 1] = std::byte{1};
    memory().release(*place, kBytes);
  }
}

TEST(Memory, ALimitOnAddressSpaceIsAnErrorThatNamesIt) {
  if (base::kSanitized) GTEST_SKIP() << "sanitizers need their own address space";
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{std::size_t{1} << 30, std::size_t{1} << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(1);
    const auto place = memory().reserve(std::size_t{1} << 40, std::size_t{1} << 40);
    if (place || place.error().code() != Errc::out_of_memory) _exit(2);
    _exit(place.error().message().find("ulimit -v") == std::string::npos ? 3 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Memory, ReservationsAreNotInheritedByFork) {
  auto place = memory().reserve(1 << 20, 1 << 20);
  ASSERT_TRUE(place);
  ASSERT_TRUE(memory().activate(*place, 1 << 20));
  **place = std::byte{1};
  const pid_t child = fork();
  if (child == 0) {
    // The page is not there: a present page would be reported.
    _exit(memory().present(*place) ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  memory().release(*place, 1 << 20);
}

}  // namespace
}  // namespace dolmen::sys
