// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_message.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "replication/member_fixture.hpp"
#include "store/golden_file.hpp"

namespace dolmen::node {
namespace {

using cluster::ChangeOrder;
using cluster::ChangeReport;
using replication::Change;
using replication::ChangeKind;
using replication::MemberWorld;

AskMap ask() {
  return {.version = 0x0102030405060708,
          .life = 0xA1B2C3D4,
          .holds = {1, 2, 0xFFFFFFFF},
          .leads = {{.group = 2, .as_of = 0x1112131415161718, .members = {1, 2, 0x01020304}},
                    {.group = 1, .as_of = 0, .members = {9}}}};
}
ChangeOrder order() {
  return {.group = 7,
          .since = 0xFFFFFFFE,
          .add = 0x0A0B0C0D,
          .address = "[2001:db8::7]:7400",
          .leave = 3,
          .is_stop = true};
}
ChangeReport report() {
  return {.group = 7,
          .since = 0x2122232425262728,
          .is_done = true,
          .as_of = 0x3132333435363738,
          .members = {{.node = 1}, {.node = 2}, {.node = 0x41424344}}};
}
bool is_same(const Reported& said, const ChangeReport& b) {
  const ChangeReport& a = said.report;
  return !said.is_stop && a.group == b.group && a.since == b.since && a.is_done == b.is_done &&
         a.as_of == b.as_of && a.members == b.members;
}

using Bytes = std::vector<std::byte>;
Bytes with(Bytes bytes, std::size_t offset, std::uint64_t value, std::size_t count = 4) {
  for (std::size_t i = 0; i < count; ++i) {
    bytes.at(offset + i) = static_cast<std::byte>(value >> (8 * i));
  }
  return bytes;
}
template <class Decode>
bool is_refused(const Decode& decode, base::Bytes body) {
  const auto decoded = decode(body);
  return !decoded && decoded.error().code() == Errc::corrupt;
}
/// Also with more behind it.
template <class Decode>
void expect_cut_ones_refused(const Decode& decode, Bytes whole) {
  ASSERT_TRUE(decode(base::Bytes(whole)));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_TRUE(is_refused(decode, base::Bytes(whole).first(length))) << length;
  }
  whole.push_back(std::byte{1});
  EXPECT_TRUE(is_refused(decode, whole));
}

TEST(ClusterMessage, BodiesComeBackAsTheyWere) {
  EXPECT_EQ(decode_ask_map(encode(ask())).value(), ask());
  EXPECT_EQ(decode_ask_map(encode(AskMap{})).value(), AskMap{}) << "a client's";
  EXPECT_EQ(decode_order(encode(order())).value(), order());
  const ChangeOrder least{.group = 1, .since = 1, .leave = 1};
  EXPECT_EQ(decode_order(encode(least)).value(), least);
  EXPECT_TRUE(is_same(decode_report(encode(Reported{report()})).value(), report()));
  const ChangeReport failed{.group = 1, .since = 1};
  EXPECT_TRUE(is_same(decode_report(encode(Reported{failed})).value(), failed));
}

TEST(ClusterMessage, BodiesAreTheGoldenFiles) {
  EXPECT_EQ(encode(ask()), store::read_golden("cluster_ask_map_v1.bin"));
  EXPECT_EQ(encode(order()), store::read_golden("cluster_order_v1.bin"));
  EXPECT_EQ(encode(Reported{report()}), store::read_golden("cluster_report_v1.bin"));
}

TEST(ClusterMessage, WhatAsksForAMapKeepsItsRules) {
  expect_cut_ones_refused(decode_ask_map, encode(ask()));
  const Bytes good = encode(ask());
  // Three groups at 16, then what it leads: at 28 the first, at 56 the second.
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 16, 0))) << "group 0";
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 16, 2))) << "the same twice";
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 20, 0))) << "not ascending";
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 28, 0))) << "leads group 0";
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 32, 0))) << "nobody votes";
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 32, 17)));
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 32, 0xFFFFFFFF)));
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 44, 0))) << "node 0";
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 44, 2))) << "the same twice";
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 12, 0xFFFF, 2)));
  EXPECT_TRUE(is_refused(decode_ask_map, with(good, 14, 0xFFFF, 2)));

  AskMap most{.life = 1};
  for (std::uint32_t group = 1; group <= cluster::kGroupsMax; ++group) {
    most.holds.push_back(group);
    most.leads.push_back({.group = group, .as_of = group});
    for (std::uint32_t node = 1; node <= cluster::kGroupMembersMax; ++node) {
      most.leads.back().members.push_back(node);
    }
  }
  EXPECT_EQ(decode_ask_map(encode(most)).value(), most);
  AskMap more = most;
  more.holds.push_back(cluster::kGroupsMax + 1);
  EXPECT_TRUE(is_refused(decode_ask_map, encode(more)));
  more = most;
  more.leads.push_back(most.leads.front());
  EXPECT_TRUE(is_refused(decode_ask_map, encode(more)));
  more = ask();
  for (std::uint32_t node = 10; more.leads.back().members.size() <= cluster::kGroupMembersMax;) {
    more.leads.back().members.push_back(node++);
  }
  EXPECT_TRUE(is_refused(decode_ask_map, encode(more)));
}

