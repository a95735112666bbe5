// SPDX-License-Identifier: Apache-2.0
//
// Who is connected, and what nodes tell each other through tcp.
#include "fabric/verbs_endpoint.hpp"

#include <algorithm>
#include <utility>

#include <dolmen/assert.hpp>

namespace dolmen::fabric {
namespace {

/// More than a peer that keeps to the protocol can have this side say.
constexpr std::size_t kControlMax = 16'384;
constexpr int kMessagesAtOnce = 256;

TcpOptions without_spinning(TcpOptions options) {
  options.wait = {};
  return options;
}

std::uint64_t seed_from(sys::Entropy& entropy) {
  std::array<std::byte, 8> bytes{};
  entropy.fill(bytes);
  return base::load<std::uint64_t>(bytes);
}

}  // namespace

/// What the tcp endpoint reports, on its way to the caller's sink.
class VerbsEndpoint::ControlSink final : public Sink {
 public:
  ControlSink(VerbsEndpoint& endpoint, Sink& sink) noexcept : endpoint_(endpoint), sink_(sink) {}
  void on_connected(const NodeName& peer) override { endpoint_.begin(peer, sink_); }
  void on_lost(const NodeName& peer, const Error& why) override {
    endpoint_.lose(peer, why, sink_);
  }
  void on_refused(NodeId who, const Error& why) override { sink_.on_refused(who, why); }
  void on_message(const NodeName& from, Bytes message) override {
    endpoint_.hear(from, message, sink_);
  }
  void on_completed(OpId, const Result<std::uint64_t>&) override {
    DOLMEN_UNREACHABLE("no operation goes through tcp");
  }

