// SPDX-License-Identifier: Apache-2.0
//
// Views that are held while everything they show is replaced many times over, with little memory
// for what they need.
#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "node/open_space.hpp"
#include "node/space_fixture.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {
namespace {

struct Table {
  std::uint64_t stamp;
  vector<std::uint64_t> list;
};

constexpr std::uint64_t kViewMemory = 128u << 10;
constexpr std::size_t kTables = 6;
constexpr std::uint64_t kCount = 56'000;  // 448 KB; six of them are more than 20 times the memory
constexpr std::uint64_t kStride = 97;     // five to a page

/// A space of six tables on any disk.
class Tables {
 public:
  explicit Tables(Space space) : space_(std::move(space)) {
    for (auto& table : tables_) {
      table = space_.create<Table>({.capacity = 1u << 20}).value();
      const auto done = space_.transact(table, [](mut<Table> t) { t->list.resize(kCount); });
      EXPECT_TRUE(done) << done.error().message();
    }
  }
  void rewrite(std::uint64_t stamp) {
    for (const auto& table : tables_) {
      const auto done = space_.transact(TransactOptions{.durability = Durability::deferred}, table,
                                        [&](mut<Table> t) {
                                          t->stamp = stamp;
                                          for (std::uint64_t i = 0; i < kCount; i += kStride) {
                                            t->list[i] = stamp * i;
                                          }
                                        });
      ASSERT_TRUE(done) << done.error().message();
      EXPECT_LE(space_.stats().version_bytes, kViewMemory);
    }
  }
  [[nodiscard]] View view() { return space_.view(ReadOptions{.level = Level::visible}).value(); }
  /// Whether the view shows exactly this stamp, or what stands in the way.
  [[nodiscard]] Result<bool> shows(const View& view, std::uint64_t stamp) const {
    return view.read([&] {
      bool same = true;
      for (const auto& table : tables_) {
        const Table& t = *view[table];
        same = same && t.stamp == stamp && t.list.size() == kCount;
        for (std::uint64_t i = 0; i < kCount; i += kStride) same = same && t.list[i] == stamp * i;
      }
      return same;
    });
  }
  [[nodiscard]] Object<Table> last() const { return tables_.back(); }
  [[nodiscard]] Space& space() { return space_; }

 private:
  Space space_;
  std::array<Object<Table>, kTables> tables_;
};

TEST(VersionSpill, AViewHeldOverRewritesOfTwentyTimesTheMemoryShowsItsOwnState) {
  const TestDirectory directory;
  const std::filesystem::path scratch = std::filesystem::path(directory.path) / "scratch";
  Tables tables(
      open_test_space(directory, {.view_memory_bytes = kViewMemory, .background = false}));
  tables.rewrite(1);
  std::optional<View> first(tables.view());
  tables.rewrite(2);
  std::optional<View> second(tables.view());
  const SpaceStats full = tables.space().stats();
  EXPECT_GT(full.version_disk_bytes, 19 * kViewMemory);
  EXPECT_GE(std::filesystem::file_size(scratch), full.version_disk_bytes);
  for (std::uint64_t stamp = 3; stamp < 6; ++stamp) tables.rewrite(stamp);
  EXPECT_TRUE(tables.space().checkpoint());
  EXPECT_EQ(tables.shows(*first, 1).value(), true);
  EXPECT_EQ(tables.shows(*second, 2).value(), true);
  EXPECT_EQ(tables.shows(tables.view(), 5).value(), true);
  first.reset();
  EXPECT_LT(tables.space().stats().version_disk_bytes, 22 * kViewMemory);
  second.reset();
  EXPECT_EQ(tables.space().stats().version_disk_bytes, 0u);
  EXPECT_EQ(tables.space().stats().version_bytes, 0u);
  EXPECT_EQ(std::filesystem::file_size(scratch), 0u);
  ASSERT_TRUE(tables.space().close());
  EXPECT_FALSE(std::filesystem::exists(scratch));
}

TEST(VersionSpill, ReadersOnThreadsSeeTheirStatesWhileWritersGoOn) {
  const TestDirectory directory;
  Tables tables(
      open_test_space(directory, {.view_memory_bytes = kViewMemory, .background = false}));
  tables.rewrite(1);
  const View shared = tables.view();
  std::atomic<bool> done{false};
  std::vector<std::jthread> threads;
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      while (!done.load()) {
        const View own = tables.view();
        const std::uint64_t before = own.index();
        EXPECT_EQ(tables.shows(shared, 1).value(), true);
        EXPECT_EQ(own.index(), before);
      }
    });
  }
  threads.emplace_back([&] {
    while (!done.load()) EXPECT_TRUE(tables.space().checkpoint());
  });
  for (std::uint64_t stamp = 2; stamp < 6; ++stamp) tables.rewrite(stamp);
  done = true;
  threads.clear();
  EXPECT_EQ(tables.shows(shared, 1).value(), true);
  EXPECT_EQ(tables.shows(tables.view(), 5).value(), true);
}

