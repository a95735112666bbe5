// SPDX-License-Identifier: Apache-2.0
//
// The short way through a read section: a thread that has read an object thousands of times goes
// it. All that a section promises holds there, too, and whatever is unusual leads back to the long
// way.
#include <array>
#include <atomic>
#include <expected>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <pthread.h>

#include <gtest/gtest.h>

#include "base/sanitizers.hpp"
#include "node/space_fixture.hpp"
#include "node/test_steps.hpp"
#include "sys/linux/linux.hpp"
#include "txn/locks.hpp"

namespace dolmen::node {
namespace {

struct Other {
  std::uint64_t value;
  std::uint64_t more;
};

class KnownRead : public testing::Test {
 protected:
  void SetUp() override {
    if (!sys::linux_env().process->fence_threads()) {
      GTEST_SKIP() << "this system has no membarrier: there is no short way";
    }
    ASSERT_TRUE(space.transact(shelf, [&](mut<Shelf> s) {
      s->value = 7;
      s->first = make<Cell>(s);
    }));
    get_known(shelf);
  }
  /// Reads the object until its readers go the short way.
  void get_known(const Object<Shelf>& object) {
    const std::uint64_t before = ways;
    for (std::uint32_t i = 0; ways < before + 2; ++i) {
      ASSERT_LT(i, 4 * txn::LockTable::kBiasReads) << "never got known";
      ASSERT_TRUE(space.read(object, [](ref<Shelf>) {}));
    }
  }
  /// Runs `function` and says how many sections in it went the short way.
  template <class Function>
  std::uint64_t short_ways(Function&& function) {
    const std::uint64_t before = ways;
    function();
    return ways - before;
  }

