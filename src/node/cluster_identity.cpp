// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_identity.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <variant>

#include "base/bytes.hpp"
#include "sys/linux/linux.hpp"

namespace dolmen::node {

namespace {

using security::Identity;
using security::Key;
using security::Role;
using security::Trust;

constexpr std::string_view kTrustBegins = "dolmen trust ";

/// The same with the file's name, and without advice about spaces.
std::unexpected<Error> about_file(const std::string& path, const Error& error) {
  const bool is_none = error.code() == Errc::corrupt;
  return fail(is_none ? Errc::invalid_argument : error.code(),
              interned(path + (is_none ? ": cut short, changed, or not " : ": ") +
                       std::string(error.context())),
              error.detail());
}

security::PublicKey public_key(const cluster::NodeIdentity& identity) {
  security::PublicKey key;
  std::ranges::copy(identity, key.bytes.begin());
  return key;
}

/// Under a name that says nothing: what people call them the map says.
void trust(Trust& all, Role role, std::uint32_t number, const cluster::NodeIdentity& key) {
  // What is none is not trusted.
  if (key != cluster::NodeIdentity{}) (void)all.add({role, number}, "known", public_key(key));
}

template <class Command>
std::vector<std::byte> statement(std::string_view what, const ObjectId& cluster,
                                 const Command& command) {
  Command without = command;
  without.signature = {};
  base::ByteWriter out;
  out.put_bytes(base::as_bytes(what));
  out.put_id(cluster);
  out.put_bytes(cluster::encode(without));
  return out.release();
}
constexpr std::string_view kClientStatement = "dolmen client of a cluster\n";
constexpr std::string_view kJoinStatement = "dolmen node joins a cluster\n";
constexpr std::string_view kRevokeStatement = "dolmen client is revoked\n";
constexpr std::string_view kRemoveStatement = "dolmen node is removed\n";

// Nobody is left out of what a map makes.
static_assert(cluster::kNodesMax + cluster::kRemovedNodesMax + cluster::kClientsMax +
                  cluster::kRootTokensMax <=
              security::kTrustEntriesMax);

template <class Command>
void sign_as(std::string_view what, Command& command, const Key& key) {
  const auto said = statement(what, object_id(key.cluster()), command);
  std::ranges::copy(key.sign(said).bytes, command.signature.begin());
}

template <class Command>
bool holds(std::string_view what, const ObjectId& cluster, const Command& command,
           const cluster::NodeIdentity& key) {
  security::Signature signature;
  std::ranges::copy(command.signature, signature.bytes.begin());
  return security::verify(public_key(key), statement(what, cluster, command), signature);
}

}  // namespace

Result<std::string> read_text_file(const std::string& path, std::size_t bytes_max, bool is_secret) {
  const auto secrecy = is_secret ? sys::Secrecy::secret : sys::Secrecy::open;
  DOLMEN_TRY(const auto bytes, sys::read_small_file(path, bytes_max, secrecy));
  std::string text(bytes.size(), '\0');
  std::ranges::transform(bytes, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

Result<security::LinkSelf> read_identity(const std::string& path) {
  DOLMEN_CHECK(security::prepare());
  DOLMEN_TRY(const std::string text, read_text_file(path, kIdentityTextMax, true));
  const std::size_t split = std::min(text.find(kTrustBegins), text.size());
  auto key = Key::parse(std::string_view(text).substr(0, split));
  if (!key) return about_file(path, key.error());
  if (key->identity().role == Role::owner) {
    return fail(Errc::invalid_argument,
                interned(path + ": an owner's key, with which nobody connects"));
  }
  auto trust = split == text.size() ? Result<Trust>(Trust(key->cluster(), key->owner()))
                                    : Trust::parse(std::string_view(text).substr(split),
                                                   key->cluster(), key->owner());
  if (!trust) return about_file(path, trust.error());
  return security::LinkSelf{.key = std::make_shared<const Key>(std::move(*key)),
                            .trust = std::make_shared<const Trust>(std::move(*trust))};
}

std::uint8_t says_of(bool is_trusted_fabric) {
  const bool is_said = sys::linux_env().process->environment("DOLMEN_FABRIC") == "trusted";
  return is_trusted_fabric || is_said ? security::kSaysClear : std::uint8_t{0};
}

Result<security::LinkSelf> identity_of(const ClusterAddress& address) {
  DOLMEN_TRY(security::LinkSelf self, read_identity(address.identity_file));
  self.says = says_of(address.is_trusted_fabric);
  self.shared_directory = address.shared_directory;
  return self;
}

Result<Key> read_owner_key(const std::string& path) {
  DOLMEN_CHECK(security::prepare());
  DOLMEN_TRY(const std::string text, read_text_file(path, kIdentityTextMax, true));
  auto key = Key::parse(std::string_view(text).substr(0, text.find(kTrustBegins)));
  if (!key) return about_file(path, key.error());
  if (key->identity().role != Role::owner) {
    return fail(Errc::invalid_argument, interned(path + ": not an owner's key"));
  }
  return key;
}

security::Secret new_secret() {
  security::Secret secret;
  sys::linux_env().entropy->fill(secret.bytes());
  return secret;
}

ObjectId object_id(const security::ClusterId& cluster) {
  return {base::load<std::uint64_t>(cluster.bytes, 0), base::load<std::uint64_t>(cluster.bytes, 8)};
}

std::shared_ptr<const Trust> trust_of(const cluster::RootState& map, const Key& self,
                                      std::uint64_t now_s, bool with_removed) {
  auto all = std::make_shared<Trust>(self.cluster(), self.owner());
  for (const auto& [number, one] : map.nodes()) {
    if (one.state == cluster::NodeState::removed && !with_removed) continue;
    trust(*all, Role::node, number, one.identity);
  }
  for (const auto& [number, one] : map.clients()) {
    const bool is_token = number >= cluster::kTokenNumbers;
    if (is_token ? one.expires_s > now_s : !one.is_spent) {
      trust(*all, Role::client, number, one.key);
    }
  }
  return all;
}

std::shared_ptr<const Trust> unsigned_trust(const Trust& trust) {
  auto all = std::make_shared<Trust>(trust.cluster(), trust.owner());
  for (const auto& [place, entry] : trust.entries()) {
    if (!entry.is_revoked) (void)all->add(place.identity, entry.name, place.key);
  }
  return all;
}

std::shared_ptr<const Trust> trust_of(const security::JoinToken& token) {
  auto all = std::make_shared<Trust>(token.cluster, token.owner);
  for (const security::KnownNode& one : token.nodes) {
    (void)all->add({Role::node, one.number}, "known", one.key);
  }
  return all;
}

Result<Key> key_of(const security::JoinToken& token) {
  if (token.identity.number >= cluster::kTokenNumbers) {
    return fail(Errc::invalid_argument, "a join token's node", token.identity.number);
  }
  return Key::make(token.cluster, token.owner,
                   {Role::client, cluster::kTokenNumbers + token.identity.number}, "token",
                   token.secret);
}

fabric::NodeName endpoint_name(const Key& key) {
  const Identity& self = key.identity();
  if (self.role == Role::node) {
    return {.node = fabric::NodeId{self.number}, .incarnation = sys::linux_env().clock->wall_ns()};
  }
  std::array<std::byte, 4> random{};
  sys::linux_env().entropy->fill(random);
  return {.node = fabric::client_node(self.number, base::load<std::uint32_t>(random)),
          .incarnation = 1};
}

void sign(cluster::root::AddClient& command, const Key& key) {
  sign_as(kClientStatement, command, key);
}
void sign(cluster::root::Join& command, const Key& key) { sign_as(kJoinStatement, command, key); }
void sign(cluster::root::RevokeClient& command, const Key& key) {
  sign_as(kRevokeStatement, command, key);
}
void sign(cluster::root::RemoveNode& command, const Key& key) {
  sign_as(kRemoveStatement, command, key);
}

bool is_signed(const cluster::RootState& state, const cluster::RootCommand& command) {
  if (state.owner() == cluster::NodeIdentity{}) return true;
  if (const auto* const added = std::get_if<cluster::root::AddClient>(&command)) {
    return holds(kClientStatement, state.cluster(), *added, state.owner());
  }
  if (const auto* const revoked = std::get_if<cluster::root::RevokeClient>(&command)) {
    return holds(kRevokeStatement, state.cluster(), *revoked, state.owner());
  }
  if (const auto* const removed = std::get_if<cluster::root::RemoveNode>(&command)) {
    return holds(kRemoveStatement, state.cluster(), *removed, state.owner());
  }
  const auto* const joins = std::get_if<cluster::root::Join>(&command);
  if (joins == nullptr) return true;
  const auto token = state.clients().find(joins->token);
  // Of a token that is none the state says so itself.
  return token == state.clients().end() ||
         holds(kJoinStatement, state.cluster(), *joins, token->second.key);
}

}  // namespace dolmen::node
