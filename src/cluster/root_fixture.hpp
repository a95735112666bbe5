// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the root group share.
#pragma once

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/mail_fixture.hpp"
#include "cluster/root.hpp"

namespace dolmen::cluster {

inline constexpr ObjectId kTestCluster{.high = 0xC1, .low = 0x57E2};

inline NodeIdentity identity(std::uint8_t of) {
  NodeIdentity all{};
  all.fill(static_cast<std::byte>(of));
  return all;
}

/// A root group that tests drive entry by entry.
struct RootHistory {
  RootState state{};
  log::Index index = 0;

  RootReply apply(const RootCommand& command) { return state.apply(++index, command); }

  /// Nodes 1 to `nodes`; the root group on the first `founders` of them.
  void begin(std::size_t nodes, std::size_t founders = 3, std::uint32_t size = 3) {
    root::Init init{.cluster = kTestCluster, .size = size};
    for (std::size_t i = 1; i <= founders; ++i) init.nodes.push_back(founder(i));
    ASSERT_EQ(apply(init), RootReply{RootStatus::done});
    for (std::size_t i = founders + 1; i <= nodes; ++i) {
      const root::Founder one = founder(i);
      const RootReply reply = apply(root::AddNode{one.name, one.address, one.identity});
      ASSERT_EQ(reply, (RootReply{RootStatus::done, i}));
    }
  }
  static root::Founder founder(std::size_t number) {
    return {.name = "n" + std::to_string(number),
            .address = "10.0.0." + std::to_string(number) + ":7400",
            .identity = identity(static_cast<std::uint8_t>(number))};
  }
  GroupNumber create(std::uint32_t size, const std::string& name = {}) {
    const RootReply reply = apply(root::CreateGroup{GroupKind::space, name, size});
    EXPECT_EQ(reply.status, RootStatus::done) << text(reply.status);
    return static_cast<GroupNumber>(reply.value);
  }
  [[nodiscard]] const RootGroup& group(GroupNumber number) const {
    return state.groups().at(number);
  }
  [[nodiscard]] std::vector<NodeNumber> members(GroupNumber number) const {
    std::vector<NodeNumber> all;
    for (const auto& [member, life] : group(number).members) all.push_back(member);
    return all;
  }
  /// The change that is under way succeeds.
  void finish(GroupNumber number) {
    ASSERT_TRUE(group(number).change);
    const auto [add, add_life, leave, since] = *group(number).change;
    std::set<NodeNumber> behind;
    for (const NodeNumber member : members(number)) behind.insert(member);
    if (add != leave) behind.erase(leave);
    if (add != 0) behind.insert(add);
    root::EndChange end{
        .group = number, .since = since, .as_of = group(number).as_of + 2, .is_done = true};
    for (const NodeNumber member : behind) end.members.push_back({member});
    const RootReply reply = apply(end);
    ASSERT_EQ(reply.status, RootStatus::done) << text(reply.status);
  }
};

/// One of everything that a state can hold.
inline RootState rich_root_state() {
  RootHistory history;
  history.begin(5);
  history.apply(root::AddNode{"spare", "[2001:db8::1]:7400", {}, 7});
  history.create(3, "accounts");
  const RootReply index = history.apply(root::CreateGroup{GroupKind::index, "", 2});
  history.apply(root::AssignShard{0, static_cast<GroupNumber>(index.value)});
  history.apply(root::SetLife{1, 77});
  history.apply(root::NodeLost{3});
  history.apply(root::Drain{4});
  history.apply(root::RemoveNode{6});
  history.apply(root::BeginChange{.group = kRootGroup, .add = 5, .leave = 3});
  return history.state;
}

/// … with an index of two shards, of which one is being changed.
inline RootState indexed_root_state() {
  RootHistory history;
  history.begin(4);
  history.create(3, "accounts");
  history.apply(root::CreateIndex{.name = "years",
                                  .size = 3,
                                  .shards = 2,
                                  .seed = 0x0102030405060708,
                                  .bucket_bytes = 4096,
                                  .record_bytes = 65536});
  const NodeNumber leaves = history.members(3).front();
  NodeNumber added = 1;
  while (history.group(3).members.contains(added)) ++added;
  history.apply(root::BeginChange{.group = 3, .add = added, .leave = leaves});
  return history.state;
}

}  // namespace dolmen::cluster
