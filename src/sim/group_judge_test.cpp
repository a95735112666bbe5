// SPDX-License-Identifier: Apache-2.0
//
// The judge is judged: right replicas, and ones that are wrong in one way.
#include "sim/group_judge.hpp"

#include <utility>

#include <gtest/gtest.h>

namespace dolmen::sim {
namespace {

using log::ReplicaId;

const log::Configuration kThree{.voters = {ReplicaId{1}, ReplicaId{2}, ReplicaId{3}}};

log::Entry entry(log::Index index, log::Epoch origin, std::uint8_t what = 0) {
  return {.origin = origin, .index = index, .payload = std::vector<std::byte>(8, std::byte{what})};
}

log::Replica replica(std::uint64_t id, log::Epoch epoch, std::vector<log::Entry> entries) {
  log::DurableState state;
  state.epoch = epoch;
  state.entries = std::move(entries);
  return log::Replica(ReplicaId{id}, kThree, {}, std::move(state), id, 0);
}

class GroupJudgeTest : public testing::Test {
 protected:
  /// The second decides with the third what it was told by the first, leader of epoch 1.
  void decide(log::Replica& leader, log::Replica& follower, GroupJudge::Life life) {
    follower.receive(0, leader.self(),
                     {.kind = log::MessageKind::append,
                      .epoch = 1,
                      .position = follower.end(),
                      .stable = follower.end().index});
    judge_.look_at(life, follower);
  }
  GroupJudge judge_{{.first = kThree}};
};

TEST_F(GroupJudgeTest, WhatAMajorityHoldsMayBeDecided) {
  log::Replica one = replica(1, 1, {entry(1, 1)});
  log::Replica two = replica(2, 1, {entry(1, 1)});
  judge_.begins(one);
  decide(one, two, judge_.begins(two));
  EXPECT_EQ(two.stable(), 1u);
  EXPECT_EQ(judge_.violation(), "");
}

TEST_F(GroupJudgeTest, WhatAMinorityHoldsMayNot) {
  log::Replica one = replica(1, 1, {});
  log::Replica two = replica(2, 1, {entry(1, 1)});
  judge_.begins(one);
  decide(one, two, judge_.begins(two));
  EXPECT_NE(judge_.violation().find("I11"), std::string::npos) << judge_.violation();
}

TEST_F(GroupJudgeTest, TwoEntriesOfOneNameAreSeen) {
  judge_.begins(replica(1, 1, {entry(1, 1, 7)}));
  judge_.begins(replica(2, 1, {entry(1, 1, 8)}));
  EXPECT_NE(judge_.violation().find("I13"), std::string::npos) << judge_.violation();
}

TEST_F(GroupJudgeTest, OneNameBehindTwoPastsIsSeen) {
  judge_.begins(replica(1, 2, {entry(1, 1), entry(2, 2)}));
  judge_.begins(replica(2, 2, {entry(1, 2), entry(2, 2)}));
  EXPECT_NE(judge_.violation().find("I13"), std::string::npos) << judge_.violation();
}

TEST_F(GroupJudgeTest, AnEpochThatGoesBackIsSeen) {
  const GroupJudge::Life life = judge_.begins(replica(1, 3, {}));
  judge_.look_at(life, replica(1, 2, {}));
  EXPECT_NE(judge_.violation().find("I4"), std::string::npos) << judge_.violation();
}

TEST_F(GroupJudgeTest, WhoDropsWhatIsDecidedIsSeen) {
  log::Replica one = replica(1, 1, {entry(1, 1)});
  log::Replica two = replica(2, 1, {entry(1, 1)});
  const GroupJudge::Life life = judge_.begins(one);
  decide(one, two, judge_.begins(two));
  judge_.look_at(life, replica(1, 1, {}));
  EXPECT_NE(judge_.violation().find("I9"), std::string::npos) << judge_.violation();
}

TEST_F(GroupJudgeTest, AConfigurationBehindOneThatIsNotSettledIsSeen) {
  log::Entry first{.origin = 1, .index = 1, .kind = log::EntryKind::configuration};
  first.payload = encode(kThree);
  log::Entry second = first;
  second.index = 2;
  judge_.begins(replica(1, 1, {first, second}));
  EXPECT_NE(judge_.violation().find("I15"), std::string::npos) << judge_.violation();
}

// Between two looks at it, and nobody else can tell what it was.
TEST(GroupJudgeOfOne, WhatItDecidedAndForgotInOneStepWasDecided) {
  const log::Configuration one{.voters = {ReplicaId{1}}};
  log::ReplicaOptions options;
  options.trailing_bytes = 0;
  log::Replica alone(ReplicaId{1}, one, options, {}, 1, 0);
  GroupJudge judge({.first = one});
  const GroupJudge::Life life = judge.begins(alone);
  std::uint64_t now_ns = 0;
  log::RecordCount made = 0;
  const auto sync = [&] {
    made += alone.take_output().records.size();
    alone.persisted(now_ns, made);
  };
  while (alone.role() != log::Role::leader) {
    now_ns = alone.next_wakeup_ns();
    alone.tick(now_ns);
    sync();
  }
  judge.look_at(life, alone);
  const log::Index seen = judge.checks().decided();
  for (int step = 0; step < 2; ++step) {
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(alone.propose(now_ns, std::vector<std::byte>(8)));
    sync();
    alone.compact(log::Snapshot::make(alone.place_at(alone.stable()), {}).value());
    ASSERT_GT(alone.base().index, judge.checks().decided()) << "forgotten, and not looked at";
    judge.look_at(life, alone);
    EXPECT_EQ(judge.violation(), "");
    EXPECT_EQ(judge.checks().decided(), alone.stable()) << "and what comes next is looked at";
  }
  EXPECT_GE(judge.checks().decided(), seen + 10);
}

TEST_F(GroupJudgeTest, TwoStatesBehindOneEntryAreSeen) {
  log::Replica one = replica(1, 1, {entry(1, 1)});
  log::Replica two = replica(2, 1, {entry(1, 1)});
  judge_.begins(one);
  decide(one, two, judge_.begins(two));
  judge_.executed(1, 5);
  judge_.executed(1, 5);
  EXPECT_EQ(judge_.violation(), "");
  judge_.executed(1, 6);
  EXPECT_NE(judge_.violation().find("I10"), std::string::npos) << judge_.violation();
}

}  // namespace
}  // namespace dolmen::sim
