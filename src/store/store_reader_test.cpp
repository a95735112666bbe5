// SPDX-License-Identifier: Apache-2.0
//
// Readers beside a writer: what they see, what they hold back, and what happens when they are too
// slow.
#include <atomic>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "sim/sim_hooks.hpp"
#include "store/store_sim_world.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kA{10, 1};

TEST(StoreReader, SeesEverythingAcknowledgedBeforeItOpened) {
  StoreDriver driver;
  driver.create();
  driver.commit(Change().create(kA, 13).write(kA, 0, "first"));
  const std::uint64_t writes = driver.disk().op_count();
  auto reader = driver.open_on(driver.disk(), true);
  ASSERT_TRUE(reader) << reader.error().message();
  EXPECT_EQ((*reader)->last_index(), 1u);
  driver.commit(Change().write(kA, 0, "later"));
  EXPECT_EQ(text_at(**reader, kA, 13, 0, 5), "first") << "its state is its own";
  auto second = driver.open_on(driver.disk(), true);
  ASSERT_TRUE(second);
  EXPECT_EQ(text_at(**second, kA, 13, 0, 5), "later");
  EXPECT_TRUE(holds(**second, driver.model().at(2)));
  EXPECT_GT(driver.disk().op_count(), writes);
  driver.commit(Change().write(kA, 7, "the writer is not disturbed"));
}

TEST(StoreReader, MayNotChangeAnything) {
  StoreDriver driver;
  driver.create();
  driver.commit(Change().create(kA, 13));
  auto reader = driver.open_on(driver.disk(), true);
  ASSERT_TRUE(reader);
  EXPECT_EQ((*reader)->append(Change().erase(kA)).error().code(), Errc::read_only);
  EXPECT_EQ((*reader)->checkpoint({}).error().code(), Errc::read_only);
  EXPECT_EQ((*reader)->prepare_segments().error().code(), Errc::read_only);
  EXPECT_FALSE((*reader)->checkpoint_due());
  EXPECT_TRUE((*reader)->wait_durable(1));
  const auto report = (*reader)->scrub();
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->damage.empty());
  EXPECT_TRUE((*reader)->close());
}

TEST(StoreReader, ScrubNamesARootSlotThatDoesNotVerify) {
  for (unsigned slot = 0; slot < 4; ++slot) {
    StoreDriver driver;
    driver.create();
    driver.commit(Change().create(kA, 13));
    driver.disk().flip_bit("space", 4096 * slot + 100, 3);
    auto reader = driver.open_on(driver.disk(), true);
    ASSERT_TRUE(reader) << reader.error().message();
    const auto report = (*reader)->scrub();
    ASSERT_TRUE(report) << report.error().message();
    ASSERT_EQ(report->damage.size(), 1u) << slot;
    EXPECT_EQ(report->damage[0].where, "space: root slot " + std::to_string(slot));
  }
}

TEST(StoreReader, WorksOnADirectoryWithoutAWriterAndWithATornTail) {
  StoreDriver driver;
  driver.create();
  driver.commit(Change().create(kA, 13).write(kA, 0, "kept"));
  driver.append(Change().write(kA, 0, std::string(2000, 'x')));
  const auto crashed = driver.disk().crash({.kind = sim::CrashPlan::Kind::none});
  for (unsigned round = 0; round < 2; ++round) {
    auto reader = driver.open_on(*crashed, true);
    ASSERT_TRUE(reader) << reader.error().message();
    EXPECT_EQ((*reader)->last_index(), 1u);
    EXPECT_EQ(text_at(**reader, kA, 13, 0, 4), "kept");
  }
}

TEST(StoreReader, KeepsItsPagesWhileTheWriterCheckpoints) {
  StoreDriver driver;
  driver.create();
  driver.commit(Change().create(kA, 14).write(kA, 0, std::string(16384, 'a')));
  driver.checkpoint();
  auto reader = driver.open_on(driver.disk(), true);
  ASSERT_TRUE(reader);
  const Index seen = (*reader)->last_index();
  for (unsigned round = 0; round < 6; ++round) {
    driver.commit(
        Change().write(kA, round * 2000, std::string(4000, static_cast<char>('b' + round))));
    driver.checkpoint();
    EXPECT_TRUE(holds(**reader, driver.model().at(seen))) << "round " << round;
  }
  EXPECT_TRUE(holds(driver.store(), driver.model().at(driver.store().last_index())));
  // A writer that dies and comes back still respects the reader.
  driver.restart();
  driver.commit(Change().write(kA, 0, std::string(9000, 'z')));
  driver.checkpoint();
  driver.commit(Change().write(kA, 0, std::string(9000, 'y')));
  driver.checkpoint();
  EXPECT_TRUE(holds(**reader, driver.model().at(seen)));
}

