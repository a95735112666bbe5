// SPDX-License-Identifier: Apache-2.0
//
// How two holders of keys of one cluster prove to each other who they are, and agree on keys for
// this connection that nobody can compute later, not even with theirs (docs/links.md; byte by byte:
// docs/formats/link.md). Three messages in the manner of SIGMA-I: Diffie-Hellman of keys made for
// the connection (X25519), then each side's signature (Ed25519) over everything said so far, sealed
// with a key of the exchange. Who initiates is named to nobody but who has proved itself.
//
//   -> hello    e
//   <- answer   e, {who, payload, signature}
//   -> proof    {who, payload, signature}
//
// No input or output: what came goes into step(), what it gives is to be sent.
//
// Thread contract: one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <dolmen/error.hpp>

#include "security/keys.hpp"
#include "security/trust.hpp"

namespace dolmen::security {

inline constexpr std::uint8_t kLinkVersion = 1;
/// What each side says beside who it is; sealed, and covered by its signature.
inline constexpr std::size_t kPayloadBytes = 16;
using Payload = std::array<std::byte, kPayloadBytes>;

inline constexpr std::size_t kLinkHeadBytes = 4;
inline constexpr std::size_t kClaimBytes = 56;
inline constexpr std::size_t kHelloBytes = kLinkHeadBytes + 16 + 32;
inline constexpr std::size_t kSealedClaimBytes = kClaimBytes + 64 + 16;
inline constexpr std::size_t kAnswerBytes = kLinkHeadBytes + 32 + kSealedClaimBytes;
inline constexpr std::size_t kProofBytes = kLinkHeadBytes + kSealedClaimBytes;

/// What a side asks for, bits of Claim::says. What one side alone asks for it does not get; whether
/// there is a connection without is up to the caller.
inline constexpr std::uint8_t kSaysClear = 1;   ///< the fabric is trusted: nothing need be sealed
inline constexpr std::uint8_t kSaysShared = 2;  ///< it may be met in shared memory
inline constexpr std::uint8_t kSaysAll = kSaysClear | kSaysShared;

/// What one side says of itself.
struct Claim {
  Identity identity;
  PublicKey key;
  Payload payload{};
  std::uint8_t says = 0;
  friend bool operator==(const Claim&, const Claim&) = default;
};
[[nodiscard]] std::array<std::byte, kClaimBytes> encode(const Claim& claim) noexcept;
/// Errors: corrupt (no node or client, or it says what is not known here). Requires: kClaimBytes.
[[nodiscard]] Result<Claim> decode_claim(base::Bytes bytes);

/// This side of every connection. The trust may be another one for the next connection.
struct LinkSelf {
  std::shared_ptr<const Key> key;
  std::shared_ptr<const Trust> trust;
  std::uint8_t says = 0;
  /// Where this side may be met in shared memory, and of no account for a handshake; empty:
  /// nowhere.
  std::string shared_directory{};
};
/// Errors: invalid_argument (nothing given, an owner's key, trust of another cluster). That the
/// trust holds the own key is not asked: it may be older than it.
[[nodiscard]] Result<void> check(const LinkSelf& self);

class Handshake {
 public:
  enum class Side : std::uint8_t { initiator, responder };

  /// `expected`: who the initiator means to reach, number 0: anybody of that role; of no account
  /// for a responder, which finds out. `ephemeral`: 32 unpredictable bytes of this connection
  /// alone. `prologue`: what both sides must have seen alike. Requires: check(self).
  Handshake(Side side, const LinkSelf& self, const Identity& expected, const Payload& payload,
            const Secret& ephemeral, base::Bytes prologue = {});

  struct Step {
    std::vector<std::byte> out;  ///< to be sent; may be empty
    /// peer() is proved and keys() are there. An initiator does not know yet whether the responder
    /// takes it: the first record that keys().receive opens says so.
    bool is_finished = false;
  };
  /// How long the next message from the peer is; 0 when none is due.
  [[nodiscard]] std::size_t due_bytes() const noexcept;
  /// Takes one message of due_bytes() bytes; an initiator begins with none. After an error the
  /// handshake is over. About 0.15 ms on either side, and no more memory than the messages. Errors:
  /// corrupt (not as such a message is), version_unsupported (detail: the peer's),
  /// not_authentic (another cluster, changed on its way, not the key that it says, one that is
  /// unknown or revoked), invalid_argument (initiator: somebody else than was meant; or a call out
  /// of turn).
  [[nodiscard]] Result<Step> step(base::Bytes message);

  /// Requires: finished.
  [[nodiscard]] const Claim& peer() const;
  struct Keys {
    Secret send;
    Secret receive;
  };
  /// Requires: finished.
  [[nodiscard]] const Keys& keys() const;
  /// Names this connection; the same at both sides, and different for every other one. Requires:
  /// finished.
  [[nodiscard]] const std::array<std::byte, 32>& hash() const;

 private:
  enum class State : std::uint8_t { begin, hello_due, answer_due, proof_due, finished, ended };
  using Hash = std::array<std::byte, 32>;

  [[nodiscard]] Result<Step> run(base::Bytes message);
  [[nodiscard]] Result<Step> greet();
  [[nodiscard]] Result<Step> take_hello(base::Bytes message);
  [[nodiscard]] Result<Step> take_answer(base::Bytes message);
  [[nodiscard]] Result<Step> take_proof(base::Bytes message);
  void mix(base::Bytes bytes);
  [[nodiscard]] Result<void> agree(base::Bytes their_key);
  [[nodiscard]] Signature signature_of(std::string_view label, base::Bytes claim) const;
  void put_claim(std::string_view label, std::vector<std::byte>& out);
  [[nodiscard]] Result<void> take_claim(std::string_view label, base::Bytes sealed);
  void finish();

  const Side side_;
  const LinkSelf self_;
  const Identity expected_;
  const Payload payload_;
  State state_ = State::begin;
  Secret ephemeral_;
  Secret shared_;
  Hash hash_{};  ///< over what both sides have seen
  Claim peer_;
  Keys keys_;
};

}  // namespace dolmen::security
