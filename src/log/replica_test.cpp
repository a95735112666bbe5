// SPDX-License-Identifier: Apache-2.0
#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

TEST_F(ReplicaTest, AGroupOfOneDecidesWhatIsDurable) {
  Replica alone(id(1), {{id(1)}}, {}, {}, 1, 0);
  alone.tick(1000 * kMs);
  EXPECT_EQ(alone.role(), Role::candidate);
  alone.persisted(1000 * kMs, alone.take_output().records.size());
  EXPECT_EQ(alone.role(), Role::leader);
  const auto where = alone.propose(1000 * kMs, bytes("x"));
  ASSERT_TRUE(where);
  EXPECT_LT(alone.stable(), where->index);
  alone.persisted(1001 * kMs, 1 + alone.take_output().records.size());
  EXPECT_EQ(alone.stable(), where->index);
}

TEST_F(ReplicaTest, ACommandIsDecidedWhenAMajorityHasItDurably) {
  elect(1, 2);
  const auto where = at(1).propose(now_ns_, bytes("x"));
  ASSERT_TRUE(where);
  carry(1, 2);
  carry(2, 1);
  EXPECT_LT(at(1).stable(), where->index);  // both have it, no disk has
  sync(2);
  carry(2, 1);
  EXPECT_LT(at(1).stable(), where->index);  // one disk has
  sync(1);
  EXPECT_EQ(at(1).stable(), where->index);
}

class SparingReplicaTest : public ReplicaTest {
 protected:
  void SetUp() override {
    options_.spare_ns = 2 * kMs;
    options_.trailing_bytes = 0;
    ReplicaTest::SetUp();
  }
  std::size_t entries_for(std::uint64_t from, std::uint64_t to) {
    collect(from);
    std::size_t count = 0;
    for (const Output::Letter& letter : nodes_[from].outbox) {
      if (letter.to == id(to)) count += letter.message.entries.size();
    }
    return count;
  }
};

TEST_F(SparingReplicaTest, WhomNoMajorityNeedsGetsEntriesLaterAndTogether) {
  elect(1, 2);
  catch_up(1);
  lose_mail();
  const auto where = at(1).propose(now_ns_, bytes("x"));
  const std::uint64_t needed = entries_for(1, 2) == 1 ? 2 : 3;
  const std::uint64_t spared = 5 - needed;
  EXPECT_EQ(entries_for(1, needed), 1u);
  EXPECT_EQ(entries_for(1, spared), 0u);
  sync(1);
  carry(1, needed);
  sync(needed);
  carry(needed, 1);
  EXPECT_EQ(at(1).stable(), where->index);
  ASSERT_TRUE(at(1).propose(now_ns_, bytes("y")));
  EXPECT_EQ(entries_for(1, spared), 0u);
  EXPECT_LE(at(1).next_wakeup_ns(), now_ns_ + options_.spare_ns);
  now_ns_ += options_.spare_ns;
  at(1).tick(now_ns_);
  EXPECT_EQ(entries_for(1, spared), 2u);
}

TEST_F(SparingReplicaTest, WhenTheOneThatIsNeededIsSilentTheOtherOneIs) {
  elect(1, 2);
  catch_up(1);
  lose_mail();
  const auto where = at(1).propose(now_ns_, bytes("x"));
  const std::uint64_t needed = entries_for(1, 2) == 1 ? 2 : 3;
  const std::uint64_t spared = 5 - needed;
  sync(1);
  lose_mail();  // what was for the one that is needed
  EXPECT_LT(at(1).stable(), where->index);
  now_ns_ += options_.spare_ns;
  at(1).tick(now_ns_);
  carry(1, spared);
  sync(spared);
  carry(spared, 1);
  EXPECT_EQ(at(1).stable(), where->index);
  lose_mail();
  ASSERT_TRUE(at(1).propose(now_ns_, bytes("y")));
  EXPECT_EQ(entries_for(1, spared), 1u) << "whose log is longer now";
}

TEST_F(SparingReplicaTest, WhoNeedsASnapshotIsSparedNothingMore) {
  elect(1, 2);
  catch_up(1);
  lose_mail();
  ASSERT_TRUE(at(1).propose(now_ns_, bytes("x")));
  const std::uint64_t needed = entries_for(1, 2) == 1 ? 2 : 3;
  now_ns_ += options_.spare_ns;
  at(1).tick(now_ns_);  // to the other one, too, which never answers
  const auto where = at(1).propose(now_ns_, bytes("y"));
  sync(1);
  carry(1, needed);
  sync(needed);
  carry(needed, 1);
  ASSERT_EQ(at(1).stable(), where->index);
  at(1).compact(Snapshot::make(at(1).place_at(where->index), bytes("state")).value());
  now_ns_ += options_.resend_ns;
  at(1).tick(now_ns_);
  EXPECT_GT(at(1).next_wakeup_ns(), now_ns_);
}

TEST_F(ReplicaTest, OnlyALeaderTakesProposals) {
  EXPECT_FALSE(at(2).propose(now_ns_, bytes("x")));
  elect(1, 2);
  EXPECT_FALSE(at(2).propose(now_ns_, bytes("x")));
  EXPECT_EQ(at(2).leader(), id(1));
}

