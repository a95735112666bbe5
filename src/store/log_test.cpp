// SPDX-License-Identifier: Apache-2.0
//
// Appending and waiting: group commit by threads on the real disk; failures and full disks on a
// simulated one.
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_hooks.hpp"
#include "store/store_sim_world.hpp"

namespace dolmen::store {
namespace {

constexpr ObjectId kA{10, 1};

Change fill(unsigned n, std::size_t bytes = 200) {
  return Change().write(kA, n * 64, std::string(bytes, static_cast<char>('a' + n % 26)));
}

TEST(Log, ThreadsShareSyncsAndEveryAcknowledgedRecordIsThere) {
  constexpr unsigned kThreads = 8;
  constexpr unsigned kCommits = 60;
  RealDirectory directory;
  {
    auto store = directory.create({.segment_bytes = 64u << 10, .tail_bytes_max = 1u << 20});
    ASSERT_TRUE(store) << store.error().message();
    ASSERT_TRUE((*store)->append(Change().create(kA, 16)));
    std::atomic<unsigned> failures{0};
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (unsigned k = 0; k < kCommits; ++k) {
          const Change change = Change().write(kA, (t * kCommits + k) * 8, "12345678");
          const auto index = (*store)->append(change);
          if (!index) {
            ++failures;
            continue;
          }
          // Every third commit is deferred: the next wait of anybody covers it.
          if (k % 3 != 0 && !(*store)->wait_durable(*index)) ++failures;
          if (k % 3 != 0 && (*store)->durable_index() < *index) ++failures;
          if (k % 16 == 0 && !(*store)->prepare_segments()) ++failures;
        }
      });
    }
    threads.clear();
    EXPECT_EQ(failures.load(), 0u);
    const StoreStats stats = (*store)->stats();
    EXPECT_EQ(stats.last_index, 1 + kThreads * kCommits);
    EXPECT_LT(stats.syncs, kThreads * kCommits * 2 / 3 + 50) << "nobody shared a sync";
    ASSERT_TRUE((*store)->close());
  }
  auto store = directory.open();
  ASSERT_TRUE(store) << store.error().message();
  EXPECT_EQ((*store)->last_index(), 1 + kThreads * kCommits);
  for (unsigned k = 0; k < kThreads * kCommits; ++k) {
    ASSERT_EQ(text_at(**store, kA, 16, k * 8, 8), "12345678") << k;
  }
}

TEST(Log, ReadersAndCheckpointsWorkBesideAppends) {
  RealDirectory directory;
  auto store = directory.create({.segment_bytes = 64u << 10, .tail_bytes_max = 256u << 10});
  ASSERT_TRUE(store) << store.error().message();
  ASSERT_TRUE((*store)->append(Change().create(kA, 16).write(kA, 0, "steady")));
  ASSERT_TRUE((*store)->wait_durable(1));
  store->reset();
  store = directory.open();
  ASSERT_TRUE(store) << store.error().message();
  // The object's first page never changes again, whatever is published meanwhile.
  class Steady final : public PageSource {
   public:
    Result<void> read_page_as_of(const PageKey& key, Index, base::MutableBytes out) override {
      std::ranges::fill(out, std::byte{0});
      if (key.page == 0) std::ranges::copy(base::as_bytes("steady"), out.begin());
      return {};
    }
  } source;
  std::atomic<bool> stop{false};
  std::atomic<unsigned> failures{0};
  {
    std::vector<std::jthread> threads;
    threads.emplace_back([&] {
      while (!stop) {
        if (text_at(**store, kA, 16, 0, 6) != "steady") ++failures;
      }
    });
    threads.emplace_back([&] {
      for (unsigned k = 0; k < 3000 && !stop; ++k) {
        if (!(*store)->append(Change().write(kA, 8192, std::string(100, 'x')))) ++failures;
      }
    });
    for (unsigned round = 0; round < 6; ++round) {
      CheckpointRequest request;
      request.as_of = (*store)->last_index();
      request.pages = {{kA, 0}, {kA, 2}};
      request.capacity_log2 = {{kA, std::uint8_t{16}}};
      request.source = &source;
      const auto stats = (*store)->checkpoint(request);
      if (!stats) ++failures;
    }
    stop = true;
  }
  EXPECT_EQ(failures.load(), 0u);
  EXPECT_TRUE((*store)->close());
}

