// SPDX-License-Identifier: Apache-2.0
#include "cluster/root.hpp"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/root_fixture.hpp"

namespace dolmen::cluster {
namespace {

using Numbers = std::vector<NodeNumber>;

class RootTest : public testing::Test {
 protected:
  /// The status, of a command that is refused and leaves no trace.
  RootStatus refused(const RootCommand& command) {
    const RootState before = history_.state;
    const RootReply reply = history_.apply(command);
    EXPECT_NE(reply.status, RootStatus::done);
    EXPECT_EQ(history_.state, before);
    EXPECT_EQ(encode_root(history_.state), encode_root(before));
    return reply.status;
  }
  RootStatus apply(const RootCommand& command) { return history_.apply(command).status; }

  RootHistory history_;
};

TEST_F(RootTest, BeginsOnce) {
  EXPECT_EQ(refused(root::AddNode{"n1", "a:1"}), RootStatus::not_begun);
  root::Init init{.cluster = kTestCluster, .nodes = {RootHistory::founder(1)}, .size = 3};
  root::Init wrong = init;
  wrong.cluster = {};
  EXPECT_EQ(refused(wrong), RootStatus::invalid);
  wrong = init;
  wrong.nodes.clear();
  EXPECT_EQ(refused(wrong), RootStatus::invalid);
  wrong.nodes.assign(kGroupMembersMax + 1, RootHistory::founder(1));
  EXPECT_EQ(refused(wrong), RootStatus::invalid);
  wrong.nodes.resize(2);
  EXPECT_EQ(refused(wrong), RootStatus::identity_taken) << "the same twice";
  wrong.nodes.back().identity = identity(2);
  EXPECT_EQ(refused(wrong), RootStatus::name_taken);
  wrong = init;
  wrong.shard_bits = kShardBitsMax + 1;
  EXPECT_EQ(refused(wrong), RootStatus::invalid);
  wrong = init;
  wrong.lease_ms = kGroupLeaseMsMax + 1;
  EXPECT_EQ(refused(wrong), RootStatus::invalid);
  EXPECT_FALSE(history_.state.is_begun());
  EXPECT_EQ(apply(init), RootStatus::done);
  EXPECT_EQ(history_.state.version(), history_.index);
  EXPECT_EQ(refused(init), RootStatus::unchanged);
  init.cluster.low += 1;
  EXPECT_EQ(refused(init), RootStatus::begun);
  EXPECT_EQ(history_.members(kRootGroup), Numbers{1});
  EXPECT_EQ(history_.group(kRootGroup).founders, Numbers{1});
  EXPECT_EQ(history_.state.shards(), std::vector<GroupNumber>{0});
}

TEST_F(RootTest, ANodeIsKnownByItsNameAndKey) {
  history_.begin(4);
  const root::Founder four = RootHistory::founder(4);
  root::AddNode again{four.name, "10.0.9.9:1", four.identity};
  EXPECT_EQ(history_.apply(again), (RootReply{RootStatus::done, 4}));
  EXPECT_EQ(history_.state.node(4)->address, "10.0.9.9:1");
  EXPECT_EQ(history_.apply(again), (RootReply{RootStatus::unchanged, 4}));
  again.name = "other";
  EXPECT_EQ(refused(again), RootStatus::identity_taken);
  EXPECT_EQ(refused(root::AddNode{four.name, "a:1", identity(9)}), RootStatus::name_taken);
  EXPECT_EQ(refused(root::AddNode{four.name, "a:1", {}}), RootStatus::name_taken)
      << "without its key";
  EXPECT_EQ(history_.apply(root::AddNode{"plain", "a:1", {}}), (RootReply{RootStatus::done, 5}));
  EXPECT_EQ(history_.apply(root::AddNode{"plain", "a:2", {}}), (RootReply{RootStatus::done, 5}));
  EXPECT_EQ(history_.apply(root::AddNode{"plain2", "a:2", {}}), (RootReply{RootStatus::done, 6}));
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a\n"),
                                  std::string(kNodeNameBytesMax + 1, 'x')}) {
    EXPECT_EQ(refused(root::AddNode{name, "a:1", identity(50)}), RootStatus::invalid) << name;
  }
  EXPECT_EQ(refused(root::AddNode{"x", std::string(256, 'x'), identity(50)}), RootStatus::invalid);
  EXPECT_EQ(refused(root::AddNode{"x", "a:1", identity(50), 0}), RootStatus::invalid);
  EXPECT_EQ(refused(root::SetAddress{4, ""}), RootStatus::invalid);
  EXPECT_EQ(refused(root::SetAddress{9, "a:1"}), RootStatus::unknown_node);
  EXPECT_EQ(apply(root::SetAddress{4, "b:1"}), RootStatus::done);
  EXPECT_EQ(refused(root::SetAddress{4, "b:1"}), RootStatus::unchanged);
}

