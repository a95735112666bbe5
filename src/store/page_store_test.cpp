// SPDX-License-Identifier: Apache-2.0
#include "store/page_store.hpp"

#include <filesystem>

#include <stdlib.h>

#include <gtest/gtest.h>

#include "store/page_model.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kSpace{1, 2};

class PageStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "dolmen-pages-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    path = pattern;
    auto opened = sys::open_directory(path, sys::DirectoryMode::open_existing);
    ASSERT_TRUE(opened) << opened.error().message();
    disk = std::move(*opened);
    reopen({});
  }
  void TearDown() override {
    store.reset();
    std::filesystem::remove_all(path);
  }

  void reopen(const TreeRoot& root, const PageStoreOptions& options = {}) {
    store.reset();
    auto opened = PageStore::open(sys::linux_env(), *disk, kSpace, root, false, options);
    ASSERT_TRUE(opened) << opened.error().message();
    store = std::move(*opened);
  }
  TreeRoot checkpoint(PageModel& model) {
    const auto root = store->write_checkpoint(model.request(), stats);
    EXPECT_TRUE(root) << root.error().message();
    if (!root) return store->root();
    store->publish(*root);
    model.accept();
    return *root;
  }
  void expect_clean_scrub() {
    ScrubReport report;
    ASSERT_TRUE(store->scrub(report));
    EXPECT_TRUE(report.damage.empty()) << report.damage.front().where;
    EXPECT_EQ(report.bytes_verified, store->root().live_blocks * kUnitBytes);
  }

  std::string path;
  std::unique_ptr<sys::Disk> disk;
  std::unique_ptr<PageStore> store;
  CheckpointStats stats;
};

TEST_F(PageStoreTest, AnEmptyTreeHoldsNothing) {
  EXPECT_FALSE(*store->find({1, 1}));
  std::vector<std::byte> page(512, std::byte{7});
  EXPECT_FALSE(*store->read_page({{1, 1}, 0}, page));
  EXPECT_EQ(page, std::vector<std::byte>(512));
  EXPECT_EQ(*store->page_count({1, 1}), 0u);
  expect_clean_scrub();
}

TEST_F(PageStoreTest, AgreesWithAModelOverManyRandomCheckpointsAndReopenings) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    reopen({});
    PageModel model(seed);
    for (int round = 0; round < 25; ++round) {
      const std::uint64_t steps = model.random().below(round % 5 == 4 ? 400 : 60);
      for (std::uint64_t i = 0; i < steps; ++i) model.step();
      if (round % 8 == 7) model.erase_most();
      const TreeRoot root = checkpoint(model);
      ASSERT_EQ(model.difference(*store), "") << "round " << round;
      if (round % 3 == 0) {
        reopen(root);
        ASSERT_EQ(model.difference(*store), "") << "reopened after round " << round;
      }
    }
    expect_clean_scrub();
  }
}

}  // namespace
}  // namespace dolmen::store
