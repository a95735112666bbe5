// SPDX-License-Identifier: Apache-2.0
//
// Messages over one reliable queue: cut into pieces that fit the other side's buffers, sent as long
// as it has buffers, whose number (credits) comes back with what it sends. Internal to the verbs
// endpoint.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/assembly.hpp"
#include "fabric/fabric.hpp"
#include "fabric/verbs_format.hpp"
#include "sys/rdma.hpp"

namespace dolmen::fabric {

class VerbsMessages {
 public:
  static constexpr std::uint32_t kBuffers = 64;

  /// `domain` outlives it. Errors: those of RdmaDomain.
  [[nodiscard]] static Result<std::unique_ptr<VerbsMessages>> make(sys::RdmaDomain& domain,
                                                                   std::uint32_t first_packet,
                                                                   std::size_t queue_bytes);

  [[nodiscard]] const sys::RdmaAddress& address() const noexcept { return queue_->address(); }
  /// Errors: those of RdmaQueue.
  [[nodiscard]] Result<void> connect(const sys::RdmaAddress& peer, std::uint32_t its_buffers);
  /// Copies. Errors: busy, too_large; io_error: the connection is lost.
  [[nodiscard]] Result<void> send(std::span<const Bytes> parts);
  /// One message of the other side, valid until the next call; what can be sent is sent. Nothing
  /// and no message: nothing happened. Errors: corrupt, connection_lost, io_error.
  struct Polled {
    bool did_something = false;
    bool has_message = false;
    Bytes message;
  };
  [[nodiscard]] Result<Polled> poll();
  /// True: poll() has something to do.
  [[nodiscard]] Result<bool> arm();

 private:
  static constexpr std::uint32_t kSlots = kBuffers + kVerbsSpare;
  static constexpr std::uint64_t kReceive = std::uint64_t{1} << 63;

  VerbsMessages() = default;
  [[nodiscard]] MutableBytes slot(std::size_t number) noexcept;
  [[nodiscard]] MutableBytes buffer(std::size_t number) noexcept;
  [[nodiscard]] Result<void> give_buffer(std::uint64_t number);
  [[nodiscard]] bool can_send_data() const noexcept {
    return credits_ > 0 && under_way_ < kBuffers && is_connected_;
  }
  [[nodiscard]] Result<void> post_piece(const VerbsPieceHead& head, std::size_t data);
  [[nodiscard]] Result<bool> send_queued();

  std::vector<std::byte> memory_;  ///< slots to send from, then buffers
  std::unique_ptr<sys::RdmaMemory> registered_;
  std::unique_ptr<sys::RdmaQueue> queue_;
  std::size_t queue_bytes_ = 0;
  bool is_connected_ = false;

  std::uint32_t next_slot_ = 0;
  std::uint32_t under_way_ = 0;  ///< pieces whose slots are in use: the ones before next_slot_
  std::uint32_t credits_ = 0;
  std::uint32_t to_give_back_ = 0;
  std::deque<std::vector<std::byte>> queued_;
  std::size_t queued_bytes_ = 0;
  std::size_t sent_of_first_ = 0;

  std::vector<sys::RdmaDone> ended_;
  std::size_t next_ended_ = 0;
  std::size_t ended_count_ = 0;
  Assembly assembly_;
  bool holds_buffer_ = false;  ///< of the message that was reported last
  std::uint64_t held_buffer_ = 0;
};

}  // namespace dolmen::fabric