TEST_F(RootTest, NumbersAndKeysOfRemovedNodesAreUsedUp) {
  history_.begin(4);
  EXPECT_EQ(refused(root::RemoveNode{1}), RootStatus::has_seats);
  EXPECT_EQ(apply(root::RemoveNode{4}), RootStatus::done);
  EXPECT_EQ(refused(root::RemoveNode{4}), RootStatus::unchanged);
  EXPECT_EQ(history_.state.node(4), nullptr);
  EXPECT_EQ(history_.state.nodes().at(4).address, "");
  const root::Founder four = RootHistory::founder(4);
  EXPECT_EQ(refused(root::AddNode{four.name, four.address, four.identity}),
            RootStatus::identity_taken);
  EXPECT_EQ(history_.apply(root::AddNode{four.name, four.address, identity(40)}),
            (RootReply{RootStatus::done, 5}))
      << "its name is free";
  for (const RootCommand& command :
       {RootCommand(root::NodeLost{4}), RootCommand(root::Drain{4}), RootCommand(root::Undrain{4}),
        RootCommand(root::NodeBack{4}), RootCommand(root::SetLife{4, 2}),
        RootCommand(root::SetAddress{4, "x:1"}), RootCommand(root::BeginChange{1, 4, 0})}) {
    EXPECT_EQ(refused(command), RootStatus::removed);
  }
}

TEST_F(RootTest, OfRemovedNodesTheOldestIsForgottenButNotItsNumber) {
  history_.begin(3);
  for (NodeNumber number = 4; number < 4 + kRemovedNodesMax + 2; ++number) {
    ASSERT_EQ(history_.apply(root::AddNode{"x", "a:1", {}}), (RootReply{RootStatus::done, number}));
    ASSERT_EQ(apply(root::RemoveNode{number}), RootStatus::done);
  }
  EXPECT_EQ(history_.state.nodes().size(), 3 + kRemovedNodesMax);
  EXPECT_FALSE(history_.state.nodes().contains(4));
  EXPECT_FALSE(history_.state.nodes().contains(5));
  EXPECT_TRUE(history_.state.nodes().contains(6));
  EXPECT_EQ(refused(root::Drain{4}), RootStatus::unknown_node);
  EXPECT_TRUE(decode_root(encode_root(history_.state)));
}

TEST_F(RootTest, AFullClusterTakesNoMore) {
  history_.begin(3);
  for (std::size_t i = 2; i <= kGroupsMax; ++i) {
    ASSERT_EQ(apply(root::CreateGroup{GroupKind::space, "", 1}), RootStatus::done);
  }
  EXPECT_EQ(refused(root::CreateGroup{GroupKind::space, "", 1}), RootStatus::full);
  for (std::size_t i = 4; i <= kNodesMax; ++i) {
    ASSERT_EQ(apply(root::AddNode{"x" + std::to_string(i), "a:1", {}}), RootStatus::done);
  }
  EXPECT_EQ(refused(root::AddNode{"x", "a:1", {}}), RootStatus::full);
  EXPECT_EQ(apply(root::RemoveNode{4}), RootStatus::done);
  EXPECT_EQ(apply(root::AddNode{"x", "a:1", {}}), RootStatus::done);
  const std::vector<std::byte> bytes = encode_root(history_.state);
  EXPECT_LT(bytes.size(), 2u << 20);
  EXPECT_EQ(decode_root(bytes), history_.state);
}

