// SPDX-License-Identifier: Apache-2.0
//
// Who is connected, and what nodes tell each other through tcp.
#include "fabric/ofi_endpoint.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <dolmen/assert.hpp>

namespace dolmen::fabric {
namespace {

/// For the first piece each way, when tcp has connected.
constexpr std::uint64_t kGreetingNs = 10'000'000'000;
constexpr std::size_t kOrphanedBytesMax = 64u << 20;

TcpOptions without_spinning(TcpOptions options) {
  options.wait = {};
  return options;
}

}  // namespace

/// What the tcp endpoint reports, on its way to the caller's sink.
class OfiEndpoint::ControlSink final : public Sink {
 public:
  ControlSink(OfiEndpoint& endpoint, Sink& sink) noexcept : endpoint_(endpoint), sink_(sink) {}
  void on_connected(const NodeName& peer) override { endpoint_.begin(peer); }
  void on_lost(const NodeName& peer, const Error& why) override {
    endpoint_.lose(peer, why, sink_);
  }
  void on_refused(NodeId who, const Error& why) override { sink_.on_refused(who, why); }
  void on_message(const NodeName& from, Bytes message) override { endpoint_.hear(from, message); }
  void on_completed(OpId, const Result<std::uint64_t>&) override {
    DOLMEN_UNREACHABLE("no operation goes through tcp");
  }

