// SPDX-License-Identifier: Apache-2.0
#include "txn/line_difference.hpp"

#include <array>

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace dolmen::txn {
namespace {

TEST(LineDifference, EveryByteThatChangesIsInAWordThatDid) {
  std::array<std::byte, kLineBytes> before;
  before.fill(std::byte{0x5A});
  EXPECT_EQ(changed_words(before.data(), before.data()), 0u);
  for (std::size_t at = 0; at < kLineBytes; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::array<std::byte, kLineBytes> after = before;
      after[at] ^= std::byte(1u << bit);
      EXPECT_EQ(changed_words(before.data(), after.data()), 1u << (at / 8)) << at;
      EXPECT_EQ(changed_words_portable(before.data(), after.data()), 1u << (at / 8)) << at;
    }
  }
}

TEST(LineDifference, EverySetOfWordsIsFoundWhereverTheLineLies) {
  base::Random random(1);
  std::array<std::byte, kLineBytes + 8> room_before{};
  std::array<std::byte, kLineBytes + 8> room_after{};
  for (unsigned words = 0; words < 256; ++words) {
    std::byte* const before = room_before.data() + words % 8;
    std::byte* const after = room_after.data() + random.below(8);
    for (std::size_t at = 0; at < kLineBytes; ++at) {
      before[at] = std::byte(static_cast<unsigned char>(random()));
    }
    std::memcpy(after, before, kLineBytes);
    for (std::size_t i = 0; i < kWordsPerLine; ++i) {
      if ((words >> i & 1) != 0) after[i * 8 + random.below(8)] ^= std::byte(1 + random.below(255));
    }
    EXPECT_EQ(changed_words(before, after), words);
    EXPECT_EQ(changed_words_portable(before, after), words);
  }
}

}  // namespace
}  // namespace dolmen::txn