TEST_F(RootTest, AGroupBeginsOnTheLeastLoadedNodes) {
  history_.begin(6);
  EXPECT_EQ(history_.create(3, "a"), 2u);
  EXPECT_EQ(history_.members(2), (Numbers{4, 5, 6})) << "1 to 3 have the root group";
  EXPECT_EQ(history_.group(2).founders, (Numbers{4, 5, 6}));
  EXPECT_EQ(apply(root::NodeLost{1}), RootStatus::done);
  EXPECT_EQ(apply(root::Drain{4}), RootStatus::done);
  EXPECT_EQ(apply(root::AddNode{"n6", "a:1", identity(6), 4}), RootStatus::done) << "heavier now";
  history_.create(2);
  EXPECT_EQ(history_.members(3), (Numbers{2, 6}));
  history_.create(9);
  EXPECT_EQ(history_.members(4), (Numbers{2, 3, 5, 6})) << "as many as there are";
  EXPECT_EQ(history_.group(4).size, 9u);
  EXPECT_EQ(history_.apply(root::CreateGroup{GroupKind::index, "a", 1}),
            (RootReply{RootStatus::name_taken, 2}));
  EXPECT_EQ(history_.apply(root::CreateGroup{GroupKind::index, "root", 1}),
            (RootReply{RootStatus::name_taken, 1}));
  EXPECT_EQ(refused(root::CreateGroup{GroupKind::root, "b", 1}), RootStatus::wrong_kind);
  EXPECT_EQ(refused(root::CreateGroup{GroupKind::space, "b", 0}), RootStatus::invalid);
  EXPECT_EQ(refused(root::CreateGroup{GroupKind::space, "b", kGroupSizeMax + 1}),
            RootStatus::invalid);
  EXPECT_EQ(refused(root::CreateGroup{GroupKind::space, "b c", 1}), RootStatus::invalid);
  for (const NodeNumber number : {2, 3, 5, 6}) apply(root::NodeLost{number});
  EXPECT_EQ(refused(root::CreateGroup{GroupKind::space, "b", 1}), RootStatus::no_nodes);
}

TEST_F(RootTest, AChangeBeginsOnlyIfItCanEnd) {
  history_.begin(6);
  EXPECT_EQ(refused(root::BeginChange{9, 4, 0}), RootStatus::unknown_group);
  EXPECT_EQ(refused(root::BeginChange{1, 0, 0}), RootStatus::invalid);
  EXPECT_EQ(refused(root::BeginChange{1, 9, 0}), RootStatus::unknown_node);
  EXPECT_EQ(refused(root::BeginChange{1, 4, 5}), RootStatus::no_member);
  EXPECT_EQ(refused(root::BeginChange{1, 2, 0}), RootStatus::is_member);
  EXPECT_EQ(refused(root::BeginChange{1, 2, 1}), RootStatus::is_member);
  EXPECT_EQ(refused(root::BeginChange{1, 2, 2}), RootStatus::is_member) << "it has its seat";
  EXPECT_EQ(refused(root::BeginChange{1, 0, 2}), RootStatus::too_few);
  apply(root::Drain{4});
  apply(root::NodeLost{5});
  EXPECT_EQ(refused(root::BeginChange{1, 4, 0}), RootStatus::unavailable);
  EXPECT_EQ(refused(root::BeginChange{1, 5, 0}), RootStatus::unavailable);
  EXPECT_EQ(apply(root::BeginChange{1, 6, 1}), RootStatus::done);
  const log::Index since = history_.index;
  EXPECT_EQ(history_.group(1).change, (GroupChange{.add = 6, .leave = 1, .since = since}));
  EXPECT_EQ(history_.apply(root::BeginChange{1, 6, 1}), (RootReply{RootStatus::under_way, since}));
  EXPECT_EQ(refused(root::RemoveNode{6}), RootStatus::has_seats) << "it is about to";
}

