// SPDX-License-Identifier: Apache-2.0
//
// Who is there. The directory is the one register: a node that comes publishes itself first and
// looks afterwards, so of two that come at once one at least sees the other; whoever sees a node
// that is to dial it knocks at its door. Of two nodes the one with the lower id dials.
#include <algorithm>
#include <utility>

#include "fabric/shm_endpoint.hpp"
#include "fabric/shm_memory.hpp"

namespace dolmen::fabric::shm {
namespace {

constexpr std::uint64_t kRetryNs = 20'000'000;
constexpr std::uint64_t kReapNs = 20'000'000;

}  // namespace

Peer* ShmEndpoint::find(NodeId node) const noexcept {
  for (const auto& peer : peers_) {
    if (peer->card.name.node == node && !peer->dropped) return peer.get();
  }
  return nullptr;
}

Peer* ShmEndpoint::find_connected(const NodeName& name) const noexcept {
  Peer* const peer = find(name.node);
  if (peer == nullptr || !peer->connected || peer->closing || peer->card.name != name) {
    return nullptr;
  }
  return peer;
}

LinkLimits ShmEndpoint::limits_of(const Peer& peer) const noexcept {
  return {.message_bytes_out =
              std::min<std::size_t>(options_.message_bytes_max, peer.card.message_bytes_max),
          .message_bytes_in = options_.message_bytes_max,
          .queue_bytes = options_.queue_bytes_max};
}

std::uint64_t ShmEndpoint::latest_of(NodeId node) const noexcept {
  const auto found = std::ranges::find(latest_, node, &std::pair<NodeId, std::uint64_t>::first);
  return found == latest_.end() ? 0 : found->second;
}

Result<void> ShmEndpoint::look_around(Sink& sink) {
  if (superseded_) return {};
  const auto later = word_at<std::uint64_t>(header_->memory(), kNodeLaterAt);
  if (later.load(std::memory_order_relaxed) > options_.self.incarnation) {
    step_down(sink);
    return {};
  }
  const auto listed = directory_->list();
  if (!listed) {
    if (!options_.by_introduction) return std::unexpected(listed.error());
    // Of descriptors, for one, there are enough again later; others go by tcp meanwhile.
    look_ns_ = env_.clock->monotonic_ns() + kRetryNs;
    return {};
  }
  const std::vector<std::string>& objects = *listed;
  std::vector<NodeName> nodes;
  std::vector<LinkCard> links;
  for (const std::string& object : objects) {
    if (const auto node = node_of_object(object)) nodes.push_back(*node);
    if (const auto link = link_of_object(object); link && link->acceptor == options_.self) {
      links.push_back(*link);
    }
  }
  std::erase_if(refused_, [&](const NodeName& name) {
    return std::ranges::find(nodes, name) == nodes.end();
  });
  // Latest lives first: of each node one is met, and the earlier ones are told.
  std::ranges::sort(nodes, std::ranges::greater());
  for (const NodeName& name : nodes) {
    if (name.node != self().node) {
      meet(name, sink);
    } else if (name.incarnation < options_.self.incarnation) {
      supersede(name, options_.self.incarnation);
    } else if (name.incarnation > options_.self.incarnation) {
      const auto gone = directory_->reap(node_object(name));
      if (!gone || *gone) continue;
      step_down(sink);
      return {};
    }
  }
  std::ranges::sort(links, {}, &LinkCard::number);
  for (const LinkCard& link : links) accept(link, sink);
  return {};
}

Result<Door> ShmEndpoint::open_door(const NodeName& name, NodeCard& card) {
  DOLMEN_TRY(auto header, directory_->open(node_object(name), sys::SharedAccess::read_write,
                                           kHeaderBytes, kHeaderBytes));
  DOLMEN_TRY(card, read_node_card(header->memory()));
  if (card.name != name) return fail(Errc::corrupt, "a node's card");
  DOLMEN_TRY(auto bell, directory_->open_bell(bell_of(name)));
  return Door(std::move(header), std::move(bell));
}

void ShmEndpoint::supersede(const NodeName& name, std::uint64_t incarnation) {
  // The dead need not be told, nor those that cannot be reached.
  NodeCard card;
  if (auto door = open_door(name, card)) door->supersede(incarnation);
}

void ShmEndpoint::refuse(const NodeName& name, const Error& why, Sink& sink) {
  if (std::ranges::find(refused_, name) != refused_.end()) return;
  switch (why.code()) {
    case Errc::version_unsupported:
    case Errc::corrupt:
    case Errc::unsupported:
    case Errc::limit:
    case Errc::invalid_argument:
      refused_.push_back(name);  // it stays so: said once
      break;
    default:
      look_ns_ = env_.clock->monotonic_ns() + kRetryNs;
  }
  sink.on_refused(name.node, why);
}

void ShmEndpoint::meet(const NodeName& name, Sink& sink) {
  // Two rings for each two clients would be a gigabyte for 64 of them.
  if (is_client(name.node) && is_client(self().node)) return;
  if (options_.by_introduction && std::ranges::find(introduced_, name) == introduced_.end()) return;
  Peer* const known = find(name.node);
  if (known != nullptr && known->card.name == name) return;
  const std::uint64_t latest =
      std::max(latest_of(name.node), known == nullptr ? 0 : known->card.name.incarnation);
  if (name.incarnation < latest) {
    supersede(name, latest);
    return;
  }
  if (peers_.size() >= options_.nodes_max && known == nullptr) {
    refuse(name, Error(Errc::limit, "nodes that this one is connected with"), sink);
    return;
  }
  NodeCard card;
  auto door = open_door(name, card);
  const std::uint64_t token = next_token_++;
  const auto watched =
      door ? bell_->watch(card.process, token) : Result<void>(std::unexpected(door.error()));
  if (!watched) {
    // Gone between the look at the directory and this one, or dead.
    if (watched.error().code() == Errc::not_found) {
      reap_soon();
    } else {
      refuse(name, watched.error(), sink);
    }
    return;
  }
  if (known != nullptr) {
    if (known->link != nullptr) {
      end_link(*known, Error(Errc::superseded, "a later life of the node came"), Errc::superseded,
               sink);
    }
    known->dropped = true;
    reap_soon();
  }
  peers_.push_back(std::make_unique<Peer>(card, std::move(*door), token));
  // Whom this side is not to dial may not have looked since this side came.
  if (name.node < self().node) peers_.back()->door.knock();
}

void ShmEndpoint::note_connected(Peer& peer, Sink& sink) {
  peer.connected = true;
  const NodeName& name = peer.card.name;
  // Where names are drawn none has a later life, and clients that come and go would add up.
  if (options_.by_introduction) return sink.on_connected(name);
  const auto found =
      std::ranges::find(latest_, name.node, &std::pair<NodeId, std::uint64_t>::first);
  if (found == latest_.end()) {
    latest_.emplace_back(name.node, name.incarnation);
  } else {
    found->second = std::max(found->second, name.incarnation);
  }
  sink.on_connected(name);
}

void ShmEndpoint::dial(Peer& peer, Sink& sink) {
  const LinkCard card{.dialer = options_.self,
                      .acceptor = peer.card.name,
                      .number = next_number_++,
                      .ring_bytes = options_.ring_bytes};
  auto link = Link::dial(*directory_, card, limits_of(peer));
  if (!link) {
    peer.retry_ns = env_.clock->monotonic_ns() + kRetryNs;
    sink.on_refused(peer.card.name.node, link.error());
    return;
  }
  peer.link = std::move(*link);
  peer.door.knock();
}

bool ShmEndpoint::await_answer(Peer& peer, Sink& sink) {
  if (peer.link->accepted()) {
    peer.link->withdraw();
    note_connected(peer, sink);
    return true;
  }
  if (!peer.closing && !peer.ended && !peer.door.has_left()) return false;
  // Nobody was told of it: there is nothing to report.
  end_link(peer, Error(Errc::closed, "before it was accepted"), Errc::closed, sink);
  return true;
}

void ShmEndpoint::accept(const LinkCard& named, Sink& sink) {
  Peer* const peer = find(named.dialer.node);
  // A life that was not met, or not any more: it is told so, or dead.
  if (peer == nullptr || peer->card.name != named.dialer || named.number <= peer->last_number) {
    return;
  }
  peer->last_number = named.number;
  auto link = Link::open(*directory_, named, limits_of(*peer));
  if (!link) {
    if (link.error().code() != Errc::not_found) sink.on_refused(named.dialer.node, link.error());
    return;
  }
  if ((*link)->closed_by_peer()) return;
  if (peer->link != nullptr) {
    end_link(*peer, Error(Errc::connection_lost, "it dialled anew"), Errc::closed, sink);
  }
  if (peer->dropped) return;
  peer->link = std::move(*link);
  peer->link->accept();
  peer->door.nudge();
  note_connected(*peer, sink);
}

void ShmEndpoint::introduce(const NodeName& name) {
  if (std::ranges::find(introduced_, name) == introduced_.end()) introduced_.push_back(name);
  look_ = true;
}

void ShmEndpoint::forget(const NodeName& name) noexcept {
  std::erase(introduced_, name);
  Peer* const peer = find(name.node);
  if (peer == nullptr || peer->card.name != name) return;
  peer->forgotten = true;
  if (peer->link != nullptr && !peer->closing) peer->closing = Errc::closed;
}

void ShmEndpoint::step_down(Sink& sink) {
  superseded_ = true;
  header_->withdraw();
  const Error why(Errc::superseded, "a later life of this node came");
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i]->link != nullptr) end_link(*peers_[i], why, Errc::superseded, sink);
  }
  sink.on_refused(self().node, why);
}

// Not at once: who lost a leader has more urgent things to do.
void ShmEndpoint::reap_soon() noexcept {
  if (reap_ns_ == 0) reap_ns_ = env_.clock->monotonic_ns() + kReapNs;
}

void ShmEndpoint::reap_the_dead() {
  const auto objects = directory_->list();
  if (!objects) return;
  // What cannot be reaped now is reaped by another, or by the next that starts here.
  for (const std::string& object : *objects) (void)directory_->reap(object);
}

}  // namespace dolmen::fabric::shm
