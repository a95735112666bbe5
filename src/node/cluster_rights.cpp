// SPDX-License-Identifier: Apache-2.0
#include "node/cluster_rights.hpp"

#include <type_traits>
#include <variant>

#include "node/cluster_identity.hpp"
#include "node/mail_part.hpp"
#include "node/replicated_group.hpp"

namespace dolmen::node {

using replication::EnvelopeKind;

namespace {

/// Whether only whoever leads the root group says it, to itself: what it found out about nodes and
/// groups, and decided.
bool is_of_leader(const cluster::RootCommand& command) {
  namespace root = cluster::root;
  return std::visit(
      []<class C>(const C& /*command*/) {
        return std::is_same_v<C, root::Init> || std::is_same_v<C, root::SetAddress> ||
               std::is_same_v<C, root::NodeLost> || std::is_same_v<C, root::NodeBack> ||
               std::is_same_v<C, root::SetLife> || std::is_same_v<C, root::BeginChange> ||
               std::is_same_v<C, root::EndChange>;
      },
      command);
}

}  // namespace

bool may_say(const cluster::RootState& map, bool has_owner, std::uint64_t now_s,
             const fabric::NodeName& from, const replication::Envelope& envelope,
             base::Bytes body) {
  // Clients have names above all nodes' (fabric/tcp_format.hpp), also where nobody has a key.
  if (static_cast<std::uint64_t>(from.node) <= ~std::uint32_t{0}) {
    if (!has_owner) return true;
    // One that was removed is connected until it has heard so, which is all that it is there for.
    const auto known = map.nodes().find(static_cast<cluster::NodeNumber>(from.node));
    const bool is_removed =
        known != map.nodes().end() && known->second.state == cluster::NodeState::removed;
    return !is_removed || envelope.kind == EnvelopeKind::ask_map;
  }
  if (!replication::is_of_clients(envelope.kind)) return false;
  if (!has_owner) return true;
  // Members of a cluster's groups are changed by whoever leads the root group.
  if (envelope.kind == EnvelopeKind::change) return false;
  const auto number = client_number(from.node);
  if (!number) return false;
  const bool is_token = *number >= cluster::kTokenNumbers;
  const bool is_root = envelope.group == group_of(cluster::kRootGroup);
  if (is_token && !is_root) return false;
  if (envelope.kind != EnvelopeKind::request) {
    return !is_token || envelope.kind == EnvelopeKind::ask_map ||
           envelope.kind == EnvelopeKind::ask_roster;
  }
  const auto request = replication::decode_request(body);
  if (!request) return false;
  // What stands for a mail that arrived here is this node's to propose.
  if (!is_root) return !MailPart::is_request(request->command);
  if (request->session == 0) return true;  // it asks for one
  const auto command = cluster::decode_root_command(request->command);
  const auto* const joins = command ? std::get_if<cluster::root::Join>(&*command) : nullptr;
  if (joins == nullptr) return !is_token && !(command && is_of_leader(*command));
  const auto token = map.clients().find(joins->token);
  // Of one that is not there the root says so itself.
  if (token == map.clients().end()) return !is_token;
  return now_s < token->second.expires_s && (!is_token || joins->token == *number);
}

replication::Capability handle_of(const cluster::RootState& map, cluster::ClientNumber client) {
  const auto found = map.clients().find(client);
  if (found == map.clients().end() || found->second.rights == cluster::ClientRights::none) {
    return {};
  }
  return {.index = replication::kWholeCluster, .generation = found->second.generation};
}

replication::Right right_of(const cluster::RootState& map, bool has_owner,
                            const fabric::NodeName& from, const replication::Capability& shown) {
  using replication::Right;
  if (!fabric::is_client(from.node)) return Right::held;
  // A node that has not heard of anything yet knows nobody: it says so, and is asked again.
  if (has_owner && !map.is_begun()) return Right::stale;
  const auto number = client_number(from.node);
  const auto found = number ? map.clients().find(*number) : map.clients().end();
  // Where nobody has a key the map names those alone who are to be known.
  if (found == map.clients().end()) return has_owner ? Right::none : Right::held;
  if (*number >= cluster::kTokenNumbers) return Right::held;
  const cluster::RootClient& client = found->second;
  if (shown.index == 0) return Right::none;
  if (shown.generation != client.generation) return Right::stale;
  const bool is_held = shown.index == replication::kWholeCluster && !client.is_spent &&
                       client.rights == cluster::ClientRights::owner;
  return is_held ? Right::held : Right::none;
}

replication::Holder holder_of(const fabric::NodeName& from) {
  return client_number(from.node).value_or(0);
}

}  // namespace dolmen::node