TEST_F(RootTest, NoChangeGoesThroughAPointWithoutAMajority) {
  history_.begin(6);
  apply(root::NodeLost{1});
  EXPECT_EQ(history_.state.judge({1, 4, 1}).status, RootStatus::done);
  EXPECT_EQ(history_.state.judge({1, 4, 2}).status, RootStatus::done) << "1 is lost yet: 2 of 3";
  apply(root::SetSize{1, 2});
  EXPECT_EQ(refused(root::BeginChange{1, 0, 2}), RootStatus::no_majority);
  EXPECT_EQ(history_.state.judge({1, 0, 1}).status, RootStatus::done);
  apply(root::NodeLost{2});
  EXPECT_EQ(refused(root::BeginChange{1, 4, 1}), RootStatus::no_majority) << "it cannot decide";
  const GroupNumber pair = history_.create(2);
  EXPECT_EQ(history_.members(pair), (Numbers{4, 5}));
  apply(root::NodeLost{4});
  EXPECT_EQ(refused(root::BeginChange{pair, 6, 4}), RootStatus::no_majority);
}

TEST_F(RootTest, AChangeEndsWithTheMembersThatAre) {
  history_.begin(6);
  apply(root::BeginChange{1, 4, 1});
  const log::Index since = history_.index;
  root::EndChange end{
      .group = 1, .since = since, .as_of = 7, .is_done = true, .members = {{2}, {3}, {4}}};
  auto wrong = end;
  wrong.since = since - 1;
  EXPECT_EQ(refused(wrong), RootStatus::other_change);
  wrong = end;
  wrong.members = {{1}, {2}, {3}, {4}};
  EXPECT_EQ(refused(wrong), RootStatus::invalid) << "1 has not left";
  wrong.members = {{2}, {3}};
  EXPECT_EQ(refused(wrong), RootStatus::invalid) << "4 is not in";
  wrong.members = {{2}, {4}, {3}};
  EXPECT_EQ(refused(wrong), RootStatus::invalid);
  wrong.members = {};
  EXPECT_EQ(refused(wrong), RootStatus::invalid);
  wrong.members = {{2}, {3}, {4}, {9}};
  EXPECT_EQ(refused(wrong), RootStatus::unknown_node);
  EXPECT_EQ(apply(end), RootStatus::done);
  EXPECT_EQ(history_.members(1), (Numbers{2, 3, 4}));
  EXPECT_EQ(refused(end), RootStatus::other_change) << "it ended";
  EXPECT_EQ(history_.group(1).founders, (Numbers{1, 2, 3})) << "which does not change";

  apply(root::BeginChange{1, 5, 2});
  end = {.group = 1,
         .since = history_.index,
         .as_of = 6,
         .is_done = false,
         .members = {{2}, {3}, {4}}};
  EXPECT_EQ(refused(end), RootStatus::outdated);
  end.as_of = 9;
  end.members = {{2}, {3}, {4}, {5}};
  EXPECT_EQ(apply(end), RootStatus::done) << "given up half-way";
  EXPECT_EQ(history_.members(1), (Numbers{2, 3, 4, 5}));
  EXPECT_EQ(apply(root::BeginChange{1, 0, 2}), RootStatus::done) << "and then the rest";
  history_.finish(1);
  EXPECT_EQ(history_.members(1), (Numbers{3, 4, 5}));
}

TEST_F(RootTest, WhatTheGroupSaysCorrectsWhatTheRootBelieves) {
  history_.begin(6);
  root::EndChange correction{.group = 1, .as_of = 0, .members = {{1}, {2}, {4}}};
  EXPECT_EQ(refused(correction), RootStatus::outdated);
  correction.as_of = 3;
  EXPECT_EQ(apply(correction), RootStatus::done);
  EXPECT_EQ(history_.members(1), (Numbers{1, 2, 4}));
  EXPECT_EQ(refused(correction), RootStatus::unchanged);
  correction.members = {{1}, {2}, {3}};
  EXPECT_EQ(refused(correction), RootStatus::outdated) << "it cannot be both";
  correction.members = {{1}, {2, 9}, {4}};
  EXPECT_EQ(apply(correction), RootStatus::done) << "with which disk it votes";
  EXPECT_EQ(history_.group(1).members.at(2), 9u);
  correction.as_of = 4;
  EXPECT_EQ(refused(correction), RootStatus::unchanged);
  apply(root::BeginChange{1, 5, 1});
  correction.members = {{1}, {2}, {3}};
  EXPECT_EQ(refused(correction), RootStatus::other_change) << "a change is under way";
}