TEST(ClusterMessage, AnOrderKeepsItsRules) {
  const Bytes good = encode(order());
  constexpr std::size_t kHeadBytes = 24;
  for (std::size_t length = 0; length < kHeadBytes; ++length) {
    EXPECT_TRUE(is_refused(decode_order, base::Bytes(good).first(length))) << length;
  }
  EXPECT_EQ(decode_order(base::Bytes(good).first(kHeadBytes)).value().address, "");
  EXPECT_TRUE(is_refused(decode_order, with(good, 0, 0))) << "group 0";
  EXPECT_TRUE(is_refused(decode_order, with(good, 4, 2)));
  EXPECT_TRUE(is_refused(decode_order, with(good, 8, 0, 8))) << "of no change";
  EXPECT_TRUE(is_refused(decode_order, with(good, 8, 0xFFFFFFFF, 8))) << "no replica is named so";
  EXPECT_TRUE(is_refused(decode_order, with(good, 8, std::uint64_t{1} << 32, 8)));
  EXPECT_TRUE(decode_order(with(good, 16, 0)));
  EXPECT_TRUE(decode_order(with(good, 20, 0)));
  EXPECT_TRUE(is_refused(decode_order, with(with(good, 16, 0), 20, 0))) << "nobody";
  ChangeOrder longest = order();
  longest.address.assign(replication::kAddressBytesMax, 'x');
  EXPECT_EQ(decode_order(encode(longest)).value(), longest);
  longest.address += 'x';
  EXPECT_TRUE(is_refused(decode_order, encode(longest)));
}

TEST(ClusterMessage, AReportKeepsItsRules) {
  const Bytes good = encode(Reported{report()});
  constexpr std::size_t kHeadBytes = 24;
  for (std::size_t length = 0; length < good.size(); ++length) {
    const bool is_whole = length >= kHeadBytes && length % 4 == 0;
    EXPECT_EQ(is_refused(decode_report, base::Bytes(good).first(length)), !is_whole) << length;
  }
  EXPECT_TRUE(is_refused(decode_report, with(good, 0, 0))) << "group 0";
  EXPECT_TRUE(is_refused(decode_report, with(good, 4, 4)));
  EXPECT_TRUE(decode_report(with(good, 4, 3)).value().is_stop);
  EXPECT_TRUE(is_refused(decode_report, with(good, 8, 0, 8))) << "of no change";
  EXPECT_TRUE(is_refused(decode_report, with(good, 24, 0))) << "node 0";
  EXPECT_TRUE(is_refused(decode_report, with(good, 24, 2))) << "the same twice";
  EXPECT_TRUE(is_refused(decode_report, with(good, 32, 2))) << "not ascending";
  ChangeReport most = report();
  most.members.clear();
  for (std::uint32_t node = 1; node <= cluster::kGroupMembersMax; ++node) {
    most.members.push_back({.node = node});
  }
  EXPECT_TRUE(is_same(decode_report(encode(Reported{most})).value(), most));
  most.members.push_back({.node = cluster::kGroupMembersMax + 1});
  EXPECT_TRUE(is_refused(decode_report, encode(Reported{most})));
}

