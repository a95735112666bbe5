// SPDX-License-Identifier: Apache-2.0
#include "fabric/shm_link.hpp"

#include <algorithm>
#include <utility>

namespace dolmen::fabric::shm {
namespace {

// A message that does not fit is not cut into smaller pieces than this, but for its end.
constexpr std::size_t kPieceBytesMin = 1024;

std::size_t object_bytes(const LinkCard& card) noexcept {
  return kHeaderBytes + 2 * static_cast<std::size_t>(card.ring_bytes);
}

}  // namespace

Result<std::unique_ptr<Link>> Link::dial(sys::SharedDirectory& directory, const LinkCard& card,
                                         const LinkLimits& limits) {
  DOLMEN_TRY(auto object, directory.create(object_bytes(card)));
  write_card(object->memory().first(kHeaderBytes), card);
  DOLMEN_CHECK(object->publish(link_object(card)));
  return std::make_unique<Link>(card, true, std::move(object), nullptr, limits);
}

Result<std::unique_ptr<Link>> Link::open(sys::SharedDirectory& directory, const LinkCard& named,
                                         const LinkLimits& limits) {
  DOLMEN_TRY(auto object, directory.open(link_object(named), sys::SharedAccess::read_write,
                                         kHeaderBytes, kHeaderBytes + 2 * kRingBytesMax));
  DOLMEN_TRY(const LinkCard card, read_link_card(object->memory().first(kHeaderBytes)));
  LinkCard expected = named;
  expected.ring_bytes = card.ring_bytes;
  if (card != expected || object->memory().size() != object_bytes(card)) {
    return fail(Errc::corrupt, "a connection's card");
  }
  return std::make_unique<Link>(card, false, nullptr, std::move(object), limits);
}

Link::Link(const LinkCard& card, bool dialer, std::unique_ptr<sys::OwnObject> made,
           std::unique_ptr<sys::SharedObject> opened, const LinkLimits& limits)
    : card_(card),
      dialer_(dialer),
      made_(std::move(made)),
      opened_(std::move(opened)),
      limits_(limits),
      out_(ring_words(dialer), ring_data(dialer)),
      in_(ring_words(!dialer), ring_data(!dialer)) {}

MutableBytes Link::memory() const noexcept {
  return made_ != nullptr ? made_->memory() : opened_->memory();
}
MutableBytes Link::ring_words(bool of_dialer) const noexcept {
  return memory().subspan(kLinkRingsAt + (of_dialer ? 0 : kRingWordsBytes), kRingWordsBytes);
}
MutableBytes Link::ring_data(bool of_dialer) const noexcept {
  return memory().subspan(kHeaderBytes + (of_dialer ? 0 : card_.ring_bytes), card_.ring_bytes);
}

void Link::accept() noexcept {
  word_at<std::uint32_t>(memory(), kLinkAcceptedAt).store(1, std::memory_order_seq_cst);
}
bool Link::accepted() const noexcept {
  return word_at<std::uint32_t>(memory(), kLinkAcceptedAt).load(std::memory_order_seq_cst) == 1;
}
void Link::withdraw() noexcept {
  if (made_ != nullptr) made_->withdraw();
}
void Link::close(Errc why) noexcept {
  word_at<std::uint32_t>(memory(), dialer_ ? kLinkDialerClosedAt : kLinkAcceptorClosedAt)
      .store(static_cast<std::uint32_t>(why), std::memory_order_seq_cst);
  withdraw();
}
std::optional<Errc> Link::closed_by_peer() const noexcept {
  const auto why =
      word_at<std::uint32_t>(memory(), dialer_ ? kLinkAcceptorClosedAt : kLinkDialerClosedAt)
          .load(std::memory_order_seq_cst);
  if (why == 0) return std::nullopt;
  for (const ErrorRow& row : kErrorTable) {
    if (static_cast<std::uint32_t>(row.code) == why) return row.code;
  }
  return Errc::corrupt;
}

Result<std::size_t> Link::put(std::span<const Bytes> parts, std::size_t bytes, std::size_t done,
                              bool& finished) {
  const std::size_t before = done;
  finished = false;
  for (;;) {
    const std::size_t left = bytes - done;
    DOLMEN_TRY(std::size_t room, out_.room(kFrameHeadBytes + left));
    if (room < kFrameHeadBytes + std::min(left, kPieceBytesMin)) return done - before;
    room -= kFrameHeadBytes;
    // No piece of more than a quarter: the reader shall take one while the next is written.
    const std::size_t piece =
        std::min({left, room, static_cast<std::size_t>(card_.ring_bytes) / 4});
    out_.put({.bytes = static_cast<std::uint32_t>(piece), .last = piece == left}, parts, done);
    done += piece;
    finished = done == bytes;
    if (finished) return done - before;
  }
}

Result<bool> Link::send(std::span<const Bytes> parts) {
  std::size_t bytes = 0;
  for (const Bytes& part : parts) {
    if (part.size() > limits_.message_bytes_out - bytes) return fail(Errc::too_large, "a message");
    bytes += part.size();
  }
  std::size_t done = 0;
  if (queue_.empty()) {
    bool finished = false;
    DOLMEN_TRY(done, put(parts, bytes, 0, finished));
    if (finished) return true;
    first_done_ = done;
  } else if (bytes > limits_.queue_bytes - std::min(queued_bytes_, limits_.queue_bytes)) {
    return fail(Errc::busy, "messages for one node", queued_bytes_);
  }
  std::vector<std::byte> rest;
  rest.reserve(bytes);
  for (const Bytes& part : parts) rest.insert(rest.end(), part.begin(), part.end());
  queued_bytes_ += bytes;
  queue_.push_back(std::move(rest));
  return done > 0;
}

Result<bool> Link::flush() {
  bool moved = false;
  while (!queue_.empty()) {
    const Bytes message = queue_.front();
    bool finished = false;
    DOLMEN_TRY(const std::size_t done,
               put(std::span<const Bytes>(&message, 1), message.size(), first_done_, finished));
    moved = moved || done > 0 || finished;
    first_done_ = finished ? 0 : first_done_ + done;
    if (!finished) break;
    queued_bytes_ -= message.size();
    queue_.pop_front();
  }
  return moved;
}

bool Link::can_flush(bool wants) noexcept {
  if (queue_.empty()) return false;
  const std::size_t left = queue_.front().size() - first_done_;
  const std::size_t least = kFrameHeadBytes + std::min(left, kPieceBytesMin);
  if (wants) out_.want_room();
  const auto room = out_.room(least);
  return !room || *room >= least;  // an error is for flush() to find
}

Result<std::optional<Bytes>> Link::receive(std::size_t& looked) {
  if (std::exchange(delivered_, false)) message_.clear();
  for (;; ++looked) {
    DOLMEN_TRY(const std::optional<Frame> frame, in_.next());
    if (!frame) return std::nullopt;
    if (frame->bytes > limits_.message_bytes_in - message_.size()) {
      return fail(Errc::corrupt, "a message that is longer than was agreed", frame->bytes);
    }
    const std::size_t before = message_.size();
    message_.resize(before + frame->bytes);
    in_.take(MutableBytes(message_).subspan(before));
    if (!frame->last) continue;
    delivered_ = true;
    ++looked;
    return Bytes(message_);
  }
}

}  // namespace dolmen::fabric::shm
