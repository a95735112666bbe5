// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_controller.hpp"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/root_fixture.hpp"

namespace dolmen::cluster {
namespace {

constexpr std::uint64_t kRootMs = 1'000'000;

/// A root group that is led by one node, and whose proposals are decided at once.
class RootControllerTest : public testing::Test {
 protected:
  RootControllerTest() { history_.begin(5); }

  /// For so long all nodes but `silent` are heard. Orders are left to the test.
  void pass(std::uint64_t ms, const std::vector<NodeNumber>& silent = {}) {
    for (const std::uint64_t end_ns = now_ns_ + ms * kRootMs; now_ns_ < end_ns;
         now_ns_ += 50 * kRootMs) {
      for (NodeNumber node = 1; node <= 5; ++node) {
        if (std::ranges::find(silent, node) == silent.end()) controller_.heard(node, 0, now_ns_);
      }
      RootActions actions = controller_.tick(now_ns_, history_.state);
      for (const RootCommand& command : actions.proposals) {
        proposals_.push_back(command);
        if (is_deciding_) history_.apply(command);
      }
      for (ChangeOrder& order : actions.orders) orders_.push_back(std::move(order));
    }
  }
  void report(const ChangeOrder& order, bool is_done, std::vector<root::Seat> members = {}) {
    controller_.finished({.group = order.group,
                          .since = order.since,
                          .is_done = is_done,
                          .as_of = 5,
                          .members = std::move(members)},
                         now_ns_);
  }
  [[nodiscard]] bool is_lost(NodeNumber node) const { return history_.state.node(node)->is_lost; }