// ------------------------------------------------------------------- the next step of an order

constexpr log::Index kSince = 40;
log::ReplicaId founder(std::uint32_t node) {
  return replication::replica_of(fabric::NodeId{node}, replication::kFirstLife);
}
Change learn(log::ReplicaId id, const std::string& where) {
  return {.kind = ChangeKind::learn, .replica = id, .address = where};
}
Change vote(log::ReplicaId id, log::ReplicaId instead = {}) {
  return {.kind = ChangeKind::vote, .replica = id, .instead = instead};
}
Change leave(log::ReplicaId id) { return {.kind = ChangeKind::leave, .replica = id}; }
using Step = std::optional<Change>;

TEST(NextStep, OfAddingOne) {
  const ChangeOrder adds{.group = 2, .since = kSince, .add = 4, .address = "at"};
  const log::ReplicaId added = added_replica(4, kSince);
  EXPECT_EQ(replication::node_of(added), fabric::NodeId{4});
  EXPECT_EQ(replication::life_of(added), kSince + 1);
  log::Configuration now{.voters = {founder(1), founder(2), founder(3)}};
  EXPECT_EQ(next_step(adds, now), learn(added, "at"));
  now.learners = {added};
  EXPECT_EQ(next_step(adds, now), vote(added));
  now = {.voters = {founder(1), founder(2), founder(3), added}};
  EXPECT_EQ(next_step(adds, now), Step{}) << "it is done";
  // Another replica of that node is another one: of an earlier change, given up half-way.
  now = {.voters = {founder(1), founder(2), founder(3)}, .learners = {added_replica(4, 20)}};
  EXPECT_EQ(next_step(adds, now), learn(added, "at"));
}

TEST(NextStep, OfOneThatLeaves) {
  const ChangeOrder leaves{.group = 2, .since = kSince, .leave = 2};
  log::Configuration now{.voters = {founder(1), founder(2), founder(3)}};
  EXPECT_EQ(next_step(leaves, now), leave(founder(2)));
  now = {.voters = {founder(1), added_replica(2, 9), founder(3)}};
  EXPECT_EQ(next_step(leaves, now), leave(added_replica(2, 9))) << "whichever life of it";
  now = {.voters = {founder(1), founder(3)}, .learners = {founder(2)}};
  EXPECT_EQ(next_step(leaves, now), leave(founder(2))) << "a learner as well";
  now = {.voters = {founder(1), founder(3)}};
  EXPECT_EQ(next_step(leaves, now), Step{});
}

TEST(NextStep, OfOneInPlaceOfAnother) {
  const ChangeOrder both{.group = 2, .since = kSince, .add = 4, .address = "at", .leave = 2};
  const log::ReplicaId added = added_replica(4, kSince);
  log::Configuration now{.voters = {founder(1), founder(2), founder(3)}};
  EXPECT_EQ(next_step(both, now), learn(added, "at"));
  now.learners = {added};
  EXPECT_EQ(next_step(both, now), vote(added, founder(2)));
  now = {.voters = {founder(1), founder(2), founder(3), added}};
  EXPECT_EQ(next_step(both, now), leave(founder(2)));
  now = {.voters = {founder(1), founder(3), added}};
  EXPECT_EQ(next_step(both, now), Step{});
  now = {.voters = {founder(1), founder(3)}, .learners = {added}};
  EXPECT_EQ(next_step(both, now), vote(added)) << "it has left already";
}