  Steps steps;
  const std::atomic<std::uint64_t>& ways = steps.count("txn.known_read");
  TestDirectory directory;
  Space space = open_test_space(directory);
  Object<Shelf> shelf = space.create<Shelf>({.capacity = 4096}).value();
};

TEST_F(KnownRead, GivesWhatTheBodyReturns) {
  EXPECT_EQ(short_ways([&] {
              EXPECT_EQ(space.read(shelf, [](ref<Shelf> s) { return s->value; }).value(), 7u);
              EXPECT_TRUE(space.read(shelf, [](ref<Shelf>) {}));
              const auto refused = space.read(
                  shelf, [](ref<Shelf>) -> Result<int> { return fail(Errc::limit, "mine", 5); });
              ASSERT_FALSE(refused);
              EXPECT_EQ(refused.error().code(), Errc::limit);
              EXPECT_EQ(space.read(shelf, [](ref<Shelf>) -> Result<int> { return 3; }).value(), 3);
              EXPECT_TRUE(space.read(shelf, [](ref<Shelf>) -> Result<void> { return {}; }));
            }),
            5u);
}

TEST_F(KnownRead, TakesTheBodiesThatTheLongWayTakes) {
  // An expected of its own, which is a value; a value that is only moved; a root that is only
  // moved.
  EXPECT_EQ(short_ways([&] {
              const auto own = space.read(
                  shelf, [](ref<Shelf>) -> std::expected<int, int> { return std::unexpected(4); });
              ASSERT_TRUE(own);
              EXPECT_EQ(own->error(), 4);
              EXPECT_EQ(**space.read(shelf, [](ref<Shelf>) { return std::make_unique<int>(3); }),
                        3);
              EXPECT_EQ(space.read(shelf, [](ref<Shelf>&& s) { return s->value; }).value(), 7u);
            }),
            3u);
}

TEST_F(KnownRead, AnAccessErrorOfTheBodyIsTheResult) {
  EXPECT_EQ(short_ways([&] {
              const auto read = space.read(shelf, [](ref<Shelf> s) { return s->second->value; });
              ASSERT_FALSE(read);
              EXPECT_EQ(read.error().code(), Errc::null_pointer);
            }),
            1u);
}

TEST_F(KnownRead, AnotherExceptionPassesAndLeavesTheObjectToWriters) {
  EXPECT_EQ(short_ways([&] {
              EXPECT_THROW(
                  (void)space.read(shelf, [](ref<Shelf>) { throw std::runtime_error("mine"); }),
                  std::runtime_error);
            }),
            1u);
  EXPECT_TRUE(space.transact(shelf, [](mut<Shelf> s) { s->value = 8; }));
  EXPECT_EQ(space.read(shelf, [](ref<Shelf> s) { return s->value; }).value(), 8u);
}

TEST_F(KnownRead, SectionsInsideObeyTheRulesOfNesting) {
  const auto other = space.create<Shelf>({.capacity = 4096}).value();
  get_known(other);
  get_known(shelf);
  EXPECT_EQ(short_ways([&] {
              const auto outer = space.read(shelf, [&](ref<Shelf> s) {
                EXPECT_EQ(space.read(shelf, [](ref<Shelf> again) { return again->value; }).value(),
                          s->value);
                EXPECT_EQ(space.read(other, [](ref<Shelf>) {}).error().code(), Errc::nested);
                EXPECT_EQ(space.transact(shelf, [](mut<Shelf>) {}).error().code(),
                          Errc::would_deadlock);
                EXPECT_EQ(space.root(shelf)->value, s->value);
                EXPECT_THROW((void)space.root(other), AccessError);
              });
              EXPECT_TRUE(outer);
            }),
            1u);
  EXPECT_EQ(short_ways([&] {
              EXPECT_TRUE(space.transact(shelf, [&](mut<Shelf> s) {
                s->value = 9;
                EXPECT_EQ(space.read(shelf, [](ref<Shelf> own) { return own->value; }).value(), 9u);
              }));
            }),
            0u);
}

TEST_F(KnownRead, ADifferentTypeIsRefusedAsEver) {
  const Object<Other> wrong(shelf.id());
  for (int round = 0; round < 2; ++round) {
    const auto read = space.read(wrong, [](ref<Other>) {});
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), Errc::layout_changed);
    EXPECT_EQ(space.read(shelf, [](ref<Shelf> s) { return s->value; }).value(), 7u);
  }
}

TEST_F(KnownRead, AnErasedObjectIsNotFound) {
  ASSERT_TRUE(space.erase(shelf));
  EXPECT_EQ(short_ways([&] {
              const auto read = space.read(shelf, [](ref<Shelf>) {});
              ASSERT_FALSE(read);
              EXPECT_EQ(read.error().code(), Errc::not_found);
            }),
            0u);
}

TEST_F(KnownRead, AResizedObjectIsReadAtItsNewPlace) {
  ASSERT_TRUE(space.resize(shelf.id(), 1 << 20));
  EXPECT_EQ(space.read(shelf, [](ref<Shelf> s) { return s->value; }).value(), 7u);
  get_known(shelf);
  EXPECT_EQ(space.read(shelf, [](ref<Shelf> s) { return s->value; }).value(), 7u);
}

TEST_F(KnownRead, AClosedSpaceIsNotRead) {
  ASSERT_TRUE(space.close());
  EXPECT_EQ(short_ways([&] {
              const auto read = space.read(shelf, [](ref<Shelf>) {});
              ASSERT_FALSE(read);
              EXPECT_EQ(read.error().code(), Errc::closed);
            }),
            0u);
}

TEST_F(KnownRead, AnotherSpaceWithTheSameObjectIsNotMistaken) {
  ASSERT_TRUE(space.close());
  auto again = open_test_space(directory);
  ASSERT_TRUE(again.transact(shelf, [](mut<Shelf> s) { s->value = 8; }));
  EXPECT_EQ(again.read(shelf, [](ref<Shelf> s) { return s->value; }).value(), 8u);
  ASSERT_TRUE(again.close());
}

