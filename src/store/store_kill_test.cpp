// SPDX-License-Identifier: Apache-2.0
//
// A program ends, the machine goes on: what the program wrote and never synced is still to be read,
// and may be lost at a later loss of power. Whoever starts again builds on what it read, so it must
// first make that durable. Every end of the first life: killed at any operation, or a failed sync;
// in the second life power is lost at every operation.
#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "store/store_sim_world.hpp"

namespace dolmen::store {
namespace {

using sim::CrashPlan;

constexpr ObjectId kA{10, 1};
constexpr ObjectId kB{20, 2};

std::string text(std::size_t bytes, char fill) { return std::string(bytes, fill); }

/// One life of a program that stops at the first call that fails.
class Life {
 public:
  Life(StoreDriver& driver, SpaceModel model) : driver_(driver), model_(std::move(model)) {}

  void create_and_work() {
    auto made = Store::create(driver_.env(), std::make_unique<sys::BorrowedDisk>(driver_.disk()),
                              StoreDriver::kSmall, {.reserve_segments = 0});
    if (!made) return;
    created_ = true;
    store_ = std::move(*made);
    if (!commit(Change().create(kA, 15).create(kB, 9))) return;
    for (unsigned round = 0; round < 2; ++round) {
      for (unsigned k = 0; k < 4; ++k) {
        if (!commit(some_change(round * 4 + k))) return;
      }
      // The log goes on behind what the checkpoint holds.
      const CheckpointRequest request = checkpoint_request();
      if (!commit(some_change(round + 20)) || !store_->checkpoint(request)) return;
    }
    finished_ = store_->close().has_value();
  }
  /// Opens what the life before left, which must work; gives the end it found.
  Index reopen() {
    auto opened = driver_.open_on(driver_.disk());
    EXPECT_TRUE(opened) << opened.error().message();
    if (!opened) return ~Index{0};
    store_ = std::move(*opened);
    const Index end = store_->last_index();
    EXPECT_TRUE(model_.ends_transaction(end));
    EXPECT_TRUE(holds(*store_, model_.at(end)));
    model_.cut(end);
    acknowledged_ = {{driver_.disk().op_count(), end}};
    dirty_ = DirtySet::recovered_by(*store_);
    return end;
  }
  /// Log segments first or blocks of the pages file: the one that comes first shows what is reused.
  void work_on(bool checkpoint_first) {
    if (checkpoint_first) {
      EXPECT_TRUE(store_->checkpoint(checkpoint_request()));
    }
    if (!model_.at(~Index{0}).objects.contains(kA) && !commit(Change().create(kA, 15))) return;
    for (unsigned k = 0; k < 5; ++k) EXPECT_TRUE(commit(some_change(30 + k)));
    EXPECT_TRUE(store_->checkpoint(checkpoint_request()));
    EXPECT_TRUE(commit(some_change(40)));
  }
  void die() { store_.reset(); }

  [[nodiscard]] bool created() const noexcept { return created_; }
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  [[nodiscard]] const SpaceModel& model() const noexcept { return model_; }
  [[nodiscard]] Index acknowledged_by(std::uint64_t op) const {
    Index last = 0;
    for (const auto& [at, index] : acknowledged_) {
      if (at <= op) last = index;
    }
    return last;
  }
  [[nodiscard]] Index last() const {
    return acknowledged_.empty() ? 0 : acknowledged_.back().second;
  }

 private:
  bool commit(const Change& change) {
    const auto index = store_->append(change);
    if (!index) return false;
    model_.commit(*index, change);
    dirty_.add(change, model_.at(*index));
    if (!store_->wait_durable(*index)) return false;
    acknowledged_.emplace_back(driver_.disk().op_count(), *index);
    return true;
  }
  static Change some_change(unsigned number) {
    return Change().write(kA, number * 911 % 20000, text(1800, static_cast<char>('A' + number)));
  }
  /// Everything so far.
  CheckpointRequest checkpoint_request() {
    return std::exchange(dirty_, {}).request(store_->last_index(), model_);
  }

  StoreDriver& driver_;
  std::unique_ptr<Store> store_;
  SpaceModel model_;
  DirtySet dirty_;
  std::vector<std::pair<std::uint64_t, Index>> acknowledged_;
  bool created_ = false;
  bool finished_ = false;
};

/// Every operation of the second life, then power is lost.
void check_power_losses(StoreDriver& driver, const Life& life) {
  const sim::DiskHistory history = driver.disk().history();
  sim::DiskModel model = history.start;
  for (std::uint64_t k = 0; k <= history.ops.size(); ++k) {
    if (k > 0) model.apply(history.ops[k - 1]);
    const std::uint64_t op = history.first_op + k;
    for (const CrashPlan& plan : {CrashPlan{.kind = CrashPlan::Kind::none},
                                  CrashPlan{.kind = CrashPlan::Kind::random, .argument = op}}) {
      sim::SimDisk crashed(model.crash(plan), op);
      auto opened = driver.open_on(crashed);
      const std::string where = "power lost after operation " + std::to_string(op) + " (" +
                                (k > 0 ? history.ops[k - 1]->to_string() : "start") + "), " +
                                plan.to_string();
      ASSERT_TRUE(opened) << opened.error().message() << ", " << where;
      const Index end = (*opened)->last_index();
      ASSERT_GE(end, life.acknowledged_by(op)) << where;
      ASSERT_TRUE(life.model().ends_transaction(end)) << where;
      ASSERT_TRUE(holds(**opened, life.model().at(end))) << where;
    }
  }
}

/// How the first life ends.
enum class End : std::uint8_t { killed, sync_failed };

/// A first life that ends at `nth`, a second one that goes on; false if the first was over before.
bool live_twice(End end, std::uint64_t nth, bool checkpoint_first, std::uint64_t& lives) {
  StoreDriver driver(nth);
  sim::SimDisk& disk = driver.disk();
  if (end == End::killed) disk.power_off_at(nth);
  if (end == End::sync_failed) {
    disk.inject({.on = sim::FaultOn::sync, .nth = nth, .times = sim::DiskFault::kForever});
  }
  Life first(driver, SpaceModel());
  first.create_and_work();
  first.die();
  if (!first.created()) return true;
  disk.power_off_at(~std::uint64_t{0});
  disk.clear_faults();
  Life second(driver, first.model());
  const Index found = second.reopen();
  EXPECT_GE(found, first.last());
  disk.record();
  second.work_on(checkpoint_first);
  check_power_losses(driver, second);
  ++lives;
  return !first.finished();
}

/// Under a sanitizer every fourth place: whether all hold is the release build's question.
void sweep(End end, std::uint64_t lives_min) {
  constexpr std::uint64_t kStep = base::kSanitized ? 4 : 1;
  std::uint64_t lives = 0;
  for (const bool checkpoint_first : {false, true}) {
    std::uint64_t nth = 1;
    while (live_twice(end, nth, checkpoint_first, lives)) {
      if (testing::Test::HasFailure()) FAIL() << "ended at " << nth;
      nth += kStep;
    }
  }
  EXPECT_GT(lives, lives_min / kStep) << "the sweep shrank";
}

TEST(StoreKillCrash, WhatAKilledProgramNeverSyncedIsMadeDurableBeforeAnythingBuildsOnIt) {
  sweep(End::killed, 150);
}

TEST(StoreKillCrash, WhatAFailedSyncLeftToReadIsMadeDurableBeforeAnythingBuildsOnIt) {
  sweep(End::sync_failed, 40);
}

}  // namespace
}  // namespace dolmen::store
