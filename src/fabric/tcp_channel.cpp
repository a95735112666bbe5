// SPDX-License-Identifier: Apache-2.0
#include "fabric/tcp_channel.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/copy.hpp"

namespace dolmen::fabric {
namespace {

/// A unit up to so long is put together before it is queued, with one look at the queue.
constexpr std::size_t kAtOnce = 256;
/// More than this is not kept for a rainy day.
constexpr std::size_t kKeptBytes = 1u << 20;
/// Of a record that is sent: it is copied, sealed, opened and copied again while it is in the first
/// cache, and the part of the next one that came with it, which is moved, is short.
constexpr std::size_t kSentPlainMax = 16u << 10;
static_assert(kSentPlainMax <= kRecordPlainMax);

void give_back(std::vector<std::byte>& bytes) {
  bytes.clear();
  if (bytes.capacity() > kKeptBytes) bytes.shrink_to_fit();
}

}  // namespace

TcpChannel::TcpChannel(Side side, const NodeName& self, NodeId target, const Secret& key,
                       const Secret& ephemeral, std::uint8_t says)
    : side_(side), self_(self), target_(target), says_(says) {
  // Both sides must have seen the same greeting: neither magic nor version can be exchanged. Nor
  // what is said of the fabric, which is in no message.
  constexpr std::uint16_t kBody = kHandshakeOverhead + kHelloBytes;
  const auto head = encode(Greeting{.kind = GreetingKind::hello, .body_bytes = kBody});
  std::vector<std::byte> prologue(head.begin(), head.end());
  if (says != 0) prologue.push_back(std::byte{says});
  handshake_.emplace(side == Side::dialler, key, ephemeral, prologue);
  hold(kGreetingRoom);
  if (side == Side::dialler) {
    std::array<std::byte, kBody> body{};
    DOLMEN_ASSERT(handshake_->write(encode(Hello{.self = self, .target = target}), body));
    greet(GreetingKind::hello, body);
  }
}

void TcpChannel::greet(GreetingKind kind, Bytes body) {
  const auto head =
      encode(Greeting{.kind = kind, .body_bytes = static_cast<std::uint16_t>(body.size())});
  out_.insert(out_.end(), head.begin(), head.end());
  out_.insert(out_.end(), body.begin(), body.end());
}

void TcpChannel::hold(std::size_t bytes) {
  auto larger = std::make_unique_for_overwrite<std::byte[]>(bytes);
  const std::size_t left = in_end_ - in_begin_;
  if (left > 0) std::memcpy(larger.get(), in_.get() + in_begin_, left);
  in_ = std::move(larger);
  in_bytes_ = bytes;
  in_begin_ = 0;
  in_end_ = left;
}

MutableBytes TcpChannel::room() {
  DOLMEN_ASSERT(plain_.empty());
  if (in_begin_ == in_end_) {
    in_begin_ = in_end_ = 0;
  } else if (in_bytes_ - in_end_ < in_bytes_ / 2) {
    std::memmove(in_.get(), in_.get() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  return {in_.get() + in_end_, in_bytes_ - in_end_};
}

void TcpChannel::received(std::size_t bytes) noexcept {
  DOLMEN_ASSERT_CMP(bytes, <=, in_bytes_ - in_end_);
  in_end_ += bytes;
}

std::unexpected<Error> TcpChannel::end(const Error& why) {
  state_ = State::ended;
  plain_ = {};
  return std::unexpected(why);
}

Result<TcpChannel::What> TcpChannel::next() {
  switch (state_) {
    case State::greeting:
    case State::proving:
    case State::awaiting:
      return next_greeting();
    case State::welcomed:
      hold(kRoom);
      state_ = State::open;
      return What::opened;
    case State::judged:
    case State::ended:
      return What::nothing;
    case State::confirming: {
      const Result<bool> record = next_record(kUnitHeaderBytes + kTagBytes);
      if (!record) return end(record.error());
      if (!*record) return What::nothing;
      if (!std::ranges::equal(plain_, encode(UnitHeader{.kind = UnitKind::ready}))) {
        return end(Error(Errc::corrupt, "a unit out of turn"));
      }
      plain_ = {};
      go_clear();
      hold(kRoom);
      state_ = State::open;
      return What::opened;
    }
    case State::open:
      break;
  }
  for (;;) {
    const Result<bool> unit = next_unit();
    if (!unit) return end(unit.error());
    if (*unit) return What::unit;
    const Result<bool> record = next_record(kRecordPlainMax + kTagBytes);
    if (!record) return end(record.error());
    if (!*record) return What::nothing;
  }
}

Result<TcpChannel::What> TcpChannel::next_greeting() {
  const std::size_t held = in_end_ - in_begin_;
  if (held < kGreetingBytes) return What::nothing;
  const MutableBytes bytes(in_.get() + in_begin_, held);
  const Result<Greeting> greeting = decode_greeting(bytes.first(kGreetingBytes));
  if (!greeting) {
    if (side_ == Side::acceptor && greeting.error().code() == Errc::version_unsupported) {
      greet(GreetingKind::refusal, encode_refusal(Errc::version_unsupported));
    }
    return end(greeting.error());
  }
  const GreetingKind other = link_ ? GreetingKind::hello : GreetingKind::link_hello;
  if (side_ == Side::acceptor && state_ == State::greeting && greeting->kind == other) {
    greet(GreetingKind::refusal, encode_refusal(Errc::not_authentic));
    return end(Error(Errc::not_authentic,
                     link_ ? "somebody who connects with a shared key, not with one of its own"
                           : "somebody who connects with a key of its own, not the shared one"));
  }
  if (!is_due(*greeting)) return end(Error(Errc::corrupt, "a greeting out of turn"));
  if (held < kGreetingBytes + greeting->body_bytes) return What::nothing;
  in_begin_ += kGreetingBytes + greeting->body_bytes;
  const MutableBytes body = bytes.subspan(kGreetingBytes, greeting->body_bytes);
  if (greeting->kind == GreetingKind::refusal) return end(decode_refusal(body));
  if (link_) return take_link(greeting->kind, body);
  return side_ == Side::acceptor ? take_hello(body) : take_answer(body);
}

bool TcpChannel::is_due(const Greeting& greeting) const noexcept {
  const auto is = [&](GreetingKind kind, std::size_t body_bytes) {
    return greeting.kind == kind && greeting.body_bytes == body_bytes;
  };
  if (side_ == Side::dialler && is(GreetingKind::refusal, kRefusalBytes)) return true;
  if (!link_) {
    return side_ == Side::acceptor ? is(GreetingKind::hello, kHandshakeOverhead + kHelloBytes)
                                   : is(GreetingKind::answer, kHandshakeOverhead + kAnswerBytes);
  }
  switch (state_) {
    case State::greeting:
      return side_ == Side::acceptor ? is(GreetingKind::link_hello, security::kHelloBytes)
                                     : is(GreetingKind::link_answer, security::kAnswerBytes);
    case State::proving:
      return is(GreetingKind::link_proof, security::kProofBytes);
    case State::awaiting:
      return is(GreetingKind::link_verdict, kSealedVerdictBytes);
    default:
      return false;
  }
}

Result<TcpChannel::What> TcpChannel::take_hello(MutableBytes body) {
  Bytes payload;
  if (!handshake_->read(body, payload)) {
    greet(GreetingKind::refusal, encode_refusal(Errc::not_authentic));
    return end(Error(Errc::not_authentic, "somebody who connects"));
  }
  const Result<Hello> hello = decode_hello(payload);
  if (!hello) return end(hello.error());
  peer_ = hello->self;
  state_ = State::judged;
  if (hello->target != NodeId::nobody && hello->target != self_.node) {
    answer(Errc::invalid_argument);
    return end(Error(Errc::invalid_argument, "a node that connects means another one"));
  }
  return What::greeted;
}

void TcpChannel::answer(Errc refused) {
  DOLMEN_ASSERT(state_ == State::judged);
  if (link_) return give_verdict(refused);
  std::array<std::byte, kHandshakeOverhead + kAnswerBytes> body{};
  if (!handshake_->write(encode(Answer{.self = self_, .refused = refused}), body)) {
    refused = Errc::corrupt;  // its public key is none
  } else {
    greet(GreetingKind::answer, body);
  }
  state_ = refused == Errc{} ? State::confirming : State::ended;
  if (state_ == State::confirming) {
    ciphers_ = handshake_->split();
  }
  handshake_.reset();
}

Result<TcpChannel::What> TcpChannel::take_answer(MutableBytes body) {
  Bytes payload;
  if (!handshake_->read(body, payload)) {
    return end(Error(Errc::not_authentic, "the node that was dialled"));
  }
  const Result<Answer> answer = decode_answer(payload);
  if (!answer) return end(answer.error());
  if (answer->refused != Errc{}) return end(refusal_error(answer->refused));
  if (target_ != NodeId::nobody && answer->self.node != target_) {
    return end(refusal_error(Errc::invalid_argument));
  }
  peer_ = answer->self;
  ciphers_ = handshake_->split();
  handshake_.reset();
  hold(kRoom);
  state_ = State::open;
  append({.kind = UnitKind::ready}, Bytes{});
  close_record();  // alone: the acceptor has little room until it has seen it
  go_clear();
  return What::opened;
}

Result<bool> TcpChannel::next_record(std::size_t sealed_bytes_max) {
  const std::size_t held = in_end_ - in_begin_;
  if (held < kRecordLengthBytes) return false;
  const Bytes head(in_.get() + in_begin_, kRecordLengthBytes);
  const std::size_t sealed_bytes = base::load<std::uint16_t>(head);
  if (sealed_bytes <= kTagBytes) return fail(Errc::corrupt, "a record without content");
  if (sealed_bytes > sealed_bytes_max) return fail(Errc::corrupt, "a record out of turn");
  if (held < kRecordLengthBytes + sealed_bytes) return false;
  const MutableBytes sealed(in_.get() + in_begin_ + kRecordLengthBytes, sealed_bytes);
  const MutableBytes plain = sealed.first(sealed_bytes - kTagBytes);
  if (!ciphers_.receive.open(plain, sealed.last(kTagBytes))) {
    return fail(Errc::corrupt, "a record that was changed on its way");
  }
  in_begin_ += kRecordLengthBytes + sealed_bytes;
  plain_ = plain;
  return true;
}

Result<bool> TcpChannel::next_unit() {
  if (gathered_used_) {
    give_back(gathered_);
    gathered_used_ = false;
  }
  if (plain_.empty()) return false;
  bool is_complete = false;
  if (gathered_.empty() && plain_.size() >= kUnitHeaderBytes) {
    DOLMEN_TRY(unit_.header, decode_unit_header(plain_.first(kUnitHeaderBytes)));
    const std::size_t bytes = kUnitHeaderBytes + unit_.header.body_bytes;
    if (plain_.size() >= bytes) {
      unit_.body = plain_.subspan(kUnitHeaderBytes, unit_.header.body_bytes);
      plain_ = plain_.subspan(bytes);
      is_complete = true;
    }
  }
  if (!is_complete) {
    DOLMEN_TRY(is_complete, gather());
  }
  if (is_complete && unit_.header.kind == UnitKind::ready) {
    return fail(Errc::corrupt, "a unit out of turn");
  }
  return is_complete;
}

/// Moves what there is of a unit that spans records to gathered_. True: it is complete, in unit_.
Result<bool> TcpChannel::gather() {
  const auto take_up_to = [&](std::size_t size) {
    const Bytes more = plain_.first(std::min(plain_.size(), size - gathered_.size()));
    gathered_.insert(gathered_.end(), more.begin(), more.end());
    plain_ = plain_.subspan(more.size());
    return gathered_.size() == size;
  };
  if (gathered_.size() < kUnitHeaderBytes) {
    if (!take_up_to(kUnitHeaderBytes)) return false;
    DOLMEN_TRY(unit_.header, decode_unit_header(gathered_));
    gathered_wanted_ = kUnitHeaderBytes + unit_.header.body_bytes;
    gathered_.reserve(gathered_wanted_);
  }
  if (!take_up_to(gathered_wanted_)) return false;
  gathered_used_ = true;
  unit_.body = Bytes(gathered_).subspan(kUnitHeaderBytes);
  return true;
}

void TcpChannel::append(UnitHeader header, std::span<const Bytes> parts) {
  DOLMEN_ASSERT(state_ == State::open);
  std::size_t bytes = 0;
  for (const Bytes part : parts) bytes += part.size();
  header.body_bytes = static_cast<std::uint32_t>(bytes);
  const auto head = encode(header);
  std::array<std::byte, kAtOnce> small;  // NOLINT(*-member-init): what is used is written
  if (head.size() + bytes > small.size()) {
    put(head);
    for (const Bytes part : parts) put(part);
    return;
  }
  std::size_t used = 0;
  const auto take = [&](Bytes part) {
    base::copy_bytes(part, MutableBytes(small).subspan(used));
    used += part.size();
  };
  take(head);
  for (const Bytes part : parts) take(part);
  put(Bytes(small).first(used));
}

void TcpChannel::put(Bytes bytes) {
  while (!bytes.empty()) {
    if (!record_open_) {
      record_open_ = true;
      record_begin_ = out_.size();
      constexpr std::array<std::byte, kRecordLengthBytes> kLater{};
      out_.insert(out_.end(), kLater.begin(), kLater.end());
    }
    const std::size_t used = out_.size() - record_begin_ - kRecordLengthBytes;
    const std::size_t count = std::min(bytes.size(), kSentPlainMax - used);
    const Bytes now = bytes.first(count);
    out_.insert(out_.end(), now.begin(), now.end());
    bytes = bytes.subspan(count);
    if (used + count == kSentPlainMax) close_record();
  }
}

void TcpChannel::close_record() {
  constexpr std::array<std::byte, kTagBytes> kLater{};
  out_.insert(out_.end(), kLater.begin(), kLater.end());
  const MutableBytes record = MutableBytes(out_).subspan(record_begin_);
  const MutableBytes sealed = record.subspan(kRecordLengthBytes);
  base::store(record, 0, static_cast<std::uint16_t>(sealed.size()));
  ciphers_.send.seal(sealed.first(sealed.size() - kTagBytes), sealed.last(kTagBytes));
  record_open_ = false;
}

Bytes TcpChannel::to_write() {
  if (record_open_) close_record();
  return Bytes(out_).subspan(out_begin_);
}

void TcpChannel::written(std::size_t bytes) {
  DOLMEN_ASSERT(!record_open_);
  DOLMEN_ASSERT_CMP(bytes, <=, queued());
  out_begin_ += bytes;
  if (out_begin_ == out_.size()) {
    give_back(out_);
    out_begin_ = 0;
  } else if (out_begin_ >= out_.size() / 2) {
    // What moves was never moved before, and half of it is gone: each byte moves about once.
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(out_begin_));
    out_begin_ = 0;
  }
}

}  // namespace dolmen::fabric
