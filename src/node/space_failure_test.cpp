// SPDX-License-Identifier: Apache-2.0
//
// Every call of the disk fails while a space is made, used, closed and opened again.
#include <gtest/gtest.h>

#include "node/failing_test_program.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

/// Runs the program once per call of the disk, which fails.
void sweep(bool lasts, std::uint64_t step) {
  const sim::SimEnv world(1, *sys::linux_env().memory);
  std::uint64_t refusals = 0;
  for (std::uint64_t nth = 1;; nth += step) {
    sim::SimDisk disk(nth);
    disk.inject({.nth = nth, .times = lasts ? sim::DiskFault::kForever : 1});
    Program program(world.env(), disk);
    program.run(Errc::io_error, lasts);
    const bool past_the_end = disk.fallible_calls() < nth;
    disk.clear_faults();
    program.check_afterwards();
    ASSERT_EQ(program.problem(), "") << "call " << nth;
    refusals += program.refusals();
    if (!past_the_end) continue;
    EXPECT_EQ(program.refusals(), 0u);
    EXPECT_GT(nth, 150u) << "the sweep shrank";
    EXPECT_GT(refusals, nth / step);
    break;
  }
}

TEST(SpaceFailureCrash, EveryCallOfTheDiskFailsOnce) { sweep(false, stride(9)); }
TEST(SpaceFailureCrash, EveryCallOfTheDiskFailsFromThereOn) { sweep(true, stride(11)); }

TEST(SpaceFailureCrash, AFullDiskRefusesWhatNeedsRoomAndNothingElseAndIsForgotten) {
  const sim::SimEnv world(1, *sys::linux_env().memory);
  sim::SimDisk endless(1);
  Program(world.env(), endless).run(Errc::no_space, false);
  std::uint64_t refusals = 0;
  for (std::uint64_t room = 0; room < endless.used_bytes() + (256u << 10);
       room += stride(11) * 4096) {
    sim::SimDisk disk(1);
    disk.set_capacity_bytes(room);
    Program program(world.env(), disk);
    program.run_on_a_full_disk();
    program.check_afterwards();
    ASSERT_EQ(program.problem(), "") << "room " << room;
    refusals += program.refusals();
  }
  EXPECT_GT(refusals, 20u);
}

TEST(SpaceFailure, ClosingASecondTimeSaysWhyTheFirstFailed) {
  const sim::SimEnv world(1, *sys::linux_env().memory);
  sim::SimDisk disk(1);
  auto space = open_space(world.env(), std::make_unique<sys::BorrowedDisk>(disk),
                          {.background = false}, sys::FaultDriver::none)
                   .value();
  const auto leaf = space.create<Leaf>("leaf").value();
  ASSERT_TRUE(space.transact(TransactOptions{.durability = Durability::deferred}, leaf,
                             [](mut<Leaf> l) { l->version = 1; }));
  disk.inject({.on = sim::FaultOn::sync});
  const auto first = space.close();
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code(), Errc::store_failed);
  const auto second = space.close();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), first.error().code());
  EXPECT_EQ(space.read(leaf, [](ref<Leaf>) {}).error().code(), Errc::closed);
}

}  // namespace
}  // namespace dolmen::node
