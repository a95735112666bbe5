// SPDX-License-Identifier: Apache-2.0
#include "node/replicated_group.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "sim/crash_walk.hpp"
#include "sim/sim_disk.hpp"

namespace dolmen::node {
namespace {

void put(sys::Disk& disk, const std::string& name) {
  ASSERT_TRUE(disk.open(name, sys::OpenMode::create_new));
  ASSERT_TRUE(disk.sync_directory());
}
Errc code_of(const Result<std::uint32_t>& result) {
  return result ? Errc{} : result.error().code();
}

TEST(Lives, AreNumberedFromOneAndNeverTwice) {
  sim::SimDisk disk(1);
  ASSERT_TRUE(make_first_life(disk));
  EXPECT_TRUE(counts_lives(disk.list().value()));
  for (std::uint32_t life = 1; life <= 20; ++life) EXPECT_EQ(begin_life(disk).value(), life);
  EXPECT_EQ(disk.list().value(), std::vector<std::string>{"next-life-21"});
  EXPECT_TRUE(make_first_life(disk)) << "of a directory that nobody looked into";
  EXPECT_EQ(begin_life(disk).value(), 21u) << "the higher one counts";
}

TEST(Lives, OneProcessAtATimeIsTheMember) {
  sim::SimDisk disk(1);
  auto held = lock_lives(disk);
  ASSERT_TRUE(held);
  EXPECT_EQ(lock_lives(disk).error().code(), Errc::held);
  held->reset();
  EXPECT_TRUE(lock_lives(disk));
}

TEST(Lives, WhatIsNoMemorysDirectoryIsSaid) {
  sim::SimDisk empty(1);
  EXPECT_EQ(code_of(begin_life(empty)), Errc::not_found);
  sim::SimDisk of_journal(1);
  put(of_journal, "log-1");
  EXPECT_EQ(code_of(begin_life(of_journal)), Errc::invalid_argument);
  EXPECT_FALSE(counts_lives(of_journal.list().value()));
  for (const char* const name :
       {"next-life-", "next-life-0", "next-life-x", "next-life-1x", "next-life--1",
        "next-life-4294967296", "next-life- 7", "next-life-+7", "next-life-0x1"}) {
    sim::SimDisk disk(1);
    put(disk, "next-life-5");
    put(disk, name);
    EXPECT_EQ(code_of(begin_life(disk)), Errc::corrupt) << name;
    EXPECT_EQ(disk.list().value().size(), 2u) << "and left as it is";
  }
}

TEST(Lives, TheLastNumberIsNotGiven) {
  sim::SimDisk disk(1);
  put(disk, "next-life-4294967294");
  EXPECT_EQ(begin_life(disk).value(), 4294967294u);
  EXPECT_EQ(code_of(begin_life(disk)), Errc::limit);
  EXPECT_EQ(code_of(begin_life(disk)), Errc::limit) << "not from the start again";
}

TEST(Lives, AFailedCallBeginsNoLifeAndLosesNone) {
  for (std::uint64_t nth = 1;; ++nth) {
    sim::SimDisk disk(nth);
    ASSERT_TRUE(make_first_life(disk));
    ASSERT_EQ(begin_life(disk).value(), 1u);
    const std::uint64_t before = disk.fallible_calls();
    disk.inject({.nth = nth});
    const auto failed = begin_life(disk);
    const bool was_reached = disk.fallible_calls() >= before + nth;
    disk.clear_faults();
    const auto next = begin_life(disk);
    ASSERT_TRUE(next) << next.error().message();
    EXPECT_GT(*next, failed.value_or(1));
    if (was_reached) {
      EXPECT_FALSE(failed) << nth;
    } else {
      EXPECT_TRUE(failed);
      EXPECT_GE(nth, 3u) << "a list, a rename and a sync can fail";
      return;
    }
  }
}

// Whatever a crash leaves between two steps: who asked before has a number of its own.
TEST(Lives, AfterACrashAtAnyMomentNoNumberIsGivenAgain) {
  sim::SimDisk disk(1);
  disk.record();
  ASSERT_TRUE(make_first_life(disk));
  struct Given {
    std::uint64_t op;
    std::uint32_t life;
  };
  std::vector<Given> given{{disk.op_count(), 0}};
  for (std::uint32_t life = 1; life <= 12; ++life) {
    ASSERT_EQ(begin_life(disk).value(), life);
    given.push_back({disk.op_count(), life});
  }
  const sim::DiskHistory history = disk.history();
  std::uint64_t repeated = 0;
  const auto counts = sim::for_each_crash_state(history, {}, [&](const sim::CrashState& state) {
    std::uint32_t last = 0;
    const bool is_made = state.op >= given.front().op;
    for (const Given& each : given) last = each.op <= state.op ? each.life : last;
    const auto crashed = state.disk();
    const auto begun = begin_life(*crashed);
    if (!begun) {
      EXPECT_FALSE(is_made) << state.to_string();
      EXPECT_EQ(code_of(begun), Errc::not_found) << state.to_string();
      return true;
    }
    EXPECT_GT(*begun, last) << state.to_string();
    // The next crash, with whatever the first one left.
    const auto again = begin_life(*crashed->crash({.kind = sim::CrashPlan::Kind::none}));
    EXPECT_TRUE(again && *again > *begun) << state.to_string();
    repeated += *begun == last + 1 ? 1 : 0;
    return !testing::Test::HasFailure();
  });
  EXPECT_GT(counts.states(), 50u);
  EXPECT_GT(repeated, 10u);
}

}  // namespace
}  // namespace dolmen::node
