// SPDX-License-Identifier: Apache-2.0
//
// Groups in memory whose memories a test lets others write into when it likes.
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

class Memory final : public LaneMemory {
 public:
  Epoch word() override { return word_; }
  Epoch raise(Epoch epoch) override {
    if (before_raise) before_raise();
    return std::exchange(word_, std::max(word_, epoch));
  }
  base::MutableBytes make_lane(ReplicaId, LaneName name, std::size_t bytes) override {
    auto& words = lanes_[{name.epoch, name.number}];
    words.assign(bytes / 8, 0);
    return std::as_writable_bytes(std::span(words));
  }
  void drop_lane(LaneName name) override {
    const auto found = lanes_.find({name.epoch, name.number});
    if (found == lanes_.end()) return;
    dropped_.push_back(std::move(found->second));  // its writer may not know yet
    lanes_.erase(found);
  }
  std::vector<base::Bytes> kept_lanes() override {
    std::vector<base::Bytes> kept;
    for (const auto& [name, words] : lanes_) kept.push_back(std::as_bytes(std::span(words)));
    return kept;
  }
  std::function<void()> before_raise;
  void land(const LaneWrite& write) {
    const auto found = lanes_.find({write.lane.epoch, write.lane.number});
    if (found == lanes_.end()) return;  // dropped: it lands where nobody looks
    const base::MutableBytes lane = std::as_writable_bytes(std::span(found->second));
    std::ranges::copy(write.bytes, lane.subspan(write.offset).begin());
  }

 private:
  Epoch word_ = 0;
  std::map<std::pair<Epoch, std::uint32_t>, std::vector<std::uint64_t>> lanes_;
  std::vector<std::vector<std::uint64_t>> dropped_;
};

class DirectTest : public ReplicaTest {
 protected:
  void SetUp() override {
    options_.lane_bytes = lane_bytes_;
    for (std::uint64_t i = 1; i <= 3; ++i) start_in_memory(i);
    elect(1, 2);
    catch_up(1);
    catch_up(1);
    ASSERT_EQ(at(1).matched(id(3)), at(1).end().index);
  }
  void start_in_memory(std::uint64_t number) {
    nodes_[number].outbox.clear();
    nodes_[number].replica =
        std::make_unique<Replica>(id(number), Configuration{{id(1), id(2), id(3)}}, options_,
                                  nodes_[number].disk, number, now_ns_, &memory_[number]);
  }
  Index propose(std::string_view text) {
    return at(1).propose(now_ns_, bytes(text)).value_or(Position{}).index;
  }
  std::vector<LaneWrite> writes() {
    std::vector<LaneWrite> result;
    at(1).take_lane_writes(result);
    return result;
  }
  static std::uint64_t number(ReplicaId member) { return static_cast<std::uint64_t>(member); }
  void report(const LaneWrite& write) {
    at(1).landed(now_ns_, write.to, write.lane, write.end, memory_[number(write.to)].word());
  }

  std::map<std::uint64_t, Memory> memory_;
  std::size_t lane_bytes_ = 512;
};

TEST_F(DirectTest, AnEntryIsDecidedWithoutAMessage) {
  lose_mail();
  const Index index = propose("open");
  const std::vector<LaneWrite> all = writes();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].bytes.data(), all[1].bytes.data()) << "encoded once";
  collect(1);
  EXPECT_TRUE(nodes_[1].outbox.empty());
  EXPECT_LT(at(1).stable(), index);
  memory_[2].land(all[0]);
  report(all[0]);
  EXPECT_EQ(at(1).stable(), index);
  EXPECT_LT(at(2).end().index, index) << "it sleeps";
  EXPECT_TRUE(at(2).poll());
  EXPECT_EQ(at(2).at(index), at(1).at(index));
  EXPECT_FALSE(at(2).poll());
}

TEST_F(DirectTest, WhoGrantsTakesInWhatWasWrittenBefore) {
  const Index index = propose("before");
  for (const LaneWrite& write : writes()) {
    if (write.to != id(2)) continue;
    memory_[2].land(write);
    report(write);
  }
  ASSERT_EQ(at(1).stable(), index);
  lose_mail();
  elect(3, 2);
  EXPECT_EQ(at(3).at(index).payload, bytes("before"));
}

class LargeLanes : public DirectTest {
 protected:
  LargeLanes() { lane_bytes_ = 256u << 10; }
};

// Else its leader would take it for dead, and it its leader.
TEST_F(LargeLanes, AFollowerThatHasMuchToTakeInIsHeardMeanwhile) {
  for (int i = 0; i < 3000; ++i) (void)at(1).propose_unsent(bytes("much"));
  at(1).send_proposed(now_ns_);
  const Index last = at(1).end().index;
  for (const LaneWrite& write : writes()) {
    if (write.to != id(2)) continue;
    memory_[2].land(write);
    report(write);
  }
  ASSERT_EQ(at(1).stable(), last);
  lose_mail();
  const Message beat{
      .kind = MessageKind::append, .epoch = at(1).epoch(), .position = at(1).end(), .stable = last};
  Message entries = beat;
  entries.entries.push_back({.origin = beat.epoch, .index = last + 1, .payload = bytes("next")});
  Index before = 0;
  for (const Message& message : {beat, entries}) {
    at(2).receive(now_ns_, id(1), message);
    collect(2);
    ASSERT_EQ(nodes_[2].outbox.size(), 1u);
    const Message answer = nodes_[2].outbox.front().message;
    nodes_[2].outbox.clear();
    EXPECT_EQ(answer.kind, MessageKind::appended);
    EXPECT_GT(answer.position.index, before);
    EXPECT_LT(answer.position.index, last);
    before = answer.position.index;
  }
  while (at(2).poll()) {
  }
  EXPECT_EQ(at(2).end().index, last);
  at(2).receive(now_ns_, id(1), entries);
  EXPECT_EQ(at(2).end().index, last + 1);
}