TEST(Log, GivesIndicesInsideTheAppendCriticalSection) {
  StoreDriver driver;
  driver.create();
  Index seen = 0;
  const auto note = [](void* argument, Index index) { *static_cast<Index*>(argument) = index; };
  const auto first = driver.store().append(Change().create(kA, 12), Reserve::keep, note, &seen);
  ASSERT_TRUE(first);
  EXPECT_EQ(seen, *first);
  const auto large = driver.store().append(fill(0, 3000), Reserve::keep, note, &seen);
  ASSERT_TRUE(large);
  EXPECT_EQ(seen, *large);
  Index last = 0;
  driver.store().with_append_lock(note, &last);
  EXPECT_EQ(last, driver.store().last_index());
}

TEST(Log, AFailedSyncOrWriteEndsTheStore) {
  for (const auto on : {sim::FaultOn::sync, sim::FaultOn::write}) {
    for (unsigned nth = 1; nth <= 4; ++nth) {
      StoreDriver driver;
      driver.create();
      driver.commit(Change().create(kA, 16));
      if (nth > 1) {
        while (driver.store().stats().log_segments < 2) driver.commit(fill(1, 900));
      }
      const Index acknowledged = driver.store().durable_index();
      const Index index = driver.append(fill(2, nth == 1 ? 100 : 3900));
      driver.disk().inject({.on = on, .nth = nth});
      const auto durable = driver.store().wait_durable(index);
      if (durable) continue;  // fewer calls than nth
      EXPECT_EQ(durable.error().code(), Errc::store_failed);
      EXPECT_TRUE(driver.store().failed());
      // No retry helps, for the system may believe that the bytes are written.
      const auto again = driver.store().wait_durable(index);
      ASSERT_FALSE(again);
      EXPECT_EQ(again.error().code(), Errc::store_failed);
      const auto next = driver.store().append(fill(3));
      ASSERT_FALSE(next);
      EXPECT_EQ(next.error().code(), Errc::store_failed);
      EXPECT_FALSE(driver.try_checkpoint());
      EXPECT_EQ(driver.store().durable_index(), acknowledged);
      EXPECT_TRUE(driver.store().wait_durable(acknowledged)) << "what was durable stays so";
      EXPECT_FALSE(driver.store().close());
      driver.disk().clear_faults();
      driver.restart();
      EXPECT_GE(driver.store().last_index(), acknowledged);
      EXPECT_TRUE(holds(driver.store(), driver.model().at(driver.store().last_index())));
      driver.commit(Change().create({7, 7}, 9));
    }
  }
}

