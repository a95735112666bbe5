// SPDX-License-Identifier: Apache-2.0
#include "log/configuration.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include <gtest/gtest.h>

namespace dolmen::log {
namespace {

std::vector<ReplicaId> ids(std::initializer_list<std::uint64_t> numbers) {
  std::vector<ReplicaId> result;
  for (const std::uint64_t number : numbers) result.push_back(ReplicaId{number});
  return result;
}

TEST(Configuration, ComesBackAsItWas) {
  const Configuration configuration{.voters = ids({1, 5, 9}), .learners = ids({2, 7})};
  const auto again = decode_configuration(encode(configuration));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, configuration);
  EXPECT_TRUE(again->is_voter(ReplicaId{5}));
  EXPECT_FALSE(again->is_voter(ReplicaId{7}));
  EXPECT_TRUE(again->is_learner(ReplicaId{7}));
}

TEST(Configuration, HasVotersEachOnceAndNoLearnerAmongThem) {
  EXPECT_TRUE(is_valid({.voters = ids({1})}));
  EXPECT_FALSE(is_valid({}));
  EXPECT_FALSE(is_valid({.voters = {}, .learners = ids({1})}));
  EXPECT_FALSE(is_valid({.voters = ids({0, 1})}));
  EXPECT_FALSE(is_valid({.voters = ids({2, 1})}));
  EXPECT_FALSE(is_valid({.voters = ids({1, 1})}));
  EXPECT_FALSE(is_valid({.voters = ids({1, 3}), .learners = ids({2, 3})}));
  EXPECT_TRUE(is_valid({.voters = ids({1, 3}), .learners = ids({2, 4})}));
  std::vector<ReplicaId> many;
  for (std::uint64_t i = 1; i <= kMembersMax; ++i) many.push_back(ReplicaId{i});
  EXPECT_TRUE(is_valid({.voters = many}));
  many.push_back(ReplicaId{1000});
  EXPECT_FALSE(is_valid({.voters = many}));
}

TEST(Configuration, WitnessesAreVotersAndNotAllOfThem) {
  const Configuration configuration{
      .voters = ids({1, 5, 9}), .learners = ids({2, 7}), .witnesses = ids({9})};
  EXPECT_TRUE(is_valid(configuration));
  const auto again = decode_configuration(encode(configuration));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, configuration);
  EXPECT_TRUE(again->is_witness(ReplicaId{9}));
  EXPECT_FALSE(again->is_witness(ReplicaId{5}));
  EXPECT_FALSE(is_valid({.voters = ids({1, 5}), .witnesses = ids({2})}));
  EXPECT_FALSE(is_valid({.voters = ids({1, 5}), .learners = ids({2}), .witnesses = ids({2})}));
  EXPECT_FALSE(is_valid({.voters = ids({1, 5}), .witnesses = ids({1, 5})}));
  EXPECT_FALSE(is_valid({.voters = ids({1, 5, 9}), .witnesses = ids({9, 5})}));
}

// Byte by byte, as docs/formats/log-message.md says.
TEST(Configuration, LooksAsDocumented) {
  const auto hex = [](const std::vector<std::byte>& bytes) {
    std::string text;
    for (const std::byte byte : bytes) text += "0123456789abcdef"[std::to_integer<int>(byte)];
    return text;  // small numbers only
  };
  EXPECT_EQ(hex(encode({.voters = ids({1, 5}), .learners = ids({2})})),
            "20001000"
            "10000000"
            "50000000"
            "20000000");
  EXPECT_EQ(hex(encode({.voters = ids({1, 5}), .learners = ids({2}), .witnesses = ids({5})})),
            "20011000"
            "10000000"
            "50000000"
            "20000000"
            "1000"
            "50000000");
}

TEST(Configuration, WithAWitnessIsTheGoldenFile) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / "log_configuration_v2.bin";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  const std::vector<std::byte> bytes =
      encode({.voters = ids({1, 5, 9}), .learners = ids({7}), .witnesses = ids({9})});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(bytes)));
}

TEST(Configuration, ALayoutThatIsNotKnownIsNotGuessedAt) {
  std::vector<std::byte> bytes = encode({.voters = ids({1, 5, 9}), .witnesses = ids({9})});
  bytes[3] = std::byte{2};
  const auto decoded = decode_configuration(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), Errc::version_unsupported);
  // Nobody in the place for witnesses: there is one way to say that, and it is another.
  base::ByteWriter out;
  out.put(std::uint32_t{1} | 1u << 24);
  out.put(std::uint32_t{0});
  out.put(std::uint64_t{7});
  out.put(std::uint32_t{0});
  EXPECT_FALSE(decode_configuration(out.release()));
}

TEST(Configuration, IsRefusedWhenCutOrImpossible) {
  const std::vector<std::byte> bytes = encode({.voters = ids({1, 5, 9}), .learners = ids({2, 7})});
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_configuration(base::Bytes(bytes).first(length)));
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_configuration(longer));
  const std::vector<std::byte> witnessed =
      encode({.voters = ids({1, 5, 9}), .learners = ids({2, 7}), .witnesses = ids({1, 5})});
  for (std::size_t length = 0; length < witnessed.size(); ++length) {
    EXPECT_FALSE(decode_configuration(base::Bytes(witnessed).first(length)));
  }
  std::vector<std::byte> huge = bytes;
  huge[3] = std::byte{0xFF};
  EXPECT_FALSE(decode_configuration(huge));
}

}  // namespace
}  // namespace dolmen::log