// Decided by the leader and by 2, which sleeps; then 3 asks 2, some epochs further on.
class CountedThenAsked : public DirectTest {
 protected:
  void count_in_2() {
    for (const LaneWrite& write : writes()) {
      if (write.to != id(2)) continue;
      memory_[2].land(write);
      report(write);
    }
  }
  /// Whether 2, asked, holds what it is counted for.
  bool holds_when_asked(Index index, Epoch further) {
    const Epoch epoch = at(1).epoch() + further;
    at(2).receive(now_ns_, id(3), {.kind = MessageKind::ask, .epoch = epoch});
    EXPECT_EQ(at(2).epoch(), epoch);
    EXPECT_EQ(at(1).stable(), index);
    return at(2).end().index >= index;
  }
};

TEST_F(CountedThenAsked, EveryLaneIsReadHoweverFarTheEpochRises) {
  const Index index = propose("counted");
  count_in_2();
  EXPECT_TRUE(holds_when_asked(index, 3));
}

TEST_F(CountedThenAsked, OrElseItIsLost) {
  const Planted planted("log.previous_lane_only");
  const Index index = propose("counted");
  count_in_2();
  EXPECT_FALSE(holds_when_asked(index, 3));
}

TEST_F(CountedThenAsked, LanesAreReadBehindTheRaise) {
  const Index index = propose("counted");
  memory_[2].before_raise = [&] { count_in_2(); };
  EXPECT_TRUE(holds_when_asked(index, 1));
}

TEST_F(CountedThenAsked, OrElseWhatLandsBetweenIsLost) {
  const Planted planted("log.lanes_read_first");
  const Index index = propose("counted");
  memory_[2].before_raise = [&] { count_in_2(); };
  EXPECT_FALSE(holds_when_asked(index, 1));
}

TEST_F(DirectTest, WhatLandsAfterAGrantIsNotCounted) {
  const Index index = propose("late");
  const std::vector<LaneWrite> all = writes();
  lose_mail();
  elect(3, 2);
  for (const LaneWrite& write : all) {
    memory_[number(write.to)].land(write);
    report(write);
  }
  EXPECT_LT(at(1).stable(), index);
  EXPECT_NE(at(1).role(), Role::leader) << "the word told it";
}

TEST_F(DirectTest, ALeaderWhoseMemoryWasTakenOverCountsNothing) {
  const Index before = at(1).stable();
  nodes_[1].disk = at(1).durable_state();
  Replica successor(id(1), Configuration{{id(1), id(2), id(3)}}, options_, nodes_[1].disk, 9,
                    now_ns_, &memory_[1]);
  EXPECT_GT(successor.epoch(), at(1).epoch());
  propose("nobody hears this");
  for (const LaneWrite& write : writes()) {
    memory_[number(write.to)].land(write);
    report(write);
  }
  EXPECT_TRUE(at(1).is_superseded());
  EXPECT_EQ(at(1).stable(), before);
}

TEST_F(DirectTest, OneLaneFollowsOnAnotherAndAFailedOneIsLeft) {
  for (int i = 0; i < 100; ++i) {
    const Index index = propose("forty bytes of payload, more or less ...");
    for (const LaneWrite& write : writes()) {
      memory_[number(write.to)].land(write);
      report(write);
    }
    settle({1, 2, 3});  // who asks for lanes, and who gives them
    for (const LaneWrite& write : writes()) {
      memory_[number(write.to)].land(write);
      report(write);
    }
    ASSERT_EQ(at(1).stable(), index) << i;
  }
  propose("this one does not arrive");
  for (const LaneWrite& write : writes()) at(1).lane_failed(now_ns_, write.to, write.lane);
  settle({1, 2, 3});
  EXPECT_EQ(at(1).stable(), at(1).end().index) << "as messages";
}

TEST_F(DirectTest, WhatIsReportedOfAFailedLaneCountsNoMore) {
  const Index first = propose("first");
  const std::vector<LaneWrite> one = writes();
  const Index second = propose("second");
  const std::vector<LaneWrite> two = writes();
  lose_mail();
  ASSERT_LT(first, second);
  for (const LaneWrite& write : one) at(1).lane_failed(now_ns_, write.to, write.lane);
  for (const LaneWrite& write : two) {
    memory_[number(write.to)].land(write);
    report(write);
  }
  EXPECT_LT(at(1).stable(), first);
}

}  // namespace
}  // namespace dolmen::log