 private:
  OfiEndpoint& endpoint_;
  Sink& sink_;
};

Result<std::unique_ptr<OfiEndpoint>> OfiEndpoint::make(const TcpOptions& options,
                                                       const TcpWorld& world,
                                                       std::unique_ptr<sys::OfiPort> port) {
  if (port->limits().send_bytes_max < kOfiPieceBytes) {
    return fail(Errc::unsupported, "a fabric of short messages", port->limits().send_bytes_max);
  }
  DOLMEN_TRY(auto tcp, TcpEndpoint::make(without_spinning(options), world));
  if (port->bell() != nullptr) DOLMEN_CHECK(tcp->watch(*port->bell()));
  return std::unique_ptr<OfiEndpoint>(
      new OfiEndpoint(options, world, std::move(port), std::move(tcp)));
}

OfiEndpoint::OfiEndpoint(const TcpOptions& options, const TcpWorld& world,
                         std::unique_ptr<sys::OfiPort> port, std::unique_ptr<TcpEndpoint> tcp)
    : world_(world),
      wait_(options.wait),
      send_queue_bytes_(options.send_queue_bytes),
      tcp_(std::move(tcp)),
      traits_{.passive_target = false,
              .revocable = true,
              .mapped = false,
              .ordered = true,
              .atomic_with_cpu = true,
              .level_max = Level::placed,
              .message_bytes_max = kTcpBytesMax,
              .operation_bytes_max = kTcpBytesMax},
      port_(std::move(port)),
      slots_(*port_),
      buffers_(*port_),
      way_{.port = port_.get(), .slots = &slots_, .owners = &owners_, .idle = &idle_} {}

OfiEndpoint::~OfiEndpoint() {
  tcp_.reset();
  peers_.clear();
  for (const auto& [number, fetch] : fetches_) fetch->registered.reset();
  // The fabric may use the memory until the port has ended.
  slots_.unregister();
  buffers_.unregister();
  port_.reset();
}

OfiEndpoint::Peer* OfiEndpoint::find_peer(NodeId node) noexcept {
  const auto found = peers_.find(node);
  return found == peers_.end() ? nullptr : found->second.get();
}

std::optional<NodeName> OfiEndpoint::connected(NodeId node) const noexcept {
  const auto found = peers_.find(node);
  if (found == peers_.end() || !found->second->is_open) return std::nullopt;
  return found->second->name;
}

std::uint64_t OfiEndpoint::random_token() noexcept {
  for (;;) {
    std::array<std::byte, 8> bytes{};
    world_.entropy->fill(bytes);
    const auto token = base::load<std::uint64_t>(bytes);
    if (token != 0 && !by_token_.contains(token)) return token;
  }
}

void OfiEndpoint::fail_peer(Peer& peer, const Error& why) noexcept {
  if (peer.failure) return;
  peer.failure = why;
  tcp_->disconnect(peer.name.node);
}

void OfiEndpoint::disconnect(NodeId node) noexcept {
  Peer* const peer = find_peer(node);
  if (peer == nullptr || peer->failure) return;
  peer->is_ended = true;
  fail_peer(*peer, Error(Errc::closed, "this side ended the connection"));
}

void OfiEndpoint::begin(const NodeName& name) {
  DOLMEN_ASSERT(find_peer(name.node) == nullptr);
  auto made = std::make_unique<Peer>(name, way_, next_number_++, random_token(),
                                     world_.clock->monotonic_ns() + kGreetingNs);
  Peer& peer = *made;
  peers_[name.node] = std::move(made);
  by_number_[peer.number] = &peer;
  by_token_[peer.token] = &peer;
  if (const auto greeted = greet(peer); !greeted) fail_peer(peer, greeted.error());
}

Result<void> OfiEndpoint::greet(Peer& peer) {
  if (orphaned_bytes_ > kOrphanedBytesMax) {
    return fail(Errc::limit, "the fabric does not let go of messages", orphaned_bytes_);
  }
  while (buffers_.size() < peers_.size() * (OfiStream::kBuffers + kOfiSpare)) {
    DOLMEN_CHECK(buffers_.grow());
    while (buffers_.has_free()) {
      DOLMEN_TRY(const OfiBuffers::Number buffer, buffers_.take());
      idle_.push_back(buffer);
    }
  }
  post_receives();
  const Bytes address = port_->address();
  DOLMEN_TRY(peer.hello, encode(OfiHello{.token = peer.token,
                                         .buffers = OfiStream::kBuffers,
                                         .provider = port_->limits().provider,
                                         .address = {address.begin(), address.end()}}));
  return {};
}

void OfiEndpoint::hear(const NodeName& from, Bytes message) {
  Peer* const peer = find_peer(from.node);
  if (peer == nullptr || peer->failure) return;
  Result<void> done;
  if (const auto hello = decode_ofi_hello(message)) {
    done = obey(*peer, *hello);
  } else {
    done = std::unexpected(hello.error());
  }
  if (!done) fail_peer(*peer, done.error());
}

Result<void> OfiEndpoint::obey(Peer& peer, const OfiHello& hello) {
  if (peer.stream.is_connected()) return fail(Errc::corrupt, "a second greeting");
  if (hello.provider != port_->limits().provider) {
    return fail(Errc::unsupported, "the other node uses another kind of fabric");
  }
  DOLMEN_TRY(const sys::OfiPeer there, port_->add_peer(hello.address));
  peer.stream.connect(there, hello);
  return {};
}

void OfiEndpoint::lose(const NodeName& name, const Error& why, Sink& sink) {
  const auto found = peers_.find(name.node);
  if (found == peers_.end()) return;
  Peer& peer = *found->second;
  DOLMEN_ASSERT(peer.name == name);
  // What had arrived is delivered first, unless this side wanted no more of it.
  if (!peer.failure && peer.is_open) {
    (void)drain();
    while (!peer.failure && progress(peer, sink)) {
    }
  }
  if (!peer.failure) peer.failure = why;
  (void)complete_local(sink);
  const Error unknown(Errc::connection_lost, "with the operation under way");
  end_fetches(peer, sink);
  while (!peer.pending.empty()) {
    sink.on_completed(peer.pending.pop().op, std::unexpected(unknown));
  }
  const std::unique_ptr<Peer> ended = std::move(found->second);
  peers_.erase(found);
  by_number_.erase(ended->number);
  by_token_.erase(ended->token);
  orphaned_bytes_ += ended->stream.under_way() * kOfiPieceBytes;
  if (const auto there = ended->stream.peer()) port_->remove_peer(*there);
  if (ended->is_open) {
    sink.on_lost(name, *ended->failure);
  } else {
    sink.on_refused(name.node, *ended->failure);
  }
}

Result<bool> OfiEndpoint::poll(Sink& sink) {
  bool did_something = complete_local(sink);
  DOLMEN_TRY(const bool has_drained, drain());
  did_something |= has_drained;
  // Only what tcp reports adds or removes a peer.
  std::uint64_t now_ns = 0;
  for (const auto& [node, peer] : peers_) {
    if (peer->failure) continue;
    did_something |= progress(*peer, sink);
    if (peer->is_open || peer->failure) continue;
    if (now_ns == 0) now_ns = world_.clock->monotonic_ns();
    if (now_ns < peer->deadline_ns) continue;
    fail_peer(*peer, Error(Errc::timed_out, "the fabric has no way to a node"));
  }
  ControlSink control(*this, sink);
  DOLMEN_TRY(const bool did_more, tcp_->poll(control));
  did_something |= did_more;
  if (did_something) busy_ns_ = world_.clock->monotonic_ns();
  return did_something;
}

}  // namespace dolmen::fabric
