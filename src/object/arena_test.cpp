// SPDX-License-Identifier: Apache-2.0
#include "object/arena.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::object {
namespace {

sys::Memory& memory() { return *sys::linux_env().memory; }

class ArenaTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ensure_arena(memory()).has_value()); }

  static std::byte* slot(unsigned c) {
    const auto result = allocate_slot(c, SlotKind::plain);
    EXPECT_TRUE(result.has_value()) << result.error().message();
    return result.value_or(nullptr);
  }
  static bool is_zero(const std::byte* at, std::size_t bytes) {
    return std::all_of(at, at + bytes, [](std::byte b) { return b == std::byte{0}; });
  }
};

TEST_F(ArenaTest, FindsBaseClassAndRecordFromAnyAddressInASlot) {
  std::set<const detail::Mapping*> records;
  std::set<const detail::Translation*> lines;
  std::vector<std::byte*> slots;
  for (unsigned c = detail::kMinClass; c <= 28; ++c) {
    for (int i = 0; i < 3; ++i) {
      std::byte* base = slot(c);
      ASSERT_NE(base, nullptr);
      slots.push_back(base);
      ASSERT_TRUE(detail::in_arena(base));
      const std::size_t bytes = std::size_t{1} << c;
      for (const std::size_t at : {std::size_t{0}, std::size_t{8}, bytes / 2, bytes - 1}) {
        EXPECT_EQ(detail::base_of(base + at), detail::base_of(base));
        EXPECT_EQ(static_cast<const void*>(&detail::mapping_of(base + at)),
                  &detail::mapping_of(base));
      }
      EXPECT_NE(detail::base_of(base + bytes), detail::base_of(base));
      EXPECT_TRUE(records.insert(&detail::mapping_of(base)).second) << "one record per slot";
      EXPECT_EQ(detail::mapping_of(base).kind, 0);
      EXPECT_EQ(detail::translation_of(base).stamp().load(), 0u);
      EXPECT_TRUE(lines.insert(&detail::translation_of(base + bytes - 1)).second);
      base[0] = std::byte{1};
      base[bytes - 1] = std::byte{1};
      detail::mapping_of(base).capacity_log2 = static_cast<std::uint8_t>(c);
    }
  }
  int local = 0;
  EXPECT_FALSE(detail::in_arena(&local));
  EXPECT_FALSE(detail::in_arena(nullptr));
  for (std::byte* base : slots) free_slot(base);
}

TEST_F(ArenaTest, IsReservedOnceAndBelongsToOneMemory) {
  const std::uintptr_t tag = detail::arena_tag.load();
  EXPECT_TRUE(ensure_arena(memory()).has_value());
  EXPECT_EQ(detail::arena_tag.load(), tag);
}

TEST_F(ArenaTest, HandsOutZeroesAgainAfterAFree) {
  for (const unsigned c : {9u, 11u, 12u, 16u, 21u}) {
    std::byte* first = slot(c);
    const std::size_t bytes = std::size_t{1} << c;
    std::memset(first, 0xAB, bytes);
    detail::Mapping& record = detail::mapping_of(first);
    record.kind = 1;
    record.table_size.store(7);
    detail::Translation& translation = detail::translation_of(first);
    translation.words[1].store(5);  // without a stamp: known before anybody followed it
    translation.words[detail::kNearIndices - 1].store(6);
    record.id = ObjectId{1, 2};
    free_slot(first);
    std::byte* second = slot(c);
    EXPECT_EQ(second, first) << "the last one freed comes first";
    EXPECT_TRUE(is_zero(second, bytes));
    EXPECT_EQ(detail::mapping_of(second).kind, 0);
    EXPECT_EQ(detail::mapping_of(second).table_size.load(), 0u);
    EXPECT_TRUE(detail::mapping_of(second).id.is_null());
    EXPECT_EQ(detail::mapping_of(second).next_free, 0u);
    for (const auto& word : detail::translation_of(second).words) EXPECT_EQ(word.load(), 0u);
    free_slot(second);
  }
}

TEST_F(ArenaTest, RefusesClassesThatDoNotExist) {
  EXPECT_EQ(allocate_slot(8, SlotKind::plain).error().code(), Errc::invalid_argument);
  EXPECT_EQ(allocate_slot(31, SlotKind::plain).error().code(), Errc::invalid_argument);
}

