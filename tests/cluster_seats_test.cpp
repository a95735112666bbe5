// SPDX-License-Identifier: Apache-2.0
//
// Real clusters of more than three nodes: two of five that are gone at once, and nodes that are
// away for so long that others get their seats, which nobody asks for. Judged as
// cluster_process_test.cpp does.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/sanitizers.hpp"
#include "tests/cluster_load.hpp"
#include "tests/cluster_processes.hpp"

namespace {

using namespace dolmen::processes;

constexpr std::uint32_t kClients = 3;
constexpr std::uint64_t kNewAnswers = kClients + 1;

TEST(ClusterSeats, FiveNodesGoOnWithoutTwo) {
  constexpr std::uint32_t kNodes = 5;
  const int rounds = dolmen::base::kSanitized ? 2 : 6;
  Nodes nodes({.addresses = loopback(kNodes)});
  Load load(nodes, kClients);
  const std::uint64_t seed = now_ns();
  dolmen::base::Random random(seed);
  ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(kNewAnswers));
  (void)load.longest_s();
  for (int round = 0; round < rounds; ++round) {
    // Whoever leads one of the spaces, and another one.
    const std::uint32_t first = nodes.wait_for_leader(round % 2);
    const auto second = static_cast<std::uint32_t>((first + random.below(kNodes - 1)) % kNodes + 1);
    for (const std::uint32_t number : {first, second}) nodes.kill(number);
    ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(2 * kNewAnswers)) << "with three of five";
    for (const std::uint32_t number : {second, first}) nodes.start(number);
    ASSERT_NO_FATAL_FAILURE(nodes.wait_until_whole());
  }
  load.stop();
  EXPECT_EQ(load.unsure() + load.refused(), 0u) << nodes.said();
  std::printf("%d times two of five: %lu answers, the longest after %.2f s\n", rounds,
              load.answered(), load.longest_s());
  nodes.judge(load.operations());
  if (testing::Test::HasFailure()) std::printf("seed %lu\n", seed);
}

/// Until both spaces have their size without it.
void wait_until_replaced(Nodes& nodes, std::uint32_t gone) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (std::uint32_t space = 0; space < 2; ++space) {
    for (;;) {
      const auto seats = nodes.seats(space);
      if (seats && seats->size() == nodes.size() &&
          std::ranges::find(*seats, gone) == seats->end()) {
        break;
      }
      ASSERT_LT(std::chrono::steady_clock::now(), until) << nodes.status() << nodes.said();
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
}

TEST(ClusterSeats, WhoIsAwayForTooLongIsReplacedByNobodysOrder) {
  constexpr std::uint32_t kNodes = 5;
  // Long enough for a machine that is busy with other things.
  const milliseconds lost_after(dolmen::base::kSanitized ? 5000 : 1000);
  Nodes nodes({.size = 3, .lost_after = lost_after, .addresses = loopback(kNodes)});
  Load load(nodes, kClients);
  ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(kNewAnswers));
  (void)load.longest_s();
  constexpr std::uint32_t kRounds = 2;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const std::uint32_t gone = nodes.wait_for_leader(round % 2);
    const auto since = std::chrono::steady_clock::now();
    nodes.kill(gone);
    ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(kNewAnswers)) << "meanwhile";
    ASSERT_NO_FATAL_FAILURE(wait_until_replaced(nodes, gone));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - since;
    std::printf("node %u was replaced after %.2f s\n", gone, took.count());
    ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(kNewAnswers));
    ASSERT_NO_FATAL_FAILURE(nodes.wait_until_whole());
    // It comes back, and has nothing of what it left.
    nodes.start(gone);
    ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(kNewAnswers));
  }
  load.stop();
  EXPECT_EQ(load.unsure() + load.refused(), 0u) << nodes.said();
  std::printf("%u nodes replaced, %lu answers, the longest after %.2f s\n", kRounds,
              load.answered(), load.longest_s());
  nodes.judge(load.operations());
}

