// SPDX-License-Identifier: Apache-2.0
//
// This node's regions, and the lanes on which others reach them.
#include <bit>
#include <utility>

#include <dolmen/assert.hpp>

#include "fabric/verbs_endpoint.hpp"

namespace dolmen::fabric {
namespace {

/// Lanes of one node whose end it has not confirmed: a node that keeps to the protocol does at its
/// next poll().
constexpr std::size_t kWithdrawnMax = 1024;

VerbsControl::Status status_of(const Result<void>& outcome) noexcept {
  if (outcome) return VerbsControl::Status::ok;
  switch (outcome.error().code()) {
    case Errc::no_right:
      return VerbsControl::Status::no_right;
    case Errc::out_of_bounds:
      return VerbsControl::Status::out_of_bounds;
    default:
      return VerbsControl::Status::not_found;
  }
}

bool Rights::* needed_right(const Rights& rights) noexcept {
  if (rights.read) return &Rights::read;
  return rights.write ? &Rights::write : &Rights::atomic;
}

}  // namespace

Result<void> VerbsEndpoint::open_lane(VerbsPeer& peer, const VerbsControl& ask) {
  const NodeId node = peer.name.node;
  VerbsControl answer{.kind = VerbsControl::Kind::answer, .lane = ask.lane, .region = ask.region};
  answer.status =
      status_of(regions_.check(node, ask.region, ask.start, ask.bytes, needed_right(ask.rights)));
  if (answer.status != VerbsControl::Status::ok || ask.queue.queue == 0) {
    tell(peer, answer);
    return {};
  }
  if (peer.granted.contains(ask.lane)) return fail(Errc::corrupt, "a lane that is there");
  for (auto& [lane, granted] : peer.granted) {
    if (granted.region == ask.region) withdraw(peer, lane, granted);
  }
  if (peer.withdrawn > kWithdrawnMax) return fail(Errc::corrupt, "a node that ends no lane");
  DOLMEN_TRY(Regions::Held held, regions_.hold(ask.region));
  VerbsGranted granted{.region = ask.region, .rights = regions_.rights(ask.region, node)};
  const sys::RdmaAccess access{
      .read = granted.rights.read, .write = granted.rights.write, .atomic = granted.rights.atomic};
  granted.memory = held.memory;
  DOLMEN_TRY(granted.domain, device_->make_domain());
  DOLMEN_TRY(granted.registered,
             granted.domain->register_memory(MutableBytes(held.memory.get(), held.bytes), access));
  DOLMEN_TRY(granted.queue,
             granted.domain->make_queue({.sends = 1, .receives = 1}, random_packet()));
  DOLMEN_CHECK(granted.queue->connect(ask.queue, access));
  answer.rights = granted.rights;
  answer.key = granted.registered->remote_key();
  answer.start = std::bit_cast<std::uint64_t>(held.memory.get());
  answer.bytes = held.bytes;
  answer.queue = granted.queue->address();
  peer.granted.emplace(ask.lane, std::move(granted));
  tell(peer, answer);
  return {};
}

void VerbsEndpoint::withdraw(VerbsPeer& peer, std::uint32_t lane, VerbsGranted& granted) {
  if (granted.is_withdrawn) return;
  granted.is_withdrawn = true;
  ++peer.withdrawn;
  // The fence. The queue stays, so that the other side learns which of its operations were refused;
  // where the device does not do as told the queue ends, and with it the connection.
  if (!granted.queue->set_access({})) {
    granted.queue.reset();
    fail_peer(peer, Error(Errc::connection_lost, "a lane's access could not be taken away"));
    return;
  }
  tell(peer, {.kind = VerbsControl::Kind::withdrawn, .lane = lane});
}

void VerbsEndpoint::withdraw_all(RegionId region, std::optional<NodeId> node) {
  for (const auto& [id, peer] : peers_) {
    if (node && id != *node) continue;
    for (auto& [lane, granted] : peer->granted) {
      if (granted.region == region) withdraw(*peer, lane, granted);
    }
  }
}

Result<MutableBytes> VerbsEndpoint::make_region(RegionId region, std::size_t bytes) {
  return regions_.make(region, bytes);
}

Result<void> VerbsEndpoint::close_region(RegionId region) {
  withdraw_all(region, std::nullopt);
  return regions_.close(region);
}

Result<void> VerbsEndpoint::grant(RegionId region, NodeId node, Rights rights) {
  const Rights before = regions_.rights(region, node);
  DOLMEN_CHECK(regions_.grant(region, node, rights));
  if (before != rights) withdraw_all(region, node);
  return {};
}

Result<void> VerbsEndpoint::revoke(RegionId region, NodeId node) {
  DOLMEN_CHECK(regions_.revoke(region, node));
  withdraw_all(region, node);
  return {};
}

Result<MutableBytes> VerbsEndpoint::map(const NodeName&, RegionId) {
  return fail(Errc::unsupported, "memory of another machine cannot be mapped");
}

}  // namespace dolmen::fabric
