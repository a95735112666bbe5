// SPDX-License-Identifier: Apache-2.0
#include "sys/process.hpp"

#include <algorithm>
#include <array>
#include <atomic>

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

Process& process() { return *linux_env().process; }

TEST(Process, KnowsItself) {
  EXPECT_EQ(process().pid(), static_cast<std::uint64_t>(getpid()));
  EXPECT_FALSE(process().host_name().empty());
  EXPECT_NE(process().command_line().find("dolmen_sys_linux_test"), std::string::npos);
  EXPECT_EQ(process().command_line().find('\0'), std::string::npos);
  EXPECT_GE(process().cpu_count(), 1u);
}

TEST(Process, FencesItsThreadsAlwaysOrNever) {
  const bool offered = process().fence_threads();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(process().fence_threads(), offered);
}

TEST(Process, AThreadIsNamedBlocksSignalsAndIsJoined) {
  std::atomic<bool> done{false};
  bool blocks_terminate = false;
  bool blocks_segv = true;
  {
    auto thread = process().start_thread("dolmen-background-work", [&] {
      sigset_t mask;
      pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      blocks_terminate = sigismember(&mask, SIGTERM) == 1;
      blocks_segv = sigismember(&mask, SIGSEGV) == 1;
      done = true;
    });
    ASSERT_TRUE(thread) << thread.error().message();
  }
  EXPECT_TRUE(done);
  EXPECT_TRUE(blocks_terminate);
  EXPECT_FALSE(blocks_segv);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 0);
}

TEST(Process, ForkCallbacksRunInTheChildOnly) {
  // Callbacks stay for ever, so what they write to does too.
  int* const seen = new int(0);
  ASSERT_TRUE(process().on_fork_child([](void* to) { *static_cast<int*>(to) = 5; }, seen));
  const pid_t child = fork();
  if (child == 0) _exit(*seen);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 5);
  EXPECT_EQ(*seen, 0);
}

TEST(Process, TellsTheLivingFromTheDead) {
  EXPECT_TRUE(process().is_alive(process().pid()));
  EXPECT_TRUE(process().is_alive(1));
  EXPECT_FALSE(process().is_alive(0));
  EXPECT_FALSE(process().is_alive(~std::uint64_t{0}));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(process().is_alive(static_cast<std::uint64_t>(child)));
}

TEST(Clock, MovesForwardAndSleeps) {
  Clock& clock = *linux_env().clock;
  const std::uint64_t before = clock.monotonic_ns();
  clock.sleep_ns(2'000'000);
  EXPECT_GE(clock.monotonic_ns() - before, 2'000'000u);
  EXPECT_GT(clock.wall_ns(), 1'600'000'000ull * 1'000'000'000);
}

TEST(Entropy, FillsAllBytesDifferentlyEachTime) {
  std::array<std::byte, 1000> first{};
  std::array<std::byte, 1000> second{};
  linux_env().entropy->fill(first);
  linux_env().entropy->fill(second);
  EXPECT_NE(first, second);
  EXPECT_LT(std::ranges::count(first, std::byte{0}), 100);
  EXPECT_NE(std::ranges::count(base::Bytes(first).last(16), std::byte{0}), 16);
}

}  // namespace
}  // namespace dolmen::sys
