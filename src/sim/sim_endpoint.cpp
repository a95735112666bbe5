// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include <dolmen/assert.hpp>

#include "sim/sim_fabric_core.hpp"

namespace dolmen::sim {
namespace {

using Kind = SimInboxItem::Kind;

std::unexpected<Error> not_connected(const fabric::NodeName& to) {
  return fail(Errc::not_connected, "node", static_cast<std::uint64_t>(to.node));
}

}  // namespace

Result<SimLinkPtr> SimEndpoint::link_to(const NodeName& to) const {
  const auto found = life_->connected.find(to.node);
  if (found == life_->connected.end()) return not_connected(to);
  const SimLink& link = *found->second;
  const int s = link.side_of(*life_);
  if (link.sides[s].is_ended || link.sides[1 - s].life->name != to) return not_connected(to);
  return found->second;
}

std::optional<fabric::NodeName> SimEndpoint::connected(NodeId node) const noexcept {
  const auto found = life_->connected.find(node);
  if (found == life_->connected.end()) return std::nullopt;
  const SimLink& link = *found->second;
  const int s = link.side_of(*life_);
  if (link.sides[s].is_dropped) return std::nullopt;
  return link.sides[1 - s].life->name;
}

// --- messages ------------------------------------------------------------------------------------

Result<void> SimEndpoint::send(const NodeName& to, std::span<const base::Bytes> parts) {
  DOLMEN_TRY(const SimLinkPtr link, link_to(to));
  std::size_t bytes = 0;
  for (const base::Bytes part : parts) {
    bytes += std::min(part.size(), core_.model.traits.message_bytes_max + 1);
    if (bytes > core_.model.traits.message_bytes_max) {
      return fail(Errc::too_large, "a message between nodes", bytes);
    }
  }
  const int s = link->side_of(*life_);
  SimSide& side = link->sides[s];
  const std::size_t taken = bytes + 64;  // empty ones take room, too
  if (side.queued_bytes != 0 && side.queued_bytes + taken > core_.model.send_queue_bytes) {
    return fail(Errc::busy, "node", static_cast<std::uint64_t>(to.node));
  }
  side.queued_bytes += taken;
  std::vector<std::byte> message;
  message.reserve(bytes);
  for (const base::Bytes part : parts) message.insert(message.end(), part.begin(), part.end());
  core_.carry(link, s, true, [this_core = &core_, link, s, message = std::move(message)]() mutable {
    const SimLifePtr& life = link->sides[1 - s].life;
    if (life->has_process) {
      this_core->push(life, {.kind = Kind::message, .link = link, .bytes = std::move(message)});
    }
  });
  return {};
}

// --- regions -------------------------------------------------------------------------------------

Result<base::MutableBytes> SimEndpoint::make_region(RegionId region, std::size_t bytes) {
  return core_.make_region(*life_, region, bytes);
}
Result<void> SimEndpoint::close_region(RegionId region) { return life_->nic->close(region); }
Result<void> SimEndpoint::grant(RegionId region, NodeId node, fabric::Rights rights) {
  if (core_.model.traits.revocable) return life_->nic->grant(region, node, rights);
  const auto found = life_->nic->regions().find(region);
  if (found != life_->nic->regions().end()) {
    const auto held = found->second.second.find(node);
    if (held != found->second.second.end() &&
        ((held->second.read && !rights.read) || (held->second.write && !rights.write) ||
         (held->second.atomic && !rights.atomic))) {
      return fail(Errc::unsupported, "rights cannot be taken away here");
    }
  }
  return life_->nic->grant(region, node, rights);
}
Result<void> SimEndpoint::revoke(RegionId region, NodeId node) {
  if (!core_.model.traits.revocable) return fail(Errc::unsupported, "revoke");
  return core_.model.revokes_early ? life_->nic->revoke_without_draining(region, node)
                                   : life_->nic->revoke(region, node);
}

// --- one-sided operations ------------------------------------------------------------------------

Result<void> SimEndpoint::issue(OpId op, const Place& place, SimOperation operation,
                                SimPending pending) {
  DOLMEN_TRY(const SimLinkPtr link, link_to(place.target));
  if (operation.length > core_.model.traits.operation_bytes_max) {
    return fail(Errc::too_large, "a one-sided operation", operation.length);
  }
  const int s = link->side_of(*life_);
  const SimSide& side = link->sides[s];
  pending.op = op;
  pending.bytes = operation.length + 64;
  if (side.pending.size() >= core_.model.operations_max ||
      (side.operation_bytes != 0 &&
       side.operation_bytes + pending.bytes > core_.model.operation_queue_bytes)) {
    return fail(Errc::busy, "node", static_cast<std::uint64_t>(place.target.node));
  }
  operation.region = place.region;
  operation.offset = place.offset;
  core_.issue(link, s, std::move(operation), pending);
  return {};
}

Result<void> SimEndpoint::write(OpId op, const Place& place, base::Bytes bytes,
                                fabric::Level level) {
  if (level > core_.model.traits.level_max) return fail(Errc::unsupported, "this level of a write");
  return issue(op, place,
               {.kind = SimOperation::Kind::write, .level = level, .length = bytes.size()},
               {.from = bytes});
}
Result<void> SimEndpoint::read(OpId op, const Place& place, base::MutableBytes into) {
  return issue(op, place, {.kind = SimOperation::Kind::read, .length = into.size()},
               {.into = into});
}
Result<void> SimEndpoint::compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                           std::uint64_t desired) {
  if (place.offset % 8 != 0) return fail(Errc::invalid_argument, "an unaligned word", place.offset);
  return issue(
      op, place,
      {.kind = SimOperation::Kind::swap, .length = 8, .expected = expected, .operand = desired},
      {});
}
Result<void> SimEndpoint::fetch_add(OpId op, const Place& place, std::uint64_t delta) {
  if (place.offset % 8 != 0) return fail(Errc::invalid_argument, "an unaligned word", place.offset);
  return issue(op, place, {.kind = SimOperation::Kind::add, .length = 8, .operand = delta}, {});
}
Result<base::MutableBytes> SimEndpoint::map(const NodeName& /*target*/, RegionId /*region*/) {
  return fail(Errc::unsupported, "map");
}

