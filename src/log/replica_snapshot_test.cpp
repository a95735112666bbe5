// SPDX-License-Identifier: Apache-2.0
#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

class ReplicaSnapshotTest : public ReplicaTest {
 protected:
  void SetUp() override {
    options_.part_bytes = 16;
    options_.trailing_bytes = 0;
    ReplicaTest::SetUp();
  }
  /// The log of `number` begins behind what is decided there.
  SnapshotPtr compact(std::uint64_t number, std::string_view state = "a state of some length") {
    Replica& replica = at(number);
    auto made = Snapshot::make(replica.place_at(replica.stable()), base::as_bytes(state));
    replica.compact(made.value());
    return *made;
  }
  /// Bytes of a snapshot of 1 arrive at 3.
  void send_part(const Snapshot& snapshot, std::size_t begin, std::size_t count) {
    const base::Bytes part = snapshot.bytes().subspan(begin, count);
    at(3).receive(now_ns_, id(1),
                  {.kind = MessageKind::snapshot,
                   .epoch = at(1).epoch(),
                   .position = snapshot.last(),
                   .stable = begin,
                   .part = {part.begin(), part.end()},
                   .part_of = snapshot.bytes().size()});
    collect(3);
  }
  void propose(std::uint64_t leader, int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(at(leader).propose(now_ns_, bytes("x")));
  }
};

TEST_F(ReplicaSnapshotTest, WhoIsBehindTheBeginningOfTheLogGetsTheSnapshot) {
  elect(1, 2);
  propose(1, 5);
  settle({1, 2});
  lose_mail();
  const SnapshotPtr snapshot = compact(1);
  EXPECT_EQ(at(1).base(), snapshot->last());
  catch_up(1);
  for (int i = 0; i < 3; ++i) catch_up(1);
  EXPECT_EQ(at(3).base(), snapshot->last());
  EXPECT_EQ(at(3).end(), at(1).end());
  EXPECT_EQ(at(3).stable(), at(1).stable());
  ASSERT_NE(nodes_[3].installed, nullptr);
  EXPECT_TRUE(std::ranges::equal(nodes_[3].installed->bytes(), snapshot->bytes()));
  EXPECT_EQ(at(1).matched(id(3)), at(1).end().index);
  start(3);  // and its disk has it
  EXPECT_EQ(at(3).base(), snapshot->last());
  EXPECT_EQ(at(3).stable(), snapshot->last().index);
}

TEST_F(ReplicaSnapshotTest, ALateAnswerToAFetchIsNotALeadersWord) {
  elect(1, 2);
  propose(1, 5);
  settle({1, 2});
  lose_mail();
  const SnapshotPtr snapshot = compact(1);
  const base::Bytes part = snapshot->bytes();
  const auto before = at(3).leader();
  ASSERT_NE(before, id(2));
  Message late{.kind = MessageKind::fetched_part,
               .epoch = at(1).epoch(),
               .position = snapshot->last(),
               .part = {part.begin(), part.end()},
               .part_of = part.size()};
  at(3).receive(now_ns_, id(2), late);
  EXPECT_EQ(at(3).leader(), before);
  EXPECT_LT(at(3).base(), snapshot->last());
  late.kind = MessageKind::snapshot;  // a leader would have said so
  at(3).receive(now_ns_, id(2), late);
  EXPECT_EQ(at(3).leader(), id(2));
}

TEST_F(ReplicaSnapshotTest, WhatWasNotDecidedAndContradictsTheSnapshotIsGone) {
  elect(3, 2);
  propose(3, 4);  // nobody hears of them
  collect(3);
  lose_mail();
  sync(3);
  elect(1, 2);
  propose(1, 2);
  settle({1, 2});
  lose_mail();
  const SnapshotPtr snapshot = compact(1);
  ASSERT_LT(snapshot->last().index, at(3).end().index);
  for (int i = 0; i < 4; ++i) catch_up(1);
  EXPECT_EQ(at(3).end(), at(1).end());
  EXPECT_EQ(at(3).base(), snapshot->last());
  start(3);
  EXPECT_EQ(at(3).end(), at(1).end());
}

TEST_F(ReplicaSnapshotTest, WhatFollowsOnTheSnapshotInTheOwnLogStays) {
  elect(1, 2);
  propose(1, 3);
  catch_up(1);
  catch_up(1);
  // 3 has everything, and does not know how far it is decided.
  start(3);
  const Position end = at(3).end();
  const auto snapshot =
      Snapshot::make(at(1).place_at(at(1).stable() - 1), base::as_bytes("state")).value();
  send_part(*snapshot, 0, snapshot->bytes().size());
  sync(3);
  EXPECT_EQ(at(3).base(), snapshot->last());
  EXPECT_EQ(at(3).end(), end);
  start(3);
  EXPECT_EQ(at(3).end(), end);
}

