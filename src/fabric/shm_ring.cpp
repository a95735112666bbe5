// SPDX-License-Identifier: Apache-2.0
#include "fabric/shm_ring.hpp"

#include <algorithm>
#include <cstring>

namespace dolmen::fabric::shm {
namespace {

constexpr std::uint32_t kLast = 1;

std::uint64_t padded(std::uint64_t bytes) noexcept {
  return (bytes + kWordBytes - 1) / kWordBytes * kWordBytes;
}

}  // namespace

Result<std::size_t> RingWriter::room(std::size_t wanted) noexcept {
  const auto left = [&]() -> std::size_t { return data_.size() - (tail_ - head_); };
  if (left() >= wanted) return left();
  // Acquire: what is written from here on must not get ahead of the reader's last look at the room.
  // Sequentially consistent: after want_room() this must not see an old position; see release().
  const auto head = word_at<std::uint64_t>(words_, kRingHeadAt).load(std::memory_order_seq_cst);
  if (head % kWordBytes != 0 || head < head_ || head > tail_) {
    return fail(Errc::corrupt, "the reader's position in a ring", head);
  }
  head_ = head;
  return left();
}

void RingWriter::copy(std::uint64_t at, Bytes bytes) noexcept {
  if (bytes.empty()) return;
  const std::size_t start = at & (data_.size() - 1);
  const std::size_t first = std::min(bytes.size(), data_.size() - start);
  std::memcpy(data_.data() + start, bytes.data(), first);
  if (first < bytes.size()) {
    std::memcpy(data_.data(), bytes.data() + first, bytes.size() - first);
  }
}

void RingWriter::put(const Frame& frame, std::span<const Bytes> parts, std::size_t skip) noexcept {
  const std::uint64_t head_word = frame.bytes | static_cast<std::uint64_t>(frame.last ? kLast : 0)
                                                    << 32;
  base::store(data_, tail_ & (data_.size() - 1), head_word);
  std::uint64_t at = tail_ + kFrameHeadBytes;
  std::size_t left = frame.bytes;
  for (const Bytes& part : parts) {
    if (skip >= part.size()) {
      skip -= part.size();
      continue;
    }
    const Bytes piece = part.subspan(skip, std::min(left, part.size() - skip));
    skip = 0;
    copy(at, piece);
    at += piece.size();
    left -= piece.size();
    if (left == 0) break;
  }
  DOLMEN_ASSERT_CMP(left, ==, 0u);
  tail_ = padded(at);
  // The wake-up protocol, here and wherever something is published that a sleeper may wait for:
  //   this side:   publish (seq_cst); read the other's `waiting` (seq_cst); if set, ring its bell
  //   the sleeper: set `waiting` (seq_cst); look once more for all it waits for (seq_cst); sleep
  // All four are in one total order: if this side reads 0, the sleeper's look comes after the
  // publication and finds it. If it reads 1, the bell rings, and a bell that rang before the sleep
  // begins ends it at once. The reading of `waiting` is the caller's (NodeWords::nudge).
  word_at<std::uint64_t>(words_, kRingTailAt).store(tail_, std::memory_order_seq_cst);
}

Result<std::optional<Frame>> RingReader::next() noexcept {
  if (tail_ == head_) {
    const auto tail = word_at<std::uint64_t>(words_, kRingTailAt).load(std::memory_order_acquire);
    if (tail == head_) return std::nullopt;
    if (tail % kWordBytes != 0 || tail < tail_ || tail - head_ > data_.size()) {
      return fail(Errc::corrupt, "the writer's position in a ring", tail);
    }
    tail_ = tail;
  }
  // The one reading of the word: what it says is checked and used from this copy.
  const auto word =
      word_at<std::uint64_t>(data_, head_ & (data_.size() - 1)).load(std::memory_order_relaxed);
  const auto bytes = static_cast<std::uint32_t>(word);
  const std::uint64_t flags = word >> 32;
  if (flags > kLast || padded(bytes) > tail_ - head_ - kFrameHeadBytes) {
    return fail(Errc::corrupt, "a frame in a ring", word);
  }
  return Frame{.bytes = bytes, .last = flags == kLast};
}

void RingReader::take(MutableBytes into) noexcept {
  if (!into.empty()) {
    const std::size_t start = (head_ + kFrameHeadBytes) & (data_.size() - 1);
    const std::size_t first = std::min(into.size(), data_.size() - start);
    std::memcpy(into.data(), data_.data() + start, first);
    if (first < into.size()) {
      std::memcpy(into.data() + first, data_.data(), into.size() - first);
    }
  }
  head_ += kFrameHeadBytes + padded(into.size());
}

bool RingReader::release() noexcept {
  if (released_ == head_) return false;
  released_ = head_;
  // As in RingWriter::put(), with the roles exchanged: publish the room, then look who wants it.
  word_at<std::uint64_t>(words_, kRingHeadAt).store(head_, std::memory_order_seq_cst);
  const auto wants = word_at<std::uint32_t>(words_, kRingWantsAt);
  return wants.load(std::memory_order_seq_cst) != 0 &&
         wants.exchange(0, std::memory_order_seq_cst) != 0;
}

}  // namespace dolmen::fabric::shm