  RootHistory history_;
  std::uint64_t now_ns_ = 1'000'000 * kRootMs;
  RootController controller_{now_ns_};
  std::vector<RootCommand> proposals_;
  std::vector<ChangeOrder> orders_;
  bool is_deciding_ = true;
};

TEST_F(RootControllerTest, SilenceCountsFromWhenItBeganToLead) {
  pass(4'900, {4});
  EXPECT_FALSE(is_lost(4));
  pass(200, {4});
  EXPECT_TRUE(is_lost(4));
  pass(900);
  EXPECT_TRUE(is_lost(4)) << "heard, but not for long";
  pass(300);
  EXPECT_FALSE(is_lost(4));
}

TEST_F(RootControllerTest, AProposalIsNotRepeatedAllTheTime) {
  is_deciding_ = false;
  pass(5'400, {4});
  EXPECT_EQ(proposals_, std::vector<RootCommand>{root::NodeLost{4}});
  pass(500, {4});
  EXPECT_EQ(proposals_.size(), 2u);
}

TEST_F(RootControllerTest, ALifeIsKnownBeforeItsNodeIsBack) {
  history_.apply(root::SetLife{4, 1});
  history_.apply(root::NodeLost{4});
  for (int i = 0; i < 40; ++i, now_ns_ += 50 * kRootMs) {
    for (NodeNumber node = 1; node <= 5; ++node)
      controller_.heard(node, node == 4 ? 2 : 0, now_ns_);
    for (const RootCommand& command : controller_.tick(now_ns_, history_.state).proposals) {
      proposals_.push_back(command);
      history_.apply(command);
    }
  }
  EXPECT_EQ(proposals_, (std::vector<RootCommand>{root::SetLife{4, 2}, root::NodeBack{4}}));
}

TEST_F(RootControllerTest, AChangeIsCarriedOutAndEnds) {
  pass(5'200, {3});
  ASSERT_EQ(orders_.size(), 1u);
  EXPECT_EQ(
      orders_[0],
      (ChangeOrder{
          .group = 1, .since = history_.index, .add = 4, .address = "10.0.0.4:7400", .leave = 3}));
  pass(5'000, {3});
  EXPECT_EQ(orders_.size(), 1u) << "it takes its time";
  report(orders_[0], true, {{1}, {2}, {4}});
  pass(100, {3});
  EXPECT_FALSE(history_.group(1).change);
  EXPECT_EQ(history_.members(1), (std::vector<NodeNumber>{1, 2, 4}));
}

TEST_F(RootControllerTest, AChangeThatSomebodyElseBeganIsCarriedOut) {
  history_.apply(root::BeginChange{1, 4, 3});
  pass(100);
  ASSERT_EQ(orders_.size(), 1u);
  EXPECT_EQ(orders_[0].since, history_.index);
}

TEST_F(RootControllerTest, WhatFailsIsTriedAgainAfterAPauseThatGrows) {
  history_.apply(root::BeginChange{1, 4, 3});
  std::vector<std::uint64_t> at_ns;
  for (int i = 0; i < 4; ++i) {
    while (orders_.empty()) pass(50);
    at_ns.push_back(now_ns_);
    EXPECT_FALSE(orders_[0].is_stop);
    // Done, but not what was ordered, is a failure as well.
    report(orders_[0], i % 2 == 1, {{1}, {2}, {3}});
    orders_.clear();
  }
  for (std::size_t i = 2; i < at_ns.size(); ++i) {
    EXPECT_GT(at_ns[i] - at_ns[i - 1], at_ns[i - 1] - at_ns[i - 2]);
  }
}

TEST_F(RootControllerTest, AfterManyFailuresAChangeEndsWithTheMembersThatAre) {
  history_.apply(root::BeginChange{1, 4, 3});
  std::size_t failures = 0;
  while (true) {
    while (orders_.empty()) pass(50);
    if (orders_[0].is_stop) break;
    ASSERT_LT(++failures, 20u);
    report(orders_[0], false);
    orders_.clear();
  }
  EXPECT_EQ(failures, RootControllerOptions{}.failures_max);
  is_deciding_ = false;
  proposals_.clear();
  report(orders_[0], true, {{1}, {2}, {3}, {4}});
  pass(50);
  EXPECT_EQ(proposals_,
            std::vector<RootCommand>{(root::EndChange{.group = 1,
                                                      .since = history_.index,
                                                      .as_of = 5,
                                                      .is_done = false,
                                                      .members = {{1}, {2}, {3}, {4}}})});
}

TEST_F(RootControllerTest, WhenTheNewOneIsLostTheChangeIsGivenUp) {
  history_.apply(root::BeginChange{1, 4, 3});
  pass(5'200, {4});
  ASSERT_EQ(orders_.size(), 1u) << "the one before is not over";
  report(orders_[0], false);
  pass(300, {4});
  ASSERT_EQ(orders_.size(), 2u);
  EXPECT_TRUE(orders_[1].is_stop);
  report(orders_[1], true, {{1}, {2}, {3}});
  pass(100, {4});
  EXPECT_EQ(history_.members(1), (std::vector<NodeNumber>{1, 2, 3}));
  EXPECT_FALSE(history_.group(1).change);
}

TEST_F(RootControllerTest, AReportThatFitsNoOrderIsIgnored) {
  history_.apply(root::BeginChange{1, 4, 3});
  const ChangeOrder early{.group = 1, .since = history_.index, .add = 4, .leave = 3};
  report(early, true, {{1}, {2}, {4}});
  pass(50);
  ASSERT_EQ(orders_.size(), 1u);
  ChangeOrder other = orders_[0];
  --other.since;
  report(other, true, {{1}, {2}, {4}});
  other.group = 9;
  report(other, true, {{1}, {2}, {4}});
  pass(1'000);
  EXPECT_TRUE(history_.group(1).change);
}

TEST_F(RootControllerTest, WhatAGroupSaysIsBelieved) {
  controller_.observed(1, 7, {{1}, {2}, {5}});
  controller_.observed(1, 6, {{1}, {2}, {4}});
  controller_.observed(1, 7, {{1}, {2, 9}, {5}});
  controller_.observed(1, 7, {{1, kGoneLife}, {2}, {5}});
  pass(50);
  const std::map<NodeNumber, NodeLife> expected{{1, kGoneLife}, {2, 9}, {5, 0}};
  EXPECT_EQ(history_.group(1).members, expected);
  proposals_.clear();
  controller_.observed(1, 8, {{1}, {2}, {77}});
  pass(2'000);
  for (const RootCommand& command : proposals_) {
    EXPECT_FALSE(std::holds_alternative<root::EndChange>(command)) << "of whom nobody knows";
  }
}

TEST_F(RootControllerTest, WhoHoldsDataIsPreferred) {
  controller_.holds(5, {1, 2});
  controller_.holds(4, {1});
  controller_.holds(4, {});
  pass(5'200, {3});
  ASSERT_EQ(orders_.size(), 1u);
  EXPECT_EQ(orders_[0].add, 5u);
}

}  // namespace
}  // namespace dolmen::cluster
