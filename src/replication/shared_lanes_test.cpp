// SPDX-License-Identifier: Apache-2.0
#include "replication/shared_lanes.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "sim/mapped_memory.hpp"
#include "sim/sim_fabric.hpp"

namespace dolmen::replication {
namespace {

using log::LaneName;

constexpr GroupId kGroup{5, 8};
constexpr std::size_t kLaneBytes = 1024;
/// Of a directory, the words that mean anything; of a lane, some.
constexpr std::size_t kWords = (kDirectorySlotsAt + 4 * kDirectorySlotBytes) / 8;

/// One process: an endpoint, and lanes of its replica of the group.
class Process final : private fabric::Sink {
 public:
  Process(sim::SimFabric& fabric, sim::MappedMemory& memory, std::uint64_t node, std::uint32_t life)
      : self(replica_of(fabric::NodeId{node}, life)),
        endpoint(fabric.make({.self = {fabric::NodeId{node}, life}}), memory),
        lanes(SharedLanes::make(endpoint, next_region, kGroup, self).value()),
        writer(endpoint, kGroup) {}
  void poll() { ASSERT_TRUE(endpoint.poll(*this)); }
  /// With its header in front, as a replica gives it away.
  base::MutableBytes make_lane(log::ReplicaId for_whom, LaneName name) {
    const base::MutableBytes lane = lanes->make_lane(for_whom, name, kLaneBytes);
    if (lane.empty()) return lane;
    log::encode_lane_header(lane,
                            {.owner = self, .writer = for_whom, .name = name, .bytes = kLaneBytes});
    return lane;
  }

  const log::ReplicaId self;
  std::uint32_t next_region = 1;
  sim::MappedEndpoint endpoint;
  std::unique_ptr<SharedLanes> lanes;
  LaneWriter writer;

