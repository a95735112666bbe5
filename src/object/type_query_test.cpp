// SPDX-License-Identifier: Apache-2.0
#include "object/type_query.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "object/type_fixtures.hpp"

namespace dolmen::object {
namespace {

template <class T>
TypeDescription described() {
  auto table = describe_type(type_info<T>());
  EXPECT_TRUE(table.has_value());
  return table.value_or(TypeDescription{});
}

// Several versions of one program's types, each in a namespace of its own; the names are made equal
// so that a version meets the next one as a later program would.
template <class T>
TypeDescription version() {
  TypeDescription table = described<T>();
  for (TypeEntry& type : table.types) {
    for (std::size_t at; (at = type.name.find("::")) != std::string::npos;) {
      std::size_t begin = at;
      while (begin > 0 && type.name[begin - 1] != '<' && type.name[begin - 1] != ',') --begin;
      type.name.erase(begin, at + 2 - begin);
    }
  }
  return table;
}
template <class Stored, class Now>
std::string difference() {
  return describe_difference(version<Stored>(), version<Now>());
}

namespace v1 {
struct Link {
  std::uint32_t weight;
  std::uint32_t kind;
};
struct Page {
  std::int64_t id;
  char name[16];
  double rank;
  Link best[2];
  type_fixtures::Ptr<Page> next;
};
struct Root {
  type_fixtures::Ptr<Page> first;
};
}  // namespace v1

namespace changed_type {
struct Page {
  std::int64_t id;
  char name[16];
  float rank;
  v1::Link best[2];
  type_fixtures::Ptr<Page> next;
};
}  // namespace changed_type
namespace removed {
struct Page {
  std::int64_t id;
  double rank;
  v1::Link best[2];
  type_fixtures::Ptr<Page> next;
};
}  // namespace removed
namespace renamed {
struct Page {
  std::int64_t id;
  char title[16];
  double rank;
  v1::Link best[2];
  type_fixtures::Ptr<Page> next;
};
}  // namespace renamed
namespace added {
struct Page {
  std::int64_t id;
  char name[16];
  std::uint16_t flags;
  double rank;
  v1::Link best[2];
  type_fixtures::Ptr<Page> next;
};
struct Link {
  std::uint32_t weight;
  std::uint32_t kind;
  std::uint16_t colour;
};
}  // namespace added
namespace moved {
struct Page {
  double rank;
  char name[16];
  std::int64_t id;
  v1::Link best[2];
  type_fixtures::Ptr<Page> next;
};
}  // namespace moved
namespace longer_array {
struct Page {
  std::int64_t id;
  char name[24];
  double rank;
  v1::Link best[2];
  type_fixtures::Ptr<Page> next;
};
}  // namespace longer_array
namespace inner {
struct Link {
  std::uint32_t weight;
  std::int32_t kind;
};
struct Page {
  std::int64_t id;
  char name[16];
  double rank;
  Link best[2];
  type_fixtures::Ptr<Page> next;
};
struct Root {
  type_fixtures::Ptr<Page> first;
};
}  // namespace inner
namespace inner_grew {
struct Page {
  std::int64_t id;
  char name[16];
  double rank;
  added::Link best[2];
  type_fixtures::Ptr<Page> next;
};
}  // namespace inner_grew
namespace pointee {
struct Site {
  int x;
};
struct Page {
  std::int64_t id;
  char name[16];
  double rank;
  v1::Link best[2];
  type_fixtures::Ptr<Site> next;
};
}  // namespace pointee
namespace padded {  // the same place in memory for every field, another size behind them
struct alignas(16) Page {
  std::int64_t id;
  char name[16];
  double rank;
  v1::Link best[2];
  type_fixtures::Ptr<Page> next;
};
}  // namespace padded

TEST(TypeDifference, EqualTypesHaveNone) {
  EXPECT_EQ((difference<v1::Root, v1::Root>()), "");
  const TypeDescription page = described<type_fixtures::Page>();
  EXPECT_EQ(describe_difference(page, page), "");
}

TEST(TypeDifference, NamesTheFieldThatChanged) {
  EXPECT_EQ((difference<v1::Page, changed_type::Page>()),
            "field `Page::rank` changed from f64 at offset 24 to f32 at offset 24");
  EXPECT_EQ((difference<v1::Page, longer_array::Page>()),
            "field `Page::name` changed from char[16] at offset 8 to char[24] at offset 8");
  EXPECT_EQ((difference<v1::Page, moved::Page>()),
            "field `Page::id` changed from i64 at offset 0 to i64 at offset 24");
  EXPECT_EQ((difference<v1::Page, pointee::Page>()),
            "field `Page::next` changed from ptr<Page> at offset 48 to ptr<Site> at offset 48");
}

TEST(TypeDifference, NamesMissingRenamedAndNewFields) {
  EXPECT_EQ((difference<v1::Page, removed::Page>()), "field `Page::name` is missing");
  EXPECT_EQ((difference<v1::Page, renamed::Page>()),
            "field `Page::name` is missing: `title` has its place and type");
  EXPECT_EQ((difference<v1::Page, added::Page>()),
            "`Page` grew from 56 to 64 bytes: new field `flags` (u16 at offset 24)");
  EXPECT_EQ((difference<removed::Page, v1::Page>()),
            "`Page` grew from 40 to 56 bytes: new field `name` (char[16] at offset 8)");
}

TEST(TypeDifference, LooksIntoFieldsAndThroughPointers) {
  EXPECT_EQ((difference<v1::Root, inner::Root>()),
            "field `Link::kind` changed from u32 at offset 4 to i32 at offset 4");
  EXPECT_EQ((difference<v1::Page, inner_grew::Page>()),
            "`Link` grew from 8 to 12 bytes: new field `colour` (u16 at offset 8)");
  EXPECT_EQ((difference<v1::Page, padded::Page>()),
            "`Page` changed from 56 bytes aligned to 8 to 64 bytes aligned to 16");
}

TEST(TypeDifference, NamesEnumerationsContainersAndRoots) {
  enum class Small : std::uint8_t {};
  enum class Signed : std::int8_t {};
  EXPECT_EQ((difference<Small, Signed>()),
            "`Small` changed from Small (u8) of 1 bytes aligned to 1 to Signed (i8) of 1 bytes "
            "aligned to 1");
  EXPECT_EQ((difference<v1::Page, v1::Root>()), "field `Page::id` is missing");
  EXPECT_EQ(
      (difference<int[3], int[4]>()),
      "`i32[3]` changed from i32[3] of 12 bytes aligned to 4 to i32[4] of 16 bytes aligned to 4");
  TypeDescription old = described<type_fixtures::Vector<int>>();
  old.types[0].layout_version = 1;
  EXPECT_EQ(describe_difference(old, described<type_fixtures::Vector<int>>()),
            "`vector<i32>` changed its own layout from version 1 to 2");
}

// Whatever changes a fingerprint must be found, wherever it lies.
TEST(TypeDifference, EveryChangeThatAFingerprintSeesIsDescribed) {
  const TypeDescription page = described<type_fixtures::Page>();
  const auto expect_described = [&](auto change) {
    TypeDescription other = page;
    change(other);
    EXPECT_NE(describe_difference(page, other), "");
    EXPECT_NE(describe_difference(other, page), "");
  };
  for (std::size_t i = 0; i < page.types.size(); ++i) {
    expect_described([i](TypeDescription& t) { t.types[i].size += t.types[i].align; });
    expect_described([i](TypeDescription& t) { t.types[i].align *= 2; });
    for (std::size_t f = 0; f < page.types[i].fields.size(); ++f) {
      expect_described([&](TypeDescription& t) { t.types[i].fields[f].name += "x"; });
      expect_described([&](TypeDescription& t) { t.types[i].fields[f].offset += 1; });
      expect_described([&](TypeDescription& t) { t.types[i].fields[f].count += 1; });
      expect_described([&](TypeDescription& t) {
        t.types[i].fields[f].type = t.types[i].fields[f].type == 1 ? 4 : 1;
      });
    }
  }
}

TEST(FieldPath, LeadsToTheInnermostField) {
  using type_fixtures::Link;
  using type_fixtures::Page;
  const TypeDescription table = described<Page>();
  const auto path = [&](std::size_t offset) {
    return field_path(table, 0, static_cast<std::uint32_t>(offset));
  };
  EXPECT_EQ(path(0), "id");
  EXPECT_EQ(path(7), "id");
  EXPECT_EQ(path(8), "title[0]");
  EXPECT_EQ(path(offsetof(Page, title) + 23), "title[23]");
  EXPECT_EQ(path(offsetof(Page, topic)), "topic");
  EXPECT_EQ(path(offsetof(Page, topic) + 1), "(padding)");
  EXPECT_EQ(path(offsetof(Page, best) + sizeof(Link) + offsetof(Link, label) + 3),
            "best[1].label[3]");
  EXPECT_EQ(path(offsetof(Page, best) + offsetof(Link, weight)), "best[0].weight");
  EXPECT_EQ(path(offsetof(Page, links) + 4), "links");
  EXPECT_EQ(path(offsetof(Page, next)), "next");
  EXPECT_EQ(path(sizeof(Page)), "");
  EXPECT_EQ(field_path(table, static_cast<std::uint16_t>(table.types.size()), 0), "");
}

TEST(FieldPath, CountsElementsOfArraysAndKnowsTypesWithoutParts) {
  struct Cell {
    std::uint16_t row[2][3];
    std::uint8_t used;
  };
  const TypeDescription cells = described<std::array<Cell, 5>>();
  EXPECT_EQ(field_path(cells, 0, 0), "[0].row[0]");
  EXPECT_EQ(field_path(cells, 0, 3 * sizeof(Cell) + 10), "[3].row[5]");
  EXPECT_EQ(field_path(cells, 0, 4 * sizeof(Cell) + 12), "[4].used");
  EXPECT_EQ(field_path(cells, 0, 4 * sizeof(Cell) + 13), "[4].(padding)");
  EXPECT_EQ(field_path(described<int[4]>(), 0, 9), "[2]");
  EXPECT_EQ(field_path(described<double>(), 0, 3), "");
}

}  // namespace
}  // namespace dolmen::object
