// SPDX-License-Identifier: Apache-2.0
#include "cluster/seats.hpp"

#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/root_fixture.hpp"

namespace dolmen::cluster {
namespace {

using Have = std::map<GroupNumber, ReplicaLife>;
using Steps = std::vector<SeatStep>;

constexpr NodeLife kDisk = 77;
constexpr NodeLife kOtherDisk = 78;

SeatStep made(GroupNumber group, ReplicaLife life) { return {SeatStep::Kind::make, group, life}; }
SeatStep dropped(GroupNumber group, ReplicaLife life) {
  return {SeatStep::Kind::drop, group, life};
}

/// Five nodes, of which the first three found the root group and a space.
struct SeatHistory : RootHistory {
  SeatHistory() {
    begin(5);
    space = create(3, "web");
    EXPECT_EQ(members(space).size(), 3u);
  }
  [[nodiscard]] Steps steps(NodeNumber node, const Have& have, NodeLife life = kDisk) const {
    return seats_to_take(state, node, life, have);
  }
  /// Which replica the change adds.
  ReplicaLife change(NodeNumber add, NodeNumber leave, GroupNumber number) {
    const RootReply reply = apply(root::BeginChange{.group = number, .add = add, .leave = leave});
    EXPECT_EQ(reply.status, RootStatus::done) << text(reply.status);
    return static_cast<ReplicaLife>(reply.value) + 1;
  }
  ReplicaLife change(NodeNumber add, NodeNumber leave) { return change(add, leave, space); }
  [[nodiscard]] NodeNumber member(std::size_t which) const { return members(space).at(which); }
  /// Has no seat in the space.
  [[nodiscard]] NodeNumber stranger() const {
    NodeNumber number = 5;
    while (group(space).members.contains(number)) --number;
    return number;
  }

