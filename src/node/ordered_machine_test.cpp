// SPDX-License-Identifier: Apache-2.0
#include "node/ordered_machine.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "node/index_machine.hpp"
#include "sim/sim_env.hpp"
#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

using cluster::IndexCommand;
using cluster::OrderedPage;
using cluster::OrderedRange;

std::vector<std::byte> owned(const std::string& text) {
  const base::Bytes bytes = base::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

IndexRequest scan_of(const OrderedRange& range, std::uint32_t limit) {
  IndexRequest request;
  request.scan = IndexScan{.range = range, .limit = limit};
  return request;
}

class OrderedMachineTest : public testing::Test {
 protected:
  OrderedMachineTest() { machine_.reset(); }
  void put(const std::string& key, const std::string& value) {
    const IndexRequest request{.changes = {IndexCommand::put(owned(key), owned(value))}};
    const auto entry = machine_.effect_of(encode(request)).value();
    const auto outcome = decode_index_outcomes(machine_.apply(entry), 1).value()[0];
    ASSERT_NE(outcome, cluster::IndexOutcome::no_space);
  }
  OrderedPage scan(const OrderedRange& range, std::uint32_t limit) {
    const auto entry = machine_.effect_of(encode(scan_of(range, limit))).value();
    return decode_index_page(machine_.apply(entry)).value();
  }

  sim::SimClock clock_;
  OrderedMachine machine_{
      clock_, OrderedMachine::geometry_of({.node_bytes = 1 << 20, .record_bytes = 8 << 20}).value(),
      0};
};

TEST_F(OrderedMachineTest, SaysExactlyHowFullItIs) {
  const auto stats = [&] {
    return decode_index_stats(machine_.read(index_stats_question()).value()).value();
  };
  const IndexShardStats empty = stats();
  EXPECT_EQ(empty.keys, 0u);
  EXPECT_EQ(empty.table_bytes_used, 2048u);
  EXPECT_EQ(empty.table_bytes, std::uint64_t{machine_.table().geometry().node_count} * 2048);
  EXPECT_EQ(empty.record_bytes, std::uint64_t{8} << 20);
  for (int i = 0; i < 300; ++i) put("key " + std::to_string(i % 200), std::string(300, 'v'));
  EXPECT_EQ(stats().keys, 200u);
  EXPECT_GT(stats().table_bytes_used, empty.table_bytes_used);
  EXPECT_GE(stats().record_bytes_live, 200u * 300);
  EXPECT_LT(stats().record_bytes_live, 200u * 400);
  EXPECT_GE(stats().record_bytes_used, stats().record_bytes_live);
}

TEST_F(OrderedMachineTest, AnswersRangesAsTheTreeDoes) {
  for (int i = 0; i < 500; ++i) {
    clock_.advance_ns(1);
    put("key " + std::to_string(i), std::string(static_cast<std::size_t>(i % 300), 'v'));
  }
  for (const bool is_backward : {false, true}) {
    const OrderedRange range{
        .from = owned("key 2"), .to = owned("key 4"), .is_backward = is_backward};
    const OrderedPage expected = machine_.table().scan(range, 90, 1 << 30);
    const OrderedPage page = scan(range, 90);
    EXPECT_EQ(page.entries, expected.entries);
    EXPECT_FALSE(page.is_last);
    EXPECT_TRUE(scan(range, 10'000).is_last);
  }
  EXPECT_TRUE(scan({}, 0).entries.empty());
}

// A page never ends in the middle of what it says, and never is larger than a reply may be.
TEST_F(OrderedMachineTest, APageHasItsMost) {
  for (int i = 0; i < 9; ++i)
    put(std::to_string(i), std::string(i == 4 ? 1'000'000 : 200'000, 'v'));
  std::vector<std::size_t> counts;
  OrderedRange rest;
  for (bool is_last = false; !is_last;) {
    const OrderedPage page = scan(rest, 100);
    ASSERT_FALSE(page.entries.empty());
    counts.push_back(page.entries.size());
    is_last = page.is_last;
    rest.from = page.entries.back().key;
    rest.from.push_back(std::byte{0});
  }
  EXPECT_EQ(counts, (std::vector<std::size_t>{2, 2, 1, 2, 2}));
}

TEST_F(OrderedMachineTest, WhatIsNoRequestIsRefused) {
  const auto good = encode(scan_of({.from = owned("a"), .to = owned("b")}, 7));
  EXPECT_TRUE(decode_index_request(good));
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(decode_index_request(base::Bytes(good).first(length))) << length;
  }
  auto bad = good;
  bad.push_back(std::byte{0});
  EXPECT_FALSE(decode_index_request(bad));
  bad = good;
  bad[1] = std::byte{4};
  EXPECT_FALSE(decode_index_request(bad));
  EXPECT_FALSE(decode_index_request(encode(scan_of({.from = owned(std::string(70'000, 'k'))}, 1))));

  // A hash index has no ranges.
  IndexMachine hash(clock_, IndexMachine::geometry_of({.bucket_bytes = 4096}).value(), 0);
  hash.reset();
  EXPECT_EQ(hash.effect_of(good).error().code(), Errc::invalid_argument);
  EXPECT_TRUE(hash.apply(good).empty());

  EXPECT_FALSE(decode_index_page({}));
  EXPECT_FALSE(decode_index_page(std::vector{std::byte{2}}));
  const auto page = encode_index_page({.entries = {{owned("k"), owned("v")}}, .is_last = true});
  EXPECT_EQ(decode_index_page(page).value().entries.size(), 1u);
  for (std::size_t length = 2; length < page.size(); ++length) {
    EXPECT_FALSE(decode_index_page(base::Bytes(page).first(length))) << length;
  }
}

TEST_F(OrderedMachineTest, ReplicasAreEqualByteForByte) {
  OrderedMachine other(clock_, machine_.table().geometry(), 0);
  for (int i = 0; i < 200; ++i) put(std::to_string(i), std::string(50, 'v'));
  ASSERT_TRUE(other.restore(machine_.snapshot()));
  EXPECT_EQ(other.table().fingerprint(), machine_.table().fingerprint());
  other.reset();
  EXPECT_EQ(other.table().statistics().keys, 0u);
  EXPECT_TRUE(other.table().check());
}

TEST(OrderedMachine, ScansAreTheGoldenFile) {
  auto bytes =
      encode(scan_of({.from = owned("from"), .to = owned("to"), .is_backward = true}, 100));
  const auto page = encode_index_page(
      {.entries = {{owned("key"), owned("value")}, {owned("other"), {}}}, .is_last = true});
  bytes.insert(bytes.end(), page.begin(), page.end());
  EXPECT_EQ(bytes, store::read_golden("index_scan_v1.bin"));
}

TEST(OrderedIndexShard, SaysWhichSizesAreNone) {
  EXPECT_TRUE(OrderedIndexShard::make());
  EXPECT_FALSE(OrderedIndexShard::make({.node_bytes = 4095}));
  EXPECT_FALSE(OrderedIndexShard::make({.record_bytes = 63}));
  EXPECT_FALSE(OrderedIndexShard::make({.record_bytes = std::size_t{64} << 30}));
}

}  // namespace
}  // namespace dolmen::node
