// SPDX-License-Identifier: Apache-2.0
#include "store/page_store.hpp"

#include <array>
#include <atomic>
#include <thread>

#include "base/sanitizers.hpp"
#include "store/page_test_directory.hpp"

namespace dolmen::store {
namespace {

using PageStoreTest = PageDirectory;

TEST_F(PageStoreTest, AnEmptyTreeHoldsNothing) {
  EXPECT_FALSE(*store->find({1, 1}));
  std::vector<std::byte> page(512, std::byte{7});
  EXPECT_FALSE(*store->read_page({{1, 1}, 0}, page));
  EXPECT_EQ(page, std::vector<std::byte>(512));
  EXPECT_EQ(*store->page_count({1, 1}), 0u);
  expect_clean_scrub();
}

TEST_F(PageStoreTest, AReaderNeedsNoFileBeforeTheFirstCheckpoint) {
  store.reset();
  std::filesystem::remove(file());
  const auto reader = open({}, true);
  EXPECT_FALSE(*reader->find({1, 1}));
  EXPECT_EQ(reader->stats()->file_bytes_allocated, 0u);
  EXPECT_FALSE(std::filesystem::exists(file()));
  CheckpointRequest nothing;
  EXPECT_EQ(reader->write_checkpoint(nothing, stats).error().code(), Errc::read_only);
}

TEST_F(PageStoreTest, AgreesWithAModelOverManyRandomCheckpointsAndReopenings) {
  if (base::kThreadSanitizer) GTEST_SKIP() << "one thread, and long";
  for (std::uint64_t seed = 1; seed <= (base::kSanitized ? 1 : 4); ++seed) {
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

TEST_F(PageStoreTest, ACheckpointIsSeenWhenItIsPublishedAndNotBefore) {
  PageModel model(1);
  const ObjectId id = model.create(12);
  const auto root = store->write_checkpoint(model.request(), stats);
  ASSERT_TRUE(root);
  EXPECT_FALSE(*store->find(id));
  store->publish(*root);
  store->recycle();
  EXPECT_TRUE(*store->find(id));
  EXPECT_EQ(stats.pages_written, 1u);
  EXPECT_EQ(stats.bytes_written, 8192u);
  EXPECT_EQ(store->stats()->live_bytes, 8192u);
  EXPECT_EQ(store->stats()->object_count, 1u);
}

TEST_F(PageStoreTest, ADiscardedCheckpointLeavesNoTrace) {
  PageModel model(1);
  for (int i = 0; i < 50; ++i) model.step();
  checkpoint(model);
  const auto before = *store->stats();
  PageModel later = model;
  for (int i = 0; i < 50; ++i) later.step();
  ASSERT_TRUE(store->write_checkpoint(later.request(), stats));
  store->discard();
  EXPECT_EQ(model.difference(*store), "");
  EXPECT_LE(store->stats()->file_bytes_allocated, before.file_bytes_allocated + 4096);
  checkpoint(later);
  EXPECT_EQ(later.difference(*store), "");
}

TEST_F(PageStoreTest, ACancelledCheckpointChangesNothingAndTheNextOneSucceeds) {
  if (base::kThreadSanitizer) GTEST_SKIP() << "one thread, and long";
  PageModel model(2);
  for (int i = 0; i < 200; ++i) model.step();
  checkpoint(model);
  PageModel later = model;
  for (int i = 0; i < 200; ++i) later.step();
  int polls = 0;
  for (int allowed = 0;; ++allowed) {
    CheckpointRequest request = later.request();
    request.cancelled = [&, left = allowed]() mutable { return ++polls, left-- == 0; };
    const auto root = store->write_checkpoint(request, stats);
    if (root) {
      store->publish(*root);
      store->recycle();
      break;
    }
    ASSERT_EQ(root.error().code(), Errc::aborted);
    ASSERT_EQ(model.difference(*store), "");
  }
  EXPECT_GT(polls, 2);
  EXPECT_EQ(later.difference(*store), "");
  expect_clean_scrub();
}

TEST_F(PageStoreTest, RefusesPagesOfUnknownObjectsAndImpossibleClasses) {
  PatternSource source(1);
  const auto error_of = [&](CheckpointRequest request) {
    request.source = &source;
    const auto root = store->write_checkpoint(request, stats);
    if (root) store->discard();
    return root ? Errc{} : root.error().code();
  };
  CheckpointRequest request;
  request.pages = {{{1, 1}, 0}};
  EXPECT_EQ(error_of(request), Errc::invalid_argument);
  request.pages = {{{1, 1}, 5}};
  EXPECT_EQ(error_of(request), Errc::invalid_argument);
  request.capacity_log2 = {{{1, 1}, 8}};
  EXPECT_EQ(error_of(request), Errc::invalid_argument);
  request.capacity_log2 = {{{1, 1}, 20}};
  EXPECT_EQ(error_of(request), Errc{});
  request.erased = {{1, 1}};
  EXPECT_EQ(error_of(request), Errc::invalid_argument);
  // Of an object that only comes and goes, nothing is asked.
  request.capacity_log2.clear();
  EXPECT_EQ(error_of(request), Errc{});
}

TEST_F(PageStoreTest, AWalkSeesTheTreeItBeganWithWhileCheckpointsReplaceEverything) {
  PatternSource source(1);
  CheckpointRequest request;
  request.source = &source;
  for (std::uint64_t i = 1; i <= 2000; ++i) {
    request.capacity_log2.emplace_back(ObjectId{i, 7}, std::uint8_t{9});
  }
  checkpoint(request);
  CheckpointRequest rewrite;
  rewrite.source = &source;
  for (std::uint64_t i = 1; i <= 2000; i += 2) rewrite.erased.push_back({i, 7});
  for (std::uint64_t i = 2; i <= 2000; i += 2) rewrite.pages.push_back({{i, 7}, 0});
  std::uint64_t seen = 0;
  const auto visit = [&](const ObjectInfo& info) {
    if (++seen != info.object.high) return false;
    if (seen % 200 == 0) {
      ++source.version;
      checkpoint(rewrite);
      rewrite.erased.clear();
    }
    return true;
  };
  ASSERT_TRUE(store->for_each_object(visit));
  EXPECT_EQ(seen, 2000u);
  EXPECT_EQ(store->root().object_count, 1000u);
  expect_clean_scrub();
}

// Another process's reader shares the file and nothing else.
TEST_F(PageStoreTest, BlocksStayWhileReuseIsHeldAndGoAfterwards) {
  if (base::kThreadSanitizer) GTEST_SKIP() << "one thread, and long";
  for (const bool hold : {false, true}) {
    reopen({});
    PageModel model(3);
    for (int i = 0; i < 300; ++i) model.step();
    TreeRoot root = checkpoint(model);
    const PageModel pinned = model;
    const auto reader = open(root, true);
    store->hold_reuse(hold);
    bool intact = true;
    for (int round = 0; round < 6; ++round) {
      for (int i = 0; i < 200; ++i) model.step();
      root = checkpoint(model);
      intact = intact && pinned.difference(*reader).empty();
      ASSERT_EQ(model.difference(*store), "");
      if (round == 2) {
        // The writer dies and comes back while the reader goes on.
        reopen(root);
        store->hold_reuse(hold);
      }
    }
    EXPECT_EQ(intact, hold) << "without a hold, reuse must be seen, or the test shows nothing";
    const auto before = *store->stats();
    store->hold_reuse(false);
    if (hold) {
      EXPECT_LT(store->stats()->file_bytes_allocated, before.file_bytes_allocated);
    }
    EXPECT_EQ(model.difference(*store), "");
    expect_clean_scrub();
  }
}

TEST_F(PageStoreTest, AResizedObjectIsReadInTheSizeThatIsAskedFor) {
  PatternSource source(1);
  CheckpointRequest request;
  request.source = &source;
  request.capacity_log2 = {{{1, 1}, 11}};
  checkpoint(request);
  std::vector<std::byte> expected(2048), larger(4096, std::byte{1}), smaller(512, std::byte{1});
  PatternSource::fill({{1, 1}, 0}, 1, expected);
  EXPECT_TRUE(*store->read_page({{1, 1}, 0}, larger));
  EXPECT_TRUE(*store->read_page({{1, 1}, 0}, smaller));
  EXPECT_TRUE(std::ranges::equal(std::span(larger).first(2048), expected));
  EXPECT_TRUE(std::ranges::all_of(std::span(larger).subspan(2048),
                                  [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_TRUE(std::ranges::equal(smaller, std::span(expected).first(512)));
  // With others, of which there are none.
  std::vector<std::byte> three(3 * 4096, std::byte{1});
  ASSERT_TRUE(store->read_pages({1, 1}, std::array{0u, 1u, 5u}, 4096, 4096, three));
  EXPECT_TRUE(std::ranges::equal(std::span(three).first(4096), larger));
  EXPECT_TRUE(std::ranges::all_of(std::span(three).subspan(4096),
                                  [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(PageStoreTest, PagesOfWhatIsNotThereAreZerosAndNone) {
  std::vector<std::byte> out(2 * 4096, std::byte{1});
  const std::vector<std::byte> zeros(out.size());
  const auto expect_nothing = [&](const ObjectId& id) {
    std::ranges::fill(out, std::byte{1});
    EXPECT_TRUE(store->read_pages(id, std::array{0u, 1u}, 4096, 4096, out));
    EXPECT_EQ(out, zeros);
    EXPECT_EQ(store->pages_of(id).value(), std::vector<std::uint32_t>());
  };
  expect_nothing({1, 1});
  PageModel model(3);
  const ObjectId id = model.create(13);
  checkpoint(model);
  expect_nothing({id.high, id.low - 1});  // before everything
  expect_nothing({id.high, id.low + 1});
}

TEST_F(PageStoreTest, AnObjectThatShrankAndGrewBetweenTwoCheckpointsHasNoOldPages) {
  PageModel model(7);
  const ObjectId id = model.create(16);
  for (std::uint32_t page = 1; page < 16; ++page) model.write({id, page});
  checkpoint(model);
  model.resize(id, 13);
  model.resize(id, 10);
  model.resize(id, 20);
  model.write({id, 9});
  checkpoint(model);
  EXPECT_EQ(model.difference(*store), "");
  EXPECT_EQ(*store->page_count(id), 10u);
}

TEST_F(PageStoreTest, ThreadsReadWholePagesOfSomePublishedVersion) {
  constexpr std::uint64_t kObjects = 300;
  PatternSource source(1);
  CheckpointRequest request;
  request.source = &source;
  for (std::uint64_t i = 1; i <= kObjects; ++i) {
    request.capacity_log2.emplace_back(ObjectId{i, 1}, std::uint8_t{12});
    request.pages.push_back({{i, 1}, 0});
  }
  checkpoint(request);
  request.capacity_log2.clear();
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> reads = 0;
  const auto read = [&](std::uint64_t seed) {
    base::Random random(seed);
    std::vector<std::byte> page(4096), expected(4096);
    std::uint64_t newest = 1;
    while (!stop) {
      const PageKey key{{random.between(1, kObjects), 1}, 0};
      const auto done = store->read_page(key, page);
      ASSERT_TRUE(done) << done.error().message();
      const auto version = base::load<std::uint64_t>(page, 24);
      PatternSource::fill(key, version, expected);
      ASSERT_EQ(page, expected);
      ASSERT_GE(version, newest);
      newest = version;
      ++reads;
    }
  };
  std::thread first(read, 1), second(read, 2);
  for (int round = 0; round < 30 || reads < 1000; ++round) {
    ++source.version;
    checkpoint(request);
  }
  stop = true;
  first.join();
  second.join();
}

TEST_F(PageStoreTest, WritesNoFasterThanAskedAndInShortBursts) {
  PatternSource source(1);
  CheckpointRequest request;
  request.source = &source;
  request.capacity_log2 = {{{1, 1}, 24}};
  for (std::uint32_t page = 0; page < 2048; ++page) request.pages.push_back({{1, 1}, page});
  request.bytes_per_second_max = 4 << 20;
  checkpoint(request);
  const double seconds = static_cast<double>(clock.slept_ns) / 1e9;
  EXPECT_NEAR(seconds, static_cast<double>(stats.bytes_written) / (4 << 20), 0.01);
  EXPECT_LE(clock.longest_ns, 60'000'000u);
}

}  // namespace
}  // namespace dolmen::store
