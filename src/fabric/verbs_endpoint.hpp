// SPDX-License-Identifier: Apache-2.0
//
// The fabric over RDMA (docs/fabric.md, docs/formats/fabric-verbs.md). A tcp endpoint beside it
// finds the nodes, proves who they are and notices their end; through its encrypted connections the
// queues are told of each other. Messages and one-sided operations then go from device to device,
// which is neither encrypted nor authenticated: whoever can send packets in the devices' network is
// trusted.
//
// An operation runs no code at its target, but the first one on a region waits for the target's
// poll(), which opens a lane for it. revoke() takes the access of that lane's queue away; the
// devices refuse what comes later. That is as good a fence as the device's driver makes it; the end
// of a registration is never relied on.
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
#include "fabric/regions.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "fabric/verbs_peer.hpp"
#include "sys/rdma.hpp"

namespace dolmen::fabric {

class VerbsEndpoint final : public Endpoint {
 public:
  /// `options` as for tcp. Regions, and memory of operations under way, are locked in memory:
  /// RLIMIT_MEMLOCK must allow it. Errors: those of TcpEndpoint::make() and RdmaDevice.
  [[nodiscard]] static Result<std::unique_ptr<VerbsEndpoint>> make(
      const TcpOptions& options, const TcpWorld& world, std::unique_ptr<sys::RdmaDevice> device);
  ~VerbsEndpoint() override = default;
  VerbsEndpoint(const VerbsEndpoint&) = delete;
  VerbsEndpoint& operator=(const VerbsEndpoint&) = delete;

  /// As TcpEndpoint's.
  [[nodiscard]] Result<void> set_peers(const std::vector<TcpPeer>& peers) {
    return tcp_->set_peers(peers);
  }
  [[nodiscard]] std::optional<sys::NetworkAddress> address() const { return tcp_->address(); }

  [[nodiscard]] NodeName self() const noexcept override { return tcp_->self(); }
  [[nodiscard]] const Traits& traits() const noexcept override { return traits_; }
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
  void wake() noexcept override { tcp_->wake(); }
  void disconnect(NodeId node) noexcept override;

 private:
  class ControlSink;

  VerbsEndpoint(const TcpOptions& options, const TcpWorld& world,
                std::unique_ptr<sys::RdmaDevice> device, std::unique_ptr<TcpEndpoint> tcp,
                std::unique_ptr<sys::RdmaDomain> domain);

  // Connections (verbs_endpoint.cpp).
  [[nodiscard]] VerbsPeer* find_peer(NodeId node) noexcept;
  [[nodiscard]] Result<VerbsPeer*> open_peer(const NodeName& to) noexcept;
  [[nodiscard]] std::uint32_t random_packet() noexcept;
  void begin(const NodeName& name, Sink& sink);
  void lose(const NodeName& name, const Error& why, Sink& sink);
  void fail_peer(VerbsPeer& peer, const Error& why) noexcept;
  void tell(VerbsPeer& peer, const VerbsControl& control);
  void flush_control(VerbsPeer& peer);
  void hear(const NodeName& from, Bytes message, Sink& sink);
  [[nodiscard]] Result<void> obey(VerbsPeer& peer, const VerbsControl& control, Sink& sink);
  bool receive(VerbsPeer& peer, Sink& sink);

  // This node's regions (verbs_grants.cpp).
  [[nodiscard]] Result<void> open_lane(VerbsPeer& peer, const VerbsControl& ask);
  void withdraw(VerbsPeer& peer, std::uint32_t lane, VerbsGranted& granted);
  void withdraw_all(RegionId region, std::optional<NodeId> node);

  // Operations on those of others (verbs_operations.cpp).
  [[nodiscard]] Result<void> request(const Place& place, VerbsOperation operation);
  [[nodiscard]] Result<void> pump(VerbsPeer& peer, RegionId region, VerbsRemote& remote);
  [[nodiscard]] Result<void> post(VerbsLane& lane, VerbsOperation operation);
  [[nodiscard]] Result<void> ask(VerbsPeer& peer, RegionId region, VerbsRemote& remote);
  [[nodiscard]] Result<void> answered(VerbsPeer& peer, const VerbsControl& answer, Sink& sink);
  [[nodiscard]] Result<bool> collect(VerbsPeer& peer, VerbsRemote& remote, Sink& sink);
  bool progress(VerbsPeer& peer, Sink& sink);
  void finish(VerbsPeer& peer, const VerbsOperation& operation,
              const Result<std::uint64_t>& outcome, Sink& sink);
  void end_operations(VerbsPeer& peer, Sink& sink);

  const TcpWorld world_;
  const WaitPolicy wait_;
  const std::size_t send_queue_bytes_;
  const std::unique_ptr<sys::RdmaDevice> device_;
  const std::unique_ptr<TcpEndpoint> tcp_;
  const std::unique_ptr<sys::RdmaDomain> domain_;  ///< what only this node reaches
  Traits traits_;
  base::Random random_;
  Regions regions_;
  std::map<NodeId, std::unique_ptr<VerbsPeer>> peers_;
  std::uint64_t busy_ns_ = 0;
};

}  // namespace dolmen::fabric
