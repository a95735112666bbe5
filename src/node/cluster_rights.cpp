// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_rights.hpp"

#include <variant>

#include "node/cluster_identity.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

using replication::EnvelopeKind;

bool may_say(const cluster::RootState& map, bool has_owner, std::uint64_t now_s,
             const fabric::NodeName& from, const replication::Envelope& envelope,
             base::Bytes body) {
  // Clients have names above all nodes' (fabric/tcp_format.hpp), also where nobody has a key.
  if (static_cast<std::uint64_t>(from.node) <= ~std::uint32_t{0}) return true;
  if (!replication::is_of_clients(envelope.kind)) return false;
  if (!has_owner) return true;
  const auto number = client_number(from.node);
  if (!number) return false;
  const bool is_token = *number >= cluster::kTokenNumbers;
  const bool is_root = envelope.group == group_of(cluster::kRootGroup);
  if (is_token && !is_root) return false;
  if (envelope.kind != EnvelopeKind::request) {
    return !is_token || envelope.kind == EnvelopeKind::ask_map ||
           envelope.kind == EnvelopeKind::ask_roster;
  }
  if (!is_root) return true;
  const auto request = replication::decode_request(body);
  if (!request) return false;
  if (request->session == 0) return true;  // it asks for one
  const auto command = cluster::decode_root_command(request->command);
  const auto* const joins = command ? std::get_if<cluster::root::Join>(&*command) : nullptr;
  if (joins == nullptr) return !is_token;
  const auto token = map.clients().find(joins->token);
  // Of one that is not there the root says so itself.
  if (token == map.clients().end()) return !is_token;
  return now_s < token->second.expires_s && (!is_token || joins->token == *number);
}

}  // namespace dolmen::node