 private:
  VerbsEndpoint& endpoint_;
  Sink& sink_;
};

Result<std::unique_ptr<VerbsEndpoint>> VerbsEndpoint::make(
    const TcpOptions& options, const TcpWorld& world, std::unique_ptr<sys::RdmaDevice> device) {
  DOLMEN_TRY(auto tcp, TcpEndpoint::make(without_spinning(options), world));
  DOLMEN_TRY(auto domain, device->make_domain());
  DOLMEN_CHECK(tcp->watch(device->bell()));
  return std::unique_ptr<VerbsEndpoint>(
      new VerbsEndpoint(options, world, std::move(device), std::move(tcp), std::move(domain)));
}

VerbsEndpoint::VerbsEndpoint(const TcpOptions& options, const TcpWorld& world,
                             std::unique_ptr<sys::RdmaDevice> device,
                             std::unique_ptr<TcpEndpoint> tcp,
                             std::unique_ptr<sys::RdmaDomain> domain)
    : world_(world),
      wait_(options.wait),
      send_queue_bytes_(options.send_queue_bytes),
      device_(std::move(device)),
      tcp_(std::move(tcp)),
      domain_(std::move(domain)),
      random_(seed_from(*world.entropy)) {
  const sys::RdmaLimits& limits = device_->limits();
  traits_ = {.passive_target = true,
             .revocable = true,
             .mapped = false,
             .ordered = false,
             .atomic_with_cpu = limits.atomics_with_cpu,
             .level_max = Level::placed,
             .message_bytes_max = kVerbsMessageMax,
             .operation_bytes_max = std::min<std::size_t>(limits.work_bytes_max, 1u << 30)};
}

VerbsPeer* VerbsEndpoint::find_peer(NodeId node) noexcept {
  const auto found = peers_.find(node);
  return found == peers_.end() ? nullptr : found->second.get();
}

std::optional<NodeName> VerbsEndpoint::connected(NodeId node) const noexcept {
  const auto found = peers_.find(node);
  if (found == peers_.end() || !found->second->is_open) return std::nullopt;
  return found->second->name;
}

Result<VerbsPeer*> VerbsEndpoint::open_peer(const NodeName& to) noexcept {
  VerbsPeer* const peer = find_peer(to.node);
  if (peer == nullptr || !peer->is_open || peer->failure || peer->name != to) {
    return fail(Errc::not_connected, "node", static_cast<std::uint64_t>(to.node));
  }
  return peer;
}

std::uint32_t VerbsEndpoint::random_packet() noexcept {
  return static_cast<std::uint32_t>(random_.below(std::uint64_t{1} << 24));
}

void VerbsEndpoint::fail_peer(VerbsPeer& peer, const Error& why) noexcept {
  if (peer.failure) return;
  peer.failure = why;
  tcp_->disconnect(peer.name.node);
}

void VerbsEndpoint::disconnect(NodeId node) noexcept {
  VerbsPeer* const peer = find_peer(node);
  if (peer == nullptr || peer->failure) return;
  peer->is_ended = true;
  fail_peer(*peer, Error(Errc::closed, "this side ended the connection"));
}

void VerbsEndpoint::begin(const NodeName& name, Sink&) {
  DOLMEN_ASSERT(find_peer(name.node) == nullptr);
  VerbsPeer& peer = *(peers_[name.node] = std::make_unique<VerbsPeer>());
  peer.name = name;
  auto messages = VerbsMessages::make(*domain_, random_packet(), send_queue_bytes_);
  if (!messages) {
    fail_peer(peer, messages.error());
    return;
  }
  peer.messages = std::move(*messages);
  VerbsControl hello{.kind = VerbsControl::Kind::hello};
  hello.buffers = VerbsMessages::kBuffers;
  hello.queue = peer.messages->address();
  tell(peer, hello);
}

void VerbsEndpoint::lose(const NodeName& name, const Error& why, Sink& sink) {
  const auto found = peers_.find(name.node);
  if (found == peers_.end()) return;
  VerbsPeer& peer = *found->second;
  DOLMEN_ASSERT(peer.name == name);
  // What had arrived is delivered first, unless this side wanted no more of it.
  if (!peer.failure) {
    while (receive(peer, sink) && !peer.failure) {
    }
  }
  if (!peer.failure) peer.failure = why;
  if (!peer.is_ended) (void)progress(peer, sink);
  end_operations(peer, sink);
  const std::unique_ptr<VerbsPeer> ended = std::move(found->second);
  peers_.erase(found);
  if (ended->is_open) {
    sink.on_lost(name, *ended->failure);
  } else {
    sink.on_refused(name.node, *ended->failure);
  }
}

void VerbsEndpoint::tell(VerbsPeer& peer, const VerbsControl& control) {
  if (peer.control.size() >= kControlMax) {
    fail_peer(peer, Error(Errc::corrupt, "a node asks for more than it may at once"));
    return;
  }
  peer.control.push_back(control);
  flush_control(peer);
}

void VerbsEndpoint::flush_control(VerbsPeer& peer) {
  while (!peer.control.empty() && !peer.failure) {
    if (!tcp_->send(peer.name, encode(peer.control.front()))) return;
    peer.control.pop_front();
  }
}

void VerbsEndpoint::hear(const NodeName& from, Bytes message, Sink& sink) {
  VerbsPeer* const peer = find_peer(from.node);
  if (peer == nullptr || peer->failure) return;
  Result<void> done;
  if (const auto control = decode_verbs_control(message)) {
    done = obey(*peer, *control, sink);
  } else {
    done = std::unexpected(control.error());
  }
  if (!done) fail_peer(*peer, done.error());
}

Result<void> VerbsEndpoint::obey(VerbsPeer& peer, const VerbsControl& control, Sink& sink) {
  const bool is_greeting =
      control.kind == VerbsControl::Kind::hello || control.kind == VerbsControl::Kind::ready;
  if (is_greeting ? peer.is_open : !peer.is_connected) {
    return fail(Errc::corrupt, "a message out of turn");
  }
  switch (control.kind) {
    case VerbsControl::Kind::hello:
      if (peer.is_connected) return fail(Errc::corrupt, "a second greeting");
      DOLMEN_CHECK(peer.messages->connect(control.queue, control.buffers));
      peer.is_connected = true;
      tell(peer, {.kind = VerbsControl::Kind::ready});
      return {};
    case VerbsControl::Kind::ready:
      if (!peer.is_connected) return fail(Errc::corrupt, "a message out of turn");
      peer.is_open = true;
      sink.on_connected(peer.name);
      return {};
    case VerbsControl::Kind::ask:
      return open_lane(peer, control);
    case VerbsControl::Kind::answer:
      return answered(peer, control, sink);
    case VerbsControl::Kind::withdrawn: {
      for (auto& [region, remote] : peer.remotes) {
        if (remote.lane && remote.lane->id == control.lane) remote.lane->is_ending = true;
      }
      return {};
    }
    case VerbsControl::Kind::closed: {
      const auto found = peer.granted.find(control.lane);
      if (found == peer.granted.end()) return fail(Errc::corrupt, "the end of no lane");
      if (found->second.is_withdrawn) --peer.withdrawn;
      peer.granted.erase(found);
      return {};
    }
  }
  return fail(Errc::corrupt, "bytes from another node");
}

Result<void> VerbsEndpoint::send(const NodeName& to, std::span<const Bytes> parts) {
  DOLMEN_TRY(VerbsPeer* const peer, open_peer(to));
  Result<void> sent = peer->messages->send(parts);
  if (sent || sent.error().code() == Errc::busy || sent.error().code() == Errc::too_large) {
    return sent;
  }
  fail_peer(*peer, Error(Errc::connection_lost, "a message could not be sent"));
  return fail(Errc::not_connected, "node", static_cast<std::uint64_t>(to.node));
}

bool VerbsEndpoint::receive(VerbsPeer& peer, Sink& sink) {
  if (!peer.is_open) return false;
  bool did_something = false;
  for (int i = 0; i < kMessagesAtOnce && !peer.failure; ++i) {
    const Result<VerbsMessages::Polled> polled = peer.messages->poll();
    if (!polled) {
      fail_peer(peer, polled.error());
      return true;
    }
    did_something |= polled->did_something;
    if (!polled->has_message) break;
    did_something = true;
    sink.on_message(peer.name, polled->message);
  }
  return did_something;
}

Result<bool> VerbsEndpoint::poll(Sink& sink) {
  ControlSink control(*this, sink);
  bool did_something = false;
  // Only what tcp reports adds or removes a peer.
  for (const auto& [node, peer] : peers_) {
    if (peer->failure) continue;
    did_something |= receive(*peer, sink);
    if (!peer->failure) did_something |= progress(*peer, sink);
    flush_control(*peer);
  }
  DOLMEN_TRY(const bool did_more, tcp_->poll(control));
  did_something |= did_more;
  if (did_something) busy_ns_ = world_.clock->monotonic_ns();
  return did_something;
}

Result<void> VerbsEndpoint::wait(std::uint64_t until_ns) {
  device_->quiet();
  // The caller's loop is the spinning, as with tcp.
  if (wait_.spin_ns != 0 && world_.clock->monotonic_ns() - busy_ns_ < wait_.spin_ns) {
    return tcp_->wait(0);
  }
  for (const auto& [node, peer] : peers_) {
    if (peer->failure || !peer->is_open) continue;
    flush_control(*peer);
    DOLMEN_TRY(bool is_there, peer->messages->arm());
    for (const auto& [region, remote] : peer->remotes) {
      if (is_there || !remote.lane || remote.lane->under_way.empty()) continue;
      DOLMEN_TRY(is_there, remote.lane->queue->arm());
    }
    if (is_there) return tcp_->wait(0);
  }
  return tcp_->wait(until_ns);
}

}  // namespace dolmen::fabric
