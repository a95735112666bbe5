// SPDX-License-Identifier: Apache-2.0
//
// Every call that can fail fails once, in every scenario step: nothing acknowledged is lost,
// nothing is half there, and no error is taken for success.
#include <string>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "store/store_sim_world.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kA{10, 1};
constexpr ObjectId kB{20, 2};

/// A program that goes on where it can, and remembers what succeeded.
class Program {
 public:
  explicit Program(StoreDriver& driver) : driver_(driver) {}

  void run() {
    auto made = Store::create(driver_.env(), std::make_unique<sys::BorrowedDisk>(driver_.disk()),
                              StoreDriver::kSmall, {.reserve_segments = 0});
    if (!made) return;
    created_ = true;
    store_ = std::move(*made);
    commit(Change().create(kA, 14).write(kA, 0, "one"));
    commit(Change().write(kA, 500, std::string(3000, 'b')));
    checkpoint();
    commit(Change().write(kA, 4000, std::string(6000, 'c')).create(kB, 9));
    commit(Change().write(kB, 3, "four").write(kA, 0, "five"));
    checkpoint();
    commit(Change().erase(kB));
    (void)store_->close();
    store_.reset();
    auto opened = driver_.open_on(driver_.disk());
    if (!opened) return;
    store_ = std::move(*opened);
    EXPECT_GE(store_->last_index(), acknowledged_);
    model_.cut(store_->last_index());
    dirty_ = DirtySet::recovered_by(*store_);
    commit(Change().write(kA, 9000, "six"));
    checkpoint();
  }
  /// After the program died and the machine lost power: `disk` is what is left.
  void check(sim::SimDisk& disk) {
    store_.reset();
    auto opened = driver_.open_on(disk);
    if (!opened) {
      EXPECT_EQ(acknowledged_, 0u) << opened.error().message();
      EXPECT_EQ(opened.error().code(), Errc::not_a_space) << opened.error().message();
      return;
    }
    const Index end = (*opened)->last_index();
    EXPECT_GE(end, acknowledged_);
    EXPECT_TRUE(model_.ends_transaction(end)) << end;
    EXPECT_TRUE(holds(**opened, model_.at(end)));
    const Change change = Change().create({77, 7}, 9);
    const auto index = (*opened)->append(change);
    ASSERT_TRUE(index && (*opened)->wait_durable(*index)) << "the recovered store works";
    if (!created_) return;  // a name whose directory sync failed cannot be made durable by reading
    // What a failed sync left in the system's cache counts as read, so it must be durable by now.
    SpaceImage after = model_.at(end);
    after.apply(change);
    auto lost = disk.crash({.kind = sim::CrashPlan::Kind::none});
    opened->reset();
    opened = driver_.open_on(*lost);
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ((*opened)->last_index(), *index);
    EXPECT_TRUE(holds(**opened, after));
  }
  [[nodiscard]] bool finished() const noexcept { return finished_; }

 private:
  /// Whether the objects that the change writes are there: their creation may have failed.
  [[nodiscard]] bool is_possible(const Change& change) {
    const SpaceImage& now = model_.at(~Index{0});
    std::set<ObjectId> created;
    base::CommitRecordReader reader(change);
    base::CommitSection section;
    while (reader.next_section(section)) {
      if (section.kind == base::ChangeKind::create) created.insert(section.object);
      if (!now.objects.contains(section.object) && !created.contains(section.object)) return false;
    }
    return true;
  }
  void commit(const Change& change) {
    if (!is_possible(change)) return;
    const auto index = store_->append(change);
    if (!index) {
      EXPECT_TRUE(store_->failed() || index.error().code() == Errc::no_space ||
                  index.error().code() == Errc::io_error)
          << index.error().message();
      return;
    }
    model_.commit(*index, change);
    dirty_.add(change, model_.at(*index));
    if (store_->wait_durable(*index)) acknowledged_ = *index;
  }
  void checkpoint() {
    const auto stats = store_->checkpoint(dirty_.request(store_->last_index(), model_));
    finished_ = stats.has_value();
    if (stats) dirty_ = {};
  }

  StoreDriver& driver_;
  std::unique_ptr<Store> store_;
  SpaceModel model_;
  DirtySet dirty_;
  Index acknowledged_ = 0;
  bool created_ = false;
  bool finished_ = false;
};

void sweep(const sim::DiskFault& fault) {
  constexpr std::uint64_t kStep = base::kSanitized ? 3 : 1;
  for (std::uint64_t nth = 1;; nth += kStep) {
    StoreDriver driver(nth);
    sim::DiskFault one = fault;
    one.nth = nth;
    driver.disk().inject(one);
    Program program(driver);
    program.run();
    const bool past_the_end = driver.disk().fallible_calls() < nth;
    driver.disk().clear_faults();
    for (const std::uint64_t seed : {1, 2, 3}) {
      auto crashed = driver.disk().crash({.kind = sim::CrashPlan::Kind::random, .argument = seed});
      program.check(*crashed);
    }
    auto lost = driver.disk().crash({.kind = sim::CrashPlan::Kind::none});
    program.check(*lost);
    program.check(driver.disk());  // only the program died
    if (testing::Test::HasFailure()) FAIL() << "call " << nth;
    if (past_the_end) {
      EXPECT_TRUE(program.finished());
      EXPECT_GT(nth, 80u) << "the sweep shrank";
      break;
    }
  }
}

TEST(StoreFault, EveryCallFailsOnce) { sweep({.on = sim::FaultOn::any}); }

TEST(StoreFault, EveryCallFailsForEverFromThereOn) {
  sweep({.on = sim::FaultOn::any, .times = sim::DiskFault::kForever});
}