TEST_F(ArenaTest, AMillionSmallestSlotsCostLittle) {
  constexpr std::size_t kSlots = 1'000'000;
  const ArenaStats before = arena_stats();
  std::vector<std::byte*> slots(kSlots);
  for (std::byte*& base : slots) base = slot(9);
  const ArenaStats full = arena_stats();
  EXPECT_EQ(full.classes[9].plain_in_use - before.classes[9].plain_in_use, kSlots);
  EXPECT_LE(full.classes[9].activated_bytes, kSlots * 512 * 2 + (4u << 20));
  // Address space only: untouched slots and records have no memory.
  const std::byte* middle = slots[kSlots / 2 + 12345];
  EXPECT_FALSE(memory().present(middle));
  EXPECT_FALSE(memory().present(
      static_cast<const std::byte*>(static_cast<const void*>(&detail::mapping_of(middle)))));
  std::set<std::byte*> distinct(slots.begin(), slots.begin() + 10'000);
  EXPECT_EQ(distinct.size(), 10'000u);
  for (std::byte* base : slots) free_slot(base);
  EXPECT_EQ(arena_stats().slots_in_use, before.slots_in_use);
  EXPECT_GE(arena_stats().classes[9].free, kSlots);
  for (std::byte*& base : slots) base = slot(9);
  EXPECT_EQ(arena_stats().classes[9].activated_bytes, full.classes[9].activated_bytes)
      << "freed slots are used before new ones";
  for (std::byte* base : slots) free_slot(base);
}

TEST_F(ArenaTest, NeedsFewKernelMappings) {
  const auto mappings_now = [] {
    std::size_t lines = 0;
    if (std::FILE* maps = std::fopen("/proc/self/maps", "r")) {
      for (int c = std::fgetc(maps); c != EOF; c = std::fgetc(maps)) lines += c == '\n' ? 1u : 0u;
      std::fclose(maps);
    }
    return lines;
  };
  std::vector<std::byte*> slots(3000);
  (void)mappings_now();  // its own buffers
  const std::size_t before = mappings_now();
  for (std::byte*& base : slots) base = slot(20);
  EXPECT_LE(mappings_now(), before + 32);  // a sanitizer adds a dozen of its own
  for (std::byte* base : slots) free_slot(base);
}

TEST_F(ArenaTest, SlotsOfAKindThatIsAloneShareNoPage) {
  for (const unsigned c : {9u, 10u, 11u, 12u, 13u}) {
    std::set<std::uintptr_t> pages;
    std::vector<std::byte*> slots;
    for (int i = 0; i < 2000; ++i) {
      const auto base = allocate_slot(c, i % 3 == 0 ? SlotKind::plain : SlotKind::alone);
      ASSERT_TRUE(base.has_value()) << base.error().message();
      slots.push_back(*base);
      ASSERT_TRUE(is_zero(*base, std::size_t{1} << c));
      (*base)[0] = std::byte{1};
      const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(*base) / sys::kPageBytes;
      if (i % 3 != 0) {
        EXPECT_TRUE(pages.insert(page).second);
      } else {
        EXPECT_FALSE(pages.contains(page));
      }
    }
    for (std::byte* base : slots) free_slot(base);
    std::byte* again = *allocate_slot(c, SlotKind::alone);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(again) % sys::kPageBytes, 0u);
    EXPECT_EQ(again[0], std::byte{0});
    free_slot(again);
  }
}

TEST_F(ArenaTest, ServesManyThreads) {
  constexpr int kThreads = 4;
  std::vector<std::vector<std::byte*>> kept(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&kept, t] {
        base::Random random(std::uint64_t(t) + 1);
        auto& mine = kept[std::size_t(t)];
        for (int i = 0; i < 3000; ++i) {
          if (!mine.empty() && random.chance(2, 5)) {
            const std::size_t n = random.below(mine.size());
            free_slot(mine[n]);
            mine[n] = mine.back();
            mine.pop_back();
          } else {
            const auto base = allocate_slot(9 + unsigned(random.below(4)), SlotKind::plain);
            if (!base) continue;
            // Another thread's slot would hold its mark.
            if ((*base)[0] != std::byte{0}) std::abort();
            (*base)[0] = static_cast<std::byte>(t + 1);
            mine.push_back(*base);
          }
        }
      });
    }
  }
  std::set<std::byte*> all;
  std::size_t count = 0;
  for (int t = 0; t < kThreads; ++t) {
    for (std::byte* base : kept[std::size_t(t)]) {
      EXPECT_EQ(base[0], static_cast<std::byte>(t + 1));
      all.insert(base);
      ++count;
    }
  }
  EXPECT_EQ(all.size(), count);
  for (std::byte* base : all) free_slot(base);
}

/// Fills what is touched with a pattern, through the real driver.
class Pattern final : public sys::FaultHandler {
 public:
  explicit Pattern(std::size_t unit) : bytes_(unit, std::byte{0x5A}) {}
  bool on_fault(std::uintptr_t address) noexcept override {
    if (!detail::in_arena(address)) return false;
    const std::uintptr_t unit = address / bytes_.size() * bytes_.size();
    const std::uintptr_t base = detail::base_of(address);
    std::byte* at = slot_base + (unit - base);
    return base == detail::base_of(slot_base) && memory().fill(at, bytes_).has_value();
  }
  std::byte* slot_base = nullptr;

 private:
  std::vector<std::byte> bytes_;
};

TEST_F(ArenaTest, DemandSlotsAreAbsentUntilFilledAndStayApartFromPlainOnes) {
  const sys::FaultDriver driver = memory().best_driver();
  if (driver == sys::FaultDriver::none) GTEST_SKIP() << "no demand paging in this process";
  const std::size_t unit = memory().fault_unit_bytes(driver);
  static Pattern* handler = nullptr;
  if (handler == nullptr) {  // one handler per process, for ever
    handler = new Pattern(unit);
    ASSERT_TRUE(memory().install_fault_handler(driver, handler).has_value());
  }
  const unsigned c = 16;
  const auto demand = allocate_slot(c, SlotKind::demand);
  ASSERT_TRUE(demand.has_value()) << demand.error().message();
  handler->slot_base = *demand;
  EXPECT_FALSE(memory().present(*demand));
  EXPECT_EQ((*demand)[5000], std::byte{0x5A});
  EXPECT_TRUE(memory().present(*demand + 5000));
  EXPECT_EQ(detail::mapping_of(*demand).kind, 0);
  EXPECT_EQ(arena_stats().classes[c].demand_in_use, 1u);
  free_slot(*demand);
  std::byte* plain = slot(c);
  EXPECT_NE(plain, *demand);
  EXPECT_TRUE(is_zero(plain, std::size_t{1} << c));
  const auto again = allocate_slot(c, SlotKind::demand);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(*again, *demand);
  EXPECT_FALSE(memory().present(*again)) << "absent again";
  EXPECT_EQ((*again)[0], std::byte{0x5A});
  free_slot(plain);
  free_slot(*again);
}

}  // namespace
}  // namespace dolmen::object
