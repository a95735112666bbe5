// SPDX-License-Identifier: Apache-2.0
//
// The store on the real file system: what comes back after reopening.
#include "store/store.hpp"

#include <gtest/gtest.h>

#include "store/store_test_world.hpp"

namespace dolmen::store {
namespace {

TEST(Store, GivesBackAfterReopeningWhatWasMadeDurable) {
  RealDirectory directory;
  const ObjectId object{1, 2};
  {
    auto store = directory.create();
    ASSERT_TRUE(store) << store.error().message();
    const auto index = (*store)->append(Change().create(object, 14).write(object, 5000, "hello"));
    ASSERT_TRUE(index) << index.error().message();
    EXPECT_EQ(*index, 1u);
    ASSERT_TRUE((*store)->wait_durable(*index));
    EXPECT_EQ((*store)->durable_index(), 1u);
  }
  auto store = directory.open();
  ASSERT_TRUE(store) << store.error().message();
  EXPECT_EQ((*store)->last_index(), 1u);
  EXPECT_EQ(text_at(**store, object, 14, 5000, 5), "hello");
  const auto found = (*store)->find(object);
  ASSERT_TRUE(found && found->has_value());
  EXPECT_EQ((*found)->capacity_log2, 14);
  EXPECT_EQ((*store)->recovered_dirty_pages(), (std::vector<PageKey>{{object, 1}}));
}

TEST(Store, RefusesASecondWriterAndSaysWhoHoldsTheSpace) {
  RealDirectory directory;
  auto store = directory.create();
  ASSERT_TRUE(store) << store.error().message();
  const auto second = directory.open();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::held);
  const std::string pid = "pid " + std::to_string(directory.env().process->pid());
  EXPECT_NE(second.error().context().find(pid), std::string_view::npos) << second.error().context();
}

}  // namespace
}  // namespace dolmen::store
