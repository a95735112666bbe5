// SPDX-License-Identifier: Apache-2.0
//
// One connection's protocol without its socket: bytes come in, units come out, and the other way
// round. Before the peer has proved that it holds the key a channel keeps less than two kilobytes.
//
// Thread contract: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/noise.hpp"
#include "fabric/tcp_format.hpp"
#include "security/handshake.hpp"

namespace dolmen::fabric {

class TcpChannel {
 public:
  enum class Side : std::uint8_t { dialler, acceptor };
  enum class What : std::uint8_t {
    nothing,  ///< everything that arrived was used
    greeted,  ///< acceptor: peer() says who it is; call answer()
    opened,   ///< peer() holds the key; units follow
    unit,     ///< unit() is the next one
  };
  struct Unit {
    UnitHeader header;
    Bytes body;  ///< until the next call of next() or room()
  };

  /// `target`: whom the dialler means, nobody: whoever answers; of no account for an acceptor.
  /// `ephemeral`: 32 unpredictable
  /// bytes of this connection alone. `says`: as LinkSelf::says; sides that do not say the same do
  /// not understand each other's greeting (not_authentic).
  TcpChannel(Side side, const NodeName& self, NodeId target, const Secret& key,
             const Secret& ephemeral, std::uint8_t says = 0);
  /// Where everybody has a key of its own. Requires: check(link); self.node, and of a dialler
  /// `target`, is a name that identity_of() knows; or nobody: any node.
  TcpChannel(Side side, const NodeName& self, NodeId target, const security::LinkSelf& link,
             const Secret& ephemeral);

  /// Where the next bytes from the peer go; never empty after next() gave nothing.
  [[nodiscard]] MutableBytes room();
  void received(std::size_t bytes) noexcept;
  /// Goes on with what arrived. After an error the channel is of no more use, but what is
  /// to_write() may tell the peer why. Errors: corrupt, not_authentic, version_unsupported, and of
  /// a dialler those of refusal_error().
  [[nodiscard]] Result<What> next();
  [[nodiscard]] const Unit& unit() const noexcept { return unit_; }
  /// Since greeted (acceptor) or opened (dialler).
  [[nodiscard]] const NodeName& peer() const noexcept { return peer_; }
  [[nodiscard]] NodeId target() const noexcept { return target_; }
  /// What the peer has proved, where everybody has a key of its own; since greeted or opened.
  [[nodiscard]] const std::optional<security::Claim>& proved() const noexcept { return proved_; }
  /// Whether both sides say alike that the fabric is trusted, or that it is not; since greeted or
  /// opened.
  [[nodiscard]] bool agrees() const noexcept;
  [[nodiscard]] bool is_open() const noexcept { return state_ == State::open; }

  /// Once, after What::greeted: welcome, or why not (a code of refusal_error()); after a refusal
  /// only to_write() is left.
  void answer(Errc refused);

  /// Queues a unit; header.body_bytes is set here. Requires: is_open(), what decode_unit_header()
  /// asks for.
  void append(UnitHeader header, std::span<const Bytes> parts);
  void append(const UnitHeader& header, Bytes body) {
    append(header, std::span<const Bytes>(&body, 1));
  }
  /// What is queued, sealed; the units of one call share as few records as they can.
  [[nodiscard]] Bytes to_write();
  void written(std::size_t bytes);
  [[nodiscard]] std::size_t queued() const noexcept { return out_.size() - out_begin_; }

 private:
  /// Room for one greeting, and for what proves that it was no repetition.
  static constexpr std::size_t kGreetingRoom = 256;
  /// Room for the longest record and as much of the next one.
  static constexpr std::size_t kRoom = 2 * (kRecordLengthBytes + kRecordPlainMax + kTagBytes);

  enum class State : std::uint8_t {
    greeting,
    proving,  ///< acceptor with keys: the answer is out, the proof is due
    judged,
    confirming,
    welcomed,  ///< acceptor with keys: opened, but next() has not said so
    awaiting,  ///< dialler with keys: the proof is out, the verdict is due
    open,
    ended
  };

  [[nodiscard]] Result<What> next_greeting();
  [[nodiscard]] Result<What> take_hello(MutableBytes body);
  [[nodiscard]] Result<What> take_answer(MutableBytes body);
  [[nodiscard]] bool is_due(const Greeting& greeting) const noexcept;
  // With keys of their own (tcp_channel_link.cpp).
  [[nodiscard]] Result<What> take_link(GreetingKind kind, MutableBytes body);
  [[nodiscard]] Result<What> take_link_proof(Bytes body);
  [[nodiscard]] Result<What> take_link_answer(Bytes body);
  [[nodiscard]] Result<What> take_verdict(MutableBytes body);
  [[nodiscard]] Result<void> take_proved();
  void give_verdict(Errc refused);
  void go_clear();
  [[nodiscard]] std::unexpected<Error> end(const Error& why);
  [[nodiscard]] Result<bool> next_record(std::size_t sealed_bytes_max);
  [[nodiscard]] Result<bool> next_unit();
  [[nodiscard]] Result<bool> gather();
  void greet(GreetingKind kind, Bytes body);
  void hold(std::size_t bytes);
  void put(Bytes bytes);
  void close_record();

  const Side side_;
  const NodeName self_;
  const NodeId target_;
  const std::uint8_t says_;
  State state_ = State::greeting;
  NodeName peer_;
  std::optional<Handshake> handshake_;
  std::optional<security::Handshake> link_;
  std::optional<security::Claim> proved_;
  Handshake::Ciphers ciphers_;

  // What came: [in_begin_, in_end_) is not looked at yet; plain_ is what is left of the record
  // before.
  std::unique_ptr<std::byte[]> in_;
  std::size_t in_bytes_ = 0;
  std::size_t in_begin_ = 0;
  std::size_t in_end_ = 0;
  Bytes plain_;
  Unit unit_;
  std::vector<std::byte> gathered_;  ///< a unit of several records, as far as it came
  std::size_t gathered_wanted_ = 0;  ///< its length, once known
  bool gathered_used_ = false;       ///< unit_ lies in it

  // What goes: sealed from out_begin_ on, up to the record that is still open.
  std::vector<std::byte> out_;
  std::size_t out_begin_ = 0;
  std::size_t record_begin_ = 0;
  bool record_open_ = false;
};

}  // namespace dolmen::fabric
