// SPDX-License-Identifier: Apache-2.0
//
// What a driver of the world calls, and one-sided operations at the target's card.
#include "sim/sim_fabric.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include <dolmen/assert.hpp>

#include "sim/sim_fabric_core.hpp"

namespace dolmen::sim {

// --- the world -----------------------------------------------------------------------------------

SimFabric::SimFabric(std::uint64_t seed, FabricModel model)
    : core_(std::make_unique<SimFabricCore>(seed, model)) {}
SimFabric::~SimFabric() = default;

std::unique_ptr<fabric::Endpoint> SimFabric::make(const SimEndpointOptions& options) {
  return std::make_unique<SimEndpoint>(*core_, core_->begin_life(options));
}

EventQueue& SimFabric::queue() noexcept { return core_->queue; }
std::uint64_t SimFabric::trace_hash() const noexcept { return core_->trace_hash; }
const SimFabricCounts& SimFabric::counts() const noexcept { return core_->counts; }

void SimFabric::set_faults(const LinkFaults& faults) {
  core_->faults = faults;
  core_->link_faults.clear();
}
void SimFabric::set_faults(NodeId from, NodeId to, const LinkFaults& faults) {
  core_->link_faults[{from, to}] = faults;
}
void SimFabric::cut(NodeId from, NodeId to, std::uint64_t length_ns) {
  std::uint64_t& until_ns = core_->cut_until_ns[{from, to}];
  until_ns = std::max(until_ns, now_ns() + length_ns);
}
void SimFabric::flap(NodeId from, NodeId to, std::uint64_t cut_ns, std::uint64_t whole_ns,
                     std::uint64_t length_ns) {
  cut(from, to, std::min(cut_ns, length_ns));
  const std::uint64_t turn_ns = cut_ns + whole_ns;
  if (turn_ns >= length_ns) return;
  queue().after(turn_ns, [this, from, to, cut_ns, whole_ns, rest_ns = length_ns - turn_ns,
                          healed = core_->times_healed] {
    if (core_->times_healed == healed) flap(from, to, cut_ns, whole_ns, rest_ns);
  });
}
void SimFabric::heal() {
  ++core_->times_healed;
  core_->cut_until_ns.clear();
  set_faults({});
}
void SimFabric::break_connection(NodeId one, NodeId other) {
  const SimLifePtr life = core_->life_of(one);
  if (!life) return;
  const auto found = life->links.find(other);
  if (found == life->links.end()) return;
  const SimLinkPtr link = found->second;
  for (const int s : {0, 1}) core_->break_side(link, s, Errc::connection_lost, false);
}

void SimFabric::linger(NodeId node) { core_->linger(node); }
void SimFabric::stop_nic(NodeId node) { core_->silence(node); }
void SimFabric::power_off(NodeId node, std::uint32_t survives_ppm) {
  core_->power_off(node, survives_ppm);
}
void SimFabric::lose_memory(NodeId node) { core_->lose_memory(node); }
Result<void> SimFabric::flush(NodeId node, fabric::RegionId region, std::uint64_t offset,
                              std::uint64_t bytes) {
  const auto number = static_cast<std::uint64_t>(region);
  const SimLifePtr life = core_->life_of(node);
  if (!life || !life->nic->regions().contains(region))
    return fail(Errc::not_found, "region", number);
  const SimRegionPtr& memory = life->nic->regions().at(region).first;
  const std::size_t size = memory->bytes().size();
  if (offset > size || bytes > size - offset) return fail(Errc::out_of_bounds, "region", number);
  memory->flush(offset, bytes);
  return {};
}

// --- one-sided operations ------------------------------------------------------------------------

void SimFabricCore::issue(const SimLinkPtr& link, int s, SimOperation operation,
                          SimPending pending) {
  SimSide& side = link->sides[s];
  const std::uint64_t serial = operation.serial = ++side.serials;
  side.operation_bytes += pending.bytes;
  side.pending.emplace(serial, pending);
  auto request = std::make_shared<SimOperation>(std::move(operation));
  // The card takes the bytes later than the call: who changes them before the operation is
  // completed sends what he did not mean.
  queue.at(leaves_ns(*side.life), [this, link, s, serial, request] {
    SimSide& from = link->sides[s];
    const auto found = from.pending.find(serial);
    if (from.is_ended || !from.life->has_process || found == from.pending.end()) return;
    request->is_void = false;
    SimPending& its = found->second;
    request->bytes.assign(its.from.begin(), its.from.end());
    if (request->kind != SimOperation::Kind::write || request->level != fabric::Level::local)
      return;
    its.is_reported = true;
    push(from.life, {.kind = SimInboxItem::Kind::completed, .op = its.op});
  });
  carry(link, s, model.traits.ordered, [this, link, s, request] {
    if (request->is_void) return;
    if (model.traits.passive_target) return begin(link, 1 - s, request);
    push(link->sides[1 - s].life,
         {.kind = SimInboxItem::Kind::serve, .link = link, .operation = request});
  });
}

void SimFabricCore::begin(const SimLinkPtr& link, int s, const SimOperationPtr& operation) {
  SimSide& side = link->sides[s];
  SimNic& nic = *side.life->nic;
  const NodeId by = link->sides[1 - s].life->name.node;
  const SimOperation& it = *operation;
  // Before the card is asked: it may do it at once.
  side.is_landing = model.traits.ordered;
  Result<void> begun;
  switch (it.kind) {
    case SimOperation::Kind::write: {
      const bool is_flushed = it.level == fabric::Level::durable;
      begun = nic.write(by, it.region, it.offset, std::move(operation->bytes), is_flushed,
                        [this, link, s, operation] { finish(link, s, operation, 0, {}); });
      if (begun && model.places_early && !is_flushed) answer(link, s, it.serial, 0, {});
      break;
    }
    case SimOperation::Kind::read:
      begun = nic.read(by, it.region, it.offset, it.length,
                       [this, link, s, operation](std::vector<std::byte> bytes) {
                         finish(link, s, operation, 0, std::move(bytes));
                       });
      break;
    case SimOperation::Kind::swap:
    case SimOperation::Kind::add:
      begun = nic.atomic(
          by, it.region, it.offset,
          [operation](std::uint64_t former) {
            if (operation->kind == SimOperation::Kind::add) return former + operation->operand;
            return former == operation->expected ? operation->operand : former;
          },
          [this, link, s, operation](std::uint64_t former) {
            finish(link, s, operation, former, {});
          });
  }
  if (!begun) finish(link, s, operation, std::unexpected(begun.error()), {});
}

void SimFabricCore::finish(const SimLinkPtr& link, int s, const SimOperationPtr& operation,
                           Result<std::uint64_t> outcome, std::vector<std::byte> bytes) {
  const bool was_answered = outcome && model.places_early &&
                            operation->kind == SimOperation::Kind::write &&
                            operation->level != fabric::Level::durable;
  if (!was_answered) answer(link, s, operation->serial, std::move(outcome), std::move(bytes));
  link->sides[s].is_landing = false;
  take_in_order(link, s);
}

// The target's poll() does it: the look at the right and what follows are one step.
void SimFabricCore::serve(const SimLinkPtr& link, int s, const SimOperationPtr& operation) {
  begin(link, s, operation);
  link->sides[s].life->nic->settle();
}

void SimFabricCore::answer(const SimLinkPtr& link, int s, std::uint64_t serial,
                           Result<std::uint64_t> outcome, std::vector<std::byte> bytes) {
  carry(link, s, false,
        [this, link, s, serial, outcome = std::move(outcome), bytes = std::move(bytes)] {
          SimSide& issuer = link->sides[1 - s];
          const auto found = issuer.pending.find(serial);
          if (found == issuer.pending.end() || !issuer.life->has_process) return;
          const SimPending its = found->second;
          issuer.pending.erase(found);
          issuer.operation_bytes -= its.bytes;
          if (its.is_reported) return;
          if (!bytes.empty()) std::memcpy(its.into.data(), bytes.data(), bytes.size());
          push(issuer.life,
               {.kind = SimInboxItem::Kind::completed, .op = its.op, .outcome = outcome});
        });
}

}  // namespace dolmen::sim
