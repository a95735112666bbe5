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

TEST_F(RootKeys, WhereNobodyHasAKeyThereAreNoClients) {
  RootHistory plain;
  plain.begin(3);
  EXPECT_EQ(plain.apply(client(1, "web")).status, RootStatus::not_signed);
  EXPECT_EQ(plain.apply(RootHistory::join(4)).status, RootStatus::unknown_token);
}

}  // namespace
}  // namespace dolmen::cluster
