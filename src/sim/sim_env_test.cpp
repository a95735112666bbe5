// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_env.hpp"

#include <algorithm>
#include <array>

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sim {
namespace {

TEST(SimEnv, TimeMovesOnlyWhenAsked) {
  SimEnv world(1, *sys::linux_env().memory);
  sys::Clock& clock = *world.env().clock;
  const std::uint64_t before = clock.monotonic_ns();
  EXPECT_EQ(clock.monotonic_ns(), before);
  clock.sleep_ns(3'600'000'000'000);
  EXPECT_EQ(clock.monotonic_ns() - before, 3'600'000'000'000u);
  const std::uint64_t wall = clock.wall_ns();
  world.clock().skew_wall_ns(-5);
  EXPECT_EQ(clock.wall_ns(), wall - 5);
  EXPECT_EQ(clock.monotonic_ns() - before, 3'600'000'000'000u);
}

TEST(SimEnv, EntropyIsSeeded) {
  SimEnv one(1, *sys::linux_env().memory);
  SimEnv same(1, *sys::linux_env().memory);
  SimEnv other(2, *sys::linux_env().memory);
  std::array<std::byte, 64> a{};
  std::array<std::byte, 64> b{};
  std::array<std::byte, 64> c{};
  one.env().entropy->fill(a);
  same.env().entropy->fill(b);
  other.env().entropy->fill(c);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  one.env().entropy->fill(b);
  EXPECT_NE(a, b);
}

TEST(SimEnv, TheProcessHasOneThreadAndIsAlone) {
  SimEnv world(1, *sys::linux_env().memory, 77);
  sys::Process& process = *world.env().process;
  EXPECT_EQ(process.pid(), 77u);
  EXPECT_TRUE(process.is_alive(77));
  EXPECT_FALSE(process.is_alive(1));
  EXPECT_EQ(process.cpu_count(), 1u);
  EXPECT_EQ(process.start_thread("checkpoints", [] {}).error().code(), Errc::unsupported);
  EXPECT_TRUE(process.on_fork_child([](void*) {}, nullptr));
}

TEST(SimEnv, MemoryIsReal) {
  SimEnv world(1, *sys::linux_env().memory);
  EXPECT_EQ(world.env().memory, sys::linux_env().memory);
}

}  // namespace
}  // namespace dolmen::sim
