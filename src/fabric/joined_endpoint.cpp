// SPDX-License-Identifier: Apache-2.0
#include "fabric/joined_endpoint.hpp"

#include <algorithm>
#include <utility>

namespace dolmen::fabric {
namespace {

/// tcp is looked after once in so many polls, while nobody is spoken to by it.
constexpr std::uint64_t kTcpPolls = 16;

/// Nobody's, so that it says nothing, is no earlier life of anybody, and cannot be taken before.
NodeName random_name(sys::Entropy& entropy, bool of_client) {
  std::array<std::byte, 16> random{};
  entropy.fill(random);
  const std::uint64_t node = base::load<std::uint64_t>(random) & ~kClientIds;
  return {.node = NodeId{(of_client ? kClientIds : 0) | node | 1},
          .incarnation = base::load<std::uint64_t>(random, 8) | 1};
}

bool send_in(Endpoint& endpoint, const NodeName& to, const JoinedBytes& message) {
  return endpoint.send(to, message.bytes()).has_value();
}

}  // namespace

class JoinedEndpoint::TcpSink final : public Sink {
 public:
  TcpSink(JoinedEndpoint& its, Sink& sink) : its_(its), sink_(sink) {}
  void on_connected(const NodeName& peer) override { its_.connect(peer, sink_); }
  void on_lost(const NodeName& peer, const Error& why) override { its_.lose(peer, why, sink_); }
  void on_refused(NodeId who, const Error& why) override { sink_.on_refused(who, why); }
  void on_message(const NodeName& from, Bytes message) override { its_.hear(from, message, sink_); }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    sink_.on_completed(op, former);
  }

 private:
  JoinedEndpoint& its_;
  Sink& sink_;
};

class JoinedEndpoint::SharedSink final : public Sink {
 public:
  SharedSink(JoinedEndpoint& its, Sink& sink) : its_(its), sink_(sink) {}
  void on_connected(const NodeName& peer) override { its_.meet(peer); }
  void on_lost(const NodeName& peer, const Error& why) override { its_.part(peer, why); }
  /// Who cannot be met goes by tcp.
  void on_refused(NodeId /*who*/, const Error& /*why*/) override {}
  void on_message(const NodeName& from, Bytes message) override {
    its_.hear_shared(from, message, sink_);
  }
  void on_completed(OpId op, const Result<std::uint64_t>& former) override {
    sink_.on_completed(op, former);
  }

 private:
  JoinedEndpoint& its_;
  Sink& sink_;
};

Result<std::unique_ptr<JoinedEndpoint>> JoinedEndpoint::make(
    const JoinedOptions& options, const sys::Env& env,
    std::unique_ptr<sys::SharedDirectory> exchange) {
  if (!options.tcp.link) return fail(Errc::invalid_argument, "shared memory without keys");
  JoinedOptions its = options;
  its.tcp.link->says |= security::kSaysShared;
  its.tcp.wait = {};  // this one's wait() spins for both
  DOLMEN_TRY(const auto identity, exchange->identity());
  const NodeName name = random_name(*env.entropy, is_client(options.tcp.self.node));
  std::unique_ptr<JoinedEndpoint> made(new JoinedEndpoint(options, env, name, identity));
  DOLMEN_TRY(made->shared_, shm::open(env, std::move(exchange),
                                      {.self = name,
                                       .wait = {},
                                       .ring_bytes = options.ring_bytes,
                                       .message_bytes_max = kTcpBytesMax,
                                       .nodes_max = options.nodes_max,
                                       .by_introduction = true}));
  DOLMEN_TRY(made->bell_, made->shared_->bell());
  DOLMEN_TRY(made->tcp_,
             TcpEndpoint::make(
                 its.tcp, {.network = env.network, .clock = env.clock, .entropy = env.entropy}));
  DOLMEN_CHECK(made->tcp_->watch(*made->bell_));
  made->traits_.tells_lives = made->shared_->tells_its_end();
  return made;
}

JoinedEndpoint::JoinedEndpoint(const JoinedOptions& options, const sys::Env& env,
                               const NodeName& shared_name,
                               const std::array<std::uint64_t, 2>& exchange)
    : options_(options), env_(env), shared_name_(shared_name), exchange_(exchange) {
  // What either of them can do: a peer may be on either.
  traits_.mapped = true;
  traits_.atomic_with_cpu = true;
  traits_.level_max = Level::placed;
  traits_.message_bytes_max = kTcpBytesMax;
  traits_.operation_bytes_max = kTcpBytesMax;
}

JoinedEndpoint::~JoinedEndpoint() = default;

// --- Who is connected. ---

const JoinedEndpoint::Peer* JoinedEndpoint::find(const NodeName& name) const noexcept {
  const auto found = peers_.find(name.node);
  if (found == peers_.end() || found->second.name != name || found->second.is_cut) return nullptr;
  const Peer& peer = found->second;
  const bool is_reported = peer.phase == Peer::Phase::by_tcp || peer.phase == Peer::Phase::shared;
  return is_reported ? &peer : nullptr;
}