  GroupNumber space = 0;
};

TEST(Seats, AFounderMakesItsReplicaOnceButNeverTheRoots) {
  SeatHistory history;
  const NodeNumber node = history.member(0);
  EXPECT_EQ(history.steps(node, {}), Steps{made(history.space, kFounderLife)});
  EXPECT_EQ(history.steps(node, {{kRootGroup, kFounderLife}}),
            Steps{made(history.space, kFounderLife)});
  EXPECT_EQ(history.steps(node, {{kRootGroup, kFounderLife}, {history.space, kFounderLife}}),
            Steps{});
  EXPECT_EQ(history.steps(history.stranger(), {}), Steps{});
}

TEST(Seats, WhoIsAddedMakesTheReplicaThatTheChangeNames) {
  SeatHistory history;
  const NodeNumber node = history.stranger();
  const ReplicaLife life = history.change(node, 0);
  EXPECT_GT(life, kFounderLife);
  EXPECT_EQ(history.steps(node, {}), Steps{made(history.space, life)});
  EXPECT_EQ(history.steps(node, {{history.space, life}}), Steps{});
  EXPECT_EQ(history.steps(history.member(0), {{history.space, kFounderLife}}), Steps{});
  history.finish(history.space);
  EXPECT_EQ(history.steps(node, {{history.space, life}}), Steps{});
  EXPECT_EQ(history.steps(node, {}), Steps{}) << "a member that is no founder makes nothing";
}

TEST(Seats, WhoLeftDropsItsReplicaWhenTheGroupSaidSo) {
  SeatHistory history;
  const NodeNumber leaves = history.member(1);
  const Have have{{history.space, kFounderLife}};
  history.change(history.stranger(), leaves);
  EXPECT_EQ(history.steps(leaves, have), Steps{}) << "it is a member still";
  history.finish(history.space);
  EXPECT_EQ(history.steps(leaves, have), Steps{dropped(history.space, kFounderLife)});
  EXPECT_EQ(history.steps(leaves, {}), Steps{});
}

TEST(Seats, WhoComesBackGetsAnotherReplicaAndTheOldOneGoesFirst) {
  SeatHistory history;
  const NodeNumber node = history.member(1);
  const NodeNumber other = history.stranger();
  history.change(other, node);
  history.finish(history.space);
  // It was away meanwhile, and has not heard of it.
  const ReplicaLife life = history.change(node, other);
  EXPECT_EQ(history.steps(node, {{history.space, kFounderLife}}),
            (Steps{dropped(history.space, kFounderLife), made(history.space, life)}));
  EXPECT_EQ(history.steps(node, {}), Steps{made(history.space, life)});
  EXPECT_EQ(history.steps(node, {{history.space, life}}), Steps{});
  history.finish(history.space);
  EXPECT_EQ(history.steps(node, {{history.space, life}}), Steps{});
  EXPECT_EQ(history.steps(node, {{history.space, kFounderLife}}), Steps{})
      << "it keeps what it has until it knows better";
  // Once more: what it got then is the old one now.
  history.change(other, node);
  history.finish(history.space);
  const ReplicaLife later = history.change(node, other);
  EXPECT_GT(later, life);
  EXPECT_EQ(history.steps(node, {{history.space, life}}),
            (Steps{dropped(history.space, life), made(history.space, later)}));
}

TEST(Seats, AnotherDirectoryMakesNothingThatTheOldOneHadPromised) {
  SeatHistory history;
  const NodeNumber node = history.member(1);
  ASSERT_EQ(history.apply(root::SetLife{node, kDisk}).status, RootStatus::done);
  EXPECT_EQ(history.steps(node, {}), Steps{made(history.space, kFounderLife)});
  EXPECT_EQ(history.steps(node, {}, kOtherDisk), Steps{});
  ASSERT_EQ(history.apply(root::SetLife{node, kOtherDisk}).status, RootStatus::done);
  EXPECT_EQ(history.steps(node, {}, kOtherDisk), Steps{});
  // Only for the change that gives the seat to this directory, and only if it is this one.
  const ReplicaLife life = history.change(node, node);
  EXPECT_EQ(history.steps(node, {}, kOtherDisk), Steps{made(history.space, life)});
  EXPECT_EQ(history.steps(node, {}, kDisk), Steps{});
  EXPECT_EQ(history.steps(node, {{history.space, kFounderLife}}, kDisk), Steps{})
      << "nor does the old one lose what it has";
  history.finish(history.space);
  EXPECT_EQ(history.steps(node, {{history.space, life}}, kOtherDisk), Steps{});
}

TEST(Seats, OfTheRootGroupOnlyWhoIsAddedMakesOne) {
  SeatHistory history;
  const ReplicaLife life = history.change(4, 2, kRootGroup);
  const Have others{{history.space, kFounderLife}};
  const bool has_space = history.group(history.space).members.contains(4);
  EXPECT_EQ(history.steps(4, has_space ? others : Have{}), Steps{made(kRootGroup, life)});
  history.finish(kRootGroup);
  const Steps of_second = history.steps(2, {{kRootGroup, kFounderLife}});
  ASSERT_FALSE(of_second.empty());
  EXPECT_EQ(of_second.front(), dropped(kRootGroup, kFounderLife));
  for (const NodeNumber founder : {1u, 3u}) {
    for (const SeatStep& step : history.steps(founder, {})) EXPECT_NE(step.group, kRootGroup);
  }
}

TEST(Seats, AMapThatKnowsNeitherNodeNorGroupSaysNothing) {
  const SeatHistory history;
  EXPECT_EQ(history.steps(99, {}), Steps{});
  EXPECT_EQ(history.steps(1, {{kRootGroup, 1}, {history.space, 1}, {500, 3}}).size(),
            history.group(history.space).members.contains(1) ? 0u : 1u)
      << "group 500 is of a later map";
  EXPECT_EQ(seats_to_take(RootState{}, 1, kDisk, {{kRootGroup, 1}, {2, 1}}), Steps{});
}

}  // namespace
}  // namespace dolmen::cluster