 private:
  void on_connected(const fabric::NodeName& /*peer*/) override {}
  void on_lost(const fabric::NodeName& /*peer*/, const Error& /*why*/) override {}
  void on_refused(fabric::NodeId /*who*/, const Error& /*why*/) override {}
  void on_message(const fabric::NodeName& /*from*/, base::Bytes /*message*/) override {}
  void on_completed(fabric::OpId /*op*/, const Result<std::uint64_t>& /*former*/) override {}
};

bool is_zero(base::Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

/// A leader on node 1, a member on node 2; the member's memory as it is in truth.
class SharedLanesTest : public testing::Test {
 protected:
  SharedLanesTest() { meet(); }

  void meet() {
    for (int i = 0; i < 1000; ++i) {
      fabric_.run_for(1'000'000);
      leader_.poll();
      if (member_) member_->poll();
      const auto connected = leader_.endpoint.connected(fabric::NodeId{2});
      if (connected.has_value() == member_.has_value() &&
          (!connected || *connected == member_->endpoint.self())) {
        return;
      }
    }
    FAIL() << "they do not see each other";
  }
  void end_member() { member_.reset(); }
  void begin_member(std::uint32_t life) { member_.emplace(fabric_, memory_, 2, life); }

  static std::vector<std::byte> bytes(std::size_t count, unsigned char with = 0xA5) {
    return std::vector<std::byte>(count, std::byte{with});
  }
  [[nodiscard]] log::LaneWrite write_of(LaneName lane, std::uint64_t offset,
                                        base::Bytes what) const {
    return {.to = member_->self, .lane = lane, .offset = offset, .bytes = what, .end = 1};
  }
  bool land(LaneName lane, std::uint64_t offset, base::Bytes what) {
    return leader_.writer.land(write_of(lane, offset, what));
  }
  log::Epoch word() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return leader_.writer.word(member_->self);
  }
  /// What a member that is not the program it should be writes into its own memory.
  base::MutableBytes directory() {
    const auto id = directory_region(kGroup);
    EXPECT_TRUE(member_->endpoint.grant(id, fabric::NodeId{1}, {.read = true, .write = true}));
    return leader_.endpoint.map(member_->endpoint.self(), id).value();
  }
  void set_slot(std::size_t slot, LaneName name, std::uint32_t region) {
    const std::size_t at = kDirectorySlotsAt + slot * kDirectorySlotBytes;
    base::store(directory(), at, name.epoch);
    base::store(directory(), at + 8, name.number);
    base::store(directory(), at + 12, region);
  }

  sim::SimFabric fabric_{1};
  sim::MappedMemory memory_;
  Process leader_{fabric_, memory_, 1, 1};
  std::optional<Process> member_{std::in_place, fabric_, memory_, 2, 1};
};

TEST_F(SharedLanesTest, TheWordOnlyRises) {
  EXPECT_EQ(member_->lanes->word(), 0u);
  EXPECT_EQ(member_->lanes->raise(4), 0u);
  EXPECT_EQ(member_->lanes->raise(3), 4u);
  EXPECT_EQ(member_->lanes->raise(4), 4u);
  EXPECT_EQ(member_->lanes->word(), 4u);
  EXPECT_EQ(member_->lanes->raise(9), 4u);
  EXPECT_EQ(member_->lanes->word(), 9u);
  EXPECT_TRUE(member_->lanes->kept_lanes().empty());
}

TEST_F(SharedLanesTest, WhatALeaderLandsIsInTheMembersLane) {
  member_->lanes->raise(3);
  const base::MutableBytes first = member_->make_lane(leader_.self, {3, 1});
  const base::MutableBytes second = member_->make_lane(leader_.self, {3, 2});
  ASSERT_EQ(first.size(), kLaneBytes);
  EXPECT_TRUE(is_zero(first.subspan(log::kLaneHeaderBytes)));
  const auto some = bytes(40);
  const auto more = bytes(13, 0x11);
  EXPECT_TRUE(land({3, 1}, 64, some));
  EXPECT_EQ(word(), 3u);
  EXPECT_TRUE(land({3, 2}, 64, more));
  EXPECT_TRUE(land({3, 1}, 104, more));
  EXPECT_TRUE(land({3, 1}, kLaneBytes - 40, some)) << "to the end";
  EXPECT_TRUE(std::ranges::equal(first.subspan(64, 40), some));
  EXPECT_TRUE(std::ranges::equal(first.subspan(104, 13), more));
  EXPECT_TRUE(is_zero(first.subspan(117, kLaneBytes - 40 - 117)));
  EXPECT_TRUE(std::ranges::equal(first.last(40), some));
  EXPECT_TRUE(std::ranges::equal(second.subspan(64, 13), more));
}

TEST_F(SharedLanesTest, NothingLandsOutsideOfALaneOrInOneThatWasNotGiven) {
  const base::MutableBytes lane = member_->make_lane(leader_.self, {3, 1});
  const auto some = bytes(40);
  EXPECT_FALSE(land({3, 2}, 64, some));
  EXPECT_FALSE(land({4, 1}, 64, some));
  EXPECT_FALSE(land({3, 1}, kLaneBytes - 32, some));
  EXPECT_FALSE(land({3, 1}, kLaneBytes + 8, some));
  EXPECT_FALSE(land({3, 1}, ~std::uint64_t{0} - 7, some));
  EXPECT_TRUE(is_zero(lane.subspan(log::kLaneHeaderBytes)));
  EXPECT_FALSE(leader_.writer.land({.to = replica_of(fabric::NodeId{2}, 2),
                                    .lane = {3, 1},
                                    .offset = 64,
                                    .bytes = some,
                                    .end = 1}))
      << "another life than the one that runs";
  EXPECT_FALSE(leader_.writer.land({.to = replica_of(fabric::NodeId{3}, 1),
                                    .lane = {3, 1},
                                    .offset = 64,
                                    .bytes = some,
                                    .end = 1}))
      << "nobody is there";
  EXPECT_EQ(leader_.writer.word(replica_of(fabric::NodeId{3}, 1)), 0u);
  EXPECT_TRUE(is_zero(lane.subspan(log::kLaneHeaderBytes)));
}

TEST_F(SharedLanesTest, NoLaneIsForSomebodyElse) {
  // Given to another leader: this one has no right to it.
  const base::MutableBytes lane = member_->make_lane(replica_of(fabric::NodeId{3}, 1), {3, 1});
  EXPECT_FALSE(land({3, 1}, 64, bytes(8))) << "nor to the directory";
  directory();
  EXPECT_FALSE(land({3, 1}, 64, bytes(8)));
  EXPECT_TRUE(is_zero(lane.subspan(log::kLaneHeaderBytes)));
}

// --- memory is used again
// --------------------------------------------------------------------------

TEST_F(SharedLanesTest, ALaneOfAnEpochThatGoesOnIsFreeWhenItIsDropped) {
  member_->lanes->raise(3);
  const base::MutableBytes first = member_->make_lane(leader_.self, {3, 1});
  EXPECT_TRUE(land({3, 1}, 64, bytes(400)));
  member_->lanes->drop_lane({3, 1});
  EXPECT_EQ(member_->lanes->make_lane(leader_.self, {3, 2}, 2 * kLaneBytes).size(), 2 * kLaneBytes)
      << "in new memory: the old one is too small";
  const base::MutableBytes again = member_->lanes->make_lane(leader_.self, {3, 3}, 512);
  EXPECT_EQ(again.data(), first.data());
  EXPECT_TRUE(is_zero(again));
  EXPECT_EQ(again.size(), 512u);
}

TEST_F(SharedLanesTest, ALaneOfAnEpochThatIsOverWaitsForItsWriter) {
  member_->lanes->raise(3);
  const base::MutableBytes first = member_->make_lane(leader_.self, {3, 1});
  ASSERT_TRUE(land({3, 1}, 64, bytes(40)));
  member_->lanes->raise(4);
  member_->lanes->drop_lane({3, 1});
  member_->lanes->drop_lane({3, 1});  // of none
  // Its writer does not know yet: what it writes harms nobody, and is not counted.
  const log::ReplicaId other = replica_of(fabric::NodeId{3}, 1);
  const base::MutableBytes next = member_->make_lane(other, {4, 1});
  EXPECT_NE(next.data(), first.data());
  EXPECT_TRUE(land({3, 1}, 104, bytes(40)));
  EXPECT_EQ(word(), 4u);
  EXPECT_TRUE(is_zero(next.subspan(log::kLaneHeaderBytes)));
  member_->lanes->let_go(other, 9);
  member_->lanes->let_go(leader_.self, 3);
  EXPECT_NE(member_->make_lane(other, {4, 2}).data(), first.data());
  member_->lanes->let_go(leader_.self, 4);
  const base::MutableBytes again = member_->lanes->make_lane(other, {4, 3}, kLaneBytes);
  EXPECT_EQ(again.data(), first.data());
  EXPECT_TRUE(is_zero(again));
}

TEST_F(SharedLanesTest, ALaterLifeOfTheWritersNodeHasLetGoForTheEarlierOne) {
  member_->lanes->raise(3);
  const base::MutableBytes first = member_->make_lane(leader_.self, {3, 1});
  member_->lanes->raise(4);
  member_->lanes->drop_lane({3, 1});
  member_->lanes->let_go(replica_of(fabric::NodeId{3}, 2), 4);
  EXPECT_NE(member_->make_lane(leader_.self, {4, 1}).data(), first.data());
  member_->lanes->let_go(replica_of(fabric::NodeId{1}, 2), 0);
  EXPECT_EQ(member_->make_lane(leader_.self, {4, 2}).data(), first.data());
}

TEST_F(SharedLanesTest, ALaneThatIsInUseIsNotLetGo) {
  member_->lanes->raise(3);
  const base::MutableBytes first = member_->make_lane(leader_.self, {3, 1});
  member_->lanes->let_go(leader_.self, 9);
  EXPECT_NE(member_->make_lane(leader_.self, {3, 2}).data(), first.data());
  EXPECT_TRUE(land({3, 1}, 64, bytes(8)));
}

TEST_F(SharedLanesTest, TheOwnLaneIsKeptWhileSomethingReadsIt) {
  const base::MutableBytes first = leader_.lanes->make_lane(leader_.self, {3, 1}, kLaneBytes);
  ASSERT_EQ(first.size(), kLaneBytes);
  leader_.lanes->drop_lane({3, 1});
  const base::MutableBytes second = leader_.lanes->make_lane(leader_.self, {3, 2}, kLaneBytes);
  EXPECT_NE(second.data(), first.data());
  leader_.lanes->carried_out();
  EXPECT_NE(leader_.lanes->make_lane(leader_.self, {3, 3}, 2 * kLaneBytes).data(), first.data());
  EXPECT_EQ(leader_.lanes->make_lane(leader_.self, {3, 4}, kLaneBytes / 2).data(), first.data());
  EXPECT_NE(leader_.lanes->make_lane(leader_.self, {3, 5}, kLaneBytes).data(), second.data());
}

TEST_F(SharedLanesTest, WithoutRoomThereIsNoLaneAndNothingBreaks) {
  member_->lanes->raise(3);
  for (std::uint32_t i = 1; i <= kDirectorySlots; ++i) {
    ASSERT_FALSE(member_->make_lane(leader_.self, {3, i}).empty()) << i;
  }
  EXPECT_TRUE(member_->make_lane(leader_.self, {3, 99}).empty()) << "no slot";
  member_->lanes->drop_lane({3, 7});
  EXPECT_FALSE(member_->make_lane(leader_.self, {3, 99}).empty());
  EXPECT_TRUE(land({3, 99}, 64, bytes(8)));
  // Writers that let go of nothing use up the memory, and no more than that.
  std::size_t made = 0;
  for (log::Epoch epoch = 4; epoch < 200; ++epoch) {
    member_->lanes->raise(epoch);
    for (std::uint32_t i = 1; i <= 99; ++i) member_->lanes->drop_lane({epoch - 1, i});
    made += member_->make_lane(leader_.self, {epoch, 1}).empty() ? 0 : 1;
  }
  EXPECT_EQ(made, 32u);
  member_->lanes->let_go(leader_.self, 200);
  EXPECT_FALSE(member_->make_lane(leader_.self, {200, 1}).empty());
}

TEST_F(SharedLanesTest, OneDirectoryForEachGroupOfANode) {
  EXPECT_EQ(SharedLanes::make(member_->endpoint, member_->next_region, kGroup, member_->self)
                .error()
                .code(),
            Errc::already_exists);
  EXPECT_TRUE(SharedLanes::make(member_->endpoint, member_->next_region, {5, 9}, member_->self));
  for (const GroupId group : {GroupId{0, 1}, GroupId{1, 0}, kGroup}) {
    EXPECT_GE(static_cast<std::uint32_t>(directory_region(group)), std::uint32_t{1} << 31);
  }
}

// --- hostile memory
// --------------------------------------------------------------------------------

TEST_F(SharedLanesTest, ADirectoryWithAnotherCardIsNotBelieved) {
  member_->make_lane(leader_.self, {3, 1});
  const base::MutableBytes its = directory();
  const std::vector<std::byte> good(its.begin(), its.end());
  for (std::size_t at = kDirectoryCardAt; at < kDirectoryCardAt + 32; ++at) {
    its[at] ^= std::byte{0x40};
    LaneWriter fresh(leader_.endpoint, kGroup);
    EXPECT_FALSE(fresh.land(write_of({3, 1}, 64, bytes(8)))) << at;
    EXPECT_EQ(fresh.word(member_->self), 0u) << "no memory of it was taken";
    its[at] = good[at];
    EXPECT_TRUE(fresh.land(write_of({3, 1}, 64, bytes(8)))) << "it looks again";
  }
  LaneWriter of_other_group(leader_.endpoint, {5, 9});
  EXPECT_FALSE(of_other_group.land(write_of({3, 1}, 64, bytes(8))));
}

TEST_F(SharedLanesTest, ADirectoryThatIsTooShortIsNone) {
  const GroupId other{5, 9};
  const auto region = directory_region(other);
  ASSERT_TRUE(member_->endpoint.make_region(region, kDirectoryBytes - 8));
  ASSERT_TRUE(member_->endpoint.grant(region, fabric::NodeId{1}, {.read = true, .write = true}));
  LaneWriter writer(leader_.endpoint, other);
  EXPECT_FALSE(writer.land(write_of({3, 1}, 64, bytes(8))));
}

TEST_F(SharedLanesTest, ASlotIsNotBelievedWithoutTheLanesOwnHeader) {
  const base::MutableBytes first = member_->make_lane(leader_.self, {3, 1});
  const base::MutableBytes second = member_->make_lane(leader_.self, {3, 2});
  const auto some = bytes(8);
  set_slot(5, {3, 5}, 1);  // the first one's memory, under another name
  EXPECT_FALSE(land({3, 5}, 64, some));
  set_slot(5, {3, 5}, 77);  // no such region
  EXPECT_FALSE(land({3, 5}, 64, some));
  set_slot(5, {3, 5}, static_cast<std::uint32_t>(directory_region(kGroup)));
  EXPECT_FALSE(land({3, 5}, 64, some)) << "the directory is no lane";
  const auto with = [&](const log::LaneHeader& header) {
    log::encode_lane_header(second, header);
    LaneWriter fresh(leader_.endpoint, kGroup);
    return fresh.land(write_of({3, 2}, 64, some));
  };
  const log::LaneHeader good{
      .owner = member_->self, .writer = leader_.self, .name = {3, 2}, .bytes = kLaneBytes};
  EXPECT_FALSE(
      with({.owner = leader_.self, .writer = leader_.self, .name = {3, 2}, .bytes = kLaneBytes}));
  EXPECT_FALSE(
      with({.owner = good.owner, .writer = good.writer, .name = {3, 1}, .bytes = kLaneBytes}));
  EXPECT_FALSE(
      with({.owner = good.owner, .writer = good.writer, .name = {4, 2}, .bytes = kLaneBytes}));
  EXPECT_FALSE(
      with({.owner = good.owner, .writer = good.writer, .name = {3, 2}, .bytes = kLaneBytes + 8}))
      << "longer than its region";
  EXPECT_TRUE(is_zero(second.subspan(log::kLaneHeaderBytes)));
  EXPECT_TRUE(with(good));
  EXPECT_TRUE(is_zero(first.subspan(log::kLaneHeaderBytes)));
  // A shorter one is one, and ends where it says.
  EXPECT_TRUE(with({.owner = good.owner, .writer = good.writer, .name = {3, 2}, .bytes = 72}));
  EXPECT_FALSE(with({.owner = good.owner, .writer = good.writer, .name = {3, 2}, .bytes = 64}));
}

TEST_F(SharedLanesTest, WhatChangesBetweenTwoStepsLeadsNowhereElse) {
  base::Random random(7);
  member_->lanes->raise(3);
  std::vector<base::MutableBytes> regions{directory()};
  for (std::uint32_t i = 1; i <= 3; ++i) {
    regions.push_back(member_->make_lane(leader_.self, {3, i}));
  }
  const base::MutableBytes secret =
      member_->endpoint.make_region(fabric::RegionId{50}, 512).value();
  std::vector<std::vector<std::byte>> good;
  for (const base::MutableBytes region : regions) good.emplace_back(region.begin(), region.end());
  std::size_t landed = 0;
  for (int i = 0; i < 20'000; ++i) {
    const base::MutableBytes changed = regions[random.below(regions.size())];
    base::store(changed, 8 * random.below(kWords),
                random.below(2) == 0 ? random() : random.below(60));
    const LaneName name{3, static_cast<std::uint32_t>(1 + random.below(3))};
    const auto some = bytes(8 * random.below(20));
    landed += land(name, 8 * random.below(150), some) ? 1 : 0;
    (void)word();
    if (random.below(8) != 0) continue;
    for (std::size_t k = 0; k < regions.size(); ++k) std::ranges::copy(good[k], regions[k].begin());
  }
  EXPECT_GT(landed, 1'000u);
  EXPECT_TRUE(is_zero(secret)) << "nobody was given a right to it";
}

TEST_F(SharedLanesTest, AMembersWordIsWhateverItSays) {
  member_->make_lane(leader_.self, {3, 1});
  ASSERT_TRUE(land({3, 1}, 64, bytes(8)));
  base::store(directory(), kDirectoryWordAt, ~std::uint64_t{0});
  EXPECT_EQ(word(), ~std::uint64_t{0});
  EXPECT_EQ(member_->lanes->word(), ~std::uint64_t{0});
  EXPECT_EQ(member_->lanes->raise(5), ~std::uint64_t{0});
}

// --- a life that ends between two steps
// ------------------------------------------------------------

TEST_F(SharedLanesTest, MemoryOfALifeThatEndedIsWrittenForNobody) {
  member_->lanes->raise(3);
  member_->make_lane(leader_.self, {3, 1});
  ASSERT_TRUE(land({3, 1}, 64, bytes(8)));
  const log::ReplicaId former = member_->self;
  const auto some = bytes(40);
  const log::LaneWrite write{.to = former, .lane = {3, 1}, .offset = 104, .bytes = some, .end = 2};
  end_member();
  // Before it is heard: as if it had ended a moment later.
  EXPECT_TRUE(leader_.writer.land(write));
  EXPECT_EQ(leader_.writer.word(former), 3u);
  meet();
  EXPECT_FALSE(leader_.writer.land(write));
}

TEST_F(SharedLanesTest, ANewLifeIsNotTakenForTheOneBefore) {
  member_->lanes->raise(3);
  member_->make_lane(leader_.self, {3, 1});
  ASSERT_TRUE(land({3, 1}, 64, bytes(8)));
  const log::ReplicaId former = member_->self;
  const auto some = bytes(40);
  const log::LaneWrite write{.to = former, .lane = {3, 1}, .offset = 104, .bytes = some, .end = 2};
  end_member();
  begin_member(2);
  meet();
  // Even if it offers a lane of the same name.
  const base::MutableBytes lane = member_->make_lane(leader_.self, {3, 1});
  EXPECT_FALSE(leader_.writer.land(write));
  EXPECT_TRUE(is_zero(lane.subspan(log::kLaneHeaderBytes)));
  EXPECT_EQ(leader_.writer.word(former), 0u) << "of no memory, and so of no epoch";
  EXPECT_TRUE(land({3, 1}, 64, some));
  EXPECT_EQ(word(), 0u);
  member_->lanes->raise(5);
  EXPECT_EQ(word(), 5u);
  EXPECT_FALSE(leader_.writer.land(write));
}

TEST_F(SharedLanesTest, ALifeThatEndedBeforeItGaveTheLaneAwayGivesNone) {
  member_->lanes->raise(3);
  // Its slot is there, and its header not yet.
  const base::MutableBytes lane = member_->lanes->make_lane(leader_.self, {3, 1}, kLaneBytes);
  EXPECT_FALSE(land({3, 1}, 64, bytes(8)));
  log::encode_lane_header(
      lane, {.owner = member_->self, .writer = leader_.self, .name = {3, 1}, .bytes = kLaneBytes});
  EXPECT_TRUE(land({3, 1}, 64, bytes(8)));
}

}  // namespace
}  // namespace dolmen::replication
