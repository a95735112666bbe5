// SPDX-License-Identifier: Apache-2.0
//
// Reading at the leader without an entry: when a ticket is given, and when it is confirmed.
#include <gtest/gtest.h>

#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

using ReplicaRead = ReplicaTest;

bool is_confirmed(Replica& replica, const ReadTicket& ticket) {
  return replica.epoch() == ticket.epoch && replica.confirmed_round() >= ticket.round;
}

TEST_F(ReplicaRead, OneAnswerOfThreeConfirmsATicket) {
  elect(1, 2);
  catch_up(1);
  const auto where = at(1).propose(now_ns_, bytes("one"));
  settle({1, 2, 3});
  ASSERT_TRUE(where);
  const auto ticket = at(1).begin_read();
  ASSERT_TRUE(ticket);
  EXPECT_EQ(ticket->index, where->index) << "what is decided";
  EXPECT_FALSE(is_confirmed(at(1), *ticket)) << "nobody was asked";
  at(1).send_round();
  ASSERT_TRUE(carry(1, 3));
  EXPECT_FALSE(is_confirmed(at(1), *ticket)) << "nobody answered";
  ASSERT_TRUE(carry(3, 1));
  EXPECT_TRUE(is_confirmed(at(1), *ticket));
  EXPECT_EQ(at(1).end(), *where) << "and no entry was made";
}

TEST_F(ReplicaRead, WhoDoesNotLeadGivesNoTickets) {
  elect(1, 2);
  EXPECT_FALSE(at(2).begin_read());
  EXPECT_EQ(at(2).confirmed_round(), 0u);
}

TEST_F(ReplicaRead, ALeaderGivesNoneBeforeItsOpeningIsDecided) {
  lose_patience(1);
  for (int i = 0; i < 20 && at(1).role() != Role::leader; ++i) {
    sync(1);
    sync(2);
    carry(1, 2);
    sync(2);
    carry(2, 1);
  }
  ASSERT_EQ(at(1).role(), Role::leader);
  EXPECT_FALSE(at(1).begin_read());
  settle({1, 2});
  EXPECT_TRUE(at(1).begin_read());
}

TEST_F(ReplicaRead, AnAnswerToAnEarlierRoundConfirmsNoLaterOne) {
  elect(1, 2);
  catch_up(1);
  const auto first = at(1).begin_read();
  ASSERT_TRUE(first);
  at(1).send_round();
  ASSERT_TRUE(carry(1, 2));  // its answer is under way
  const auto second = at(1).begin_read();
  ASSERT_TRUE(second);
  EXPECT_GT(second->round, first->round);
  at(1).send_round();
  ASSERT_TRUE(carry(2, 1));
  EXPECT_TRUE(is_confirmed(at(1), *first));
  EXPECT_FALSE(is_confirmed(at(1), *second));
  settle({1, 2});
  EXPECT_TRUE(is_confirmed(at(1), *second));
}

TEST_F(ReplicaRead, WhoComesTogetherSharesARound) {
  elect(1, 2);
  catch_up(1);
  const auto first = at(1).begin_read();
  const auto second = at(1).begin_read();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->round, second->round);
  at(1).send_round();
  at(1).send_round();
  std::size_t asked = 0;
  for (const auto& letter : at(1).take_output().letters) {
    asked += letter.message.round == first->round;
  }
  EXPECT_EQ(asked, 2u) << "each of the others once";
}

TEST_F(ReplicaRead, EntriesThatAreSentAskAsWell) {
  elect(1, 2);
  catch_up(1);
  const auto ticket = at(1).begin_read();
  ASSERT_TRUE(at(1).propose(now_ns_, bytes("one")));
  at(1).send_round();
  std::size_t asked = 0;
  for (const auto& letter : at(1).take_output().letters) {
    EXPECT_EQ(letter.message.entries.size(), 1u);
    asked += letter.message.round == ticket->round;
  }
  EXPECT_EQ(asked, 2u);
}

// The others answer it while they do not know of another, and what they said before does not count.
TEST_F(ReplicaRead, ALeaderThatWasDeposedUnheardConfirmsNothing) {
  elect(1, 2);
  catch_up(1);
  elect(2, 3);
  ASSERT_EQ(at(1).role(), Role::leader) << "it does not know";
  const auto ticket = at(1).begin_read();
  ASSERT_TRUE(ticket);
  at(1).send_round();
  EXPECT_FALSE(is_confirmed(at(1), *ticket));
  settle({1, 2, 3});
  EXPECT_FALSE(is_confirmed(at(1), *ticket));
  EXPECT_EQ(at(1).role(), Role::follower);
}

TEST_F(ReplicaRead, ALostQuestionIsAskedAgainWithTheNextHeartbeat) {
  elect(1, 2);
  catch_up(1);
  const auto ticket = at(1).begin_read();
  at(1).send_round();
  lose_mail();
  settle({1, 2, 3});
  EXPECT_FALSE(is_confirmed(at(1), *ticket));
  now_ns_ += options_.heartbeat_ns;
  at(1).tick(now_ns_);
  settle({1, 2, 3});
  EXPECT_TRUE(is_confirmed(at(1), *ticket));
}

TEST_F(ReplicaRead, OneAloneConfirmsAtOnce) {
  Replica alone(id(1), Configuration{{id(1)}}, options_, {}, 1, now_ns_);
  RecordCount made = 0;
  for (int i = 0; i < 100 && !alone.begin_read(); ++i) {
    now_ns_ = std::max(now_ns_, alone.next_wakeup_ns());
    alone.tick(now_ns_);
    made += alone.take_output().records.size();
    alone.persisted(now_ns_, made);
  }
  const auto ticket = alone.begin_read();
  ASSERT_TRUE(ticket);
  EXPECT_TRUE(is_confirmed(alone, *ticket));
}

// Each of them makes a test above fail.
TEST_F(ReplicaRead, PlantedBugsAreSeen) {
  elect(1, 2);
  catch_up(1);
  {
    const Planted bug("log.read_old_round");
    (void)at(1).begin_read();
    at(1).send_round();
    ASSERT_TRUE(carry(1, 2));
    const auto later = at(1).begin_read();
    at(1).send_round();
    ASSERT_TRUE(later && carry(2, 1));
    EXPECT_TRUE(is_confirmed(at(1), *later));
  }
  settle({1, 2});
  elect(2, 3);
  const auto ticket = at(1).begin_read();
  ASSERT_TRUE(ticket);
  const Planted bug("log.read_unconfirmed");
  EXPECT_TRUE(is_confirmed(at(1), *ticket));
}

}  // namespace
}  // namespace dolmen::log
