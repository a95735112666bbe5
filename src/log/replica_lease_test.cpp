// SPDX-License-Identifier: Apache-2.0
//
// Leases: what a leader may count on, and what those who promised it do meanwhile.
#include <gtest/gtest.h>

#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

class ReplicaLease : public ReplicaTest {
 protected:
  ReplicaLease() { options_.lease_ns = 60 * kMs; }

  /// Member 1 leads, and everybody has answered a question that it asked just now.
  void lead_with_lease() {
    now_ns_ += 1000 * kMs;
    elect(1, 2);
    catch_up(1);
    beat();
    settle({1, 2, 3});
    ASSERT_GT(at(1).lease_until_ns(now_ns_), now_ns_);
  }
  /// The leader's next question leaves.
  void beat() {
    now_ns_ += options_.heartbeat_ns;
    at(1).tick(now_ns_);
  }
  bool grants(std::uint64_t number, std::uint64_t candidate) {
    const Epoch epoch = at(number).epoch() + 1;
    at(number).receive(now_ns_, id(candidate), {.kind = MessageKind::ask, .epoch = epoch});
    sync(number);
    return at(number).epoch() == epoch;
  }
  [[nodiscard]] std::uint64_t kept_ns() const {
    return options_.lease_ns + options_.lease_ns * options_.drift_ppm / 1'000'000 + kLeaseSlackNs;
  }
};

TEST_F(ReplicaLease, CountsFromWhenItWasAskedAndNotFromTheAnswer) {
  lead_with_lease();
  beat();
  const std::uint64_t asked_ns = now_ns_;
  now_ns_ += 20 * kMs;  // the question is on its way
  settle({1, 2, 3});
  const std::uint64_t until_ns = at(1).lease_until_ns(now_ns_);
  EXPECT_LE(until_ns, asked_ns + options_.lease_ns);
  EXPECT_GT(until_ns, asked_ns + options_.lease_ns - options_.lease_ns / 500);
}

TEST_F(ReplicaLease, OneAnswerOfThreeIsEnoughAndNoneIsNot) {
  lead_with_lease();
  const std::uint64_t before_ns = at(1).lease_until_ns(now_ns_);
  beat();
  EXPECT_EQ(at(1).lease_until_ns(now_ns_), before_ns);
  ASSERT_TRUE(carry(1, 3) && carry(3, 1));
  EXPECT_GT(at(1).lease_until_ns(now_ns_), before_ns);
}

TEST_F(ReplicaLease, WhoAnsweredSupportsNobodyBeforeItIsOver) {
  lead_with_lease();
  const std::uint64_t answered_ns = now_ns_;
  const std::uint64_t until_ns = at(1).lease_until_ns(now_ns_);
  at(2).lost_contact(now_ns_, id(1));
  at(2).tick(now_ns_);
  EXPECT_EQ(at(2).role(), Role::follower) << "nor itself";
  EXPECT_FALSE(grants(2, 3));
  EXPECT_FALSE(grants(1, 3)) << "nor does the leader";
  now_ns_ = answered_ns + kept_ns() - 1;
  EXPECT_GT(now_ns_, until_ns);
  EXPECT_FALSE(grants(2, 3));
  now_ns_ += 2;
  EXPECT_TRUE(grants(2, 3));
  EXPECT_TRUE(grants(1, 3));
}

TEST_F(ReplicaLease, NobodyIsAskedWhetherItWouldInVain) {
  lead_with_lease();
  at(2).lost_contact(now_ns_, id(1));
  lose_mail();
  at(2).receive(now_ns_, id(3), {.kind = MessageKind::probe, .epoch = at(2).epoch() + 1});
  EXPECT_TRUE(at(2).take_output().letters.empty());
}

TEST_F(ReplicaLease, WhoStartsAgainHasPromisedWhatItMayHave) {
  lead_with_lease();
  start(2);
  EXPECT_FALSE(grants(2, 3));
  now_ns_ += kept_ns() + 1;
  EXPECT_TRUE(grants(2, 3));
}

// Its disk may not have had the epoch in which it promised, and then it hears of an earlier leader.
TEST_F(ReplicaLease, WhoStartsAgainIsBoundToNobodyInParticular) {
  lead_with_lease();
  start(2);
  beat();
  settle({1, 2});
  EXPECT_FALSE(grants(2, 1));
}

TEST_F(ReplicaLease, ThereIsNoneWhereOthersPromiseLess) {
  lead_with_lease();
  options_.lease_ns /= 2;
  for (const std::uint64_t other : {2u, 3u}) start(other);
  const std::uint64_t before_ns = at(1).lease_until_ns(now_ns_);
  for (int i = 0; i < 3; ++i) {
    beat();
    settle({1, 2, 3});
  }
  EXPECT_EQ(at(1).lease_until_ns(now_ns_), before_ns);
}

