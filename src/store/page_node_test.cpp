// SPDX-License-Identifier: Apache-2.0
#include "store/page_node.hpp"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "base/random.hpp"
#include "store/golden_file.hpp"
#include "store/node_cache.hpp"

namespace dolmen::store {
namespace {

// Entries of random objects, some with many pages, as many as fit one node.
std::vector<TreeEntry> random_entries(base::Random& random, unsigned level) {
  std::vector<TreeEntry> entries;
  std::uint64_t high = 0;
  std::size_t ids = 0;
  for (;;) {
    high += 1 + random.below(1000);
    ++ids;
    std::uint32_t page = random.chance(1, 2) ? 0 : static_cast<std::uint32_t>(random.below(1000));
    const std::uint64_t pages = random.chance(1, 3) ? random.between(1, 80) : 1;
    for (std::uint64_t i = 0; i < pages; ++i, page += random.chance(1, 4) ? 3 : 1) {
      if (kNodeHeaderBytes + node_content_bytes(entries.size() + 1, ids) > kNodeBytes) {
        return entries;
      }
      const bool first = level == 0 && page == 0;
      const unsigned capacity = first ? static_cast<unsigned>(random.between(9, 30)) : 0;
      const unsigned size = first ? page_size_log2(capacity) : 3;
      const std::uint64_t unit = random.below(1u << 20) << size;
      entries.push_back({{{high, random() >> 60}, page}, {unit, size, capacity}, random()});
      if (i > 0) entries.back().key.object = entries[entries.size() - 2].key.object;
    }
  }
}

NodeFrame encoded(const std::vector<TreeEntry>& entries, unsigned level) {
  NodeFrame frame;
  encode_node(entries, level, frame);
  return frame;
}

TEST(PageNode, GivesBackWhatWasEncoded) {
  base::Random random(1);
  for (int round = 0; round < 200; ++round) {
    const unsigned level = round % 3 == 0 ? 2 : 0;
    std::vector<TreeEntry> entries = random_entries(random, level);
    entries.resize(random.between(1, entries.size()));
    const NodeFrame frame = encoded(entries, level);
    ASSERT_STREQ(node_defect(frame, level), nullptr);
    const NodeView view(frame);
    ASSERT_EQ(view.level(), level);
    ASSERT_EQ(view.count(), entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) ASSERT_EQ(view.entry(i), entries[i]);
  }
}

TEST(PageNode, CountsTheKeysUpToAnyKeyLikeALinearSearch) {
  base::Random random(2);
  for (int round = 0; round < 50; ++round) {
    const std::vector<TreeEntry> entries = random_entries(random, 0);
    const NodeFrame frame = encoded(entries, 0);
    const NodeView view(frame);
    for (int probe = 0; probe < 200; ++probe) {
      PageKey key = entries[random.below(entries.size())].key;
      key.object.high += random.below(3) - 1;
      key.page = random.chance(1, 8) ? ~0u : key.page + static_cast<std::uint32_t>(random.below(3));
      const auto expected =
          std::ranges::count_if(entries, [&](const TreeEntry& entry) { return entry.key <= key; });
      ASSERT_EQ(view.count_up_to(key), static_cast<std::size_t>(expected));
    }
  }
}

TEST(PageNode, HoldsTwoHundredPagesOfOneObjectOrAHundredAndThirteenSmallObjects) {
  std::vector<TreeEntry> pages, objects;
  for (std::uint32_t i = 0; i < 203; ++i) pages.push_back({{{1, 1}, i + 1}, {i * 8, 3, 0}, i});
  for (std::uint64_t i = 0; i < 113; ++i) objects.push_back({{{i + 1, 1}, 0}, {i, 0, 9}, i});
  EXPECT_STREQ(node_defect(encoded(pages, 0), 0), nullptr);
  EXPECT_STREQ(node_defect(encoded(objects, 0), 0), nullptr);
}

TEST(PageNode, NamesEachKindOfDefect) {
  const std::vector<TreeEntry> entries = {
      {{{1, 1}, 0}, {16, 3, 26}, 5}, {{{1, 1}, 4}, {24, 3, 0}, 6}, {{{2, 1}, 0}, {1, 0, 9}, 7}};
  const NodeFrame good = encoded(entries, 0);
  ASSERT_STREQ(node_defect(good, 0), nullptr);
  const std::size_t locs = kNodeHeaderBytes + 2 * kNodeIdBytes + 3 * 8;
  const std::size_t words = locs + 3 * 8;
  const auto defect_with = [&](std::size_t offset, auto value) {
    NodeFrame bad = good;
    base::store(base::MutableBytes(bad), offset, value);
    const char* defect = node_defect(bad, 0);
    return std::string(defect == nullptr ? "accepted" : defect);
  };
  EXPECT_EQ(defect_with(0, 1u), "a node lacks its magic number");
  EXPECT_EQ(defect_with(4, std::uint16_t{2}), "a node has an unknown version");
  EXPECT_EQ(defect_with(6, std::uint8_t{1}), "a node has a wrong level");
  EXPECT_EQ(defect_with(7, std::uint8_t{1}), "reserved bytes of a node are set");
  EXPECT_EQ(defect_with(12, std::uint8_t{1}), "reserved bytes of a node are set");
  for (const unsigned wrong : {0u, 1u, 2u, 150u, 204u, 65535u}) {
    const auto count = static_cast<std::uint16_t>(wrong);
    EXPECT_NE(defect_with(8, count), "accepted") << count;
    EXPECT_NE(defect_with(10, static_cast<std::uint16_t>(count == 2 ? 3 : count)), "accepted");
  }
  EXPECT_EQ(defect_with(kNodeHeaderBytes, std::uint64_t{2}), "a node's ids do not ascend");
  EXPECT_EQ(defect_with(words, 1u << 24), "a node's keys do not ascend");
  EXPECT_EQ(defect_with(words + 4, 0u), "a node's keys do not ascend");
  EXPECT_EQ(defect_with(words + 4, kMaxPages), "a page number is too high");
  EXPECT_EQ(defect_with(locs, BlockLoc(17, 3, 26).packed()), "a block is misaligned");
  EXPECT_EQ(defect_with(locs, std::uint64_t{1} << 50), "a block is misaligned");
  EXPECT_EQ(defect_with(locs, BlockLoc(16, 3, 8).packed()),
            "an object has an unknown capacity class");
  EXPECT_EQ(defect_with(locs, BlockLoc(16, 2, 26).packed()), "a first page has a wrong size");
  EXPECT_EQ(defect_with(locs + 8, BlockLoc(16, 3, 12).packed()), "a page has a wrong size");
  EXPECT_EQ(defect_with(kNodeBytes - 1, std::uint8_t{1}), "unused bytes of a node are set");
  EXPECT_STREQ(node_defect(base::Bytes(good).first(kNodeBytes - 1), 0), "a node is cut off");
  NodeFrame unused = encoded({{{{1, 1}, 0}, {16, 3, 26}, 5}, {{{2, 1}, 4}, {24, 3, 0}, 6}}, 0);
  base::store(base::MutableBytes(unused), kNodeHeaderBytes + 2 * kNodeIdBytes + 2 * 16 + 4, 4u);
  EXPECT_STREQ(node_defect(unused, 0), "a node holds an unused id");
  NodeFrame inner = good;
  base::store(base::MutableBytes(inner), 6, std::uint8_t{1});
  EXPECT_STREQ(node_defect(inner, 1), "a child is no node");
}

TEST(PageNode, SeedsTellEveryPlaceFromEveryOther) {
  const ObjectId a{1, 2}, b{2, 1};
  EXPECT_NE(node_seed(a, 0), node_seed(a, 1));
  EXPECT_NE(node_seed(a, 0), node_seed(b, 0));
  EXPECT_NE(page_seed(a, {a, 0}), page_seed(a, {a, 1}));
  EXPECT_NE(page_seed(a, {a, 0}), page_seed(a, {b, 0}));
  EXPECT_NE(page_seed(a, {b, 0}), page_seed(b, {a, 0}));
}

// The bytes of format version 1, for ever. docs/formats/pages.md explains this file.
TEST(PageNode, MatchesTheGoldenFile) {
  const std::vector<TreeEntry> entries = {
      {{{0x0102030405060708, 0x1112131415161718}, 0}, {0x28, 3, 26}, 0xA1A2A3A4A5A6A7A8},
      {{{0x0102030405060708, 0x1112131415161718}, 5}, {0x1000000040, 3, 0}, 0xB1B2B3B4B5B6B7B8},
      {{{0xF1F2F3F4F5F6F7F8, 0x2122232425262728}, 0}, {0x33, 0, 9}, 0xC1C2C3C4C5C6C7C8}};
  const NodeFrame now = encoded(entries, 0);
  const std::vector<std::byte> golden = read_golden("page_node_v1.bin");
  ASSERT_EQ(golden.size(), kNodeBytes);
  EXPECT_EQ(std::memcmp(golden.data(), now.data(), kNodeBytes), 0);
  EXPECT_EQ(base::checksum64(now, node_seed({1, 2}, 0)), 508699544657938929u);
  EXPECT_EQ(base::checksum64(base::Bytes(now).first(512), page_seed({1, 2}, {{3, 4}, 5})),
            17105797086310390783u);
}

}  // namespace
}  // namespace dolmen::store