// --- progress ------------------------------------------------------------------------------------

void SimEndpoint::report_lost(const SimLinkPtr& link, Errc why, fabric::Sink& sink) {
  const int s = link->side_of(*life_);
  SimSide& side = link->sides[s];
  const fabric::NodeName peer = link->sides[1 - s].life->name;
  const Error lost =
      fail(Errc::connection_lost, "node", static_cast<std::uint64_t>(peer.node)).error();
  for (const auto& [serial, pending] : std::exchange(side.pending, {})) {
    if (!pending.is_reported) sink.on_completed(pending.op, std::unexpected(lost));
  }
  const Error reason = fail(why, "node", static_cast<std::uint64_t>(peer.node)).error();
  if (!std::exchange(side.is_reported, false)) return sink.on_refused(peer.node, reason);
  const auto found = life_->connected.find(peer.node);
  if (found != life_->connected.end() && found->second == link) life_->connected.erase(found);
  sink.on_lost(peer, reason);
}

void SimEndpoint::report(SimInboxItem item, fabric::Sink& sink) {
  if (item.kind == Kind::completed) return sink.on_completed(item.op, item.outcome);
  const int s = item.link->side_of(*life_);
  SimSide& side = item.link->sides[s];
  const fabric::NodeName& peer = item.link->sides[1 - s].life->name;
  switch (item.kind) {
    case Kind::hello:
      return core_.take_hello(item.link, sink);
    case Kind::accepted:
      // Ended meanwhile: `lost` is behind this one.
      if (side.is_dropped) return;
      side.is_reported = true;
      life_->connected[peer.node] = item.link;
      life_->known[peer.node] = std::max(life_->known[peer.node], peer.incarnation);
      return sink.on_connected(peer);
    case Kind::message:
      if (side.is_dropped) return;
      side.consumed_bytes += item.bytes.size() + 64;
      read_from_.push_back(item.link);
      return sink.on_message(peer, item.bytes);
    case Kind::serve:
      if (!side.is_dropped) core_.serve(item.link, s, item.operation);
      return;
    case Kind::lost:
      return report_lost(item.link, item.why, sink);
    case Kind::refused:
      return sink.on_refused(peer.node,
                             fail(item.why, "node", static_cast<std::uint64_t>(peer.node)).error());
    case Kind::completed:
      return;
  }
}

Result<bool> SimEndpoint::poll(fabric::Sink& sink) {
  bool did_something = false;
  while (!life_->inbox.empty()) {
    SimInboxItem item = std::move(life_->inbox.front());
    life_->inbox.pop_front();
    report(std::move(item), sink);
    did_something = true;
  }
  // Room for the senders: once per poll, as acknowledgements go.
  for (const SimLinkPtr& link : std::exchange(read_from_, {})) {
    const int s = link->side_of(*life_);
    const std::size_t bytes = std::exchange(link->sides[s].consumed_bytes, 0);
    if (bytes == 0) continue;
    core_.carry(link, s, false, [link, s, bytes, core = &core_] {
      SimSide& sender = link->sides[1 - s];
      sender.queued_bytes -= bytes;
      if (sender.life->waker) sender.life->waker(core->queue.now_ns());
    });
  }
  return did_something;
}

Result<void> SimEndpoint::wait(std::uint64_t until_ns) {
  if (!life_->waker) return {};
  const std::uint64_t until_true_ns =
      life_->clock == nullptr ? until_ns : life_->clock->true_ns_of(until_ns);
  life_->waker(life_->inbox.empty() ? until_true_ns : core_.queue.now_ns());
  return {};
}

void SimEndpoint::wake() noexcept {
  if (life_->waker) life_->waker(core_.queue.now_ns());
}

void SimEndpoint::disconnect(NodeId node) noexcept {
  const auto found = life_->connected.find(node);
  if (found == life_->connected.end()) return;
  const SimLinkPtr link = found->second;
  const int s = link->side_of(*life_);
  link->sides[s].is_dropped = true;
  core_.break_side(link, s, Errc::closed, true);
}

}  // namespace dolmen::sim
