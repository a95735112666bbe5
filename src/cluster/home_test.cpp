// SPDX-License-Identifier: Apache-2.0
#include "cluster/home.hpp"

#include <set>

#include <gtest/gtest.h>

#include "cluster/home_fixture.hpp"

namespace dolmen::cluster {
namespace {

template <class T>
Errc home_error_of(const Result<T>& result) {
  return result ? Errc{} : result.error().code();
}

TEST(HomeMail, ComesBackAsItWasAndOnlyWhole) {
  for (const HomeMail& mail : example_home_mails()) {
    std::vector<std::byte> all = encode(mail);
    EXPECT_TRUE(is_home_mail(all));
    const auto again = decode_home_mail(all);
    ASSERT_TRUE(again) << mail.index();
    EXPECT_EQ(*again, mail);
    for (std::size_t length = 0; length < all.size(); ++length) {
      EXPECT_EQ(home_error_of(decode_home_mail(base::Bytes(all).first(length))), Errc::corrupt);
    }
    all.push_back(std::byte{0});
    EXPECT_EQ(home_error_of(decode_home_mail(all)), Errc::corrupt);
  }
}

TEST(HomeCommand, ComesBackAsItWasAndOnlyWhole) {
  for (const HomeCommand& command : example_home_commands()) {
    std::vector<std::byte> all = encode(command);
    const auto again = decode_home_command(all);
    ASSERT_TRUE(again) << command.index();
    EXPECT_EQ(*again, command);
    for (std::size_t length = 0; length < all.size(); ++length) {
      EXPECT_EQ(home_error_of(decode_home_command(base::Bytes(all).first(length))), Errc::corrupt);
    }
    all.push_back(std::byte{0});
    EXPECT_EQ(home_error_of(decode_home_command(all)), Errc::corrupt);
  }
}

TEST(HomeMail, IsTheGoldenFile) {
  EXPECT_EQ(in_a_row(example_home_mails()), golden("home_mails_v1.bin"));
}

TEST(HomeCommand, IsTheGoldenFile) {
  EXPECT_EQ(in_a_row(example_home_commands()), golden("home_commands_v1.bin"));
}

TEST(HomeMail, OfAnotherVersionIsNotUnderstood) {
  std::vector<std::byte> mail = encode(example_home_mails()[0]);
  mail[4] = std::byte{2};
  EXPECT_EQ(home_error_of(decode_home_mail(mail)), Errc::version_unsupported);
  std::vector<std::byte> command = encode(example_home_commands()[0]);
  command[0] = std::byte{2};
  EXPECT_EQ(home_error_of(decode_home_command(command)), Errc::version_unsupported);
}

TEST(HomeMail, WhatCannotBeIsRefused) {
  // Kind; then, of a part: id, move, counter, bytes of the object.
  for (const std::size_t offset : {6, 24, 32}) {
    std::vector<std::byte> mail = encode(example_home_mails()[0]);
    for (std::size_t i = 0; i < (offset == 6 ? 2u : 8u); ++i) mail[offset + i] = std::byte{0};
    EXPECT_EQ(home_error_of(decode_home_mail(mail)), Errc::corrupt) << offset;
  }
  std::vector<std::byte> mail = encode(example_home_mails()[0]);
  for (std::size_t i = 0; i < 16; ++i) mail[8 + i] = std::byte{0};
  EXPECT_EQ(home_error_of(decode_home_mail(mail)), Errc::corrupt);
  home::Part larger = std::get<home::Part>(example_home_mails()[0]);
  larger.object_bytes = 3;
  EXPECT_EQ(home_error_of(decode_home_mail(encode(HomeMail(larger)))), Errc::corrupt);
}

TEST(HomeHash, DependsOnTheIdAndOnEveryByte) {
  const std::vector<std::byte> all = bytes("one and another");
  std::set<std::uint64_t> hashes{hash_of_object(object(1), all, 4),
                                 hash_of_object(object(2), all, 4)};
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::vector<std::byte> other = all;
    other[i] ^= std::byte{1};
    hashes.insert(hash_of_object(object(1), other, 4));
  }
  EXPECT_EQ(hashes.size(), all.size() + 2);
  std::uint64_t hash = hash_before_parts(object(1));
  for (std::size_t at = 0; at < all.size(); at += 4) {
    hash =
        hash_of_part(hash, base::Bytes(all).subspan(at, std::min<std::size_t>(4, all.size() - at)));
  }
  EXPECT_EQ(hash, hash_of_object(object(1), all, 4));
}

TEST(HomeShards, AreAllUsed) {
  std::vector<std::size_t> found(8);
  for (std::uint64_t i = 1; i <= 800; ++i) ++found.at(shard_of(object(i), 3));
  for (const std::size_t each : found) EXPECT_GT(each, 60u);
  EXPECT_EQ(shard_of(object(1), 0), 0u);
}

}  // namespace
}  // namespace dolmen::cluster
