// SPDX-License-Identifier: Apache-2.0
//
// Objects that change their capacity while views, sections, checkpoints and pointers of others know
// them.
#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "node/open_space.hpp"
#include "node/space_fixture.hpp"
#include "node/test_steps.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {
namespace {

struct Numbers {
  std::uint64_t stamp;
  vector<std::uint64_t> list;
};

constexpr std::uint64_t kCount = 10'000;  // 80 KB: some twenty pages
constexpr std::uint64_t kSmall = 256u << 10;
constexpr std::uint64_t kLarge = 4u << 20;

class Resize : public testing::Test {
 protected:
  Resize() { fill(1); }
  void fill(std::uint64_t stamp) {
    const auto done = space_.transact(numbers_, [&](mut<Numbers> n) {
      n->stamp = stamp;
      n->list.resize(kCount);
      for (std::uint64_t i = 0; i < kCount; ++i) n->list[i] = stamp * i;
    });
    ASSERT_TRUE(done) << done.error().message();
  }
  void resize(std::uint64_t capacity) {
    const auto done = space_.resize(numbers_.id(), capacity);
    ASSERT_TRUE(done) << done.error().message();
  }
  View view(Level level = Level::durable) {
    return space_.view(ReadOptions{.level = level}).value();
  }
  static void check(const Numbers& numbers, std::uint64_t stamp) {
    ASSERT_EQ(numbers.stamp, stamp);
    ASSERT_EQ(numbers.list.size(), kCount);
    for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(numbers.list[i], stamp * i);
  }
  void check_now(std::uint64_t stamp) {
    const auto read = space_.read(numbers_, [&](ref<Numbers> n) { check(*n, stamp); });
    EXPECT_TRUE(read) << read.error().message();
  }

  TestDirectory directory_;
  Space space_ = open_test_space(directory_, {.background = false});
  Object<Numbers> numbers_ = space_.create<Numbers>("numbers", {.capacity = kSmall}).value();
  Steps steps_;
};

TEST_F(Resize, AViewFromBeforeShowsTheObjectAsItWas) {
  const View untouched = view();
  const View begun = view();
  EXPECT_EQ(begun[numbers_]->stamp, 1u);  // some of its pages are there already
  resize(kLarge);
  fill(2);
  resize(kSmall);
  fill(3);
  check(*untouched[numbers_], 1);
  check(*begun[numbers_], 1);
  check(*view()[numbers_], 3);
  check_now(3);
}

TEST_F(Resize, AViewOfAnObjectThatOnlyTheDiskKnewShowsItAsItWas) {
  ASSERT_TRUE(space_.checkpoint());
  ASSERT_TRUE(space_.close());
  Space again = open_test_space(directory_, {.background = false});
  const View before = again.view().value();
  ASSERT_TRUE(again.resize(numbers_.id(), kLarge));
  ASSERT_TRUE(again.transact(numbers_, [](mut<Numbers> n) { n->list.clear(); }));
  ASSERT_TRUE(again.checkpoint());  // what the view needs is in no checkpoint any more
  check(*before[numbers_], 1);
}

TEST_F(Resize, AViewBornBetweenTheCommitAndItsEndShowsTheNewSize) {
  std::optional<View> born;
  steps_.at("txn.appended", [&] {
    if (born) return;
    born.emplace(view(Level::visible));
    check(*(*born)[numbers_], 1);
  });
  const View older = view();
  resize(kLarge);
  steps_.at("txn.appended", [] {});
  ASSERT_TRUE(born);
  fill(2);
  check(*(*born)[numbers_], 1);
  check(*older[numbers_], 1);
  EXPECT_GT(born->index(), older.index());
}

TEST_F(Resize, PagesThatAreZeroBeforeAndAfterKeepTheirHistory) {
  // One page that was emptied before the move, and is written again after it.
  constexpr std::uint64_t kMiddle = kCount / 2;
  const View full = view();
  const auto set_all = [&](std::uint64_t value) {
    const auto done = space_.transact(numbers_, [&](mut<Numbers> n) {
      for (std::uint64_t i = 0; i < kCount; ++i) n->list[i] = value;
    });
    ASSERT_TRUE(done) << done.error().message();
  };
  set_all(0);
  const View emptied = view();
  resize(kLarge);
  const View moved = view();
  set_all(7);
  EXPECT_EQ(full[numbers_]->list[kMiddle], kMiddle);
  EXPECT_EQ(emptied[numbers_]->list[kMiddle], 0u);
  EXPECT_EQ(moved[numbers_]->list[kMiddle], 0u);
  EXPECT_EQ(view()[numbers_]->list[kMiddle], 7u);
}

TEST_F(Resize, ALongViewBesideManyResizesKeepsOneImageOnly) {
  const View long_one = view();
  std::uint64_t stamp = 1;
  for (int round = 0; round < 20; ++round) {
    const View brief = view();
    resize(round % 2 == 0 ? kLarge : kSmall);
    check(*brief[numbers_], stamp);
    fill(++stamp);
  }
  check(*long_one[numbers_], 1);
  EXPECT_EQ(space_.core().former_images(), 1u) << "the long view's own";
  check_now(stamp);
}

TEST_F(Resize, WhatIsErasedAfterAResizeIsSeenByEveryViewAsItWas) {
  const View first = view();
  resize(kLarge);
  fill(2);
  const View second = view();
  ASSERT_TRUE(space_.erase(numbers_));
  ASSERT_TRUE(space_.checkpoint());
  const View third = view();
  check(*first[numbers_], 1);
  check(*second[numbers_], 2);
  const auto gone = third.read([&] { return third[numbers_]->stamp; });
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), Errc::not_found);
}

