// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "object/fot.hpp"
#include "object/heap_fixture.hpp"
#include "object/size_class.hpp"

namespace dolmen::object {
namespace {

using test::NoLog;
using test::ObjectMemory;
using test::seed_of;

constexpr std::uint32_t kTag = 77;

struct Object {
  explicit Object(unsigned capacity_log2, std::uint64_t number = 1)
      : memory(capacity_log2), heap(memory.base(), capacity_log2, log) {
    Heap::format(memory.base(), capacity_log2, seed_of(number), log);
  }
  std::uint32_t allocate(std::uint32_t tag, std::uint32_t element, std::uint64_t count = 1) {
    const auto result = heap.allocate(tag, element, count);
    EXPECT_TRUE(result.has_value()) << result.error().message();
    return result.value_or(0);
  }

  NoLog log;
  ObjectMemory memory;
  Heap heap;
};

// ---- Sizes
// ----------------------------------------------------------------------------------------

TEST(SizeClassTest, WastesAtMostAnEighthFrom128BytesOn) {
  for (std::uint64_t bytes = 1; bytes < 300'000; bytes += bytes < 20'000 ? 1 : 97) {
    const std::uint64_t given = allocation_bytes(bytes);
    ASSERT_GE(given, bytes);
    ASSERT_EQ(given % 8, 0u);
    ASSERT_EQ(allocation_bytes(given), given) << "a class is its own size";
    ASSERT_LE(allocation_bytes(bytes), allocation_bytes(bytes + 1));
    if (bytes >= 128 && bytes <= layout::kLargeBytes) {
      ASSERT_LE((given - bytes) * 8, bytes) << bytes;
    }
    if (bytes > 4 * layout::kLargeBytes) {
      ASSERT_LE((given - bytes) * 8, bytes) << bytes;
    }
  }
}

TEST(SizeClassTest, LaysRunsOutWithinTheirPagesAndDensely) {
  for (std::uint32_t slot = 8; slot <= layout::kLargeBytes; slot += 8) {
    for (const std::uint32_t most : {1u, 4u, 16u}) {
      for (std::uint32_t runs = 0; runs < 6; ++runs) {
        const layout::RunShape s = layout::next_run(slot, runs, most);
        ASSERT_GT(s.capacity, 0u) << slot;
        ASSERT_LE(s.first + s.capacity * slot, s.pages * layout::kPage);
        ASSERT_GE(s.first, layout::kRunHeader + 8 * layout::bitmap_words(s.capacity));
        ASSERT_LE(s.capacity, 65535u);
        if (most == 16) {
          ASSERT_LE(s.pages, 16u);
          ASSERT_GE(s.capacity * slot, s.pages * layout::kPage / 8 * 7) << slot;
        }
      }
    }
  }
  const layout::RunShape big = layout::next_run(128, 4, 16);
  EXPECT_EQ(big.pages, 16u);
  EXPECT_GE(big.capacity * 128.0, 0.98 * big.pages * layout::kPage);
}

// ---- Small objects
// --------------------------------------------------------------------------------

TEST(HeapTest, ASmallestObjectHoldsARootOf256BytesAForeignPointerAndMore) {
  Object object(9);
  const std::uint32_t root = object.allocate(kTag, 256);
  object.heap.set_root(root, kTag);
  FotIndex index;
  const auto foreign = fot_find_or_insert(object.heap, index, ObjectId{1, 2});
  ASSERT_TRUE(foreign.has_value());
  EXPECT_EQ(foreign->index, 1u);
  EXPECT_EQ(fot_entry(object.heap, 1), (ObjectId{1, 2}));
  EXPECT_TRUE(object.heap.allocate(kTag + 1, 96).has_value()) << "about 100 bytes are left";
  EXPECT_TRUE(object.heap.verify().has_value());
  const ObjectHeader header = load_header(object.memory.base());
  EXPECT_EQ(header.root_offset, root);
  EXPECT_EQ(header.root_type, kTag);
  EXPECT_EQ(header.fot_count, 1u);
  EXPECT_TRUE(
      check_header({object.memory.base(), 512}, derive_object_id(seed_of(1)), 9).has_value());
}

TEST(HeapTest, AMillionSmallestObjectsNeedNoMoreThanTheirSlots) {
  // One buffer, formatted a million times: each holds its root and one foreign pointer.
  NoLog log;
  alignas(64) std::byte buffer[512];
  for (std::uint64_t n = 0; n < 1'000'000; ++n) {
    std::memset(buffer, 0, sizeof buffer);
    Heap::format(buffer, 9, seed_of(n), log);
    Heap heap(buffer, 9, log);
    const auto root = heap.allocate(kTag, 256);
    FotIndex index;
    const auto foreign = fot_find_or_insert(heap, index, ObjectId{n, 1});
    ASSERT_TRUE(root.has_value() && foreign.has_value());
    ASSERT_LE(*root + 256, sizeof buffer);
  }
}

TEST(HeapTest, JoinsFreedNeighboursInTheCompactArea) {
  Object object(9);
  std::vector<std::uint32_t> offsets;
  for (int i = 0; i < 4; ++i) offsets.push_back(object.allocate(kTag + 1u + unsigned(i), 64));
  EXPECT_EQ(object.heap.allocate(kTag, 200).error().code(), Errc::object_full);
  for (const int i : {1, 3, 2}) {
    ASSERT_TRUE(object.heap.deallocate(offsets[std::size_t(i)]).has_value());
    ASSERT_TRUE(object.heap.verify().has_value());
  }
  EXPECT_TRUE(object.heap.allocate(kTag, 200).has_value());
}

TEST(HeapTest, SaysNothingOfBytesThatNoAllocationHolds) {
  Object object(12);
  const std::uint32_t offset = object.allocate(kTag, 20);
  EXPECT_EQ(object.heap.at(0), std::nullopt);
  EXPECT_EQ(object.heap.at(63), std::nullopt);
  EXPECT_EQ(object.heap.at(offset - 1), std::nullopt) << "the run's header";
  EXPECT_EQ(object.heap.at(offset + 23)->offset, offset);
  EXPECT_EQ(object.heap.at(offset + 24), std::nullopt);
  EXPECT_EQ(object.heap.at(4096), std::nullopt);
  EXPECT_EQ(object.heap.at(~std::uint64_t{0}), std::nullopt);
  EXPECT_EQ(object.heap.usable(offset + 8), 0u) << "no allocation begins there";
}

TEST(HeapTest, RefusesWhatIsNoAllocation) {
  for (const unsigned log2 : {12u, 20u}) {
    Object object(log2);
    std::vector<std::uint32_t> offsets;
    for (int i = 0; i < 60; ++i) offsets.push_back(object.allocate(kTag, 40));
    const std::uint32_t large = log2 == 20 ? object.allocate(kTag, 1, 50'000) : offsets[3];
    for (const std::uint64_t bad :
         {std::uint64_t{0}, std::uint64_t{64}, std::uint64_t{offsets[7]} + 8,
          std::uint64_t{large} + 8, (std::uint64_t{1} << log2) - 8, std::uint64_t{1} << 40}) {
      const auto result = object.heap.deallocate(bad);
      ASSERT_FALSE(result.has_value()) << bad;
      EXPECT_EQ(result.error().code(), Errc::invalid_argument);
    }
    ASSERT_TRUE(object.heap.deallocate(offsets[9]).has_value());
    EXPECT_FALSE(object.heap.deallocate(offsets[9]).has_value()) << "freed twice";
    EXPECT_FALSE(object.heap.allocate(0, 8).has_value());
    EXPECT_FALSE(object.heap.allocate(kTag, 0).has_value());
    EXPECT_FALSE(object.heap.allocate(kTag, 8, 0).has_value());
    EXPECT_EQ(object.heap.allocate(kTag, 1u << 31, ~std::uint64_t{0}).error().code(),
              Errc::object_full);
    EXPECT_TRUE(object.heap.verify().has_value());
  }
}

// ---- Large objects
// --------------------------------------------------------------------------------

TEST(HeapTest, PacksElementsDenselyInALargeObject) {
  for (const std::uint32_t element : {16u, 64u, 128u, 200u, 1000u}) {
    Object object(26);
    const std::uint32_t count = (32u << 20) / element;
    for (std::uint32_t i = 0; i < count; ++i) object.allocate(kTag, element);
    const auto stats = object.heap.stats();
    ASSERT_TRUE(stats.has_value());
    EXPECT_GE(static_cast<double>(stats->allocated_bytes),
              (element <= 200 ? 0.98 : 0.97) * static_cast<double>(stats->run_bytes))
        << element;
  }
}

TEST(HeapTest, TouchesFewPagesForLittleDataInALargeObject) {
  Object object(30);
  for (std::uint32_t i = 0; i < 20; ++i) object.allocate(kTag + i, 48);
  std::size_t present = 0;
  sys::Memory& memory = *sys::linux_env().memory;
  // All that may be touched lies in the first 131 pages or in the last few.
  const std::size_t end = std::size_t{1} << 30;
  for (std::size_t at = 0; at < end; at += at == 160 * 4096 ? end - 170 * 4096 : 4096) {
    if (memory.present(object.memory.base() + at)) ++present;
  }
  EXPECT_GE(present, 2u);
  EXPECT_LE(present, 5u) << "header, compact page, last page, a run or two";
}

TEST(HeapTest, AlignsArraysToCacheLinesWhenLarge) {
  Object object(24);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(object.allocate(kTag, 8, 10'000u + unsigned(i) * 777u) % 64, 0u);
  }
  for (int i = 0; i < 300; ++i) {
    const std::uint32_t node = object.allocate(kTag, 64);
    if (node >= load_header(object.memory.base()).heap_origin / 4096 * 4096 + 4096) {
      EXPECT_EQ(node % 64, 0u);
    }
  }
}

TEST(HeapTest, GivesTheSpaceOfOneTypeToAnother) {
  Object object(16);
  std::vector<std::uint32_t> offsets;
  while (const auto next = object.heap.allocate(kTag, 24)) offsets.push_back(*next);
  EXPECT_EQ(object.heap.allocate(kTag + 1, 3000).error().code(), Errc::object_full);
  EXPECT_GE(offsets.size() * 24, 65536u * 85 / 100);
  for (const std::uint32_t offset : offsets) {
    ASSERT_TRUE(object.heap.deallocate(offset).has_value());
  }
  std::uint32_t bytes = 0;
  while (object.heap.allocate(kTag + 1, 1000).has_value()) bytes += 1000;
  EXPECT_GE(bytes, 65536u * 80 / 100);
  EXPECT_TRUE(object.heap.verify().has_value());
}

TEST(HeapTest, UsesThePagesBelowTheOriginWhenTheOthersAreFull) {
  std::uint64_t number = 0;
  ObjectMemory probe(22);
  NoLog log;
  do {  // an object whose page colour is large
    std::memset(probe.base(), 0, std::size_t{1} << 22);
    Heap::format(probe.base(), 22, seed_of(++number), log);
  } while (load_header(probe.base()).heap_origin < 100 * 4096);
  Object object(22, number);
  std::uint64_t bytes = 0;
  std::uint32_t lowest = ~0u;
  while (const auto next = object.heap.allocate(kTag, 1, 30'000)) {
    bytes += object.heap.usable(*next);
    lowest = std::min(lowest, *next);
  }
  EXPECT_LT(lowest, 100u * 4096);
  EXPECT_GE(bytes, (std::uint64_t{1} << 22) * 94 / 100);
  EXPECT_TRUE(object.heap.verify().has_value());
}

TEST(HeapTest, HoldsThousandsOfTypes) {
  Object object(26);
  std::vector<std::uint32_t> offsets;
  for (std::uint32_t tag = 16; tag < 3000; ++tag) {
    offsets.push_back(object.allocate(tag, 40));
    offsets.push_back(object.allocate(tag, 8, 7));
  }
  ASSERT_TRUE(object.heap.verify().has_value());
  std::size_t i = 0;
  for (std::uint32_t tag = 16; tag < 3000; ++tag) {
    EXPECT_EQ(object.heap.at(offsets[i++])->type_tag, tag);
    EXPECT_EQ(object.heap.at(offsets[i++])->count, 8u);
  }
  for (const std::uint32_t offset : offsets) {
    ASSERT_TRUE(object.heap.deallocate(offset).has_value());
  }
  EXPECT_TRUE(object.heap.verify().has_value());
}

TEST(HeapTest, StopsAWalkWhenTheVisitorSaysSo) {
  Object object(20);
  for (int i = 0; i < 100; ++i) object.allocate(kTag, 32);
  int seen = 0;
  ASSERT_TRUE(
      object.heap.for_each_allocation([&](const Allocation&) { return ++seen < 60; }).has_value());
  EXPECT_EQ(seen, 60);
}

// ---- Colours
// --------------------------------------------------------------------------------------

TEST(HeapTest, SpreadsTheOriginsOfEqualObjectsOverCacheSetsAndPages) {
  NoLog log;
  for (const unsigned log2 : {13u, 16u, 20u, 23u, 26u}) {
    std::map<std::uint32_t, int> lines;
    std::map<std::uint32_t, int> pages;
    constexpr int kObjects = 2000;
    for (int n = 0; n < kObjects; ++n) {
      ObjectMemory memory(log2);
      Heap::format(memory.base(), log2, seed_of(std::uint64_t(n)), log);
      const std::uint32_t origin = load_header(memory.base()).heap_origin;
      ASSERT_EQ(origin % 64, 0u);
      ASSERT_GE(origin, 64u);
      ASSERT_LE(origin % 4096, 64u * (log2 < 20 ? 24 : 56));
      ++lines[origin % 4096 / 64];
      ++pages[origin / 4096];
    }
    const std::size_t line_colours = log2 == 13 ? 4 : log2 < 20 ? 24 : 56;
    const std::size_t page_colours = log2 < 20 ? 1 : log2 == 20 ? 32 : 128;
    EXPECT_GE(lines.size(), line_colours);
    EXPECT_EQ(pages.size(), page_colours);
    for (const auto& [page, count] : pages) {
      EXPECT_LE(count, 2 * kObjects / int(page_colours) + 20);
    }
  }
}

// ---- Corruption
// -----------------------------------------------------------------------------------

TEST(HeapTest, NoticesFlippedBitsInItsStructuresOrIsUntouchedByThem) {
  base::Random random(5);
  int noticed = 0;
  for (int round = 0; round < 400; ++round) {
    const unsigned log2 = round % 2 == 0 ? 12 : 16;
    Object object(log2);
    std::vector<std::uint32_t> offsets;
    for (int i = 0; i < 40; ++i) {
      const auto next = object.heap.allocate(kTag + std::uint32_t(random.below(3)),
                                             8 + 8 * std::uint32_t(random.below(9)));
      if (next) offsets.push_back(*next);
    }
    const std::uint64_t at = random.below(std::uint64_t{1} << log2);
    object.memory.base()[at] ^= static_cast<std::byte>(1u << random.below(8));
    if (!object.heap.verify()) ++noticed;
    for (const std::uint32_t offset : offsets) (void)object.heap.deallocate(offset);
    for (int i = 0; i < 40; ++i) (void)object.heap.allocate(kTag, 24, 1 + random.below(100));
    (void)object.heap.for_each_allocation([](const Allocation&) {});
  }
  EXPECT_GT(noticed, 5);
}

TEST(HeapTest, SaysThatAnUnformattedObjectIsCorrupt) {
  ObjectMemory memory(16);
  NoLog log;
  Heap heap(memory.base(), 16, log);
  EXPECT_EQ(heap.allocate(kTag, 8).error().code(), Errc::corrupt);
  EXPECT_EQ(heap.deallocate(64).error().code(), Errc::corrupt);
  EXPECT_EQ(heap.verify().error().code(), Errc::corrupt);
  EXPECT_EQ(heap.stats().error().code(), Errc::corrupt);
  EXPECT_EQ(heap.at(100), std::nullopt);
  Heap::format(memory.base(), 16, seed_of(1), log);
  EXPECT_EQ(Heap(memory.base(), 15, log).allocate(kTag, 8).error().code(), Errc::corrupt)
      << "another capacity than the header says";
}

}  // namespace
}  // namespace dolmen::object
