// SPDX-License-Identifier: Apache-2.0
//
// Two servers (1 and 2) and a witness (3) that is memory alone.
#include <array>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

class OwnMemory final : public LaneMemory {
 public:
  Epoch word() override { return word_; }
  Epoch raise(Epoch epoch) override { return std::exchange(word_, std::max(word_, epoch)); }
  base::MutableBytes make_lane(ReplicaId, LaneName, std::size_t bytes) override {
    lanes_.push_back(std::make_unique<std::vector<std::uint64_t>>(bytes / 8));
    return std::as_writable_bytes(std::span(*lanes_.back()));
  }
  void drop_lane(LaneName) override {}
  std::vector<base::Bytes> kept_lanes() override { return {}; }

 private:
  Epoch word_ = 0;
  std::vector<std::unique_ptr<std::vector<std::uint64_t>>> lanes_;
};

class WitnessTest : public ReplicaTest {
 protected:
  static constexpr std::size_t kAreaBytes = 4096;
  using Area = std::vector<std::uint64_t>;

  void SetUp() override {
    options_.witnesses_are_memory = true;
    for (std::uint64_t i = 1; i <= 2; ++i) {
      nodes_[i].replica = std::make_unique<Replica>(
          id(i),
          Configuration{.voters = {id(1), id(2), id(3)}, .learners = {}, .witnesses = {id(3)}},
          options_, DurableState{}, i, now_ns_, &memory_[i]);
      areas_[i].fill(Area(kAreaBytes / 8));
    }
    lead(1);
  }

  static base::MutableBytes bytes_of(Area& area) { return std::as_writable_bytes(std::span(area)); }
  void land(std::uint64_t from, const LaneWrite& write) {
    if (!write.area || write.content().empty()) return;
    std::ranges::copy(write.content(),
                      bytes_of(areas_[from][*write.area]).subspan(write.offset).begin());
  }
  void report(std::uint64_t from, const LaneWrite& write) {
    if (!write.is_raise) {
      return at(from).landed(now_ns_, write.to, write.lane, write.end, word_);
    }
    const Epoch former = std::exchange(word_, std::max(word_, write.lane.epoch));
    std::vector<AreaView> views;
    for (auto& [server, pair] : areas_) {
      for (std::uint32_t i = 0; i < kAreasOfServer; ++i) {
        views.push_back(
            {.own = server == from ? std::optional(i) : std::nullopt, .bytes = bytes_of(pair[i])});
      }
    }
    at(from).raised(now_ns_, write.to, write.lane.epoch, former, views);
  }
  std::vector<LaneWrite> writes(std::uint64_t from) {
    std::vector<LaneWrite> result;
    at(from).take_lane_writes(result);
    return result;
  }
  /// What `from` wants of the witness, until it wants nothing more. Who is written to directly
  /// otherwise is away.
  void reach(std::uint64_t from) {
    while (reach_once(from)) {
    }
  }
  bool reach_once(std::uint64_t from) {
    const std::vector<LaneWrite> all = writes(from);
    for (const LaneWrite& write : all) {
      if (write.to != id(3)) continue;
      land(from, write);
      report(from, write);
    }
    return !all.empty();
  }
  /// With the witness alone.
  void lead(std::uint64_t number) {
    // It may first have to notice that it leads no more.
    const auto leads = [&] {
      return at(number).role() == Role::leader && at(number).epoch() == word_;
    };
    for (int attempt = 0; attempt < 8 && (attempt == 0 || !leads()); ++attempt) {
      lose_patience(number);
      reach(number);
    }
    ASSERT_TRUE(leads());
    lose_mail();
  }
  Index propose(std::uint64_t number, std::string_view text) {
    return at(number).propose(now_ns_, bytes(text)).value_or(Position{}).index;
  }
  void compact(std::uint64_t number, std::size_t state_bytes = 100) {
    const std::vector<std::byte> state(state_bytes);
    at(number).compact(Snapshot::make(at(number).place_at(at(number).stable()), state).value());
  }

  std::map<std::uint64_t, OwnMemory> memory_;
  std::map<std::uint64_t, std::array<Area, kAreasOfServer>> areas_;
  Epoch word_ = 0;
};

TEST_F(WitnessTest, AServerDecidesWithItAlone) {
  const Index index = propose(1, "alone");
  EXPECT_LT(at(1).stable(), index);
  reach(1);
  EXPECT_EQ(at(1).stable(), index);
  collect(1);
  for (const auto& letter : nodes_[1].outbox) EXPECT_NE(letter.to, id(3)) << "memory hears nothing";
}

TEST_F(WitnessTest, TheOtherOneTakesOverWhatWasDecidedThere) {
  const Index index = propose(1, "decided");
  reach(1);
  ASSERT_EQ(at(1).stable(), index);
  lead(2);
  EXPECT_EQ(at(2).at(index).payload, bytes("decided"));
  EXPECT_EQ(at(2).stable(), at(2).end().index);
}

TEST_F(WitnessTest, WhatLandsAfterTheRaiseIsNotCounted) {
  const Index index = propose(1, "late");
  const std::vector<LaneWrite> late = writes(1);
  ASSERT_FALSE(late.empty());
  lead(2);
  for (const LaneWrite& write : late) {
    land(1, write);
    report(1, write);
  }
  EXPECT_LT(at(1).stable(), index);
  EXPECT_NE(at(1).role(), Role::leader) << "the word told it";
}

