// SPDX-License-Identifier: Apache-2.0
//
// Many threads in one space, and many spaces in one process. What threads may see of each other is
// put as invariants that every reader checks.
#include <atomic>
#include <barrier>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <dolmen/string.hpp>
#include <dolmen/vector.hpp>

#include "node/space_fixture.hpp"

namespace dolmen::node {
namespace {

TEST(Concurrency, ContainersOffTheArenaWorkWhileAnotherThreadOpensTheFirstSpace) {
  const TestDirectory directory;
  std::atomic<int> rounds{0};
  std::atomic<bool> stop{false};
  std::jthread user([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      vector<string> texts;
      for (int i = 0; i < 20; ++i) texts.push_back(string(std::to_string(i)));
      EXPECT_EQ(texts[19], "19");
      rounds.fetch_add(1, std::memory_order_relaxed);
    }
  });
  while (rounds.load(std::memory_order_relaxed) == 0) std::this_thread::yield();
  const auto space = open_test_space(directory);
  const int opened_at = rounds.load(std::memory_order_relaxed);
  while (rounds.load(std::memory_order_relaxed) < opened_at + 2) std::this_thread::yield();
  stop.store(true, std::memory_order_relaxed);
}

template <int kNumber>
struct Numbered {
  std::uint64_t value;
};

template <int kNumber>
void first_use_by_many(Space& space) {
  constexpr int kThreads = 4;
  std::barrier together(kThreads);
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      together.arrive_and_wait();
      const auto made = space.create<Numbered<kNumber>>({.capacity = 512});
      EXPECT_TRUE(made) << made.error().message();
    });
  }
}

TEST(Concurrency, ManyThreadsMayBeTheFirstToUseAType) {
  const TestDirectory directory;
  auto space = open_test_space(directory);
  [&]<int... kNumbers>(std::integer_sequence<int, kNumbers...>) {
    (first_use_by_many<kNumbers>(space), ...);
  }(std::make_integer_sequence<int, 16>{});
}

TEST(Concurrency, WaitingForATicketThatWasNeverGivenIsAnError) {
  const TestDirectory directory;
  auto space = open_test_space(directory);
  const auto waited = space.wait(Ticket{.index = 1'000'000});
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code(), Errc::invalid_argument);
}

}  // namespace
}  // namespace dolmen::node
