// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <dolmen/index_key.hpp>

#include "base/random.hpp"

namespace dolmen {
namespace {

using Key = std::vector<std::byte>;
using Row = std::tuple<std::string, std::int64_t, double, std::uint64_t>;

std::string hex(const Key& key) {
  std::string text;
  for (const std::byte byte : key) {
    for (const int shift : {4, 0}) {
      text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> shift & 15];
    }
  }
  return text;
}

/// Numbers that are apart, near each other, and near where signs and lengths change.
std::uint64_t some_number(base::Random& random) {
  const std::uint64_t near = std::uint64_t{1} << random.below(64);
  switch (random.below(4)) {
    case 0:
      return random();
    case 1:
      return near + random.below(3) - 1;
    case 2:
      return ~near + random.below(3) - 1;
    default:
      return random.below(3);
  }
}

double some_double(base::Random& random) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kSpecial[] = {0.0,
                                 -0.0,
                                 kInfinity,
                                 -kInfinity,
                                 std::numeric_limits<double>::denorm_min(),
                                 -std::numeric_limits<double>::denorm_min(),
                                 std::numeric_limits<double>::max(),
                                 std::numeric_limits<double>::lowest()};
  if (random.chance(1, 3)) return kSpecial[random.below(std::size(kSpecial))];
  const auto any = std::bit_cast<double>(some_number(random));
  return std::isnan(any) ? 1.5 : any;
}

/// Few characters, so that many are alike and begin alike.
std::string some_text(base::Random& random) {
  constexpr std::string_view kCharacters(
      "\0\1\xff"
      "ab",
      5);
  std::string text;
  for (std::uint64_t left = random.below(5); left > 0; --left) {
    text += kCharacters[random.below(kCharacters.size())];
  }
  return text;
}

Row some_row(base::Random& random) {
  return {some_text(random), static_cast<std::int64_t>(some_number(random)), some_double(random),
          some_number(random)};
}

TEST(IndexKey, BytesAreInTheOrderOfThePartsAndLeadBackToThem) {
  base::Random random(7);
  std::vector<Row> rows;
  for (int i = 0; i < 250; ++i) rows.push_back(some_row(random));
  for (const Row& a : rows) {
    const Key key = key_of(a);
    const auto back = key_parts<std::string, std::int64_t, double, std::uint64_t>(key);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, a);
    EXPECT_EQ(key, key_of(std::get<0>(a), std::pair(std::get<1>(a), std::get<2>(a)),
                          std::tuple(std::get<3>(a))))
        << "tuples are their parts";
    for (const Row& b : rows) {
      // Texts as bytes are ordered: char may be signed, and the library compares as unsigned.
      ASSERT_EQ(a <=> b, key <=> key_of(b)) << hex(key) << " and " << hex(key_of(b));
    }
  }
}

TEST(IndexKey, EachTypeAloneIsInOrder) {
  base::Random random(8);
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t a = some_number(random);
    const std::uint64_t b = some_number(random);
    ASSERT_EQ(a <=> b, key_of(a) <=> key_of(b));
    const auto x = static_cast<std::int64_t>(a);
    const auto y = static_cast<std::int64_t>(b);
    ASSERT_EQ(x <=> y, key_of(x) <=> key_of(y));
    const double p = some_double(random);
    const double q = some_double(random);
    ASSERT_EQ(p < q, key_of(p) < key_of(q)) << p << " and " << q;
    ASSERT_EQ(p == q, key_of(p) == key_of(q)) << p << " and " << q;
    const std::string s = some_text(random);
    const std::string t = some_text(random);
    ASSERT_EQ(s < t, key_of(s, a) < key_of(t, a));
    ASSERT_EQ(key_of(s), key_of(std::as_bytes(std::span(s)))) << "a text is its bytes";
  }
  const double nan = -std::numeric_limits<double>::quiet_NaN();
  EXPECT_GT(key_of(nan), key_of(std::numeric_limits<double>::infinity()));
  EXPECT_TRUE(std::isnan(std::get<0>(key_parts<double>(key_of(nan)).value())));
  EXPECT_EQ(key_of(nan), key_of(std::numeric_limits<double>::signaling_NaN()));
}

