// SPDX-License-Identifier: Apache-2.0
#include "store/node_cache.hpp"

#include <thread>

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace dolmen::store {
namespace {

std::unique_ptr<NodeFrame> node_of(std::uint64_t number) {
  auto frame = std::make_unique<NodeFrame>();
  encode_node(std::vector<TreeEntry>{{{{number, 1}, 0}, {number * 8, 3, 12}, number}}, 0, *frame);
  return frame;
}

TEST(NodeCache, FindsANodeOnlyByBlockAndChecksum) {
  NodeCache cache(1 << 20);
  cache.insert(8, 77, node_of(1));
  std::uint64_t seen = 0;
  const auto look = [&](const NodeView& view) { seen = view.key(0).object.high; };
  EXPECT_FALSE(cache.visit(8, 78, look));
  EXPECT_FALSE(cache.visit(16, 77, look));
  EXPECT_EQ(seen, 0u);
  EXPECT_TRUE(cache.visit(8, 77, look));
  EXPECT_EQ(seen, 1u);
  cache.insert(8, 78, node_of(2));
  EXPECT_FALSE(cache.visit(8, 77, look));
  EXPECT_TRUE(cache.visit(8, 78, look));
  EXPECT_EQ(seen, 2u);
  EXPECT_EQ(cache.node_count(), 1u);
}

TEST(NodeCache, StaysWithinItsBoundAndKeepsWhatIsUsed) {
  constexpr std::size_t kNodes = 256;
  NodeCache cache(kNodes * kNodeBytes);
  cache.insert(8, 1, node_of(1));
  const auto ignore = [](const NodeView&) {};
  for (std::uint64_t i = 2; i < 5000; ++i) {
    cache.insert(i * 8, i, node_of(i));
    ASSERT_TRUE(cache.visit(8, 1, ignore)) << "the hot node was dropped after " << i;
  }
  EXPECT_LE(cache.node_count(), kNodes);
  EXPECT_GT(cache.node_count(), kNodes / 2);
}

TEST(NodeCache, ServesManyThreadsWhileNodesComeAndGo) {
  NodeCache cache(64 * kNodeBytes);
  const auto work = [&cache](std::uint64_t seed) {
    base::Random random(seed);
    for (int i = 0; i < 20000; ++i) {
      const std::uint64_t number = random.between(1, 200);
      std::uint64_t seen = number;
      const bool found = cache.visit(number * 8, number,
                                     [&](const NodeView& view) { seen = view.key(0).object.high; });
      ASSERT_EQ(seen, number);
      if (!found) cache.insert(number * 8, number, node_of(number));
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace dolmen::store
