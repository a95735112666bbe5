// SPDX-License-Identifier: Apache-2.0
//
// What clients ask of homes and are told, and parts of objects, as golden files
// (docs/formats/homes.md).
#include <vector>

#include <gtest/gtest.h>

#include "node/home_part.hpp"
#include "node/home_request.hpp"
#include "node/object_parts.hpp"
#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

using cluster::HomeAnswer;
using cluster::HomeRefusal;
using cluster::HomeState;
using cluster::HomeVerdict;
using HomeFormatBytes = std::vector<std::byte>;

constexpr ObjectId kGoldenObject{0xD0, 1};
constexpr ObjectId kGoldenType{0xD1, 2};

HomeListing golden_listing() {
  return {.is_draining = true,
          .rows = 5,
          .objects = {{.object = kGoldenObject,
                       .state = HomeState::leaving,
                       .is_registered = true,
                       .peer = 3,
                       .counter = 4,
                       .move = 5,
                       .refused = 4,
                       .why = HomeRefusal::type_conflict},
                      {.object = {0xD0, 2}}}};
}

/// Each with its length in front.
HomeFormatBytes golden_questions() {
  base::ByteWriter out;
  const auto put = [&](const HomeFormatBytes& bytes) {
    out.put(static_cast<std::uint32_t>(bytes.size()));
    out.put_bytes(bytes);
  };
  put(encode(HomeRequest{.object = kGoldenObject, .group = 3}));
  put(encode(HomeRequest{.kind = HomeRequest::Kind::cancel, .object = kGoldenObject}));
  put(encode(HomeRequest{.kind = HomeRequest::Kind::drain}));
  put(encode(HomeRequest{.kind = HomeRequest::Kind::undrain}));
  put(encode(HomeRequest{.kind = HomeRequest::Kind::close, .group = 3}));
  put(encode(HomeReply{.verdict = HomeVerdict::applied, .move = 9}));
  put(encode(HomeQuery{.object = kGoldenObject}));
  put(encode(HomeQuery{.kind = HomeQuery::Kind::list, .object = kGoldenObject, .limit = 7}));
  put(encode(HomeQuery{.kind = HomeQuery::Kind::closed, .group = 3}));
  put(encode(golden_listing()));
  put(encode(Elsewhere{.answer = HomeAnswer::moved, .group = 4}));
  put(encode(AtObject{.object = kGoldenObject, .call = base::as_bytes("a call")}));
  put(encode_ids({kGoldenObject, kGoldenType}));
  return out.release();
}

/// A description's page of 512 bytes, a cell that is nothing, and two pages of an object.
HomeFormatBytes golden_part() {
  HomeFormatBytes part;
  const auto put = [&](const PageCell& cell, std::byte filled) {
    HomeFormatBytes bytes(kCellBytes);
    if (!cell.object.is_null()) {
      std::ranges::copy(encode_cell_head(cell), bytes.begin());
      const std::size_t page = store::page_bytes(cell.capacity_log2);
      std::fill_n(bytes.begin() + kCellHeadBytes, page, filled);
    }
    part.insert(part.end(), bytes.begin(), bytes.end());
  };
  put({.object = kGoldenType, .page = 0, .capacity_log2 = 9}, std::byte{0x11});
  put({}, std::byte{0});
  put({.object = kGoldenObject, .page = 7, .capacity_log2 = 20}, std::byte{0x33});
  put({.object = kGoldenObject, .page = 0, .capacity_log2 = 20}, std::byte{0x22});
  return part;
}

TEST(HomeFormats, OfQuestionsAreTheGoldenFile) {
  EXPECT_EQ(golden_questions(), store::read_golden("home_questions_v1.bin"));
  EXPECT_EQ(decode_home_listing(encode(golden_listing())).value(), golden_listing());
}

TEST(HomeFormats, OfAPartAreTheGoldenFile) {
  const HomeFormatBytes golden = store::read_golden("object_part_v1.bin");
  EXPECT_EQ(golden_part(), golden);
  const auto cells = decode_cells(golden).value();
  ASSERT_EQ(cells.size(), 3u);
  EXPECT_EQ(cells[0].object, kGoldenType);
  EXPECT_EQ(cells[0].bytes.size(), 512u);
  EXPECT_EQ(cells[2].object, kGoldenObject);
  EXPECT_EQ(cells[2].page, 0u);
  EXPECT_EQ(cells[2].bytes.back(), std::byte{0x22});
  // The first page may be in front as well, and be there once; the others ascend.
  using Pages = std::vector<std::uint8_t>;
  const auto pages = [&](const Pages& numbers) {
    HomeFormatBytes part(golden.begin(), golden.begin() + 2 * kCellBytes);
    for (const std::uint8_t page : numbers) {
      part.insert(part.end(), golden.begin() + 3 * kCellBytes, golden.end());
      part[part.size() - kCellBytes + 16] = std::byte{page};
    }
    return decode_cells(part).has_value();
  };
  for (const Pages& right : std::vector<Pages>{{0}, {7}, {0, 7}, {7, 0}, {3, 7, 0}}) {
    EXPECT_TRUE(pages(right));
  }
  for (const Pages& wrong :
       std::vector<Pages>{{7, 7}, {7, 3}, {0, 0}, {0, 7, 0}, {7, 0, 0}, {7, 0, 8}, {0, 7, 3}}) {
    EXPECT_FALSE(pages(wrong));
  }
  // One of another capacity.
  HomeFormatBytes damaged = golden;
  damaged[3 * kCellBytes + 20] = std::byte{21};
  EXPECT_FALSE(decode_cells(damaged));
}

}  // namespace
}  // namespace dolmen::node
