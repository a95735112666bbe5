// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include <dolmen/hash_map.hpp>
#include <dolmen/ordered_map.hpp>
#include <dolmen/vector.hpp>

#include "base/random.hpp"

namespace dolmen::txn::test {
namespace {

enum class Colour : std::int8_t { red = -1 };
struct Point {
  std::int32_t x;
  std::int32_t y;
};

TEST(Hash, OfIntegersIsTheSameForEver) {
  // splitmix64 with seed 0 begins with these two numbers.
  EXPECT_EQ(hash<std::uint64_t>{}(0), 0xE220A8397B1DCDAFull);
  EXPECT_EQ(hash<std::uint64_t>{}(0x9E3779B97F4A7C15ull), 0x6E789E6AA1B965F4ull);
  EXPECT_EQ(hash<std::int32_t>{}(-1), hash<std::uint64_t>{}(~0ull));
  EXPECT_EQ(hash<Colour>{}(Colour::red), hash<std::int8_t>{}(-1));
  EXPECT_EQ(hash<bool>{}(true), hash<std::uint8_t>{}(1));
  EXPECT_EQ(hash<double>{}(-0.0), hash<double>{}(0.0));
  EXPECT_EQ(hash<float>{}(1.5f), hash<double>{}(1.5));
}

TEST(Hash, OfBytesIsTheSameForEver) {
  // From a second implementation, over the bytes 0, 1, 2, …
  struct Golden {
    std::size_t bytes;
    std::uint64_t hash;
  };
  constexpr Golden kGolden[] = {
      {0, 0xA5506FF52926AC13ull},  {1, 0x855A226366AF32CFull},   {2, 0x416BB8A3FEE95955ull},
      {3, 0xC40D5E24DB8CB67Dull},  {4, 0x253E4B9AF91C8F0Full},   {7, 0x1B50DFCFF272A865ull},
      {8, 0x4E8E4F5A4608E7C9ull},  {15, 0x2CE4BC1BF643A20Full},  {16, 0xB8885A2661CC8ACFull},
      {17, 0xD8B0FAEA5B2F2786ull}, {32, 0x946FD0D2C320FA4Cull},  {33, 0xC326DE63BCF72B2Aull},
      {64, 0x3AA8B894B4019400ull}, {100, 0x74836A0826C97007ull}, {255, 0x2983C5D656D52FCFull},
  };
  std::array<unsigned char, 256> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i);
  for (const Golden& golden : kGolden) {
    EXPECT_EQ(detail::hash_bytes(bytes.data(), golden.bytes), golden.hash) << golden.bytes;
  }
  EXPECT_EQ((hash<std::array<std::uint32_t, 2>>{}({1, 2})), 0xDCCAFCC04EF2EC41u);
  EXPECT_EQ(detail::hash_target(ObjectId{1, 2}, 3), 0x34889690C5BEF7E7u);
}

TEST(Hash, OfAllKindsOfTextIsOne) {
  for (const char* text : {"", "a", "abcd", "a text of more than sixteen characters"}) {
    const std::uint64_t expected = detail::hash_bytes(text, std::strlen(text));
    EXPECT_EQ(hash<string>{}(text), expected);
    EXPECT_EQ(hash<string>{}(std::string(text)), expected);
    EXPECT_EQ(hash<string>{}(string(text)), expected);
  }
}

TEST(Hash, SpreadsOverBucketsTagsAndSlots) {
  // Chi-squared over 64 cells with 6400 samples: mean 63, standard deviation 11.
  const auto chi_squared = [](auto cell_of, auto key_of) {
    std::array<double, 64> cells{};
    for (std::uint64_t i = 0; i < 6400; ++i) cells[cell_of(key_of(i)) % 64] += 1;
    double sum = 0;
    for (const double count : cells) sum += (count - 100) * (count - 100) / 100;
    return sum;
  };
  const auto low = [](std::uint64_t hash) { return hash; };
  const auto slot = [](std::uint64_t hash) { return hash >> 43; };
  const auto tag = [](std::uint64_t hash) { return hash >> 49; };
  for (const std::uint64_t stride : {1ull, 64ull, 4096ull, 1ull << 32}) {
    const auto integer = [&](std::uint64_t i) { return hash<std::uint64_t>{}(i * stride); };
    const auto array = [&](std::uint64_t i) {
      return hash<std::array<std::uint64_t, 2>>{}({i * stride, 0});
    };
    const auto text = [&](std::uint64_t i) { return hash<string>{}(std::to_string(i * stride)); };
    for (const auto& cell : {+low, +slot, +tag}) {
      EXPECT_LT(chi_squared(cell, integer), 63 + 6 * 11);
      EXPECT_LT(chi_squared(cell, array), 63 + 6 * 11);
      EXPECT_LT(chi_squared(cell, text), 63 + 6 * 11);
    }
  }
}

TEST(Hash, OfEveryBitOfAKeyMatters) {
  base::Random random(5);
  for (std::size_t size = 1; size < 70; ++size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const std::uint64_t before = hash<string>{}(bytes);
    for (std::size_t bit = 0; bit < size * 8; ++bit) {
      std::string changed = bytes;
      changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
      EXPECT_NE(hash<string>{}(changed), before) << size << " bytes, bit " << bit;
    }
  }
}

TEST(Hash, OfAPointEqualsThatOfItsBytes) {
  const Point point{3, -4};
  EXPECT_EQ(hash<Point>{}(point), detail::hash_bytes(&point, sizeof(point)));
}

TEST(Hash, OfALinkComesFromObjectAndOffset) {
  const link<Point> one(ObjectId{1, 2}, 3);
  EXPECT_EQ(hash<link<Point>>{}(one), detail::hash_target(ObjectId{1, 2}, 3));
  EXPECT_NE(hash<link<Point>>{}(one), hash<link<Point>>{}(link<Point>(ObjectId{1, 2}, 4)));
  EXPECT_EQ(hash<ObjectId>{}(ObjectId{1, 2}), detail::hash_target(ObjectId{1, 2}, 0));
}

TEST(ContainerTypes, HaveOneNameOnEveryCompiler) {
  using Map = hash_map<string, vector<ptr<Point>>>;
  EXPECT_EQ(type_name<Map>(),
            "hash_map<string,vector<ptr<dolmen::txn::test::(anonymous)::Point>>>");
  using Key = std::array<std::byte, 16>;
  EXPECT_EQ((type_name<detail::HashNode<Key, std::uint64_t>>()),
            "dolmen::detail::HashNode<std::array<std::byte,16>,u64>");
  EXPECT_EQ((type_name<detail::BTreeLeaf<std::uint64_t, string>>()),
            "dolmen::detail::BTreeLeaf<u64,dolmen::string>");
  EXPECT_EQ((type_name<detail::HashNode<std::uint64_t, hash_map<std::int32_t, bool>>>()),
            "dolmen::detail::HashNode<u64,dolmen::hash_map<i32,bool>>");
}

struct OwnHash {
  std::uint64_t operator()(std::uint64_t key) const { return key; }
};
TEST(ContainerTypes, DifferInLayoutByHashAndOrder) {
  using Key = std::uint64_t;
  EXPECT_NE((type_info<hash_map<Key, Key, OwnHash>>().fingerprint),
            (type_info<hash_map<Key, Key>>().fingerprint));
  EXPECT_NE((type_info<ordered_map<Key, Key, std::greater<>>>().fingerprint),
            (type_info<ordered_map<Key, Key>>().fingerprint));
  EXPECT_EQ(sizeof(string), 24u);
  EXPECT_EQ(sizeof(vector<Key>), 16u);
  EXPECT_EQ((sizeof(hash_map<Key, Key>)), 24u);
  EXPECT_EQ((sizeof(ordered_map<Key, Key>)), 40u);
}

}  // namespace
}  // namespace dolmen::txn::test