JoinedEndpoint::Peer* JoinedEndpoint::met(const NodeName& shared) noexcept {
  const auto found = names_.find(shared);
  return found == names_.end() ? nullptr : &peers_.at(found->second);
}

bool JoinedEndpoint::chooses(const Peer& peer) const noexcept {
  return self().node < peer.name.node;
}

std::optional<Carrier> JoinedEndpoint::carrier(NodeId node) const noexcept {
  const auto found = peers_.find(node);
  if (found == peers_.end()) return std::nullopt;
  if (found->second.phase == Peer::Phase::by_tcp) return Carrier::tcp;
  if (found->second.phase == Peer::Phase::shared) return Carrier::shared;
  return std::nullopt;
}

std::size_t JoinedEndpoint::shared_with(NodeId node) const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(peers_, [&](const auto& entry) {
    const bool is_meant = node == NodeId::nobody ? is_client(entry.first) : entry.first == node;
    return is_meant && entry.second.phase == Peer::Phase::shared;
  }));
}

std::optional<NodeName> JoinedEndpoint::connected(NodeId node) const noexcept {
  if (!carrier(node)) return std::nullopt;
  return peers_.at(node).name;
}

void JoinedEndpoint::connect(const NodeName& name, Sink& sink) {
  Peer& peer = peers_[name.node];
  peer = {.name = name};
  ++by_tcp_;
  if ((tcp_->says(name.node) & security::kSaysShared) == 0) return go_by_tcp(peer, sink);
  env_.entropy->fill(peer.token);
  (void)say(peer, {.kind = JoinedKind::offer,
                   .offer = {.exchange = exchange_, .name = shared_name_, .token = peer.token}});
}

bool JoinedEndpoint::say(const Peer& peer, const JoinedMessage& message) {
  ask_tcp_ = true;
  return tcp_->send(peer.name, encode(message).bytes()).has_value();
}

void JoinedEndpoint::go_by_tcp(Peer& peer, Sink& sink) {
  peer.phase = Peer::Phase::by_tcp;
  if (peer.offer) shared_->forget(peer.offer->name);
  sink.on_connected(peer.name);
}

void JoinedEndpoint::break_off(Peer& peer, const Error& why) noexcept {
  if (!peer.why) peer.why = why;
  peer.is_cut = true;
  tcp_->disconnect(peer.name.node);
  ask_tcp_ = true;
}

void JoinedEndpoint::hear(const NodeName& from, Bytes message, Sink& sink) {
  const auto found = peers_.find(from.node);
  if (found == peers_.end() || found->second.name != from || found->second.is_cut) return;
  Peer& peer = found->second;
  if (peer.phase == Peer::Phase::by_tcp) return sink.on_message(from, message);
  const auto said = decode_joined(message);
  if (!said) return break_off(peer, said.error());
  if (peer.phase == Peer::Phase::offering && said->kind == JoinedKind::offer) {
    return take_offer(peer, said->offer, sink);
  }
  if (peer.phase == Peer::Phase::meeting && said->kind == JoinedKind::tcp && !chooses(peer)) {
    return go_by_tcp(peer, sink);
  }
  break_off(peer, Error(Errc::corrupt, "a message by the link that was not chosen"));
}

void JoinedEndpoint::take_offer(Peer& peer, const JoinedOffer& offer, Sink& sink) {
  // Both sides see it alike.
  if (offer.exchange != exchange_) return go_by_tcp(peer, sink);
  peer.phase = Peer::Phase::meeting;
  peer.deadline_ns = env_.clock->monotonic_ns() + options_.meet_ns;
  // A name that another one has is not met: who chooses goes by tcp when time is over.
  if (!names_.emplace(offer.name, peer.name.node).second) return;
  peer.offer = offer;
  for (const auto& [region, nodes] : grants_) {
    const auto granted = nodes.find(peer.name.node);
    // Where the table is full it goes by tcp.
    if (granted != nodes.end()) {
      (void)shared_->grant(region, offer.name.node, granted->second);
    }
  }
  shared_->introduce(offer.name);
}

void JoinedEndpoint::lose(const NodeName& name, const Error& why, Sink& sink) {
  const auto found = peers_.find(name.node);
  if (found == peers_.end() || found->second.name != name) return;
  Peer& peer = found->second;
  const bool is_shared = peer.phase == Peer::Phase::shared;
  const bool is_reported = is_shared || peer.phase == Peer::Phase::by_tcp;
  // What it said before it ended is in the rings; who is not trusted any more is not heard.
  constexpr int kPollsMax = 10'000;
  const bool is_heard = why.code() == Errc::connection_lost || why.code() == Errc::superseded;
  for (int i = 0; is_shared && is_heard && !peer.is_cut && i < kPollsMax; ++i) {
    const auto polled = poll_shared(sink);
    if (!polled || !*polled) break;
  }
  peer.is_cut = true;
  if (peer.offer) {
    shared_->forget(peer.offer->name);
    // Operations there are completed with the end of the connection.
    for (int i = 0; peer.is_met && i < kPollsMax; ++i) {
      if (!poll_shared(sink)) break;
    }
    shared_->forget_grants(peer.offer->name.node);
    names_.erase(peer.offer->name);
  }
  if (!is_shared) --by_tcp_;
  const Error reason = why.code() == Errc::closed && peer.why ? *peer.why : why;
  peers_.erase(found);
  if (is_reported) {
    sink.on_lost(name, reason);
  } else {
    sink.on_refused(name.node, reason);
  }
}

