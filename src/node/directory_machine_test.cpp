// SPDX-License-Identifier: Apache-2.0
//
// What a shard of the directory shows in memory that others read, while entries are executed,
// decided and undone (docs/homes.md, Looked up from afar). What is said by the mail of homes is
// space_home_test.cpp's business.
#include "node/directory_machine.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/index_reader.hpp"
#include "node/replicated_group.hpp"
#include "node/shard_machine.hpp"
#include "sim/sim_hooks.hpp"

namespace dolmen::node {
namespace {

using ShardBytes = std::vector<std::byte>;

constexpr cluster::GroupNumber kSenderGroup = 2;
constexpr cluster::GroupNumber kReadShard = 9;

/// A shard with memory that others read, and notices of one home for it.
class ShownDirectoryTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kBuckets = 64;
  void SetUp() override { host(); }
  /// A new life.
  void host() {
    machine_.emplace(kReadShard, kBuckets);
    memory_.assign(machine_->memory_bytes() / 8, 0);
    machine_->use_memory(std::as_writable_bytes(std::span(memory_)));
    machine_->reset();
  }
  static ShardBytes notice(std::uint64_t sequence, const cluster::HomeMail& mail) {
    return cluster::encode(cluster::MailChange{.received = {{.from = group_of(kSenderGroup),
                                                             .sequence = sequence,
                                                             .bytes = cluster::encode(mail)}},
                                               .acknowledged = {},
                                               .posted = {}});
  }
  static ObjectId id_of(std::uint64_t i) { return {i * 0x9E3779B97F4A7C15 + 1, i + 1}; }
  /// The next entry: the object is there, or there no more.
  void apply_settled(std::uint64_t i, std::uint64_t counter = 1) {
    apply(notice(++sequence_, cluster::home::Settled{.id = id_of(i), .counter = counter}));
  }
  void apply_erased(std::uint64_t i) {
    apply(notice(++sequence_, cluster::home::Erased{.id = id_of(i), .counter = 9}));
  }
  void apply(ShardBytes entry) {
    entries_.push_back(std::move(entry));
    (void)machine_->apply_at(entries_.size(), entries_.back());
  }
  void decide(std::uint64_t index) { ASSERT_TRUE(machine_->decided(index)); }
  /// As a member undoes entries: the last snapshot, and what is left behind it again.
  void undo_from(std::uint64_t index, const ShardBytes& snapshot, std::uint64_t at) {
    entries_.resize(index - 1);
    sequence_ = entries_.size();
    if (snapshot.empty()) {
      machine_->reset();
    } else {
      ASSERT_TRUE(machine_->restore(snapshot));
    }
    for (std::uint64_t i = at; i < entries_.size(); ++i) {
      (void)machine_->apply_at(i + 1, entries_[i]);
    }
  }
  /// By bytes alone, as others read.
  std::optional<cluster::MoveCounter> look_up(std::uint64_t i) {
    const base::Bytes region = std::as_bytes(std::span(memory_));
    const auto geometry =
        cluster::decode_geometry(region.first(cluster::kGeometryBytes), region.size()).value();
    cluster::IndexHints hints(geometry);
    cluster::IndexLookup lookup(geometry, kDirectoryEpoch, hints, id_of(i),
                                cluster::ReadLevel::lease);
    while (lookup.state() == cluster::LookupState::reading) {
      std::vector<base::Bytes> bytes;
      for (const cluster::IndexRead& read : lookup.reads()) {
        bytes.push_back(region.subspan(read.offset, read.bytes));
      }
      lookup.arrived(bytes, {.completed_ns = 1, .lease_until_ns = 2});
    }
    EXPECT_NE(lookup.state(), cluster::LookupState::ask);
    if (lookup.state() != cluster::LookupState::found) return std::nullopt;
    return cluster::entry_of(lookup.home()).counter;
  }
  void expect_equal_tables() {
    EXPECT_TRUE(machine_->shown()->check());
    EXPECT_EQ(machine_->shown()->fingerprint(), machine_->planned().fingerprint());
  }

