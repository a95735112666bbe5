// SPDX-License-Identifier: Apache-2.0
//
// One ring of bytes in shared memory, from one writer to one reader. Frames of 8-byte words: a word
// with length and flags, then the bytes. A frame is there when the writer's tail has passed it, so
// a writer that dies in the middle of one has written nothing.
//
// Each side keeps its own position in its own memory and only publishes it; the other's it reads
// from the ring, and believes nothing of it but what fits. Threads: one per side.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/shm_layout.hpp"
#include "fabric/shm_memory.hpp"

namespace dolmen::fabric::shm {

inline constexpr std::size_t kFrameHeadBytes = 8;

struct Frame {
  std::uint32_t bytes = 0;
  bool last = false;  ///< the message ends with it
};

class RingWriter {
 public:
  /// Requires: kRingWordsBytes of words, a power of two of at least kRingBytesMin of data.
  RingWriter(MutableBytes words, MutableBytes data) noexcept : words_(words), data_(data) {}

  /// Bytes that are free, kFrameHeadBytes of each frame included; looks at the reader's position
  /// only if what was known is less than `wanted`. Errors: corrupt (no position of a reader).
  [[nodiscard]] Result<std::size_t> room(std::size_t wanted) noexcept;
  /// Takes `frame.bytes` of `parts`, behind the first `skip`. Requires: room for head and bytes.
  void put(const Frame& frame, std::span<const Bytes> parts, std::size_t skip) noexcept;
  /// Says that this side waits for room; see publish() for why the reader cannot miss it.
  void want_room() noexcept {
    word_at<std::uint32_t>(words_, kRingWantsAt).store(1, std::memory_order_seq_cst);
  }

 private:
  void copy(std::uint64_t at, Bytes bytes) noexcept;

  MutableBytes words_;
  MutableBytes data_;
  std::uint64_t tail_ = 0;
  std::uint64_t head_ = 0;  // as last seen
};

class RingReader {
 public:
  RingReader(MutableBytes words, MutableBytes data) noexcept : words_(words), data_(data) {}

  /// Whether there is something to read (or to complain about).
  [[nodiscard]] bool ready() const noexcept {
    return word_at<std::uint64_t>(words_, kRingTailAt).load(std::memory_order_seq_cst) != head_;
  }
  /// The next frame; none: there is nothing. Errors: corrupt; then the ring is of no more use.
  [[nodiscard]] Result<std::optional<Frame>> next() noexcept;
  /// Copies the frame that next() gave and steps behind it. Requires: into.size() == frame.bytes.
  void take(MutableBytes into) noexcept;
  /// Gives the room of what was taken back. True: the writer sleeps for want of it; wake it.
  [[nodiscard]] bool release() noexcept;

 private:
  MutableBytes words_;
  MutableBytes data_;
  std::uint64_t head_ = 0;
  std::uint64_t released_ = 0;
  std::uint64_t tail_ = 0;  // as last seen
};

}  // namespace dolmen::fabric::shm
