// SPDX-License-Identifier: Apache-2.0
#include "security/token.hpp"

#include <algorithm>
#include <array>

#include <sodium.h>

#include "security/raw_bytes.hpp"
#include "security/text.hpp"

namespace dolmen::security {
namespace {

constexpr std::string_view kTokenStart = "dolmen-join-";
constexpr std::uint32_t kTokenVersion = 1;
constexpr std::uint32_t kListVersion = 1;
constexpr std::string_view kHashLabel = "dolmen join token";
constexpr std::size_t kTokenBytes = 96;
constexpr std::size_t kCheckBytes = 4;
using Digest = std::array<std::byte, 32>;

std::unexpected<Error> no_token() { return fail(Errc::corrupt, "a join token"); }
std::unexpected<Error> no_list() { return fail(Errc::corrupt, "a list of join tokens"); }

bool may_join(const Identity& identity) {
  return is_valid(identity) && identity.role != Role::owner;
}

std::array<std::byte, kTokenBytes> bytes_of(const JoinToken& token) {
  std::array<std::byte, kTokenBytes> bytes{};
  const base::MutableBytes out(bytes);
  base::store(out, 0, token.cluster.bytes);
  base::store(out, 16, token.owner.bytes);
  base::store(out, 48, token.identity.role);
  base::store(out, 52, token.identity.number);
  base::store(out, 56, token.expiry_s);
  std::ranges::copy(token.secret.bytes(), out.begin() + 64);
  return bytes;
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

Digest JoinToken::hash() const { return digest_of(kHashLabel, bytes_of(*this)); }

std::string JoinToken::text() const {
  const auto bytes = bytes_of(*this);
  const Digest check = digest_of(kTokenStart, bytes);
  return std::string(kTokenStart) + std::to_string(kTokenVersion) + "-" + to_hex(bytes) +
         to_hex(base::Bytes(check).first(kCheckBytes));
}

Result<JoinToken> JoinToken::parse(std::string_view text) {
  if (!text.starts_with(kTokenStart) || text.size() > 512) return no_token();
  text.remove_prefix(kTokenStart.size());
  const std::size_t dash = text.find('-');
  std::uint32_t version = 0;
  if (dash == std::string_view::npos || !from_decimal(text.substr(0, dash), version)) {
    return no_token();
  }
  if (version != kTokenVersion) return fail(Errc::version_unsupported, "a join token", version);
  std::array<std::byte, kTokenBytes + kCheckBytes> bytes{};
  if (!from_hex(text.substr(dash + 1), bytes)) return no_token();
  base::ByteReader in(bytes);
  JoinToken token;
  std::ranges::copy(in.take(16), token.cluster.bytes.begin());
  std::ranges::copy(in.take(32), token.owner.bytes.begin());
  token.identity.role = static_cast<Role>(in.get<std::uint8_t>());
  const bool spare = in.get<std::uint8_t>() != 0 || in.get<std::uint16_t>() != 0;
  token.identity.number = in.get<std::uint32_t>();
  token.expiry_s = in.get<std::uint64_t>();
  token.secret = Secret(in.take(32));
  const base::Bytes check = in.take(kCheckBytes);
  const Digest expected = digest_of(kTokenStart, base::Bytes(bytes).first(kTokenBytes));
  const bool is_whole = std::ranges::equal(check, base::Bytes(expected).first(kCheckBytes));
  sodium_memzero(bytes.data(), bytes.size());
  if (!is_whole || spare || !may_join(token.identity)) return no_token();
  return token;
}

std::string TokenList::text() const {
  std::string text = "dolmen tokens " + std::to_string(kListVersion);
  text += "\ncluster " + to_hex(cluster_.bytes) + "\n";
  for (const auto& [hash, entry] : entries_) {
    text += to_hex(hash) + " ";
    text += name_of(entry.identity.role);
    text += " " + std::to_string(entry.identity.number) + " " + std::to_string(entry.expiry_s);
    text += entry.used_by ? " used " + to_hex(entry.used_by->bytes) + "\n" : " open\n";
  }
  return text;
}

Result<TokenList> TokenList::parse(std::string_view text) {
  if (text.size() > kTokensTextMax) return no_list();
  TextReader in(text);
  std::uint32_t version = 0;
  if (!in.next_line() || !in.is_word("dolmen") || !in.is_word("tokens") || !in.decimal(version)) {
    return no_list();
  }
  if (version != kListVersion) {
    return fail(Errc::version_unsupported, "a list of join tokens", version);
  }
  if (!in.is_line_end() || !in.next_line() || !in.is_word("cluster")) return no_list();
  TokenList list({});
  if (!in.hex(list.cluster_.bytes) || !in.is_line_end()) return no_list();
  while (!in.is_end()) {
    Digest hash{};
    Entry entry;
    if (!in.next_line() || !in.hex(hash)) return no_list();
    const auto role = in.word();
    if (role != name_of(Role::node) && role != name_of(Role::client)) return no_list();
    entry.identity.role = role == name_of(Role::node) ? Role::node : Role::client;
    if (!in.decimal(entry.identity.number) || !in.decimal(entry.expiry_s)) return no_list();
    const auto state = in.word();
    if (state == "used") {
      entry.used_by.emplace();
      if (!in.hex(entry.used_by->bytes)) return no_list();
    } else if (state != "open") {
      return no_list();
    }
    if (!in.is_line_end() || !may_join(entry.identity)) return no_list();
    // Ascending, so that a list has one form.
    if (!list.entries_.empty() && list.entries_.rbegin()->first >= hash) return no_list();
    if (list.entries_.size() == kTokensMax) return no_list();
    list.entries_.emplace(hash, entry);
  }
  return list;
}

Result<void> TokenList::add(const JoinToken& token) {
  if (!may_join(token.identity) || token.cluster != cluster_) {
    return fail(Errc::invalid_argument, "a join token for a node or client of this cluster");
  }
  const Digest hash = token.hash();
  if (entries_.contains(hash)) return fail(Errc::already_exists, "a join token");
  if (entries_.size() >= kTokensMax) return fail(Errc::limit, "join tokens that have not expired");
  entries_.emplace(hash, Entry{token.identity, token.expiry_s, std::nullopt});
  return {};
}

Result<Identity> TokenList::redeem(const JoinToken& token, const PublicKey& key,
                                   std::uint64_t now_s) {
  const auto found = entries_.find(token.hash());
  if (found == entries_.end()) {
    return fail(Errc::invalid_argument, "a join token that this cluster does not know");
  }
  Entry& entry = found->second;
  if (now_s >= entry.expiry_s) {
    return fail(Errc::invalid_argument, "a join token that has expired", entry.expiry_s);
  }
  if (entry.used_by && *entry.used_by != key) {
    return fail(Errc::invalid_argument, "a join token that was used");
  }
  entry.used_by = key;
  return entry.identity;
}

void TokenList::forget_expired(std::uint64_t now_s) {
  std::erase_if(entries_, [&](const auto& entry) { return now_s >= entry.second.expiry_s; });
}

}  // namespace dolmen::security
