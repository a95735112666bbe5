// SPDX-License-Identifier: Apache-2.0
//
// Objects that go, move and come back while views, pointers and caches still know them.
#include <algorithm>
#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "base/random.hpp"
#include "node/open_space.hpp"
#include "node/space_fixture.hpp"
#include "object/arena.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "sys/borrowed_disk.hpp"
#include "sys/linux/linux.hpp"
#include "txn/locks.hpp"

namespace dolmen::node {
namespace {

TEST(ObjectLifetime, AnErasedObjectIsNotFoundAfterTheViewThatKeptItClosed) {
  const TestDirectory directory;
  auto space = open_test_space(directory);
  const auto erased = space.create<Shelf>({.capacity = 4096}).value();
  {
    const auto view = space.view().value();
    ASSERT_TRUE(space.erase(erased));
    const auto refused = space.read(erased, [](ref<Shelf>) {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Errc::not_found);
  }
  // Takes the place of the erased object's image.
  const auto other = space.create<Shelf>({.capacity = 4096}).value();
  const auto read = space.read(erased, [](ref<Shelf>) {});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Errc::not_found);
  EXPECT_TRUE(space.read(other, [](ref<Shelf>) {}));
}

TEST(ObjectLifetime, AnErasedObjectCannotBeNamedWhileAViewKeepsIt) {
  const TestDirectory directory;
  auto space = open_test_space(directory);
  const auto erased = space.create<Shelf>({.capacity = 4096}).value();
  const auto view = space.view().value();
  ASSERT_TRUE(space.erase(erased));
  const auto named = space.set_name(erased.id(), "gone");
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().code(), Errc::not_found);
}

TEST(ObjectLifetime, WhatAnotherTransactionErasesMayStillComeBack) {
  const TestDirectory directory;
  auto space = open_test_space(directory);
  const auto shelf = space.create<Shelf>({.capacity = 4096}).value();
  const auto cell = space.create<Cell>({.capacity = 4096}).value();
  space
      .transact(shelf, cell,
                [](mut<Shelf> s, mut<Cell> c) {
                  c->value = 7;
                  s->first = c;
                })
      .value();
  std::latch erased(1);
  std::latch copied(1);
  std::jthread eraser([&] {
    const auto done = space.transact(cell, [&](mut<Cell>) -> Result<void> {
      DOLMEN_CHECK(space.erase(cell));
      erased.count_down();
      copied.wait();
      return fail(Errc::aborted);
    });
    EXPECT_EQ(done.error().code(), Errc::aborted);
  });
  erased.wait();
  const auto done = space.transact(shelf, [](mut<Shelf> s) { s->second = s->first; });
  EXPECT_TRUE(done) << done.error().message();
  copied.count_down();
  eraser.join();
  const auto view = space.view().value();
  EXPECT_EQ(view[shelf]->second->value, 7u);
}

/// A thread that stays in a read section until the end of its life.
class Inside {
 public:
  Inside(Space& space, const Object<Shelf>& shelf)
      : thread_([this, &space, shelf] {
          const auto read = space.read(shelf, [this](ref<Shelf>) {
            entered_.count_down();
            leave_.wait();
          });
          EXPECT_TRUE(read);
        }) {
    entered_.wait();
  }
  ~Inside() { leave_.count_down(); }

 private:
  std::latch entered_{1};
  std::latch leave_{1};
  std::jthread thread_;  // joins first
};

TEST(ObjectLifetime, ImagesOfErasedObjectsGoThoughSomebodyIsAlwaysInside) {
  constexpr int kRounds = 40;
  const TestDirectory directory;
  auto space = open_test_space(directory, {.background = false});
  const auto shelf = space.create<Shelf>({.capacity = 4096}).value();
  const auto make_and_erase = [&] {
    const auto made = space.create<Shelf>({.capacity = 4096});
    ASSERT_TRUE(made);
    // Objects share lock stripes: one that shares the shelf's would wait for who is inside.
    if (txn::LockTable::stripe_of(made->id()) == txn::LockTable::stripe_of(shelf.id())) return;
    ASSERT_TRUE(space.erase(*made));
  };
  make_and_erase();
  const std::uint64_t before = object::arena_stats().slots_in_use;
  std::optional<Inside> odd;
  std::optional<Inside> even;
  odd.emplace(space, shelf);
  for (int round = 0; round < kRounds; ++round) {
    make_and_erase();
    even.emplace(space, shelf);
    odd.reset();
    make_and_erase();
    odd.emplace(space, shelf);
    even.reset();
  }
  EXPECT_LE(object::arena_stats().slots_in_use, before + 4);
}

TEST(ObjectLifetime, ManyThreadsEraseWhileViewsThatSeeTheObjectsClose) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 30;
  const TestDirectory directory;
  auto space = open_test_space(directory);
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        const auto object = space.create<Shelf>({.capacity = 4096});
        ASSERT_TRUE(object) << object.error().message();
        const auto view = space.view(ReadOptions{.level = Level::visible});
        ASSERT_TRUE(view) << view.error().message();
        ASSERT_TRUE(space.erase(*object));
        EXPECT_EQ((*view)[*object]->value, 0u);
        const auto gone = space.read(*object, [](ref<Shelf>) {});
        ASSERT_FALSE(gone);
        EXPECT_EQ(gone.error().code(), Errc::not_found);
      }
    });
  }
}

