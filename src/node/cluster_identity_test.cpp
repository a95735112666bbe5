// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_identity.hpp"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "node/cluster_rights.hpp"
#include "node/mail_part.hpp"
#include "node/replicated_group.hpp"
#include "node/root_machine.hpp"
#include "replication/envelope.hpp"
#include "security/test_cluster.hpp"

namespace dolmen::node {
namespace {

using cluster::RootStatus;
using security::Role;

cluster::NodeIdentity identity_of(const security::Key& key) {
  cluster::NodeIdentity identity{};
  std::ranges::copy(key.public_key().bytes, identity.begin());
  return identity;
}

class ClusterIdentity : public ::testing::Test {
 protected:
  ClusterIdentity() {
    EXPECT_TRUE(security::prepare());
    cluster::root::Init init{.cluster = object_id(keys_.id), .owner = identity_of(keys_.owner)};
    init.nodes.push_back(
        {.name = "node-1", .address = "a:1", .identity = identity_of(keys_.node(1))});
    init.clients.push_back({.client = 1, .name = "client-1", .key = identity_of(keys_.client(1))});
    EXPECT_EQ(apply(init), RootStatus::done);
  }
  RootStatus apply(const cluster::RootCommand& command) {
    const auto reply =
        cluster::decode_root_reply(machine_.apply_at(++index_, cluster::encode(command)));
    return reply.value().status;
  }
  RootStatus remove(std::uint32_t node) {
    cluster::root::RemoveNode command{node};
    sign(command, keys_.owner);
    return apply(command);
  }
  [[nodiscard]] security::JoinToken token(std::uint32_t node) const {
    return {.cluster = keys_.id,
            .owner = keys_.owner.public_key(),
            .identity = {Role::node, node},
            .expiry_s = 100,
            .secret = security::filled_secret(static_cast<unsigned char>(0x90 + node)),
            .nodes = {{.number = 1, .key = keys_.node(1).public_key(), .address = "a:1"}}};
  }
  [[nodiscard]] static cluster::root::AddClient added(const security::JoinToken& token) {
    const security::Key key = key_of(token).value();
    return {.client = key.identity().number,
            .name = "token",
            .key = identity_of(key),
            .expires_s = token.expiry_s};
  }
  [[nodiscard]] bool trusts(const security::Key& key, std::uint64_t now_s = 0,
                            bool with_removed = false) const {
    return trust_of(machine_.state(), keys_.owner, now_s, with_removed)
        ->trusts(key.identity(), key.public_key());
  }

