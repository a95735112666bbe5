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

  RootReply apply(const RootCommand& command, ClientNumber client = 0) {
    return state.apply(++index, command, client);
  }

  /// Nodes 1 to `nodes`; the root group on the first `founders` of them.
  void begin(std::size_t nodes, std::size_t founders = 3, std::uint32_t size = 3,
             const NodeIdentity& owner = {}) {
    root::Init init{.cluster = kTestCluster, .owner = owner, .size = size};
    for (std::size_t i = 1; i <= founders; ++i) init.nodes.push_back(founder(i));
    ASSERT_EQ(apply(init), RootReply{RootStatus::done});
    for (std::size_t i = founders + 1; i <= nodes; ++i) {
      const root::Founder one = founder(i);
      if (owner != NodeIdentity{}) {
        ASSERT_EQ(apply(token(i)).status, RootStatus::done);
        ASSERT_EQ(apply(join(i)), (RootReply{RootStatus::done, i}));
        continue;
      }
      const RootReply reply = apply(root::AddNode{one.name, one.address, one.identity});
      ASSERT_EQ(reply, (RootReply{RootStatus::done, i}));
    }
  }
  static root::Founder founder(std::size_t number) {
    return {.name = "n" + std::to_string(number),
            .address = "10.0.0." + std::to_string(number) + ":7400",
            .identity = identity(static_cast<std::uint8_t>(number))};
  }
  /// That lets this node join; its key follows from the number, as the node's does.
  static root::AddClient token(std::size_t node) {
    return {.client = kTokenNumbers + static_cast<ClientNumber>(node),
            .name = "token",
            .key = identity(static_cast<std::uint8_t>(0x80 + node)),
            .expires_s = 2'000'000'000};
  }
  static root::Join join(std::size_t node) {
    const root::Founder one = founder(node);
    return {.token = kTokenNumbers + static_cast<ClientNumber>(node),
            .name = one.name,
            .address = one.address,
            .identity = one.identity};
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
  history.begin(5, 3, 3, identity(0xEE));
  history.apply(RootHistory::token(6));
  history.apply(RootHistory::join(6));
  history.create(3, "accounts");
  const RootReply index = history.apply(root::CreateGroup{GroupKind::index, "", 2});
  history.apply(root::AssignShard{0, static_cast<GroupNumber>(index.value)});
  history.apply(root::SetLife{1, 77});
  history.apply(root::NodeLost{3});
  history.apply(root::Drain{4});
  history.apply(root::RemoveNode{6});
  history.apply(root::BeginChange{.group = kRootGroup, .add = 5, .leave = 3});
  root::AddClient web{.client = 1,
                      .name = "web",
                      .key = identity(0xC1),
                      .rights = ClientRights::owner,
                      .groups_max = 20};
  history.apply(web);
  web.generation = 2;
  web.groups_max = 10;
  history.apply(web);
  history.apply(root::AddClient{.client = 9, .name = "former", .key = identity(0xC9)});
  history.apply(root::RevokeClient{.client = 9});
  history.apply(RootHistory::token(7));
  // An index of two shards, of which one is being changed, and an ordered one of three.
  const RootReply first = history.apply(root::CreateIndex{.name = "years",
                                                          .size = 2,
                                                          .shards = 2,
                                                          .seed = 0x0102030405060708,
                                                          .bucket_bytes = 4096,
                                                          .record_bytes = 65536});
  history.apply(root::CreateIndex{.name = "names",
                                  .size = 2,
                                  .shards = 3,
                                  .bucket_bytes = 4096,
                                  .record_bytes = 65536,
                                  .table = TableKind::ordered,
                                  .splits = {"g", std::string("p\0\xFF", 3)}},
                1);
  const auto changed = static_cast<GroupNumber>(first.value);
  NodeNumber added = 1;
  while (history.group(changed).members.contains(added) || !history.state.is_available(added)) {
    ++added;
  }
  history.apply(
      root::BeginChange{.group = changed, .add = added, .leave = history.members(changed).front()});
  return history.state;
}

}  // namespace dolmen::cluster