TEST(ResizeAbort, LeavesObjectAndViewsAsTheyWere) {
  const TestDirectory directory;
  Space space =
      open_test_space(directory, {.max_transaction_bytes = 256u << 10, .background = false});
  struct Lists {
    std::uint64_t stamp;
    std::array<vector<std::uint64_t>, 8> parts;
  };
  const auto lists = space.create<Lists>({.capacity = kLarge}).value();
  for (std::uint64_t part = 0; part < 8; ++part) {  // together more than one transaction may hold
    const auto done =
        space.transact(lists, [&](mut<Lists> l) { l->parts[part].resize(kCount, part); });
    ASSERT_TRUE(done) << done.error().message();
  }
  const View before = space.view().value();
  const auto refused = space.resize(lists.id(), kSmall);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::object_full);
  const auto too_large = space.resize(lists.id(), 2 * kLarge);
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().code(), Errc::too_large);
  EXPECT_EQ(space.core().former_images(), 0u);
  ASSERT_TRUE(space.transact(lists, [](mut<Lists> l) { l->stamp = 2; }));
  const View after = space.view().value();
  EXPECT_EQ(before[lists]->stamp, 0u);
  EXPECT_EQ(after[lists]->stamp, 2u);
  EXPECT_EQ(before[lists]->parts[7].back(), 7u);
}

TEST_F(Resize, ACheckpointThatRunsMeanwhileWritesItsOwnMoment) {
  const auto as_of_before = space_.stats().last_index;
  bool moved = false;
  const auto written = space_.core().checkpoint(0, [&] {
    if (moved) return false;
    moved = true;
    std::jthread other([&] {
      resize(kLarge);
      fill(2);
    });
    return false;
  });
  ASSERT_TRUE(written) << written.error().message();
  ASSERT_TRUE(moved);
  EXPECT_EQ(space_.stats().checkpoint_index, as_of_before);
  check_now(2);
  ASSERT_TRUE(space_.close());
  {
    Space again = open_test_space(directory_, {.background = false});
    check(*again.view().value()[numbers_], 2);
    ASSERT_TRUE(again.checkpoint());
    ASSERT_TRUE(again.close());
  }
  Space third = open_test_space(directory_, {.background = false});
  check(*third.view().value()[numbers_], 2);
}

struct Pointing {
  ptr<Numbers> to;
  ptr<Cell> other;
};

TEST_F(Resize, APointerTakenBeforeTheMoveLeadsToTheNewImageWhenItIsStored) {
  const auto known = space_.create<Pointing>({.capacity = 4096}).value();
  const auto fresh = space_.create<Pointing>({.capacity = 4096}).value();
  const auto cell = space_.create<Cell>({.capacity = 4096}).value();
  const auto made = space_.transact(any, [&] {
    space_.edit(known)->to = ptr_to(*space_.root(numbers_));
    space_.edit(fresh)->other = ptr_to(*space_.root(cell));
  });
  ASSERT_TRUE(made) << made.error().message();
  const auto done =
      space_.transact(known, fresh, cell, [&](mut<Pointing> k, mut<Pointing> f, mut<Cell>) {
        const ptr<Numbers> taken = k->to;
        std::jthread([&] {
          resize(kLarge);
          fill(2);
        }).join();
        EXPECT_EQ(f->other->value, 0u);  // the table of `fresh` is looked at anew
        f->to = taken;
      });
  ASSERT_TRUE(done) << done.error().message();
  const auto read = space_.read(everything, [&] { return space_.root(fresh)->to->stamp; });
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, 2u);
}

TEST_F(Resize, AReaderThatLookedATargetUpBeforeTheMoveDoesNotLeaveItsAddress) {
  const auto pointing = space_.create<Pointing>({.capacity = 4096}).value();
  const auto made =
      space_.transact(any, [&] { space_.edit(pointing)->to = ptr_to(*space_.root(numbers_)); });
  ASSERT_TRUE(made) << made.error().message();
  // Tables are forgotten, and looked up by the reader below.
  resize(kLarge);
  const auto copy_pointer = [&] {
    const auto read = space_.read(
        pointing, [](ref<Pointing> p) { [[maybe_unused]] const ptr<Numbers> copy = p->to; });
    EXPECT_TRUE(read) << read.error().message();
  };
  Once once;
  steps_.at("txn.target_looked_up", [&] {
    once([&] {
      std::jthread([&] {
        resize(kSmall);
        fill(2);
        copy_pointer();  // validates the table, as it is now
      }).join();
    });
  });
  copy_pointer();
  steps_.at("txn.target_looked_up", [] {});
  const auto read = space_.read(everything, [&] { return space_.root(pointing)->to->stamp; });
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, 2u);
}

