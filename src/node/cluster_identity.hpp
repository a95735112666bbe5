// SPDX-License-Identifier: Apache-2.0
//
// Who a node or client of a cluster is, whom it trusts, and what is signed so that the root group
// takes a key in (docs/links.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dolmen/cluster.hpp>

#include "cluster/root.hpp"
#include "fabric/fabric.hpp"
#include "fabric/tcp_format.hpp"
#include "security/handshake.hpp"
#include "security/token.hpp"

namespace dolmen::node {

/// An identity file: a key file, and a trust file behind it where somebody is known.
inline constexpr std::size_t kIdentityTextMax = security::kKeyTextMax + security::kTrustTextMax;

/// Errors: not_found, io_error, invalid_argument (no identity file, or one that others can read),
/// not_authentic (its trust is not the owner's), version_unsupported.
[[nodiscard]] Result<security::LinkSelf> read_identity(const std::string& path);
/// The owner's key. Errors: as above.
[[nodiscard]] Result<security::Key> read_owner_key(const std::string& path);
/// A text file that is whole. Errors: not_found, io_error, invalid_argument.
[[nodiscard]] Result<std::string> read_text_file(const std::string& path, std::size_t bytes_max,
                                                 bool is_secret);
[[nodiscard]] security::Secret new_secret();
/// What a side says of a fabric that its options, or the variable DOLMEN_FABRIC (`trusted`),
/// declare trusted (security::Claim::says).
[[nodiscard]] std::uint8_t says_of(bool is_trusted_fabric);
/// The identity of who asks at this address. Errors: as read_identity().
[[nodiscard]] Result<security::LinkSelf> identity_of(const ClusterAddress& address);

[[nodiscard]] ObjectId object_id(const security::ClusterId& cluster);

/// Whom the map says to trust at this time of the wall clock: nodes, clients and open tokens; used
/// ones until they expire, so that whoever comes again is told. `with_removed`: removed nodes, too.
[[nodiscard]] std::shared_ptr<const security::Trust> trust_of(const cluster::RootState& map,
                                                              const security::Key& self,
                                                              std::uint64_t now_s,
                                                              bool with_removed = false);
/// The same keys, of no serial, so that what the map says may follow.
[[nodiscard]] std::shared_ptr<const security::Trust> unsigned_trust(const security::Trust& trust);
/// The same of nodes that a token names.
[[nodiscard]] std::shared_ptr<const security::Trust> trust_of(const security::JoinToken& token);

/// The key that a token is: of client kTokenNumbers and the node's number. Errors: none but
/// invalid_argument of a number that is none.
[[nodiscard]] Result<security::Key> key_of(const security::JoinToken& token);

/// The name of one endpoint of its holder.
[[nodiscard]] fabric::NodeName endpoint_name(const security::Key& key);
/// Of a name that a link has proved; nothing: a node's.
[[nodiscard]] inline std::optional<cluster::ClientNumber> client_number(fabric::NodeId node) {
  const auto identity = fabric::identity_of(node);
  if (!identity || identity->role != security::Role::client) return std::nullopt;
  return identity->number;
}

/// With the signature of `key` in it. Requires: the cluster's owner, or the token's key.
void sign(cluster::root::AddClient& command, const security::Key& key);
void sign(cluster::root::Join& command, const security::Key& key);
void sign(cluster::root::RevokeClient& command, const security::Key& key);
void sign(cluster::root::RemoveNode& command, const security::Key& key);
/// Whether the command may be executed where the state is so: it carries no signature, or a right
/// one.
[[nodiscard]] bool is_signed(const cluster::RootState& state, const cluster::RootCommand& command);

}  // namespace dolmen::node
