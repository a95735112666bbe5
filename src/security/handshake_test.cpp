// SPDX-License-Identifier: Apache-2.0
#include "security/handshake.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

#include <sodium.h>

#include <gtest/gtest.h>

#include "security/raw_bytes.hpp"
#include "security/test_cluster.hpp"

namespace dolmen::security {
namespace {

using Side = Handshake::Side;
using Bytes = std::vector<std::byte>;

constexpr Identity kNode1{Role::node, 1};
constexpr Identity kNode2{Role::node, 2};

class Link : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(prepare()); }
};

Handshake initiator(const LinkSelf& self, const Identity& expected = kNode2,
                    unsigned char ephemeral = 0x51) {
  return {Side::initiator, self, expected, filled_payload(0xA1), filled_secret(ephemeral)};
}
Handshake responder(const LinkSelf& self, unsigned char ephemeral = 0x52) {
  return {Side::responder, self, {}, filled_payload(0xB2), filled_secret(ephemeral)};
}

/// What a side makes of a message: its answer, or why not.
Result<Bytes> say(Handshake& side, const Bytes& message = {}) {
  auto step = side.step(message);
  if (!step) return std::unexpected(step.error());
  return std::move(step->out);
}

struct Spoken {
  Bytes hello;
  Bytes answer;
  Bytes proof;
  Error failure{Errc{}};
};
/// As far as it goes.
Spoken speak(Handshake& first, Handshake& second) {
  Spoken spoken;
  const auto go = [&](Handshake& side, const Bytes& in, Bytes& out) {
    auto said = say(side, in);
    if (!said) {
      spoken.failure = said.error();
      return false;
    }
    out = std::move(*said);
    return true;
  };
  Bytes nothing;
  (void)(go(first, {}, spoken.hello) && go(second, spoken.hello, spoken.answer) &&
         go(first, spoken.answer, spoken.proof) && go(second, spoken.proof, nothing));
  return spoken;
}

bool same(const Secret& a, const Secret& b) { return std::ranges::equal(a.bytes(), b.bytes()); }

TEST_F(Link, BothSidesKnowEachOtherAndHaveTheSameKeys) {
  const TestCluster cluster;
  for (const Key& key : {cluster.node(1), cluster.client(1)}) {
    Handshake first = initiator(cluster.self(key));
    Handshake second = responder(cluster.self(cluster.node(2)));
    const Spoken spoken = speak(first, second);
    ASSERT_EQ(spoken.failure.code(), Errc{}) << spoken.failure.message();
    EXPECT_EQ(spoken.hello.size(), kHelloBytes);
    EXPECT_EQ(spoken.answer.size(), kAnswerBytes);
    EXPECT_EQ(spoken.proof.size(), kProofBytes);
    EXPECT_EQ(first.peer(), (Claim{kNode2, cluster.node(2).public_key(), filled_payload(0xB2)}));
    EXPECT_EQ(second.peer(), (Claim{key.identity(), key.public_key(), filled_payload(0xA1)}));
    EXPECT_TRUE(same(first.keys().send, second.keys().receive));
    EXPECT_TRUE(same(first.keys().receive, second.keys().send));
    EXPECT_FALSE(same(first.keys().send, first.keys().receive));
    EXPECT_EQ(first.hash(), second.hash());
    EXPECT_EQ(first.due_bytes(), 0u);
    EXPECT_EQ(say(first, spoken.answer).error().code(), Errc::invalid_argument);
    EXPECT_EQ(say(second, spoken.proof).error().code(), Errc::invalid_argument);
  }
}

