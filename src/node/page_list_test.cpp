// SPDX-License-Identifier: Apache-2.0
#include "node/page_list.hpp"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

using What = PageQuestion::What;

PageList some_list() {
  PageList list{.head = {.space = {3, 4}, .last_index = 17}, .is_last = true};
  list.sum.objects = 2;
  list.sum.pages = 3;
  list.sum.hash = {.low = 5, .high = 6};
  list.objects = {
      {.id = {1, 2},
       .capacity_log2 = 14,
       .pages = {{.number = 0, .hash = {.low = 7, .high = 8}},
                 {.number = 3, .hash = {.low = 9, .high = 10}}}},
      {.id = {1, 3}, .capacity_log2 = 9, .pages = {{.number = 0, .hash = {.low = 11, .high = 12}}}},
  };
  return list;
}

TEST(PageList, TheBytesAreThoseThatWereAgreedOn) {
  EXPECT_EQ(encode(some_list()), store::read_golden("space_page_list_v1.bin"));
  EXPECT_EQ(encode(PageQuestion{.what = What::pages, .pages = {{{1, 2}, 0}, {{1, 2}, 3}}}),
            store::read_golden("space_page_question_v1.bin"));
}

TEST(PageList, WhatIsWrittenIsReadAgain) {
  const PageList list = some_list();
  const PageList again = decode_page_list(encode(list)).value();
  EXPECT_EQ(again.objects, list.objects);
  EXPECT_EQ(again.sum, list.sum);
  EXPECT_TRUE(again.is_last);
  EXPECT_EQ(again.head.last_index, 17u);
  for (const PageQuestion& question :
       {PageQuestion{.what = What::list, .seed = 9, .list = 4},
        PageQuestion{.what = What::pages, .pages = {{{1, 2}, 7}, {{1, 3}, 0}}},
        PageQuestion{.what = What::end}}) {
    EXPECT_EQ(decode_page_question(encode(question)).value(), question);
  }
}

TEST(PageList, WhatIsDamagedIsRefused) {
  const auto bytes = encode(some_list());
  // Between two pages: there it has fewer of them than it says.
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto cut = decode_page_list(base::Bytes(bytes).first(length));
    const bool is_between_objects = length == 64 || length == 64 + 24 + 40;
    EXPECT_EQ(cut.has_value(), is_between_objects) << length;
  }
  const auto refused = [](auto change) {
    PageList list = some_list();
    change(list);
    return !decode_page_list(encode(list));
  };
  EXPECT_TRUE(refused([](PageList& list) { std::swap(list.objects[0], list.objects[1]); }));
  EXPECT_TRUE(refused([](PageList& list) { list.objects[1].id = list.objects[0].id; }));
  EXPECT_TRUE(refused([](PageList& list) { list.objects[0].id = {}; }));
  EXPECT_TRUE(refused([](PageList& list) { list.head.space = {}; }));
  EXPECT_TRUE(refused([](PageList& list) { list.objects[0].capacity_log2 = 8; }));
  EXPECT_TRUE(refused([](PageList& list) { list.objects[0].capacity_log2 = 31; }));
  EXPECT_TRUE(refused([](PageList& list) { list.objects[0].capacity_log2 = 13; }))
      << "page 3 of two";
  EXPECT_TRUE(refused([](PageList& list) { list.objects[0].pages[0].number = 3; }));
  PageList full = some_list();
  full.objects[0].capacity_log2 = 30;
  full.objects[0].pages.clear();
  for (std::uint32_t i = 0; i < kListedPagesMax; ++i) {
    full.objects[0].pages.push_back({.number = i});
  }
  EXPECT_FALSE(decode_page_list(encode(full)));
  full.objects.pop_back();
  EXPECT_TRUE(decode_page_list(encode(full)));
}

TEST(PageList, QuestionsThatAreNoneAreRefused) {
  const auto is_refused = [](const PageQuestion& question) {
    return !decode_page_question(encode(question));
  };
  EXPECT_TRUE(is_refused({.what = What::pages}));
  EXPECT_TRUE(is_refused({.what = What::end, .pages = {{{1, 2}, 0}}}));
  EXPECT_TRUE(is_refused({.what = What::pages, .pages = {{{1, 2}, 3}, {{1, 2}, 3}}}));
  EXPECT_TRUE(is_refused({.what = What{4}}));
  PageQuestion full{.what = What::pages};
  for (std::uint32_t i = 0; i < kAskedPagesMax; ++i) full.pages.push_back({{1, 2}, i});
  EXPECT_FALSE(is_refused(full));
  EXPECT_LE(encode(full).size(), 2048u);
  full.pages.push_back({{1, 3}, 0});
  EXPECT_TRUE(is_refused(full));
  auto bytes = encode(PageQuestion{.what = What::list, .seed = 1, .list = 2});
  EXPECT_FALSE(decode_page_question(base::Bytes(bytes).first(bytes.size() - 1)));
  bytes.push_back({});
  EXPECT_FALSE(decode_page_question(bytes));
  EXPECT_FALSE(decode_page_question({}));
}

TEST(PageList, ASumTellsWhatWasListed) {
  const std::vector<std::byte> page(4096, std::byte{7});
  const auto hash = listed_hash(page, {{1, 2}, 3}, 4);
  EXPECT_NE(hash, listed_hash(page, {{1, 2}, 3}, 5));
  EXPECT_NE(hash, listed_hash(page, {{1, 2}, 4}, 4));
  EXPECT_NE(hash, listed_hash(page, {{1, 3}, 3}, 4));
  const auto sum_of = [&](std::uint32_t number, std::uint8_t capacity_log2) {
    ListSum sum;
    sum.add_object({1, 2}, capacity_log2);
    sum.add_page(number, hash);
    return sum;
  };
  EXPECT_EQ(sum_of(3, 14), sum_of(3, 14));
  EXPECT_NE(sum_of(3, 14), sum_of(2, 14));
  EXPECT_NE(sum_of(3, 14), sum_of(3, 15));
}

}  // namespace
}  // namespace dolmen::node
