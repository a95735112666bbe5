// SPDX-License-Identifier: Apache-2.0
//
// A real, temporary directory with one page store in it, and checkpoints in one call. Tests only.
#pragma once

#include <filesystem>

#include <stdlib.h>

#include <gtest/gtest.h>

#include "store/page_model.hpp"
#include "store/page_reader.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::store {

/// Time passes only by sleeping, and is counted.
class SleepingClock final : public sys::Clock {
 public:
  std::uint64_t monotonic_ns() noexcept override { return slept_ns; }
  std::uint64_t wall_ns() noexcept override { return 0; }
  void sleep_ns(std::uint64_t duration_ns) noexcept override {
    slept_ns += duration_ns;
    longest_ns = std::max(longest_ns, duration_ns);
  }
  std::uint64_t slept_ns = 0;
  std::uint64_t longest_ns = 0;
};

class PageDirectory : public testing::Test {
 protected:
  static constexpr ObjectId kSpace{1, 2};

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

  std::unique_ptr<PageStore> open(const TreeRoot& root, bool read_only) {
    sys::Env env = sys::linux_env();
    env.clock = &clock;
    auto opened = PageStore::open(env, *disk, kSpace, root, read_only);
    EXPECT_TRUE(opened) << opened.error().message();
    return opened ? std::move(*opened) : nullptr;
  }
  void reopen(const TreeRoot& root) {
    store.reset();
    store = open(root, false);
    ASSERT_NE(store, nullptr);
  }
  TreeRoot checkpoint(const CheckpointRequest& request) {
    const auto root = store->write_checkpoint(request, stats);
    EXPECT_TRUE(root) << root.error().message();
    if (!root) return store->root();
    store->publish(*root);
    store->recycle();
    return *root;
  }
  TreeRoot checkpoint(PageModel& model) {
    const TreeRoot root = checkpoint(model.request());
    model.accept();
    return root;
  }
  void expect_clean_scrub() {
    ScrubReport report;
    ASSERT_TRUE(store->scrub(report));
    EXPECT_TRUE(report.damage.empty()) << report.damage.front().where;
    EXPECT_EQ(report.bytes_verified, store->root().live_blocks * kUnitBytes);
  }
  [[nodiscard]] std::filesystem::path file() const { return path + "/" + std::string(kPagesFile); }

  SleepingClock clock;
  std::string path;
  std::unique_ptr<sys::Disk> disk;
  std::unique_ptr<PageStore> store;
  CheckpointStats stats;
};

/// Pages made of their key and a version: contents of any amount without a model in memory.
class PatternSource final : public PageSource {
 public:
  explicit PatternSource(std::uint64_t first_version) : version(first_version) {}
  static void fill(const PageKey& key, std::uint64_t version, base::MutableBytes out) {
    std::ranges::fill(out, std::byte{0x5A});
    base::store(out, 0, key.object.high);
    base::store(out, 8, key.object.low);
    base::store(out, 16, key.page);
    base::store(out, 24, version);
  }
  Result<void> read_page_as_of(const PageKey& key, Index, base::MutableBytes out) override {
    fill(key, version, out);
    return {};
  }
  std::uint64_t version;
};

}  // namespace dolmen::store
