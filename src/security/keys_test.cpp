// SPDX-License-Identifier: Apache-2.0
#include "security/keys.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "security/test_cluster.hpp"
#include "security/token.hpp"
#include "security/trust.hpp"

namespace dolmen::security {
namespace {

std::string golden(const std::string& name) {
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / name;
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), by);
}

class Keys : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(prepare()); }
};
using TrustFile = Keys;
using Tokens = Keys;

TEST_F(Keys, AFileIsTheGoldenFileAndComesBack) {
  const TestCluster cluster;
  const Key node = cluster.node(1);
  EXPECT_EQ(node.text(), golden("key_v1.txt"));
  const auto again = Key::parse(node.text());
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->text(), node.text());
  EXPECT_EQ(again->identity(), (Identity{Role::node, 1}));
  EXPECT_EQ(again->cluster(), cluster.id);
  EXPECT_EQ(again->owner(), cluster.owner.public_key());
  EXPECT_EQ(again->public_key(), node.public_key());
  EXPECT_EQ(again->name(), "node1");
  EXPECT_EQ(Key::parse(cluster.owner.text())->identity().role, Role::owner);
}

// RFC 8032, 7.1, test 2.
TEST_F(Keys, SignaturesAreThoseOfOtherImplementations) {
  const auto bytes = [](const std::string& hex) {
    std::vector<std::byte> out;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      out.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return out;
  };
  const Secret seed(bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
  const Key key = Key::make_owner({}, "a", seed).value();
  EXPECT_TRUE(std::ranges::equal(
      key.public_key().bytes,
      bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")));
  const Signature signature = key.sign(bytes("72"));
  EXPECT_TRUE(std::ranges::equal(
      signature.bytes, bytes("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                             "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")));
  EXPECT_TRUE(verify(key.public_key(), bytes("72"), signature));
  EXPECT_FALSE(verify(key.public_key(), bytes("73"), signature));
}

TEST_F(Keys, AFileThatWasCutOrChangedIsNone) {
  const TestCluster cluster;
  const std::string text = cluster.node(1).text();
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(Key::parse(text.substr(0, length))) << length;
  }
  EXPECT_FALSE(Key::parse(text + "\n"));
  EXPECT_FALSE(Key::parse(text + "more\n"));
  EXPECT_FALSE(Key::parse(replaced(text, "\n", "\r\n")));
  EXPECT_FALSE(Key::parse(replaced(text, "number 1", "number 01")));
  EXPECT_FALSE(Key::parse(replaced(text, "number 1", "number 0")));
  EXPECT_FALSE(Key::parse(replaced(text, "number 1", "number 2147483648")));
  EXPECT_FALSE(Key::parse(replaced(text, "role node", "role owner")));
  EXPECT_FALSE(Key::parse(replaced(text, "role node", "role nobody")));
  EXPECT_FALSE(Key::parse(replaced(text, "name node1", "name Node 1")));
  EXPECT_FALSE(Key::parse(replaced(text, "name node1", "name node1 ")));
  EXPECT_FALSE(Key::parse(replaced(text, "secret 01", "secret 02"))) << "not its public key";
  EXPECT_FALSE(Key::parse(replaced(text, "secret 01", "secret 0A")));
  EXPECT_FALSE(Key::parse(std::string(kKeyTextMax + 1, 'a')));
  const auto newer = Key::parse(replaced(text, "dolmen key 1", "dolmen key 2"));
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code(), Errc::version_unsupported);
  EXPECT_EQ(newer.error().detail(), 2u);
}

TEST_F(Keys, ImpossibleOnesAreNotMade) {
  const TestCluster cluster;
  const auto make = [&](const Identity& identity, const std::string& name) {
    return Key::make(cluster.id, cluster.owner.public_key(), identity, name, filled_secret(9));
  };
  EXPECT_TRUE(make({Role::node, kNumberMax}, "a"));
  EXPECT_FALSE(make({Role::node, 0}, "a"));
  EXPECT_FALSE(make({Role::client, kNumberMax + 1}, "a"));
  EXPECT_FALSE(make({Role::owner, 0}, "a")) << "another one owns this cluster";
  EXPECT_FALSE(make({Role::owner, 1}, "a"));
  EXPECT_TRUE(make({Role::node, 1}, std::string(63, 'a')));
  for (const std::string& name : {std::string(), std::string(64, 'a'), std::string("-a"),
                                  std::string("A"), std::string("a b"), std::string("a\n")}) {
    EXPECT_FALSE(make({Role::node, 1}, name)) << name;
  }
}

TEST_F(TrustFile, IsTheGoldenFileAndComesBack) {
  TestCluster cluster;
  ASSERT_TRUE(cluster.trust.revoke(cluster.node(2).public_key()));
  const std::string text = cluster.trust.sign(cluster.owner).value();
  EXPECT_EQ(text, golden("trust_v1.txt"));
  auto again = Trust::parse(text, cluster.id, cluster.owner.public_key());
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->serial(), 1u);
  EXPECT_TRUE(again->trusts({Role::node, 1}, cluster.node(1).public_key()));
  EXPECT_FALSE(again->trusts({Role::node, 2}, cluster.node(2).public_key())) << "revoked";
  EXPECT_TRUE(again->trusts({Role::client, 1}, cluster.client(1).public_key()));
  EXPECT_FALSE(again->trusts({Role::node, 2}, cluster.node(1).public_key())) << "another number";
  EXPECT_FALSE(again->trusts({Role::client, 1}, cluster.node(1).public_key())) << "another role";
  EXPECT_FALSE(again->trusts({Role::node, 3}, cluster.node(3).public_key()));
  // The next file says that it is later.
  const std::string next = again->sign(cluster.owner).value();
  EXPECT_EQ(Trust::parse(next, cluster.id, cluster.owner.public_key())->serial(), 2u);
}

TEST_F(TrustFile, HoldsForItsClusterAndOwnerAlone) {
  TestCluster cluster;
  const TestCluster other(0xC2);
  const std::string text = cluster.trust.sign(cluster.owner).value();
  const auto outcome = [&](const std::string& what, const TestCluster& of) {
    const auto trust = Trust::parse(what, of.id, of.owner.public_key());
    return trust ? Errc{} : trust.error().code();
  };
  EXPECT_EQ(outcome(text, cluster), Errc{});
  EXPECT_EQ(outcome(text, other), Errc::not_authentic);
  EXPECT_FALSE(cluster.trust.sign(other.owner));
  EXPECT_FALSE(cluster.trust.sign(cluster.node(1)));
  // Somebody else's signature under the same words.
  Trust forged(cluster.id, other.owner.public_key());
  const Key thief = Key::make_owner(cluster.id, "thief", filled_secret(0xC2)).value();
  const std::string by_thief = forged.sign(thief).value();
  const auto hex_of = [](const std::string& file) { return file.substr(file.find("owner"), 70); };
  EXPECT_EQ(outcome(replaced(by_thief, hex_of(by_thief), hex_of(text)), cluster),
            Errc::not_authentic);
}

TEST_F(TrustFile, AnyChangedBitAndAnyCutIsRefused) {
  TestCluster cluster;
  const std::string text = cluster.trust.sign(cluster.owner).value();
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string changed = text;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(Trust::parse(changed, cluster.id, cluster.owner.public_key())) << bit;
  }
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(Trust::parse(text.substr(0, length), cluster.id, cluster.owner.public_key()))
        << length;
  }
}

// What the owner signed, but no program writes.
TEST_F(TrustFile, OneFormOnly) {
  TestCluster cluster;
  const std::string text = cluster.trust.sign(cluster.owner).value();
  const std::string body = text.substr(0, text.find("signature "));
  const auto outcome = [&](const std::string& what) {
    std::string signature;
    for (const std::byte byte : cluster.owner.sign(base::as_bytes(what)).bytes) {
      constexpr const char* kDigits = "0123456789abcdef";
      signature += kDigits[std::to_integer<unsigned>(byte) >> 4];
      signature += kDigits[std::to_integer<unsigned>(byte) & 15];
    }
    const auto trust = Trust::parse(what + "signature " + signature + "\n", cluster.id,
                                    cluster.owner.public_key());
    return trust ? Errc{} : trust.error().code();
  };
  EXPECT_EQ(outcome(body), Errc{});
  const std::string node1 =
      body.substr(body.find("node 1"), body.find("node 2") - body.find("node 1"));
  EXPECT_EQ(outcome(body + node1), Errc::corrupt) << "not ascending";
  EXPECT_EQ(outcome(replaced(body, node1, node1 + node1)), Errc::corrupt) << "twice";
  EXPECT_EQ(outcome(replaced(body, "node 1 trusted", "node 1 known")), Errc::corrupt);
  EXPECT_EQ(outcome(replaced(body, "node 1 ", "owner 0 ")), Errc::corrupt);
  EXPECT_EQ(outcome(replaced(body, "serial 1", "serial 18446744073709551616")), Errc::corrupt);
  EXPECT_EQ(outcome(replaced(body, "dolmen trust 1", "dolmen trust 9")), Errc::version_unsupported);
  EXPECT_EQ(outcome(body + "\n"), Errc::corrupt);
}

TEST_F(TrustFile, AKeyIsInItOnceAndRevokedForEver) {
  TestCluster cluster;
  const PublicKey key = cluster.node(1).public_key();
  EXPECT_EQ(cluster.trust.add({Role::node, 9}, "x", key).error().code(), Errc::already_exists);
  EXPECT_EQ(cluster.trust.add({Role::node, 9}, "x", cluster.owner.public_key()).error().code(),
            Errc::invalid_argument);
  ASSERT_TRUE(cluster.trust.revoke(key));
  EXPECT_EQ(cluster.trust.add({Role::node, 1}, "x", key).error().code(), Errc::already_exists);
  // The number lives on with another key.
  ASSERT_TRUE(cluster.trust.add({Role::node, 1}, "node1", cluster.node(9).public_key()));
  EXPECT_FALSE(cluster.trust.trusts({Role::node, 1}, key));
  EXPECT_TRUE(cluster.trust.trusts({Role::node, 1}, cluster.node(9).public_key()));
  EXPECT_EQ(cluster.trust.revoke(cluster.node(8).public_key()).error().code(), Errc::not_found);
}

JoinToken some_token(const TestCluster& cluster, unsigned char secret) {
  return {.cluster = cluster.id,
          .owner = cluster.owner.public_key(),
          .identity = {Role::node, 3},
          .expiry_s = 2'000'000'000,
          .secret = filled_secret(secret),
          .nodes = {{.number = 1, .key = cluster.node(1).public_key(), .address = "192.0.2.1:7400"},
                    {.number = 2, .key = cluster.node(2).public_key(), .address = "[::1]:1"}}};
}

TEST_F(Tokens, ATokenIsTheGoldenFileAndComesBack) {
  const TestCluster cluster;
  const JoinToken token = some_token(cluster, 0x77);
  EXPECT_EQ(token.text() + "\n", golden("join_token_v2.txt"));
  const auto again = JoinToken::parse(token.text());
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->text(), token.text());
  EXPECT_EQ(again->nodes, token.nodes);
  const std::string text = token.text();
  for (std::size_t i = 0; i < text.size(); ++i) {
    EXPECT_FALSE(JoinToken::parse(text.substr(0, i))) << i;
    std::string changed = text;
    changed[i] = changed[i] == '0' ? '1' : '0';
    EXPECT_FALSE(JoinToken::parse(changed)) << i;
  }
  EXPECT_EQ(JoinToken::parse(replaced(text, "join-2", "join-1")).error().code(),
            Errc::version_unsupported);
}

