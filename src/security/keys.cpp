// SPDX-License-Identifier: Apache-2.0
#include "security/keys.hpp"

#include <algorithm>
#include <cstring>

#include <sodium.h>

#include <dolmen/assert.hpp>

#include "security/raw_bytes.hpp"
#include "security/text.hpp"

namespace dolmen::security {
namespace {

constexpr std::uint32_t kKeyVersion = 1;
static_assert(crypto_sign_PUBLICKEYBYTES == sizeof(PublicKey));
static_assert(crypto_sign_BYTES == sizeof(Signature));
static_assert(crypto_sign_SEEDBYTES == 32 && crypto_sign_SECRETKEYBYTES == 64);

PublicKey public_of(const Secret& seed) {
  PublicKey key;
  std::array<unsigned char, crypto_sign_SECRETKEYBYTES> both{};
  DOLMEN_ASSERT(
      crypto_sign_seed_keypair(raw(base::MutableBytes(key.bytes)), both.data(), seed.data()) == 0);
  sodium_memzero(both.data(), both.size());
  return key;
}

std::unexpected<Error> no_key() { return fail(Errc::corrupt, "a key file"); }

}  // namespace

std::string_view name_of(Role role) noexcept {
  switch (role) {
    case Role::node:
      return "node";
    case Role::client:
      return "client";
    case Role::owner:
      return "owner";
  }
  return "nobody";
}

bool verify(const PublicKey& key, base::Bytes message, const Signature& signature) noexcept {
  return crypto_sign_verify_detached(raw(base::Bytes(signature.bytes)), raw(message),
                                     message.size(), raw(base::Bytes(key.bytes))) == 0;
}

bool is_valid(const Identity& identity) noexcept {
  switch (identity.role) {
    case Role::node:
    case Role::client:
      return identity.number >= 1 && identity.number <= kNumberMax;
    case Role::owner:
      return identity.number == 0;
  }
  return false;
}

bool is_valid_name(std::string_view name) noexcept {
  const auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= kNameCharactersMax && is_plain(name.front()) &&
         std::ranges::all_of(
             name, [&](char c) { return is_plain(c) || c == '.' || c == '_' || c == '-'; });
}

Result<Key> Key::make_owner(const ClusterId& cluster, std::string_view name, const Secret& seed) {
  return make(cluster, public_of(seed), {Role::owner, 0}, name, seed);
}

Result<Key> Key::make(const ClusterId& cluster, const PublicKey& owner, const Identity& identity,
                      std::string_view name, const Secret& seed) {
  if (!is_valid(identity)) {
    return fail(Errc::invalid_argument, "the number of a node or client", identity.number);
  }
  if (!is_valid_name(name)) {
    return fail(Errc::invalid_argument, "a key's name: 1 to 63 of a-z, 0-9, '.', '_', '-'");
  }
  Key key;
  key.cluster_ = cluster;
  key.owner_ = owner;
  key.identity_ = identity;
  key.name_ = name;
  key.seed_ = seed;
  key.public_ = public_of(seed);
  if ((identity.role == Role::owner) != (key.public_ == owner)) {
    return fail(Errc::invalid_argument, "a key is the owner's, or it is not");
  }
  return key;
}

std::string Key::text() const {
  std::string text = "dolmen key " + std::to_string(kKeyVersion);
  text += "\ncluster " + to_hex(cluster_.bytes);
  text += "\nowner " + to_hex(owner_.bytes);
  text += "\nrole ";
  text += name_of(identity_.role);
  text += "\nnumber " + std::to_string(identity_.number);
  text += "\nname " + name_;
  text += "\npublic " + to_hex(public_.bytes);
  text += "\nsecret " + to_hex(seed_.bytes()) + "\n";
  return text;
}

Result<Key> Key::parse(std::string_view text) {
  if (text.size() > kKeyTextMax) return no_key();
  TextReader in(text);
  std::uint32_t version = 0;
  if (!in.next_line() || !in.is_word("dolmen") || !in.is_word("key") || !in.decimal(version)) {
    return no_key();
  }
  if (version != kKeyVersion) return fail(Errc::version_unsupported, "a key file", version);
  if (!in.is_line_end()) return no_key();
  const auto line = [&](std::string_view what) { return in.next_line() && in.is_word(what); };
  ClusterId cluster;
  PublicKey owner;
  PublicKey own;
  Identity identity;
  Secret seed;
  const auto hex_line = [&](std::string_view what, base::MutableBytes out) {
    return line(what) && in.hex(out) && in.is_line_end();
  };
  if (!hex_line("cluster", cluster.bytes) || !hex_line("owner", owner.bytes)) return no_key();
  if (!line("role")) return no_key();
  const auto role = in.word();
  constexpr std::array kRoles{Role::node, Role::client, Role::owner};
  const auto* const found =
      std::ranges::find_if(kRoles, [&](Role one) { return role == name_of(one); });
  if (found == kRoles.end() || !in.is_line_end()) return no_key();
  identity.role = *found;
  if (!line("number") || !in.decimal(identity.number) || !in.is_line_end()) return no_key();
  if (!line("name")) return no_key();
  const auto name = in.word();
  if (!name || !in.is_line_end()) return no_key();
  if (!hex_line("public", own.bytes) || !hex_line("secret", seed.bytes()) || !in.is_end()) {
    return no_key();
  }
  auto key = make(cluster, owner, identity, *name, seed);
  if (!key || key->public_ != own) return no_key();
  return key;
}

Signature Key::sign(base::Bytes message) const {
  // What libsodium calls the secret key is the seed, and the public key behind it.
  std::array<unsigned char, crypto_sign_SECRETKEYBYTES> both{};
  std::memcpy(both.data(), seed_.data(), 32);
  std::memcpy(both.data() + 32, public_.bytes.data(), 32);
  Signature signature;
  DOLMEN_ASSERT(crypto_sign_detached(raw(base::MutableBytes(signature.bytes)), nullptr,
                                     raw(message), message.size(), both.data()) == 0);
  sodium_memzero(both.data(), both.size());
  return signature;
}

}  // namespace dolmen::security
