// SPDX-License-Identifier: Apache-2.0
//
// Who is connected: listening, dialling, judging who comes, and what time brings.
#include "fabric/tcp_endpoint.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

namespace dolmen::fabric {
namespace {

constexpr std::uint64_t kListenerTag = 0;
constexpr std::uint64_t kNever = ~std::uint64_t{0};
/// While there are no descriptors for new connections.
constexpr std::uint64_t kListenAgainNs = 100'000'000;
constexpr const char* kTrustedNoMore = "a key that is trusted no more";

std::uint64_t seed_from(sys::Entropy& entropy) {
  std::array<std::byte, 8> bytes{};
  entropy.fill(bytes);
  return base::load<std::uint64_t>(bytes);
}

}  // namespace

Result<std::unique_ptr<TcpEndpoint>> TcpEndpoint::make(const TcpOptions& options,
                                                       const TcpWorld& world) {
  if (options.self.node == NodeId::nobody) return fail(Errc::invalid_argument, "a node's id");
  DOLMEN_CHECK(prepare_cryptography());
  if (options.link) {
    DOLMEN_CHECK(security::check(*options.link));
    if (identity_of(options.self.node) != options.link->key->identity()) {
      return fail(Errc::invalid_argument, "a name that the key does not prove",
                  static_cast<std::uint64_t>(options.self.node));
    }
  }
  DOLMEN_TRY(auto poller, world.network->make_poller());
  std::unique_ptr<sys::Listener> listener;
  if (options.listen) {
    DOLMEN_TRY(listener, world.network->listen(*options.listen));
  }
  std::unique_ptr<TcpEndpoint> endpoint(
      new TcpEndpoint(options, world, std::move(poller), std::move(listener)));
  if (endpoint->listener_) {
    DOLMEN_CHECK(endpoint->poller_->add(*endpoint->listener_, kListenerTag));
    endpoint->listening_ = true;
  }
  DOLMEN_CHECK(endpoint->set_peers(options.peers));
  return endpoint;
}

TcpEndpoint::TcpEndpoint(const TcpOptions& options, const TcpWorld& world,
                         std::unique_ptr<sys::Poller> poller,
                         std::unique_ptr<sys::Listener> listener)
    : options_(options),
      world_(world),
      poller_(std::move(poller)),
      listener_(std::move(listener)),
      random_(seed_from(*world.entropy)) {}

TcpEndpoint::~TcpEndpoint() {
  for (const auto& [number, connection] : connections_) {
    if (connection->is_watched) poller_->remove(*connection->socket);
  }
  if (listening_) poller_->remove(*listener_);
  if (bell_ != nullptr) poller_->remove(*bell_);
}

Result<void> TcpEndpoint::watch(sys::Socket& bell) {
  DOLMEN_CHECK(poller_->add(bell, kBellTag, false));
  bell_ = &bell;
  return {};
}

Result<void> TcpEndpoint::set_peers(const std::vector<TcpPeer>& peers) {
  for (const TcpPeer& peer : peers) {
    const bool is_anybody = peer.node == NodeId::nobody && !listener_;
    if ((peer.node == NodeId::nobody && !is_anybody) || peer.node == options_.self.node ||
        peer.address.port == 0) {
      return fail(Errc::invalid_argument, "a peer of a node",
                  static_cast<std::uint64_t>(peer.node));
    }
    if (!options_.link || is_anybody) continue;
    const auto identity = identity_of(peer.node);
    if (!identity || identity->role != security::Role::node) {
      return fail(Errc::invalid_argument, "a peer that is no node",
                  static_cast<std::uint64_t>(peer.node));
    }
  }
  for (auto& [node, peer] : peers_) peer.address.reset();
  const std::uint64_t now_ns = world_.clock->monotonic_ns();
  for (const TcpPeer& peer : peers) {
    Peer& known = peers_[peer.node];
    known.address = peer.address;
    known.dial_at_ns = now_ns;
    known.backoff_ns = 0;
  }
  std::erase_if(peers_, [](const auto& entry) {
    const Peer& peer = entry.second;
    return !peer.address && peer.connection == nullptr && !peer.is_dialling;
  });
  fall_due(now_ns);
  return {};
}

std::optional<sys::NetworkAddress> TcpEndpoint::address() const {
  if (!listener_) return std::nullopt;
  return listener_->address();
}

const Traits& TcpEndpoint::traits() const noexcept {
  static constexpr Traits kTraits{.passive_target = false,
                                  .revocable = true,
                                  .mapped = false,
                                  .ordered = true,
                                  .atomic_with_cpu = true,
                                  .level_max = Level::placed,
                                  .message_bytes_max = kTcpBytesMax,
                                  .operation_bytes_max = kTcpBytesMax};
  return kTraits;
}

std::optional<NodeName> TcpEndpoint::connected(NodeId node) const noexcept {
  const auto found = peers_.find(node);
  if (found == peers_.end() || found->second.connection == nullptr) return std::nullopt;
  return found->second.connection->channel.peer();
}

std::uint8_t TcpEndpoint::says(NodeId node) const noexcept {
  const auto found = peers_.find(node);
  if (found == peers_.end() || found->second.connection == nullptr) return 0;
  const auto& proved = found->second.connection->channel.proved();
  return proved ? proved->says : said_with_key();
}

void TcpEndpoint::disconnect(NodeId node) noexcept {
  const auto found = peers_.find(node);
  if (found == peers_.end() || found->second.connection == nullptr) return;
  fail_connection(*found->second.connection, Error(Errc::closed, "this side ended the connection"));
}

bool TcpEndpoint::dials(NodeId node, const Peer& peer) const noexcept {
  return peer.address && peer.connection == nullptr && !peer.is_dialling &&
         (!listener_ || options_.self.node < node);
}

TcpChannel TcpEndpoint::channel(TcpChannel::Side side, NodeId target) {
  Secret ephemeral;
  world_.entropy->fill(ephemeral.bytes());
  if (options_.link) return {side, options_.self, target, *options_.link, ephemeral};
  return {side, options_.self, target, options_.key, ephemeral, said_with_key()};
}

Result<void> TcpEndpoint::set_trust(std::shared_ptr<const security::Trust> trust) {
  if (!options_.link) return fail(Errc::invalid_argument, "trust beside a shared key");
  DOLMEN_CHECK(security::check({options_.link->key, trust}));
  if (trust->serial() < options_.link->trust->serial()) {
    return fail(Errc::invalid_argument, "an earlier trust file", trust->serial());
  }
  options_.link->trust = std::move(trust);
  for (const auto& [number, connection] : connections_) {
    if (is_trusted(*connection)) continue;
    fail_connection(*connection, Error(Errc::not_authentic, kTrustedNoMore));
  }
  return {};
}

bool TcpEndpoint::is_trusted(const TcpConnection& connection) const {
  const auto& proved = connection.channel.proved();
  return !proved || options_.link->trust->trusts(proved->identity, proved->key);
}

TcpConnection* TcpEndpoint::add(std::unique_ptr<sys::Socket> socket, TcpChannel channel,
                                TcpConnection::Phase phase, bool dialled, std::uint64_t now_ns,
                                std::optional<Error>& why) {
  const std::uint64_t number = next_number_++;
  const std::uint64_t deadline_ns = now_ns + options_.handshake_ns;
  auto connection = std::make_unique<TcpConnection>(number, std::move(socket), std::move(channel),
                                                    phase, dialled, deadline_ns);
  const bool is_connecting = phase == TcpConnection::Phase::connecting;
  if (const auto added = poller_->add(*connection->socket, number, is_connecting); !added) {
    why = added.error();
    return nullptr;
  }
  fall_due(deadline_ns);
  return connections_.emplace(number, std::move(connection)).first->second.get();
}

void TcpEndpoint::schedule_dial(NodeId node, Peer& peer, std::uint64_t now_ns) {
  if (!dials(node, peer)) return;
  peer.backoff_ns = std::clamp(peer.backoff_ns + peer.backoff_ns / 8, options_.redial_first_ns,
                               std::max(options_.redial_first_ns, options_.redial_max_ns));
  peer.dial_at_ns = now_ns + random_.between(peer.backoff_ns / 2, peer.backoff_ns);
  fall_due(peer.dial_at_ns);
}

void TcpEndpoint::dial(NodeId node, Peer& peer, std::uint64_t now_ns, Sink& sink) {
  std::optional<Error> why;
  auto socket = world_.network->connect(*peer.address);
  if (socket) {
    const auto* const added = add(std::move(*socket), channel(TcpChannel::Side::dialler, node),
                                  TcpConnection::Phase::connecting, true, now_ns, why);
    peer.is_dialling = added != nullptr;
  } else {
    why = socket.error();
  }
  if (!why) return;
  schedule_dial(node, peer, now_ns);
  sink.on_refused(node, *why);
}

void TcpEndpoint::accept_some(std::uint64_t now_ns, Sink& sink) {
  constexpr int kAtOnce = 16;  // the others' turn comes, too
  for (int i = 0; i < kAtOnce; ++i) {
    auto socket = listener_->accept();
    std::optional<Error> why;
    if (!socket) {
      why = socket.error();
    } else if (!*socket) {
      return;
    } else {
      make_room_for_handshake();
      (void)add(std::move(*socket), channel(TcpChannel::Side::acceptor, NodeId::nobody),
                TcpConnection::Phase::greeting, false, now_ns, why);
    }
    if (!why) continue;
    // The connection stays queued, and the poller would report it for ever.
    poller_->remove(*listener_);
    listening_ = false;
    listen_again_ns_ = now_ns + kListenAgainNs;
    fall_due(listen_again_ns_);
    sink.on_refused(NodeId::nobody, *why);
    return;
  }
}

/// Numbers ascend, so the first one is the oldest.
void TcpEndpoint::make_room_for_handshake() {
  std::size_t waiting = 0;
  TcpConnection* oldest = nullptr;
  for (const auto& [number, connection] : connections_) {
    if (connection->dialled || connection->phase == TcpConnection::Phase::open) continue;
    if (connection->failure) continue;
    if (oldest == nullptr) oldest = connection.get();
    ++waiting;
  }
  if (waiting == 0 || waiting < options_.handshakes_max) return;
  fail_connection(*oldest, Error(Errc::limit, "too many handshakes at once"));
}

/// What to answer to somebody who holds the key, or held it once: a hello may be a repetition.
Errc TcpEndpoint::judge(const NodeName& peer) const {
  if (peer.node == options_.self.node) return Errc::already_exists;
  const auto found = peers_.find(peer.node);
  if (found != peers_.end()) {
    return peer.incarnation < found->second.newest_incarnation ? Errc::superseded : Errc{};
  }
  const auto is_client = [](const auto& entry) {
    return !entry.second.address && entry.second.connection != nullptr;
  };
  const auto clients = static_cast<std::size_t>(std::ranges::count_if(peers_, is_client));
  return clients >= options_.clients_max ? Errc::limit : Errc{};
}

void TcpEndpoint::open(TcpConnection& connection, Sink& sink) {
  const NodeName name = connection.channel.peer();
  // The trust may be another one since the handshake began.
  if (!is_trusted(connection)) {
    fail_connection(connection, Error(Errc::not_authentic, kTrustedNoMore));
    return;
  }
  // Others may have come since it was judged.
  if (const Errc refused = judge(name); refused != Errc{}) {
    fail_connection(connection, Error(refused, "a node that another one came before"));
    return;
  }
  if (TcpConnection* const former = peers_[name.node].connection; former != nullptr) {
    // Whoever comes again has lost the connection before, though this side has not noticed.
    const bool is_newer = former->channel.peer().incarnation < name.incarnation;
    fail_connection(*former, is_newer ? Error(Errc::superseded, "a newer life of the node came")
                                      : Error(Errc::connection_lost, "the node connected again"));
    report(*former, sink);
  }
  connection.phase = TcpConnection::Phase::open;
  Peer& peer = peers_[name.node];  // what was reported may have changed them
  peer.connection = &connection;
  peer.newest_incarnation = name.incarnation;
  peer.backoff_ns = 0;
  // Whoever answered for "anybody" is connected under its own name, and the other is not dialled.
  if (connection.dialled) peer.is_dialling = false;
  list(connection);
  warm(connection);
  sink.on_connected(name);
}

void TcpEndpoint::run_timers(std::uint64_t now_ns, Sink& sink) {
  due_ns_ = kNever;
  for (const auto& [number, connection] : connections_) {
    if (connection->phase == TcpConnection::Phase::open || connection->failure) continue;
    if (connection->deadline_ns <= now_ns) {
      fail_connection(*connection, Error(Errc::timed_out, "connecting to a node"));
    } else {
      fall_due(connection->deadline_ns);
    }
  }
  if (listener_ && !listening_) {
    if (listen_again_ns_ <= now_ns) {
      listening_ = poller_->add(*listener_, kListenerTag).has_value();
      if (!listening_) listen_again_ns_ = now_ns + kListenAgainNs;
    }
    if (!listening_) fall_due(listen_again_ns_);
  }
  // dial() reports, and what is reported may change peers_.
  std::vector<NodeId> due;
  for (const auto& [node, peer] : peers_) {
    if (!dials(node, peer)) continue;
    if (peer.dial_at_ns <= now_ns) {
      due.push_back(node);
    } else {
      fall_due(peer.dial_at_ns);
    }
  }
  for (const NodeId node : due) {
    const auto found = peers_.find(node);
    if (found != peers_.end() && dials(node, found->second)) {
      dial(node, found->second, now_ns, sink);
    }
  }
}

}  // namespace dolmen::fabric
