// SPDX-License-Identifier: Apache-2.0
//
// Units between two lives: cut into pieces that fit the other side's buffers, sent as long as it
// has buffers, whose number (credits) comes back with what it sends. Internal to the ofi endpoint,
// which owns the port and gives it what arrives.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/assembly.hpp"
#include "fabric/fabric.hpp"
#include "fabric/ofi_buffers.hpp"
#include "fabric/ofi_format.hpp"
#include "sys/ofi.hpp"

namespace dolmen::fabric {

/// What streams share.
struct OfiWay {
  sys::OfiPort* port = nullptr;
  OfiBuffers* slots = nullptr;  ///< pieces are sent from them; the tag is the slot's number
  std::vector<std::uint64_t>* owners = nullptr;     ///< of the slots: streams by number
  std::vector<OfiBuffers::Number>* idle = nullptr;  ///< buffers to be posted again
};

class OfiStream {
 public:
  static constexpr std::uint32_t kBuffers = 64;

  OfiStream(const OfiWay& way, std::uint64_t number) noexcept : way_(way), number_(number) {}
  OfiStream(const OfiStream&) = delete;
  OfiStream& operator=(const OfiStream&) = delete;
  ~OfiStream();

  [[nodiscard]] bool is_connected() const noexcept { return peer_.has_value(); }
  [[nodiscard]] std::optional<sys::OfiPeer> peer() const noexcept { return peer_; }
  /// What pieces to the other side begin with.
  [[nodiscard]] std::uint64_t its_token() const noexcept { return token_; }
  /// The other side's greeting has come, and this side's has left.
  [[nodiscard]] bool is_greeted() const noexcept { return is_greeted_ && is_greeting_sent_; }
  /// Something waits that the port did not take.
  [[nodiscard]] bool is_stalled() const noexcept { return is_stalled_; }
  [[nodiscard]] std::size_t queued() const noexcept { return queued_bytes_; }

  void connect(sys::OfiPeer peer, const OfiHello& hello);
  /// Copies. Errors: those of OfiPort but busy: the connection is lost.
  [[nodiscard]] Result<void> append(const UnitHeader& header, std::span<const Bytes> parts);
  /// Sends what can be sent. Errors: as append().
  [[nodiscard]] Result<bool> pump();
  /// A piece of its was sent.
  void sent() noexcept { --under_way_; }
  [[nodiscard]] std::size_t under_way() const noexcept { return under_way_; }

  /// A piece for it is in `buffer`, which is its own from here on. Errors: corrupt.
  [[nodiscard]] Result<void> arrived(OfiBuffers::Number buffer, const OfiPieceHead& head,
                                     Bytes data);
  /// The next unit; good until the next call. Errors: corrupt.
  struct Unit {
    UnitHeader header;
    Bytes body;
  };
  [[nodiscard]] Result<std::optional<Unit>> next();

 private:
  static constexpr std::uint32_t kSlots = kBuffers + kOfiSpare;
  struct Piece {
    OfiBuffers::Number buffer = 0;
    std::uint32_t left = 0;
    Bytes data;
  };

  [[nodiscard]] bool may_send_data() const noexcept {
    return is_greeting_sent_ && credits_ > 0 && under_way_ < kBuffers;
  }
  /// The data is in `slot`. False: the port takes nothing now, and the slot is free again.
  [[nodiscard]] Result<bool> post(OfiBuffers::Number slot, OfiPieceHead head, std::size_t data);
  [[nodiscard]] Result<bool> post_empty(OfiPieceHead::Kind kind);

  const OfiWay way_;
  const std::uint64_t number_;
  std::optional<sys::OfiPeer> peer_;
  std::uint64_t token_ = 0;  ///< the other side's

  std::uint32_t credits_ = 0;
  std::uint32_t to_give_back_ = 0;
  std::uint32_t under_way_ = 0;
  std::uint32_t next_out_ = 0;
  bool is_greeting_sent_ = false;
  bool is_stalled_ = false;
  std::deque<std::vector<std::byte>> queued_;
  std::size_t queued_bytes_ = 0;
  std::size_t sent_of_first_ = 0;

  std::uint32_t next_in_ = 0;
  bool is_greeted_ = false;
  std::deque<Piece> pieces_;
  std::optional<OfiBuffers::Number> held_;  ///< of the unit that was given last
  Assembly assembly_;
};

}  // namespace dolmen::fabric
