// SPDX-License-Identifier: Apache-2.0
#include "fabric/noise.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include <sodium.h>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"
#include "fabric/long_records.hpp"

namespace dolmen::fabric {
namespace {

constexpr std::string_view kProtocol = "Noise_NNpsk0_25519_AESGCM_SHA256";
static_assert(kProtocol.size() == crypto_hash_sha256_BYTES, "a shorter name would be padded");
static_assert(kTagBytes == crypto_aead_aes256gcm_ABYTES);
static_assert(kPublicKeyBytes == crypto_scalarmult_BYTES);

using Nonce = LongRecords::Nonce;
static_assert(std::tuple_size_v<Nonce> == crypto_aead_aes256gcm_NPUBBYTES);

const unsigned char* raw(base::Bytes bytes) noexcept {
  return static_cast<const unsigned char*>(static_cast<const void*>(bytes.data()));
}
unsigned char* raw(base::MutableBytes bytes) noexcept {
  return static_cast<unsigned char*>(static_cast<void*>(bytes.data()));
}

/// Four zero bytes, then the number with its highest byte first.
Nonce nonce_of(std::uint64_t number) noexcept {
  Nonce nonce{};
  const std::uint64_t swapped = __builtin_bswap64(number);
  std::memcpy(nonce.data() + 4, &swapped, sizeof swapped);
  return nonce;
}

Secret hmac(const Secret& key, base::Bytes first, base::Bytes second = {}) {
  crypto_auth_hmacsha256_state state;
  Secret out;
  crypto_auth_hmacsha256_init(&state, key.data(), 32);
  crypto_auth_hmacsha256_update(&state, raw(first), first.size());
  crypto_auth_hmacsha256_update(&state, raw(second), second.size());
  crypto_auth_hmacsha256_final(&state, out.data());
  sodium_memzero(&state, sizeof state);
  return out;
}

/// HKDF of Noise 4.3 with up to three outputs.
std::array<Secret, 3> derive(const Secret& chaining_key, base::Bytes material) {
  constexpr std::array<std::byte, 3> kNumbers{std::byte{1}, std::byte{2}, std::byte{3}};
  const auto number = [&](std::size_t i) { return base::Bytes(kNumbers).subspan(i, 1); };
  const Secret base = hmac(chaining_key, material);
  std::array<Secret, 3> out;
  out[0] = hmac(base, number(0));
  out[1] = hmac(base, out[0].bytes(), number(1));
  out[2] = hmac(base, out[1].bytes(), number(2));
  return out;
}

constexpr std::uint64_t kClearSeed = 0x7261656C436C6D64;  // "dmlClear"

std::uint64_t checksum_of(base::Bytes record, std::uint64_t number) noexcept {
  return base::checksum64(record, base::mix_seed(kClearSeed, number));
}

}  // namespace

Result<void> prepare_cryptography() {
  DOLMEN_CHECK(security::prepare());
  if (crypto_aead_aes256gcm_is_available() != 1) {
    return fail(Errc::unsupported, "connections need a processor with AES instructions");
  }
  return {};
}

// On the heap: it wants 16-byte alignment and is expanded from the key once.
struct Cipher::State {
  explicit State(const Secret& its_key) noexcept : key(its_key) {
    crypto_aead_aes256gcm_beforenm(&expanded, key.data());
  }
  ~State() { sodium_memzero(&expanded, sizeof expanded); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// Whether the record is one for libcrypto, and that is ready for it.
  [[nodiscard]] bool begin_long(base::Bytes bytes, base::Bytes known, const Nonce& nonce,
                                bool seals) noexcept {
    return bytes.size() >= LongRecords::kBytesMin && known.empty() &&
           long_records.begin(key, nonce, seals);
  }

  crypto_aead_aes256gcm_state expanded{};
  Secret key;
  LongRecords long_records;
};

Cipher::Cipher() = default;
Cipher::Cipher(const Secret& key) : state_(std::make_unique<State>(key)) {}
Cipher Cipher::clear() { return {}; }
Cipher::Cipher(Cipher&&) noexcept = default;
Cipher& Cipher::operator=(Cipher&&) noexcept = default;
Cipher::~Cipher() = default;

void Cipher::seal(base::MutableBytes bytes, base::MutableBytes tag, base::Bytes known) noexcept {
  DOLMEN_ASSERT_CMP(tag.size(), ==, kTagBytes);
  if (!state_) {
    base::store(tag, 0, checksum_of(bytes, records_++));
    base::store(tag, 8, std::uint64_t{0});
    return;
  }
  const Nonce nonce = nonce_of(records_);
  if (state_->begin_long(bytes, known, nonce, true)) {
    state_->long_records.seal(bytes, tag);
  } else {
    crypto_aead_aes256gcm_encrypt_detached_afternm(raw(bytes), raw(tag), nullptr, raw(bytes),
                                                   bytes.size(), raw(known), known.size(), nullptr,
                                                   nonce.data(), &state_->expanded);
  }
  count();
}

bool Cipher::open(base::MutableBytes bytes, base::Bytes tag, base::Bytes known) noexcept {
  DOLMEN_ASSERT_CMP(tag.size(), ==, kTagBytes);
  if (!state_) {
    if (base::load<std::uint64_t>(tag, 8) != 0) return false;
    return base::load<std::uint64_t>(tag) == checksum_of(bytes, records_++);
  }
  const Nonce nonce = nonce_of(records_);
  if (state_->begin_long(bytes, known, nonce, false)) {
    if (!state_->long_records.open(bytes, tag)) return false;
  } else if (crypto_aead_aes256gcm_decrypt_detached_afternm(
                 raw(bytes), nullptr, raw(bytes), bytes.size(), raw(tag), raw(known), known.size(),
                 nonce.data(), &state_->expanded) != 0) {
    return false;
  }
  count();
  return true;
}

void Cipher::count() noexcept {
  ++records_;
  if (records_ % kRecordsPerKey == 0) replace_key();
}

void Cipher::replace_key() noexcept {
  Secret key;
  std::array<std::byte, kTagBytes> unused{};
  const Nonce nonce = nonce_of(~std::uint64_t{0});
  crypto_aead_aes256gcm_encrypt_detached_afternm(key.data(), raw(base::MutableBytes(unused)),
                                                 nullptr, key.data(), 32, nullptr, 0, nullptr,
                                                 nonce.data(), &state_->expanded);
  crypto_aead_aes256gcm_beforenm(&state_->expanded, key.data());
  state_->key = key;
  state_->long_records.forget();
}

Handshake::Handshake(bool is_initiator, const Secret& key, const Secret& ephemeral,
                     base::Bytes prologue)
    : is_initiator_(is_initiator), chaining_key_(base::as_bytes(kProtocol)), ephemeral_(ephemeral) {
  std::ranges::copy(kProtocol, hash_.begin());
  mix_hash(prologue);
  mix_key_and_hash(key);
}

void Handshake::mix_hash(base::Bytes bytes) {
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  crypto_hash_sha256_update(&state, hash_.data(), hash_.size());
  crypto_hash_sha256_update(&state, raw(bytes), bytes.size());
  crypto_hash_sha256_final(&state, hash_.data());
}

void Handshake::mix_key(base::Bytes material) {
  const std::array<Secret, 3> out = derive(chaining_key_, material);
  chaining_key_ = out[0];
  cipher_ = Cipher(out[1]);
}

void Handshake::mix_key_and_hash(const Secret& key) {
  Secret copy = key;
  std::array<Secret, 3> out = derive(chaining_key_, copy.bytes());
  chaining_key_ = out[0];
  mix_hash(out[1].bytes());
  cipher_ = Cipher(out[2]);
}

bool Handshake::mix_shared_secret() {
  Secret shared;
  if (crypto_scalarmult(shared.data(), ephemeral_.data(), peer_key_.data()) != 0) return false;
  mix_key(shared.bytes());
  return true;
}

bool Handshake::write(base::Bytes payload, base::MutableBytes out) {
  DOLMEN_ASSERT(messages_ == (is_initiator_ ? 0 : 1));
  DOLMEN_ASSERT_CMP(out.size(), ==, kHandshakeOverhead + payload.size());
  const base::MutableBytes own_key = out.first(kPublicKeyBytes);
  DOLMEN_ASSERT(crypto_scalarmult_base(raw(own_key), ephemeral_.data()) == 0);
  mix_hash(own_key);
  mix_key(own_key);
  if (!is_initiator_ && !mix_shared_secret()) return false;
  const base::MutableBytes sealed = out.subspan(kPublicKeyBytes, payload.size());
  std::ranges::copy(payload, sealed.begin());
  cipher_.seal(sealed, out.last(kTagBytes), std::as_bytes(std::span(hash_)));
  mix_hash(out.subspan(kPublicKeyBytes));
  ++messages_;
  return true;
}

bool Handshake::read(base::MutableBytes message, base::Bytes& payload) {
  DOLMEN_ASSERT(messages_ == (is_initiator_ ? 1 : 0));
  DOLMEN_ASSERT_CMP(message.size(), >=, kHandshakeOverhead);
  const base::Bytes their_key = message.first(kPublicKeyBytes);
  std::memcpy(peer_key_.data(), their_key.data(), peer_key_.size());
  mix_hash(their_key);
  mix_key(their_key);
  if (is_initiator_ && !mix_shared_secret()) return false;
  const std::array<unsigned char, 32> known = hash_;
  mix_hash(message.subspan(kPublicKeyBytes));  // as it came: decrypting changes it
  const std::size_t bytes = message.size() - kHandshakeOverhead;
  const base::MutableBytes sealed = message.subspan(kPublicKeyBytes, bytes);
  if (!cipher_.open(sealed, message.last(kTagBytes), std::as_bytes(std::span(known)))) return false;
  payload = sealed;
  ++messages_;
  return true;
}

Handshake::Ciphers Handshake::split() {
  DOLMEN_ASSERT_CMP(messages_, ==, 2);
  const std::array<Secret, 3> out = derive(chaining_key_, {});
  return is_initiator_ ? Ciphers{Cipher(out[0]), Cipher(out[1])}
                       : Ciphers{Cipher(out[1]), Cipher(out[0])};
}

}  // namespace dolmen::fabric
