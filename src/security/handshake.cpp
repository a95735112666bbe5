// SPDX-License-Identifier: Apache-2.0
#include "security/handshake.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <sodium.h>

#include <dolmen/assert.hpp>

#include "security/raw_bytes.hpp"

namespace dolmen::security {
namespace {

constexpr std::string_view kProtocol = "dolmen link 1";
// What is signed, and what a key is for. None begins another.
constexpr std::string_view kAnswerLabel = "dolmen link answer";
constexpr std::string_view kProofLabel = "dolmen link proof";
constexpr std::string_view kInitiatorLabel = "dolmen link initiator sends";
constexpr std::string_view kResponderLabel = "dolmen link responder sends";

enum class Kind : std::uint8_t { hello = 1, answer = 2, proof = 3 };

constexpr std::size_t kTagBytes = crypto_aead_chacha20poly1305_ietf_ABYTES;
static_assert(kSealedClaimBytes == kClaimBytes + sizeof(Signature) + kTagBytes);
static_assert(crypto_scalarmult_BYTES == 32 && crypto_scalarmult_SCALARBYTES == 32);
static_assert(crypto_hash_sha256_BYTES == 32 && crypto_auth_hmacsha256_BYTES == 32);

Secret hmac(base::Bytes key, base::Bytes first, base::Bytes second = {}) {
  crypto_auth_hmacsha256_state state;
  Secret out;
  crypto_auth_hmacsha256_init(&state, raw(key), key.size());
  crypto_auth_hmacsha256_update(&state, raw(first), first.size());
  crypto_auth_hmacsha256_update(&state, raw(second), second.size());
  crypto_auth_hmacsha256_final(&state, out.data());
  sodium_memzero(&state, sizeof state);
  return out;
}

// Each of these keys seals one message.
constexpr std::array<unsigned char, crypto_aead_chacha20poly1305_ietf_NPUBBYTES> kNonce{};

void put_head(std::vector<std::byte>& out, Kind kind) {
  out.push_back(std::byte{kLinkVersion});
  out.push_back(static_cast<std::byte>(kind));
  out.insert(out.end(), 2, std::byte{0});
}

Result<void> check_head(base::Bytes message, Kind kind) {
  base::ByteReader in(message);
  const auto version = in.get<std::uint8_t>();
  const auto its_kind = in.get<std::uint8_t>();
  const auto zero = in.get<std::uint16_t>();
  if (in.failed()) return fail(Errc::corrupt, "a message of another length");
  if (version != kLinkVersion) {
    return fail(Errc::version_unsupported, "the other side's handshake", version);
  }
  if (its_kind != static_cast<std::uint8_t>(kind) || zero != 0) {
    return fail(Errc::corrupt, "a message out of turn");
  }
  return {};
}

}  // namespace

std::array<std::byte, kClaimBytes> encode(const Claim& claim) noexcept {
  std::array<std::byte, kClaimBytes> bytes{};
  base::store(bytes, 0, claim.identity.role);
  base::store(bytes, 1, claim.says);
  base::store(bytes, 4, claim.identity.number);
  base::store(bytes, 8, claim.key.bytes);
  base::store(bytes, 40, claim.payload);
  return bytes;
}

Result<Claim> decode_claim(base::Bytes bytes) {
  base::ByteReader in(bytes);
  Claim claim;
  claim.identity.role = static_cast<Role>(in.get<std::uint8_t>());
  claim.says = in.get<std::uint8_t>();
  const bool spare = (claim.says & ~kSaysAll) != 0 || in.get<std::uint16_t>() != 0;
  claim.identity.number = in.get<std::uint32_t>();
  const base::Bytes key = in.take(claim.key.bytes.size());
  const base::Bytes payload = in.take(kPayloadBytes);
  if (!in.finished() || spare || !is_valid(claim.identity) || claim.identity.role == Role::owner) {
    return fail(Errc::corrupt, "who the other side says it is");
  }
  std::ranges::copy(key, claim.key.bytes.begin());
  std::ranges::copy(payload, claim.payload.begin());
  return claim;
}

Result<void> check(const LinkSelf& self) {
  if (!self.key || !self.trust) return fail(Errc::invalid_argument, "a key, and who is trusted");
  if (self.key->identity().role == Role::owner) {
    return fail(Errc::invalid_argument, "an owner's key signs, and opens no connections");
  }
  if (self.key->cluster() != self.trust->cluster() || self.key->owner() != self.trust->owner()) {
    return fail(Errc::invalid_argument, "a key and a trust file of different clusters");
  }
  return {};
}

Handshake::Handshake(Side side, const LinkSelf& self, const Identity& expected,
                     const Payload& payload, const Secret& ephemeral, base::Bytes prologue)
    : side_(side),
      self_(self),
      expected_(expected),
      payload_(payload),
      state_(side == Side::initiator ? State::begin : State::hello_due),
      ephemeral_(ephemeral) {
  DOLMEN_ASSERT(check(self).has_value());
  mix(base::as_bytes(kProtocol));
  mix(prologue);
}

std::size_t Handshake::due_bytes() const noexcept {
  switch (state_) {
    case State::hello_due:
      return kHelloBytes;
    case State::answer_due:
      return kAnswerBytes;
    case State::proof_due:
      return kProofBytes;
    case State::begin:
    case State::finished:
    case State::ended:
      break;
  }
  return 0;
}

Result<Handshake::Step> Handshake::step(base::Bytes message) {
  auto result = run(message);
  if (!result) {
    state_ = State::ended;
    ephemeral_ = Secret();
    shared_ = Secret();
  }
  return result;
}

Result<Handshake::Step> Handshake::run(base::Bytes message) {
  if (state_ == State::finished || state_ == State::ended) {
    return fail(Errc::invalid_argument, "a message after the handshake's end");
  }
  if (message.size() != due_bytes()) {
    return fail(Errc::corrupt, "a message of another length", message.size());
  }
  switch (state_) {
    case State::begin:
      return greet();
    case State::hello_due:
      return take_hello(message);
    case State::answer_due:
      return take_answer(message);
    case State::proof_due:
      return take_proof(message);
    case State::finished:
    case State::ended:
      break;
  }
  return fail(Errc::invalid_argument, "a message after the handshake's end");
}

void Handshake::mix(base::Bytes bytes) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  crypto_hash_sha256_update(&state, raw(base::Bytes(hash_)), hash_.size());
  crypto_hash_sha256_update(&state, raw(bytes), bytes.size());
  crypto_hash_sha256_final(&state, raw(base::MutableBytes(hash_)));
}

