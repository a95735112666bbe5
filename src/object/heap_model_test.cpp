// SPDX-License-Identifier: Apache-2.0
//
// The heap against a map of what it should hold, in every capacity class.
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "object/heap_fixture.hpp"

namespace dolmen::object {
namespace {

using test::CheckedLog;
using test::FrugalLog;
using test::NoLog;
using test::ObjectMemory;
using test::seed_of;

struct Expected {
  Allocation allocation;
  std::byte fill{};
};

/// Random allocations and frees; every answer is compared with the model.
class Model {
 public:
  Model(std::byte* base, unsigned capacity_log2, WriteLog& log, std::uint64_t seed)
      : heap_(base, capacity_log2, log), random_(seed) {}

  void step(std::uint32_t largest_log2) {
    if (!live_.empty() && random_.chance(growing_ ? 2 : 3, 5)) {
      free_one();
    } else {
      allocate_one(largest_log2);
    }
    if (random_.chance(1, 300)) growing_ = !growing_;
  }

  void free_all() {
    while (!live_.empty()) free_one();
  }

  void free_one() {
    auto it = live_.lower_bound(static_cast<std::uint32_t>(random_.below(heap_.capacity())));
    if (it == live_.end()) it = live_.begin();
    expect_contents(it->second);
    const auto freed = heap_.deallocate(it->first);
    ASSERT_TRUE(freed.has_value()) << freed.error().message();
    EXPECT_EQ(heap_.usable(it->first), 0u);
    live_.erase(it);
  }

  void allocate_one(std::uint32_t largest_log2) {
    const auto tag = static_cast<std::uint32_t>(16 + random_.below(4));
    // Sizes spread over magnitudes; few kinds, so that slots are shared.
    std::uint32_t element = static_cast<std::uint32_t>(8 * (1 + random_.below(16)));
    if (random_.chance(1, 4)) element = static_cast<std::uint32_t>(1 + random_.below(300));
    std::uint64_t count = 1;
    if (random_.chance(1, 3))
      count = 1 + random_.below(std::uint64_t{1} << random_.below(largest_log2));
    const auto result = heap_.allocate(tag, element, count);
    if (!result) {
      ASSERT_EQ(result.error().code(), Errc::object_full) << result.error().message();
      ++full_;
      growing_ = false;
      return;
    }
    const std::uint32_t offset = *result;
    const auto found = heap_.at(offset);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->offset, offset);
    EXPECT_EQ(found->type_tag, tag);
    EXPECT_EQ(found->element_bytes, element);
    EXPECT_EQ(found->is_array, count > 1);
    EXPECT_GE(found->count, count);
    EXPECT_EQ(found->bytes, count > 1 ? allocation_bytes(element * count) : (element + 7u) / 8 * 8);
    EXPECT_EQ(heap_.usable(offset), found->bytes);
    const std::uint32_t alignment = std::min(16u, element & (0u - element));
    EXPECT_EQ(offset % std::max(alignment, 8u), 0u);
    EXPECT_GE(offset, sizeof(ObjectHeader));
    ASSERT_LE(std::uint64_t{offset} + found->bytes, heap_.capacity());
    auto next = live_.lower_bound(offset);
    if (next != live_.end()) {
      ASSERT_LE(offset + found->bytes, next->first) << "overlap";
    }
    if (next != live_.begin()) {
      const Allocation& before = std::prev(next)->second.allocation;
      ASSERT_LE(before.offset + before.bytes, offset) << "overlap";
    }
    std::byte* memory = heap_.writable() + offset;
    EXPECT_TRUE(
        std::all_of(memory, memory + found->bytes, [](std::byte b) { return b == std::byte{0}; }));
    const Expected expected{*found, static_cast<std::byte>(1 + random_.below(255))};
    heap_.log().log_fresh(memory, found->bytes);
    std::memset(memory, static_cast<int>(expected.fill), found->bytes);
    live_.emplace(offset, expected);
  }

  void expect_contents(const Expected& e) {
    const std::byte* memory = heap_.base() + e.allocation.offset;
    EXPECT_TRUE(
        std::all_of(memory, memory + e.allocation.bytes, [&](std::byte b) { return b == e.fill; }))
        << "allocation at " << e.allocation.offset;
  }