/// Slot i of the first shelf's list leads to an object whose value is i modulo kSlots. A second
/// shelf has the same pointers, but nobody corrects them when a target is erased.
class ComeAndGo {
 public:
  static constexpr std::size_t kSlots = 12;
  struct Hub {
    std::array<ptr<Cell>, kSlots> exact;
    std::array<ptr<Cell>, kSlots> stale;
  };

  explicit ComeAndGo(Space& space) : space_(space), hub_(space.create<Hub>("hub").value()) {
    for (std::size_t slot = 0; slot < kSlots; ++slot) replace(slot, slot);
  }

  /// A new target for a slot; the former one is erased.
  void replace(std::size_t slot, std::uint64_t value) {
    const auto done = space_.transact(any, [&]() -> Result<void> {
      auto hub = space_.edit(hub_);
      const link<Cell> former(hub->exact[slot]);
      DOLMEN_TRY(const auto cell, space_.create<Cell>({.capacity = 512}));
      space_.edit(cell)->value = value;
      hub->exact[slot] = ptr_to(*space_.root(cell));
      hub->stale[(slot + value) % kSlots] = hub->exact[slot];
      if (former) DOLMEN_CHECK(space_.erase(former.object()));
      return {};
    });
    ASSERT_TRUE(done) << done.error().message();
  }
  void check_all() {
    const auto read = space_.read(everything, [&] {
      const auto hub = space_.root(hub_);
      for (std::size_t i = 0; i < kSlots; ++i) EXPECT_EQ(hub->exact[i]->value % kSlots, i);
    });
    EXPECT_TRUE(read) << read.error().message();
  }
  void check_stale(std::size_t slot) {
    const auto read =
        space_.transact(any, [&] { return space_.root(hub_)->stale[slot]->value % kSlots; });
    if (!read) {
      EXPECT_TRUE(read.error().code() == Errc::deleted || read.error().code() == Errc::null_pointer)
          << read.error().message();
    }
  }
  void check_view() {
    const auto view = space_.view(ReadOptions{.level = Level::visible});
    ASSERT_TRUE(view) << view.error().message();
    const Hub& hub = *(*view)[hub_];
    std::array<std::uint64_t, kSlots> values{};
    for (int twice = 0; twice < 2; ++twice) {
      for (std::size_t i = 0; i < kSlots; ++i) {
        const std::uint64_t value = hub.exact[i]->value;
        EXPECT_EQ(value % kSlots, i);
        if (twice == 0) values[i] = value;
        EXPECT_EQ(value, values[i]);
      }
    }
  }

 private:
  Space& space_;
  Object<Hub> hub_;
};

TEST(ObjectLifetime, ObjectsComeAndGoWhileOthersFollowPointersToThem) {
  constexpr int kRounds = 60;
  const TestDirectory directory;
  auto space = open_test_space(directory);
  ComeAndGo world(space);
  std::atomic<int> writers{2};
  std::vector<std::jthread> threads;
  const auto while_writing = [&](auto body) {
    threads.emplace_back([&writers, body]() mutable {
      while (writers.load(std::memory_order_relaxed) > 0) body();
      body();
    });
  };
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      base::Random random(static_cast<std::uint64_t>(t) + 1);
      for (int i = 0; i < kRounds; ++i) {
        const std::size_t slot = random.below(ComeAndGo::kSlots);
        world.replace(slot, slot + ComeAndGo::kSlots * random.below(1000));
      }
      writers.fetch_sub(1, std::memory_order_relaxed);
    });
  }
  while_writing([&] { world.check_all(); });
  while_writing([&] { world.check_view(); });
  while_writing([&] { world.check_view(); });
  while_writing([&, random = base::Random(9)]() mutable {
    world.check_stale(random.below(ComeAndGo::kSlots));
  });
  while_writing([&] { EXPECT_TRUE(space.checkpoint()); });
}

struct Numbers {
  vector<std::uint64_t> list;
};