Result<Handshake::Step> Handshake::greet() {
  Step step;
  put_head(step.out, Kind::hello);
  const auto& cluster = self_.key->cluster().bytes;
  step.out.insert(step.out.end(), cluster.begin(), cluster.end());
  std::array<std::byte, 32> own{};
  DOLMEN_ASSERT(crypto_scalarmult_base(raw(base::MutableBytes(own)), ephemeral_.data()) == 0);
  step.out.insert(step.out.end(), own.begin(), own.end());
  mix(step.out);
  state_ = State::answer_due;
  return step;
}

/// What both sides know now and nobody else; bound to everything that was said.
Result<void> Handshake::agree(base::Bytes their_key) {
  Secret point;
  if (crypto_scalarmult(point.data(), ephemeral_.data(), raw(their_key)) != 0) {
    return fail(Errc::not_authentic, "the other side's public key is none");
  }
  shared_ = hmac(hash_, point.bytes());
  ephemeral_ = Secret();
  return {};
}

Result<Handshake::Step> Handshake::take_hello(base::Bytes message) {
  DOLMEN_CHECK(check_head(message, Kind::hello));
  const base::Bytes cluster = message.subspan(kLinkHeadBytes, 16);
  if (!std::ranges::equal(cluster, self_.key->cluster().bytes)) {
    return fail(Errc::not_authentic, "somebody of another cluster connects");
  }
  mix(message);
  Step step;
  put_head(step.out, Kind::answer);
  std::array<std::byte, 32> own{};
  DOLMEN_ASSERT(crypto_scalarmult_base(raw(base::MutableBytes(own)), ephemeral_.data()) == 0);
  step.out.insert(step.out.end(), own.begin(), own.end());
  mix(step.out);
  DOLMEN_CHECK(agree(message.last(32)));
  put_claim(kAnswerLabel, step.out);
  state_ = State::proof_due;
  return step;
}

Result<Handshake::Step> Handshake::take_answer(base::Bytes message) {
  DOLMEN_CHECK(check_head(message, Kind::answer));
  mix(message.first(kLinkHeadBytes + 32));
  DOLMEN_CHECK(agree(message.subspan(kLinkHeadBytes, 32)));
  DOLMEN_CHECK(take_claim(kAnswerLabel, message.last(kSealedClaimBytes)));
  const bool is_meant =
      expected_.number == 0 ? peer_.identity.role == expected_.role : peer_.identity == expected_;
  if (!is_meant) {
    return fail(Errc::invalid_argument, "another one answers than the one that is meant",
                peer_.identity.number);
  }
  Step step;
  put_head(step.out, Kind::proof);
  put_claim(kProofLabel, step.out);
  finish();
  step.is_finished = true;
  return step;
}

