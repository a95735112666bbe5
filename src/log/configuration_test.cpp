// SPDX-License-Identifier: Apache-2.0
#include "log/configuration.hpp"

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

TEST(Configuration, IsRefusedWhenCutOrImpossible) {
  const std::vector<std::byte> bytes = encode({.voters = ids({1, 5, 9}), .learners = ids({2, 7})});
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_configuration(base::Bytes(bytes).first(length)));
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_configuration(longer));
  std::vector<std::byte> huge = bytes;
  huge[3] = std::byte{0xFF};
  EXPECT_FALSE(decode_configuration(huge));
}

}  // namespace
}  // namespace dolmen::log
