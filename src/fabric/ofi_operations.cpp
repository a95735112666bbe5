// SPDX-License-Identifier: Apache-2.0
//
// Messages and one-sided operations: asking for them and serving them.
#include <algorithm>
#include <array>

#include <dolmen/assert.hpp>

#include "fabric/ofi_endpoint.hpp"

namespace dolmen::fabric {

Result<OfiEndpoint::Peer*> OfiEndpoint::open_peer(const NodeName& to, std::size_t bytes) noexcept {
  Peer* const peer = find_peer(to.node);
  if (peer == nullptr || !peer->is_open || peer->failure || peer->name != to) {
    return fail(Errc::not_connected, "node", static_cast<std::uint64_t>(to.node));
  }
  const std::size_t queued = peer->stream.queued();
  if (queued > 0 && queued + bytes > send_queue_bytes_) {
    return fail(Errc::busy, "node", static_cast<std::uint64_t>(to.node));
  }
  return peer;
}

Result<void> OfiEndpoint::append(Peer& peer, const UnitHeader& header,
                                 std::span<const Bytes> parts) {
  if (peer.stream.append(header, parts)) return {};
  fail_peer(peer, Error(Errc::connection_lost, "a message could not be sent"));
  return fail(Errc::not_connected, "node", static_cast<std::uint64_t>(peer.name.node));
}

Result<void> OfiEndpoint::send(const NodeName& to, std::span<const Bytes> parts) {
  std::size_t bytes = 0;
  for (const Bytes part : parts) {
    bytes += part.size();
    if (part.size() > kTcpBytesMax || bytes > kTcpBytesMax) {
      return fail(Errc::too_large, "a message between nodes", bytes);
    }
  }
  DOLMEN_TRY(Peer* const peer, open_peer(to, bytes));
  return append(*peer, {.kind = UnitKind::message}, parts);
}

Result<MutableBytes> OfiEndpoint::make_region(RegionId region, std::size_t bytes) {
  return regions_.make(region, bytes);
}
Result<void> OfiEndpoint::close_region(RegionId region) { return regions_.close(region); }
Result<void> OfiEndpoint::grant(RegionId region, NodeId node, Rights rights) {
  return regions_.grant(region, node, rights);
}
Result<void> OfiEndpoint::revoke(RegionId region, NodeId node) {
  return regions_.revoke(region, node);
}
Result<MutableBytes> OfiEndpoint::map(const NodeName&, RegionId) {
  return fail(Errc::unsupported, "memory of another machine cannot be mapped");
}

Result<void> OfiEndpoint::request(OpId op, const Place& place, UnitKind kind, Bytes body,
                                  MutableBytes into, Level level) {
  if (body.size() > kTcpBytesMax || into.size() > kTcpBytesMax) {
    return fail(Errc::too_large, "a one-sided operation", std::max(body.size(), into.size()));
  }
  if (level == Level::durable)
    return fail(Errc::unsupported, "this fabric's memory is not durable");
  const bool is_word = kind == UnitKind::swap || kind == UnitKind::fetch_add;
  if (is_word && place.offset % 8 != 0) {
    return fail(Errc::invalid_argument, "a word's offset", place.offset);
  }
  DOLMEN_TRY(Peer* const peer, open_peer(place.target, body.size()));
  const bool is_answered = level == Level::placed;
  const std::size_t waiting = is_answered ? peer->pending.size() : completed_.size();
  if (waiting >= kTcpOperationsMax ||
      peer->pending.read_bytes() + peer->fetching_bytes + into.size() > kTcpReadBytesMax) {
    return fail(Errc::busy, "node", static_cast<std::uint64_t>(place.target.node));
  }
  RequestHead head{.offset = place.offset,
                   .region = place.region,
                   .count = static_cast<std::uint32_t>(into.size())};
  UnitHeader header{.kind = kind};
  if (is_answered) {
    header.detail = kind == UnitKind::write ? 1 : 0;
    header.number = peer->pending.push(op, kind, into);
  } else {
    completed_.push_back(op);
  }
  // Accepted: should the connection be lost here, that ends the operation.
  if (kind == UnitKind::write && is_answered && shows(body.size()) &&
      show_write(*peer, header, head, body)) {
    return {};
  }
  (void)append(*peer, header, std::array<Bytes, 2>{encode(head), body});
  return {};
}

Result<void> OfiEndpoint::write(OpId op, const Place& place, Bytes bytes, Level level) {
  return request(op, place, UnitKind::write, bytes, {}, level);
}

Result<void> OfiEndpoint::read(OpId op, const Place& place, MutableBytes into) {
  return request(op, place, UnitKind::read, {}, into, Level::placed);
}

Result<void> OfiEndpoint::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                           std::uint64_t desired) {
  const std::array<std::uint64_t, 2> words{expected, desired};
  return request(op, place, UnitKind::swap, std::as_bytes(std::span(words)), {}, Level::placed);
}

Result<void> OfiEndpoint::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  return request(op, place, UnitKind::fetch_add, std::as_bytes(std::span(&delta, 1)), {},
                 Level::placed);
}

void OfiEndpoint::serve(Peer& peer, const OfiStream::Unit& unit) {
  const Result<Served> served = fabric::serve(regions_, peer.name.node, unit.header, unit.body);
  if (!served) {
    fail_peer(peer, served.error());
    return;
  }
  if (!served->is_answered) return;
  if (shows(served->region.size()) && show_read(peer, unit.header.number, served->region)) return;
  answer(peer, unit.header.number, served->status, served->body());
}

void OfiEndpoint::answer(Peer& peer, std::uint16_t number, Status status, Bytes body) {
  const std::size_t own_max = std::max(send_queue_bytes_, kTcpBytesMax);
  if (peer.stream.queued() + body.size() > own_max + kAnswersMax) {
    fail_peer(peer, Error(Errc::corrupt, "a node asks for more than it may at once"));
    return;
  }
  (void)append(
      peer, {.kind = UnitKind::done, .detail = static_cast<std::uint8_t>(status), .number = number},
      std::span(&body, 1));
}

}  // namespace dolmen::fabric