TEST(StoreReader, IsToldWhenItWasTooSlowInsteadOfBeingGivenOtherBytes) {
  StoreDriver driver;
  driver.create({.segment_bytes = 8u << 10, .tail_bytes_max = 8u << 10});  // a small budget
  driver.commit(Change().create(kA, 16).write(kA, 0, std::string(3000, 'a')));
  driver.checkpoint();
  auto reader = driver.open_on(driver.disk(), true);
  ASSERT_TRUE(reader);
  const Index seen = (*reader)->last_index();
  bool told = false;
  for (unsigned round = 0; round < 60 && !told; ++round) {
    driver.commit(Change().write(kA, round % 8 * 4096,
                                 std::string(3500, static_cast<char>('b' + round % 20))));
    driver.checkpoint();
    std::vector<std::byte> page(kPageBytes);
    const auto read = (*reader)->read_page({kA, 0}, page);
    if (read) {
      ASSERT_TRUE(std::equal(page.begin(), page.end(),
                             driver.model().at(seen).objects.at(kA).bytes.begin()))
          << "round " << round;
    } else {
      EXPECT_EQ(read.error().code(), Errc::closed) << read.error().message();
      told = true;
    }
  }
  EXPECT_TRUE(told) << "the writer never took its blocks back";
}

TEST(StoreReader, PinsAreFreedWithTheirReaders) {
  StoreDriver driver;
  driver.create();
  driver.commit(Change().create(kA, 12));
  std::vector<std::unique_ptr<Store>> readers;
  for (;;) {
    auto reader = driver.open_on(driver.disk(), true);
    if (!reader) {
      EXPECT_EQ(reader.error().code(), Errc::limit);
      break;
    }
    readers.push_back(std::move(*reader));
  }
  EXPECT_EQ(readers.size(), 64u);
  readers.clear();
  EXPECT_TRUE(driver.open_on(driver.disk(), true));
}

// The writer runs at full speed and recycles segments; every opening must see a prefix of the log.
TEST(StoreReader, OpeningRacesWithABusyWriter) {
  RealDirectory directory;
  auto store = directory.create({.segment_bytes = 16u << 10, .tail_bytes_max = 64u << 10});
  ASSERT_TRUE(store) << store.error().message();
  ASSERT_TRUE((*store)->append(Change().create(kA, 12).write(kA, 0, "00000000")));
  ASSERT_TRUE((*store)->wait_durable(1));
  class LastWord final : public PageSource {
   public:
    Result<void> read_page_as_of(const PageKey&, Index as_of, base::MutableBytes out) override {
      std::ranges::fill(out, std::byte{0});
      std::ranges::copy(base::as_bytes(word(as_of)), out.begin());
      return {};
    }
    static std::string word(Index index) {
      std::string digits = std::to_string(index - 1);
      return std::string(8 - digits.size(), '0') + digits;
    }
  } source;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> failures{0};
  std::jthread writer([&] {
    while (!stop) {
      const Index next = (*store)->last_index() + 1;
      const auto index = (*store)->append(
          Change().write(kA, 0, LastWord::word(next)).write(kA, 100, std::string(300, 'f')));
      if (!index || !(*store)->wait_durable(*index)) ++failures;
      if ((*store)->checkpoint_due()) {
        CheckpointRequest request;
        request.as_of = *index;
        request.pages = {{kA, 0}};
        request.capacity_log2 = {{kA, std::uint8_t{12}}};
        request.source = &source;
        if (!(*store)->checkpoint(request)) ++failures;
      }
    }
  });
  struct Stop {
    std::atomic<bool>& stop;
    ~Stop() { stop = true; }
  } stopping{stop};
  Index last = 0;
  for (unsigned round = 0; round < 60 || (*store)->stats().checkpoint_index == 0; ++round) {
    ASSERT_LT(round, 5000u) << "the writer does not get on";
    const Index acknowledged = (*store)->durable_index();
    auto reader = directory.open({.read_only = true});
    ASSERT_TRUE(reader) << reader.error().message();
    const Index seen = (*reader)->last_index();
    EXPECT_GE(seen, acknowledged);
    EXPECT_GE(seen, last);
    last = seen;
    const std::string text = text_at(**reader, kA, 12, 0, 8);
    EXPECT_EQ(text, LastWord::word(seen));
  }
  stop = true;
  writer.join();
  EXPECT_EQ(failures.load(), 0u);
  EXPECT_GT((*store)->stats().checkpoint_index, 0u);
}

}  // namespace
}  // namespace dolmen::store