TEST_F(ReplicaTest, AnEpochIsGrantedToOneCandidate) {
  at(3).receive(now_ns_, id(1), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  ASSERT_EQ(nodes_[3].outbox.size(), 1u);
  EXPECT_EQ(nodes_[3].outbox[0].message.kind, MessageKind::grant);
  at(3).receive(now_ns_, id(2), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  EXPECT_EQ(nodes_[3].outbox[1].message.kind, MessageKind::refuse);
  start(3);  // also after a crash
  at(3).receive(now_ns_, id(2), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  EXPECT_EQ(nodes_[3].outbox[0].message.kind, MessageKind::refuse);
  at(3).receive(now_ns_, id(1), {.kind = MessageKind::ask, .epoch = 5});
  sync(3);
  EXPECT_EQ(nodes_[3].outbox[1].message.kind, MessageKind::grant);  // to the same one, again
}

TEST_F(ReplicaTest, AGrantWaitsForTheDisk) {
  at(3).receive(now_ns_, id(1), {.kind = MessageKind::ask, .epoch = 5});
  collect(3);
  EXPECT_TRUE(nodes_[3].outbox.empty());
  sync(3);
  EXPECT_EQ(nodes_[3].outbox.size(), 1u);
}

TEST_F(ReplicaTest, ANewLeaderTakesTheLatestLogOfThoseThatGranted) {
  elect(1, 2);
  for (int i = 0; i < 5; ++i) (void)at(1).propose(now_ns_, bytes("decided"));
  settle({1, 2});
  const Index decided = at(1).stable();
  lose_mail();
  elect(3, 2);  // 1 is gone; 3 has nothing
  EXPECT_EQ(at(3).end().index, decided + 1);
  EXPECT_EQ(at(3).at(decided).payload, bytes("decided"));
  EXPECT_EQ(at(3).stable(), decided + 1);
}

TEST_F(ReplicaTest, ADeposedLeaderGivesUpWhatWasNeverDecided) {
  elect(1, 2);
  settle({1, 2});
  const Index decided = at(1).stable();
  (void)at(1).propose(now_ns_, bytes("never"));
  (void)at(1).propose(now_ns_, bytes("decided"));
  lose_mail();
  elect(3, 2);
  (void)at(3).propose(now_ns_, bytes("instead"));
  settle({1, 2, 3});
  now_ns_ += 50 * kMs;
  at(3).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_EQ(at(1).role(), Role::follower);
  EXPECT_EQ(nodes_[1].undo_from, decided + 1);
  EXPECT_EQ(at(1).at(decided + 2).payload, bytes("instead"));
  EXPECT_EQ(at(1).stable(), at(3).stable());
}

TEST_F(ReplicaTest, WhoHearsALeaderDoesNotHelpToDeposeIt) {
  elect(1, 2);
  at(2).receive(now_ns_ + 50 * kMs, id(3), {.kind = MessageKind::probe, .epoch = 9});
  collect(2);
  EXPECT_TRUE(nodes_[2].outbox.empty());
  at(2).receive(now_ns_ + 5000 * kMs, id(3), {.kind = MessageKind::probe, .epoch = 9});
  collect(2);
  ASSERT_EQ(nodes_[2].outbox.size(), 1u);
  EXPECT_EQ(nodes_[2].outbox[0].message.kind, MessageKind::probe_yes);
  EXPECT_NE(at(2).epoch(), 9u);
}

TEST_F(ReplicaTest, ALeaderThatNoMajorityAnswersStepsDown) {
  elect(1, 2);
  now_ns_ += 1000 * kMs;
  at(1).tick(now_ns_);
  EXPECT_EQ(at(1).role(), Role::follower);
  EXPECT_FALSE(at(1).propose(now_ns_, bytes("x")));
}

TEST_F(ReplicaTest, AFollowerThatMissedMuchIsBroughtUpInPieces) {
  elect(1, 2);
  for (int i = 0; i < 3000; ++i) {
    (void)at(1).propose(now_ns_, std::vector<std::byte>(100));
    if (i % 500 == 0) settle({1, 2});
  }
  settle({1, 2});
  now_ns_ += 50 * kMs;
  at(1).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_EQ(at(3).end(), at(1).end());
}

TEST_F(ReplicaTest, AnAnswerOfAnEarlierEpochCountsNothing) {
  elect(1, 2);
  const Epoch earlier = at(1).epoch();
  (void)at(1).propose(now_ns_, bytes("never"));
  lose_mail();
  elect(3, 2);
  elect(1, 2);
  const auto where = at(1).propose(now_ns_, bytes("x"));
  sync(1);
  lose_mail();
  at(1).receive(now_ns_, id(2),
                {.kind = MessageKind::appended, .epoch = earlier, .position = {0, where->index}});
  EXPECT_LT(at(1).stable(), where->index);
}

TEST_F(ReplicaTest, AStrangersAnswersCountNothing) {
  now_ns_ += 1000 * kMs;
  at(1).tick(now_ns_);
  at(1).receive(now_ns_, id(7), {.kind = MessageKind::probe_yes, .epoch = 1});
  sync(1);
  EXPECT_EQ(at(1).epoch(), 0u);  // two of them would be a majority
  elect(1, 2);
  const auto where = at(1).propose(now_ns_, bytes("x"));
  sync(1);
  at(1).receive(
      now_ns_, id(7),
      {.kind = MessageKind::appended, .epoch = at(1).epoch(), .position = {0, where->index}});
  EXPECT_LT(at(1).stable(), where->index);
}

}  // namespace
}  // namespace dolmen::log
