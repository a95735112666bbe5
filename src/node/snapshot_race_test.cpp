// SPDX-License-Identifier: Apache-2.0
//
// The narrow places between a commit, an abort and those who read as of a commit, one by one: steps
// of the one thread wait for steps of the other.
#include <atomic>
#include <functional>
#include <latch>
#include <optional>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "node/space_fixture.hpp"
#include "node/test_steps.hpp"
#include "txn/space_core.hpp"

namespace dolmen::node {
namespace {

class SnapshotRace : public testing::Test {
 protected:
  SnapshotRace() {
    set(1);
    const detail::SpaceCore& core = space_.core();
    const std::size_t unit_pages =
        core.env().memory->fault_unit_bytes(core.options().fault_driver) / store::kPageBytes;
    const auto page = space_.read(shelf_, [](ref<Shelf> shelf) {
      const auto address = reinterpret_cast<std::uintptr_t>(&shelf->value);
      return (address - detail::base_of(shelf.get())) / store::kPageBytes;
    });
    value_turn_ = *page < unit_pages ? *page : unit_pages + *page % unit_pages;
  }
  void set(std::uint64_t value, Durability durability = Durability::durable) {
    const auto done = space_.transact(TransactOptions{.durability = durability}, shelf_,
                                      [&](mut<Shelf> shelf) { shelf->value = value; });
    EXPECT_TRUE(done) << done.error().message();
  }
  View view(Level level = Level::visible) {
    return space_.view(ReadOptions{.level = level}).value();
  }
  [[nodiscard]] std::uint64_t value_in(const View& view) const { return view[shelf_]->value; }
  /// Called whenever a view makes a page: whether it is the one with the shelf's value. Others come
  /// before, since the object's header is read first, and a fault makes all pages of its unit.
  [[nodiscard]] bool is_value_page() { return pages_made_.fetch_add(1) == value_turn_; }

  /// An older view copies the value's page after a transaction has changed it, and looks for its
  /// undo after the transaction has ended as `end` says, which commits nothing.
  void read_while_it_ends(const std::function<Result<void>(mut<Shelf>)>& end) {
    const View before = view();
    std::latch changed(1);
    std::latch copied(1);
    std::latch emptied(1);
    std::latch read(1);
    Once first_copy;
    Once first_emptied;
    steps_.at("txn.page_copied", [&] {
      if (!is_value_page()) return;
      first_copy([&] {
        copied.count_down();
        emptied.wait();
      });
    });
    steps_.at("txn.undo_lists_emptied", [&] {
      first_emptied([&] {
        emptied.count_down();
        read.wait();
      });
    });
    Result<void> promised;
    Result<void> ended;
    std::jthread writer([&] {
      ended = space_.transact(shelf_, [&](mut<Shelf> shelf) -> Result<void> {
        shelf->value = 99;
        changed.count_down();
        copied.wait();
        return promised = end(shelf);
      });
    });
    changed.wait();
    EXPECT_EQ(value_in(before), 1u);
    read.count_down();
    writer.join();
    EXPECT_EQ(ended ? Errc{} : ended.error().code(), promised ? Errc{} : promised.error().code());
  }