TEST_F(RootTest, ASeatIsForOneLifeOfADisk) {
  history_.begin(4);
  const auto is_live = [&] { return history_.state.is_live(history_.group(1), 2); };
  EXPECT_EQ(apply(root::SetLife{2, 0}), RootStatus::invalid);
  EXPECT_EQ(apply(root::SetLife{2, 11}), RootStatus::done);
  EXPECT_TRUE(is_live()) << "the first that is known";
  EXPECT_EQ(refused(root::SetLife{2, 11}), RootStatus::unchanged);
  EXPECT_EQ(apply(root::SetLife{2, 12}), RootStatus::done);
  EXPECT_FALSE(is_live());
  apply(root::NodeLost{3});
  EXPECT_EQ(refused(root::BeginChange{1, 2, 2}), RootStatus::no_majority);
  apply(root::NodeBack{3});
  EXPECT_EQ(apply(root::BeginChange{1, 2, 2}), RootStatus::done);
  EXPECT_EQ(apply(root::SetLife{2, 13}), RootStatus::done) << "and again";
  history_.finish(1);
  EXPECT_FALSE(is_live()) << "what it got was for the one before";
  apply(root::BeginChange{1, 2, 2});
  EXPECT_EQ(apply(root::EndChange{.group = 1,
                                  .since = history_.index,
                                  .as_of = 9,
                                  .is_done = false,
                                  .members = {{1}, {2}, {3}}}),
            RootStatus::done);
  EXPECT_FALSE(is_live()) << "given up";
  apply(root::BeginChange{1, 2, 2});
  history_.finish(1);
  EXPECT_TRUE(is_live());
}

TEST_F(RootTest, ShardsAreServedByGroupsOfTheirKind) {
  root::Init init{.cluster = kTestCluster, .nodes = {RootHistory::founder(1)}, .shard_bits = 2};
  ASSERT_EQ(apply(init), RootStatus::done);
  history_.create(1, "space");
  apply(root::CreateGroup{GroupKind::index, "index", 1});
  EXPECT_EQ(refused(root::AssignShard{4, 3}), RootStatus::unknown_shard);
  EXPECT_EQ(refused(root::AssignShard{3, 4}), RootStatus::unknown_group);
  EXPECT_EQ(refused(root::AssignShard{3, 2}), RootStatus::wrong_kind);
  EXPECT_EQ(refused(root::AssignShard{3, 0}), RootStatus::unchanged);
  EXPECT_EQ(apply(root::AssignShard{3, 3}), RootStatus::done);
  EXPECT_EQ(history_.state.shards(), (std::vector<GroupNumber>{0, 0, 0, 3}));
  EXPECT_EQ(apply(root::AssignShard{3, 0}), RootStatus::done);
  // A shard of an index is none of the directory's.
  apply(root::CreateIndex{.name = "people",
                          .size = 1,
                          .shards = 1,
                          .seed = 1,
                          .bucket_bytes = 4096,
                          .record_bytes = 65536});
  EXPECT_EQ(refused(root::AssignShard{3, history_.state.group_named("people/0")}),
            RootStatus::wrong_kind);
}

TEST_F(RootTest, ADirectoryIsMadeAsAWholeAndForEver) {
  history_.begin(5);
  EXPECT_FALSE(history_.state.has_directory());
  EXPECT_EQ(refused(root::CreateDirectory{.bits = kDirectoryBitsMax + 1}), RootStatus::invalid);
  EXPECT_EQ(refused(root::CreateDirectory{.bits = 2, .size = 0}), RootStatus::invalid);
  const root::CreateDirectory four{.bits = 2, .size = 3};
  EXPECT_EQ(history_.apply(four), (RootReply{RootStatus::done, 2}));
  EXPECT_TRUE(history_.state.has_directory());
  EXPECT_EQ(history_.state.shards(), (std::vector<GroupNumber>{2, 3, 4, 5}));
  for (std::uint32_t shard = 0; shard < 4; ++shard) {
    const RootGroup& group = history_.group(2 + shard);
    EXPECT_TRUE(group.is_directory());
    EXPECT_EQ(group.name, "directory-" + std::to_string(shard));
    EXPECT_EQ(group.members.size(), 3u);
  }
  // Spread: fifteen seats with the root's on five nodes.
  for (const auto& [node, seats] : history_.state.seats()) EXPECT_EQ(seats, 3u) << node;
  EXPECT_EQ(decode_root(encode_root(history_.state)), history_.state);
  const RootState before = history_.state;
  EXPECT_EQ(history_.apply(four), (RootReply{RootStatus::unchanged, 2})) << "a client's repeat";
  EXPECT_EQ(history_.apply(root::CreateDirectory{.bits = 2, .size = 1}).status,
            RootStatus::unchanged);
  for (const std::uint32_t bits : {0u, 1u, 3u, 8u}) {
    EXPECT_EQ(history_.apply(root::CreateDirectory{.bits = bits, .size = 3}),
              (RootReply{RootStatus::other_shards, 4}));
  }
  EXPECT_EQ(history_.state, before);
}

