// SPDX-License-Identifier: Apache-2.0
#include "node/root_machine.hpp"

#include <dolmen/assert.hpp>

#include "node/cluster_identity.hpp"

namespace dolmen::node {

Result<std::vector<std::byte>> RootMachine::effect_of(Bytes request) {
  if (!cluster::decode_root_command(request)) {
    return fail(Errc::invalid_argument, "a command of the root group");
  }
  return std::vector<std::byte>(request.begin(), request.end());
}

std::vector<std::byte> RootMachine::apply_for(std::uint64_t client, std::uint64_t index,
                                              Bytes command) {
  const auto decoded = cluster::decode_root_command(command);
  // A later version's, at all members alike.
  if (!decoded) return cluster::encode(cluster::RootReply{cluster::RootStatus::invalid});
  if (!is_signed(state_, *decoded)) {
    return cluster::encode(cluster::RootReply{cluster::RootStatus::not_signed});
  }
  return cluster::encode(state_.apply(index, *decoded, static_cast<cluster::ClientNumber>(client)));
}

std::vector<std::byte> RootMachine::apply(Bytes /*command*/) {
  DOLMEN_ASSERT(false && "it needs the entry's place");
  return {};
}

std::vector<std::byte> RootMachine::snapshot() const { return cluster::encode_root(state_); }

Result<void> RootMachine::restore(Bytes state) {
  DOLMEN_TRY(state_, cluster::decode_root(state));
  return {};
}

}  // namespace dolmen::node