TEST_F(Resize, ReadersOnThreadsSeeWholeStatesBesideResizes) {
  constexpr int kRounds = 30;
  const auto pointing = space_.create<Pointing>({.capacity = 4096}).value();
  const auto made =
      space_.transact(any, [&] { space_.edit(pointing)->to = ptr_to(*space_.root(numbers_)); });
  ASSERT_TRUE(made) << made.error().message();
  std::atomic<bool> done{false};
  const auto consistent = [](const Numbers& n) {
    const std::uint64_t stamp = n.stamp;
    EXPECT_EQ(n.list.size(), kCount);
    for (std::uint64_t i = 0; i < kCount; i += 101) EXPECT_EQ(n.list[i], stamp * i);
    return stamp;
  };
  std::vector<std::jthread> threads;
  const auto reader = [&](auto read) {
    threads.emplace_back([&, read] {
      std::uint64_t last = 0;
      while (!done.load()) {
        const Result<std::uint64_t> seen = read();
        ASSERT_TRUE(seen) << seen.error().message();
        EXPECT_GE(*seen, last) << "never back in time";
        last = *seen;
      }
    });
  };
  const ReadOptions now{.level = Level::visible};
  reader(
      [&] { return space_.read(now, numbers_, [&](ref<Numbers> n) { return consistent(*n); }); });
  reader([&] {
    return space_.read(now, everything, [&] { return consistent(*space_.root(pointing)->to); });
  });
  reader([&] {
    const View view = this->view(Level::visible);
    return view.read([&] { return consistent(*view[pointing]->to); });
  });
  reader([&] {
    return space_.transact(TransactOptions{.durability = Durability::deferred}, any,
                           [&] { return consistent(*space_.root(pointing)->to); });
  });
  const View oldest = view();
  base::Random random(1);
  for (int round = 2; round < kRounds; ++round) {
    resize(random.chance(1, 2) ? kLarge : kSmall);
    fill(static_cast<std::uint64_t>(round));
    if (round % 8 == 0) {
      EXPECT_TRUE(space_.checkpoint());
    }
  }
  done = true;
  threads.clear();
  check(*oldest[numbers_], 1);
}

TEST(ResizeCrash, LeavesTheOldSizeOrTheNewOneWithAllThatWasThere) {
  sim::SimDisk disk(1);
  sys::Memory& memory = *sys::linux_env().memory;
  sim::SimEnv world(1, memory);
  const auto open = [&](sim::SimDisk& on) {
    return open_space(world.env(), std::make_unique<sys::BorrowedDisk>(on),
                      {.background = false, .log_segment_bytes = 256u << 10}, memory.best_driver());
  };
  Object<Numbers> numbers;
  std::vector<std::unique_ptr<sim::SimDisk>> crashed;
  {
    Space space = open(disk).value();
    numbers = space.create<Numbers>({.capacity = 64u << 10}).value();
    ASSERT_TRUE(space.transact(numbers, [](mut<Numbers> n) {
      for (std::uint64_t i = 0; i < 1000; ++i) n->list.push_back(i);
    }));
    ASSERT_TRUE(space.checkpoint());
    const View before = space.view().value();
    disk.record();
    ASSERT_TRUE(space.resize(numbers.id(), 1u << 20));
    ASSERT_TRUE(space.transact(numbers, [](mut<Numbers> n) { n->stamp = 1; }));
    EXPECT_EQ(before[numbers]->list[999], 999u);
    const sim::DiskHistory history = disk.history();
    sim::DiskModel model = history.start;
    for (const sim::DiskOpPtr& op : history.ops) {
      model.apply(op);
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        const sim::CrashPlan plan{.kind = sim::CrashPlan::Kind::random, .argument = seed};
        crashed.push_back(std::make_unique<sim::SimDisk>(model.crash(plan), seed));
      }
    }
  }
  for (const auto& left : crashed) {
    auto space = open(*left);
    ASSERT_TRUE(space) << space.error().message();
    const auto grown = space->transact(numbers, [](mut<Numbers> n) -> Result<std::uint64_t> {
      EXPECT_EQ(n->list.size(), 1000u);
      for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(n->list[i], i);
      const std::uint64_t stamp = n->stamp;
      n->list.resize(30'000);  // 240 KB
      return stamp;
    });
    if (grown) continue;
    EXPECT_EQ(grown.error().code(), Errc::object_full) << grown.error().message();
    const auto stamp = space->read(numbers, [](ref<Numbers> n) { return n->stamp; });
    EXPECT_EQ(stamp.value(), 0u) << "the resize came before";
  }
}

}  // namespace
}  // namespace dolmen::node