// As two commands, one after the other, made it: what is there counts, of whatever it is.
TEST_F(RootTest, ADirectoryThatIsHalfMadeIsMadeWhole) {
  history_.begin(3);
  const auto make = [&](const std::string& name) {
    return static_cast<GroupNumber>(
        history_.apply(root::CreateGroup{GroupKind::index, name, 1}).value);
  };
  // Made, and not assigned: the number of shards is free yet.
  const GroupNumber first = make("directory-0");
  EXPECT_EQ(apply(root::CreateDirectory{.bits = 1, .size = 1}), RootStatus::done);
  EXPECT_EQ(history_.state.shards().size(), 2u);
  EXPECT_EQ(history_.state.shards()[0], first);
  EXPECT_NE(history_.state.shards()[1], 0u);
  // One of two is served, by a group of any name.
  EXPECT_EQ(apply(root::AssignShard{1, 0}), RootStatus::done);
  const GroupNumber other = make("of-shard-1");
  EXPECT_EQ(apply(root::AssignShard{1, other}), RootStatus::done);
  EXPECT_EQ(apply(root::AssignShard{0, 0}), RootStatus::done);
  EXPECT_EQ(refused(root::CreateDirectory{.bits = 2, .size = 1}), RootStatus::other_shards);
  EXPECT_EQ(apply(root::CreateDirectory{.bits = 1, .size = 1}), RootStatus::done);
  EXPECT_EQ(history_.state.shards(), (std::vector<GroupNumber>{first, other}));
  EXPECT_EQ(refused(root::CreateDirectory{.bits = 1, .size = 1}), RootStatus::unchanged);

  // Somebody made one that fewer nodes keep than the directory is to be kept by, or more.
  RootHistory smaller;
  smaller.begin(3);
  ASSERT_EQ(smaller.apply(root::CreateGroup{GroupKind::index, "directory-1", 1}).value, 2u);
  ASSERT_EQ(smaller.apply(root::CreateGroup{GroupKind::index, "directory-0", 3}).value, 3u);
  ASSERT_EQ(smaller.apply(root::CreateDirectory{.bits = 1, .size = 2}).status, RootStatus::done);
  EXPECT_EQ(smaller.state.shards(), (std::vector<GroupNumber>{3, 2}));
  EXPECT_EQ(smaller.group(2).size, 2u);
  EXPECT_EQ(smaller.group(3).size, 3u);

  RootHistory taken;
  taken.begin(3);
  taken.create(1, "directory-3");
  const RootState before = taken.state;
  EXPECT_EQ(taken.apply(root::CreateDirectory{.bits = 2, .size = 1}),
            (RootReply{RootStatus::name_taken, 2}))
      << "a space's";
  EXPECT_EQ(taken.state, before) << "none of them is made";
  EXPECT_EQ(taken.apply(root::CreateDirectory{.bits = 1, .size = 1}).status, RootStatus::done);
}