TEST_F(ReplicaSnapshotTest, ASnapshotIsConfirmedWhenItIsDurable) {
  elect(1, 2);
  propose(1, 3);
  settle({1, 2});
  lose_mail();
  const auto snapshot = compact(1);
  send_part(*snapshot, 0, snapshot->bytes().size());
  collect(3);
  ASSERT_FALSE(nodes_[3].outbox.empty());
  for (const auto& letter : nodes_[3].outbox) EXPECT_EQ(letter.message.position.index, 0u);
  sync(3);
  EXPECT_EQ(nodes_[3].outbox.back().message.kind, MessageKind::appended);
  EXPECT_EQ(nodes_[3].outbox.back().message.position.index, snapshot->last().index);
}

TEST_F(ReplicaSnapshotTest, ACandidateFetchesASnapshot) {
  elect(1, 2);
  propose(1, 5);
  settle({1, 2});
  carry(1, 2);
  now_ns_ += 11 * kMs;  // 2 hears what is decided
  at(1).tick(now_ns_);
  settle({1, 2});
  lose_mail();
  const SnapshotPtr snapshot = compact(2);
  elect(3, 2);
  EXPECT_EQ(at(3).base(), snapshot->last());
  EXPECT_GT(at(3).end().index, snapshot->last().index);
  EXPECT_EQ(at(3).stable(), at(3).end().index);
}

TEST_F(ReplicaSnapshotTest, PartsOfTwoSnapshotsAreNotMixed) {
  elect(1, 2);
  propose(1, 2);
  settle({1, 2});
  lose_mail();
  const auto first = compact(1, "one state");
  propose(1, 2);
  settle({1, 2});
  lose_mail();
  const auto second = compact(1, "two state");
  ASSERT_EQ(first->bytes().size(), second->bytes().size());
  send_part(*first, 0, 20);
  send_part(*second, 20, second->bytes().size() - 20);
  EXPECT_EQ(at(3).base(), Position{});
  send_part(*second, 0, 20);
  send_part(*first, 20, first->bytes().size() - 20);  // late
  EXPECT_EQ(at(3).base(), Position{});
  send_part(*second, 20, second->bytes().size() - 20);
  EXPECT_EQ(at(3).base(), second->last());
}

TEST_F(ReplicaSnapshotTest, MembersAreThoseOfTheSnapshot) {
  elect(1, 2);
  ASSERT_TRUE(at(1).propose(now_ns_, Configuration{{id(1), id(2)}, {id(3)}}));
  for (int i = 0; i < 3; ++i) {
    now_ns_ += 21 * kMs;
    at(1).tick(now_ns_);
    settle({1, 2});
  }
  ASSERT_TRUE(at(1).settled());
  lose_mail();
  const auto snapshot = compact(1);
  EXPECT_EQ(snapshot->place().configuration.learners, std::vector{id(3)});
  EXPECT_NE(snapshot->place().settled_at, 0u);
  for (int i = 0; i < 4; ++i) catch_up(1);
  ASSERT_EQ(at(3).base(), snapshot->last());
  EXPECT_EQ(at(3).deciding(), at(1).deciding());
  EXPECT_TRUE(at(3).settled());
  start(3);
  EXPECT_EQ(at(3).deciding(), at(1).deciding());
  EXPECT_TRUE(at(3).settled());
  start(1);
  EXPECT_EQ(at(1).deciding().size(), 1u);
}

TEST_F(ReplicaSnapshotTest, SomeEntriesBeforeTheSnapshotsEndAreKept) {
  options_.trailing_bytes = 3 * (kEntryHeaderBytes + 1);
  start(1);
  elect(1, 2);
  propose(1, 5);
  settle({1, 2});
  lose_mail();
  const auto snapshot = compact(1);
  EXPECT_EQ(at(1).base().index + 3, snapshot->last().index);
  const DurableState kept = at(1).durable_state();
  EXPECT_EQ(kept.entries.size(), at(1).end().index - at(1).base().index);
  EXPECT_TRUE(kept.holds(at(1).end()));
  EXPECT_FALSE(kept.holds({.origin = 9, .index = at(1).end().index}));
}

}  // namespace
}  // namespace dolmen::log