TEST_F(ReplicaLease, WithoutThemNothingIsPromised) {
  options_.lease_ns = 0;
  nodes_.clear();
  SetUp();
  elect(1, 2);
  catch_up(1);
  EXPECT_EQ(at(1).lease_until_ns(now_ns_), 0u);
  EXPECT_TRUE(grants(2, 3));
}

TEST_F(ReplicaLease, LearnersPromiseNothingThatCounts) {
  lead_with_lease();
  const Configuration next{.voters = {id(1), id(2), id(3)}, .learners = {id(4), id(5)}};
  ASSERT_TRUE(at(1).propose(now_ns_, next));
  for (int i = 0; i < 12; ++i) {
    beat();
    settle({1, 2, 3});
  }
  ASSERT_TRUE(at(1).settled());
  for (const std::uint64_t learner : {4u, 5u}) start(learner);
  const std::uint64_t before_ns = at(1).lease_until_ns(now_ns_);
  for (int i = 0; i < 4; ++i) {
    beat();
    settle({1, 4, 5});
  }
  EXPECT_EQ(at(1).lease_until_ns(now_ns_), before_ns);
  const Planted bug("log.lease_counts_learners");
  EXPECT_GT(at(1).lease_until_ns(now_ns_), before_ns);
}

// {2, 3} may elect among themselves as soon as they alone count: not while 1's lease of before
// runs.
TEST_F(ReplicaLease, OtherVotersCountOnlyWhenFormerLeasesAreOver) {
  lead_with_lease();
  const std::uint64_t until_ns = at(1).lease_until_ns(now_ns_);
  const auto where = at(1).propose(now_ns_, Configuration{.voters = {id(2), id(3)}});
  ASSERT_TRUE(where);
  settle({1, 2, 3});
  EXPECT_LT(at(1).stable(), where->index);
  now_ns_ = until_ns - 1;
  at(1).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_LT(at(1).stable(), where->index);
  now_ns_ = until_ns;
  at(1).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_GE(at(2).stable(), where->index);
}

TEST_F(ReplicaLease, OtherVotersThatCountAtOnceAreSeen) {
  const Planted bug("log.lease_of_former_voters");
  lead_with_lease();
  const std::uint64_t until_ns = at(1).lease_until_ns(now_ns_);
  const auto where = at(1).propose(now_ns_, Configuration{.voters = {id(2), id(3)}});
  ASSERT_TRUE(where);
  settle({1, 2, 3});
  EXPECT_GE(at(2).stable(), where->index);
  EXPECT_LT(now_ns_, until_ns);
}

TEST_F(ReplicaLease, AWitnessThatRunsPromisesLikeOthers) {
  lead_with_lease();
  Configuration next{.voters = {id(1), id(2), id(3)}, .witnesses = {id(3)}};
  ASSERT_TRUE(at(1).propose(now_ns_, next));
  for (int i = 0; i < 12; ++i) {
    beat();
    settle({1, 2, 3});
  }
  const std::uint64_t before_ns = at(1).lease_until_ns(now_ns_);
  ASSERT_GT(before_ns, now_ns_);
  beat();
  settle({1, 3});
  EXPECT_GT(at(1).lease_until_ns(now_ns_), before_ns) << "one that runs is a voter like others";
}

