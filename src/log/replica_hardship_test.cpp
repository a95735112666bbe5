// SPDX-License-Identifier: Apache-2.0
//
// Slow disks, lost messages, lost disks and messages that make no sense: what they must not cost.
#include <cstdlib>

#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

class ReplicaHardship : public ReplicaTest {};

TEST(ReplicaAlone, AGroupOfOneLeadsThoughItsDiskIsSlowerThanItsPatience) {
  Replica alone(ReplicaId{1}, {{ReplicaId{1}}}, {}, {}, 1, 0);
  RecordCount made = 0;
  RecordCount being_synced = 0;
  std::uint64_t sync_ends_ns = 0;
  for (std::uint64_t now_ns = 0; now_ns < 60'000 * kMs && alone.role() != Role::leader;
       now_ns += kMs) {
    if (now_ns >= alone.next_wakeup_ns()) alone.tick(now_ns);
    if (sync_ends_ns != 0 && now_ns >= sync_ends_ns) {
      alone.persisted(now_ns, being_synced);
      sync_ends_ns = 0;
    }
    made += alone.take_output().records.size();
    if (sync_ends_ns == 0 && made > being_synced) {
      being_synced = made;
      sync_ends_ns = now_ns + 250 * kMs;
    }
  }
  EXPECT_EQ(alone.role(), Role::leader) << "after a minute, in epoch " << alone.epoch();
}

