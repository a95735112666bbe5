// SPDX-License-Identifier: Apache-2.0
//
// The fabric over TCP: one encrypted connection per pair of nodes (docs/formats/fabric-tcp.md).
// Either everybody has a key of its own, which proves its name (docs/links.md); or whoever holds
// the cluster's shared key is a member and is believed its name. Nobody else gets past the
// handshake. One-sided operations are served by the target's poll(), check and copy in one step, so
// revoke() is a fence.
//
// Of two nodes that both listen the one with the smaller id dials; an endpoint that does not listen
// (a client) dials everybody that it knows, and is known to others by its handshake.
//
// Thread contract: as fabric.hpp says. Nothing is allocated per message or operation once the
// buffers have grown to what is in use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "base/random.hpp"
#include "fabric/fabric.hpp"
#include "fabric/regions.hpp"
#include "fabric/tcp_connection.hpp"
#include "sys/clock.hpp"
#include "sys/network.hpp"

namespace dolmen::fabric {

struct TcpPeer {
  NodeId node = NodeId::nobody;
  sys::NetworkAddress address;
};

struct TcpOptions {
  NodeName self;
  Secret key{};  ///< the cluster's, where all share one
  /// Set: instead, every member has a key of its own, and is who its key proves (identity_of()).
  std::optional<security::LinkSelf> link{};
  /// Of a shared key: what is said behind the handshake goes in the clear, if the other side says
  /// so too (with keys of their own: LinkSelf::says).
  bool is_trusted_fabric = false;
  std::optional<sys::NetworkAddress> listen{};
  std::vector<TcpPeer> peers{};
  WaitPolicy wait{};
  /// A send that would queue more than this for one node is busy; one unit always fits.
  std::size_t send_queue_bytes = 8u << 20;
  /// Incoming connections without a finished handshake; the oldest gives way to the next one.
  std::size_t handshakes_max = 64;
  /// Connected nodes that are not among `peers`.
  std::size_t clients_max = 1024;
  /// For connecting and handshake together.
  std::uint64_t handshake_ns = 2'000'000'000;
  /// Until the next attempt after a failed one: an eighth more than the time before, at most
  /// redial_max_ns, and at random between half of that and all of it. Who was away is so found
  /// again after an eighth of that time.
  std::uint64_t redial_first_ns = 20'000'000;
  std::uint64_t redial_max_ns = 1'000'000'000;
};

struct TcpWorld {
  sys::Network* network = nullptr;
  sys::Clock* clock = nullptr;
  sys::Entropy* entropy = nullptr;
};

class TcpEndpoint final : public Endpoint {
 public:
  /// Listens at once; dials in poll(). `world` outlives it. Errors: invalid_argument (no name, the
  /// own or an impossible peer, a name that the key does not prove), unsupported (no AES
  /// instructions), those of Network::listen().
  [[nodiscard]] static Result<std::unique_ptr<TcpEndpoint>> make(const TcpOptions& options,
                                                                 const TcpWorld& world);
  ~TcpEndpoint() override;
  TcpEndpoint(const TcpEndpoint&) = delete;
  TcpEndpoint& operator=(const TcpEndpoint&) = delete;

  /// Replaces what is known; connections stay. An endpoint that does not listen
  /// may have one peer that is nobody: whichever node answers there, under whose name it is
  /// connected.
  /// Errors: invalid_argument, as make().
  [[nodiscard]] Result<void> set_peers(const std::vector<TcpPeer>& peers);
  /// A later trust file: connections whose key it does not trust end in poll() (on_lost,
  /// not_authentic), and those to come are judged by it. Errors: invalid_argument (none of this
  /// cluster, an earlier one, an endpoint with a shared key).
  [[nodiscard]] Result<void> set_trust(std::shared_ptr<const security::Trust> trust);
  /// Where it listens.
  [[nodiscard]] std::optional<sys::NetworkAddress> address() const;

  /// What a connected node asked for when it proved its name, or with the shared key
  /// (security::Claim::says).
  [[nodiscard]] std::uint8_t says(NodeId node) const noexcept;
  /// As make_region(), of memory that is the caller's and outlives the region. Requires: zeroed,
  /// aligned to 64 bytes, whole words may be written.
  [[nodiscard]] Result<void> adopt_region(RegionId region, MutableBytes memory) {
    return regions_.adopt(region, memory);
  }

  /// wait() returns while `bell` is readable, too; once, and `bell` outlives the endpoint. It is
  /// not read. Errors: those of Poller::add().
  [[nodiscard]] Result<void> watch(sys::Socket& bell);

  [[nodiscard]] NodeName self() const noexcept override { return options_.self; }
  [[nodiscard]] const Traits& traits() const noexcept override;
  [[nodiscard]] std::optional<NodeName> connected(NodeId node) const noexcept override;

  using Endpoint::send;
  [[nodiscard]] Result<void> send(const NodeName& to, std::span<const Bytes> parts) override;

  [[nodiscard]] Result<MutableBytes> make_region(RegionId region, std::size_t bytes) override;
  [[nodiscard]] Result<void> close_region(RegionId region) override;
  [[nodiscard]] Result<void> grant(RegionId region, NodeId node, Rights rights) override;
  [[nodiscard]] Result<void> revoke(RegionId region, NodeId node) override;

