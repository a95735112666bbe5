// SPDX-License-Identifier: Apache-2.0
//
// Part of conformance.hpp: wait() and wake().
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "fabric/conformance.hpp"

namespace dolmen::fabric {
namespace {

TEST_P(FabricConformance, WaitEndsAtItsTimeAndBlocksUntilThen) {
  if (!is_real_time()) GTEST_SKIP() << "nothing blocks in this world";
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  cluster.settle();
  Endpoint& alice = cluster.at(kAlice);
  const std::uint64_t until_ns = cluster.world().now_ns() + 50'000'000;
  int returns = 0;
  while (cluster.world().now_ns() < until_ns) {
    ASSERT_TRUE(alice.wait(until_ns));
    ASSERT_TRUE(alice.poll(cluster.heard(kAlice)));
    ++returns;
  }
  EXPECT_LT(returns, 1000) << "it spun, which this world's endpoints are told not to do";
  EXPECT_LT(cluster.world().now_ns(), until_ns + 5'000'000'000) << "it overslept";
  ASSERT_TRUE(alice.wait(0));
  ASSERT_TRUE(alice.wait(1));
}

TEST_P(FabricConformance, WaitEndsWhenSomethingArrives) {
  if (!is_real_time()) GTEST_SKIP() << "nothing blocks in this world";
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  cluster.settle();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(cluster.at(kBob).send(cluster.name(kAlice), base::as_bytes("x")));
    ASSERT_TRUE(cluster.at(kBob).wait(0));  // sends it
    const std::size_t before = cluster.heard(kAlice).messages.size();
    const std::uint64_t end_ns = cluster.world().now_ns() + 20'000'000'000;
    while (cluster.heard(kAlice).messages.size() == before) {
      ASSERT_LT(cluster.world().now_ns(), end_ns) << "wait() slept through it";
      ASSERT_TRUE(cluster.at(kAlice).wait(end_ns));
      ASSERT_TRUE(cluster.at(kAlice).poll(cluster.heard(kAlice)));
    }
  }
}

TEST_P(FabricConformance, AWakeFromAnotherThreadEndsTheWait) {
  if (!is_real_time()) GTEST_SKIP() << "nothing blocks in this world";
  Cluster& cluster = cluster_;
  ASSERT_NO_FATAL_FAILURE(cluster.connect({kAlice, kBob}));
  cluster.settle();
  Endpoint& alice = cluster.at(kAlice);
  const std::uint64_t end_ns = cluster.world().now_ns() + 60'000'000'000;
  alice.wake();  // before the wait: not lost, not even to a poll
  ASSERT_TRUE(alice.poll(cluster.heard(kAlice)));
  ASSERT_TRUE(alice.wait(end_ns));
  constexpr int kRounds = 300;
  std::atomic<int> told = 0;
  std::atomic<int> seen = 0;
  std::thread other([&] {
    for (int i = 1; i <= kRounds; ++i) {
      told.store(i);
      alice.wake();
      while (seen.load() < i) std::this_thread::yield();
    }
  });
  while (seen.load() < kRounds && cluster.world().now_ns() < end_ns) {
    EXPECT_TRUE(alice.poll(cluster.heard(kAlice)));
    EXPECT_TRUE(alice.wait(end_ns));
    seen.store(told.load());
  }
  EXPECT_LT(cluster.world().now_ns(), end_ns) << "a wake was lost";
  seen.store(kRounds);
  other.join();
}

}  // namespace
}  // namespace dolmen::fabric
