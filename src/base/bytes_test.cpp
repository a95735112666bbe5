// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.hpp"

#include <gtest/gtest.h>

#include "base/checksum.hpp"
#include "base/random.hpp"

namespace dolmen::base {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
  std::vector<std::byte> bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(Bytes, IntegersAreLittleEndian) {
  ByteWriter writer;
  writer.put(std::uint8_t{0x12});
  writer.put(std::uint16_t{0x3456});
  writer.put(std::uint32_t{0x789abcde});
  EXPECT_EQ(writer.release(), bytes_of({0x12, 0x56, 0x34, 0xde, 0xbc, 0x9a, 0x78}));
}

TEST(Bytes, WhatIsWrittenIsRead) {
  ByteWriter writer;
  writer.put(std::int64_t{-5});
  writer.put_id({1, 2});
  writer.put_string("stone");
  writer.put_string("");
  writer.pad_to(8);
  EXPECT_EQ(writer.size() % 8, 0u);
  writer.patch(0, std::int64_t{-6});
  ByteReader reader(writer.bytes());
  EXPECT_EQ(reader.get<std::int64_t>(), -6);
  EXPECT_EQ(reader.get_id(), (ObjectId{1, 2}));
  EXPECT_EQ(reader.get_string(), "stone");
  EXPECT_EQ(reader.get_string(), "");
  EXPECT_FALSE(reader.finished());
  EXPECT_EQ(reader.take(reader.remaining()).size(), writer.size() - 33);
  EXPECT_TRUE(reader.finished());
}

TEST(Bytes, AShortReadFailsAndEveryLaterOneGivesZero) {
  const auto bytes = bytes_of({1, 2, 3, 4, 5});
  ByteReader reader(bytes);
  EXPECT_EQ(reader.get<std::uint32_t>(), 0x04030201u);
  EXPECT_EQ(reader.get<std::uint16_t>(), 0u);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_EQ(reader.get<std::uint8_t>(), 0u);
  EXPECT_TRUE(reader.take(0).empty());
  EXPECT_FALSE(reader.finished());
}

TEST(Bytes, AHostileLengthIsRefusedWithoutOverflow) {
  const auto bytes = bytes_of({0xff, 0xff, 1});
  ByteReader reader(bytes);
  EXPECT_EQ(reader.get_string(), "");
  EXPECT_TRUE(reader.failed());
  ByteReader other(bytes);
  (void)other.get<std::uint8_t>();
  EXPECT_TRUE(other.take(~std::size_t{0}).empty());
  EXPECT_TRUE(other.failed());
}

TEST(Checksum, ValuesNeverChange) {
  EXPECT_EQ(checksum64({}, 0), 0x2d06800538d394c2u);
  EXPECT_EQ(checksum64(as_bytes("dolmen"), 0), 0xb008198e2fbcfc44u);
  EXPECT_EQ(checksum64(as_bytes("dolmen"), 1), 0xf49fc2ba15583db7u);
  std::vector<std::byte> bytes(4096);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31 & 255);
  EXPECT_EQ(checksum64(Bytes(bytes).first(100), 7), 0x9bb062d2b50c09aau);
  EXPECT_EQ(checksum64(bytes, 7), 0xb0fc04a180a6eecfu);
}

TEST(Checksum, EveryFlippedBitIsSeen) {
  std::vector<std::byte> bytes(600, std::byte{0x5a});
  const std::uint64_t good = checksum64(bytes, 3);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_NE(checksum64(bytes, 3), good) << "bit " << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
}

TEST(Checksum, SeedsMixInOrder) {
  EXPECT_EQ(mix_seed(0, 0), 0xe220a8397b1dcdafu);
  EXPECT_EQ(mix_seed(1, 2), 0x3706970b052f16b1u);
  EXPECT_EQ(mix_seed(2, 1), 0x3fadb6bde9285e98u);
}

TEST(Random, SequencesNeverChange) {
  Random zero(0);
  EXPECT_EQ(zero(), 0x99ec5f36cb75f2b4u);
  EXPECT_EQ(zero(), 0xbf6e1f784956452au);
  EXPECT_EQ(zero(), 0x1a5f849d4933e6e0u);
  Random random(42);
  for (const unsigned expected : {8u, 37u, 68u, 92u, 99u, 76u, 71u, 85u}) {
    EXPECT_EQ(random.below(100), expected);
  }
}

TEST(Random, StaysInItsBoundsAndReachesThem) {
  Random random(1);
  std::array<int, 5> hits{};
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t value = random.between(10, 14);
    ASSERT_GE(value, 10u);
    ASSERT_LE(value, 14u);
    ++hits[value - 10];
  }
  for (const int count : hits) EXPECT_NEAR(count, 2000, 250);
  int heads = 0;
  for (int i = 0; i < 10'000; ++i) heads += random.chance(1, 4);
  EXPECT_NEAR(heads, 2500, 250);
}

TEST(Random, ForksAreIndependentStreams) {
  Random parent(9);
  Random first = parent.fork();
  Random second = parent.fork();
  EXPECT_NE(first(), second());
  Random again(9);
  Random same = again.fork();
  (void)same();
  EXPECT_EQ(first(), same());
}

}  // namespace
}  // namespace dolmen::base
