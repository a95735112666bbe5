// SPDX-License-Identifier: Apache-2.0
//
// The Noise protocol framework (noiseprotocol.org, revision 34) in the one form that connections
// use: Noise_NNpsk0_25519_AESGCM_SHA256. Both sides prove that they hold the same 32-byte key, and
// agree on keys for this connection that nobody can compute later, not even with that key.
//
// AES-GCM and not ChaCha20-Poly1305, because a small message costs a third of it: 64 bytes take
// 0.18 us against 0.52 us with libsodium 1.0.18 on the machine of docs/benchmarks.md. It needs
// AES and carry-less multiplication instructions; fabric endpoints are not made without.
//
// Thread contract: values, one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "security/secret.hpp"

namespace dolmen::fabric {

inline constexpr std::size_t kTagBytes = 16;
inline constexpr std::size_t kPublicKeyBytes = 32;
/// What a handshake message takes beside its payload.
inline constexpr std::size_t kHandshakeOverhead = kPublicKeyBytes + kTagBytes;

using security::Secret;

/// Once per process, before anything else here. Errors: unsupported (no AES instructions).
[[nodiscard]] Result<void> prepare_cryptography();

/// One direction of a connection: each record is sealed with the next number, so that none can be
/// left out, repeated or exchanged.
class Cipher {
 public:
  /// After so many records the key is replaced (Noise 11.3), long before AES-GCM wears out.
  static constexpr std::uint64_t kRecordsPerKey = 1u << 24;

  Cipher();
  explicit Cipher(const Secret& key);
  /// Seals nothing: the tag is a checksum over the record and its number, which tells of damage,
  /// and of what was left out or came twice, and is none against who wants to deceive.
  [[nodiscard]] static Cipher clear();
  Cipher(Cipher&&) noexcept;
  Cipher& operator=(Cipher&&) noexcept;
  ~Cipher();

  /// Encrypts in place. Requires: tag of kTagBytes. `known` is authenticated only.
  void seal(base::MutableBytes bytes, base::MutableBytes tag, base::Bytes known = {}) noexcept;
  /// Decrypts in place. False: not what the other side sealed as its next record; bytes are lost.
  [[nodiscard]] bool open(base::MutableBytes bytes, base::Bytes tag,
                          base::Bytes known = {}) noexcept;

  [[nodiscard]] std::uint64_t records() const noexcept { return records_; }
  /// For tests of what happens after very many records.
  void skip_to(std::uint64_t records) noexcept { records_ = records; }

 private:
  struct State;
  void replace_key() noexcept;
  void count() noexcept;

  std::unique_ptr<State> state_;  // null: in the clear
  std::uint64_t records_ = 0;
};

/// -> psk, e
/// <- e, ee
class Handshake {
 public:
  /// `ephemeral`: 32 unpredictable bytes of this connection alone. `prologue`: what both sides must
  /// have seen alike.
  Handshake(bool is_initiator, const Secret& key, const Secret& ephemeral, base::Bytes prologue);

  /// The next message: kHandshakeOverhead bytes and the payload. Requires: it is this side's turn,
  /// out.size() == kHandshakeOverhead + payload.size(). False: the peer's public key is none.
  [[nodiscard]] bool write(base::Bytes payload, base::MutableBytes out);
  /// The peer's message, decrypted in place; the payload stands behind the first 32 bytes. False:
  /// it does not hold the key, or the bytes were changed. Requires: the peer's turn,
  /// message.size() >= kHandshakeOverhead.
  [[nodiscard]] bool read(base::MutableBytes message, base::Bytes& payload);

  struct Ciphers {
    Cipher send;
    Cipher receive;
  };
  /// Requires: both messages are through.
  [[nodiscard]] Ciphers split();
  /// Names this connection; the same at both sides.
  [[nodiscard]] const std::array<unsigned char, 32>& hash() const noexcept { return hash_; }

 private:
  void mix_hash(base::Bytes bytes);
  void mix_key(base::Bytes material);
  void mix_key_and_hash(const Secret& key);
  [[nodiscard]] bool mix_shared_secret();

  const bool is_initiator_;
  std::array<unsigned char, 32> hash_{};
  Secret chaining_key_;
  Secret ephemeral_;
  std::array<unsigned char, kPublicKeyBytes> peer_key_{};
  Cipher cipher_;
  int messages_ = 0;
};

}  // namespace dolmen::fabric
