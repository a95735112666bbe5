// SPDX-License-Identifier: Apache-2.0
//
// Crashes and failing disks during a load: a directory in which it did not finish is never opened,
// neither as half a space nor as an empty one, and the load can be begun again there.
#include "base/sanitizers.hpp"
#include "node/dump_test_tools.hpp"
#include "node/open_space.hpp"
#include "sim/crash_walk.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {
namespace {

sys::Memory& memory() { return *sys::linux_env().memory; }

Result<Space> open_on(const sim::SimEnv& world, sys::Disk& disk, bool create) {
  return open_space(world.env(), std::make_unique<sys::BorrowedDisk>(disk),
                    {.create = create, .background = false, .log_segment_bytes = 64u << 10},
                    memory().best_driver());
}

Result<DumpSummary> load_on(const sim::SimEnv& world, sys::Disk& disk,
                            const std::vector<std::byte>& dump) {
  store::MemorySource source(dump);
  const auto open_directory = [&] { return std::make_unique<sys::BorrowedDisk>(disk); };
  return load(world.env(), source, open_directory, {}, {.segment_bytes = 64u << 10});
}

Result<std::vector<std::byte>> dump_on(const sim::SimEnv& world, sys::Disk& disk) {
  DOLMEN_TRY(Space space, open_space(world.env(), std::make_unique<sys::BorrowedDisk>(disk),
                                     {.create = false, .read_only = true}, memory().best_driver()));
  return dump_of(space);
}

/// A dump of some objects and names.
std::vector<std::byte> example(const sim::SimEnv& world) {
  sim::SimDisk disk(3);
  {
    Space space = open_on(world, disk, true).value();
    const auto list = space.create<DumpNode>("list", {.capacity = 16384}).value();
    space.transact(list, [](mut<DumpNode> head) { head->next = make<DumpNode>(head, 5u, nullptr); })
        .value();
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(space.create<DumpCounter>("counter " + std::to_string(i), {.capacity = 512}));
    }
    EXPECT_TRUE(space.close());
  }
  return dump_on(world, disk).value();
}

/// The disk holds the whole dump, or nothing that opens; whichever, it can be loaded into if it
/// does not. Empty if so, else what is wrong.
std::string problem(const sim::SimEnv& world, sys::Disk& disk, const std::vector<std::byte>& dump,
                    bool& whole) {
  const auto found = dump_on(world, disk);
  whole = found.has_value();
  if (whole) {
    return std::ranges::equal(behind_header(*found), behind_header(dump)) ? "" : "another space";
  }
  const bool refused =
      found.error().code() == Errc::unfinished || found.error().code() == Errc::not_a_space;
  if (!refused) return "opens with " + found.error().message();
  if (found.error().code() == Errc::unfinished) {
    const auto made = open_on(world, disk, true);
    if (made) return "an unfinished load became an empty space";
    if (made.error().code() != Errc::unfinished) return "creating: " + made.error().message();
  }
  if (const auto again = load_on(world, disk, dump); !again) {
    return "loading again: " + again.error().message();
  }
  const auto loaded = dump_on(world, disk);
  if (!loaded) return "after loading again: " + loaded.error().message();
  return std::ranges::equal(behind_header(*loaded), behind_header(dump)) ? "" : "loaded otherwise";
}

TEST(LoadCrash, LeavesAWholeSpaceOrNoneAndLoadingAgainMakesIt) {
  const sim::SimEnv world(1, memory());
  const auto dump = example(world);
  sim::SimDisk disk(1);
  disk.record();
  const auto loaded = load_on(world, disk, dump);
  ASSERT_TRUE(loaded) << loaded.error().message();
  const std::uint64_t returned = disk.op_count();
  constexpr std::uint64_t kSubsets = base::kSanitized ? 1 : 4;
  std::uint64_t whole_count = 0;
  std::uint64_t none_count = 0;
  const sim::CrashCounts counts = sim::for_each_crash_state(
      disk.history(), {.random_subsets = kSubsets, .units_max = kSubsets, .seed = 1},
      [&](const sim::CrashState& state) {
        const auto crashed = state.disk();
        bool whole = false;
        const std::string wrong = problem(world, *crashed, dump, whole);
        EXPECT_EQ(wrong, "") << state.to_string();
        EXPECT_TRUE(whole || state.op < returned) << state.to_string();
        ++(whole ? whole_count : none_count);
        return !testing::Test::HasFailure();
      });
  EXPECT_GT(counts.states(), 100u);
  EXPECT_GT(whole_count, 0u);
  EXPECT_GT(none_count, 0u);
}

TEST(LoadCrash, EveryFailingCallLeavesAWholeSpaceOrNone) {
  const sim::SimEnv world(1, memory());
  const auto dump = example(world);
  sim::SimDisk all(1);
  ASSERT_TRUE(load_on(world, all, dump));
  const std::uint64_t calls = all.fallible_calls();
  ASSERT_GT(calls, 20u);
  std::uint64_t failed = 0;
  for (std::uint64_t nth = 1; nth <= calls; nth += base::kSanitized ? 3 : 1) {
    sim::SimDisk disk(1);
    disk.inject({.nth = nth});
    const auto loaded = load_on(world, disk, dump);
    disk.clear_faults();
    bool whole = false;
    ASSERT_EQ(problem(world, disk, dump, whole), "") << "call " << nth;
    ASSERT_TRUE(whole || !loaded) << "call " << nth;
    failed += loaded ? 0 : 1;
  }
  EXPECT_GT(failed, 10u);
}

TEST(LoadCrash, AFullDiskLeavesNothingBehind) {
  const sim::SimEnv world(1, memory());
  const auto dump = example(world);
  sim::SimDisk disk(1);
  disk.set_capacity_bytes(64u << 10);
  const auto loaded = load_on(world, disk, dump);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), Errc::no_space) << loaded.error().message();
  EXPECT_EQ(disk.list().value(), std::vector<std::string>{"lock"});
}

}  // namespace
}  // namespace dolmen::node