TEST_F(KnownRead, AThreadThatEndsInsideLeavesTheObjectToWriters) {
  std::function<void()> end_inside = [&] {
    get_known(shelf);
    (void)space.read(shelf, [](ref<Shelf>) { ::pthread_exit(nullptr); });
  };
  const auto run = [](void* function) -> void* {
    (*static_cast<std::function<void()>*>(function))();
    return function;
  };
  EXPECT_EQ(short_ways([&] {
              pthread_t thread;
              ASSERT_EQ(::pthread_create(&thread, nullptr, run, &end_inside), 0);
              void* returned = this;
              ASSERT_EQ(::pthread_join(thread, &returned), 0);
              EXPECT_EQ(returned, nullptr);
            }),
            3u);
  EXPECT_TRUE(space.transact(shelf, [](mut<Shelf> s) { s->value = 8; }));
}

// Objects that come and go in the slots of others, while threads that know the former ones go on.
TEST_F(KnownRead, NeverShowsAnotherObjectInTheSamePlace) {
  constexpr std::uint64_t kRounds = base::kSanitized ? 12 : 30;
  struct Shown {
    Object<Shelf> object;
    std::uint64_t value;
  };
  const auto make = [&](std::uint64_t value) {
    const auto object = space.create<Shelf>({.capacity = 4096}).value();
    EXPECT_TRUE(space.transact(TransactOptions{.durability = Durability::deferred}, object,
                               [&](mut<Shelf> s) { s->value = value; }));
    return Shown{object, value};
  };
  std::array<Shown, kRounds + 1> shown;
  shown[0] = make(100);
  std::atomic<std::uint64_t> newest{0};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<bool> stop{false};
  std::vector<std::jthread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      for (std::uint64_t at = 0; !stop.load(std::memory_order_relaxed);) {
        const auto value = space.read(ReadOptions{Level::visible}, shown[at].object,
                                      [](ref<Shelf> s) { return s->value; });
        if (value ? *value != shown[at].value : value.error().code() != Errc::not_found) ++wrong;
        if (!value) at = newest.load(std::memory_order_acquire);
      }
    });
  }
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    const std::uint64_t until = ways + 2000;
    while (ways < until) std::this_thread::yield();
    const Object<Shelf> former = shown[round - 1].object;
    if (round % 3 == 0) {  // its image goes, it does not
      EXPECT_TRUE(space.resize(former.id(), round % 2 == 0 ? 4096 : 8192));
      shown[round] = shown[round - 1];
    } else {
      EXPECT_TRUE(space.erase(former));
      shown[round] = make(100 + round);
    }
    newest.store(round, std::memory_order_release);
  }
  stop = true;
  readers.clear();
  EXPECT_EQ(wrong, 0u);
}

TEST_F(KnownRead, NeverShowsHalfAChange) {
  constexpr std::uint64_t kRounds = 60;
  const std::uint64_t before = ways;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> torn{0};
  std::vector<std::jthread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        const auto halves =
            space.read(shelf, [](ref<Shelf> s) { return std::pair(s->value, s->first->value); });
        if (!halves || halves->first != halves->second + 7) torn.fetch_add(1);
        reads.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::uint64_t round = 1; round <= kRounds; ++round) {
    // Long enough for readers to get to the short way again.
    const std::uint64_t until = reads + 2 * txn::LockTable::kBiasReads;
    while (reads < until) std::this_thread::yield();
    EXPECT_TRUE(space.transact(TransactOptions{.durability = Durability::deferred}, shelf,
                               [&](mut<Shelf> s) {
                                 s->value = round + 7;
                                 std::atomic_signal_fence(std::memory_order_seq_cst);
                                 edit(s->first)->value = round;
                               }));
  }
  stop = true;
  readers.clear();
  EXPECT_EQ(torn, 0u);
  EXPECT_GT(ways, before);
}

}  // namespace
}  // namespace dolmen::node