class VersionSpillSim : public testing::Test {
 protected:
  Result<Space> open(sim::SimDisk& disk) {
    return open_space(
        world_.env(), std::make_unique<sys::BorrowedDisk>(disk),
        {.view_memory_bytes = kViewMemory, .background = false, .log_segment_bytes = 4u << 20},
        memory_.best_driver());
  }
  void fail_scratch(sim::FaultOn on, Errc code) {
    disk_.inject({.on = on, .times = sim::DiskFault::kForever, .code = code, .file = "scratch"});
  }
  sys::Memory& memory_ = *sys::linux_env().memory;
  sim::SimEnv world_{1, memory_};
  sim::SimDisk disk_{1};
};

TEST_F(VersionSpillSim, AFullDiskEndsTheViewWithNoSpaceAndNothingElse) {
  Tables tables(open(disk_).value());
  tables.rewrite(1);
  fail_scratch(sim::FaultOn::write, Errc::no_space);
  const View ended = tables.view();
  tables.rewrite(2);  // keeps to the memory, and succeeds
  const auto refused = tables.shows(ended, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::no_space) << refused.error().message();
  EXPECT_EQ(tables.shows(tables.view(), 2).value(), true);
  ASSERT_TRUE(tables.space().checkpoint());
  disk_.clear_faults();
  const View next = tables.view();
  tables.rewrite(3);
  EXPECT_EQ(tables.shows(next, 2).value(), true);
  EXPECT_FALSE(tables.shows(ended, 1)) << "it does not come back";
}

TEST_F(VersionSpillSim, WhatAViewShowedBeforeItEndedStaysRight) {
  Tables tables(open(disk_).value());
  tables.rewrite(1);
  fail_scratch(sim::FaultOn::write, Errc::no_space);
  const View view = tables.view();
  const auto walked = view.read([&] {
    EXPECT_EQ(tables.shows(view, 1).value(), true);
    tables.rewrite(2);
    const auto again = tables.shows(view, 1);
    EXPECT_FALSE(again) << "every access asks";
    return again.has_value();
  });
  EXPECT_FALSE(walked && *walked);
  EXPECT_EQ(tables.shows(tables.view(), 2).value(), true);
}

TEST_F(VersionSpillSim, AWalkThatGoesOnAfterTheViewEndedIsNotTakenForItsState) {
  Tables tables(open(disk_).value());
  tables.rewrite(1);
  fail_scratch(sim::FaultOn::write, Errc::no_space);
  const View view = tables.view();
  const auto walked = view.read([&] {
    const Table& table = *view[tables.last()];
    tables.rewrite(2);
    std::uint64_t sum = 0;
    for (const std::uint64_t number : table.list) sum += number;
    return sum;
  });
  ASSERT_FALSE(walked);
  EXPECT_EQ(walked.error().code(), Errc::no_space) << walked.error().message();
}

TEST_F(VersionSpillSim, WhatTheFileGivesBackIsVerified) {
  Tables tables(open(disk_).value());
  tables.rewrite(1);
  const View view = tables.view();
  tables.rewrite(2);
  for (std::uint64_t offset = 100; offset < 20 * kViewMemory; offset += store::kPageBytes) {
    disk_.flip_bit("scratch", offset, 1);
  }
  const auto read = tables.shows(view, 1);
  EXPECT_TRUE(!read || !*read) << "never another state as the view's";
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Errc::corrupt) << read.error().message();
  EXPECT_EQ(tables.shows(tables.view(), 2).value(), true);
}

TEST_F(VersionSpillSim, AFileThatCannotBeReadIsAnErrorOfTheView) {
  Tables tables(open(disk_).value());
  tables.rewrite(1);
  const View view = tables.view();
  tables.rewrite(2);
  fail_scratch(sim::FaultOn::read, Errc::io_error);
  const auto read = tables.shows(view, 1);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Errc::io_error) << read.error().message();
  EXPECT_EQ(tables.shows(tables.view(), 2).value(), true);
}

TEST_F(VersionSpillSim, ACrashLeavesAFileThatTheNextWriterRemoves) {
  std::unique_ptr<sim::SimDisk> crashed;
  {
    Tables tables(open(disk_).value());
    tables.rewrite(1);
    const View view = tables.view();
    tables.rewrite(2);
    ASSERT_TRUE(tables.space().sync());
    ASSERT_TRUE(disk_.sync_directory());
    crashed = disk_.crash({.kind = sim::CrashPlan::Kind::all});
  }
  EXPECT_TRUE(crashed->open("scratch", sys::OpenMode::read_only));
  auto space = open(*crashed);
  ASSERT_TRUE(space) << space.error().message();
  EXPECT_EQ(crashed->open("scratch", sys::OpenMode::read_only).error().code(), Errc::not_found);
  const auto objects = space->core().all_objects(space->stats().last_index);
  ASSERT_TRUE(objects);
  std::size_t tables_found = 0;
  for (const ObjectId& id : *objects) {
    const auto read = space->read(Object<Table>(id), [](ref<Table> t) {
      EXPECT_EQ(t->stamp, 2u);
      for (std::uint64_t i = 0; i < kCount; i += kStride) EXPECT_EQ(t->list[i], 2 * i);
    });
    if (read) ++tables_found;
  }
  EXPECT_EQ(tables_found, kTables);
}

}  // namespace
}  // namespace dolmen::node
