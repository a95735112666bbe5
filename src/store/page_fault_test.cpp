// SPDX-License-Identifier: Apache-2.0
//
// Failing reads, writes and syncs, and a full disk: an error, the former checkpoint untouched, and
// a store that goes on when the trouble is over.
#include <gtest/gtest.h>

#include "base/hooks.hpp"
#include "sim/sim_disk.hpp"
#include "sim/sim_env.hpp"
#include "store/page_model.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::store {
namespace {

class PageFaultTest : public testing::Test, public base::Hooks {
 protected:
  bool buggify(std::string_view site) override { return site == disturbed; }
  void probe(std::string_view) override {}
  bool planted(std::string_view) override { return false; }

  void open(const TreeRoot& root) {
    auto opened = PageStore::open(env.env(), disk, {1, 2}, root, false);
    ASSERT_TRUE(opened) << opened.error().message();
    store = std::move(*opened);
  }
  void SetUp() override {
    base::install_hooks(this);
    open({});
  }
  void TearDown() override { base::install_hooks(nullptr); }

  Result<TreeRoot> try_checkpoint(PageModel& model) {
    CheckpointStats stats;
    const auto root = store->write_checkpoint(model.request(), stats);
    if (!root) return root;
    store->publish(*root);
    store->recycle();
    model.accept();
    return root;
  }
  double file_over_live() {
    const auto now = *store->stats();
    return static_cast<double>(now.file_bytes_allocated) / static_cast<double>(now.live_bytes);
  }

  sim::SimEnv env{1, *sys::linux_env().memory};
  sim::SimDisk disk{1};
  std::unique_ptr<PageStore> store;
  std::string_view disturbed;
};

TEST_F(PageFaultTest, AnyFailingCallLeavesTheFormerCheckpointAndTheNextOneSucceeds) {
  // Blocks are not gathered: there are many more calls to fail.
  disturbed = "store.checkpoint_write_early";
  for (const Errc code : {Errc::io_error, Errc::no_space}) {
    PageModel model(2);
    open({});
    std::uint64_t failures = 0, harmless = 0;
    for (std::uint64_t nth = 1;; ++nth) {
      PageModel later = model;
      if (later.classes().size() > 60) later.erase_most();
      for (int i = 0; i < 30; ++i) later.step();
      // A reopened store meets the calls that build the map of free space, too.
      if (nth % 2 == 0) open(store->root());
      sim::DiskFault fault;
      fault.nth = nth;
      fault.code = code;
      disk.inject(fault);
      const std::uint64_t calls = disk.fallible_calls();
      CheckpointStats stats;
      const auto attempt = store->write_checkpoint(later.request(), stats);
      const std::uint64_t reached = disk.fallible_calls() - calls;
      disk.clear_faults();
      ASSERT_EQ(model.difference(*store), "") << "call " << nth;
      if (attempt) {
        store->discard();
        if (reached < nth) break;
        ++harmless;  // giving room back failed
      } else {
        ASSERT_EQ(attempt.error().code(), code);
        ++failures;
      }
      ASSERT_TRUE(try_checkpoint(later));
      ASSERT_EQ(later.difference(*store), "") << "call " << nth;
      model = later;
    }
    EXPECT_GT(failures, 10u);
    EXPECT_LE(harmless, failures);
  }
}

TEST_F(PageFaultTest, AFullDiskRefusesTheCheckpointAndTakesOneThatErases) {
  PageModel model(3);
  for (int i = 0; i < 400; ++i) model.step();
  ASSERT_TRUE(try_checkpoint(model));
  const std::uint64_t used = disk.used_bytes();
  const PageModel before = model;
  disk.set_capacity_bytes(used + 64 * 1024);
  for (int i = 0; i < 400; ++i) model.step();
  const auto refused = try_checkpoint(model);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::no_space);
  EXPECT_EQ(before.difference(*store), "");
  EXPECT_LE(disk.used_bytes(), used + kPageBytes) << "the abandoned blocks still take room";

  PageModel smaller = before;
  for (int i = 0; i < 8; ++i) smaller.erase(smaller.some_object());
  ASSERT_TRUE(try_checkpoint(smaller));
  EXPECT_EQ(smaller.difference(*store), "");

  disk.set_capacity_bytes(~std::uint64_t{0} / 2);
  for (int i = 0; i < 400; ++i) smaller.step();
  ASSERT_TRUE(try_checkpoint(smaller));
  EXPECT_EQ(smaller.difference(*store), "");
}

TEST_F(PageFaultTest, AFailingReadIsAnErrorAndNotAnAbsentPage) {
  PageModel model(4);
  const ObjectId id = model.create(12);
  ASSERT_TRUE(try_checkpoint(model));
  std::vector<std::byte> page(4096, std::byte{1});
  for (int warm = 0; warm < 2; ++warm) {
    sim::DiskFault fault;
    fault.on = sim::FaultOn::read;
    disk.inject(fault);
    EXPECT_EQ(store->read_page({id, 0}, page).error().code(), Errc::io_error);
    EXPECT_EQ(page, std::vector<std::byte>(4096));
    disk.clear_faults();
    EXPECT_TRUE(*store->read_page({id, 0}, page));
  }
  sim::DiskFault fault;
  fault.on = sim::FaultOn::read;
  fault.nth = 2;
  disk.inject(fault);
  ScrubReport report;
  ASSERT_TRUE(store->scrub(report));
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_NE(report.damage[0].where.find("io_error"), std::string::npos);
}

TEST_F(PageFaultTest, LostAndMisdirectedWritesAreFound) {
  for (const auto effect : {sim::FaultEffect::lose, sim::FaultEffect::misdirect}) {
    PageModel model(5);
    open({});
    for (int i = 0; i < 100; ++i) model.step();
    ASSERT_TRUE(try_checkpoint(model));
    for (int i = 0; i < 100; ++i) model.step();
    sim::DiskFault fault;
    fault.on = sim::FaultOn::write;
    fault.effect = effect;
    fault.shift = 4096;
    disk.inject(fault);
    ASSERT_TRUE(try_checkpoint(model));
    disk.clear_faults();
    EXPECT_NE(model.difference(*store), "");
    ScrubReport report;
    ASSERT_TRUE(store->scrub(report));
    EXPECT_FALSE(report.damage.empty());
  }
}

TEST_F(PageFaultTest, RandomRewritingKeepsTheFileNearTheLiveSize) {
  PageModel model(6);
  const ObjectId id = model.create(26);
  constexpr std::uint32_t kPages = 12288;
  for (std::uint32_t page = 0; page < kPages; ++page) model.write({id, page});
  ASSERT_TRUE(try_checkpoint(model));
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 2000; ++i) {
      model.write({id, static_cast<std::uint32_t>(model.random().below(kPages))});
    }
    ASSERT_TRUE(try_checkpoint(model));
    EXPECT_LE(file_over_live(), 1.05);
  }
  EXPECT_EQ(model.difference(*store), "");
}

}  // namespace
}  // namespace dolmen::store