// --- The exchange. ---

void JoinedEndpoint::meet(const NodeName& shared) {
  Peer* const peer = met(shared);
  if (peer == nullptr) return;
  peer->is_met = true;
  peer->has_shown = false;
  if (peer->phase != Peer::Phase::meeting) return shared_->forget(shared);
  const auto token = encode({.kind = JoinedKind::token, .offer = {.token = peer->offer->token}});
  (void)send_in(*shared_, shared, token);
}

void JoinedEndpoint::part(const NodeName& shared, const Error& why) {
  Peer* const peer = met(shared);
  if (peer == nullptr) return;
  peer->is_met = false;
  peer->has_shown = false;
  // Before it was chosen it is tried again.
  if (peer->phase == Peer::Phase::shared) break_off(*peer, why);
}

void JoinedEndpoint::hear_shared(const NodeName& from, Bytes message, Sink& sink) {
  Peer* const peer = met(from);
  if (peer == nullptr || peer->is_cut) return;
  if (peer->phase == Peer::Phase::shared) return sink.on_message(peer->name, message);
  if (peer->phase != Peer::Phase::meeting) return;
  const auto said = decode_joined(message);
  if (said && said->kind == JoinedKind::token && !peer->has_shown) {
    // Somebody else who took the name is not heard; who chooses goes by tcp when time is over.
    if (said->offer.token != peer->token) return shared_->forget(from);
    peer->has_shown = true;
    if (!chooses(*peer)) return;
    if (!send_in(*shared_, from, encode({.kind = JoinedKind::begin}))) return;
  } else if (!said || said->kind != JoinedKind::begin || !peer->has_shown || chooses(*peer)) {
    return shared_->forget(from);
  }
  peer->phase = Peer::Phase::shared;
  --by_tcp_;
  sink.on_connected(peer->name);
}

Result<bool> JoinedEndpoint::poll_shared(Sink& sink) {
  SharedSink its(*this, sink);
  auto polled = shared_->poll(its);
  if (!polled) failure_ = polled.error();
  return polled;
}

void JoinedEndpoint::look_at_deadlines(Sink& sink) {
  const std::uint64_t now_ns = env_.clock->monotonic_ns();
  std::vector<NodeId> due;
  for (const auto& [node, peer] : peers_) {
    const bool is_due = peer.phase == Peer::Phase::meeting && now_ns >= peer.deadline_ns;
    if (is_due && chooses(peer) && !peer.is_cut) due.push_back(node);
  }
  for (const NodeId node : due) {
    Peer& peer = peers_.at(node);
    if (say(peer, {.kind = JoinedKind::tcp})) {
      go_by_tcp(peer, sink);
    } else {
      break_off(peer, Error(Errc::connection_lost, "a node that could not be told"));
    }
  }
}

// --- Progress. ---

Result<bool> JoinedEndpoint::poll(Sink& sink) {
  if (failure_) return std::unexpected(*failure_);
  DOLMEN_TRY(bool did, poll_shared(sink));
  if (by_tcp_ > 0 || ask_tcp_ || ++polls_ % kTcpPolls == 0) {
    ask_tcp_ = false;
    TcpSink its(*this, sink);
    DOLMEN_TRY(const bool did_more, tcp_->poll(its));
    ask_tcp_ = ask_tcp_ || did_more;
    did = did || did_more;
    if (by_tcp_ > 0) look_at_deadlines(sink);
  }
  if (failure_) return std::unexpected(*failure_);
  if (did && options_.tcp.wait.spin_ns != 0) busy_ns_ = env_.clock->monotonic_ns();
  return did;
}

Result<void> JoinedEndpoint::wait(std::uint64_t until_ns) {
  if (shared_->has_work()) return {};
  // The caller's loop is the spinning, as with tcp.
  const std::uint64_t spin_ns = options_.tcp.wait.spin_ns;
  if (spin_ns != 0 && env_.clock->monotonic_ns() - busy_ns_ < spin_ns) return {};
  std::uint64_t due_ns = std::min(until_ns, shared_->due_ns());
  for (const auto& [node, peer] : peers_) {
    if (peer.phase == Peer::Phase::meeting && chooses(peer)) {
      due_ns = std::min(due_ns, peer.deadline_ns);
    }
  }
  const auto waited = shared_->arm() ? tcp_->wait(due_ns) : Result<void>();
  ask_tcp_ = true;
  DOLMEN_CHECK(shared_->disarm());
  return waited;
}

void JoinedEndpoint::disconnect(NodeId node) noexcept {
  const auto found = peers_.find(node);
  if (found == peers_.end()) return;
  break_off(found->second, Error(Errc::closed, "this side ended the connection"));
}

}  // namespace dolmen::fabric
