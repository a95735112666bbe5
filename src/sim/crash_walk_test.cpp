// SPDX-License-Identifier: Apache-2.0
#include "sim/crash_walk.hpp"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace dolmen::sim {
namespace {

using Kind = CrashPlan::Kind;
using sys::OpenMode;

/// Two synced writes of two sectors each into a file that exists; two windows of two units.
DiskHistory two_windows() {
  SimDisk disk(1);
  auto file = std::move(disk.open("f", OpenMode::create_new).value());
  EXPECT_TRUE(file->resize(4096));
  EXPECT_TRUE(file->sync());
  EXPECT_TRUE(disk.sync_directory());
  disk.record();
  for (const std::uint64_t offset : {0u, 2048u}) {
    EXPECT_TRUE(file->write(offset, base::as_bytes(std::string(1024, 'x'))));
    EXPECT_TRUE(file->sync());
  }
  return disk.history();
}

std::vector<std::string> states_of(const DiskHistory& history, const CrashOptions& options) {
  std::vector<std::string> states;
  for_each_crash_state(history, options, [&](const CrashState& state) {
    states.push_back(state.to_string());
    return true;
  });
  return states;
}

TEST(CrashWalk, CountsWhatItShows) {
  std::uint64_t visited = 0;
  const CrashCounts counts = for_each_crash_state(
      two_windows(), {.random_subsets = 10}, [&](const CrashState&) { return ++visited, true; });
  EXPECT_EQ(counts.windows, 2u);
  EXPECT_EQ(counts.boundary_states, 5u);  // the start and after each of four changes
  EXPECT_EQ(counts.prefix_states, 8u);    // per window two units, clean and torn
  EXPECT_EQ(counts.lost_sector_states, 8u);
  EXPECT_EQ(counts.random_states, 20u);
  EXPECT_EQ(counts.sampled_out, 0u);
  EXPECT_EQ(visited, counts.states());
}

TEST(CrashWalk, NamesEveryStateAndMakesItAgain) {
  const DiskHistory history = two_windows();
  std::set<std::string> names;
  for_each_crash_state(history, {.random_subsets = 20}, [&](const CrashState& state) {
    EXPECT_TRUE(names.insert(state.to_string()).second) << state.to_string();
    EXPECT_EQ(crash_state_at(history, state.op, state.plan)->model().contents_hash(),
              state.disk()->model().contents_hash())
        << state.to_string();
    return true;
  });
  EXPECT_EQ(states_of(history, {.prefixes = false, .lost_sectors = false, .random_subsets = 0}),
            (std::vector<std::string>{
                "after change 4, before write f [0, +1024): none",
                "after change 5, before sync f: all",
                "after change 6, before write f [2048, +1024): none",
                "after change 7, before sync f: all",
                "after change 8, at the end: none",
            }));
}

TEST(CrashWalk, IsTheSameEveryTime) {
  EXPECT_EQ(states_of(two_windows(), {.seed = 3}), states_of(two_windows(), {.seed = 3}));
  EXPECT_NE(states_of(two_windows(), {.seed = 3}), states_of(two_windows(), {.seed = 4}));
}

TEST(CrashWalk, ReachesEveryOutcomeOfASmallWindow) {
  std::set<std::string> outcomes;
  for_each_crash_state(two_windows(), {.random_subsets = 64}, [&](const CrashState& state) {
    const auto disk = state.disk();
    const auto file = std::move(disk->open("f", OpenMode::read_only).value());
    std::string text(4096, '?');
    EXPECT_EQ(file->read(0, std::as_writable_bytes(std::span(text))).value(), 4096u);
    std::string pattern;
    for (const std::size_t at : {0u, 512u, 2048u, 2560u}) {
      const std::string part = text.substr(at, 512);
      pattern += part == std::string(512, 'x') ? 'x' : part == std::string(512, '\0') ? '.' : 't';
    }
    outcomes.insert(pattern);
    return true;
  });
  for (const char* expected : {"....", "x...", ".x..", "xx..", "t...", "xt..", "tx..", "xxx.",
                               "xx.x", "xxxx", "xxt.", "xxxt", "xxtx"}) {
    EXPECT_TRUE(outcomes.contains(expected)) << expected;
  }
  // The second window never undoes the first.
  for (const std::string& outcome : outcomes) {
    EXPECT_TRUE(outcome.substr(2) == ".." || outcome.substr(0, 2) == "xx") << outcome;
  }
}

TEST(CrashWalk, WindowsCoverWhatTheirSyncWaitsFor) {
  SimDisk disk(1);
  disk.record();
  auto one = std::move(disk.open("one", OpenMode::create_new).value());
  auto two = std::move(disk.open("two", OpenMode::create_new).value());
  ASSERT_TRUE(one->write(0, base::as_bytes("1")));
  ASSERT_TRUE(two->write(0, base::as_bytes("2")));
  ASSERT_TRUE(one->sync());            // size and sector of one
  ASSERT_TRUE(disk.sync_directory());  // two names
  const CrashCounts counts = for_each_crash_state(
      disk.history(), {.boundaries = false, .prefixes = false, .random_subsets = 0},
      [](const CrashState&) { return true; });
  EXPECT_EQ(counts.windows, 3u);  // the end still has size and sector of two
  EXPECT_EQ(counts.lost_sector_states, 2u * (2 + 2 + 2));
}

TEST(CrashWalk, SamplesLargeWindowsAndSaysSo) {
  SimDisk disk(1);
  auto file = std::move(disk.open("f", OpenMode::create_new).value());
  disk.record();
  ASSERT_TRUE(file->write(0, base::as_bytes(std::string(512 * 1000, 'x'))));
  const CrashCounts counts =
      for_each_crash_state(disk.history(), {.random_subsets = 1, .units_max = 50},
                           [](const CrashState&) { return true; });
  EXPECT_EQ(counts.prefix_states, 100u);
  EXPECT_EQ(counts.sampled_out, 1002u - 50u);
}

TEST(CrashWalk, StopsWhenTheVisitorHasSeenEnough) {
  int visited = 0;
  for_each_crash_state(two_windows(), {}, [&](const CrashState&) { return ++visited < 7; });
  EXPECT_EQ(visited, 7);
}

TEST(CrashWalk, AHistoryWithFailedSyncsReplaysExactly) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimDisk disk(seed);
    auto file = std::move(disk.open("f", OpenMode::create_new).value());
    disk.record();
    disk.set_fault_rates({.write_ppm = 300'000, .sync_ppm = 300'000});
    for (std::uint64_t i = 0; i < 20; ++i) {
      (void)file->write(i * 700, base::as_bytes(std::string(900, static_cast<char>('a' + i))))
          .has_value();
      (void)file->sync().has_value();
      (void)disk.sync_directory().has_value();
    }
    disk.flip_bit("f", 10, 3);
    const DiskHistory history = disk.history();
    HistoryWalk walk(history);
    while (walk.step()) {
    }
    EXPECT_EQ(walk.op(), disk.op_count());
    EXPECT_EQ(walk.model().contents_hash(), disk.model().contents_hash());
    for (const Kind kind : {Kind::none, Kind::all, Kind::random}) {
      EXPECT_EQ(walk.model().crash({kind, 5}).contents_hash(),
                disk.crash({kind, 5})->model().contents_hash());
    }
  }
}