/// Both servers ask for the same epoch at the same time.
class BothAsk : public WitnessTest {
 protected:
  void ask() {
    lose_patience(2);
    reach_once(2);  // it learns of the epoch
    lose_patience(2);
    lose_patience(1);
    for (const std::uint64_t number : {1, 2, 1, 2}) {
      ASSERT_EQ(at(number).role(), Role::candidate);
      reach_once(number);
    }
  }
};

TEST_F(BothAsk, AnEpochIsGrantedOnce) {
  ask();
  EXPECT_EQ(at(1).role(), Role::leader);
  EXPECT_EQ(at(2).role(), Role::candidate);
  EXPECT_EQ(at(1).epoch(), at(2).epoch());
}

TEST_F(BothAsk, OrElseItHasTwoLeaders) {
  const Planted planted("log.witness_grants_twice");
  ask();
  EXPECT_EQ(at(1).role(), Role::leader);
  EXPECT_EQ(at(2).role(), Role::leader);
}

TEST_F(WitnessTest, AFullAreaGivesWayToTheOtherBehindASnapshot) {
  bool has_asked = false;
  for (int i = 0; i < 300; ++i) {
    const Index index = propose(1, "forty bytes of payload, more or less ...");
    reach(1);
    ASSERT_EQ(at(1).stable(), index) << i;
    if (!at(1).wants_snapshot()) continue;
    has_asked = true;
    compact(1);
  }
  EXPECT_TRUE(has_asked);
  const Index last = at(1).stable();
  lead(2);
  EXPECT_GE(at(2).end().index, last);
  ASSERT_TRUE(at(2).snapshot());
  EXPECT_GT(at(2).snapshot()->last().index, 0u);
}

TEST_F(WitnessTest, WithoutASnapshotItWaits) {
  Index index = 0;
  for (int i = 0; i < 300; ++i) {
    index = propose(1, "forty bytes of payload, more or less ...");
    reach(1);
  }
  EXPECT_LT(at(1).stable(), index);
  EXPECT_TRUE(at(1).wants_snapshot());
  const Index decided = at(1).stable();
  compact(1);
  now_ns_ += 20 * kMs;
  at(1).tick(now_ns_);
  reach(1);
  EXPECT_GT(at(1).stable(), decided) << "as many more as there is room for";
}

/// 2 takes over in the middle of a lane that 1 begins in its other area.
class BeginsALane : public WitnessTest {
 protected:
  /// Whether 2 has what was decided, if it comes when only the first half of the lane has landed.
  bool survives() {
    Index decided = 0;
    for (int i = 0; i < 300; ++i) {
      decided = at(1).stable();
      propose(1, "forty bytes of payload, more or less ...");
      if (at(1).wants_snapshot()) compact(1);
      for (LaneWrite& write : writes(1)) {
        if (write.to != id(3)) continue;
        if (write.offset == 0 && !write.content().empty()) {
          write.made.resize(write.made.size() / 16 * 8);
          land(1, write);
          lead(2);
          return at(2).end().index >= decided;
        }
        land(1, write);
        report(1, write);
      }
    }
    ADD_FAILURE() << "no lane was begun";
    return false;
  }
};

TEST_F(BeginsALane, WhatIsDecidedIsInTheOtherAreaUntilItIsComplete) { EXPECT_TRUE(survives()); }

TEST_F(BeginsALane, OrElseItIsLost) {
  const Planted planted("log.area_in_place");
  EXPECT_FALSE(survives());
}

TEST_F(BeginsALane, AndWhoLeadsAgainLooksWhichAreaThatIs) {
  // 1's later lane is in either area by now.
  for (int round = 0; round < 4; ++round) {
    const Index index = propose(1, "again");
    reach(1);
    ASSERT_EQ(at(1).stable(), index);
    lead(2);
    lead(1);
  }
  EXPECT_TRUE(survives());
}

TEST_F(WitnessTest, WhatFailsIsBegunAgain) {
  propose(1, "this one does not arrive");
  for (const LaneWrite& write : writes(1)) {
    if (write.to == id(3)) at(1).lane_failed(now_ns_, write.to, write.lane);
  }
  reach(1);
  EXPECT_LT(at(1).stable(), at(1).end().index);
  now_ns_ += 20 * kMs;
  at(1).tick(now_ns_);
  reach(1);
  EXPECT_EQ(at(1).stable(), at(1).end().index);
}

TEST_F(WitnessTest, ALeaderThatReachesNobodyStopsLeading) {
  now_ns_ += 1000 * kMs;
  at(1).tick(now_ns_);
  EXPECT_NE(at(1).role(), Role::leader);
}

TEST_F(WitnessTest, AndOneThatReachesItGoesOn) {
  for (int i = 0; i < 200; ++i) {
    now_ns_ += 10 * kMs;
    at(1).tick(now_ns_);
    reach(1);
    ASSERT_EQ(at(1).role(), Role::leader) << i;
  }
}

}  // namespace
}  // namespace dolmen::log
