// SPDX-License-Identifier: Apache-2.0
//
// Elections: who goes first when several notice at once, and what becomes of a leader that is heard
// and decides nothing.
#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

class ReplicaElection : public ReplicaTest {
 protected:
  /// 1 led, everybody heard of it, and it is gone.
  void lose_leader() {
    elect(1, 2);
    (void)at(1).propose(now_ns_, bytes("x"));
    catch_up(1);
    lose_mail();
  }
  void notice(std::uint64_t number) {
    at(number).lost_contact(now_ns_, id(1));
    ASSERT_LE(at(number).next_wakeup_ns(), now_ns_);
    at(number).tick(now_ns_);
    ASSERT_EQ(at(number).role(), Role::candidate);
  }
  [[nodiscard]] int leaders() {
    return (at(2).role() == Role::leader ? 1 : 0) + (at(3).role() == Role::leader ? 1 : 0);
  }
};

TEST_F(ReplicaElection, SurvivorsThatNoticeTogetherDoNotSplitTheirVotes) {
  lose_leader();
  const Epoch before = at(2).epoch();
  notice(2);
  notice(3);
  settle({2, 3});  // no time passes
  EXPECT_EQ(leaders(), 1);
  EXPECT_EQ(at(2).role(), Role::leader);  // equal logs: the lower id
  EXPECT_EQ(at(2).epoch(), before + 1);
}

TEST_F(ReplicaElection, TheLaterLogGoesFirst) {
  lose_leader();
  (void)at(1).propose(now_ns_, bytes("y"));
  carry(1, 3);
  sync(3);
  lose_mail();
  notice(3);
  notice(2);
  settle({2, 3});
  EXPECT_EQ(at(3).role(), Role::leader);
}

TEST_F(ReplicaElection, WhoNoticesLaterHelpsAtOnce) {
  lose_leader();
  notice(2);
  settle({2, 3});  // 3 still trusts the leader, and says nothing
  EXPECT_EQ(leaders(), 0);
  notice(3);
  settle({2, 3});
  EXPECT_EQ(at(2).role(), Role::leader);
}

// 2 goes before 3, and does not hear it: it must not keep it from leading for ever.
TEST_F(ReplicaElection, ACandidateIsGivenWayToOnce) {
  lose_leader();
  int given_way = 0;
  for (int i = 0; i < 20; ++i) {
    lose_patience(3);
    ASSERT_EQ(at(3).role(), Role::candidate);
    at(3).receive(
        now_ns_, id(2),
        {.kind = MessageKind::probe, .epoch = at(3).epoch() + 1, .position = at(3).end()});
    given_way += at(3).role() == Role::follower ? 1 : 0;
    lose_mail();
  }
  EXPECT_EQ(given_way, 1);
}

TEST_F(ReplicaElection, SplitVotesAreTriedAgainSoon) {
  lose_patience(1);
  at(1).receive(now_ns_, id(2), {.kind = MessageKind::probe_yes, .epoch = 1});
  sync(1);
  ASSERT_EQ(at(1).epoch(), 1u);
  at(1).receive(now_ns_, id(2), {.kind = MessageKind::refuse, .epoch = 1});
  EXPECT_GT(at(1).next_wakeup_ns(), now_ns_ + 15 * kMs);  // 3 may still grant
  at(1).receive(now_ns_, id(3), {.kind = MessageKind::refuse, .epoch = 1});
  EXPECT_LE(at(1).next_wakeup_ns(), now_ns_ + 2 * options_.heartbeat_ns + 1);
}

TEST_F(ReplicaElection, ALeaderThatIsHeardAndDecidesNothingGivesUp) {
  elect(1, 2);
  catch_up(1);
  lose_mail();
  (void)at(1).propose(now_ns_, bytes("x"));
  const Epoch epoch = at(1).epoch();
  const std::uint64_t begin_ns = now_ns_;
  // The others hear it, and answer; but nothing that has entries arrives.
  while (at(1).role() == Role::leader && now_ns_ < begin_ns + 10'000 * kMs) {
    now_ns_ += 10 * kMs;
    at(1).tick(now_ns_);
    sync(1);
    for (const std::uint64_t other : {2, 3}) {
      at(1).receive(now_ns_, id(other), {.kind = MessageKind::appended, .epoch = epoch});
    }
  }
  EXPECT_EQ(at(1).role(), Role::follower);
  EXPECT_LE(now_ns_ - begin_ns, 5 * options_.silence_ns);
  // It lets the others try first.
  EXPECT_GE(at(1).next_wakeup_ns(), now_ns_ + 8 * options_.silence_ns);
}

TEST_F(ReplicaElection, ALeaderThatHasNothingToDecideGoesOn) {
  elect(1, 2);
  catch_up(1);
  const Epoch epoch = at(1).epoch();
  for (int i = 0; i < 1000; ++i) {
    now_ns_ += 10 * kMs;
    at(1).tick(now_ns_);
    settle({1, 2, 3});
  }
  EXPECT_EQ(at(1).role(), Role::leader);
  EXPECT_EQ(at(1).epoch(), epoch);
}

}  // namespace
}  // namespace dolmen::log
