// SPDX-License-Identifier: Apache-2.0
#include "object/fot.hpp"

#include <map>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/detail/arena.hpp>

#include "base/random.hpp"
#include "object/heap_fixture.hpp"

namespace dolmen::object {
namespace {

using test::CheckedLog;
using test::NoLog;
using test::ObjectMemory;
using test::seed_of;

/// Bits of a pointer to offset 64 of foreign index `index`.
std::uint64_t foreign(std::uint64_t index) {
  return detail::kForeignTag | index << detail::kOffsetBits | 64;
}

ObjectId id_of(std::uint64_t n) { return ObjectId{n * 77 + 1, 5}; }

/// Tag 20: {u64, pointer}. Tag 21: no pointers. Others are unknown.
class TwoTypes final : public PointerLayout {
 public:
  std::optional<std::span<const std::uint32_t>> pointer_offsets(std::uint32_t tag) override {
    static constexpr std::uint32_t kOffsets[] = {8};
    if (tag == 20) return std::span<const std::uint32_t>(kOffsets);
    if (tag == 21) return std::span<const std::uint32_t>();
    return {};
  }
};

struct Object {
  explicit Object(unsigned log2) : memory(log2), heap(memory.base(), log2, log) {
    Heap::format(memory.base(), log2, seed_of(3), log);
  }
  std::uint32_t insert(std::uint64_t n) {
    const auto result = fot_find_or_insert(heap, index, id_of(n));
    EXPECT_TRUE(result.has_value()) << result.error().message();
    return result ? result->index : 0;
  }
  void store(std::uint32_t offset, std::uint64_t bits) {
    std::memcpy(memory.base() + offset, &bits, sizeof bits);
  }

  NoLog log;
  ObjectMemory memory;
  Heap heap;
  FotIndex index;
};

TEST(FotTest, GivesEachTargetOneIndexAndKeepsIt) {
  Object object(22);
  for (std::uint64_t n = 1; n <= 5000; ++n) {
    const auto result = fot_find_or_insert(object.heap, object.index, id_of(n));
    ASSERT_TRUE(result.has_value());
    ASSERT_EQ(result->index, n);
    ASSERT_TRUE(result->inserted);
    const std::uint64_t earlier = 1 + n * 31 % n;
    const auto again = fot_find_or_insert(object.heap, object.index, id_of(earlier));
    ASSERT_TRUE(again.has_value());
    ASSERT_EQ(again->index, earlier);
    ASSERT_FALSE(again->inserted);
  }
  EXPECT_EQ(fot_count(object.heap), 5000u);
  for (std::uint64_t n = 1; n <= 5000; ++n) ASSERT_EQ(fot_entry(object.heap, n), id_of(n));
  EXPECT_EQ(fot_entry(object.heap, 0), std::nullopt);
  EXPECT_EQ(fot_entry(object.heap, 5001), std::nullopt);
  EXPECT_EQ(fot_entry(object.heap, ~std::uint64_t{0}), std::nullopt);
  FotIndex fresh;
  EXPECT_EQ(fot_find_or_insert(object.heap, fresh, id_of(4321))->index, 4321u);
  EXPECT_TRUE(object.heap.verify().has_value());
}

TEST(FotTest, RefusesTheNullIdAndSaysWhenTheObjectIsFull) {
  Object object(9);
  EXPECT_EQ(fot_find_or_insert(object.heap, object.index, ObjectId{}).error().code(),
            Errc::invalid_argument);
  Result<FotInsertion> result;
  std::uint64_t n = 0;
  do {
    result = fot_find_or_insert(object.heap, object.index, id_of(++n));
  } while (result);
  EXPECT_EQ(result.error().code(), Errc::object_full);
  EXPECT_EQ(n, 5u) << "four entries fit beside the copy that growing needs";
  EXPECT_EQ(object.insert(3), 3u);
  EXPECT_TRUE(object.heap.verify().has_value());
}

TEST(FotTest, SurvivesAbortsWithoutRepair) {
  ObjectMemory memory(18);
  CheckedLog log(memory.base(), std::size_t{1} << 18);
  Heap::format(memory.base(), 18, seed_of(3), log);
  log.commit();
  Heap heap(memory.base(), 18, log);
  FotIndex index;
  base::Random random(9);
  std::map<std::uint64_t, std::uint32_t> expected;
  for (int round = 0; round < 60; ++round) {
    auto draft = expected;
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t n = random.below(600);
      const auto result = fot_find_or_insert(heap, index, id_of(n));
      ASSERT_TRUE(result.has_value());
      const auto [known, is_new] = draft.try_emplace(n, result->index);
      ASSERT_EQ(is_new, result->inserted) << "round " << round;
      ASSERT_EQ(known->second, result->index);
    }
    if (random.chance(1, 4)) {
      std::vector<bool> used(fot_count(heap) + 1);
      for (auto it = draft.begin(); it != draft.end();) {
        if (random.chance(1, 5)) {
          it = draft.erase(it);
        } else {
          used[(it++)->second] = true;
        }
      }
      ASSERT_TRUE(fot_reclaim(heap, index, used).has_value());
    }
    if (random.chance(1, 2)) {
      ASSERT_NO_FATAL_FAILURE(log.commit());
      expected = draft;
    } else {
      ASSERT_NO_FATAL_FAILURE(log.abort());
    }
    for (const auto& [n, i] : expected) ASSERT_EQ(fot_entry(heap, i), id_of(n));
  }
}

TEST(FotTest, FreesUnmarkedEntriesAndReusesThemOnlyWhenReleased) {
  for (const std::uint32_t entries : {6u, 100u}) {
    Object object(18);
    for (std::uint64_t n = 1; n <= entries; ++n) object.insert(n);
    const std::uint32_t array = object.heap.allocate(20, 16, 4).value();
    object.store(array + 8, foreign(2));
    object.store(array + 24, foreign(5));
    object.store(array + 40, 128);  // into this object: index 0
    const std::uint32_t plain = object.heap.allocate(21, 16).value();
    object.store(plain + 8, foreign(3));  // no pointer
    TwoTypes types;
    const auto used = fot_mark(object.heap, types);
    ASSERT_TRUE(used.has_value());
    const auto freed = fot_reclaim(object.heap, object.index, *used);
    ASSERT_TRUE(freed.has_value());
    EXPECT_EQ(freed->size(), entries - 2);
    EXPECT_EQ(fot_entry(object.heap, 3), std::nullopt);
    EXPECT_EQ(fot_entry(object.heap, 5), id_of(5));
    EXPECT_EQ(fot_generation(object.heap, 3), 1u);
    EXPECT_EQ(fot_generation(object.heap, 5), 0u);
    object.index.hold(*freed, 10);
    const std::uint32_t appended = object.insert(900);
    EXPECT_EQ(appended, entries + 1) << "held indices are not given out";
    object.index.release(9);
    EXPECT_EQ(object.insert(901), entries + 2);
    object.index.release(10);
    const std::uint32_t reused = object.insert(902);
    EXPECT_LE(reused, entries);
    EXPECT_EQ(fot_generation(object.heap, reused), 1u);
    EXPECT_EQ(object.insert(902), reused);
    EXPECT_EQ(object.insert(3), object.insert(3)) << "a freed target gets an index again";
  }
}

TEST(FotTest, VisitsEveryPointerFieldAndRefusesUnknownTypes) {
  Object object(20);
  std::map<std::uint32_t, std::uint64_t> expected;
  base::Random random(4);
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t count = i % 3 == 0 ? 1 + random.below(40) : 1;
    const std::uint32_t at = object.heap.allocate(20, 16, count).value();
    const auto n = static_cast<std::uint32_t>(random.below(count));
    object.store(at + 16 * n + 8, 1000 + i);
    expected[at + 16 * n + 8] = 1000u + unsigned(i);
  }
  TwoTypes types;
  std::map<std::uint32_t, std::uint64_t> seen;
  ASSERT_TRUE(for_each_pointer(object.heap, types, [&](std::uint32_t at, std::uint64_t bits) {
                seen[at] = bits;
              }).has_value());
  EXPECT_EQ(seen, expected);
  (void)object.heap.allocate(99, 8).value();
  EXPECT_EQ(fot_mark(object.heap, types).error().code(), Errc::layout_changed);
  (void)object.heap.allocate(20, 8).value();
}

