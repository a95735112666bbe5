// SPDX-License-Identifier: Apache-2.0
#include "store/root.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "store/golden_file.hpp"

namespace dolmen::store {
namespace {

Root some_root(std::uint64_t generation) {
  Root root;
  root.space = {0x0102030405060708, 0x1112131415161718};
  root.generation = generation;
  root.next_incarnation = 9;
  root.created_wall_ns = 1'700'000'000'000'000'000;
  root.tail_bytes_max = 64u << 20;
  root.segment_bytes = 16u << 20;
  root.checkpoint_index = 1000;
  root.durable_index = 1200;
  root.tree = {.loc = 0x21, .checksum = 0x3132333435363738, .object_count = 5, .live_blocks = 40};
  root.segments = {{.file = 3, .incarnation = 4, .first_index = 900},
                   {.file = 1, .incarnation = 8, .first_index = 1100}};
  return root;
}

std::vector<std::byte> slot_of(const Root& root) {
  std::vector<std::byte> slot(kRootSlotBytes);
  encode_root(root, slot);
  return slot;
}

/// A root file from the generations in its slots; 0 = zeros.
std::vector<std::byte> file_of(std::array<std::uint64_t, kRootSlots> generations) {
  std::vector<std::byte> file(kRootFileBytes);
  for (unsigned slot = 0; slot < kRootSlots; ++slot) {
    if (generations[slot] == 0) continue;
    encode_root(some_root(generations[slot]),
                base::MutableBytes(file).subspan(slot * kRootSlotBytes, kRootSlotBytes));
  }
  return file;
}

void flip(std::vector<std::byte>& bytes, std::size_t at) { bytes[at] ^= std::byte{0x10}; }

TEST(Root, DecodesToWhatWasEncoded) {
  const auto decoded = decode_root(slot_of(some_root(7)));
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(*decoded, some_root(7));
  Root full = some_root(8);
  full.next_incarnation = 10'000;
  full.segments.clear();
  for (std::uint32_t k = 0; k < kLogSegmentsMax; ++k) {
    full.segments.push_back({.file = 1000 - k, .incarnation = k + 1, .first_index = k * 10 + 1});
  }
  EXPECT_EQ(decode_root(slot_of(full)), full);
}

TEST(Root, NoticesEveryFlippedByte) {
  const std::vector<std::byte> slot = slot_of(some_root(7));
  for (std::size_t at = 0; at < slot.size(); ++at) {
    std::vector<std::byte> damaged = slot;
    flip(damaged, at);
    EXPECT_FALSE(decode_root(damaged)) << at;
  }
}

TEST(Root, RefusesContentsThatCannotBeThoughTheChecksumHolds) {
  const auto refused = [](auto change) {
    Root root = some_root(7);
    change(root);
    const auto decoded = decode_root(slot_of(root));
    return !decoded && decoded.error().code() == Errc::corrupt;
  };
  EXPECT_FALSE(refused([](Root&) {}));
  EXPECT_TRUE(refused([](Root& r) { r.generation = 0; }));
  EXPECT_TRUE(refused([](Root& r) { r.space = {}; }));
  EXPECT_TRUE(refused([](Root& r) { r.segment_bytes = 12345; }));
  EXPECT_TRUE(refused([](Root& r) { r.durable_index = r.checkpoint_index - 1; }));
  EXPECT_TRUE(refused([](Root& r) { std::swap(r.segments[0], r.segments[1]); }));
  EXPECT_TRUE(refused([](Root& r) { r.segments[1].file = r.segments[0].file; }));
  EXPECT_TRUE(refused([](Root& r) { r.segments[1].file = ~0u; }));
  EXPECT_TRUE(refused([](Root& r) { r.segments[1].incarnation = r.next_incarnation; }));
  EXPECT_TRUE(refused([](Root& r) { r.segments[0].first_index = r.checkpoint_index + 2; }));
}

TEST(Root, ANewerFormatIsSaidToBeThat) {
  std::vector<std::byte> file = file_of({2, 2, 1, 1});
  for (unsigned slot = 0; slot < kRootSlots; ++slot) {
    const auto bytes = base::MutableBytes(file).subspan(slot * kRootSlotBytes, kRootSlotBytes);
    base::store(bytes, 8, std::uint32_t{2});
    const base::Bytes covered = base::Bytes(bytes).first(kRootSlotBytes - 8);
    base::store(bytes, kRootSlotBytes - 8, base::checksum64(covered, 0x646F6C6D656E2E31));
  }
  const auto choice = choose_root(file);
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().code(), Errc::version_unsupported);
}

TEST(Root, TheNewestGenerationWinsAtEveryMomentOfASwitch) {
  struct Case {
    std::array<std::uint64_t, kRootSlots> slots;
    std::uint64_t newest;
  };
  for (const Case& c :
       {Case{{0, 0, 1, 1}, 1}, Case{{2, 0, 1, 1}, 2}, Case{{2, 2, 1, 1}, 2}, Case{{2, 2, 3, 1}, 3},
        Case{{2, 2, 3, 3}, 3}, Case{{4, 2, 3, 3}, 4}, Case{{4, 4, 3, 3}, 4}}) {
    std::vector<std::byte> file = file_of(c.slots);
    const auto choice = choose_root(file);
    ASSERT_TRUE(choice) << choice.error().message();
    EXPECT_EQ(choice->root.generation, c.newest);
    for (unsigned slot = 0; slot < kRootSlots; ++slot) {
      EXPECT_FALSE(choice->bad[slot]) << c.newest << " " << slot;
    }
  }
}

TEST(Root, OneTornSlotIsSurvivedAndTwoAreDamage) {
  for (unsigned torn = 0; torn < kRootSlots; ++torn) {
    std::vector<std::byte> file = file_of({4, 4, 3, 3});
    flip(file, torn * kRootSlotBytes + 100);
    const auto choice = choose_root(file);
    ASSERT_TRUE(choice) << choice.error().message();
    EXPECT_EQ(choice->root.generation, 4u);
    EXPECT_TRUE(choice->bad[torn]);
    for (unsigned other = 0; other < kRootSlots; ++other) {
      if (other == torn) continue;
      std::vector<std::byte> twice = file;
      flip(twice, other * kRootSlotBytes + 200);
      const auto refused = choose_root(twice);
      ASSERT_FALSE(refused) << torn << " and " << other;
      EXPECT_EQ(refused.error().code(), Errc::corrupt);
    }
  }
}

TEST(Root, ALostOrMisplacedWriteOfOneSlotIsNoticed) {
  // Slot 3 never got generation 3; slot 1 holds what belongs into slot 2.
  for (const auto slots : {std::array<std::uint64_t, 4>{4, 4, 3, 1}, {4, 3, 3, 3}, {4, 0, 3, 3}}) {
    const auto choice = choose_root(file_of(slots));
    ASSERT_TRUE(choice) << choice.error().message();
    EXPECT_EQ(choice->root.generation, 4u);
    unsigned bad = 0;
    for (const bool b : choice->bad) bad += b ? 1 : 0;
    EXPECT_EQ(bad, 1u);
  }
  EXPECT_FALSE(choose_root(file_of({4, 0, 3, 1})));
}

TEST(Root, AFileWithoutAnyRootIsNoSpace) {
  const auto empty = choose_root({});
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().code(), Errc::not_a_space);
  const auto zeros = choose_root(std::vector<std::byte>(kRootFileBytes));
  ASSERT_FALSE(zeros);
  EXPECT_EQ(zeros.error().code(), Errc::not_a_space);
}

// The bytes of format version 1, for ever. docs/formats/space.md explains this file.
TEST(Root, MatchesTheGoldenFile) {
  const std::vector<std::byte> golden = read_golden("root_slot_v1.bin");
  EXPECT_EQ(golden, slot_of(some_root(7)));
  EXPECT_EQ(decode_root(golden), some_root(7));
}

}  // namespace
}  // namespace dolmen::store
