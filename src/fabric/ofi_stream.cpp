// SPDX-License-Identifier: Apache-2.0
#include "fabric/ofi_stream.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/copy.hpp"

namespace dolmen::fabric {

OfiStream::~OfiStream() {
  for (const Piece& piece : pieces_) way_.idle->push_back(piece.buffer);
  if (held_) way_.idle->push_back(*held_);
}

void OfiStream::connect(sys::OfiPeer peer, const OfiHello& hello) {
  peer_ = peer;
  token_ = hello.token;
  credits_ = hello.buffers;
}

Result<bool> OfiStream::post(OfiBuffers::Number slot, OfiPieceHead head, std::size_t data) {
  head.token = token_;
  head.sequence = next_out_;
  head.credits = static_cast<std::uint16_t>(to_give_back_);
  const MutableBytes piece = way_.slots->bytes(slot).first(kOfiPieceHeadBytes + data);
  std::ranges::copy(encode(head), piece.begin());
  if (way_.owners->size() <= slot) way_.owners->resize(slot + 1);
  (*way_.owners)[slot] = number_;
  const Result<void> posted = way_.port->send(*peer_, slot, piece, way_.slots->memory(slot));
  is_stalled_ = !posted;
  if (!posted) {
    way_.slots->give(slot);
    if (posted.error().code() != Errc::busy) return std::unexpected(posted.error());
    return false;
  }
  ++next_out_;
  ++under_way_;
  to_give_back_ = 0;
  if (head.kind == OfiPieceHead::Kind::data) --credits_;
  return true;
}

Result<bool> OfiStream::post_empty(OfiPieceHead::Kind kind) {
  DOLMEN_TRY(const OfiBuffers::Number slot, way_.slots->take());
  return post(slot, {.kind = kind}, 0);
}

Result<void> OfiStream::append(const UnitHeader& header, std::span<const Bytes> parts) {
  std::size_t body = 0;
  for (const Bytes part : parts) body += part.size();
  UnitHeader whole = header;
  whole.body_bytes = static_cast<std::uint32_t>(body);
  const auto head = encode(whole);
  const std::size_t bytes = head.size() + body;
  const auto put = [&](MutableBytes into) {
    std::ranges::copy(head, into.begin());
    std::size_t at = head.size();
    for (const Bytes part : parts) {
      base::copy_bytes(part, into.subspan(at));
      at += part.size();
    }
  };
  if (queued_.empty() && bytes <= kOfiPieceData && may_send_data()) {
    DOLMEN_TRY(const OfiBuffers::Number slot, way_.slots->take());
    put(way_.slots->bytes(slot).subspan(kOfiPieceHeadBytes));
    DOLMEN_TRY(const bool is_sent, post(slot, {.left = static_cast<std::uint32_t>(bytes)}, bytes));
    if (is_sent) return {};
  }
  put(queued_.emplace_back(bytes));
  queued_bytes_ += bytes;
  DOLMEN_CHECK(pump());
  return {};
}

Result<bool> OfiStream::pump() {
  bool did_something = false;
  if (!peer_) return false;
  is_stalled_ = false;
  if (!is_greeting_sent_) {
    DOLMEN_TRY(is_greeting_sent_, post_empty(OfiPieceHead::Kind::greeting));
    if (!is_greeting_sent_) return false;
    did_something = true;
  }
  while (!queued_.empty() && may_send_data()) {
    const Bytes left = Bytes(queued_.front()).subspan(sent_of_first_);
    const Bytes data = left.first(std::min(left.size(), kOfiPieceData));
    DOLMEN_TRY(const OfiBuffers::Number slot, way_.slots->take());
    base::copy_bytes(data, way_.slots->bytes(slot).subspan(kOfiPieceHeadBytes));
    DOLMEN_TRY(const bool is_sent,
               post(slot, {.left = static_cast<std::uint32_t>(left.size())}, data.size()));
    if (!is_sent) return did_something;
    did_something = true;
    sent_of_first_ += data.size();
    if (data.size() < left.size()) continue;
    queued_bytes_ -= queued_.front().size();
    queued_.pop_front();
    sent_of_first_ = 0;
  }
  // Half of the other side's credits: two such pieces at most lie unread there, and it has room for
  // more.
  if (to_give_back_ >= kBuffers / 2 && under_way_ < kSlots) {
    DOLMEN_TRY(const bool is_sent, post_empty(OfiPieceHead::Kind::credits));
    did_something |= is_sent;
  }
  return did_something;
}

Result<void> OfiStream::arrived(OfiBuffers::Number buffer, const OfiPieceHead& head, Bytes data) {
  const bool is_greeting = head.kind == OfiPieceHead::Kind::greeting;
  if (head.sequence != next_in_ || is_greeting == is_greeted_) {
    way_.idle->push_back(buffer);
    return fail(Errc::corrupt, "a piece out of turn", head.sequence);
  }
  ++next_in_;
  is_greeted_ = true;
  credits_ += head.credits;
  if (head.kind != OfiPieceHead::Kind::data) {
    way_.idle->push_back(buffer);
  } else {
    pieces_.push_back({.buffer = buffer, .left = head.left, .data = data});
  }
  if (credits_ > kOfiBuffersMax) return fail(Errc::corrupt, "credits for nothing");
  if (pieces_.size() + to_give_back_ > kBuffers) return fail(Errc::corrupt, "more than credited");
  return {};
}

Result<std::optional<OfiStream::Unit>> OfiStream::next() {
  if (held_) {
    way_.idle->push_back(*std::exchange(held_, std::nullopt));
    ++to_give_back_;
  }
  while (!pieces_.empty()) {
    const Piece piece = pieces_.front();
    pieces_.pop_front();
    held_ = piece.buffer;
    DOLMEN_TRY(const Assembly::Whole whole, assembly_.add(piece.left, piece.data));
    if (!whole.is_complete) {
      way_.idle->push_back(*std::exchange(held_, std::nullopt));
      ++to_give_back_;
      continue;
    }
    DOLMEN_TRY(const UnitHeader header, decode_ofi_unit(whole.bytes));
    return Unit{.header = header, .body = whole.bytes.subspan(kUnitHeaderBytes)};
  }
  return std::nullopt;
}

}  // namespace dolmen::fabric