TEST(FotTest, VerifiesWhatWritersLeaveAndNothingElse) {
  Object object(20);
  EXPECT_TRUE(fot_verify(object.heap)) << "no table";
  for (std::uint64_t n = 1; n <= 20; ++n) object.insert(n);
  EXPECT_TRUE(fot_verify(object.heap));
  std::vector<bool> used(21, true);
  used[3] = false;
  ASSERT_TRUE(fot_reclaim(object.heap, object.index, used));
  EXPECT_TRUE(fot_verify(object.heap)) << "an entry that was freed";
  const std::uint32_t table = load_header(object.heap.base()).fot_offset;
  const auto broken_at = [&](std::uint32_t offset, std::uint64_t bits) {
    std::uint64_t before = 0;
    std::memcpy(&before, object.memory.base() + offset, sizeof before);
    object.store(offset, bits);
    const auto verified = fot_verify(object.heap);
    object.store(offset, before);
    return verified ? 0 : verified.error().detail();
  };
  EXPECT_EQ(broken_at(table + 32 + 16, 0), table + 32u) << "free with a target";
  EXPECT_EQ(broken_at(table + 32 + 16, 3), table + 32u) << "an unknown flag";
  EXPECT_EQ(broken_at(table + 64 + 24, 1), table + 64u) << "a reserved word";
  EXPECT_EQ(broken_at(table + 64 + 16, 1), table + 64u) << "in use without a target";
  object.heap.set_fot(table, 33);
  EXPECT_FALSE(fot_verify(object.heap)) << "more entries than there is room for";
  object.heap.set_fot(table + 16, 1);
  EXPECT_FALSE(fot_verify(object.heap)) << "not where the allocation begins";
}

TEST(FotTest, DistrustsATableThatLeavesTheObject) {
  Object object(12);
  object.insert(1);
  object.heap.set_fot(4096 - 16, 1);
  EXPECT_EQ(fot_entry(object.heap, 1), std::nullopt);
  EXPECT_EQ(fot_count(object.heap), 0u);
  EXPECT_EQ(fot_find_or_insert(object.heap, object.index, id_of(2)).error().code(), Errc::corrupt);
  EXPECT_EQ(fot_reclaim(object.heap, object.index, {}).error().code(), Errc::corrupt);
  object.heap.set_fot(64, ~0u);
  EXPECT_EQ(fot_entry(object.heap, 1), std::nullopt);
}

}  // namespace
}  // namespace dolmen::object