  std::optional<DirectoryMachine> machine_;
  std::vector<std::uint64_t> memory_;
  std::vector<ShardBytes> entries_;
  std::uint64_t sequence_ = 0;
};

TEST_F(ShownDirectoryTest, SaysExactlyHowManyObjectsItKnows) {
  const auto stats = [&] {
    return decode_index_stats(machine_->read(index_stats_question()).value()).value();
  };
  EXPECT_EQ(stats().keys, 0u);
  EXPECT_EQ(stats().table_bytes, kBuckets * 256);
  EXPECT_EQ(stats().record_bytes, 0u);
  const std::uint64_t used = stats().table_bytes_used;
  for (std::uint64_t i = 0; i < 100; ++i) apply_settled(i);
  apply_erased(7);
  EXPECT_EQ(stats().keys, 99u);
  EXPECT_GT(stats().table_bytes_used, used);
}

TEST_F(ShownDirectoryTest, ShowsWhatIsDecidedAndNothingElse) {
  apply_settled(0);
  apply_settled(1);
  EXPECT_TRUE(machine_->find(id_of(1)));
  EXPECT_EQ(look_up(0), std::nullopt);
  decide(1);
  EXPECT_EQ(look_up(0), 1u);
  EXPECT_EQ(look_up(1), std::nullopt);
  decide(2);
  EXPECT_EQ(look_up(1), 1u);
  apply_settled(0, 2);
  apply_erased(1);
  EXPECT_EQ(look_up(0), 1u);
  EXPECT_EQ(look_up(1), 1u);
  decide(4);
  EXPECT_EQ(look_up(0), 2u);
  EXPECT_EQ(look_up(1), std::nullopt);
  expect_equal_tables();
}

TEST_F(ShownDirectoryTest, WhatIsUndoneWasNeverShownAndWhatIsDecidedStays) {
  for (std::uint64_t i = 0; i < 40; ++i) apply_settled(i);
  decide(20);
  const ShardBytes before(std::as_bytes(std::span(memory_)).begin(),
                          std::as_bytes(std::span(memory_)).end());
  const auto is_as_before = [&] {
    return std::ranges::equal(before, std::as_bytes(std::span(memory_)));
  };
  // There is no snapshot yet: everything is executed again.
  undo_from(31, {}, 0);
  EXPECT_TRUE(is_as_before());
  decide(20);
  EXPECT_TRUE(is_as_before());
  decide(30);
  for (std::uint64_t i = 0; i < 40; ++i) EXPECT_EQ(look_up(i).has_value(), i < 30) << i;
  expect_equal_tables();
  const ShardBytes snapshot = machine_->snapshot();
  for (std::uint64_t i = 0; i < 10; ++i) apply_erased(i);
  decide(35);
  apply_settled(50);
  undo_from(38, snapshot, 30);
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(look_up(i).has_value(), i >= 5) << i;
  decide(35);
  apply_settled(51);
  decide(38);
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(look_up(i).has_value(), i >= 7) << i;
  EXPECT_EQ(look_up(50), std::nullopt);
  EXPECT_EQ(look_up(51), 1u);
  expect_equal_tables();
}

TEST_F(ShownDirectoryTest, TakesALaterStateFromOthersAndBeginsAnewWithOne) {
  DirectoryMachine other(kReadShard, kBuckets);
  for (std::uint64_t i = 0; i < 20; ++i) apply_settled(i);
  decide(4);
  for (std::uint64_t i = 0; i < 20; ++i) (void)other.apply_at(i + 1, entries_[i]);
  ASSERT_TRUE(other.decided(20));
  EXPECT_EQ(other.shown(), nullptr) << "nobody gave it memory";
  // What was queued is in it, and is not done again.
  ASSERT_TRUE(machine_->restore(other.snapshot()));
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(look_up(i), 1u);
  decide(20);
  expect_equal_tables();
  apply_settled(20);
  decide(21);
  EXPECT_EQ(look_up(20), 1u);
  const ShardBytes state = machine_->snapshot();
  host();
  EXPECT_EQ(look_up(20), std::nullopt);
  ASSERT_TRUE(machine_->restore(state));
  EXPECT_EQ(look_up(20), 1u);
  expect_equal_tables();
  ShardBytes broken = state;
  broken[broken.size() - 9] ^= std::byte{1};
  EXPECT_EQ(machine_->restore(broken).error().code(), Errc::corrupt);
  EXPECT_EQ(look_up(20), 1u) << "what others read is as it was";
}

// Buckets come and go more often than there are any: the grace is not what there is room by.
TEST_F(ShownDirectoryTest, BothTablesGrowAndShrinkAlike) {
  for (std::uint64_t round = 0; round < 20; ++round) {
    for (std::uint64_t i = 0; i < 200; ++i) apply_settled(i);
    decide(entries_.size());
    for (std::uint64_t i = 0; i < 200; ++i) {
      ASSERT_EQ(look_up(i), 1u) << i;
      apply_erased(i);
      if (i % 7 == 0) decide(entries_.size());
    }
    decide(entries_.size());
    ASSERT_EQ(machine_->objects(), 0u);
    expect_equal_tables();
  }
}

TEST_F(ShownDirectoryTest, PlantedBugsAreSeen) {
  {
    const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "directory.shown_early"});
    apply_settled(0);
    EXPECT_EQ(look_up(0), 1u) << "as ShowsWhatIsDecidedAndNothingElse would see";
  }
  decide(1);
  const ShardBytes snapshot = machine_->snapshot();
  apply_settled(1);
  decide(2);
  const sim::SimHooks hooks({.seed = 1, .buggify = false, .planted = "directory.shown_goes_back"});
  ASSERT_TRUE(machine_->restore(snapshot));
  EXPECT_EQ(look_up(1), std::nullopt) << "as WhatIsUndoneWasNeverShown… would see";
}

}  // namespace
}  // namespace dolmen::node
