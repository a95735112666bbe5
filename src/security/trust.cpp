// SPDX-License-Identifier: Apache-2.0
#include "security/trust.hpp"

#include <algorithm>

#include "security/text.hpp"

namespace dolmen::security {
namespace {

constexpr std::uint32_t kTrustVersion = 1;
constexpr std::string_view kTrusted = "trusted";
constexpr std::string_view kRevoked = "revoked";

std::unexpected<Error> no_trust() { return fail(Errc::corrupt, "a trust file"); }

/// What is in front of the last line, which holds the owner's signature of it: nothing that the
/// owner did not write is looked at.
Result<std::string_view> verified(std::string_view text, const PublicKey& owner) {
  constexpr std::string_view kWord = "signature ";
  Signature signature;
  const std::size_t line = kWord.size() + 2 * signature.bytes.size() + 1;
  if (text.size() < line) return no_trust();
  const std::string_view covered = text.substr(0, text.size() - line);
  const std::string_view last = text.substr(covered.size());
  if (!last.starts_with(kWord) || last.back() != '\n' || !covered.ends_with('\n')) {
    return no_trust();
  }
  const std::string_view digits = last.substr(kWord.size(), 2 * signature.bytes.size());
  if (!from_hex(digits, signature.bytes)) return no_trust();
  if (!verify(owner, base::as_bytes(covered), signature)) {
    return fail(Errc::not_authentic, "a trust file that its cluster's owner did not sign");
  }
  return covered;
}

}  // namespace

std::string Trust::unsigned_text() const {
  std::string text = "dolmen trust " + std::to_string(kTrustVersion);
  text += "\ncluster " + to_hex(cluster_.bytes);
  text += "\nowner " + to_hex(owner_.bytes);
  text += "\nserial " + std::to_string(serial_) + "\n";
  for (const auto& [place, entry] : entries_) {
    text += name_of(place.identity.role);
    text += " " + std::to_string(place.identity.number) + " ";
    text += entry.is_revoked ? kRevoked : kTrusted;
    text += " " + to_hex(place.key.bytes) + " " + entry.name + "\n";
  }
  return text;
}

Result<std::string> Trust::sign(const Key& owner) {
  if (owner.identity().role != Role::owner || owner.public_key() != owner_ ||
      owner.cluster() != cluster_) {
    return fail(Errc::invalid_argument, "a trust file is signed by its cluster's owner");
  }
  if (serial_ == ~std::uint64_t{0}) return fail(Errc::limit, "serials of a trust file");
  ++serial_;
  std::string text = unsigned_text();
  const Signature signature = owner.sign(base::as_bytes(text));
  return text + "signature " + to_hex(signature.bytes) + "\n";
}

Result<Trust> Trust::parse(std::string_view text, const ClusterId& cluster,
                           const PublicKey& owner) {
  if (text.size() > kTrustTextMax) return no_trust();
  TextReader in(text);
  std::uint32_t version = 0;
  if (!in.next_line() || !in.is_word("dolmen") || !in.is_word("trust") || !in.decimal(version)) {
    return no_trust();
  }
  if (version != kTrustVersion) return fail(Errc::version_unsupported, "a trust file", version);
  if (!in.is_line_end()) return no_trust();
  Trust trust({}, {});
  const auto line = [&](std::string_view what) { return in.next_line() && in.is_word(what); };
  if (!line("cluster") || !in.hex(trust.cluster_.bytes) || !in.is_line_end()) return no_trust();
  if (!line("owner") || !in.hex(trust.owner_.bytes) || !in.is_line_end()) return no_trust();
  if (!line("serial") || !in.decimal(trust.serial_) || !in.is_line_end()) return no_trust();
  if (trust.cluster_ != cluster || trust.owner_ != owner) {
    return fail(Errc::not_authentic, "a trust file of another cluster");
  }
  DOLMEN_TRY(const std::string_view covered, verified(text, owner));
  const std::size_t lines_end = text.size() - covered.size();
  while (in.rest().size() > lines_end) {
    Place place;
    if (!in.next_line()) return no_trust();
    const auto role = in.word();
    if (role != name_of(Role::node) && role != name_of(Role::client)) return no_trust();
    place.identity.role = role == name_of(Role::node) ? Role::node : Role::client;
    if (!in.decimal(place.identity.number)) return no_trust();
    const auto state = in.word();
    if (state != kTrusted && state != kRevoked) return no_trust();
    if (!in.hex(place.key.bytes)) return no_trust();
    const auto name = in.word();
    if (!name || !in.is_line_end()) return no_trust();
    // Ascending, so that a file has one form.
    if (!trust.entries_.empty() && !(trust.entries_.rbegin()->first < place)) return no_trust();
    if (!trust.add(place.identity, *name, place.key)) return no_trust();
    trust.entries_.at(place).is_revoked = state == kRevoked;
  }
  if (in.rest().size() != lines_end) return no_trust();
  return trust;
}

Result<void> Trust::add(const Identity& identity, std::string_view name, const PublicKey& key) {
  if (!is_valid(identity) || identity.role == Role::owner) {
    return fail(Errc::invalid_argument, "the number of a node or client", identity.number);
  }
  if (!is_valid_name(name)) {
    return fail(Errc::invalid_argument, "a key's name: 1 to 63 of a-z, 0-9, '.', '_', '-'");
  }
  if (key == owner_) return fail(Errc::invalid_argument, "the owner's key is nobody else's");
  if (keys_.contains(key)) return fail(Errc::already_exists, "a key in the trust file");
  if (entries_.size() >= kTrustEntriesMax) return fail(Errc::limit, "keys of a trust file");
  keys_.insert(key);
  entries_.emplace(Place{identity, key}, Entry{.name = std::string(name)});
  return {};
}

Result<void> Trust::revoke(const PublicKey& key) {
  const auto found =
      std::ranges::find_if(entries_, [&](const auto& entry) { return entry.first.key == key; });
  if (found == entries_.end()) return fail(Errc::not_found, "a key in the trust file");
  found->second.is_revoked = true;
  return {};
}

bool Trust::trusts(const Identity& identity, const PublicKey& key) const noexcept {
  const auto found = entries_.find({identity, key});
  return found != entries_.end() && !found->second.is_revoked;
}

}  // namespace dolmen::security
