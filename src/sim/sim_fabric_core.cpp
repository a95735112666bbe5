// SPDX-License-Identifier: Apache-2.0
//
// Lives, and what happens to packets.
#include "sim/sim_fabric_core.hpp"

#include <algorithm>

#include <dolmen/assert.hpp>

#include "base/checksum.hpp"

namespace dolmen::sim {
namespace {

using Kind = SimInboxItem::Kind;

/// Of two nodes that listen the one with the smaller id dials; a client always does.
bool dials(const SimLife& one, const SimLife& other) {
  if (one.is_client != other.is_client) return one.is_client;
  return !one.is_client && one.name.node < other.name.node;
}

bool are_to_connect(const SimLife& one, const SimLife& other) {
  return one.name.node != other.name.node && !(one.is_client && other.is_client);
}

NicModel nic_of(const FabricModel& model) {
  NicModel nic = model.nic;
  nic.is_ordered = model.traits.ordered;
  nic.atomic_with_cpu = model.traits.atomic_with_cpu;
  return nic;
}

}  // namespace

SimFabricCore::SimFabricCore(std::uint64_t seed, const FabricModel& its_model)
    : model(its_model), random_(base::mix_seed(seed, 0xFAB)) {
  DOLMEN_ASSERT(
      (model.traits.level_max < fabric::Level::durable || model.memory == MemoryKind::persistent) &&
      "durable writes need memory that is");
  DOLMEN_ASSERT(!model.traits.mapped && "nodes have no memory in common here");
}

// Lives hold connections and these hold lives.
SimFabricCore::~SimFabricCore() {
  for (const SimLifePtr& life : lives_) {
    DOLMEN_ASSERT(!life->has_process && "an endpoint outlives its fabric");
    life->nic->stop();
    forget(*life);
  }
}

void SimFabricCore::trace(std::uint64_t value) {
  trace_hash = base::mix_seed(base::mix_seed(trace_hash, queue.now_ns()), value);
}

// --- lives ---------------------------------------------------------------------------------------

SimLifePtr SimFabricCore::life_of(NodeId node) const {
  const auto found = hosts_.find(node);
  return found == hosts_.end() ? nullptr : found->second.life;
}

SimLifePtr SimFabricCore::begin_life(const SimEndpointOptions& options) {
  auto life = std::make_shared<SimLife>();
  life->name = options.self;
  life->is_client = options.is_client;
  life->clock = options.clock;
  life->waker = options.waker;
  const std::uint64_t seed = base::mix_seed(random_(), ++lives_begun_);
  life->nic = std::make_shared<SimNic>(queue, nic_of(model), seed,
                                       [this](std::uint64_t value) { trace(value); });
  Host& host = hosts_[options.self.node];
  if (host.life && !host.life->has_process) silence(options.self.node);
  const bool is_latest = !host.life || host.life->name.incarnation < options.self.incarnation ||
                         !host.life->has_process;
  if (is_latest) host.life = life;
  lives_.push_back(life);
  for (const auto& [node, other] : hosts_) {
    if (!other.life || !are_to_connect(*life, *other.life)) continue;
    if (dials(*life, *other.life)) {
      queue.at(leaves_ns(*life), [this, life, to = node] { dial(life, to); });
      continue;
    }
    // The other one dials: it is told that there is somebody. If it does not run, its next life
    // dials everybody.
    // However long that takes: a node goes on calling.
    const Flight flight = fly(options.self.node, node, leaves_ns(*life));
    queue.at(flight.arrives_ns, [this, life, to = other.life] {
      if (!to->has_process || to->nic->is_stopped()) return;
      const auto found = to->links.find(life->name.node);
      if (found != to->links.end()) {
        const SimLinkPtr former = found->second;
        const int s = former->side_of(*to);
        if (former->sides[1 - s].life->name.incarnation >= life->name.incarnation) return;
        break_side(former, s, Errc::superseded, true);
      }
      dial(to, life->name.node);
    });
  }
  return life;
}

void SimFabricCore::forget(SimLife& life) {
  for (auto& [node, link] : life.links) {
    for (SimSide& side : link->sides) side.arrivals.clear();
    // What the other side has under way ends when it hears, or says, that the connection is lost.
    link->sides[link->side_of(life)].pending.clear();
  }
  life.links.clear();
  life.connected.clear();
  life.inbox.clear();
}

void SimFabricCore::keep_memory(SimLife& life) {
  if (model.memory == MemoryKind::of_process) return;
  Regions& kept = hosts_[life.name.node].kept;
  for (const auto& [region, memory] : life.nic->regions()) kept[region] = memory.first;
}

void SimFabricCore::end_process(const SimLifePtr& life) {
  life->has_process = false;
  life->waker = nullptr;
  life->inbox.clear();
  life->clock = nullptr;
  if (life->lingers && !life->nic->is_stopped()) return;
  for (const auto& [node, link] : std::map(life->links)) {
    break_side(link, link->side_of(*life), Errc::closed, true);
  }
  if (!life->nic->is_stopped()) keep_memory(*life);
  life->nic->stop();
  forget(*life);
  std::erase(lives_, life);
}

void SimFabricCore::linger(NodeId node) {
  const SimLifePtr life = life_of(node);
  if (life) life->lingers = true;
}

void SimFabricCore::silence(NodeId node) {
  const SimLifePtr life = life_of(node);
  if (!life || life->nic->is_stopped()) return;
  keep_memory(*life);
  life->nic->stop();
  for (auto& [other, link] : life->links) {
    link->sides[link->side_of(*life)].is_ended = true;
  }
  forget(*life);
  if (!life->has_process) std::erase(lives_, life);
}

void SimFabricCore::power_off(NodeId node, std::uint32_t survives_ppm) {
  silence(node);
  Regions& kept = hosts_[node].kept;
  if (model.memory != MemoryKind::persistent) return kept.clear();
  for (auto& [region, memory] : kept) memory->lose_power(random_, survives_ppm);
}

Result<base::MutableBytes> SimFabricCore::make_region(SimLife& life, fabric::RegionId region,
                                                      std::size_t bytes) {
  if (bytes == 0) return fail(Errc::invalid_argument, "a region without bytes");
  if (life.nic->regions().contains(region)) {
    return fail(Errc::already_exists, "region", static_cast<std::uint64_t>(region));
  }
  Regions& kept = hosts_[life.name.node].kept;
  const auto found = kept.find(region);
  SimRegionPtr memory;
  if (found != kept.end()) {
    if (found->second->bytes().size() == bytes) memory = found->second;
    kept.erase(found);
  }
  if (!memory) {
    memory = std::make_shared<SimRegion>(bytes, model.memory == MemoryKind::persistent);
  }
  return life.nic->make(region, std::move(memory));
}

// --- packets -------------------------------------------------------------------------------------

const LinkFaults& SimFabricCore::faults_of(NodeId from, NodeId to) const {
  if (link_faults.empty()) return faults;
  const auto found = link_faults.find({from, to});
  return found == link_faults.end() ? faults : found->second;
}

SimFabricCore::Flight SimFabricCore::fly(NodeId from, NodeId to, std::uint64_t leaves_ns) {
  const LinkFaults& here = faults_of(from, to);
  ++counts.packets;
  std::uint64_t at_ns = leaves_ns;
  if (const auto cut = cut_until_ns.find({from, to}); cut != cut_until_ns.end()) {
    at_ns = std::max(at_ns, cut->second);
  }
  for (unsigned tries = 0; chance(here.loss_ppm) && tries < 40; ++tries) {
    ++counts.lost;
    at_ns += model.resend_ns << std::min(tries, 8u);
  }
  const bool is_given_up = model.give_up_ns != 0 && at_ns - leaves_ns > model.give_up_ns;
  const std::uint64_t takes_ns =
      random_.between(here.delay_min_ns, std::max(here.delay_min_ns, here.delay_max_ns)) +
      (chance(here.late_ppm) ? random_.below(here.late_ns + 1) : 0);
  return {.arrives_ns = at_ns + takes_ns, .takes_ns = takes_ns, .is_given_up = is_given_up};
}

void SimFabricCore::push(const SimLifePtr& life, SimInboxItem item) {
  if (!life->has_process) return;
  life->inbox.push_back(std::move(item));
  if (life->waker) life->waker(queue.now_ns());
}

void SimFabricCore::carry(const SimLinkPtr& link, int s, bool in_order,
                          std::function<void()> arrive) {
  SimSide& side = link->sides[s];
  if (side.is_ended || side.is_mute) return;
  const SimLife& from = *side.life;
  const NodeId to = link->sides[1 - s].life->name.node;
  const std::uint64_t leaves = leaves_ns(from);
  const auto give_up = [this, link, s] { break_side(link, s, Errc::connection_lost, true); };
  const Flight flight = fly(from.name.node, to, leaves);
  if (flight.is_given_up) {
    side.is_mute = true;
    queue.at(leaves + model.give_up_ns, give_up);
    return;
  }
  const LinkFaults& here = faults_of(from.name.node, to);
  std::uint64_t arrives_ns = flight.arrives_ns;
  std::uint64_t number = 0;
  if (in_order) {
    number = ++side.numbered;
    arrives_ns = std::max(arrives_ns, side.arrives_ns);
    if (chance(here.overtaken_ppm)) {
      ++counts.overtaken;
      arrives_ns += random_.below(4 * flight.takes_ns + 1);  // and those behind it do not wait
    } else {
      side.arrives_ns = arrives_ns;
    }
  }
  struct Packet {
    std::function<void()> arrive;
    bool is_taken = false;
  };
  auto packet = std::make_shared<Packet>(Packet{std::move(arrive)});
  auto event = [this, link, s, number, give_up, packet] {
    SimSide& there = link->sides[1 - s];
    if (std::exchange(packet->is_taken, true)) return;
    if (there.life->nic->is_stopped() && !there.life->has_process) {
      // Nobody answers any more. Who ended in order has said so.
      if (model.give_up_ns != 0) queue.after(model.give_up_ns, give_up);
      return;
    }
    if (there.is_ended) return;
    trace(static_cast<std::uint64_t>(there.life->name.node) << 32 | number);
    if (number == 0) return packet->arrive();
    if (number != there.received + 1) return break_side(link, 1 - s, Errc::corrupt, true);
    there.received = number;
    there.arrivals.push_back(std::move(packet->arrive));
    take_in_order(link, 1 - s);
  };
  if (chance(here.repeat_ppm)) {
    ++counts.repeated;
    queue.at(arrives_ns + random_.below(4 * flight.takes_ns + 1), event);
  }
  queue.at(arrives_ns, std::move(event));
}

void SimFabricCore::take_in_order(const SimLinkPtr& link, int s) {
  SimSide& side = link->sides[s];
  while (!side.is_landing && !side.is_ended && !side.arrivals.empty()) {
    const std::function<void()> next = std::move(side.arrivals.front());
    side.arrivals.pop_front();
    next();
  }
}

// --- connections ---------------------------------------------------------------------------------

void SimFabricCore::redial(const SimLifePtr& life, NodeId to) {
  queue.at(leaves_ns(*life) + random_.between(model.redial_ns / 2, model.redial_ns),
           [this, life, to] { dial(life, to); });
}

void SimFabricCore::dial(const SimLifePtr& life, NodeId to) {
  const SimLifePtr target = life_of(to);
  // A target that does not run calls when it does.
  if (!life->has_process || life->nic->is_stopped() || life->links.contains(to) || !target ||
      !target->has_process) {
    return;
  }
  auto link = std::make_shared<SimLink>();
  link->sides[0].life = life;
  link->sides[1].life = target;
  life->links[to] = link;
  queue.after(model.handshake_ns, [this, link] {
    const SimSide& side = link->sides[0];
    if (side.received != 0 || side.is_ended) return;  // it was accepted, or it is over
    break_side(link, 0, Errc::timed_out, true);
  });
  carry(link, 0, true,
        [this, link] { push(link->sides[1].life, {.kind = Kind::hello, .link = link}); });
}

void SimFabricCore::take_hello(const SimLinkPtr& link, fabric::Sink& sink) {
  const SimLifePtr& life = link->sides[1].life;
  const fabric::NodeName& peer = link->sides[0].life->name;
  if (link->sides[0].is_ended || link->sides[1].is_ended) return;  // it was too late
  std::uint64_t& known = life->known[peer.node];
  if (peer.incarnation < known) return break_side(link, 1, Errc::superseded, true);
  known = peer.incarnation;
  const auto former = life->links.find(peer.node);
  if (former != life->links.end()) {
    const SimLinkPtr old = former->second;
    const int s = old->side_of(*life);
    const bool is_older = old->sides[1 - s].life->name.incarnation < peer.incarnation;
    break_side(old, s, is_older ? Errc::superseded : Errc::connection_lost, true);
  }
  if (life->connected.contains(peer.node)) {  // its end is reported first
    return push(life, {.kind = Kind::hello, .link = link});
  }
  life->links[peer.node] = link;
  life->connected[peer.node] = link;
  link->sides[1].is_reported = true;
  ++counts.connections;
  carry(link, 1, true,
        [this, link] { push(link->sides[0].life, {.kind = Kind::accepted, .link = link}); });
  sink.on_connected(peer);
}

void SimFabricCore::break_side(const SimLinkPtr& link, int s, Errc why, bool tells_other) {
  SimSide& side = link->sides[s];
  if (side.is_ended) return;
  if (tells_other) tell_end(link, s, why);
  side.is_ended = true;
  side.arrivals.clear();
  const SimLifePtr life = side.life;
  const NodeId peer = link->sides[1 - s].life->name.node;
  const auto found = life->links.find(peer);
  const bool was_here = found != life->links.end() && found->second == link;
  if (was_here) life->links.erase(found);
  if (!was_here && !side.is_reported) return;  // a call that was not taken
  ++counts.connections_lost;
  push(life, {.kind = Kind::lost, .link = link, .why = why});
  if (s == 0 && life->has_process && why != Errc::superseded) redial(life, peer);
}

// The end comes behind everything that was sent, if that can arrive at all; it always comes.
void SimFabricCore::tell_end(const SimLinkPtr& link, int s, Errc why) {
  SimSide& side = link->sides[s];
  const Errc told = why == Errc::superseded ? why : Errc::connection_lost;
  Flight flight =
      fly(side.life->name.node, link->sides[1 - s].life->name.node, leaves_ns(*side.life));
  if (!side.is_mute) flight.arrives_ns = std::max(flight.arrives_ns, side.arrives_ns);
  queue.at(flight.arrives_ns, [this, link, s, told] {
    SimSide& there = link->sides[1 - s];
    if (there.is_ended || there.life->nic->is_stopped()) return;
    there.arrivals.push_back([this, link, s, told] { break_side(link, 1 - s, told, false); });
    take_in_order(link, 1 - s);
  });
}

}  // namespace dolmen::sim