  void check(bool every_byte) {
    const auto verified = heap_.verify();
    ASSERT_TRUE(verified.has_value()) << verified.error().message();
    std::vector<Allocation> seen;
    ASSERT_TRUE(heap_
                    .for_each_allocation([&](const Allocation& a) {
                      if (a.type_tag >= kFirstUserTag) seen.push_back(a);
                    })
                    .has_value());
    std::ranges::sort(seen, {}, &Allocation::offset);
    ASSERT_EQ(seen.size(), live_.size());
    auto s = seen.begin();
    for (const auto& [offset, expected] : live_) {
      ASSERT_EQ(*s++, expected.allocation);
      expect_contents(expected);
    }
    const auto stats = heap_.stats();
    ASSERT_TRUE(stats.has_value());
    EXPECT_GE(stats->allocations, live_.size());
    EXPECT_LE(stats->allocated_bytes, stats->run_bytes);
    EXPECT_LE(stats->run_bytes + stats->free_extent_bytes + stats->untouched_bytes,
              heap_.capacity());
    if (every_byte) {
      for (std::uint32_t offset = 0; offset < heap_.capacity(); ++offset) expect_at(offset);
    } else {
      for (int i = 0; i < 500; ++i) {
        expect_at(static_cast<std::uint32_t>(random_.below(heap_.capacity())));
      }
      for (const auto& [offset, expected] : live_) {
        expect_at(offset + static_cast<std::uint32_t>(random_.below(expected.allocation.bytes)));
        expect_at(offset - 1);
        expect_at(offset + expected.allocation.bytes);
      }
    }
  }

  void expect_at(std::uint32_t offset) {
    auto found = heap_.at(offset);
    if (found && found->type_tag < kFirstUserTag) found.reset();  // the heap's own tables
    auto next = live_.upper_bound(offset);
    std::optional<Allocation> expected;
    if (next != live_.begin()) {
      const Allocation& a = std::prev(next)->second.allocation;
      if (offset < a.offset + a.bytes) expected = a;
    }
    ASSERT_EQ(found, expected) << "at " << offset;
  }

  [[nodiscard]] Heap& heap() { return heap_; }
  [[nodiscard]] std::map<std::uint32_t, Expected>& live() { return live_; }
  [[nodiscard]] base::Random& random() { return random_; }
  [[nodiscard]] std::uint64_t full() const { return full_; }

 private:
  Heap heap_;
  base::Random random_;
  std::map<std::uint32_t, Expected> live_;
  bool growing_ = true;
  std::uint64_t full_ = 0;
};

class HeapModelTest : public testing::TestWithParam<unsigned> {};

TEST_P(HeapModelTest, AgreesWithAMapOfWhatItHolds) {
  const unsigned log2 = GetParam();
  ObjectMemory memory(log2);
  NoLog log;
  Heap::format(memory.base(), log2, seed_of(log2), log);
  Model model(memory.base(), log2, log, log2);
  const std::uint32_t largest = std::min(log2 - 5, 13u);
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 400; ++i) {
      ASSERT_NO_FATAL_FAILURE(model.step(largest));
    }
    ASSERT_NO_FATAL_FAILURE(model.check(log2 <= 16 && round % 4 == 0));
  }
  if (log2 <= 14) {
    EXPECT_GT(model.full(), 0u) << "small objects were filled up";
  }
  ASSERT_NO_FATAL_FAILURE(model.free_all());
  ASSERT_NO_FATAL_FAILURE(model.check(false));
}

class HeapResizeTest : public testing::TestWithParam<unsigned> {};

TEST_P(HeapResizeTest, ResizesInBothDirectionsWithoutMovingAnything) {
  const unsigned log2 = GetParam();
  ObjectMemory memory(24);
  NoLog log;
  Heap::format(memory.base(), log2, seed_of(log2), log);
  Model model(memory.base(), log2, log, log2 + 100);
  unsigned now = log2;
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 60; ++i) {
      ASSERT_NO_FATAL_FAILURE(model.step(std::min(now - 5, 11u)));
    }
    const auto wanted = static_cast<unsigned>(model.random().between(9, 22));
    if (round % 5 == 4) {
      while (model.live().size() > 3) ASSERT_NO_FATAL_FAILURE(model.free_one());
    }
    const std::size_t kept = std::size_t{1} << now;
    if (wanted > now) std::memset(memory.base() + kept, 0, (std::size_t{1} << 24) - kept);
    const auto resized = model.heap().resize_capacity(wanted);
    if (resized) {
      now = wanted;
    } else {
      ASSERT_EQ(resized.error().code(), Errc::object_full) << resized.error().message();
      ASSERT_LT(wanted, now) << "growing always works";
    }
    EXPECT_EQ(model.heap().capacity_log2(), now);
    EXPECT_EQ(load_header(memory.base()).capacity_log2, now);
    ASSERT_NO_FATAL_FAILURE(model.check(false)) << round;
  }
}