TEST(NextStep, OfANodeThatLostItsDisk) {
  const ChangeOrder again{.group = 2, .since = kSince, .add = 2, .address = "at", .leave = 2};
  const log::ReplicaId added = added_replica(2, kSince);
  log::Configuration now{.voters = {founder(1), founder(2), founder(3)}};
  EXPECT_EQ(next_step(again, now), learn(added, "at"));
  now.learners = {added};
  EXPECT_EQ(next_step(again, now), vote(added, founder(2)));
  now = {.voters = {founder(1), founder(2), added, founder(3)}};
  EXPECT_EQ(next_step(again, now), leave(founder(2)));
  now = {.voters = {founder(1), added, founder(3)}};
  EXPECT_EQ(next_step(again, now), Step{}) << "the new one stays";
}

TEST(NextStep, OfStopping) {
  ChangeOrder stop{.group = 2, .since = kSince, .add = 4, .leave = 2, .is_stop = true};
  const log::ReplicaId added = added_replica(4, kSince);
  log::Configuration now{.voters = {founder(1), founder(2), founder(3)}};
  EXPECT_EQ(next_step(stop, now), Step{}) << "who was to leave stays";
  now.learners = {added};
  EXPECT_EQ(next_step(stop, now), leave(added));
  stop.leave = 0;
  EXPECT_EQ(next_step(stop, now), leave(added));
  now = {.voters = {founder(1), founder(3), added}};
  EXPECT_EQ(next_step(stop, now), Step{}) << "who votes already stays";
  now = {.voters = {founder(1), founder(2), founder(3)}, .learners = {added_replica(4, 20)}};
  EXPECT_EQ(next_step(stop, now), Step{}) << "of another change";
  now = {.voters = {founder(1), founder(2), founder(3)}, .learners = {added_replica(2, kSince)}};
  stop = {.group = 2, .since = kSince, .add = 2, .leave = 2, .is_stop = true};
  EXPECT_EQ(next_step(stop, now), leave(added_replica(2, kSince)));
  stop = {.group = 2, .since = kSince, .leave = 2, .is_stop = true};
  EXPECT_EQ(next_step(stop, now), Step{});
}

/// Whoever leads the group carries a step out, again and again, as a node does that was ordered to.
void carry_out(MemberWorld& world, const ChangeOrder& order) {
  ASSERT_TRUE(world.run([&] {
    const auto leader = world.leader();
    if (!leader) return false;
    const auto inside = world.member(*leader).inside(replication::kTestGroup);
    const auto step = next_step(order, inside->replica->last_configuration());
    if (!step) return inside->replica->settled();
    (void)world.member(*leader).change(replication::kTestGroup, *step);
    world.step();
    return false;
  }));
}
std::vector<log::ReplicaId> voters(MemberWorld& world) {
  auto all = world.status(world.lead()).configuration.voters;
  std::ranges::sort(all);
  return all;
}

TEST(NextStep, StepsAloneCarryAnOrderOutAlsoWhereTheLeaderLeaves) {
  constexpr log::Index kJoins = MemberWorld::kJoinedLife - 1;
  MemberWorld world({.members = 4, .founders = 3});
  const log::ReplicaId added = added_replica(4, kJoins);
  carry_out(world, {.group = 2, .since = kJoins, .add = 4, .address = MemberWorld::address(3)});
  EXPECT_EQ(voters(world), (std::vector{founder(1), founder(2), founder(3), added}));
  carry_out(world, {.group = 2, .since = kJoins, .leave = 4});
  EXPECT_EQ(voters(world), (std::vector{founder(1), founder(2), founder(3)}));
  const std::size_t first = world.lead();
  const auto leaves = static_cast<cluster::NodeNumber>(first + 1);
  carry_out(
      world,
      {.group = 2, .since = kJoins, .add = 4, .address = MemberWorld::address(3), .leave = leaves});
  EXPECT_NE(world.lead(), first);
  std::vector<log::ReplicaId> left{founder(1), founder(2), founder(3), added};
  std::erase(left, founder(leaves));
  EXPECT_EQ(voters(world), left);
  EXPECT_EQ(world.violation(), "");
}

}  // namespace
}  // namespace dolmen::node
