// SPDX-License-Identifier: Apache-2.0
#include "fabric/verbs_messages.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

#include "base/copy.hpp"

namespace dolmen::fabric {

Result<std::unique_ptr<VerbsMessages>> VerbsMessages::make(sys::RdmaDomain& domain,
                                                           std::uint32_t first_packet,
                                                           std::size_t queue_bytes) {
  std::unique_ptr<VerbsMessages> made(new VerbsMessages());
  made->memory_.resize(2 * kSlots * kVerbsPieceBytes);
  made->queue_bytes_ = queue_bytes;
  made->ended_.resize(32);
  DOLMEN_TRY(made->registered_, domain.register_memory(made->memory_, {}));
  DOLMEN_TRY(made->queue_, domain.make_queue({.sends = kSlots, .receives = kSlots}, first_packet));
  for (std::uint64_t i = 0; i < kSlots; ++i) DOLMEN_CHECK(made->give_buffer(i));
  return made;
}

MutableBytes VerbsMessages::slot(std::size_t number) noexcept {
  return MutableBytes(memory_).subspan(number * kVerbsPieceBytes, kVerbsPieceBytes);
}

MutableBytes VerbsMessages::buffer(std::size_t number) noexcept { return slot(kSlots + number); }

Result<void> VerbsMessages::give_buffer(std::uint64_t number) {
  return queue_->post_receive(kReceive | number, buffer(number), registered_->local_key());
}

Result<void> VerbsMessages::connect(const sys::RdmaAddress& peer, std::uint32_t its_buffers) {
  DOLMEN_CHECK(queue_->connect(peer, {}));
  credits_ = its_buffers;
  is_connected_ = true;
  return {};
}

Result<void> VerbsMessages::post_piece(const VerbsPieceHead& head, std::size_t data) {
  VerbsPieceHead with_credits = head;
  with_credits.credits = static_cast<std::uint16_t>(to_give_back_);
  const MutableBytes piece = slot(next_slot_);
  std::ranges::copy(encode(with_credits), piece.begin());
  DOLMEN_CHECK(queue_->post({.kind = sys::RdmaWork::Kind::send,
                             .tag = next_slot_,
                             .local = piece.data(),
                             .bytes = static_cast<std::uint32_t>(kVerbsPieceHeadBytes + data),
                             .local_key = registered_->local_key()}));
  to_give_back_ = 0;
  next_slot_ = (next_slot_ + 1) % kSlots;
  ++under_way_;
  if (head.is_data) --credits_;
  return {};
}

Result<void> VerbsMessages::send(std::span<const Bytes> parts) {
  std::size_t bytes = 0;
  for (const Bytes part : parts) {
    bytes += part.size();
    if (part.size() > kVerbsMessageMax || bytes > kVerbsMessageMax) {
      return fail(Errc::too_large, "a message between nodes", bytes);
    }
  }
  if (queued_.empty() && bytes <= kVerbsPieceData && can_send_data()) {
    std::size_t at = kVerbsPieceHeadBytes;
    for (const Bytes part : parts) {
      base::copy_bytes(part, slot(next_slot_).subspan(at));
      at += part.size();
    }
    return post_piece({.left = static_cast<std::uint32_t>(bytes), .is_data = true}, bytes);
  }
  if (!queued_.empty() && queued_bytes_ + bytes > queue_bytes_) {
    return fail(Errc::busy, "too much is queued for a node");
  }
  std::vector<std::byte>& message = queued_.emplace_back();
  message.reserve(bytes);
  for (const Bytes part : parts) message.insert(message.end(), part.begin(), part.end());
  queued_bytes_ += bytes;
  DOLMEN_CHECK(send_queued());
  return {};
}

Result<bool> VerbsMessages::send_queued() {
  bool did_something = false;
  while (!queued_.empty() && can_send_data()) {
    const Bytes left = Bytes(queued_.front()).subspan(sent_of_first_);
    const Bytes data = left.first(std::min(left.size(), kVerbsPieceData));
    base::copy_bytes(data, slot(next_slot_).subspan(kVerbsPieceHeadBytes));
    DOLMEN_CHECK(post_piece({.left = static_cast<std::uint32_t>(left.size()), .is_data = true},
                            data.size()));
    did_something = true;
    sent_of_first_ += data.size();
    if (data.size() < left.size()) continue;
    queued_bytes_ -= queued_.front().size();
    queued_.pop_front();
    sent_of_first_ = 0;
  }
  // Half of the other side's credits: two such messages at most lie unread there, and it has room
  // for more.
  if (is_connected_ && to_give_back_ >= kBuffers / 2 && under_way_ < kSlots) {
    DOLMEN_CHECK(post_piece({}, 0));
    did_something = true;
  }
  return did_something;
}

Result<VerbsMessages::Polled> VerbsMessages::poll() {
  Polled polled;
  if (std::exchange(holds_buffer_, false)) {
    DOLMEN_CHECK(give_buffer(held_buffer_));
    ++to_give_back_;
  }
  for (;;) {
    if (next_ended_ == ended_count_) {
      next_ended_ = 0;
      DOLMEN_TRY(ended_count_, queue_->poll(ended_));
      if (ended_count_ == 0) break;
      polled.did_something = true;
    }
    const sys::RdmaDone& ended = ended_[next_ended_++];
    if (ended.how != sys::RdmaDone::How::done) {
      return fail(Errc::connection_lost, "a message did not reach the other node");
    }
    if ((ended.tag & kReceive) == 0) {
      DOLMEN_ASSERT(under_way_ > 0);
      --under_way_;
      continue;
    }
    const std::uint64_t number = ended.tag & ~kReceive;
    const Bytes piece = Bytes(buffer(number)).first(ended.bytes);
    DOLMEN_TRY(const VerbsPieceHead head, decode_verbs_piece(piece));
    credits_ += head.credits;
    if (credits_ > kVerbsBuffersMax) return fail(Errc::corrupt, "credits for nothing");
    if (!head.is_data) {
      DOLMEN_CHECK(give_buffer(number));
      continue;
    }
    DOLMEN_TRY(const Assembly::Whole message,
               assembly_.add(head.left, piece.subspan(kVerbsPieceHeadBytes)));
    if (!message.is_complete) {
      DOLMEN_CHECK(give_buffer(number));
      ++to_give_back_;
      // Or a message of more pieces than there are buffers would not come to its end.
      DOLMEN_CHECK(send_queued());
      continue;
    }
    holds_buffer_ = true;
    held_buffer_ = number;
    polled.has_message = true;
    polled.message = message.bytes;
    return polled;
  }
  DOLMEN_TRY(const bool did_more, send_queued());
  polled.did_something |= did_more;
  return polled;
}

Result<bool> VerbsMessages::arm() {
  if (next_ended_ < ended_count_) return true;
  return queue_->arm();
}

}  // namespace dolmen::fabric
