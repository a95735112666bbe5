// SPDX-License-Identifier: Apache-2.0
#include "object/type_table.hpp"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "object/type_fixtures.hpp"

namespace dolmen::object {
namespace {

using type_fixtures::Page;

TypeDescription page() {
  auto described = describe_type(type_info<Page>());
  EXPECT_TRUE(described.has_value());
  return described.value_or(TypeDescription{});
}

std::uint16_t index_of(const TypeDescription& table, std::string_view name) {
  const auto found = std::ranges::find(table.types, name, &TypeEntry::name);
  EXPECT_NE(found, table.types.end()) << name;
  return static_cast<std::uint16_t>(found - table.types.begin());
}

TEST(TypeTable, DescribesTheRootAndEverythingReachableFromIt) {
  const TypeDescription table = page();
  std::vector<std::string> names;
  for (const TypeEntry& type : table.types) names.push_back(type.name);
  const std::string in = "type_fixtures::";
  EXPECT_EQ(names, (std::vector<std::string>{
                       in + "Page", "i64", "char", in + "Topic", "f64", in + "Link",
                       "vector<" + in + "Link>", "hash_map<u64," + in + "Link[4]>", "uuid",
                       "ptr<" + in + "Page>", "u8", "u32", "u64", in + "Link[4]"}));
  const TypeEntry& root = table.types[0];
  EXPECT_EQ(root.kind, TypeKind::record);
  EXPECT_TRUE(root.holds_pointers);
  EXPECT_EQ(root.size, sizeof(Page));
  EXPECT_EQ(root.fields[4].name, "best");
  EXPECT_EQ(root.fields[4].offset, offsetof(Page, best));
  EXPECT_EQ(root.fields[4].count, 2u);
  EXPECT_EQ(table.types[root.fields[4].type].name, in + "Link");
  const TypeEntry& map = table.types[index_of(table, "hash_map<u64," + in + "Link[4]>")];
  EXPECT_EQ(table.types[map.element].name, "u64");
  EXPECT_EQ(table.types[map.element2].count, 4u);
  EXPECT_EQ(table.types[index_of(table, "ptr<" + in + "Page>")].element, 0);
}

TEST(TypeTable, BytesDecodeToWhatWasEncoded) {
  const auto bytes = encode_type(type_info<Page>());
  ASSERT_TRUE(bytes.has_value());
  const auto decoded = decode_types(*bytes);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message();
  EXPECT_EQ(*decoded, page());
  EXPECT_EQ(encode_types(*decoded), *bytes);
}

TEST(TypeTable, EncodingIsTheGoldenFileOfVersion1) {
  std::ifstream file(std::string(DOLMEN_GOLDEN_DIR) + "/types_v1.bin", std::ios::binary);
  const std::string golden((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
  ASSERT_FALSE(golden.empty());
  const auto bytes = encode_type(type_info<Page>());
  ASSERT_TRUE(bytes.has_value());
  EXPECT_TRUE(std::ranges::equal(base::as_bytes(golden), *bytes));
  const auto decoded = decode_types(base::as_bytes(golden));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message();
  EXPECT_EQ(*decoded, page());
}

TEST(TypeTable, EveryTruncationAndEveryExtraByteIsRefused) {
  std::vector<std::byte> bytes = encode_types(page());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto decoded = decode_types(base::Bytes(bytes).first(size));
    ASSERT_FALSE(decoded.has_value()) << size;
    EXPECT_EQ(decoded.error().code(), Errc::corrupt);
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_types(bytes).has_value());
}

TEST(TypeTable, AChangedByteIsRefusedOrReadAsItStands) {
  const std::vector<std::byte> bytes = encode_types(page());
  std::size_t refused = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const unsigned flip : {0x01u, 0x80u, 0xFFu}) {
      std::vector<std::byte> changed = bytes;
      changed[i] ^= static_cast<std::byte>(flip);
      const auto decoded = decode_types(changed);
      if (decoded) {
        EXPECT_EQ(encode_types(*decoded), changed) << i;
      } else {
        ++refused;
      }
    }
  }
  // Names of records, elements behind pointers and the pointer flag stand outside the fingerprints.
  EXPECT_GT(refused, bytes.size() * 2);
}

TEST(TypeTable, AnUnknownVersionIsToldFromDamage) {
  std::vector<std::byte> bytes = encode_types(page());
  bytes[4] = std::byte{2};
  const auto decoded = decode_types(bytes);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code(), Errc::version_unsupported);
}