void expect_golden(const char* name, std::uint8_t initiator_says, std::uint8_t responder_says) {
  const TestCluster cluster;
  LinkSelf one = cluster.self(cluster.node(1));
  LinkSelf two = cluster.self(cluster.node(2));
  one.says = initiator_says;
  two.says = responder_says;
  Handshake first = initiator(one);
  Handshake second = responder(two);
  const Spoken spoken = speak(first, second);
  Bytes all = spoken.hello;
  all.insert(all.end(), spoken.answer.begin(), spoken.answer.end());
  all.insert(all.end(), spoken.proof.begin(), spoken.proof.end());
  for (const Secret& key : {first.keys().send, first.keys().receive}) {
    all.insert(all.end(), key.bytes().begin(), key.bytes().end());
  }
  EXPECT_EQ(first.peer().says, responder_says);
  EXPECT_EQ(second.peer().says, initiator_says);
  const auto path = std::filesystem::path(DOLMEN_GOLDEN_DIR) / name;
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  const std::vector<char> golden(std::istreambuf_iterator<char>(file), {});
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(golden)), std::span(all)));
}

TEST_F(Link, IsTheGoldenFile) { expect_golden("link_v1.bin", 0, 0); }
TEST_F(Link, WhatASideAsksForIsInTheGoldenFile) { expect_golden("link_says_v1.bin", 3, 1); }

TEST_F(Link, WhatIsNotKnownCannotBeAskedFor) {
  Claim claim{kNode1, TestCluster().node(1).public_key(), filled_payload(1)};
  for (unsigned says = 0; says < 256; ++says) {
    claim.says = static_cast<std::uint8_t>(says);
    const auto decoded = decode_claim(encode(claim));
    ASSERT_EQ(decoded.has_value(), says <= kSaysAll) << says;
    if (decoded) {
      EXPECT_EQ(*decoded, claim);
    }
  }
}

TEST_F(Link, WhoInitiatesIsNamedToNobodyWhoListens) {
  const TestCluster cluster;
  Handshake first = initiator(cluster.self(cluster.node(1)));
  Handshake second = responder(cluster.self(cluster.node(2)));
  const Spoken spoken = speak(first, second);
  const auto holds = [](const Bytes& message, const Key& key) {
    return !std::ranges::search(message, key.public_key().bytes).empty();
  };
  for (const Bytes& message : {spoken.hello, spoken.answer, spoken.proof}) {
    EXPECT_FALSE(holds(message, cluster.node(1)));
    EXPECT_FALSE(holds(message, cluster.node(2)));
  }
}