  [[nodiscard]] Result<void> write(OpId op, const Place& place, Bytes bytes, Level level) override;
  [[nodiscard]] Result<void> read(OpId op, const Place& place, MutableBytes into) override;
  [[nodiscard]] Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) override;
  [[nodiscard]] Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override;
  [[nodiscard]] Result<MutableBytes> map(const NodeName& target, RegionId region) override;

  [[nodiscard]] Result<bool> poll(Sink& sink) override;
  [[nodiscard]] Result<void> wait(std::uint64_t until_ns) override;
  void wake() noexcept override { poller_->wake(); }
  void disconnect(NodeId node) noexcept override;

 private:
  static constexpr std::uint64_t kBellTag = ~std::uint64_t{0} - 1;

  /// A node that is known or connected.
  struct Peer {
    std::optional<sys::NetworkAddress> address;
    TcpConnection* connection = nullptr;  ///< the open one
    bool is_dialling = false;
    std::uint64_t newest_incarnation = 0;
    std::uint64_t dial_at_ns = 0;
    std::uint64_t backoff_ns = 0;
  };

  TcpEndpoint(const TcpOptions& options, const TcpWorld& world, std::unique_ptr<sys::Poller> poller,
              std::unique_ptr<sys::Listener> listener);

  // Connections (tcp_endpoint.cpp).
  [[nodiscard]] bool dials(NodeId node, const Peer& peer) const noexcept;
  void dial(NodeId node, Peer& peer, std::uint64_t now_ns, Sink& sink);
  void schedule_dial(NodeId node, Peer& peer, std::uint64_t now_ns);
  void accept_some(std::uint64_t now_ns, Sink& sink);
  void make_room_for_handshake();
  [[nodiscard]] TcpChannel channel(TcpChannel::Side side, NodeId target);
  [[nodiscard]] std::uint8_t said_with_key() const noexcept {
    return options_.is_trusted_fabric ? security::kSaysClear : std::uint8_t{0};
  }
  TcpConnection* add(std::unique_ptr<sys::Socket> socket, TcpChannel channel,
                     TcpConnection::Phase phase, bool dialled, std::uint64_t now_ns,
                     std::optional<Error>& why);
  [[nodiscard]] bool is_trusted(const TcpConnection& connection) const;
  [[nodiscard]] Errc judge(const NodeName& peer) const;
  void open(TcpConnection& connection, Sink& sink);
  void run_timers(std::uint64_t now_ns, Sink& sink);
  void fall_due(std::uint64_t at_ns) noexcept { due_ns_ = std::min(due_ns_, at_ns); }

  // Bytes (tcp_progress.cpp).
  bool poll_hot(Sink& sink);
  [[nodiscard]] Result<bool> poll_system(std::uint64_t now_ns, Sink& sink);
  bool read_from(TcpConnection& connection, Sink& sink);
  bool read_hot(TcpConnection& connection, Sink& sink);
  void process(TcpConnection& connection, Sink& sink);
  void list(TcpConnection& connection);
  void flush(TcpConnection& connection);
  void flush_listed();
  void warm(TcpConnection& connection);
  void cool(TcpConnection& connection);
  void watch_again(TcpConnection& connection);
  void fail_connection(TcpConnection& connection, const Error& why) noexcept;
  bool settle(std::uint64_t now_ns, Sink& sink);
  void report(TcpConnection& connection, Sink& sink);

  // Operations (tcp_operations.cpp).
  [[nodiscard]] Result<TcpConnection*> open_connection(const NodeName& to, std::size_t bytes) const;
  [[nodiscard]] Result<void> request(OpId op, const Place& place, UnitKind kind, Bytes body,
                                     MutableBytes into, Level level);
  void serve(TcpConnection& connection, Sink& sink);
  void answer(TcpConnection& connection, std::uint16_t number, Status status, Bytes body);
  void complete(TcpConnection& connection, Sink& sink);
  void leave(TcpConnection& connection);

  TcpOptions options_;
  const TcpWorld world_;
  const std::unique_ptr<sys::Poller> poller_;
  const std::unique_ptr<sys::Listener> listener_;
  sys::Socket* bell_ = nullptr;
  base::Random random_;
  Regions regions_;

  std::map<NodeId, Peer> peers_;
  std::map<std::uint64_t, std::unique_ptr<TcpConnection>> connections_;
  std::uint64_t next_number_ = 1;
  std::size_t blocked_ = 0;
  bool any_failed_ = false;
  bool listening_ = false;             ///< the poller looks after the listener
  std::uint64_t listen_again_ns_ = 0;  ///< after descriptors had run out
  std::uint64_t due_ns_ = 0;           ///< the next thing that time brings

  std::vector<TcpConnection*> listed_;
  std::vector<TcpConnection*> hot_;
  std::vector<OpId> completed_;  ///< of Level::local
  std::vector<OpId> completing_;
  unsigned polls_ = 0;
  bool ask_system_ = true;
  bool woken_ = false;
  std::uint64_t busy_ns_ = 0;  ///< when there was something to do last
};

}  // namespace dolmen::fabric