TEST(StoreFault, TheDiskIsFullFromEveryCallOn) {
  sweep({.on = sim::FaultOn::any, .times = sim::DiskFault::kForever, .code = Errc::no_space});
}

TEST(StoreFault, WhatAFailedSyncLeftToBeReadIsWrittenAgainBeforeAnythingBuildsOnIt) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    StoreDriver driver(seed);
    driver.create();
    driver.commit(Change().create(kA, 14));
    const bool at_rotation = seed % 2 == 0;
    if (at_rotation) driver.commit(Change().write(kA, 0, std::string(3700, 'f')));
    driver.append(Change().write(kA, 0, std::string(3000, 'x')));
    driver.disk().inject({.on = sim::FaultOn::sync, .nth = 1 + seed / 2 % 4});
    (void)driver.store().wait_durable(driver.store().last_index());
    driver.disk().clear_faults();
    driver.restart();
    const Index seen = driver.store().last_index();
    const Index after = driver.commit(Change().create(kB, 9));
    EXPECT_EQ(after, seen + 1);
    auto lost = driver.disk().crash({.kind = sim::CrashPlan::Kind::none});
    const auto opened = driver.open_on(*lost);
    ASSERT_TRUE(opened) << "seed " << seed << ": " << opened.error().message();
    EXPECT_EQ((*opened)->last_index(), after) << "seed " << seed;
    EXPECT_TRUE(holds(**opened, driver.model().at(after))) << "seed " << seed;
  }
}

TEST(StoreFault, CreationThatWasInterruptedIsTakenOver) {
  for (std::uint64_t ops = 0; ops < 60; ++ops) {
    StoreDriver driver(ops + 1);
    driver.disk().power_off_at(ops);
    const auto made =
        Store::create(driver.env(), std::make_unique<sys::BorrowedDisk>(driver.disk()),
                      StoreDriver::kSmall, {.reserve_segments = 0});
    for (const auto kind : {sim::CrashPlan::Kind::none, sim::CrashPlan::Kind::all}) {
      auto disk = driver.disk().crash({.kind = kind});
      const auto opened = driver.open_on(*disk);
      if (opened) continue;
      EXPECT_EQ(opened.error().code(), Errc::not_a_space) << opened.error().message();
      const auto again = Store::create(driver.env(), std::make_unique<sys::BorrowedDisk>(*disk),
                                       StoreDriver::kSmall, {.reserve_segments = 0});
      EXPECT_TRUE(again) << "after " << ops << " operations: " << again.error().message();
    }
    if (made) return;
  }
  FAIL() << "creation takes more operations than this test allows";
}

TEST(StoreFault, AnUnfinishedSpaceIsNeitherOpenedNorTakenForAnEmptyOne) {
  StoreDriver driver;
  const auto create = [&](bool unfinished) {
    CreateOptions options = StoreDriver::kSmall;
    options.unfinished = unfinished;
    return Store::create(driver.env(), std::make_unique<sys::BorrowedDisk>(driver.disk()), options,
                         {.reserve_segments = 0});
  };
  {
    auto store = create(true);
    ASSERT_TRUE(store) << store.error().message();
    ASSERT_TRUE((*store)->append(Change().create({1, 1}, 9)));
    ASSERT_TRUE((*store)->close());
  }
  EXPECT_EQ(driver.open_on(driver.disk()).error().code(), Errc::unfinished);
  EXPECT_EQ(create(false).error().code(), Errc::unfinished);
  {
    auto store = create(true);
    ASSERT_TRUE(store) << "begun again: " << store.error().message();
    EXPECT_EQ((*store)->last_index(), 0u);
    EXPECT_EQ(Store::remove_unfinished(driver.env(), driver.disk()).error().code(), Errc::held);
  }
  ASSERT_TRUE(Store::remove_unfinished(driver.env(), driver.disk()));
  EXPECT_EQ(driver.disk().list().value(), std::vector<std::string>{"lock"});
  EXPECT_EQ(driver.open_on(driver.disk()).error().code(), Errc::not_a_space);
  {
    auto store = create(true);
    ASSERT_TRUE(store);
    const auto index = (*store)->append(Change().create({1, 1}, 9));
    ASSERT_TRUE(index && (*store)->wait_durable(*index));
    ASSERT_TRUE((*store)->finish());
    ASSERT_TRUE((*store)->close());
  }
  const auto finished = driver.open_on(driver.disk());
  ASSERT_TRUE(finished) << finished.error().message();
  EXPECT_TRUE((*finished)->find({1, 1}).value().has_value());
  EXPECT_EQ(Store::remove_unfinished(driver.env(), driver.disk()).error().code(), Errc::held);
}

TEST(StoreFault, RemovingWhatIsUnfinishedTouchesNoFinishedSpace) {
  StoreDriver driver;
  ASSERT_TRUE(Store::create(driver.env(), std::make_unique<sys::BorrowedDisk>(driver.disk()),
                            StoreDriver::kSmall, {.reserve_segments = 0}));
  const auto names = driver.disk().list().value();
  EXPECT_EQ(Store::remove_unfinished(driver.env(), driver.disk()).error().code(),
            Errc::already_exists);
  EXPECT_EQ(driver.disk().list().value(), names);
}

TEST(StoreFault, CreationTouchesNoDirectoryThatHoldsSomething) {
  for (const char* const name : {"notes.txt", "pages", "log/000001", "space"}) {
    StoreDriver driver;
    ASSERT_TRUE(driver.disk().open(name, sys::OpenMode::create_new));
    const auto made = Store::create(
        driver.env(), std::make_unique<sys::BorrowedDisk>(driver.disk()), StoreDriver::kSmall, {});
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code(), Errc::already_exists);
    const auto names = driver.disk().list();
    EXPECT_EQ(*names, std::vector<std::string>{name});
  }
}

}  // namespace
}  // namespace dolmen::store