TEST_F(Link, AnyChangedBitOfAnyMessageIsRefused) {
  const TestCluster cluster;
  const LinkSelf one = cluster.self(cluster.node(1));
  const LinkSelf two = cluster.self(cluster.node(2));
  for (std::size_t bit = 0; bit < kHelloBytes * 8; ++bit) {
    Handshake first = initiator(one);
    Handshake second = responder(two);
    Bytes hello = say(first).value();
    hello[bit / 8] ^= std::byte{1} << (bit % 8);
    // A changed public key shows at the dialler: the responder cannot know.
    const auto answer = say(second, hello);
    EXPECT_TRUE(!answer || !say(first, *answer)) << bit;
  }
  for (std::size_t bit = 0; bit < kAnswerBytes * 8; ++bit) {
    Handshake first = initiator(one);
    Handshake second = responder(two);
    Bytes answer = say(second, say(first).value()).value();
    answer[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(say(first, answer)) << bit;
  }
  for (std::size_t bit = 0; bit < kProofBytes * 8; ++bit) {
    Handshake first = initiator(one);
    Handshake second = responder(two);
    Bytes proof = say(first, say(second, say(first).value()).value()).value();
    proof[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(say(second, proof)) << bit;
  }
}

TEST_F(Link, AMessageOfAnotherLengthIsRefusedAndEndsIt) {
  const TestCluster cluster;
  Handshake first = initiator(cluster.self(cluster.node(1)));
  Handshake second = responder(cluster.self(cluster.node(2)));
  const Spoken spoken = speak(first, second);
  const auto refused = [&](Handshake side, const std::vector<Bytes>& before, const Bytes& message) {
    for (const Bytes& one : before) EXPECT_TRUE(say(side, one));
    for (std::size_t length = 0; length <= message.size() + 1; ++length) {
      if (length == message.size()) continue;
      Handshake copy = side;
      Bytes cut = message;
      cut.resize(length);
      EXPECT_EQ(say(copy, cut).error().code(), Errc::corrupt) << length;
      EXPECT_EQ(copy.due_bytes(), 0u);
      EXPECT_EQ(say(copy, message).error().code(), Errc::invalid_argument) << "it is over";
    }
  };
  refused(responder(cluster.self(cluster.node(2))), {}, spoken.hello);
  refused(initiator(cluster.self(cluster.node(1))), {{}}, spoken.answer);
  refused(responder(cluster.self(cluster.node(2))), {spoken.hello}, spoken.proof);
  Handshake early = initiator(cluster.self(cluster.node(1)));
  EXPECT_EQ(say(early, spoken.hello).error().code(), Errc::corrupt) << "it begins";
}

TEST_F(Link, WhatWasSaidInAnotherConnectionOpensNothing) {
  const TestCluster cluster;
  const LinkSelf one = cluster.self(cluster.node(1));
  const LinkSelf two = cluster.self(cluster.node(2));
  Handshake first = initiator(one);
  Handshake second = responder(two);
  const Spoken old = speak(first, second);
  ASSERT_EQ(old.failure.code(), Errc{});
  // Everything that the initiator said, once more.
  Handshake again = responder(two, 0x62);
  ASSERT_TRUE(say(again, old.hello));
  EXPECT_EQ(say(again, old.proof).error().code(), Errc::not_authentic);
  // The old answer to a new hello.
  Handshake dialler = initiator(one, kNode2, 0x61);
  ASSERT_TRUE(say(dialler));
  EXPECT_EQ(say(dialler, old.answer).error().code(), Errc::not_authentic);
  // Out of turn.
  Handshake early = responder(two);
  EXPECT_EQ(say(early, old.proof).error().code(), Errc::corrupt);
}

TEST_F(Link, WhatOneSideSaidIsNoAnswerToIt) {
  const TestCluster cluster;
  // A node that is led to itself: to its own messages, and to an endpoint of its own.
  const LinkSelf one = cluster.self(cluster.node(1));
  Handshake dialler = initiator(one, kNode1);
  Bytes hello = say(dialler).value();
  hello.resize(kAnswerBytes);
  EXPECT_FALSE(say(dialler, hello));
  Handshake first = initiator(one, kNode1);
  Handshake second = responder(one);
  EXPECT_EQ(speak(first, second).failure.context(), "somebody with this side's own key");
  // The sealed part of an answer as a proof: two sessions of one attacker in the middle.
  Handshake a = responder(cluster.self(cluster.node(1)));
  Handshake b = initiator(cluster.self(cluster.node(2)), kNode1);
  const Bytes answer = say(a, say(b).value()).value();
  Bytes proof(answer.end() - kProofBytes, answer.end());
  proof[0] = std::byte{kLinkVersion};
  proof[1] = std::byte{3};
  proof[2] = proof[3] = std::byte{0};
  EXPECT_EQ(say(a, proof).error().code(), Errc::not_authentic);
}

TEST_F(Link, AMemberInTheMiddleCannotPassForAnother) {
  TestCluster cluster;
  cluster.add(cluster.node(3));
  // Node 3 stands between 1 and 2, holds a key of the cluster, and hands on what it gets.
  Handshake first = initiator(cluster.self(cluster.node(1)));
  Handshake to_first = responder(cluster.self(cluster.node(3)), 0x53);
  Handshake to_second = initiator(cluster.self(cluster.node(3)), kNode2, 0x54);
  Handshake second = responder(cluster.self(cluster.node(2)));
  const Bytes answer = say(second, say(to_second).value()).value();
  const Bytes own_answer = say(to_first, say(first).value()).value();
  // Its own answer names it, and is not the one that is meant.
  Handshake copy = first;
  EXPECT_EQ(say(copy, own_answer).error().code(), Errc::invalid_argument);
  // The other's answer is of another exchange.
  EXPECT_EQ(say(first, answer).error().code(), Errc::not_authentic);
  // Where node 3 is meant, what 1 proves there is nothing to 2.
  Handshake meant = initiator(cluster.self(cluster.node(1)), {Role::node, 3}, 0x55);
  Handshake third = responder(cluster.self(cluster.node(3)), 0x56);
  const Bytes proof = say(meant, say(third, say(meant).value()).value()).value();
  EXPECT_EQ(say(second, proof).error().code(), Errc::not_authentic);
}

TEST_F(Link, WhoIsNotTrustedIsRefusedByEitherSide) {
  TestCluster cluster;
  const LinkSelf two = cluster.self(cluster.node(2));
  const auto from = [&](const Key& key, const LinkSelf& to) {
    Handshake first = initiator(cluster.self(key));
    Handshake second = responder(to);
    return speak(first, second).failure;
  };
  const char* const kNotTrusted = "a key that is not trusted, or not as what it says";
  EXPECT_EQ(from(cluster.node(1), two).code(), Errc{});
  // Unknown.
  EXPECT_EQ(from(cluster.node(3), two).context(), kNotTrusted);
  EXPECT_EQ(from(cluster.key(kNode1, 0x99), two).context(), kNotTrusted) << "a name alone";
  // A client's key as a node's, and the reverse; a node's as another node's.
  EXPECT_EQ(from(cluster.key(kNode1, 0x11), two).context(), kNotTrusted);
  EXPECT_EQ(from(cluster.key({Role::client, 1}, 0x01), two).context(), kNotTrusted);
  EXPECT_EQ(from(cluster.key({Role::node, 7}, 0x01), two).context(), kNotTrusted);
  // Whoever answers is held to the same.
  EXPECT_EQ(from(cluster.node(1), cluster.self(cluster.key(kNode2, 0x11))).context(), kNotTrusted);
  EXPECT_EQ(from(cluster.node(1), cluster.self(cluster.key(kNode2, 0x99))).context(), kNotTrusted);
  EXPECT_EQ(from(cluster.node(1), cluster.self(cluster.client(1))).code(), Errc::invalid_argument)
      << "a node is meant";
  // Revoked: by the one side's trust, whatever the other believes.
  ASSERT_TRUE(cluster.trust.revoke(cluster.node(1).public_key()));
  EXPECT_EQ(from(cluster.node(1), two).code(), Errc{}) << "it does not know yet";
  EXPECT_EQ(from(cluster.node(1), cluster.self(cluster.node(2))).context(), kNotTrusted);
  ASSERT_TRUE(cluster.trust.revoke(cluster.node(2).public_key()));
  EXPECT_EQ(from(cluster.client(1), two).context(), kNotTrusted);
}

/// An initiator made from docs/formats/link.md, which can say of itself what it likes.
class HandMade {
 public:
  explicit HandMade(const ClusterId& cluster) {
    mix(base::as_bytes("dolmen link 1"));
    mix({});
    Secret own;
    EXPECT_EQ(crypto_scalarmult_base(own.data(), ephemeral_.data()), 0);
    hello_ = joined({kHelloHead, cluster.bytes, own.bytes()});
    mix(hello_);
  }
  [[nodiscard]] const Bytes& hello() const { return hello_; }
  /// `signer` signs what is said of `claim`, under `label`.
  [[nodiscard]] Bytes proof(const Bytes& answer, const Claim& claim, const Key& signer,
                            std::string_view label = "dolmen link proof") {
    mix(std::span(answer).first(36));
    Secret point;
    EXPECT_EQ(
        crypto_scalarmult(point.data(), ephemeral_.data(), raw(std::span(answer).subspan(4, 32))),
        0);
    const Secret shared = hmac(hash_, point.bytes());
    Bytes theirs(answer.begin() + 36, answer.end() - 16);
    const Secret key = hmac(shared.bytes(), text_and_hash("dolmen link answer"));
    EXPECT_EQ(
        crypto_aead_chacha20poly1305_ietf_decrypt_detached(
            raw(base::MutableBytes(theirs)), nullptr, raw(base::Bytes(theirs)), theirs.size(),
            raw(std::span(answer).last(16)), raw(base::Bytes(hash_)), 32, kZero.data(), key.data()),
        0);
    mix(theirs);
    const auto said = encode(claim);
    const Signature signature = signer.sign(joined({base::as_bytes(label), hash_, said}));
    Bytes sealed = joined({said, signature.bytes});
    const Secret own_key = hmac(shared.bytes(), text_and_hash("dolmen link proof"));
    std::array<std::byte, 16> tag{};
    crypto_aead_chacha20poly1305_ietf_encrypt_detached(
        raw(base::MutableBytes(sealed)), raw(base::MutableBytes(tag)), nullptr,
        raw(base::Bytes(sealed)), sealed.size(), raw(base::Bytes(hash_)), 32, nullptr, kZero.data(),
        own_key.data());
    return joined({kProofHead, sealed, tag});
  }

 private:
  static constexpr std::array<unsigned char, 12> kZero{};
  static constexpr std::array kHelloHead{std::byte{1}, std::byte{1}, std::byte{0}, std::byte{0}};
  static constexpr std::array kProofHead{std::byte{1}, std::byte{3}, std::byte{0}, std::byte{0}};
  static Bytes joined(std::initializer_list<base::Bytes> parts) {
    base::ByteWriter out;
    for (const base::Bytes part : parts) out.put_bytes(part);
    return out.release();
  }
  void mix(base::Bytes bytes) {
    const Bytes both = joined({hash_, bytes});
    crypto_hash_sha256(raw(base::MutableBytes(hash_)), raw(base::Bytes(both)), both.size());
  }
  static Secret hmac(base::Bytes key, base::Bytes text) {
    Secret out;
    EXPECT_EQ(crypto_auth_hmacsha256(out.data(), raw(text), text.size(), raw(key)), 0);
    return out;
  }
  [[nodiscard]] Bytes text_and_hash(std::string_view text) const {
    return joined({base::as_bytes(text), hash_});
  }

  const Secret ephemeral_ = filled_secret(0x53);
  std::array<std::byte, 32> hash_{};
  Bytes hello_;
};

TEST_F(Link, APublicKeyProvesNothingWithoutItsSignature) {
  const TestCluster cluster;
  const Key one = cluster.node(1);
  const auto outcome = [&](const Key& signer, std::string_view label, bool is_of_this_connection) {
    HandMade other(cluster.id);
    HandMade hand(cluster.id);
    Handshake side = responder(cluster.self(cluster.node(2)));
    const Bytes answer = say(side, hand.hello()).value();
    const Claim claim{kNode1, one.public_key(), filled_payload(1)};
    Bytes proof = hand.proof(answer, claim, signer, label);
    if (!is_of_this_connection) {
      Handshake elsewhere = responder(cluster.self(cluster.node(2)), 0x62);
      proof = other.proof(say(elsewhere, other.hello()).value(), claim, signer, label);
    }
    const auto end = say(side, proof);
    return end ? std::string() : std::string(end.error().context());
  };
  EXPECT_EQ(outcome(one, "dolmen link proof", true), "");
  const std::string kOfAnother = "a signature of another key";
  EXPECT_EQ(outcome(cluster.node(3), "dolmen link proof", true), kOfAnother) << "who knows it";
  EXPECT_EQ(outcome(cluster.client(1), "dolmen link proof", true), kOfAnother) << "a member, too";
  EXPECT_EQ(outcome(cluster.owner, "dolmen link proof", true), kOfAnother) << "and the owner";
  EXPECT_EQ(outcome(one, "dolmen link answer", true), kOfAnother) << "signed as an answer";
  EXPECT_NE(outcome(one, "dolmen link proof", false), "") << "for another connection";
}

TEST_F(Link, AnotherClusterIsRefused) {
  const TestCluster cluster;
  const TestCluster other(0xC2);
  Handshake first = initiator(other.self(other.node(1)));
  Handshake second = responder(cluster.self(cluster.node(2)));
  EXPECT_EQ(speak(first, second).failure.context(), "somebody of another cluster connects");
  // Whoever says that it is this one has other keys in its trust all the same.
  Key liar =
      Key::make(cluster.id, other.owner.public_key(), kNode2, "node2", filled_secret(0x44)).value();
  Trust its_trust(cluster.id, other.owner.public_key());
  ASSERT_TRUE(its_trust.add(kNode1, "node1", cluster.node(1).public_key()));
  Handshake dialler = initiator(cluster.self(cluster.node(1)));
  Handshake its_side =
      responder({std::make_shared<const Key>(liar), std::make_shared<const Trust>(its_trust)});
  EXPECT_EQ(speak(dialler, its_side).failure.code(), Errc::not_authentic);
}

TEST_F(Link, AnotherVersionIsSaidAndAnotherPrologueIsRefused) {
  const TestCluster cluster;
  Handshake first = initiator(cluster.self(cluster.node(1)));
  Handshake second = responder(cluster.self(cluster.node(2)));
  Bytes hello = say(first).value();
  hello[0] = std::byte{2};
  const auto refused = say(second, hello);
  EXPECT_EQ(refused.error().code(), Errc::version_unsupported);
  EXPECT_EQ(refused.error().detail(), 2u);
  const Bytes seen{std::byte{1}};
  Handshake here(Side::initiator, cluster.self(cluster.node(1)), kNode2, {}, filled_secret(1),
                 seen);
  Handshake there(Side::responder, cluster.self(cluster.node(2)), {}, {}, filled_secret(2));
  EXPECT_EQ(speak(here, there).failure.code(), Errc::not_authentic);
}

TEST_F(Link, APublicKeyThatIsNoneIsRefused) {
  const TestCluster cluster;
  Handshake first = initiator(cluster.self(cluster.node(1)));
  Handshake second = responder(cluster.self(cluster.node(2)));
  Bytes hello = say(first).value();
  std::fill(hello.end() - 32, hello.end(), std::byte{0});
  EXPECT_EQ(say(second, hello).error().context(), "the other side's public key is none");
}

TEST_F(Link, ClaimsComeBackAndImpossibleOnesDoNot) {
  const TestCluster cluster;
  const Claim claim{kNode1, cluster.node(1).public_key(), filled_payload(3)};
  const auto bytes = encode(claim);
  EXPECT_EQ(decode_claim(bytes).value(), claim);
  EXPECT_FALSE(decode_claim(std::span(bytes).first(kClaimBytes - 1)));
  for (const std::size_t at : {1, 2, 3, 7}) {
    auto changed = bytes;
    changed[at] = std::byte{0x80};
    EXPECT_FALSE(decode_claim(changed)) << at;
  }
  for (const unsigned role : {0u, 3u, 4u}) {
    auto changed = bytes;
    changed[0] = static_cast<std::byte>(role);
    EXPECT_FALSE(decode_claim(changed)) << role;
  }
  EXPECT_FALSE(decode_claim(encode(Claim{{Role::node, 0}, {}, {}})));
  EXPECT_FALSE(decode_claim(encode(Claim{{Role::owner, 0}, {}, {}}))) << "an owner on a link";
}

TEST_F(Link, WhatCannotOpenConnectionsIsSaidBefore) {
  const TestCluster cluster;
  const TestCluster other(0xC2);
  EXPECT_TRUE(check(cluster.self(cluster.node(1))));
  EXPECT_FALSE(check({}));
  EXPECT_FALSE(check(cluster.self(cluster.owner)));
  EXPECT_FALSE(check(other.self(cluster.node(1))));
}

}  // namespace
}  // namespace dolmen::security