  const security::TestCluster keys_;
  RootMachine machine_;
  std::uint64_t index_ = 0;
};

TEST_F(ClusterIdentity, NoKeyIsTakenWithoutTheOwnersSignature) {
  const security::Key web = keys_.key({Role::client, 7}, 0x70);
  cluster::root::AddClient command{.client = 7, .name = "web", .key = identity_of(web)};
  EXPECT_EQ(apply(command), RootStatus::not_signed);
  sign(command, keys_.client(1));
  EXPECT_EQ(apply(command), RootStatus::not_signed) << "a client makes no clients";
  sign(command, keys_.node(1));
  EXPECT_EQ(apply(command), RootStatus::not_signed) << "nor does a node";
  sign(command, security::TestCluster(0xC2).owner);
  EXPECT_EQ(apply(command), RootStatus::not_signed) << "nor another owner";
  sign(command, keys_.owner);
  auto changed = command;
  changed.client = 8;
  EXPECT_EQ(apply(changed), RootStatus::not_signed) << "what was not signed";
  EXPECT_FALSE(trusts(web));
  EXPECT_EQ(apply(command), RootStatus::done);
  EXPECT_TRUE(trusts(web));
  cluster::root::RevokeClient revoked{7};
  EXPECT_EQ(apply(revoked), RootStatus::not_signed);
  sign(revoked, keys_.client(1));
  EXPECT_EQ(apply(revoked), RootStatus::not_signed) << "a client revokes nobody";
  sign(revoked, keys_.owner);
  auto other = revoked;
  other.client = 1;
  EXPECT_EQ(apply(other), RootStatus::not_signed) << "somebody else under the signature";
  EXPECT_TRUE(trusts(web));
  EXPECT_EQ(apply(revoked), RootStatus::done);
  EXPECT_FALSE(trusts(web));
  EXPECT_TRUE(trusts(keys_.client(1)));
}

TEST_F(ClusterIdentity, WhoJoinsHoldsTheTokenAndIsTrustedUntilRemoved) {
  const security::JoinToken its = token(2);
  const security::Key key = key_of(its).value();
  const security::Key node = keys_.node(2);
  cluster::root::AddClient command = added(its);
  sign(command, keys_.owner);
  ASSERT_EQ(apply(command), RootStatus::done);
  EXPECT_TRUE(trusts(key, 99));
  EXPECT_FALSE(trusts(key, 100)) << "it has expired";
  cluster::root::Join join{.token = key.identity().number,
                           .name = "node-2",
                           .address = "a:2",
                           .identity = identity_of(node)};
  EXPECT_EQ(apply(join), RootStatus::not_signed);
  sign(join, key_of(token(3)).value());
  EXPECT_EQ(apply(join), RootStatus::not_signed) << "another token";
  sign(join, key);
  auto stolen = join;
  stolen.identity = identity_of(keys_.node(9));
  EXPECT_EQ(apply(stolen), RootStatus::not_signed) << "another node's key under the signature";
  EXPECT_FALSE(trusts(node));
  EXPECT_EQ(apply(join), RootStatus::done);
  EXPECT_TRUE(trusts(node));
  sign(stolen, key);
  EXPECT_EQ(apply(stolen), RootStatus::token_used);
  EXPECT_TRUE(trusts(key, 99)) << "so that whoever comes again is told";
  cluster::root::RemoveNode removed{2};
  EXPECT_EQ(apply(removed), RootStatus::not_signed);
  sign(removed, keys_.node(1));
  EXPECT_EQ(apply(removed), RootStatus::not_signed) << "a node removes no other";
  EXPECT_TRUE(trusts(node));
  ASSERT_EQ(remove(2), RootStatus::done);
  EXPECT_FALSE(trusts(node));
  EXPECT_TRUE(trusts(node, 0, true)) << "while it is told";
}

TEST_F(ClusterIdentity, ATokenTrustsItsNodesAloneAndIsAClient) {
  const auto trust = trust_of(token(2));
  EXPECT_TRUE(trust->trusts({Role::node, 1}, keys_.node(1).public_key()));
  EXPECT_FALSE(trust->trusts({Role::node, 2}, keys_.node(2).public_key()));
  EXPECT_EQ(trust->entries().size(), 1u);
  const security::Key key = key_of(token(2)).value();
  EXPECT_EQ(key.identity(), (security::Identity{Role::client, cluster::kTokenNumbers + 2}));
  EXPECT_EQ(client_number(endpoint_name(key).node), cluster::kTokenNumbers + 2);
  EXPECT_EQ(client_number(fabric::NodeId{2}), std::nullopt);
  EXPECT_FALSE(key_of(token(cluster::kTokenNumbers)));
}

// Of whatever a node may be told, with a body or without: what is of nodes is heard from no client.
TEST_F(ClusterIdentity, AClientDoesNotPassForANode) {
  using replication::EnvelopeKind;
  // Members of a cluster's groups are changed by the root group; where nobody has a key, by all.
  const std::set<EnvelopeKind> of_clients{
      EnvelopeKind::request,    EnvelopeKind::ask_status,   EnvelopeKind::ask_roster,
      EnvelopeKind::ask_map,    EnvelopeKind::read_request, EnvelopeKind::ask_copy,
      EnvelopeKind::ask_memory, EnvelopeKind::ask_metrics,  EnvelopeKind::ask_entries,
      EnvelopeKind::ask_lease,  EnvelopeKind::ask_outcome};
  const auto request =
      replication::encode(replication::Request{.number = 1, .session = 2, .sequence = 1});
  const fabric::NodeName node{.node = fabric::NodeId{1}, .incarnation = 1};
  const fabric::NodeName client{.node = fabric::client_node(1, 5), .incarnation = 1};
  for (int kind = 1; kind < 256; ++kind) {
    const replication::Envelope envelope{.kind = static_cast<EnvelopeKind>(kind),
                                         .group = group_of(2)};
    EXPECT_TRUE(may_say(machine_.state(), true, 0, node, envelope, {}));
    const bool may = of_clients.contains(envelope.kind);
    EXPECT_EQ(may_say(machine_.state(), true, 0, client, envelope, request), may) << kind;
    EXPECT_EQ(may_say(machine_.state(), false, 0, client, envelope, request),
              may || envelope.kind == EnvelopeKind::change)
        << kind;
  }
}

// What whoever leads the root finds out or decides is no wish: with it one client could have every
// group's replicas thrown away.
TEST_F(ClusterIdentity, AClientDoesNotSpeakForTheRootsLeader) {
  const fabric::NodeName client{.node = fabric::client_node(1, 5), .incarnation = 1};
  const fabric::NodeName node{.node = fabric::NodeId{1}, .incarnation = 1};
  const std::vector<std::pair<cluster::RootCommand, bool>> kinds{
      {cluster::root::Init{}, false},       {cluster::root::AddNode{}, true},
      {cluster::root::SetAddress{}, false}, {cluster::root::NodeLost{}, false},
      {cluster::root::NodeBack{}, false},   {cluster::root::SetLife{}, false},
      {cluster::root::Drain{}, true},       {cluster::root::Undrain{}, true},
      {cluster::root::RemoveNode{}, true},  {cluster::root::CreateGroup{}, true},
      {cluster::root::SetSize{}, true},     {cluster::root::BeginChange{}, false},
      {cluster::root::EndChange{}, false},  {cluster::root::AssignShard{}, true},
      {cluster::root::AddClient{}, true},   {cluster::root::RevokeClient{}, true},
      {cluster::root::Join{}, true},        {cluster::root::CreateIndex{}, true},
      {cluster::root::ReleaseName{}, true}, {cluster::root::CreateDirectory{}, true}};
  ASSERT_EQ(kinds.size(), std::variant_size_v<cluster::RootCommand>)
      << "may clients say the new one? (cluster_rights.cpp)";
  for (const auto& [command, may] : kinds) {
    const auto said = cluster::encode(command);
    const auto body = replication::encode(
        replication::Request{.number = 1, .session = 2, .sequence = 1, .command = said});
    const replication::Envelope envelope{.kind = replication::EnvelopeKind::request,
                                         .group = group_of(cluster::kRootGroup)};
    EXPECT_EQ(may_say(machine_.state(), true, 0, client, envelope, body), may) << command.index();
    EXPECT_TRUE(may_say(machine_.state(), true, 0, node, envelope, body)) << command.index();
  }
}

// What a courier has kept is its node's to propose, by a number that is easily guessed.
TEST_F(ClusterIdentity, AClientDoesNotProposeAMailThatArrived) {
  MailPart part(group_of(2), {});
  const auto kept = part.keep({});
  const auto may = [&](base::Bytes command) {
    const auto body = replication::encode(
        replication::Request{.number = 1, .session = 2, .sequence = 1, .command = command});
    return may_say(machine_.state(), true, 0, {.node = fabric::client_node(1, 5), .incarnation = 1},
                   {.kind = replication::EnvelopeKind::request, .group = group_of(2)}, body);
  };
  EXPECT_FALSE(may(kept));
  EXPECT_TRUE(may(base::Bytes(kept).first(15)));
}

// While it hears that it was removed it is still connected, and whoever has its key may be an
// enemy.
TEST_F(ClusterIdentity, ANodeThatWasRemovedAsksForTheMapAndSaysNothingElse) {
  using replication::EnvelopeKind;
  const security::JoinToken its = token(2);
  cluster::root::AddClient command = added(its);
  sign(command, keys_.owner);
  ASSERT_EQ(apply(command), RootStatus::done);
  cluster::root::Join join{.token = command.client,
                           .name = "node-2",
                           .address = "a:2",
                           .identity = identity_of(keys_.node(2))};
  sign(join, key_of(its).value());
  ASSERT_EQ(apply(join), RootStatus::done);
  const auto may = [&](EnvelopeKind kind, std::uint64_t node) {
    return may_say(machine_.state(), true, 0, {.node = fabric::NodeId{node}, .incarnation = 1},
                   {.kind = kind, .group = group_of(cluster::kRootGroup)}, {});
  };
  EXPECT_TRUE(may(EnvelopeKind::map, 2));
  ASSERT_EQ(remove(2), RootStatus::done);
  for (int kind = 1; kind < 256; ++kind) {
    const auto one = static_cast<EnvelopeKind>(kind);
    EXPECT_EQ(may(one, 2), one == EnvelopeKind::ask_map) << kind;
    EXPECT_TRUE(may(one, 1)) << kind;
    EXPECT_TRUE(may(one, 3)) << kind << ": the map here may be older than the node";
  }
}

TEST_F(ClusterIdentity, WhatAClientMayIsWhatTheOwnerSignedLast) {
  using replication::Right;
  constexpr auto kWhole = replication::kWholeCluster;
  const auto right = [&](std::uint32_t number, const replication::Capability& shown,
                         bool has_owner = true) {
    return right_of(machine_.state(), has_owner,
                    {.node = fabric::client_node(number, 5), .incarnation = 1}, shown);
  };
  EXPECT_EQ(right_of(cluster::RootState{}, true,
                     {.node = fabric::client_node(1, 5), .incarnation = 1}, {kWhole, 1}),
            Right::stale)
      << "a node that has no map yet";
  // Of the beginning.
  EXPECT_EQ(handle_of(machine_.state(), 1), (replication::Capability{kWhole, 1}));
  EXPECT_EQ(right(1, {kWhole, 1}), Right::held);
  EXPECT_EQ(right(1, {}), Right::none) << "what is not shown is not there";
  EXPECT_EQ(right(1, {kWhole + 1, 1}), Right::none) << "there is no such one";
  EXPECT_EQ(right(1, {kWhole, 2}), Right::stale);
  EXPECT_EQ(right(8, {kWhole, 1}), Right::none) << "nobody knows it";
  EXPECT_EQ(right(8, {}, false), Right::held) << "where nobody has a key";
  EXPECT_EQ(right_of(machine_.state(), true, {.node = fabric::NodeId{1}, .incarnation = 1}, {}),
            Right::held)
      << "a node";
  const security::Key web = keys_.key({Role::client, 7}, 0x70);
  cluster::root::AddClient command{.client = 7, .name = "web", .key = identity_of(web)};
  sign(command, keys_.owner);
  ASSERT_EQ(apply(command), RootStatus::done);
  EXPECT_EQ(handle_of(machine_.state(), 7), replication::Capability{});
  EXPECT_EQ(right(7, {kWhole, 1}), Right::none);
  command.rights = cluster::ClientRights::owner;
  command.generation = 2;
  EXPECT_EQ(apply(command), RootStatus::not_signed) << "what was signed had no such right";
  sign(command, keys_.client(1));
  EXPECT_EQ(apply(command), RootStatus::not_signed) << "an owner's client gives no rights";
  sign(command, keys_.owner);
  ASSERT_EQ(apply(command), RootStatus::done);
  EXPECT_EQ(right(7, {kWhole, 1}), Right::stale);
  EXPECT_EQ(right(7, handle_of(machine_.state(), 7)), Right::held);
  cluster::root::RevokeClient revoked{7};
  sign(revoked, keys_.owner);
  ASSERT_EQ(apply(revoked), RootStatus::done);
  EXPECT_EQ(right(7, {kWhole, 2}), Right::none) << "while it is connected yet";
  EXPECT_EQ(holder_of({.node = fabric::client_node(7, 5), .incarnation = 1}), 7u);
  EXPECT_EQ(holder_of({.node = fabric::client_node(7, 6), .incarnation = 1}), 7u);
  EXPECT_EQ(holder_of({.node = fabric::NodeId{7}, .incarnation = 1}), 0u);
}

TEST_F(ClusterIdentity, WhoHasATokenMayJoinWithItUntilItExpiresAndNothingElse) {
  using replication::EnvelopeKind;
  const security::JoinToken its = token(2);
  cluster::root::AddClient command = added(its);
  sign(command, keys_.owner);
  ASSERT_EQ(apply(command), RootStatus::done);
  const fabric::NodeName holder{.node = fabric::client_node(command.client, 5), .incarnation = 1};
  const fabric::NodeName client{.node = fabric::client_node(1, 5), .incarnation = 1};
  const auto may = [&](const fabric::NodeName& who, const cluster::RootCommand& what,
                       std::uint64_t now_s = 0, std::uint64_t group = cluster::kRootGroup) {
    const auto said = cluster::encode(what);
    const auto body = replication::encode(
        replication::Request{.number = 1, .session = 2, .sequence = 1, .command = said});
    return may_say(machine_.state(), true, now_s, who,
                   {.kind = EnvelopeKind::request, .group = group_of(group)}, body);
  };
  const auto may_ask = [&](EnvelopeKind kind, std::uint64_t group = cluster::kRootGroup) {
    return may_say(machine_.state(), true, 0, holder, {.kind = kind, .group = group_of(group)}, {});
  };
  const cluster::root::Join join{.token = command.client, .name = "n", .address = "a:2"};
  EXPECT_TRUE(may(holder, join, 99));
  EXPECT_FALSE(may(holder, join, 100)) << "it has expired";
  EXPECT_FALSE(may(client, join, 100)) << "also for somebody else";
  EXPECT_FALSE(may(holder, join, 0, 2)) << "no other group";
  EXPECT_FALSE(may(holder, cluster::root::Join{.token = command.client + 1})) << "another token";
  EXPECT_FALSE(may(holder, cluster::root::Drain{1}));
  EXPECT_FALSE(may(holder, cluster::root::RevokeClient{1}));
  EXPECT_TRUE(may(client, cluster::root::Drain{1}));
  EXPECT_TRUE(may_ask(EnvelopeKind::ask_map) && may_ask(EnvelopeKind::ask_roster));
  for (const EnvelopeKind kind : {EnvelopeKind::read_request, EnvelopeKind::change,
                                  EnvelopeKind::ask_status, EnvelopeKind::ask_entries}) {
    EXPECT_FALSE(may_ask(kind));
  }
  EXPECT_FALSE(may_ask(EnvelopeKind::ask_roster, 2));
}

}  // namespace
}  // namespace dolmen::node
