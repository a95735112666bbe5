// SPDX-License-Identifier: Apache-2.0
//
// Who may join and connect, as the root group keeps it. Signatures: node/cluster_identity_test.cpp.
#include <gtest/gtest.h>

#include "cluster/root_fixture.hpp"

namespace dolmen::cluster {
namespace {

class RootKeys : public ::testing::Test {
 protected:
  RootKeys() { history_.begin(3, 3, 3, identity(0xEE)); }
  RootReply apply(const RootCommand& command) { return history_.apply(command); }
  static root::AddClient client(ClientNumber number, const std::string& name) {
    return {.client = number, .name = name, .key = identity(static_cast<std::uint8_t>(number))};
  }

  RootHistory history_;
};

TEST_F(RootKeys, ATokenReservesTheNextNumberAndIsUsedOnceByOneKey) {
  EXPECT_EQ(apply(RootHistory::join(4)).status, RootStatus::unknown_token);
  EXPECT_EQ(apply(RootHistory::token(5)), (RootReply{RootStatus::outdated, 4}));
  EXPECT_EQ(apply(RootHistory::token(4)).status, RootStatus::done);
  EXPECT_EQ(apply(RootHistory::token(4)).status, RootStatus::unchanged);
  EXPECT_EQ(apply(RootHistory::token(5)).status, RootStatus::done) << "4 is given away";
  EXPECT_EQ(apply(RootHistory::join(5)), (RootReply{RootStatus::done, 5}));
  EXPECT_EQ(apply(RootHistory::join(5)), (RootReply{RootStatus::unchanged, 5})) << "after a crash";
  root::Join thief = RootHistory::join(5);
  thief.identity = identity(0x77);
  thief.name = "thief";
  EXPECT_EQ(apply(thief), (RootReply{RootStatus::token_used, 5}));
  EXPECT_EQ(apply(RootHistory::join(4)), (RootReply{RootStatus::done, 4}));
  EXPECT_EQ(apply(root::RemoveNode{5}).status, RootStatus::done);
  EXPECT_EQ(apply(RootHistory::join(5)).status, RootStatus::token_used) << "it does not come back";
  EXPECT_EQ(apply(RootHistory::token(5)).status, RootStatus::name_taken);
  EXPECT_EQ(decode_root(encode_root(history_.state)), history_.state);
}

TEST_F(RootKeys, NobodyJoinsWithoutATokenNorWithAKeyThatIsTaken) {
  const root::Founder one = RootHistory::founder(4);
  EXPECT_EQ(apply(root::AddNode{one.name, one.address, one.identity}).status,
            RootStatus::not_signed);
  ASSERT_EQ(apply(RootHistory::token(4)).status, RootStatus::done);
  for (const int taken : {0, 1, 0xEE, 0x84}) {
    root::Join join = RootHistory::join(4);
    join.identity = identity(static_cast<std::uint8_t>(taken));
    EXPECT_EQ(apply(join).status, taken == 0 ? RootStatus::invalid : RootStatus::identity_taken);
  }
  root::Join named = RootHistory::join(4);
  named.name = "n1";
  EXPECT_EQ(apply(named).status, RootStatus::name_taken);
  EXPECT_EQ(apply(RootHistory::join(4)).status, RootStatus::done) << "it is not used up by that";
}

TEST_F(RootKeys, AClientIsAddedOnceAndRevokedForEver) {
  EXPECT_EQ(apply(client(0x40, "web")).status, RootStatus::done);
  EXPECT_EQ(apply(client(0x40, "web")).status, RootStatus::unchanged);
  EXPECT_EQ(apply(client(0x41, "web")).status, RootStatus::name_taken);
  root::AddClient same = client(0x41, "other");
  same.key = identity(0x40);
  EXPECT_EQ(apply(same).status, RootStatus::identity_taken);
  root::AddClient eternal = RootHistory::token(4);
  eternal.expires_s = 0;
  EXPECT_EQ(apply(eternal).status, RootStatus::invalid) << "a token that does not expire";
  EXPECT_EQ(apply(root::RevokeClient{0x42}).status, RootStatus::unknown_client);
  EXPECT_EQ(apply(root::RevokeClient{0x40}).status, RootStatus::done);
  EXPECT_EQ(apply(root::RevokeClient{0x40}).status, RootStatus::unchanged);
  EXPECT_EQ(apply(client(0x40, "web")).status, RootStatus::name_taken) << "what was signed once";
  EXPECT_EQ(history_.state.client_named("web"), 0u);
  EXPECT_EQ(apply(client(0x41, "web")).status, RootStatus::done) << "with another key";
  EXPECT_EQ(apply(root::AddClient{.client = 1, .name = "x", .key = {}}).status,
            RootStatus::invalid);
}

TEST_F(RootKeys, BeyondAllTokensTheOldestIsForgotten) {
  for (std::size_t i = 0; i <= kRootTokensMax; ++i) {
    root::AddClient token = RootHistory::token(4 + i);
    token.key = {};
    token.key[0] = std::byte{1};
    token.key[1] = static_cast<std::byte>(i);
    token.key[2] = static_cast<std::byte>(i >> 8);
    ASSERT_EQ(apply(token).status, RootStatus::done) << i;
  }
  EXPECT_EQ(history_.state.clients().size(), kRootTokensMax);
  EXPECT_EQ(apply(RootHistory::join(4)).status, RootStatus::unknown_token);
  EXPECT_EQ(apply(RootHistory::join(5)).status, RootStatus::done);
}

TEST_F(RootKeys, RightsAreGivenAnewInTheNextGeneration) {
  root::AddClient web = client(0x40, "web");
  ASSERT_EQ(apply(web).status, RootStatus::done);
  EXPECT_EQ(history_.state.clients().at(0x40).rights, ClientRights::none) << "who says nothing";
  const root::AddClient first = web;
  web.rights = ClientRights::owner;
  EXPECT_EQ(apply(web), (RootReply{RootStatus::outdated, 1})) << "in the same generation";
  web.generation = 3;
  EXPECT_EQ(apply(web), (RootReply{RootStatus::outdated, 1}));
  web.generation = 0;
  EXPECT_EQ(apply(web).status, RootStatus::invalid);
  web.generation = 2;
  root::AddClient other = web;
  other.key = identity(0x41);
  EXPECT_EQ(apply(other).status, RootStatus::name_taken) << "another key";
  other = web;
  other.name = "bew";
  EXPECT_EQ(apply(other).status, RootStatus::name_taken);
  EXPECT_EQ(apply(web).status, RootStatus::done);
  EXPECT_EQ(apply(web).status, RootStatus::unchanged);
  EXPECT_EQ(history_.state.clients().at(0x40).rights, ClientRights::owner);
  // What the owner signed once is not good once more.
  const root::AddClient granted = web;
  web.rights = ClientRights::none;
  web.generation = 3;
  EXPECT_EQ(apply(web).status, RootStatus::last_client);
  EXPECT_EQ(apply(root::RevokeClient{0x40}).status, RootStatus::last_client);
  root::AddClient boss = client(0x50, "boss");
  boss.rights = ClientRights::owner;
  EXPECT_EQ(apply(boss).status, RootStatus::done);
  EXPECT_EQ(apply(web).status, RootStatus::done);
  EXPECT_EQ(apply(granted).status, RootStatus::outdated);
  EXPECT_EQ(apply(first).status, RootStatus::outdated);
  EXPECT_EQ(history_.state.clients().at(0x40).rights, ClientRights::none);
  EXPECT_EQ(decode_root(encode_root(history_.state)), history_.state);
  EXPECT_EQ(apply(root::RevokeClient{0x40}).status, RootStatus::done);
  EXPECT_EQ(apply(root::RevokeClient{0x50}).status, RootStatus::last_client);
  web.rights = ClientRights::owner;
  web.generation = 4;
  EXPECT_EQ(apply(web).status, RootStatus::name_taken) << "it does not come back";
  other = client(0x42, "new");
  other.generation = 2;
  EXPECT_EQ(apply(other).status, RootStatus::outdated);
  root::AddClient token = RootHistory::token(4);
  token.rights = ClientRights::owner;
  EXPECT_EQ(apply(token).status, RootStatus::invalid);
}

TEST_F(RootKeys, AClientMakesAsManyGroupsAsItMay) {
  root::AddClient web = client(0x40, "web");
  web.rights = ClientRights::owner;
  web.groups_max = 3;
  ASSERT_EQ(apply(web).status, RootStatus::done);
  const auto create = [&](const std::string& name, ClientNumber who) {
    return history_.apply(root::CreateGroup{GroupKind::space, name, 1}, who);
  };
  const auto index = [&](const std::string& name, std::uint32_t shards) {
    return history_.apply(
        root::CreateIndex{
            .name = name, .size = 1, .shards = shards, .bucket_bytes = 4096, .record_bytes = 4096},
        0x40);
  };
  EXPECT_EQ(create("a", 0x40).status, RootStatus::done);
  EXPECT_EQ(create("a", 0x40).status, RootStatus::name_taken) << "it is there";
  const RootState before = history_.state;
  EXPECT_EQ(index("i", 4), (RootReply{RootStatus::too_many, 3})) << "no part of it either";
  EXPECT_EQ(history_.state, before);
  EXPECT_EQ(index("i", 2).status, RootStatus::done);
  EXPECT_EQ(index("i", 2).status, RootStatus::unchanged);
  EXPECT_EQ(create("b", 0x40), (RootReply{RootStatus::too_many, 3}));
  EXPECT_EQ(create("b", 0).status, RootStatus::done) << "a node does not count";
  web.generation = 2;
  web.groups_max = 4;
  ASSERT_EQ(apply(web).status, RootStatus::done);
  EXPECT_EQ(create("c", 0x40).status, RootStatus::done);
  EXPECT_EQ(create("d", 0x40).status, RootStatus::too_many);
  EXPECT_EQ(history_.apply(root::CreateDirectory{.bits = 1, .size = 1}, 0x40),
            (RootReply{RootStatus::too_many, 4}));
  EXPECT_EQ(history_.apply(root::CreateDirectory{.bits = 1, .size = 1}, 0).status,
            RootStatus::done);
  EXPECT_EQ(history_.apply(root::CreateDirectory{.bits = 1, .size = 1}, 0x40).status,
            RootStatus::unchanged);
  const RootState& state = history_.state;
  EXPECT_EQ(state.group(state.group_named("b"))->maker, 0u);
  EXPECT_EQ(state.group(state.group_named("c"))->maker, 0x40u);
}

TEST_F(RootKeys, ANameThatIsGivenUpIsFree) {
  const auto number =
      static_cast<GroupNumber>(apply(root::CreateGroup{GroupKind::space, "web", 1}).value);
  const auto index =
      static_cast<GroupNumber>(apply(root::CreateGroup{GroupKind::index, "people", 1}).value);
  EXPECT_EQ(apply(root::ReleaseName{number, "bew"}).status, RootStatus::outdated);
  EXPECT_EQ(apply(root::ReleaseName{99, "web"}).status, RootStatus::unknown_group);
  EXPECT_EQ(apply(root::ReleaseName{index, "people"}).status, RootStatus::wrong_kind);
  EXPECT_EQ(apply(root::ReleaseName{kRootGroup, "root"}).status, RootStatus::wrong_kind);
  EXPECT_EQ(apply(root::ReleaseName{number, "web"}), (RootReply{RootStatus::done, number}));
  EXPECT_EQ(apply(root::ReleaseName{number, "web"}).status, RootStatus::unchanged);
  EXPECT_EQ(history_.state.group_named("web"), 0u);
  ASSERT_NE(history_.state.group(number), nullptr) << "it stays";
  const RootReply again = apply(root::CreateGroup{GroupKind::space, "web", 1});
  EXPECT_EQ(again.status, RootStatus::done);
  EXPECT_NE(again.value, number);
  EXPECT_EQ(decode_root(encode_root(history_.state)), history_.state);
}

TEST_F(RootKeys, AClientTakesNoShardFromTheGroupThatServesIt) {
  const auto group = [&](const std::string& name) {
    return static_cast<GroupNumber>(apply(root::CreateGroup{GroupKind::index, name, 1}).value);
  };
  const GroupNumber one = group("one");
  const GroupNumber two = group("two");
  const auto assign = [&](GroupNumber to, ClientNumber who) {
    return history_.apply(root::AssignShard{0, to}, who);
  };
  EXPECT_EQ(assign(one, 9).status, RootStatus::done);
  EXPECT_EQ(assign(one, 9).status, RootStatus::unchanged);
  EXPECT_EQ(assign(two, 9), (RootReply{RootStatus::shard_taken, one}));
  EXPECT_EQ(assign(0, 9), (RootReply{RootStatus::shard_taken, one}));
  EXPECT_EQ(assign(two, 0).status, RootStatus::done);
}

TEST_F(RootKeys, WhereNobodyHasAKeyClientsAreKnownByTheirNumberAlone) {
  RootHistory plain;
  plain.begin(3);
  EXPECT_EQ(plain.apply(client(0x40, "web")).status, RootStatus::done);
  EXPECT_EQ(decode_root(encode_root(plain.state)), plain.state);
  EXPECT_EQ(plain.apply(RootHistory::join(4)).status, RootStatus::unknown_token);
}

}  // namespace
}  // namespace dolmen::cluster
