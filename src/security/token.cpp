// SPDX-License-Identifier: Apache-2.0
#include "security/token.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <sodium.h>

#include "security/raw_bytes.hpp"
#include "security/text.hpp"

namespace dolmen::security {
namespace {

constexpr std::string_view kTokenStart = "dolmen-join-";
constexpr std::uint32_t kTokenVersion = 2;
constexpr std::size_t kTokenHeadBytes = 96;
constexpr std::size_t kCheckBytes = 4;
using Digest = std::array<std::byte, 32>;

std::unexpected<Error> no_token() { return fail(Errc::corrupt, "a join token"); }

/// Not empty, and in no line does it end another one.
bool is_word(std::string_view text) {
  return !text.empty() && std::ranges::none_of(text, [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F;
  });
}

std::vector<std::byte> bytes_of(const JoinToken& token) {
  base::ByteWriter out;
  out.put_bytes(token.cluster.bytes);
  out.put_bytes(token.owner.bytes);
  out.put(static_cast<std::uint8_t>(token.identity.role));
  out.put(static_cast<std::uint8_t>(token.nodes.size()));
  out.put(std::uint16_t{0});
  out.put(token.identity.number);
  out.put(token.expiry_s);
  out.put_bytes(token.secret.bytes());
  for (const KnownNode& node : token.nodes) {
    out.put(node.number);
    out.put_bytes(node.key.bytes);
    out.put_string(node.address);
  }
  return out.release();
}

Digest digest_of(std::string_view label, base::Bytes bytes) {
  Digest digest{};
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  crypto_hash_sha256_update(&state, raw(base::as_bytes(label)), label.size());
  crypto_hash_sha256_update(&state, raw(bytes), bytes.size());
  crypto_hash_sha256_final(&state, raw(base::MutableBytes(digest)));
  return digest;
}

}  // namespace

std::string JoinToken::text() const {
  auto bytes = bytes_of(*this);
  const Digest check = digest_of(kTokenStart, bytes);
  std::string word = std::string(kTokenStart) + std::to_string(kTokenVersion) + "-" +
                     to_hex(bytes) + to_hex(base::Bytes(check).first(kCheckBytes));
  sodium_memzero(bytes.data(), bytes.size());
  return word;
}

Result<JoinToken> JoinToken::parse(std::string_view text) {
  if (!text.starts_with(kTokenStart) || text.size() > kTokenTextMax) return no_token();
  text.remove_prefix(kTokenStart.size());
  const std::size_t dash = text.find('-');
  std::uint32_t version = 0;
  if (dash == std::string_view::npos || !from_decimal(text.substr(0, dash), version)) {
    return no_token();
  }
  if (version != kTokenVersion) return fail(Errc::version_unsupported, "a join token", version);
  const std::string_view digits = text.substr(dash + 1);
  if (digits.size() < 2 * (kTokenHeadBytes + kCheckBytes)) return no_token();
  std::vector<std::byte> bytes(digits.size() / 2);
  if (!from_hex(digits, bytes)) return no_token();
  const base::Bytes body = base::Bytes(bytes).first(bytes.size() - kCheckBytes);
  base::ByteReader in(body);
  JoinToken token;
  std::ranges::copy(in.take(16), token.cluster.bytes.begin());
  std::ranges::copy(in.take(32), token.owner.bytes.begin());
  token.identity.role = static_cast<Role>(in.get<std::uint8_t>());
  const std::size_t count = in.get<std::uint8_t>();
  bool is_whole = in.get<std::uint16_t>() == 0;
  token.identity.number = in.get<std::uint32_t>();
  token.expiry_s = in.get<std::uint64_t>();
  token.secret = Secret(in.take(32));
  is_whole = is_whole && count >= 1 && count <= kTokenNodesMax;
  for (std::size_t i = 0; is_whole && i < count; ++i) {
    KnownNode node{.number = in.get<std::uint32_t>()};
    const base::Bytes key = in.take(node.key.bytes.size());
    if (!in.failed()) std::ranges::copy(key, node.key.bytes.begin());
    node.address = in.get_string();
    is_whole = !in.failed() && is_valid({Role::node, node.number}) &&
               node.address.size() <= kTokenAddressMax && is_word(node.address) &&
               (token.nodes.empty() || token.nodes.back().number < node.number);
    token.nodes.push_back(std::move(node));
  }
  const Digest expected = digest_of(kTokenStart, body);
  is_whole = is_whole && in.finished() &&
             std::ranges::equal(base::Bytes(bytes).last(kCheckBytes),
                                base::Bytes(expected).first(kCheckBytes));
  sodium_memzero(bytes.data(), bytes.size());
  if (!is_whole || token.identity.role != Role::node || !is_valid(token.identity)) {
    return no_token();
  }
  return token;
}

}  // namespace dolmen::security