TEST_F(Tokens, WhatNoTokenSaysIsNone) {
  const TestCluster cluster;
  const auto is_one = [](const JoinToken& token) {
    return JoinToken::parse(token.text()).has_value();
  };
  JoinToken token = some_token(cluster, 0x77);
  EXPECT_TRUE(is_one(token));
  token.identity = {Role::client, 3};
  EXPECT_FALSE(is_one(token));
  token.identity = {Role::node, 0};
  EXPECT_FALSE(is_one(token));
  token = some_token(cluster, 0x77);
  std::swap(token.nodes[0], token.nodes[1]);
  EXPECT_FALSE(is_one(token)) << "not ascending";
  token.nodes.clear();
  EXPECT_FALSE(is_one(token)) << "nobody to ask";
  for (std::uint32_t number = 1; number <= kTokenNodesMax + 1; ++number) {
    EXPECT_EQ(is_one(token), number > 1);
    token.nodes.push_back({.number = number, .key = {}, .address = "192.0.2.1:1"});
  }
  EXPECT_FALSE(is_one(token)) << "too many";
  token.nodes.resize(1);
  for (const std::string& where : {std::string(), std::string("a b"), std::string("a\n"),
                                   std::string(kTokenAddressMax + 1, 'a')}) {
    token.nodes[0].address = where;
    EXPECT_FALSE(is_one(token)) << where;
  }
}

}  // namespace
}  // namespace dolmen::security