TEST(IndexKey, IsWrittenAsTheFormatSays) {
  // docs/formats/index-key.md
  EXPECT_EQ(hex(key_of()), "");
  EXPECT_EQ(hex(key_of(1u)), "0000000000000001");
  EXPECT_EQ(hex(key_of(std::uint8_t{200})), "00000000000000c8");
  EXPECT_EQ(hex(key_of(-1)), "7fffffffffffffff");
  EXPECT_EQ(hex(key_of(std::int64_t{0})), "8000000000000000");
  EXPECT_EQ(hex(key_of(1.0)), "bff0000000000000");
  EXPECT_EQ(hex(key_of(-1.0)), "400fffffffffffff");
  EXPECT_EQ(hex(key_of(-0.0)), "8000000000000000");
  EXPECT_EQ(hex(key_of("ab")), "61620001");
  EXPECT_EQ(hex(key_of(std::string("a\0b", 3), -1)), "6100ff6200017fffffffffffffff");
  EXPECT_EQ(hex(key_of("", "")), "00010001");
}

TEST(IndexKey, AWidthIsNoPartOfIt) {
  EXPECT_EQ(key_of(7u), key_of(std::uint64_t{7}));
  EXPECT_EQ(key_of(std::int16_t{-7}), key_of(std::int64_t{-7}));
  EXPECT_EQ(std::get<0>(key_parts<std::uint8_t>(key_of(255u)).value()), 255);
  EXPECT_EQ(key_parts<std::uint8_t>(key_of(256u)).error().code(), Errc::corrupt);
  EXPECT_EQ(std::get<0>(key_parts<std::int8_t>(key_of(-128)).value()), -128);
  EXPECT_EQ(key_parts<std::int8_t>(key_of(-129)).error().code(), Errc::corrupt);
  EXPECT_EQ(key_parts<std::int8_t>(key_of(128)).error().code(), Errc::corrupt);
}

TEST(IndexKey, AllThatBeginAlikeAreOneRange) {
  base::Random random(9);
  for (int i = 0; i < 5'000; ++i) {
    const std::string first = some_text(random);
    const std::string wanted = some_text(random);
    const std::string second = some_text(random);
    const Key key = key_of(first, second, some_number(random));
    const auto is_in = [&](const Key& prefix) {
      const auto behind = key_behind(prefix);
      return key >= prefix && (!behind || key < *behind);
    };
    EXPECT_EQ(is_in(key_prefix(first, wanted)), second.starts_with(wanted)) << hex(key);
    EXPECT_EQ(is_in(key_of(first, wanted)), second == wanted) << hex(key);
    EXPECT_EQ(is_in(key_of(wanted)), first == wanted) << hex(key);
  }
  EXPECT_EQ(key_behind({}), std::nullopt);
  EXPECT_EQ(key_behind(key_of(~std::uint64_t{0})), std::nullopt);
  EXPECT_EQ(hex(*key_behind(key_of(std::uint64_t{255}))), "00000000000001");
}

TEST(IndexKey, WhatIsNoneIsAnError) {
  using Bytes = std::span<const std::byte>;
  const Key key = key_of("a", 1.0);
  for (std::size_t length = 0; length < key.size(); ++length) {
    EXPECT_FALSE((key_parts<std::string, double>(Bytes(key).first(length)))) << length;
  }
  EXPECT_FALSE((key_parts<std::string>(key))) << "there is more";
  EXPECT_FALSE((key_parts<std::string, double, std::string>(key))) << "there is less";
  EXPECT_FALSE((key_parts<std::string>(Key{std::byte{0}, std::byte{2}}))) << "no end";
  EXPECT_FALSE((key_parts<double>(key_of(std::uint64_t{0x7fffffffffffffff})))) << "-0.0";
  EXPECT_FALSE((key_parts<double>(key_of(~std::uint64_t{0})))) << "another NaN";
  EXPECT_TRUE((key_parts<>(Key{})));
}

}  // namespace
}  // namespace dolmen
