// SPDX-License-Identifier: Apache-2.0
//
// Snapshots that only say which state it is.
#include "log/replica_fixture.hpp"

namespace dolmen::log {
namespace {

class ReplicaReferenceTest : public ReplicaTest {
 protected:
  void SetUp() override {
    options_.part_bytes = 16;
    options_.trailing_bytes = 0;
    options_.snapshots_refer = true;
    ReplicaTest::SetUp();
  }
  SnapshotPtr compact(std::uint64_t number) {
    Replica& replica = at(number);
    auto made = Snapshot::make(replica.place_at(replica.stable()), base::as_bytes("which state"));
    replica.compact(made.value());
    return *made;
  }
  /// The log of 1 begins behind what 3 has.
  SnapshotPtr leave_behind() {
    elect(1, 2);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(at(1).propose(now_ns_, bytes("x")));
    settle({1, 2});
    lose_mail();
    return compact(1);
  }
};

TEST_F(ReplicaReferenceTest, ItCountsOnceTheStateIsThere) {
  const SnapshotPtr snapshot = leave_behind();
  SnapshotPtr wanted;
  for (int i = 0; i < 10 && wanted == nullptr; ++i) {
    now_ns_ += 21 * kMs;
    at(1).tick(now_ns_);
    for (int k = 0; k < 10; ++k) {
      sync(1);
      std::vector<Output::Letter> letters = std::exchange(nodes_[1].outbox, {});
      for (const auto& letter : letters) {
        if (letter.to != id(3)) continue;
        at(3).receive(now_ns_, id(1), letter.message);
        Output output = at(3).take_output();
        if (output.wanted) wanted = output.wanted;
        for (Record& record : output.records) nodes_[3].unsynced.push_back(std::move(record));
        EXPECT_EQ(output.installed, nullptr);
        for (auto& answer : output.letters) nodes_[3].outbox.push_back(std::move(answer));
      }
      sync(3);
      (void)carry(3, 1);
    }
  }
  ASSERT_NE(wanted, nullptr);
  EXPECT_EQ(wanted->last(), snapshot->last());
  EXPECT_EQ(at(3).base(), Position{});
  EXPECT_EQ(at(1).matched(id(3)), 0u);
  for (int i = 0; i < 5; ++i) catch_up(1);  // reminders change nothing
  EXPECT_EQ(at(3).base(), Position{});
  EXPECT_EQ(at(1).matched(id(3)), 0u);
  at(3).state_arrived(now_ns_, wanted);
  EXPECT_EQ(at(3).base(), snapshot->last());
  collect(3);
  EXPECT_NE(nodes_[3].installed, nullptr);
  (void)carry(3, 1);
  EXPECT_EQ(at(1).matched(id(3)), 0u) << "not durable yet";
  for (int i = 0; i < 3; ++i) catch_up(1);
  EXPECT_EQ(at(1).matched(id(3)), at(1).end().index);
  at(3).state_arrived(now_ns_, wanted);  // once more
  collect(3);
  EXPECT_TRUE(nodes_[3].unsynced.empty());
}

TEST_F(ReplicaReferenceTest, ACandidateWithoutTheStateGivesWay) {
  const SnapshotPtr snapshot = leave_behind();
  now_ns_ += 11 * kMs;  // 2 hears what is decided
  at(1).tick(now_ns_);
  settle({1, 2});
  lose_mail();
  compact(2);
  for (int i = 0; i < 3; ++i) {
    lose_patience(3);
    settle({3, 2});
    EXPECT_NE(at(3).role(), Role::leader);
    EXPECT_EQ(at(3).base(), Position{});
  }
  lose_mail();
  elect(2, 3);
  EXPECT_EQ(at(2).role(), Role::leader);
}

/// Two servers (1 and 2) and a witness (3), which keeps no state.
class ReplicaReferenceWitnessTest : public ReplicaReferenceTest {
 protected:
  void SetUp() override {
    ReplicaReferenceTest::SetUp();
    for (std::uint64_t i = 1; i <= 3; ++i) {
      ReplicaOptions options = options_;
      options.has_machine = i != 3;
      options.snapshots_refer = i != 3;
      nodes_[i].replica = std::make_unique<Replica>(
          id(i),
          Configuration{.voters = {id(1), id(2), id(3)}, .learners = {}, .witnesses = {id(3)}},
          options, nodes_[i].disk, i, now_ns_);
    }
  }
};

TEST_F(ReplicaReferenceWitnessTest, AWitnessKeepsWhatAServerStillNeeds) {
  elect(1, 3);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(at(1).propose(now_ns_, bytes("x")));
  settle({1, 3});
  lose_mail();
  const SnapshotPtr snapshot = compact(1);
  const auto ask = [&] {
    now_ns_ += 21 * kMs;
    at(1).tick(now_ns_);
    settle({1, 3});
    at(3).ask_for_snapshot();
    settle({1, 3});
    settle({1, 3});
  };
  ask();
  // Were 1 lost now, 2 would have nothing but these entries.
  EXPECT_EQ(at(3).base(), Position{});
  lose_mail();
  // The image of 2 has the state meanwhile.
  at(2).state_arrived(now_ns_, snapshot);
  sync(2);
  for (int i = 0; i < 3; ++i) catch_up(1);
  ASSERT_GE(at(1).matched(id(2)), snapshot->last().index);
  for (int i = 0; i < 3; ++i) ask();
  EXPECT_EQ(at(3).base(), snapshot->last());
}

}  // namespace
}  // namespace dolmen::log