TEST(Log, AFullDiskRefusesTheWholeAppendAndGoesOnWhenThereIsRoom) {
  StoreDriver driver(1, {.reserve_segments = 1});
  driver.create();
  driver.commit(Change().create(kA, 16));
  driver.disk().set_capacity_bytes(driver.disk().used_bytes() + 1000);
  Index last = 0;
  unsigned refused = 0;
  for (unsigned n = 0; n < 40 && refused < 3; ++n) {
    const auto index = driver.store().append(fill(n, 600));
    if (index) {
      driver.model().commit(*index, fill(n, 600));
      last = *index;
      continue;
    }
    ++refused;
    EXPECT_EQ(index.error().code(), Errc::no_space);
    EXPECT_EQ(driver.store().last_index(), last) << "nothing was appended";
  }
  EXPECT_EQ(refused, 3u);
  EXPECT_FALSE(driver.store().failed());
  EXPECT_TRUE(driver.store().wait_durable(last)) << "what was accepted needs no more room";
  EXPECT_TRUE(holds(driver.store(), {})) << "reading goes on";
  // Large transactions are refused as a whole too.
  const auto large = driver.store().append(fill(0, 20'000));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code(), Errc::no_space);
  EXPECT_EQ(driver.store().last_index(), last);
  // Deleting uses what was kept aside; others may not have it.
  const auto erased = driver.store().append(Change().erase(kA), Reserve::use);
  ASSERT_TRUE(erased) << erased.error().message();
  EXPECT_TRUE(driver.store().wait_durable(*erased));
  EXPECT_FALSE(driver.store().append(fill(1, 10)));
  // Room comes back without reopening.
  driver.disk().set_capacity_bytes(driver.disk().used_bytes() + (1u << 20));
  const auto after = driver.store().append(Change().create({9, 9}, 9));
  ASSERT_TRUE(after) << after.error().message();
  EXPECT_TRUE(driver.store().wait_durable(*after));
}

TEST(Log, AReserveSegmentServesErasuresWhenTheCurrentOneIsFull) {
  StoreDriver driver(1, {.reserve_segments = 1});
  driver.create();
  driver.commit(Change().create(kA, 16));
  driver.disk().set_capacity_bytes(driver.disk().used_bytes());
  while (driver.store().append(fill(1, 900))) {
  }
  Index last = 0;
  unsigned erasures = 0;
  for (unsigned n = 0; n < 100; ++n) {
    const auto index = driver.store().append(Change().erase({n + 1, 0}), Reserve::use);
    if (!index) break;
    ++erasures;
    last = *index;
  }
  EXPECT_GT(erasures, 60u);
  EXPECT_TRUE(driver.store().wait_durable(last));
}

TEST(Log, AFailedPreparationHarmsNothing) {
  StoreDriver driver;
  driver.create();
  driver.commit(Change().create(kA, 16));
  driver.commit(fill(0, 3500));
  for (const auto on : {sim::FaultOn::create, sim::FaultOn::allocate, sim::FaultOn::write,
                        sim::FaultOn::sync, sim::FaultOn::rename, sim::FaultOn::sync_directory}) {
    driver.disk().inject({.on = on, .file = on == sim::FaultOn::sync_directory ? "" : "log"});
    const auto prepared = driver.store().prepare_segments();
    EXPECT_FALSE(prepared) << static_cast<int>(on);
    EXPECT_FALSE(driver.store().failed());
    driver.disk().clear_faults();
  }
  const auto names = driver.disk().list();
  ASSERT_TRUE(names);
  EXPECT_EQ(std::ranges::count_if(*names, [](const auto& n) { return n.starts_with("log/"); }), 1);
  EXPECT_TRUE(driver.store().prepare_segments());
  driver.commit(fill(1, 3500));
}

TEST(Log, ALogOfTooManySegmentsAsksForACheckpointFirst) {
  StoreDriver driver;
  driver.create({.segment_bytes = 8u << 10, .tail_bytes_max = 64u << 20});
  driver.commit(Change().create(kA, 16));
  EXPECT_FALSE(driver.store().checkpoint_due());
  unsigned appended = 0;
  for (;; ++appended) {
    const auto index = driver.store().append(fill(appended % 100, 3900));
    if (!index) {
      EXPECT_EQ(index.error().code(), Errc::no_space);
      break;
    }
    driver.model().commit(*index, fill(appended % 100, 3900));
    ASSERT_LT(appended, 200u) << "the root's list is bounded";
  }
  EXPECT_GT(appended, 140u);
  EXPECT_TRUE(driver.store().checkpoint_due());
  ASSERT_TRUE(driver.store().wait_durable(driver.store().last_index()));
  driver.restart();  // a recovery still finds room for its own segment
  driver.checkpoint();
  EXPECT_FALSE(driver.store().checkpoint_due());
  driver.commit(fill(3));
  EXPECT_LE(driver.store().stats().log_segments, 2u);
}

TEST(Log, AfterACheckpointNoneIsDueAlsoWithAShortTail) {
  StoreDriver driver;
  driver.create({.segment_bytes = 8u << 10, .tail_bytes_max = 24u << 10});
  driver.commit(Change().create(kA, 16));
  for (unsigned i = 0; i < 40; ++i) {
    while (!driver.store().checkpoint_due()) driver.commit(fill(i, 3500));
    driver.checkpoint();
    ASSERT_FALSE(driver.store().checkpoint_due()) << i;
  }
}

TEST(Log, ATransactionBeyondTheLimitIsRefused) {
  StoreDriver driver;
  driver.create();
  const std::byte never_read{};
  const auto index = driver.store().append(base::Bytes(&never_read, (1u << 30) + 1));
  ASSERT_FALSE(index);
  EXPECT_EQ(index.error().code(), Errc::too_large);
}

}  // namespace
}  // namespace dolmen::store
