// SPDX-License-Identifier: Apache-2.0
#include "sys/linux/memory_room.hpp"

#include <gtest/gtest.h>

#include "sys/linux/linux.hpp"

namespace dolmen::sys {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

TEST(MemoryRoom, LeavesSomeToOthers) {
  const auto room = [](std::string_view text) { return room_in_memory_of(text); };
  EXPECT_EQ(room("MemTotal:       10240000 kB\nMemFree: 1 kB\nMemAvailable:    2048000 kB\n"),
            1500 * kMib);
  EXPECT_EQ(room("MemTotal: 1024000 kB\nMemAvailable: 512000 kB\n"), (500 - 256) * kMib);
  EXPECT_EQ(room("MemTotal: 1024000 kB\nMemAvailable: 512 kB\n"), 0u) << "as good as nothing";
  // What says something else says nothing.
  for (const char* const text :
       {"", "MemTotal: 1024000 kB\n", "MemAvailable: 1024000 kB\n", "MemTotal:", "MemTotal: x kB",
        "MemTotal: 1 kB\nMemAvailable: 1 MB\n", "MemTotal: 1 kB\nXMemAvailable: 1 kB\n",
        "MemTotal: 1 kB\nMemAvailable: 18446744073709551615 kB\n",
        "MemTotal: 1 kB\nMemAvailable: 99999999999999999999 kB\n"}) {
    EXPECT_FALSE(room(text)) << text;
  }
}

TEST(MemoryRoom, IsKnownHere) {
  const auto room = room_in_memory();
  ASSERT_TRUE(room);
  EXPECT_LT(*room, linux_env().process->machine_bytes());
  EXPECT_TRUE(room_in_memory("/dev/shm"));
  EXPECT_TRUE(room_in_memory("/no/such/place"));
}

}  // namespace
}  // namespace dolmen::sys
