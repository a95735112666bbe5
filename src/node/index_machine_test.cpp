// SPDX-License-Identifier: Apache-2.0
#include "node/index_machine.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/sim_env.hpp"
#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

using cluster::IndexCommand;
using cluster::IndexOutcome;

constexpr std::uint64_t kGraceNs = 1'000'000;

base::Bytes bytes(std::string_view text) { return base::as_bytes(text); }
IndexRequest put(std::string_view key, std::string_view value) {
  return {.changes = {IndexCommand::put(bytes(key), bytes(value))}};
}
IndexRequest asked(std::string_view key) {
  const base::Bytes text = bytes(key);
  return {.asked = std::vector<std::byte>(text.begin(), text.end())};
}

class IndexMachineTest : public testing::Test {
 protected:
  /// As a leader does.
  std::vector<std::byte> call(IndexMachine& machine, const IndexRequest& request) {
    const auto effect = machine.effect_of(encode(request));
    EXPECT_TRUE(effect);
    return machine.apply(*effect);
  }
  IndexOutcome put_at(IndexMachine& machine, std::string_view key, std::string_view value) {
    return decode_index_outcomes(call(machine, put(key, value)), 1).value()[0];
  }
  std::optional<std::string> get_at(IndexMachine& machine, std::string_view key) {
    const auto value = decode_index_value(call(machine, asked(key))).value();
    if (!value) return std::nullopt;
    std::string text;
    for (const std::byte byte : *value) text.push_back(static_cast<char>(byte));
    return text;
  }
  IndexMachine machine(const IndexShardOptions& options) {
    return {clock_, IndexMachine::geometry_of(options).value(), kGraceNs};
  }

  sim::SimClock clock_;
  const IndexShardOptions small_{.bucket_bytes = 4096, .record_bytes = 4096};
};

TEST_F(IndexMachineTest, HoldsWhatWasPut) {
  IndexMachine one = machine(small_);
  one.reset();
  EXPECT_EQ(get_at(one, "a"), std::nullopt);
  EXPECT_EQ(put_at(one, "a", "1"), IndexOutcome::created);
  EXPECT_EQ(put_at(one, "a", "2"), IndexOutcome::replaced);
  EXPECT_EQ(put_at(one, "", "of no key"), IndexOutcome::created);
  EXPECT_EQ(get_at(one, "a"), "2");
  EXPECT_EQ(get_at(one, ""), "of no key");
  const auto outcomes = decode_index_outcomes(
      call(one, {.changes = {IndexCommand::erase(bytes("a")), IndexCommand::erase(bytes("a")),
                             IndexCommand::put(bytes("b"), bytes(""))}}),
      3);
  EXPECT_EQ(outcomes.value(),
            (std::vector{IndexOutcome::erased, IndexOutcome::absent, IndexOutcome::created}));
  EXPECT_EQ(get_at(one, "b"), "");
}

// Replicas, of which one takes a snapshot, have the same bytes; one whose state is reset has none.
TEST_F(IndexMachineTest, ReplicasAreEqualByteForByte) {
  IndexMachine one = machine(small_);
  IndexMachine other = machine(small_);
  IndexMachine third = machine(small_);
  one.reset();
  other.reset();
  for (int i = 0; i < 200; ++i) {
    const std::string key = "key " + std::to_string(i % 17);
    const auto entry = one.effect_of(encode(put(key, std::string(i % 40, 'v')))).value();
    const auto reply = one.apply(entry);
    ASSERT_EQ(other.apply(entry), reply);
    clock_.advance_ns(kGraceNs / 4);
    if (i == 100) {
      ASSERT_TRUE(third.restore(one.snapshot()));
    }
    if (i > 100) {
      ASSERT_EQ(third.apply(entry), reply);
    }
  }
  EXPECT_EQ(other.table().fingerprint(), one.table().fingerprint());
  EXPECT_EQ(third.table().fingerprint(), one.table().fingerprint());
  EXPECT_TRUE(third.table().check());
  other.reset();
  EXPECT_EQ(get_at(other, "key 1"), std::nullopt);
  EXPECT_TRUE(other.table().check());
}

TEST_F(IndexMachineTest, MemoryIsUsedAgainAfterAGrace) {
  IndexMachine one = machine(small_);
  one.reset();
  const std::string value(200, 'v');
  IndexOutcome outcome = IndexOutcome::done;
  int puts = 0;
  while ((outcome = put_at(one, "a", value)) != IndexOutcome::no_space) ASSERT_LT(++puts, 100);
  EXPECT_EQ(get_at(one, "a"), value);
  clock_.advance_ns(kGraceNs);
  (void)put_at(one, "b", "the mark");  // what is retired now may be used again a grace later
  clock_.advance_ns(kGraceNs);
  EXPECT_EQ(put_at(one, "a", value), IndexOutcome::replaced);
  for (int i = 0; i < 1000; ++i) {
    clock_.advance_ns(kGraceNs);
    ASSERT_NE(put_at(one, "a", value), IndexOutcome::no_space) << i;
  }
  EXPECT_TRUE(one.table().check());
}