// The campaign of README.md over a small journal: a record is a byte and its complement.
struct Acknowledged {
  std::uint64_t op;
  std::size_t records;
};

std::size_t recovered_records(sys::Disk& disk) {
  const auto file = disk.open("journal", OpenMode::read_only);
  if (!file) return 0;
  std::string text((*file)->size().value(), '?');
  (void)(*file)->read(0, std::as_writable_bytes(std::span(text))).value();
  std::size_t count = 0;
  while (2 * count + 1 < text.size() && text[2 * count] == static_cast<char>(count + 1) &&
         text[2 * count + 1] == static_cast<char>(~(count + 1))) {
    ++count;
  }
  return count;
}

/// Number of crash states in which an acknowledged record is missing.
std::uint64_t campaign(bool sync_names, bool sync_records) {
  SimDisk disk(1);
  disk.record();
  std::vector<Acknowledged> acknowledged;
  auto file = std::move(disk.open("journal", OpenMode::create_new).value());
  EXPECT_TRUE(!sync_names || disk.sync_directory());
  for (std::size_t number = 1; number <= 20; ++number) {
    const char record[] = {static_cast<char>(number), static_cast<char>(~number)};
    EXPECT_TRUE(file->write(2 * (number - 1), base::as_bytes(std::string_view(record, 2))));
    EXPECT_TRUE(!sync_records || file->sync());
    acknowledged.push_back({disk.op_count(), number});
  }
  std::uint64_t failures = 0;
  for_each_crash_state(disk.history(), {}, [&](const CrashState& state) {
    std::size_t promised = 0;
    for (const Acknowledged& ack : acknowledged) {
      if (ack.op <= state.op) promised = ack.records;
    }
    failures += recovered_records(*state.disk()) < promised;
    return true;
  });
  return failures;
}

TEST(CrashWalk, ACampaignFindsMissingSyncsAndNothingElse) {
  EXPECT_EQ(campaign(true, true), 0u);
  EXPECT_GT(campaign(false, true), 0u);
  EXPECT_GT(campaign(true, false), 0u);
}

}  // namespace
}  // namespace dolmen::sim