/// Of the pages of a space, as a node counts them: those that it got, and those that it had.
struct Pages {
  double received = 0;
  double kept = 0;
  double bytes = 0;
};
Pages pages_of(Nodes& nodes, std::uint32_t number, const std::string& space) {
  Pages pages;
  std::string text;
  // Whoever does not answer at once is left out.
  for (const auto until = std::chrono::steady_clock::now() + kPatience;
       text.empty() && std::chrono::steady_clock::now() < until;) {
    const auto metrics = nodes.cluster().metrics(kPatience);
    if (!metrics) continue;
    const auto its =
        std::ranges::find(metrics->nodes, number, &dolmen::ClusterMetrics::Node::number);
    if (its != metrics->nodes.end()) text = its->text;
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.contains("name=\"" + space + "\"")) continue;
    const double value = std::strtod(line.c_str() + line.rfind(' '), nullptr);
    if (line.starts_with("dolmen_state_received_pages_total")) pages.received = value;
    if (line.starts_with("dolmen_state_kept_pages_total")) pages.kept = value;
    if (line.starts_with("dolmen_state_received_bytes_total")) pages.bytes = value;
  }
  return pages;
}

/// Of what the members of a space's group keep of its log: the lowest index, and the highest.
struct EndsOfLogs {
  std::uint64_t first = 0;  ///< 0: somebody did not answer
  std::uint64_t last = 0;
};
EndsOfLogs ends_of_logs(Nodes& nodes, std::uint32_t space) {
  EndsOfLogs ends{.first = ~0ull};
  const auto statuses = nodes.client(space).status(kPatience);
  if (!statuses || statuses->empty()) return {};
  for (const dolmen::ReplicatedStatus& one : *statuses) {
    ends.first = std::min(ends.first, one.is_reached ? one.first_index : 0);
    ends.last = std::max(ends.last, one.last_index);
  }
  return ends;
}

TEST(ClusterSeats, WhoHadASeatBeforeGetsOnlyWhatChangedSince) {
  constexpr std::uint32_t kNodes = 5;
  constexpr std::uint64_t kPads = 32;
  const std::string space = Nodes::name(0);
  Nodes nodes({.size = 3, .log_bytes = 1u << 20, .addresses = loopback(kNodes)});
  const auto pad = [&](std::uint64_t which) {
    const auto done = dolmen::call_space(nodes.client(0), "pad", bytes_of(which), kPatience);
    ASSERT_TRUE(done) << done.error().message();
  };
  for (std::uint64_t i = 0; i < kPads; ++i) ASSERT_NO_FATAL_FAILURE(pad(i));
  ASSERT_NO_FATAL_FAILURE(nodes.wait_until_whole());
  const std::vector<std::uint32_t> seats = nodes.seats(0).value();
  const std::uint32_t back = seats[0];
  ASSERT_TRUE(nodes.cluster().drain(back, kPatience));
  ASSERT_NO_FATAL_FAILURE(wait_until_replaced(nodes, back));
  // So much that nobody's log goes back to what it knows; and always the same pages.
  const std::uint64_t known = ends_of_logs(nodes, 0).last;
  ASSERT_GT(known, 0u);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (std::uint64_t i = 1; i <= 16 || ends_of_logs(nodes, 0).first <= known; ++i) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << nodes.status() << nodes.said();
    ASSERT_NO_FATAL_FAILURE(pad(i << 32));
  }
  ASSERT_TRUE(nodes.cluster().undrain(back, kPatience));
  // Of the nodes that may have the seat it is the one that has pages already.
  const std::uint32_t leaves = seats[1];
  ASSERT_TRUE(nodes.cluster().drain(leaves, kPatience));
  ASSERT_NO_FATAL_FAILURE(wait_until_replaced(nodes, leaves));
  const auto now = nodes.seats(0).value();
  EXPECT_NE(std::ranges::find(now, back), now.end()) << nodes.status();
  ASSERT_NO_FATAL_FAILURE(nodes.wait_until_whole());
  const Pages pages = pages_of(nodes, back, space);
  std::printf("%.0f pages kept, %.0f received, %.0f bytes\n", pages.kept, pages.received,
              pages.bytes);
  EXPECT_GT(pages.kept, (kPads - 2) * 64) << nodes.status() << nodes.said();
  EXPECT_LT(pages.received, 4 * 64);
  EXPECT_LT(pages.bytes, kPads * kPadWords * 8 / 5);
  ASSERT_TRUE(nodes.cluster().undrain(leaves, kPatience));
  nodes.judge({});
}

}  // namespace

int main(int count, char** words) {
  if (const auto ended = run_as_process(count, words)) return *ended;
  testing::InitGoogleTest(&count, words);
  return RUN_ALL_TESTS();
}
