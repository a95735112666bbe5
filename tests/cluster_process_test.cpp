// SPDX-License-Identifier: Apache-2.0
//
// A real cluster, each node and each client a process of its own, killed, stopped, cut off and out
// of disk under load. What the clients saw is kept outside of them; in the end everything that was
// acknowledged is in the books once, in an order that their clocks allow, everything else at most
// once, the mail arrived, and the nodes' images are equal.
#include "tests/cluster_processes.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/test_budget.hpp"
#include "tests/cluster_load.hpp"
#include "tests/network_namespaces.hpp"

namespace {

using namespace dolmen::processes;
using dolmen::base::budget;
using dolmen::base::Random;

constexpr std::uint32_t kNodes = 3;
constexpr std::uint32_t kClients = 4;
/// At least one of so many answers is to a call that began only now.
constexpr std::uint64_t kNewAnswers = kClients + 1;

TEST(ClusterProcess, NothingAcknowledgedIsLostWhenNodesAndClientsAreKilled) {
  const std::uint64_t kills = budget("cluster_kills");
  Nodes nodes({.addresses = loopback(kNodes)});
  Load load(nodes, kClients);
  Random random(1);
  ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(kNewAnswers));
  std::uint64_t clients = 0;
  std::uint64_t wholes = 0;
  (void)load.longest_s();
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t kill = 0; kill < kills; ++kill) {
    if (kill % 4 == 3) {
      load.kill_one(random.below(kClients));
      ++clients;
      ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(1 + random.below(kNewAnswers)));
      continue;
    }
    // One, now and then a second one at the same time, and then all.
    const auto first = static_cast<std::uint32_t>(random.below(kNodes));
    const std::uint32_t many = kill % 20 == 18 ? kNodes : kill % 5 == 4 ? 2 : 1;
    wholes += many == kNodes ? 1 : 0;
    for (std::uint32_t i = 0; i < many; ++i) nodes.kill((first + i) % kNodes + 1);
    std::this_thread::sleep_for(milliseconds(random.below(20)));
    for (std::uint32_t i = 0; i < many; ++i) nodes.start((first + i) % kNodes + 1);
    ASSERT_NO_FATAL_FAILURE(load.wait_for_answers(kNewAnswers + random.below(10)));
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  load.stop();
  std::printf(
      "%lu kills, %lu of them of clients and %lu of all nodes at once, in %.1f s: %lu answers, the "
      "longest after %.2f s\n",
      kills, clients, wholes, took.count(), load.answered(), load.longest_s());
  EXPECT_EQ(load.unsure(), 0u) << "no client ran out of patience";
  nodes.judge(load.operations());
  dolmen::base::say_bound("cluster_kills", kills);
}

}  // namespace

int main(int count, char** words) {
  if (const auto ended = run_as_process(count, words)) return *ended;
  testing::InitGoogleTest(&count, words);
  return RUN_ALL_TESTS();
}
