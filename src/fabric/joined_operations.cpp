// SPDX-License-Identifier: Apache-2.0
//
// Messages, regions and operations of a joined endpoint: each goes where its peer is.
#include <algorithm>
#include <utility>

#include "fabric/joined_endpoint.hpp"

namespace dolmen::fabric {

Result<void> JoinedEndpoint::send(const NodeName& to, std::span<const Bytes> parts) {
  const Peer* const peer = find(to);
  if (peer == nullptr) return fail(Errc::not_connected, "a message");
  if (peer->phase == Peer::Phase::shared) return shared_->send(peer->offer->name, parts);
  return tcp_->send(to, parts);
}

Result<MutableBytes> JoinedEndpoint::make_region(RegionId region, std::size_t bytes) {
  auto made = shared_->make_region(region, bytes);
  // No memory there, or somebody took the directory away; what cannot be at all tcp says itself.
  if (!made) return tcp_->make_region(region, bytes);
  if (const auto adopted = tcp_->adopt_region(region, *made); !adopted) {
    (void)shared_->let_go(region);
    return std::unexpected(adopted.error());
  }
  return made;
}

Result<void> JoinedEndpoint::close_region(RegionId region) {
  DOLMEN_CHECK(tcp_->close_region(region));
  grants_.erase(region);
  (void)shared_->let_go(region);  // it may be one for which there was no memory
  return {};
}

Result<void> JoinedEndpoint::grant(RegionId region, NodeId node, Rights rights) {
  DOLMEN_CHECK(tcp_->grant(region, node, rights));
  grants_[region][node] = rights;
  const auto found = peers_.find(node);
  if (found == peers_.end() || !found->second.offer) return {};
  const auto granted = shared_->grant(region, found->second.offer->name.node, rights);
  // What has no place there goes by tcp.
  if (granted || granted.error().code() != Errc::unsupported) return {};
  return granted;
}

Result<void> JoinedEndpoint::revoke(RegionId region, NodeId node) {
  DOLMEN_CHECK(tcp_->revoke(region, node));
  grants_[region].erase(node);
  const auto found = peers_.find(node);
  if (found != peers_.end() && found->second.offer) {
    shared_->forget_grant(region, found->second.offer->name.node);
  }
  return fail(Errc::unsupported, "what is mapped cannot be taken away");
}

Result<std::optional<Place>> JoinedEndpoint::place_of(const Place& place, std::size_t bytes,
                                                      const Rights& needed) {
  const Peer* const peer = find(place.target);
  if (peer == nullptr) return fail(Errc::not_connected, "the target of an operation");
  if (bytes > traits_.operation_bytes_max) return fail(Errc::too_large, "an operation", bytes);
  if (peer->phase != Peer::Phase::shared) return std::nullopt;
  const NodeName& there = peer->offer->name;
  if (shared_->reaches(there, place.region, needed)) {
    return Place{.target = there, .region = place.region, .offset = place.offset};
  }
  ask_tcp_ = true;
  return std::nullopt;
}

Result<void> JoinedEndpoint::write(OpId op, const Place& place, Bytes bytes, Level level) {
  DOLMEN_TRY(const auto there, place_of(place, bytes.size(), {.write = true}));
  return there ? shared_->write(op, *there, bytes, level) : tcp_->write(op, place, bytes, level);
}

Result<void> JoinedEndpoint::read(OpId op, const Place& place, MutableBytes into) {
  DOLMEN_TRY(const auto there, place_of(place, into.size(), {.read = true}));
  return there ? shared_->read(op, *there, into) : tcp_->read(op, place, into);
}

Result<void> JoinedEndpoint::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) {
  DOLMEN_TRY(const auto there, place_of(place, sizeof expected, {.atomic = true}));
  return there ? shared_->compare_and_swap(op, *there, expected, desired)
               : tcp_->compare_and_swap(op, place, expected, desired);
}

Result<void> JoinedEndpoint::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  DOLMEN_TRY(const auto there, place_of(place, sizeof delta, {.atomic = true}));
  return there ? shared_->fetch_add(op, *there, delta) : tcp_->fetch_add(op, place, delta);
}

Result<MutableBytes> JoinedEndpoint::map(const NodeName& target, RegionId region) {
  const Peer* const peer = find(target);
  if (peer == nullptr) return fail(Errc::not_connected, "the owner of a region");
  if (peer->phase != Peer::Phase::shared) return fail(Errc::unsupported, "mapping by tcp");
  const NodeName& there = peer->offer->name;
  DOLMEN_TRY(const MutableBytes mapped, shared_->map(there, region));
  const auto is_it = [&](const Mapped& one) { return one.shared == there && one.region == region; };
  if (std::ranges::none_of(mapped_, is_it)) mapped_.push_back({target, there, region});
  return mapped;
}

void JoinedEndpoint::unmap(const NodeName& target, RegionId region) noexcept {
  const auto found = std::ranges::find_if(
      mapped_, [&](const Mapped& one) { return one.target == target && one.region == region; });
  if (found == mapped_.end()) return;
  shared_->unmap(found->shared, region);
  mapped_.erase(found);
}

bool JoinedEndpoint::lives(const NodeName& target) const noexcept {
  const Peer* const peer = find(target);
  return peer != nullptr && peer->phase == Peer::Phase::shared && shared_->lives(peer->offer->name);
}

}  // namespace dolmen::fabric