  TestDirectory directory_;
  Space space_ = open_test_space(directory_, {.background = false});
  Object<Shelf> shelf_ = space_.create<Shelf>({.capacity = 1u << 20}).value();
  Steps steps_;
  std::size_t value_turn_ = 0;
  std::atomic<std::size_t> pages_made_{0};
};

TEST_F(SnapshotRace, AViewBornDuringACommitTakesNothingFromAnOlderView) {
  const View older = view();
  std::optional<View> born;
  steps_.at("txn.appended", [&] {
    if (!born) born.emplace(view());
  });
  set(2);
  ASSERT_TRUE(born);
  EXPECT_EQ(value_in(older), 1u);
  EXPECT_EQ(value_in(*born), 2u);
}

TEST_F(SnapshotRace, AViewBornDuringADurableCommitWaitsForTheDisk) {
  Once once;
  steps_.at("txn.appended", [&] {
    once([&] {
      const View born = view(Level::durable);
      EXPECT_GE(space_.stats().durable_index, born.index());
    });
  });
  set(2);
}

TEST_F(SnapshotRace, AViewBornDuringADeferredCommitDoesNotWait) {
  Once once;
  const std::uint64_t syncs = space_.stats().syncs;
  steps_.at("txn.appended", [&] { once([&] { EXPECT_EQ(value_in(view(Level::durable)), 2u); }); });
  set(2, Durability::deferred);
  EXPECT_EQ(space_.stats().syncs, syncs);
}

TEST_F(SnapshotRace, APageCopiedBeforeAnAbortIsNotTakenForCommitted) {
  read_while_it_ends([](mut<Shelf>) -> Result<void> { return fail(Errc::aborted); });
}

TEST_F(SnapshotRace, APageCopiedWhileATransactionChangesNothingInTheEndIsNotTakenForCommitted) {
  read_while_it_ends([](mut<Shelf> shelf) -> Result<void> {
    shelf->value = 1;
    return {};
  });
}

TEST_F(SnapshotRace, APageThatACheckpointTakesOnBesideItsCommitIsNotThatOfAnOlderView) {
  space_.checkpoint().value();
  (void)space_.close();
  space_ = open_test_space(directory_, {.background = false});
  const View before = view();
  std::latch absent_seen(1);
  std::latch taken_on(1);
  std::latch read(1);
  Once once;
  steps_.at("txn.absent_page", [&] {
    if (!is_value_page()) return;
    once([&] {
      absent_seen.count_down();
      taken_on.wait();
    });
  });
  Once appended;
  steps_.at("txn.appended", [&] {
    appended([&] {
      space_.checkpoint().value();
      taken_on.count_down();
      read.wait();
    });
  });
  std::jthread writer([&] {
    absent_seen.wait();
    set(2);
  });
  EXPECT_EQ(value_in(before), 1u);
  read.count_down();
}

TEST_F(SnapshotRace, AnObjectThatACheckpointDropsBesideItsErasureStaysInAnOlderView) {
  space_.checkpoint().value();
  (void)space_.close();
  space_ = open_test_space(directory_, {.background = false});
  const View before = view();
  Once once;
  steps_.at("txn.appended", [&] { once([&] { space_.checkpoint().value(); }); });
  ASSERT_TRUE(space_.erase(shelf_));
  EXPECT_EQ(value_in(before), 1u);
}

TEST_F(SnapshotRace, AWriterThatSleptBehindALockedCopyIsWoken) {
  const View before = view();
  std::latch locked(1);
  std::latch asleep(1);
  Once once;
  steps_.take("txn.page_copy_locks", [] { return true; });
  steps_.at("txn.page_copied", [&] {
    if (!is_value_page()) return;
    once([&] {
      locked.count_down();
      asleep.wait();
    });
  });
  Once slept;
  steps_.at("txn.lock_sleeps", [&] { slept([&] { asleep.count_down(); }); });
  std::jthread writer([&] {
    locked.wait();
    set(2);
  });
  EXPECT_EQ(value_in(before), 1u);
}

TEST_F(SnapshotRace, TwoLockedCopiesOfOneObjectDoNotShareTheLock) {
  const View one = view();
  const View two = view();
  std::latch locked(1);
  std::latch other_read(1);
  Once once;
  steps_.take("txn.page_copy_locks", [] { return true; });
  steps_.at("txn.page_copied", [&] {
    if (!is_value_page()) return;
    once([&] {
      locked.count_down();
      other_read.wait();
    });
  });
  std::jthread other([&] {
    locked.wait();
    EXPECT_EQ(value_in(two), 1u);
    other_read.count_down();
  });
  EXPECT_EQ(value_in(one), 1u);
}

}  // namespace
}  // namespace dolmen::node