TEST_F(IndexMachineTest, WhatIsNoRequestIsRefused) {
  IndexMachine one = machine(small_);
  one.reset();
  const auto refuses = [&](const std::vector<std::byte>& request) {
    return !one.effect_of(request).has_value();
  };
  EXPECT_TRUE(refuses({}));
  EXPECT_TRUE(refuses({std::byte{9}}));
  EXPECT_TRUE(refuses({std::byte{2}}));
  auto cut = encode(put("key", "value"));
  cut.pop_back();
  EXPECT_TRUE(refuses(cut));
  EXPECT_TRUE(one.apply(cut).empty());
  IndexRequest release = put("key", "value");
  release.release = 1;
  EXPECT_TRUE(refuses(encode(release)));  // is the leader's business
  EXPECT_TRUE(refuses(encode(IndexRequest{.changes = {IndexCommand::restamp(4)}})));
  EXPECT_FALSE(refuses(encode(put("key", "value"))));
  EXPECT_FALSE(decode_index_value({}));
  EXPECT_FALSE(decode_index_value(std::vector{std::byte{0}, std::byte{0}}));
  EXPECT_FALSE(decode_index_value(std::vector{std::byte{2}}));
  EXPECT_FALSE(decode_index_outcomes(std::vector{std::byte{5}}, 1));
  EXPECT_FALSE(decode_index_outcomes(std::vector{std::byte{0}}, 2));
}

TEST_F(IndexMachineTest, AQueryChangesNothing) {
  IndexMachine one = machine(small_);
  one.reset();
  EXPECT_EQ(put_at(one, "key", "value"), IndexOutcome::created);
  const auto before = one.snapshot();
  const auto found = one.read(encode(asked("key")));
  ASSERT_TRUE(found);
  EXPECT_EQ(decode_index_value(*found).value(),
            std::vector<std::byte>(bytes("value").begin(), bytes("value").end()));
  EXPECT_EQ(decode_index_value(one.read(encode(asked("none"))).value()).value(), std::nullopt);
  EXPECT_FALSE(one.read(encode(put("key", "other")))) << "a change";
  EXPECT_FALSE(one.read(encode(IndexRequest{.scan = IndexScan{.limit = 1}}))) << "without an order";
  EXPECT_FALSE(one.read({}));
  EXPECT_EQ(one.snapshot(), before);
}

// Through growth, replacing, erasing and what waits for its grace.
TEST_F(IndexMachineTest, SaysExactlyHowFullItIs) {
  IndexMachine one = machine({.bucket_bytes = 64 << 10, .record_bytes = 32 << 10});
  one.reset();
  const auto stats = [&] {
    return decode_index_stats(one.read(index_stats_question()).value()).value();
  };
  const IndexShardStats empty = stats();
  EXPECT_EQ(empty.keys, 0u);
  EXPECT_EQ(empty.record_bytes_live, 0u);
  EXPECT_EQ(empty.table_bytes % 256, 0u);
  EXPECT_LE(empty.table_bytes, std::uint64_t{64} << 10);
  EXPECT_EQ(empty.record_bytes, std::uint64_t{32} << 10);
  std::set<std::string> keys;
  std::uint64_t refused = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string key = "key " + std::to_string(i * 7919 % 613);
    clock_.advance_ns(kGraceNs / 8);
    if (i % 3 == 2) {
      (void)call(one, {.changes = {IndexCommand::erase(bytes(key))}});
      keys.erase(key);
    } else if (put_at(one, key, std::string(static_cast<std::size_t>(i % 90), 'v')) ==
               IndexOutcome::no_space) {
      ++refused;
    } else {
      keys.insert(key);
    }
    const IndexShardStats now = stats();
    ASSERT_EQ(now.keys, keys.size()) << i;
    ASSERT_EQ(now.table_bytes, empty.table_bytes);
    ASSERT_LE(now.record_bytes_live, now.record_bytes_used);
  }
  EXPECT_GT(stats().table_bytes_used, empty.table_bytes_used);
  EXPECT_GT(refused, 0u) << "it was full for a while";
  EXPECT_FALSE(one.effect_of(index_stats_question())) << "no change";
  const auto before = one.snapshot();
  EXPECT_TRUE(one.apply(index_stats_question()).empty());
  EXPECT_EQ(one.snapshot(), before);
}

TEST_F(IndexMachineTest, FiguresAreTheGoldenFile) {
  const IndexShardStats stats{.keys = 1,
                              .table_bytes_used = 0x200,
                              .table_bytes = 0x300,
                              .record_bytes_live = 0x10,
                              .record_bytes_used = 0x20,
                              .record_bytes = 0x0102030405060708};
  std::vector<std::byte> both = index_stats_question();
  const auto answer = encode_index_stats(stats);
  both.insert(both.end(), answer.begin(), answer.end());
  EXPECT_EQ(both, store::read_golden("index_stats_v1.bin"));
  EXPECT_EQ(decode_index_stats(answer).value(), stats);
  EXPECT_EQ(decode_index_request(index_stats_question()).value(), IndexRequest{.asks_stats = true});
  EXPECT_FALSE(decode_index_stats(both));
  EXPECT_FALSE(decode_index_stats(base::Bytes(answer).first(answer.size() - 1)));
  IndexShardStats wrong = stats;
  wrong.table_bytes_used = 0x301;
  EXPECT_FALSE(decode_index_stats(encode_index_stats(wrong)));
}

TEST_F(IndexMachineTest, RequestsAreTheGoldenFile) {
  IndexRequest request{.release = 7,
                       .changes = {IndexCommand::put(bytes("key"), bytes("value")),
                                   IndexCommand::erase(bytes("other"))}};
  EXPECT_EQ(encode(request), store::read_golden("index_request_v1.bin"));
  EXPECT_EQ(decode_index_request(encode(request)).value(), request);
}

TEST(IndexShard, SaysWhichSizesAreNone) {
  EXPECT_TRUE(IndexShard::make());
  EXPECT_FALSE(IndexShard::make({.bucket_bytes = 1000}));
  EXPECT_FALSE(IndexShard::make({.record_bytes = 0}));
  EXPECT_FALSE(IndexShard::make({.record_bytes = std::size_t{64} << 30}));
}

}  // namespace
}  // namespace dolmen::node
