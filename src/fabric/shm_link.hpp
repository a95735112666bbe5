// SPDX-License-Identifier: Apache-2.0
//
// One connection between two lives: a shared object with a ring each way, made by the side that
// dials, found and accepted by the other. Each side closes it by a word of its own; nothing of it
// is used twice. Threads: one per side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/shm_layout.hpp"
#include "fabric/shm_ring.hpp"
#include "sys/shared_memory.hpp"

namespace dolmen::fabric::shm {

struct LinkLimits {
  std::size_t message_bytes_out = 0;  ///< what the other side takes
  std::size_t message_bytes_in = 0;   ///< what this side takes
  std::size_t queue_bytes = 0;        ///< of messages that found no room in the ring
};

class Link {
 public:
  /// Makes and publishes one. Errors: those of the directory.
  [[nodiscard]] static Result<std::unique_ptr<Link>> dial(sys::SharedDirectory& directory,
                                                          const LinkCard& card,
                                                          const LinkLimits& limits);
  /// Opens the one of this name. Errors: those of the directory, corrupt, version_unsupported.
  [[nodiscard]] static Result<std::unique_ptr<Link>> open(sys::SharedDirectory& directory,
                                                          const LinkCard& named,
                                                          const LinkLimits& limits);
  // What this constructor is given was checked.
  Link(const LinkCard& card, bool dialer, std::unique_ptr<sys::OwnObject> made,
       std::unique_ptr<sys::SharedObject> opened, const LinkLimits& limits);

  [[nodiscard]] const LinkCard& card() const noexcept { return card_; }
  /// The acceptor's word, which the dialer waits for.
  void accept() noexcept;
  [[nodiscard]] bool accepted() const noexcept;
  /// Nobody needs to find it any more. The memory goes with the last of the two sides.
  void withdraw() noexcept;
  /// This side's last word.
  void close(Errc why) noexcept;
  /// The other side's, if it has said it: what it sent before can be read.
  [[nodiscard]] std::optional<Errc> closed_by_peer() const noexcept;

  /// Into the ring, or else into the queue. True: the ring has something new. Errors: busy,
  /// too_large, corrupt.
  [[nodiscard]] Result<bool> send(std::span<const Bytes> parts);
  /// Moves queued messages into the ring; gives whether there was room for any.
  [[nodiscard]] Result<bool> flush();
  [[nodiscard]] bool has_queued() const noexcept { return !queue_.empty(); }
  /// Whether flush() would move anything. Before sleeping: `wants` asks to be woken for it.
  [[nodiscard]] bool can_flush(bool wants) noexcept;

  [[nodiscard]] bool readable() const noexcept { return in_.ready(); }
  /// The next message, valid until the next call; none: no whole one is there. `looked` counts
  /// frames, so that one peer cannot keep this side for ever. Errors: corrupt.
  [[nodiscard]] Result<std::optional<Bytes>> receive(std::size_t& looked);
  /// Gives room back. True: the other side sleeps for want of it.
  [[nodiscard]] bool release() noexcept { return in_.release(); }

 private:
  [[nodiscard]] MutableBytes memory() const noexcept;
  [[nodiscard]] MutableBytes ring_words(bool of_dialer) const noexcept;
  [[nodiscard]] MutableBytes ring_data(bool of_dialer) const noexcept;
  /// Puts what fits of a message whose first `done` bytes are in the ring. Gives the bytes put;
  /// `finished`: the last frame is there.
  [[nodiscard]] Result<std::size_t> put(std::span<const Bytes> parts, std::size_t bytes,
                                        std::size_t done, bool& finished);

  LinkCard card_;
  bool dialer_;
  std::unique_ptr<sys::OwnObject> made_;       // the dialer's
  std::unique_ptr<sys::SharedObject> opened_;  // the acceptor's
  LinkLimits limits_;
  RingWriter out_;
  RingReader in_;
  std::deque<std::vector<std::byte>> queue_;
  std::size_t queued_bytes_ = 0;
  std::size_t first_done_ = 0;      // bytes of the queue's first message that are in the ring
  std::vector<std::byte> message_;  // what came of the current one
  bool delivered_ = false;          // message_ was given out
};

}  // namespace dolmen::fabric::shm