TEST_F(ReplicaLease, WhatIsLentIsShorterByBothClocks) {
  EXPECT_EQ(Replica::lent_ns(0, 1000), 0u);
  EXPECT_EQ(Replica::lent_ns(1'000'000, 1000), 1'000'000u - 2'000 - 1);
  EXPECT_EQ(Replica::lent_ns(1'000'000, 500'000), 0u);
}

TEST_F(ReplicaLease, WhoHandsOverLendsNoMoreAndLeadsUntilWhatItLentIsOver) {
  lead_with_lease();
  const std::uint64_t until_ns = at(1).lease_until_ns(now_ns_);
  at(1).hand_over(now_ns_);
  EXPECT_EQ(at(1).lease_until_ns(now_ns_), 0u);
  EXPECT_EQ(at(1).next_wakeup_ns(), std::min(at(1).next_wakeup_ns(), until_ns));
  at(1).tick(until_ns - 1);
  EXPECT_EQ(at(1).role(), Role::leader);
  const auto where = at(1).propose(now_ns_, bytes("on"));
  ASSERT_TRUE(where);
  now_ns_ = until_ns;
  at(1).tick(now_ns_);
  EXPECT_EQ(at(1).role(), Role::leader) << "what it was asked for is not decided";
  EXPECT_FALSE(at(1).takes_commands());
  settle({1, 2, 3});
  EXPECT_GE(at(1).stable(), where->index);
  EXPECT_LE(at(1).next_wakeup_ns(), now_ns_) << "now it is";
  at(1).tick(now_ns_);
  EXPECT_EQ(at(1).role(), Role::follower);
  EXPECT_FALSE(at(1).takes_commands());
  EXPECT_GT(at(1).next_wakeup_ns(), now_ns_ + options_.silence_ns) << "it does not stand itself";
  settle({1, 2, 3});
  at(2).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_EQ(at(2).role(), Role::leader) << "in the same moment";
  EXPECT_TRUE(at(2).takes_commands());
}

TEST_F(ReplicaLease, WhatNobodyDecidesKeepsAHandOverForSomeTimeOnly) {
  lead_with_lease();
  at(1).hand_over(now_ns_);
  ASSERT_TRUE(at(1).propose(now_ns_, bytes("in vain")));
  while (at(1).takes_commands()) at(1).tick(now_ns_ += kMs);
  ASSERT_EQ(at(1).role(), Role::leader);
  const std::uint64_t closed_ns = now_ns_;
  at(1).tick(now_ns_ = closed_ns + options_.silence_ns - 1);
  EXPECT_EQ(at(1).role(), Role::leader);
  at(1).tick(now_ns_ = closed_ns + options_.silence_ns);
  EXPECT_EQ(at(1).role(), Role::follower);
}

TEST_F(ReplicaLease, AHandOverOfAnotherEpochOrBySomebodyElseFreesNobody) {
  lead_with_lease();
  const Epoch epoch = at(2).epoch();
  at(2).receive(now_ns_, id(1), {.kind = MessageKind::hand_over, .epoch = epoch + 1});
  at(2).receive(now_ns_, id(1), {.kind = MessageKind::hand_over, .epoch = epoch - 1});
  at(2).receive(now_ns_, id(3), {.kind = MessageKind::hand_over, .epoch = epoch});
  EXPECT_EQ(at(2).epoch(), epoch);
  EXPECT_FALSE(grants(2, 3));
  at(2).receive(now_ns_, id(1), {.kind = MessageKind::hand_over, .epoch = epoch});
  EXPECT_TRUE(grants(2, 3));
}

// It may have promised to whoever leads a later epoch, which its disk did not have yet.
TEST_F(ReplicaLease, AHandOverFreesNobodyOfWhatAnEarlierLifePromised) {
  lead_with_lease();
  const Message given{.kind = MessageKind::hand_over, .epoch = at(1).epoch()};
  start(2);
  at(2).receive(now_ns_, id(1), given);
  EXPECT_FALSE(grants(2, 3));
  const Planted bug("log.hand_over_frees_all");
  at(2).receive(now_ns_, id(1), given);
  EXPECT_TRUE(grants(2, 3));
}

TEST_F(ReplicaLease, WhoIsNoMemberAnyMoreHandsOver) {
  lead_with_lease();
  ASSERT_TRUE(at(1).propose(now_ns_, Configuration{.voters = {id(2), id(3)}}));
  for (int i = 0; i < 40 && at(1).role() == Role::leader; ++i) {
    beat();
    settle({1, 2, 3});
  }
  EXPECT_EQ(at(1).role(), Role::follower);
  at(2).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_EQ(at(2).role(), Role::leader);
}

TEST_F(ReplicaLease, WithoutLeasesOrOthersThereIsNothingToHandOver) {
  options_.lease_ns = 0;
  nodes_.clear();
  SetUp();
  elect(1, 2);
  catch_up(1);
  at(1).hand_over(now_ns_);
  at(1).tick(now_ns_);
  EXPECT_EQ(at(1).role(), Role::leader);
  EXPECT_TRUE(at(1).takes_commands());
}

TEST_F(ReplicaLease, PlantedBugsAreSeen) {
  lead_with_lease();
  {
    const Planted bug("log.lease_from_answer");
    beat();
    const std::uint64_t asked_ns = now_ns_;
    now_ns_ += 20 * kMs;
    settle({1, 2, 3});
    EXPECT_GT(at(1).lease_until_ns(now_ns_), asked_ns + options_.lease_ns);
  }
  {
    const Planted bug("log.lease_forgotten");
    start(3);
    EXPECT_TRUE(grants(3, 2));
  }
  const Planted bug("log.lease_not_kept");
  EXPECT_TRUE(grants(2, 3));
}

}  // namespace
}  // namespace dolmen::log
