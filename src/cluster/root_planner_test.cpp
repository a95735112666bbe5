// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_planner.hpp"

#include <optional>

#include <gtest/gtest.h>

#include "cluster/root_fixture.hpp"

namespace dolmen::cluster {
namespace {

using Change = root::BeginChange;

class RootPlannerTest : public testing::Test {
 protected:
  std::optional<Change> next() { return plan(history_.state, holdings_); }
  /// Does what is planned until nothing is.
  std::size_t settle() {
    std::size_t changes = 0;
    while (const auto change = next()) {
      if (++changes > 100) return changes;
      EXPECT_EQ(history_.apply(*change).status, RootStatus::done);
      history_.finish(change->group);
    }
    return changes;
  }

  RootHistory history_;
  Holdings holdings_;
};

TEST_F(RootPlannerTest, WhereAllIsAsItShouldNothingIsDone) {
  EXPECT_EQ(next(), std::nullopt) << "not begun";
  history_.begin(4);
  EXPECT_EQ(next(), std::nullopt);
}

TEST_F(RootPlannerTest, ALostSeatGoesToWhoHoldsDataAlreadyElseToTheLeastLoaded) {
  history_.begin(7);
  history_.create(3);  // 4, 5, 6
  history_.apply(root::NodeLost{5});
  EXPECT_EQ(next(), (Change{2, 7, 5}));
  holdings_[2] = {5, 6, 2};
  EXPECT_EQ(next(), (Change{2, 2, 5})) << "it holds it; 5 is lost and 6 is a member";
  history_.apply(root::NodeLost{2});
  EXPECT_EQ(next(), (Change{1, 7, 2})) << "the root first";
}

TEST_F(RootPlannerTest, WhoHasNothingToSpareIsFirst) {
  history_.begin(8, 5, 5);
  history_.create(3);  // 6, 7, 8
  history_.apply(root::NodeLost{1});
  history_.apply(root::NodeLost{6});
  EXPECT_EQ(next(), (Change{2, 2, 6})) << "the root may lose one more";
}

TEST_F(RootPlannerTest, WhatCannotDecideIsLeftAlone) {
  history_.begin(6);
  const GroupNumber pair = history_.create(2);  // 4, 5
  history_.apply(root::NodeLost{4});
  EXPECT_EQ(next(), std::nullopt) << pair;
  history_.apply(root::NodeBack{4});
  history_.apply(root::Drain{4});
  EXPECT_EQ(next(), (Change{2, 6, 4}));
}

TEST_F(RootPlannerTest, WithoutAFreeNodeNothingIsDone) {
  history_.begin(3);
  history_.apply(root::NodeLost{2});
  EXPECT_EQ(next(), std::nullopt) << "two of three are better than two of two";
  history_.apply(root::NodeBack{2});
  history_.apply(root::Drain{2});
  EXPECT_EQ(next(), std::nullopt);
}

TEST_F(RootPlannerTest, ANodeWithAnotherDiskGetsItsSeatsAgain) {
  history_.begin(4);
  for (NodeNumber node = 1; node <= 4; ++node) history_.apply(root::SetLife{node, 1});
  history_.apply(root::SetLife{2, 5});
  EXPECT_EQ(next(), (Change{1, 2, 2}));
  history_.apply(root::Drain{2});
  EXPECT_EQ(next(), (Change{1, 4, 2})) << "it is draining: somebody else gets it";
}

TEST_F(RootPlannerTest, AGroupGetsItsSize) {
  history_.begin(5, 1, 3);
  EXPECT_EQ(next(), (Change{1, 2, 0}));
  EXPECT_EQ(settle(), 2u);
  EXPECT_EQ(history_.members(1), (std::vector<NodeNumber>{1, 2, 3}));
  history_.apply(root::SetSize{1, 1});
  history_.apply(root::Drain{1});
  EXPECT_EQ(next(), (Change{1, 0, 1})) << "first who is draining";
  EXPECT_EQ(settle(), 2u);
  EXPECT_EQ(history_.members(1), std::vector<NodeNumber>{2}) << "then the most loaded, the highest";
}

TEST_F(RootPlannerTest, ADrainingNodeEndsWithoutSeats) {
  history_.begin(5);
  for (int i = 0; i < 6; ++i) history_.create(3);
  settle();
  history_.apply(root::Drain{1});
  EXPECT_GT(settle(), 1u);
  for (const auto& [number, group] : history_.state.groups()) {
    EXPECT_FALSE(group.members.contains(1)) << number;
    EXPECT_EQ(group.members.size(), 3u);
  }
  EXPECT_EQ(history_.apply(root::RemoveNode{1}).status, RootStatus::done);
  EXPECT_EQ(next(), std::nullopt);
}

TEST_F(RootPlannerTest, LoadIsEvenedOutAndThatEnds) {
  history_.begin(3);
  for (int i = 0; i < 8; ++i) history_.create(3);
  EXPECT_EQ(next(), std::nullopt) << "there is nowhere to go";
  history_.apply(root::AddNode{"big", "a:1", identity(100), 2});
  history_.apply(root::AddNode{"small", "a:1", identity(101), 1});
  EXPECT_GT(settle(), 5u);
  const auto seats = history_.state.seats();
  // 27 seats for a weight of 6; the root's stay where they are.
  for (const NodeNumber node : {1, 2, 3, 5}) {
    EXPECT_GE(seats.at(node), 4u) << node;
    EXPECT_LE(seats.at(node), 6u) << node;
  }
  EXPECT_GE(seats.at(4), 7u);
  EXPECT_LE(seats.at(4), 9u);
}

TEST_F(RootPlannerTest, ADifferenceOfOneIsNone) {
  history_.begin(4);
  history_.create(1);
  history_.create(1);
  EXPECT_EQ(next(), std::nullopt);
}

TEST_F(RootPlannerTest, NotMoreThanTwoChangesAtOnce) {
  history_.begin(9);
  for (int i = 0; i < 6; ++i) history_.create(3);
  for (const NodeNumber node : {1, 4}) history_.apply(root::NodeLost{node});
  for (int i = 0; i < 2; ++i) {
    const auto change = next();
    ASSERT_TRUE(change);
    ASSERT_EQ(history_.apply(*change).status, RootStatus::done);
  }
  EXPECT_EQ(next(), std::nullopt);
  EXPECT_TRUE(plan(history_.state, holdings_, {.changes_max = 3}));
}

}  // namespace
}  // namespace dolmen::cluster