TEST(ObjectLifetime, AViewReadsAnErasedObjectsPagesAfterACheckpoint) {
  constexpr std::uint64_t kCount = 100'000;
  const TestDirectory directory;
  Object<Numbers> numbers;
  {
    auto space = open_test_space(directory);
    numbers = space.create<Numbers>("numbers").value();
    space
        .transact(numbers,
                  [](mut<Numbers> n) {
                    for (std::uint64_t i = 0; i < kCount; ++i) n->list.push_back(i);
                  })
        .value();
    ASSERT_TRUE(space.checkpoint());
    ASSERT_TRUE(space.close());
  }
  auto space = open_test_space(directory);
  const auto view = space.view().value();
  ASSERT_TRUE(space.erase(numbers));
  ASSERT_TRUE(space.checkpoint());
  const auto& list = view[numbers]->list;
  ASSERT_EQ(list.size(), kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(list[i], i);
}

TEST(ObjectLifetime, AResizeOfAnObjectOfTheRecoveredLogIsInTheNextCheckpoint) {
  constexpr std::uint64_t kCount = 10'000;
  const TestDirectory directory;
  Object<Numbers> numbers;
  {
    auto space = open_test_space(directory, {.background = false});
    numbers = space.create<Numbers>("numbers", {.capacity = 4096}).value();
    ASSERT_TRUE(space.close());
  }
  {
    auto space = open_test_space(directory, {.background = false});
    ASSERT_TRUE(space.resize(numbers.id(), 1u << 20));
    space
        .transact(numbers,
                  [](mut<Numbers> n) {
                    for (std::uint64_t i = 0; i < kCount; ++i) n->list.push_back(i);
                  })
        .value();
    ASSERT_TRUE(space.checkpoint());
    ASSERT_TRUE(space.close());
  }
  auto space = open_test_space(directory);
  const auto view = space.view().value();
  const auto& list = view[numbers]->list;
  ASSERT_EQ(list.size(), kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(list[i], i);
}

struct Fan {
  vector<ptr<Cell>> targets;
};

TEST(ObjectLifetime, AnAbortForgetsWhereReusedTableIndicesLed) {
  constexpr std::size_t kTargets = 256;  // the table of foreign objects is looked through when full
  const TestDirectory directory;
  auto space = open_test_space(directory);
  const auto fan = space.create<Fan>("fan").value();
  std::vector<Object<Cell>> cells;
  const auto point_at = [&](std::size_t slot, std::size_t cell) {
    space.edit(fan)->targets[slot] = ptr_to(*space.root(cells[cell]));
  };
  const auto made = space.transact(any, [&] {
    space.edit(fan)->targets.resize(kTargets);
    for (std::size_t i = 0; i < kTargets + 2; ++i) {
      cells.push_back(space.create<Cell>({.capacity = 512}).value());
      space.edit(cells[i])->value = i;
    }
    for (std::size_t i = 0; i < kTargets; ++i) point_at(i, i);
  });
  ASSERT_TRUE(made) << made.error().message();
  const auto all_lead_home = [&] {
    const auto read = space.read(everything, [&] {
      for (std::size_t i = 0; i < kTargets; ++i) {
        EXPECT_EQ(space.root(fan)->targets[i]->value, i);
      }
    });
    EXPECT_TRUE(read) << read.error().message();
  };
  all_lead_home();
  const auto aborted = space.transact(any, [&]() -> Result<void> {
    space.edit(fan)->targets[10] = nullptr;
    point_at(11, kTargets);      // gives back the index of the pointer that is gone
    point_at(12, kTargets + 1);  // and reuses it
    return fail(Errc::aborted);
  });
  ASSERT_FALSE(aborted);
  EXPECT_EQ(aborted.error().code(), Errc::aborted) << aborted.error().message();
  all_lead_home();
}

bool moody = false;
std::uint64_t mood() {
  if (moody) throw std::runtime_error("not in the mood");
  return 7;
}
struct Moody {
  std::uint64_t value = mood();
};

TEST(ObjectLifetime, AnObjectWhoseConstructorThrewIsNeverThereNorIsItsName) {
  const TestDirectory directory;
  auto space = open_test_space(directory);
  const auto shelf = space.create<Shelf>({.capacity = 4096}).value();
  moody = true;
  EXPECT_THROW((void)space.create<Moody>("moody", {.capacity = 4096}), std::runtime_error);
  const auto swallowed = space.transact(shelf, [&](mut<Shelf>) {
    try {
      (void)space.create<Moody>("moody", {.capacity = 4096});
    } catch (const std::runtime_error&) {  // NOLINT(bugprone-empty-catch): what is tested
    }
  });
  moody = false;
  ASSERT_FALSE(swallowed) << "half an object was committed";
  EXPECT_EQ(swallowed.error().code(), Errc::aborted);
  EXPECT_EQ(space.find<Moody>("moody").error().code(), Errc::not_found);
  EXPECT_TRUE(space.create<Moody>("moody", {.capacity = 4096}));
}

class OneIdForAll final : public sys::Entropy {
 public:
  void fill(base::MutableBytes out) noexcept override { std::ranges::fill(out, std::byte{7}); }
};

TEST(ObjectLifetime, AnObjectThatCannotBeMadeLeavesNoNameBehind) {
  const sim::SimEnv world(1, *sys::linux_env().memory);
  sim::SimDisk disk(1);
  OneIdForAll entropy;
  sys::Env env = world.env();
  env.entropy = &entropy;
  auto space = open_space(env, std::make_unique<sys::BorrowedDisk>(disk), {.background = false},
                          env.memory->best_driver())
                   .value();
  ASSERT_TRUE(space.create<Shelf>("one", {.capacity = 4096}));
  const auto done = space.transact(any, [&] {
    EXPECT_EQ(space.create<Shelf>("two", {.capacity = 4096}).error().code(), Errc::already_exists);
  });
  EXPECT_TRUE(done);
  EXPECT_EQ(space.find<Shelf>("two").error().code(), Errc::not_found);
}

}  // namespace
}  // namespace dolmen::node
