// SPDX-License-Identifier: Apache-2.0
//
// An ordered index of two shards in three processes, of which one that leads is killed while
// clients read its memory, scan and put: what all of them saw together is judged.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#ifdef DOLMEN_MEMBER_PROGRAM  // builds with examples
#include <dolmen/ordered_index.hpp>

#include "tests/index_clients.hpp"
#include "tests/replicated_members.hpp"

namespace {

using namespace dolmen::members;
using dolmen::OrderedIndex;

/// So many that their leaves split and merge.
constexpr std::uint64_t kOrderedKeys = 24;
using OrderedClients = IndexClientsOf<OrderedIndex, kOrderedKeys>;
const std::vector<std::uint64_t> kShards{1, 2};

OrderedIndex open(const dolmen::ReplicatedGroup& group) {
  const OrderedIndex::Value splits[] = {{std::byte{kOrderedKeys / 2}}};
  return OrderedIndex::make(group, kShards, splits).value();
}

void judge(OrderedClients& clients) {
  clients.stop();
  EXPECT_EQ(clients.broken(), "");
  EXPECT_EQ(clients.judge(), "");
  // How many are asked for by message depends on how long nobody is known to lead.
  EXPECT_GT(clients.one_sided(), 0u);
  std::printf("%lu answers, %lu read, %lu asked for\n", clients.answered(), clients.one_sided(),
              clients.asked());
}

TEST(OrderedProcess, WhatIsReadInMemoryIsTheLatestWhoeverLeads) {
  const auto kills = static_cast<int>(dolmen::base::budget("index_kills"));
  Members members(loopback(), {}, dolmen::ReplicatedLevel::durable, 0, kShards);
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  OrderedClients clients([&] { return open(members.group()); }, 4);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  for (int kill = 0; kill < kills; ++kill) {
    members.kill_leader(status);
    ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(300));
  }
  judge(clients);
}

TEST(OrderedProcess, MappedMemoryOfADeadLeaderIsNotBelieved) {
  const SharedFolder folder;
  Members members(folder.addresses(), {}, dolmen::ReplicatedLevel::replicated, 0, kShards);
  auto status = dolmen::ReplicatedClient::make(members.group()).value();
  OrderedClients clients([&] { return open(members.group()); }, 4);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(50));
  Whole whole;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  std::uint32_t leader = 0;
  while ((leader = leader_of_whole(status, whole)) == 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << "never whole";
    std::this_thread::sleep_for(milliseconds(5));
  }
  members.end(leader, SIGKILL);
  members.start(leader);
  ASSERT_NO_FATAL_FAILURE(clients.wait_for_answers(500));
  judge(clients);
}

std::string text_of(int number) {
  std::string digits = std::to_string(number);
  return "key " + std::string(4 - digits.size(), '0') + digits;
}

// Pages in both directions, through both shards, of entries that are short and long.
TEST(OrderedProcess, RangesAreTheSameHoweverTheyAreRead) {
  const SharedFolder folder;
  Members members(folder.addresses(), {}, dolmen::ReplicatedLevel::replicated, 0, kShards);
  const std::string middle = text_of(170);
  const auto split = OrderedIndex::of(middle);
  const OrderedIndex::Value splits[] = {{split.begin(), split.end()}};
  auto index = OrderedIndex::make(members.group(), kShards, splits).value();
  std::vector<OrderedIndex::Entry> all;
  for (int i = 0; i < 300; ++i) {
    const std::string key = text_of(i);
    const std::string value(static_cast<std::size_t>(i % 10 == 0 ? 900 : i % 50), 'v');
    ASSERT_TRUE(index.put(OrderedIndex::of(key), OrderedIndex::of(value)).value());
    const auto key_bytes = OrderedIndex::of(key);
    const auto value_bytes = OrderedIndex::of(value);
    all.push_back({{key_bytes.begin(), key_bytes.end()}, {value_bytes.begin(), value_bytes.end()}});
  }
  for (const auto moment : {OrderedIndex::Moment::each, OrderedIndex::Moment::one}) {
    for (const std::size_t limit : {std::size_t{7}, std::size_t{100}, std::size_t{1'000}}) {
      std::vector<OrderedIndex::Entry> seen;
      OrderedIndex::Value from;
      for (bool is_last = false; !is_last;) {
        const auto page = index.scan({.from = from}, limit, moment).value();
        ASSERT_LE(page.entries.size(), limit);
        seen.insert(seen.end(), page.entries.begin(), page.entries.end());
        is_last = page.is_last;
        if (page.entries.empty()) continue;
        from = seen.back().key;
        from.push_back(std::byte{0});
      }
      EXPECT_EQ(seen, all);
    }
  }
  std::vector<OrderedIndex::Entry> backward;
  std::optional<OrderedIndex::Value> to;
  for (bool is_last = false; !is_last;) {
    OrderedIndex::Range range{.is_backward = true};
    if (to) range.to = *to;
    const auto page = index.scan(range, 80).value();
    backward.insert(backward.end(), page.entries.begin(), page.entries.end());
    is_last = page.is_last;
    if (!page.entries.empty()) to = backward.back().key;
  }
  EXPECT_TRUE(std::ranges::equal(backward.rbegin(), backward.rend(), all.begin(), all.end()));
  const auto counts = index.counts();
  EXPECT_GT(counts.one_sided, 0u);
  EXPECT_TRUE(index.erase(OrderedIndex::of(middle)).value());
  EXPECT_EQ(index.get(OrderedIndex::of(middle)).value(), std::nullopt);
  const auto one = index.scan({.from = OrderedIndex::of(middle)}, 1).value();
  ASSERT_EQ(one.entries.size(), 1u);
  EXPECT_EQ(one.entries[0], all[171]);
  EXPECT_EQ(index.scan({}, 0).value().entries.size(), 0u);
  const OrderedIndex::Value huge((64u << 10) + 2);
  EXPECT_EQ(index.scan({.from = huge}, 1).error().code(), dolmen::Errc::too_large);
}

TEST(OrderedProcess, SplitsHaveToRise) {
  const dolmen::ReplicatedGroup group{.members = {"127.0.0.1:1"}, .key_file = "none"};
  const OrderedIndex::Value a{std::byte{1}};
  const OrderedIndex::Value b{std::byte{2}};
  const std::vector<std::uint64_t> three{1, 2, 3};
  for (const auto& splits :
       std::vector<std::vector<OrderedIndex::Value>>{{}, {a}, {b, a}, {a, a}, {{}, a}}) {
    EXPECT_EQ(OrderedIndex::make(group, three, splits).error().code(),
              dolmen::Errc::invalid_argument);
  }
}

}  // namespace
#endif