TEST_F(RootTest, AnIndexIsMadeAsAWholeOrNotAtAll) {
  history_.begin(5);
  const root::CreateIndex years{.name = "years",
                                .size = 3,
                                .shards = 4,
                                .seed = 7,
                                .bucket_bytes = 4096,
                                .record_bytes = 65536};
  const RootReply made = history_.apply(years);
  EXPECT_EQ(made, (RootReply{RootStatus::done, 2}));
  EXPECT_EQ(history_.state.index_named("years"), (std::vector<GroupNumber>{2, 3, 4, 5}));
  EXPECT_TRUE(history_.state.index_named("year").empty());
  EXPECT_TRUE(history_.state.index_named("years/0").empty());
  for (std::uint32_t shard = 0; shard < 4; ++shard) {
    const RootGroup& group = history_.group(2 + shard);
    EXPECT_EQ(group.kind, GroupKind::index);
    EXPECT_EQ(group.name, "years/" + std::to_string(shard));
    EXPECT_EQ(group.members.size(), 3u);
    EXPECT_EQ(
        group.shape,
        (IndexShape{
            .shard = shard, .shards = 4, .seed = 7, .bucket_bytes = 4096, .record_bytes = 65536}));
  }
  // Spread: fifteen seats with the root's on five nodes.
  for (const auto& [node, seats] : history_.state.seats()) EXPECT_EQ(seats, 3u) << node;

  root::CreateIndex again = years;
  again.seed = 8;
  EXPECT_EQ(history_.apply(again), (RootReply{RootStatus::unchanged, 2})) << "a client's repeat";
  EXPECT_EQ(history_.group(2).shape->seed, 7u);
  using Change = void (*)(root::CreateIndex&);
  for (const Change change :
       std::initializer_list<Change>{[](root::CreateIndex& one) { one.shards = 5; },
                                     [](root::CreateIndex& one) { one.bucket_bytes *= 2; },
                                     [](root::CreateIndex& one) { one.record_bytes *= 2; }}) {
    root::CreateIndex other = years;
    change(other);
    EXPECT_EQ(refused(other), RootStatus::name_taken);
  }
  for (const Change change : std::initializer_list<Change>{
           [](root::CreateIndex& one) { one.shards = 0; },
           [](root::CreateIndex& one) { one.shards = 257; },
           [](root::CreateIndex& one) { one.size = 0; },
           [](root::CreateIndex& one) { one.bucket_bytes = 1023; },
           [](root::CreateIndex& one) { one.record_bytes = ~std::uint64_t{0}; },
           [](root::CreateIndex& one) { one.name = "a/b"; },
           [](root::CreateIndex& one) { one.name.clear(); },
           [](root::CreateIndex& one) { one.name.assign(60, 'n'); }}) {
    root::CreateIndex wrong = years;
    wrong.name = "others";
    change(wrong);
    EXPECT_EQ(refused(wrong), RootStatus::invalid);
  }
  // A name of one of its shards is somebody else's: none of them is made.
  history_.create(1, "taken/2");
  root::CreateIndex taken = years;
  taken.name = "taken";
  EXPECT_EQ(refused(taken), RootStatus::name_taken);
  history_.create(1, "first/0");
  taken.name = "first";
  EXPECT_EQ(refused(taken), RootStatus::name_taken);
}