// What the decoder says of a description that is sound but for one change.
template <class Change>
std::string refusal(Change change) {
  TypeDescription table = page();
  change(table);
  const auto decoded = decode_types(encode_types(table));
  return decoded ? "accepted" : std::string(decoded.error().context());
}

TEST(TypeTable, BrokenInvariantsAreRefusedByName) {
  using Table = TypeDescription;
  EXPECT_EQ(refusal([](Table&) {}), "accepted");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].align = 3; }), "type table: alignment");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].size = 0; }), "type table: size");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].size -= 8; }),
            "type table: field outside its record");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].fields[1].offset = 4; }),
            "type table: fields overlap");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].fields[1].count = 0; }), "type table: field type");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].fields[1].count = 0xFFFFFFFF; }),
            "type table: field outside its record");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].fields[0].type = 13; }),
            "type table: field of arrays");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].fields[0].name = "other"; }),
            "type table: fingerprint");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].fields[0].name = "next"; }),
            "type table: field named twice");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].fields[0].name = "\x1b[2J"; }), "type table");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].name.clear(); }), "type table");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].name.assign(kTypeNameBytesMax + 1, 'x'); }),
            "type table");
  EXPECT_EQ(refusal([](Table& t) { t.types[0].element = 1; }), "type table: element");
  EXPECT_EQ(refusal([](Table& t) { t.types[6].element = 14; }), "type table");
  EXPECT_EQ(refusal([](Table& t) { t.types[13].element = kNoType; }),
            "type table: array without element");
  EXPECT_EQ(refusal([](Table& t) { t.types[13].element = 13; }), "type table: array of arrays");
  EXPECT_EQ(refusal([](Table& t) { t.types[13].count = 5; }), "type table: array size");
  EXPECT_EQ(refusal([](Table& t) { t.types[3].element = 4; }),
            "type table: integer of an enumeration");
  EXPECT_EQ(refusal([](Table& t) { t.types[1].kind = TypeKind{17}; }), "type table: kind");
  EXPECT_EQ(refusal([](Table& t) { t.types[1].layout_version = 1; }), "type table: layout version");
  EXPECT_EQ(refusal([](Table& t) { t.types[1].count = 2; }), "type table: count");
  EXPECT_EQ(refusal([](Table& t) { t.types[1].fields = t.types[0].fields; }), "type table: fields");
}

// A record of `size` bytes whose only field is a whole other record.
TypeEntry wrapper(std::uint16_t inner, std::uint32_t size) {
  TypeEntry type{"W", TypeKind::record, false, size, 1, 1, 0, 0, kNoType, kNoType, {}};
  type.fields.push_back({"inner", 0, 1, inner});
  return type;
}

TEST(TypeTable, TypesThatContainThemselvesAreRefused) {
  TypeDescription loop;
  loop.types.push_back(wrapper(1, 8));
  loop.types.push_back(wrapper(0, 8));
  const auto decoded = decode_types(encode_types(loop));
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().context(), "type table: nested too deep");

  TypeDescription chain;
  for (std::uint16_t i = 1; i <= kNestingMax; ++i) chain.types.push_back(wrapper(i, 1));
  chain.types.push_back(
      {"u8", TypeKind::unsigned_integer, false, 1, 1, 1, 0, 0, kNoType, kNoType, {}});
  const auto deep = decode_types(encode_types(chain));
  ASSERT_FALSE(deep.has_value());
  EXPECT_EQ(deep.error().context(), "type table: nested too deep");
}

TEST(TypeTable, TheLongestLoopOfTypesIsRefused) {
  TypeDescription loop;
  for (std::size_t i = 0; i < kTypesMax; ++i)
    loop.types.push_back(wrapper(static_cast<std::uint16_t>((i + 1) % kTypesMax), 1));
  const auto decoded = decode_types(encode_types(loop));
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().context(), "type table: nested too deep");
}

}  // namespace
}  // namespace dolmen::object