INSTANTIATE_TEST_SUITE_P(AllClasses, HeapModelTest, testing::Range(9u, 31u));
INSTANTIATE_TEST_SUITE_P(Classes, HeapResizeTest, testing::Range(9u, 21u));

class HeapLogTest : public testing::TestWithParam<unsigned> {};

TEST_P(HeapLogTest, LogsEveryByteBeforeItChangesAndAbortsExactly) {
  const unsigned log2 = GetParam();
  ObjectMemory memory(log2);
  CheckedLog log(memory.base(), std::size_t{1} << log2);
  Heap::format(memory.base(), log2, seed_of(log2), log);
  log.commit();
  Model model(memory.base(), log2, log, log2 + 7);
  for (int round = 0; round < 40; ++round) {
    const auto before = model.live();
    const auto steps = model.random().between(1, 60);
    for (std::uint64_t i = 0; i < steps; ++i) {
      ASSERT_NO_FATAL_FAILURE(model.step(std::min(log2 - 5, 10u)));
    }
    if (model.random().chance(1, 2)) {
      ASSERT_NO_FATAL_FAILURE(log.commit());
    } else {
      ASSERT_NO_FATAL_FAILURE(log.expect_complete());
      ASSERT_NO_FATAL_FAILURE(log.abort());
      model.live() = before;
    }
    if (round % 8 == 0) {
      ASSERT_NO_FATAL_FAILURE(model.check(false));
    }
  }
}

TEST_P(HeapLogTest, AbortsWithoutThePreImagesOfFreeMemory) {
  const unsigned log2 = GetParam();
  ObjectMemory memory(log2);
  FrugalLog log;
  Heap::format(memory.base(), log2, seed_of(log2), log);
  log.commit();
  Model model(memory.base(), log2, log, log2 + 11);
  for (int round = 0; round < 60; ++round) {
    const auto before = model.live();
    const auto steps = model.random().between(1, 60);
    for (std::uint64_t i = 0; i < steps; ++i) {
      ASSERT_NO_FATAL_FAILURE(model.step(std::min(log2 - 5, 10u)));
    }
    if (model.random().chance(1, 2)) {
      log.commit();
    } else {
      log.abort();
      model.live() = before;
    }
    ASSERT_NO_FATAL_FAILURE(model.check(false)) << "round " << round;
  }
}

TEST_P(HeapLogTest, LogsAResize) {
  const unsigned log2 = GetParam();
  ObjectMemory memory(log2 + 1);
  CheckedLog log(memory.base(), std::size_t{2} << log2);
  Heap::format(memory.base(), log2, seed_of(log2), log);
  Model model(memory.base(), log2, log, log2 + 9);
  for (int i = 0; i < 50; ++i) {
    ASSERT_NO_FATAL_FAILURE(model.step(4));
  }
  ASSERT_NO_FATAL_FAILURE(log.commit());
  ASSERT_TRUE(model.heap().resize_capacity(log2 + 1).has_value());
  ASSERT_NO_FATAL_FAILURE(log.expect_complete());
  ASSERT_NO_FATAL_FAILURE(model.check(false));
  ASSERT_NO_FATAL_FAILURE(log.abort());
  Heap again(memory.base(), log2, log);
  EXPECT_TRUE(again.verify().has_value());
  ASSERT_TRUE(again.resize_capacity(log2 + 1).has_value());
  ASSERT_NO_FATAL_FAILURE(log.commit());
  const auto back = again.resize_capacity(log2);
  if (!back) {
    EXPECT_EQ(back.error().code(), Errc::object_full);
  }
  ASSERT_NO_FATAL_FAILURE(log.expect_complete());
}

INSTANTIATE_TEST_SUITE_P(SmallClasses, HeapLogTest,
                         testing::Values(9u, 10u, 12u, 13u, 14u, 16u, 18u, 20u));

}  // namespace
}  // namespace dolmen::object
