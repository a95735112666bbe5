// SPDX-License-Identifier: Apache-2.0
//
// One endpoint of two fabrics (docs/fabric.md, Joined): tcp, which finds the nodes, proves who they
// are and says who is connected; and shared memory, which carries messages and operations between
// those that meet in one exchange on one host. Which of the two it is, is settled once for each
// connection, before it is reported.
//
// In the exchange an endpoint has a name of its own that means nothing, and nobody is met there but
// whom tcp introduced. Nothing is heard before he has shown the token that he was given through
// tcp. The end of either ends both.
//
// What the shared memory has not, of a peer that is met there, goes by tcp: regions for which there
// was no memory, and grants beyond the room of a region's table.
//
// Thread contract: as fabric.hpp says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/joined_format.hpp"
#include "fabric/shm_endpoint.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "sys/env.hpp"
#include "sys/shared_memory.hpp"

namespace dolmen::fabric {

enum class Carrier : std::uint8_t { tcp, shared };

struct JoinedOptions {
  TcpOptions tcp;  ///< with keys; its says gets kSaysShared
  /// Each connection in shared memory reserves two rings of this, a power of two from 4 KiB.
  std::size_t ring_bytes = std::size_t{128} << 10;
  std::size_t nodes_max = 1024;  ///< met in shared memory; others go by tcp
  /// Who has not met by then goes by tcp.
  std::uint64_t meet_ns = 1'000'000'000;
};

class JoinedEndpoint final : public Endpoint {
 public:
  /// Errors: invalid_argument (no keys), those of TcpEndpoint::make() and open_shm().
  [[nodiscard]] static Result<std::unique_ptr<JoinedEndpoint>> make(
      const JoinedOptions& options, const sys::Env& env,
      std::unique_ptr<sys::SharedDirectory> exchange);
  ~JoinedEndpoint() override;
  JoinedEndpoint(const JoinedEndpoint&) = delete;
  JoinedEndpoint& operator=(const JoinedEndpoint&) = delete;

  /// Who is there, and who is trusted, is for it to say.
  [[nodiscard]] TcpEndpoint& tcp() noexcept { return *tcp_; }
  /// How a connected node is spoken to; nothing: it is not connected.
  [[nodiscard]] std::optional<Carrier> carrier(NodeId node) const noexcept;
  /// Connections in shared memory with that node; nobody: with all clients.
  [[nodiscard]] std::size_t shared_with(NodeId node) const noexcept;
  /// Before this process lets go of what only one life of the node may have: from here on others
  /// do not take what they have mapped of it for alive. It is of no other use then.
  void leave() noexcept { shared_->leave(); }

  [[nodiscard]] NodeName self() const noexcept override { return tcp_->self(); }
  [[nodiscard]] const Traits& traits() const noexcept override { return traits_; }
  [[nodiscard]] std::optional<NodeName> connected(NodeId node) const noexcept override;
  using Endpoint::send;
  [[nodiscard]] Result<void> send(const NodeName& to, std::span<const Bytes> parts) override;
  [[nodiscard]] Result<MutableBytes> make_region(RegionId region, std::size_t bytes) override;
  [[nodiscard]] Result<void> close_region(RegionId region) override;
  [[nodiscard]] Result<void> grant(RegionId region, NodeId node, Rights rights) override;
  /// No fence: unsupported. But nothing by tcp lands any more, and the grant's place is free.
  [[nodiscard]] Result<void> revoke(RegionId region, NodeId node) override;
  [[nodiscard]] Result<void> write(OpId op, const Place& place, Bytes bytes, Level level) override;
  [[nodiscard]] Result<void> read(OpId op, const Place& place, MutableBytes into) override;
  [[nodiscard]] Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) override;
  [[nodiscard]] Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override;
  [[nodiscard]] Result<MutableBytes> map(const NodeName& target, RegionId region) override;
  void unmap(const NodeName& target, RegionId region) noexcept override;
  [[nodiscard]] bool lives(const NodeName& target) const noexcept override;
  [[nodiscard]] Result<bool> poll(Sink& sink) override;
  [[nodiscard]] Result<void> wait(std::uint64_t until_ns) override;
  void wake() noexcept override { tcp_->wake(); }
  void disconnect(NodeId node) noexcept override;

 private:
  class TcpSink;
  class SharedSink;

  /// Somebody who is connected by tcp.
  struct Peer {
    enum class Phase : std::uint8_t {
      offering,  ///< its offer is due
      meeting,   ///< in the same exchange, as it says
      by_tcp,    ///< reported
      shared,    ///< reported
    };
    NodeName name;
    Phase phase = Phase::offering;
    JoinedToken token{};                 ///< that it has to show
    std::optional<JoinedOffer> offer{};  ///< its own
    std::uint64_t deadline_ns = 0;
    bool is_met = false;         ///< the exchange has a connection with it
    bool has_shown = false;      ///< … and it has shown the token
    bool is_cut = false;         ///< nothing of it is reported any more but its end
    std::optional<Error> why{};  ///< the exchange's connection with it ended, or is not to go on
  };
  /// What map() gave.
  struct Mapped {
    NodeName target;
    NodeName shared;
    RegionId region{};
  };

  JoinedEndpoint(const JoinedOptions& options, const sys::Env& env, const NodeName& shared_name,
                 const std::array<std::uint64_t, 2>& exchange);

  [[nodiscard]] const Peer* find(const NodeName& name) const noexcept;
  [[nodiscard]] Peer* met(const NodeName& shared) noexcept;
  [[nodiscard]] bool chooses(const Peer& peer) const noexcept;
  /// The place in the exchange, where the operation can be done there.
  [[nodiscard]] Result<std::optional<Place>> place_of(const Place& place, std::size_t bytes,
                                                      const Rights& needed);
  // What tcp says.
  void connect(const NodeName& peer, Sink& sink);
  void lose(const NodeName& name, const Error& why, Sink& sink);
  void hear(const NodeName& from, Bytes message, Sink& sink);
  void take_offer(Peer& peer, const JoinedOffer& offer, Sink& sink);
  void go_by_tcp(Peer& peer, Sink& sink);
  [[nodiscard]] bool say(const Peer& peer, const JoinedMessage& message);
  void break_off(Peer& peer, const Error& why) noexcept;
  // What the exchange says.
  void meet(const NodeName& shared);
  void part(const NodeName& shared, const Error& why);
  void hear_shared(const NodeName& from, Bytes message, Sink& sink);
  [[nodiscard]] Result<bool> poll_shared(Sink& sink);
  void look_at_deadlines(Sink& sink);

  const JoinedOptions options_;
  const sys::Env env_;
  const NodeName shared_name_;
  const std::array<std::uint64_t, 2> exchange_;
  Traits traits_;
  std::unique_ptr<shm::ShmEndpoint> shared_;
  std::unique_ptr<sys::Socket> bell_;  // outlives tcp_, which watches it
  std::unique_ptr<TcpEndpoint> tcp_;
  std::map<NodeId, Peer> peers_;
  std::map<NodeName, NodeId> names_;  ///< of peers with an offer, by their names in the exchange
  std::map<RegionId, std::map<NodeId, Rights>> grants_;
  std::vector<Mapped> mapped_;
  std::optional<Error> failure_;
  std::size_t by_tcp_ = 0;  ///< peers for which tcp is asked in each poll()
  bool ask_tcp_ = true;
  std::uint64_t polls_ = 0;
  std::uint64_t busy_ns_ = 0;
};

}  // namespace dolmen::fabric
