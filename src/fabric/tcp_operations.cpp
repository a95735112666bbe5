// SPDX-License-Identifier: Apache-2.0
//
// Messages and one-sided operations: asking for them, serving them, completing them.
#include <algorithm>
#include <array>

#include <dolmen/assert.hpp>

#include "fabric/tcp_endpoint.hpp"

namespace dolmen::fabric {
namespace {

Bytes bytes_of(const std::uint64_t& word) noexcept { return std::as_bytes(std::span(&word, 1)); }

}  // namespace

Result<TcpConnection*> TcpEndpoint::open_connection(const NodeName& to, std::size_t bytes) const {
  const auto found = peers_.find(to.node);
  TcpConnection* const connection = found == peers_.end() ? nullptr : found->second.connection;
  if (connection == nullptr || connection->failure || connection->channel.peer() != to) {
    return fail(Errc::not_connected, "node", static_cast<std::uint64_t>(to.node));
  }
  const std::size_t queued = connection->channel.queued();
  if (queued > 0 && queued + bytes > options_.send_queue_bytes) {
    return fail(Errc::busy, "node", static_cast<std::uint64_t>(to.node));
  }
  return connection;
}

Result<void> TcpEndpoint::send(const NodeName& to, std::span<const Bytes> parts) {
  std::size_t bytes = 0;
  for (const Bytes part : parts) {
    bytes += part.size();
    if (part.size() > kTcpBytesMax || bytes > kTcpBytesMax) {
      return fail(Errc::too_large, "a message between nodes", bytes);
    }
  }
  DOLMEN_TRY(TcpConnection* const connection, open_connection(to, bytes));
  connection->channel.append({.kind = UnitKind::message}, parts);
  leave(*connection);
  return {};
}

Result<MutableBytes> TcpEndpoint::make_region(RegionId region, std::size_t bytes) {
  return regions_.make(region, bytes);
}
Result<void> TcpEndpoint::close_region(RegionId region) { return regions_.close(region); }
Result<void> TcpEndpoint::grant(RegionId region, NodeId node, Rights rights) {
  return regions_.grant(region, node, rights);
}
Result<void> TcpEndpoint::revoke(RegionId region, NodeId node) {
  return regions_.revoke(region, node);
}
Result<MutableBytes> TcpEndpoint::map(const NodeName&, RegionId) {
  return fail(Errc::unsupported, "memory of another machine cannot be mapped");
}

Result<void> TcpEndpoint::request(OpId op, const Place& place, UnitKind kind, Bytes body,
                                  MutableBytes into, Level level) {
  if (body.size() > kTcpBytesMax || into.size() > kTcpBytesMax) {
    return fail(Errc::too_large, "a one-sided operation", std::max(body.size(), into.size()));
  }
  if (level == Level::durable) return fail(Errc::unsupported, "memory over tcp is not durable");
  const bool is_word = kind == UnitKind::swap || kind == UnitKind::fetch_add;
  if (is_word && place.offset % 8 != 0) {
    return fail(Errc::invalid_argument, "a word's offset", place.offset);
  }
  DOLMEN_TRY(TcpConnection* const connection, open_connection(place.target, body.size()));
  const bool is_answered = level == Level::placed;
  const std::size_t waiting = is_answered ? connection->pending.size() : completed_.size();
  if (waiting >= kTcpOperationsMax ||
      connection->pending.read_bytes() + into.size() > kTcpReadBytesMax) {
    return fail(Errc::busy, "node", static_cast<std::uint64_t>(place.target.node));
  }
  const auto head = encode(RequestHead{.offset = place.offset,
                                       .region = place.region,
                                       .count = static_cast<std::uint32_t>(into.size())});
  UnitHeader header{.kind = kind};
  if (is_answered) {
    header.detail = kind == UnitKind::write ? 1 : 0;
    header.number = connection->pending.push(op, kind, into);
  } else {
    completed_.push_back(op);
  }
  const std::array<Bytes, 2> parts{head, body};
  connection->channel.append(header, parts);
  leave(*connection);
  return {};
}

/// With the next poll(); or at once, when that is as many bytes as one write should have: the other
/// side works on them while this one goes on.
void TcpEndpoint::leave(TcpConnection& connection) {
  constexpr std::size_t kEnough = 16 * 1024;
  list(connection);
  if (connection.channel.queued() >= kEnough && !connection.is_blocked) flush(connection);
}

Result<void> TcpEndpoint::write(OpId op, const Place& place, Bytes bytes, Level level) {
  return request(op, place, UnitKind::write, bytes, {}, level);
}

Result<void> TcpEndpoint::read(OpId op, const Place& place, MutableBytes into) {
  return request(op, place, UnitKind::read, {}, into, Level::placed);
}

Result<void> TcpEndpoint::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                           std::uint64_t desired) {
  const std::array<std::uint64_t, 2> words{expected, desired};
  return request(op, place, UnitKind::swap, std::as_bytes(std::span(words)), {}, Level::placed);
}

Result<void> TcpEndpoint::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  return request(op, place, UnitKind::fetch_add, bytes_of(delta), {}, Level::placed);
}

void TcpEndpoint::serve(TcpConnection& connection, Sink& sink) {
  const TcpChannel::Unit& unit = connection.channel.unit();
  const NodeName& peer = connection.channel.peer();
  const UnitKind kind = unit.header.kind;
  const std::uint16_t number = unit.header.number;
  if (kind == UnitKind::message) {
    sink.on_message(peer, unit.body);
    return;
  }
  if (kind == UnitKind::done) {
    complete(connection, sink);
    return;
  }
  const Result<Served> served = fabric::serve(regions_, peer.node, unit.header, unit.body);
  if (!served) {
    fail_connection(connection, served.error());
    return;
  }
  if (served->is_answered) answer(connection, number, served->status, served->body());
}

void TcpEndpoint::answer(TcpConnection& connection, std::uint16_t number, Status status,
                         Bytes body) {
  const std::size_t own_max = std::max(options_.send_queue_bytes, kTcpBytesMax);
  if (connection.channel.queued() + body.size() > own_max + kAnswersMax) {
    fail_connection(connection, Error(Errc::corrupt, "a node asks for more than it may at once"));
    return;
  }
  connection.channel.append(
      {.kind = UnitKind::done, .detail = static_cast<std::uint8_t>(status), .number = number},
      body);
  leave(connection);
}

void TcpEndpoint::complete(TcpConnection& connection, Sink& sink) {
  const TcpChannel::Unit& unit = connection.channel.unit();
  const Result<Completed> completed = fabric::complete(connection.pending, unit.header, unit.body);
  if (!completed) {
    fail_connection(connection, completed.error());
    return;
  }
  sink.on_completed(completed->op, completed->former);
}

}  // namespace dolmen::fabric
