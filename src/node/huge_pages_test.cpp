// SPDX-License-Identifier: Apache-2.0
//
// The memory of objects that grew large is advised to lie in huge pages; that of others never is,
// for it would cost 2 MiB where one page was touched.
#include <gtest/gtest.h>

#include <dolmen/vector.hpp>

#include "node/space_fixture.hpp"
#include "node/test_steps.hpp"

namespace dolmen::node {
namespace {

struct Pile {
  vector<vector<std::uint64_t>> parts;
};
constexpr std::size_t kPartNumbers = 64'000;  // half a MiB

void add_part(Space& space, const Object<Pile>& pile) {
  ASSERT_TRUE(space.transact(pile, [](mut<Pile> p) {
    const std::uint64_t number = p->parts.size();
    p->parts.emplace_back();
    p->parts.edit(p->parts.size() - 1)->assign(kPartNumbers, number);
  }));
}

TEST(HugePages, AreAskedForOnceByAnObjectThatGrewLarge) {
  const TestDirectory directory;
  Steps steps;
  const auto& advised = steps.count("txn.huge_pages");
  auto space = open_test_space(directory);
  const auto pile = space.create<Pile>().value();
  for (int i = 0; i < 4; ++i) add_part(space, pile);
  EXPECT_EQ(advised, 0u) << "2 MiB";
  for (int i = 0; i < 20; ++i) add_part(space, pile);
  EXPECT_EQ(advised, 1u) << "12 MiB";
  const auto sound = space.read(pile, [](ref<Pile> p) {
    std::uint64_t part = 0;
    for (const auto& numbers : p->parts) {
      if (numbers.size() != kPartNumbers || numbers.front() != part || numbers.back() != part)
        return false;
      ++part;
    }
    return part == 24;
  });
  EXPECT_TRUE(sound.value());
}

TEST(HugePages, AreNotAskedForWhereStoresAreGuardedPageByPage) {
  const TestDirectory directory;
  Steps steps;
  const auto& advised = steps.count("txn.huge_pages");
  auto space = open_test_space(directory, {.guard_stores = true});
  const auto pile = space.create<Pile>().value();
  for (int i = 0; i < 12; ++i) add_part(space, pile);
  EXPECT_EQ(advised, 0u);
}

}  // namespace
}  // namespace dolmen::node