TEST_F(RootTest, AnOrderedIndexKeepsWhereItsShardsBegin) {
  history_.begin(3);
  const root::CreateIndex names{.name = "names",
                                .size = 3,
                                .shards = 3,
                                .bucket_bytes = 4096,
                                .record_bytes = 4096,
                                .table = TableKind::ordered,
                                .splits = {"g", "p\xFF"}};
  ASSERT_EQ(history_.apply(names), (RootReply{RootStatus::done, 2}));
  const std::vector<std::string> from{"", "g", "p\xFF"};
  for (std::uint32_t shard = 0; shard < 3; ++shard) {
    const auto& shape = history_.group(2 + shard).shape;
    EXPECT_EQ(shape, (IndexShape{.shard = shard,
                                 .shards = 3,
                                 .bucket_bytes = 4096,
                                 .record_bytes = 4096,
                                 .table = TableKind::ordered,
                                 .from = from[shard]}));
    EXPECT_TRUE(shape->ordered_geometry());
    EXPECT_FALSE(shape->geometry());
  }
  EXPECT_EQ(history_.apply(names), (RootReply{RootStatus::unchanged, 2}));
  using Change = void (*)(root::CreateIndex&);
  for (const Change change :
       std::initializer_list<Change>{[](root::CreateIndex& one) { one.splits[0] = "h"; },
                                     [](root::CreateIndex& one) { one.splits[1] = "p"; },
                                     [](root::CreateIndex& one) {
                                       one.splits.emplace_back("z");
                                       one.shards = 4;
                                     },
                                     [](root::CreateIndex& one) {
                                       one.table = TableKind::hash;
                                       one.splits.clear();
                                       one.seed = 1;
                                     }}) {
    root::CreateIndex other = names;
    change(other);
    EXPECT_EQ(refused(other), RootStatus::name_taken);
  }
  for (const Change change :
       std::initializer_list<Change>{[](root::CreateIndex& one) { one.splits.pop_back(); },
                                     [](root::CreateIndex& one) { one.shards = 2; },
                                     [](root::CreateIndex& one) { one.splits[1] = "f"; },
                                     [](root::CreateIndex& one) { one.splits[1] = "g"; },
                                     [](root::CreateIndex& one) { one.splits[0] = "q\xFF"; },
                                     [](root::CreateIndex& one) { one.splits[0].clear(); },
                                     [](root::CreateIndex& one) { one.splits[1].assign(129, 'p'); },
                                     [](root::CreateIndex& one) { one.seed = 1; },
                                     [](root::CreateIndex& one) { one.bucket_bytes = 4095; },
                                     [](root::CreateIndex& one) { one.record_bytes = 63; },
                                     [](root::CreateIndex& one) { one.table = TableKind::hash; }}) {
    root::CreateIndex wrong = names;
    wrong.name = "others";
    change(wrong);
    EXPECT_EQ(refused(wrong), RootStatus::invalid);
  }
  root::CreateIndex longest = names;
  longest.name = "longest";
  longest.splits[1].assign(128, 'p');
  EXPECT_EQ(history_.apply(longest).status, RootStatus::done);
  EXPECT_EQ(decode_root(encode_root(history_.state)), history_.state);
  // The other way round: what has no order is none that has one.
  const root::CreateIndex years{.name = "years",
                                .size = 3,
                                .shards = 1,
                                .seed = 7,
                                .bucket_bytes = 4096,
                                .record_bytes = 4096};
  ASSERT_EQ(history_.apply(years).status, RootStatus::done);
  root::CreateIndex ordered = names;
  ordered.name = "years";
  ordered.shards = 1;
  ordered.splits.clear();
  EXPECT_EQ(refused(ordered), RootStatus::name_taken);
}

TEST_F(RootTest, AnIndexFindsRoomForAllOfItsShardsOrForNone) {
  history_.begin(3);
  root::CreateIndex index{
      .size = 1, .shards = kIndexShardsMax, .seed = 7, .bucket_bytes = 4096, .record_bytes = 65536};
  // Beside the root group: fifteen of them, and 255 groups.
  for (std::size_t i = 1; i < kGroupsMax / kIndexShardsMax; ++i) {
    index.name = "index-" + std::to_string(i);
    ASSERT_EQ(history_.apply(index).status, RootStatus::done) << i;
  }
  index.name = "last";
  EXPECT_EQ(refused(index), RootStatus::full);
  --index.shards;
  EXPECT_EQ(history_.apply(index).status, RootStatus::done);
  EXPECT_EQ(history_.state.groups().size(), kGroupsMax);
  EXPECT_EQ(history_.state.index_named("last").size(), index.shards);
  EXPECT_EQ(decode_root(encode_root(history_.state)), history_.state);
}

TEST_F(RootTest, ASizeIsChangedWithinItsBounds) {
  history_.begin(3);
  EXPECT_EQ(refused(root::SetSize{2, 3}), RootStatus::unknown_group);
  EXPECT_EQ(refused(root::SetSize{1, 0}), RootStatus::invalid);
  EXPECT_EQ(refused(root::SetSize{1, 3}), RootStatus::unchanged);
  EXPECT_EQ(apply(root::SetSize{1, 5}), RootStatus::done);
}

TEST(RootText, EveryStatusHasItsSentence) {
  std::set<std::string_view> sentences;
  for (std::uint8_t status = 1; status <= 30; ++status) {
    EXPECT_TRUE(sentences.insert(text(static_cast<RootStatus>(status))).second) << int{status};
  }
  EXPECT_FALSE(sentences.contains(text(static_cast<RootStatus>(200))));
}

}  // namespace
}  // namespace dolmen::cluster
