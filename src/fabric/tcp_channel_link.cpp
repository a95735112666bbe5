// SPDX-License-Identifier: Apache-2.0
//
// Greetings of a channel whose sides have keys of their own (docs/links.md).
#include <algorithm>
#include <array>

#include <dolmen/assert.hpp>

#include "fabric/tcp_channel.hpp"

namespace dolmen::fabric {
namespace {

security::Identity expected_by(TcpChannel::Side side, NodeId target) {
  // Whoever answers, as long as it is a node.
  if (side == TcpChannel::Side::acceptor || target == NodeId::nobody) return {};
  const auto identity = identity_of(target);
  DOLMEN_ASSERT(identity.has_value());
  return *identity;
}

}  // namespace

TcpChannel::TcpChannel(Side side, const NodeName& self, NodeId target,
                       const security::LinkSelf& link, const Secret& ephemeral)
    : side_(side), self_(self), target_(target), says_(link.says) {
  // Both sides must have seen the same greeting: neither magic nor version can be exchanged.
  const auto prologue =
      encode(Greeting{.kind = GreetingKind::link_hello, .body_bytes = security::kHelloBytes});
  link_.emplace(side == Side::dialler ? security::Handshake::Side::initiator
                                      : security::Handshake::Side::responder,
                link, expected_by(side, target), encode_name(self), ephemeral, prologue);
  hold(kGreetingRoom);
  if (side == Side::dialler) {
    const auto hello = link_->step({});
    DOLMEN_ASSERT(hello.has_value());
    greet(GreetingKind::link_hello, hello->out);
  }
}

Result<TcpChannel::What> TcpChannel::take_link(GreetingKind kind, MutableBytes body) {
  if (kind == GreetingKind::link_verdict) return take_verdict(body);
  if (kind == GreetingKind::link_answer) return take_link_answer(body);
  if (kind == GreetingKind::link_proof) return take_link_proof(body);
  const auto answer = link_->step(body);
  if (!answer) {
    greet(GreetingKind::refusal, encode_refusal(Errc::not_authentic));
    return end(answer.error());
  }
  greet(GreetingKind::link_answer, answer->out);
  state_ = State::proving;
  return next_greeting();  // whoever answers nothing may have sent more
}

/// The name beside the key must be one that the key proves.
Result<void> TcpChannel::take_proved() {
  const security::Claim& claim = link_->peer();
  DOLMEN_TRY(peer_, decode_name(claim.payload));
  if (identity_of(peer_.node) != claim.identity) {
    peer_ = {};
    return fail(Errc::not_authentic, "a name that its key does not prove", claim.identity.number);
  }
  proved_ = claim;
  ciphers_ = {.send = Cipher(link_->keys().send), .receive = Cipher(link_->keys().receive)};
  return {};
}

Result<TcpChannel::What> TcpChannel::take_link_proof(Bytes body) {
  const auto proof = link_->step(body);
  const Result<void> proved = proof ? take_proved() : std::unexpected(proof.error());
  if (!proved) {
    greet(GreetingKind::refusal, encode_refusal(Errc::not_authentic));
    return end(proved.error());
  }
  state_ = State::judged;
  return What::greeted;
}

void TcpChannel::give_verdict(Errc refused) {
  std::array<std::byte, kSealedVerdictBytes> body{};
  const MutableBytes sealed(body);
  std::ranges::copy(encode_verdict(refused), sealed.begin());
  ciphers_.send.seal(sealed.first(kVerdictBytes), sealed.last(kTagBytes));
  greet(GreetingKind::link_verdict, body);
  go_clear();
  state_ = refused == Errc{} ? State::welcomed : State::ended;
}

bool TcpChannel::agrees() const noexcept {
  return !proved_ || ((proved_->says ^ says_) & security::kSaysClear) == 0;
}

/// Behind what proves them, where both sides have signed that they want it so; or have shown, by
/// greetings that they both understand, that they say so.
void TcpChannel::go_clear() {
  link_.reset();
  const std::uint8_t peer_says = proved_ ? proved_->says : says_;
  if ((says_ & peer_says & security::kSaysClear) == 0) return;
  ciphers_ = {.send = Cipher::clear(), .receive = Cipher::clear()};
}

Result<TcpChannel::What> TcpChannel::take_link_answer(Bytes body) {
  const auto proof = link_->step(body);
  if (!proof) {
    const Error& why = proof.error();
    return end(why.code() == Errc::invalid_argument ? refusal_error(why.code()) : why);
  }
  if (const auto proved = take_proved(); !proved) return end(proved.error());
  greet(GreetingKind::link_proof, proof->out);
  state_ = State::awaiting;
  return next_greeting();
}

Result<TcpChannel::What> TcpChannel::take_verdict(MutableBytes body) {
  const MutableBytes plain = body.first(kVerdictBytes);
  if (!ciphers_.receive.open(plain, body.last(kTagBytes))) {
    return end(Error(Errc::not_authentic, "the node that was dialled"));
  }
  const Result<Errc> refused = decode_verdict(plain);
  if (!refused) return end(refused.error());
  if (*refused != Errc{}) return end(refusal_error(*refused));
  if (!agrees()) return end(refusal_error(Errc::unsupported));
  go_clear();
  hold(kRoom);
  state_ = State::open;
  return What::opened;
}

}  // namespace dolmen::fabric