Result<Handshake::Step> Handshake::take_proof(base::Bytes message) {
  DOLMEN_CHECK(check_head(message, Kind::proof));
  DOLMEN_CHECK(take_claim(kProofLabel, message.last(kSealedClaimBytes)));
  finish();
  return Step{.out = {}, .is_finished = true};
}

Signature Handshake::signature_of(std::string_view label, base::Bytes claim) const {
  base::ByteWriter covered;
  covered.put_bytes(base::as_bytes(label));
  covered.put_bytes(hash_);
  covered.put_bytes(claim);
  return self_.key->sign(covered.bytes());
}

void Handshake::put_claim(std::string_view label, std::vector<std::byte>& out) {
  std::array<std::byte, kSealedClaimBytes> bytes{};
  const base::MutableBytes all(bytes);
  const auto claim = encode(Claim{.identity = self_.key->identity(),
                                  .key = self_.key->public_key(),
                                  .payload = payload_,
                                  .says = self_.says});
  std::ranges::copy(claim, all.begin());
  base::store(all, kClaimBytes, signature_of(label, claim).bytes);
  const base::MutableBytes plain = all.first(kClaimBytes + sizeof(Signature));
  const Secret key = hmac(shared_.bytes(), base::as_bytes(label), hash_);
  const Hash known = hash_;
  mix(plain);  // not what is sealed: a seal may open under several keys, and this may not
  crypto_aead_chacha20poly1305_ietf_encrypt_detached(
      raw(plain), raw(all.last(kTagBytes)), nullptr, raw(plain), plain.size(),
      raw(base::Bytes(known)), known.size(), nullptr, kNonce.data(), key.data());
  out.insert(out.end(), bytes.begin(), bytes.end());
}

Result<void> Handshake::take_claim(std::string_view label, base::Bytes sealed) {
  std::array<std::byte, kClaimBytes + sizeof(Signature)> plain{};
  const Secret key = hmac(shared_.bytes(), base::as_bytes(label), hash_);
  if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(
          raw(base::MutableBytes(plain)), nullptr, raw(sealed), plain.size(),
          raw(sealed.last(kTagBytes)), raw(base::Bytes(hash_)), hash_.size(), kNonce.data(),
          key.data()) != 0) {
    return fail(Errc::not_authentic, "a message that was changed on its way");
  }
  const base::Bytes claim = base::Bytes(plain).first(kClaimBytes);
  DOLMEN_TRY(peer_, decode_claim(claim));
  Signature signature;
  std::ranges::copy(base::Bytes(plain).subspan(kClaimBytes), signature.bytes.begin());
  base::ByteWriter covered;
  covered.put_bytes(base::as_bytes(label));
  covered.put_bytes(hash_);
  covered.put_bytes(claim);
  // First, so that who has no key learns nothing of who is trusted, not even by the time it takes.
  if (!verify(peer_.key, covered.bytes(), signature)) {
    return fail(Errc::not_authentic, "a signature of another key");
  }
  if (!self_.trust->trusts(peer_.identity, peer_.key)) {
    return fail(Errc::not_authentic, "a key that is not trusted, or not as what it says",
                peer_.identity.number);
  }
  if (peer_.key == self_.key->public_key()) {
    return fail(Errc::not_authentic, "somebody with this side's own key");
  }
  mix(plain);
  return {};
}

void Handshake::finish() {
  const bool is_initiator = side_ == Side::initiator;
  const Secret initiator = hmac(shared_.bytes(), base::as_bytes(kInitiatorLabel), hash_);
  const Secret responder = hmac(shared_.bytes(), base::as_bytes(kResponderLabel), hash_);
  keys_.send = is_initiator ? initiator : responder;
  keys_.receive = is_initiator ? responder : initiator;
  shared_ = Secret();
  state_ = State::finished;
}

const Claim& Handshake::peer() const {
  DOLMEN_ASSERT(state_ == State::finished);
  return peer_;
}

const Handshake::Keys& Handshake::keys() const {
  DOLMEN_ASSERT(state_ == State::finished);
  return keys_;
}

const std::array<std::byte, 32>& Handshake::hash() const {
  DOLMEN_ASSERT(state_ == State::finished);
  return hash_;
}

}  // namespace dolmen::security