TEST_F(ReplicaHardship, ALeaderSurvivesAnAppendOfItsOwnEpoch) {
  elect(1, 2);
  EXPECT_EXIT(
      {
        at(1).receive(now_ns_, id(2), {.kind = MessageKind::append, .epoch = at(1).epoch()});
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(ReplicaHardship, ACandidateSurvivesAFetchedLogWhoseOriginsFall) {
  now_ns_ += 1000 * kMs;
  at(1).receive(now_ns_, id(2), {.kind = MessageKind::refuse, .epoch = 9});
  now_ns_ += 1000 * kMs;
  at(1).tick(now_ns_);
  at(1).receive(now_ns_, id(2), {.kind = MessageKind::probe_yes, .epoch = 10});
  sync(1);
  at(1).receive(now_ns_, id(2), {.kind = MessageKind::grant, .epoch = 10, .position = {7, 3}});
  const auto fetched = [&](Position before, Epoch origin) {
    at(1).receive(
        now_ns_, id(2),
        *decode_message(encode({.kind = MessageKind::fetched,
                                .epoch = 10,
                                .position = before,
                                .entries = {{.origin = origin, .index = before.index + 1}}})));
  };
  EXPECT_EXIT(
      {
        fetched({0, 0}, 6);
        fetched({0, 1}, 5);
        fetched({0, 2}, 7);
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(ReplicaHardship, AProposalThatNoMessageHoldsIsRefused) {
  elect(1, 2);
  EXPECT_EXIT(
      {
        (void)at(1).propose(now_ns_, std::vector<std::byte>(kMessageBytesMax));
        for (const auto& letter : at(1).take_output().letters) (void)encode(letter.message);
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

// 2 and 3 have the whole log; the first message of a new leader is lost, and all else arrives.
TEST_F(ReplicaHardship, AFollowerThatHasTheLogIsNotSentAllOfItAgain) {
  elect(1, 2);
  for (int i = 0; i < 20000; ++i) {
    (void)at(1).propose(now_ns_, std::vector<std::byte>(100));
    if (i % 500 == 0) catch_up(1);
  }
  catch_up(1);
  elect(1, 2);
  catch_up(1);
  ASSERT_EQ(at(2).end(), at(1).end());
  ASSERT_EQ(at(3).end(), at(1).end());
  // 1 stops being heard; 2 becomes leader with 3, and what it sends first is lost.
  for (int attempt = 0; attempt < 4 && at(2).role() != Role::leader; ++attempt) {
    lose_patience(2);
    for (int i = 0; i < 20 && at(2).role() != Role::leader; ++i) {
      carry(2, 3);
      sync(3);
      carry(3, 2);
      sync(2);
    }
  }
  ASSERT_EQ(at(2).role(), Role::leader);
  lose_mail();
  now_ns_ += 21 * kMs;
  at(2).tick(now_ns_);
  std::size_t resent = 0;
  std::size_t trips = 0;
  while (at(2).stable() < at(2).end().index && trips < 100000) {
    ++trips;
    sync(2);
    for (const auto& letter : nodes_[2].outbox) {
      if (letter.to == id(3)) resent += letter.message.entries.size();
    }
    carry(2, 3);
    sync(3);
    carry(3, 2);
  }
  EXPECT_LT(resent, 2000u) << "in " << trips << " round trips before anything new was decided";
}

// A candidate of an empty log fetches 26 MB over 1 ms round trips; nothing is lost, nobody crashes.
TEST_F(ReplicaHardship, AFetchThatGoesOnIsNotGivenUp) {
  elect(1, 2);
  for (int i = 0; i < 400; ++i) {
    (void)at(1).propose(now_ns_, std::vector<std::byte>(64u << 10));
    if (i % 20 == 0) settle({1, 2});
  }
  settle({1, 2});
  // 1 is gone for ever; 2 never becomes impatient here (it is not ticked).
  for (int ms = 0; ms < 20'000 && at(3).role() != Role::leader; ++ms) {
    now_ns_ += kMs;
    if (now_ns_ >= at(3).next_wakeup_ns()) at(3).tick(now_ns_);
    sync(3);
    carry(3, 2);
    sync(2);
    carry(2, 3);
  }
  EXPECT_EQ(at(3).role(), Role::leader) << "after 20 s, in epoch " << at(3).epoch();
}

// Ten messages on their way, the first is lost: what that costs.
TEST_F(ReplicaHardship, OneLostMessageIsNotAnsweredByAResendForEachBehindIt) {
  elect(1, 2);
  settle({1, 2});
  (void)at(1).propose(now_ns_, std::vector<std::byte>(1000));
  collect(1);
  nodes_[1].outbox.clear();  // lost
  for (int i = 0; i < 60; ++i) (void)at(1).propose(now_ns_, std::vector<std::byte>(1000));
  carry(1, 2);  // all are mismatches
  sync(2);
  carry(2, 1);
  collect(1);
  std::size_t entries = 0;
  for (const auto& letter : nodes_[1].outbox) {
    if (letter.to == id(2)) entries += letter.message.entries.size();
  }
  EXPECT_LT(entries, 200u);
}

// After a restart of everybody, a follower that differs in its last entry only.
TEST_F(ReplicaHardship, AfterARestartADifferentEndCostsNotTheWholeLog) {
  elect(1, 2);
  for (int i = 0; i < 5000; ++i) {
    (void)at(1).propose(now_ns_, std::vector<std::byte>(10));
    if (i % 500 == 0) catch_up(1);
  }
  catch_up(1);
  (void)at(1).propose(now_ns_, bytes("never"));
  sync(1);
  lose_mail();
  for (std::uint64_t number = 1; number <= 3; ++number) start(number);
  elect(3, 2);
  for (int i = 0; i < 3; ++i) (void)at(3).propose(now_ns_, bytes("instead"));
  lose_mail();
  now_ns_ += 21 * kMs;
  at(3).tick(now_ns_);
  std::size_t sent = 0;
  for (int i = 0; i < 10000 && at(1).end() != at(3).end(); ++i) {
    sync(3);
    for (const auto& letter : nodes_[3].outbox) {
      if (letter.to == id(1)) sent += letter.message.entries.size();
    }
    carry(3, 1);
    sync(1);
    carry(1, 3);
  }
  EXPECT_LT(sent, 100u);
}

// A follower that came back without its disk is a fault of who runs it; it must not cost a storm:
// here time stands still, and nothing is lost or repeated.
TEST_F(ReplicaHardship, AFollowerThatLostItsDiskIsNotTalkedToWithoutPause) {
  elect(1, 2);
  (void)at(1).propose(now_ns_, bytes("x"));
  settle({1, 2});
  nodes_[2].disk = {};
  start(2);
  (void)at(1).propose(now_ns_, bytes("y"));
  int trips = 0;
  while (carry(1, 2) && trips < 10'000) {
    ++trips;
    sync(2);
    carry(2, 1);
  }
  EXPECT_LT(trips, 10);
}

}  // namespace
}  // namespace dolmen::log
