// SPDX-License-Identifier: Apache-2.0
//
// What max_transaction_bytes promises, at its very edge.
#include <cstdint>
#include <memory>

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

constexpr std::uint64_t kCount = 40'000;  // 320,000 bytes: several log segments

struct Numbers {
  vector<std::uint64_t> list;
};

class TransactionSize : public testing::Test {
 protected:
  TransactionSize() {
    auto space = open(256u << 20);
    numbers_ = space.create<Numbers>("numbers").value();
    const auto filled = space.transact(numbers_, [](mut<Numbers> n) {
      for (std::uint64_t i = 0; i < kCount; ++i) n->list.push_back(i);
    });
    EXPECT_TRUE(filled) << filled.error().message();
    EXPECT_TRUE(space.close());
  }
  [[nodiscard]] Space open(std::uint64_t max_transaction_bytes) const {
    return open_test_space(directory_, {.max_transaction_bytes = max_transaction_bytes,
                                        .background = false,
                                        .log_tail_bytes_max = 8u << 20,
                                        .log_segment_bytes = 64u << 10});
  }
  /// Changes every number in one transaction.
  Result<void> add_one(Space& space) {
    const auto done = space.transact(numbers_, [](mut<Numbers> n) {
      for (std::uint64_t& number : n->list.edit_span()) ++number;
    });
    if (done) ++added_;
    return done;
  }
  void expect_all_or_nothing(Space& space) const {
    const auto view = space.view().value();
    for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(view[numbers_]->list[i], i + added_);
  }

  TestDirectory directory_;
  Object<Numbers> numbers_;
  std::uint64_t added_ = 0;
};

TEST_F(TransactionSize, IsBoundedToTheByteBeforeAnythingIsAppended) {
  std::uint64_t refused = 1u << 10;
  std::uint64_t taken = 4u << 20;
  while (taken - refused > 1) {
    const std::uint64_t middle = refused + (taken - refused) / 2;
    auto space = open(middle);
    const std::uint64_t last_index = space.stats().last_index;
    const auto done = add_one(space);
    expect_all_or_nothing(space);
    (done ? taken : refused) = middle;
    if (done) continue;
    ASSERT_EQ(done.error().code(), Errc::too_large) << done.error().message();
    EXPECT_EQ(space.stats().last_index, last_index);
  }
  EXPECT_GT(added_, 0u);
  auto space = open(taken);
  expect_all_or_nothing(space);  // recovered from records in several parts
  const std::uint64_t changed = kCount * sizeof(std::uint64_t);
  EXPECT_GE(taken, changed / 64 * 80 + changed);
  EXPECT_LE(taken, (changed / 64 * 80 + changed) * 11 / 10);
}

TEST_F(TransactionSize, CountsWhatIsTouchedTwiceOnce) {
  const std::uint64_t changed = kCount * sizeof(std::uint64_t);
  auto space = open((changed / 64 * 80 + changed) * 11 / 10);
  const auto done = space.transact(numbers_, [](mut<Numbers> n) {
    for (int round = 0; round < 10; ++round) {
      for (std::uint64_t& number : n->list.edit_span()) ++number;
    }
  });
  EXPECT_TRUE(done) << done.error().message();
  added_ = 10;
  expect_all_or_nothing(space);
}

TEST_F(TransactionSize, OfAnObjectMadeInItIsBoundedToo) {
  auto space = open(1u << 20);
  const auto done = space.transact(any, [&]() -> Result<void> {
    DOLMEN_TRY(const auto made, space.create<Numbers>());
    space.edit(made)->list.resize(kCount * 10);
    for (std::uint64_t& number : space.edit(made)->list.edit_span()) number = 1;
    return {};
  });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Errc::too_large) << done.error().message();
  expect_all_or_nothing(space);
}

// However often somebody writes a checkpoint: what the log can never take is told apart from what
// it cannot take now.
TEST_F(TransactionSize, ThatNoLogOfTheSpaceCanHoldIsTooLargeNotNoSpace) {
  constexpr std::uint64_t kPart = (60u << 10) / sizeof(std::uint64_t);  // about a segment's
  const sim::SimEnv world(1, *sys::linux_env().memory);
  sim::SimDisk disk(1);
  auto space =
      open_space(
          world.env(), std::make_unique<sys::BorrowedDisk>(disk),
          {.background = false, .log_tail_bytes_max = 64u << 20, .log_segment_bytes = 64u << 10},
          sys::FaultDriver::none)
          .value();
  const auto object = space.create<Numbers>({.capacity = 64u << 20}).value();
  std::uint64_t taken = 0;
  std::uint64_t refused = 0;
  for (const std::uint64_t parts : {148u, 150u, 154u}) {
    const auto write = [&] {
      return space.transact(object, [&](mut<Numbers> n) {
        n->list.clear();
        n->list.resize(parts * kPart);
        for (std::uint64_t& number : n->list.edit_span()) number = parts;
      });
    };
    auto done = write();
    if (!done && done.error().code() == Errc::no_space) {
      EXPECT_TRUE(space.core().store().checkpoint_due()) << "who keeps the space up hears of it";
      ASSERT_TRUE(space.checkpoint());
      EXPECT_FALSE(space.core().store().checkpoint_due());
      done = write();
    }
    if (done) {
      taken = parts;
      continue;
    }
    EXPECT_EQ(done.error().code(), Errc::too_large) << done.error().message();
    refused = parts;
  }
  EXPECT_GE(taken, 148u);
  EXPECT_EQ(refused, 154u);
  const auto shown = space.read(object, [](ref<Numbers> n) { return n->list.back(); });
  EXPECT_EQ(shown.value(), taken);
}

}  // namespace
}  // namespace dolmen::node
