// SPDX-License-Identifier: Apache-2.0
//
// The fabric over libfabric (docs/fabric.md, docs/formats/fabric-ofi.md): EFA and whatever else has
// reliable datagrams. A tcp endpoint beside it finds the nodes, proves who they are and notices
// their end; through its encrypted connections the ports are told of each other. Everything else
// goes from port to port, which is neither encrypted nor authenticated: whoever can send in the
// fabric's network is trusted.
//
// One-sided operations are served by the target's poll(), check and copy in one step, so revoke()
// is a fence. What is long is not sent: whoever needs the bytes reads them from the other side's
// memory, by the fabric, into memory of its own. Nobody's memory is opened for others to write.
//
// Thread contract: as fabric.hpp says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/ofi_buffers.hpp"
#include "fabric/ofi_stream.hpp"
#include "fabric/regions.hpp"
#include "fabric/tcp_endpoint.hpp"
#include "fabric/units.hpp"
#include "sys/ofi.hpp"

namespace dolmen::fabric {

class OfiEndpoint final : public Endpoint {
 public:
  /// `options` as for tcp. Errors: those of TcpEndpoint::make() and OfiPort.
  [[nodiscard]] static Result<std::unique_ptr<OfiEndpoint>> make(
      const TcpOptions& options, const TcpWorld& world, std::unique_ptr<sys::OfiPort> port);
  ~OfiEndpoint() override;
  OfiEndpoint(const OfiEndpoint&) = delete;
  OfiEndpoint& operator=(const OfiEndpoint&) = delete;

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
  static constexpr std::uint64_t kReceive = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kFetch = std::uint64_t{1} << 62;

  /// Memory that the other side may read.
  struct Lent {
    std::vector<std::byte> bytes;  ///< none: they are the caller's
    std::unique_ptr<sys::OfiMemory> registered;
  };
  /// A read of the other side's memory, for a write that it asked for or a read that this side did.
  struct Fetch {
    std::uint64_t peer = 0;  ///< by the number of its stream
    std::vector<std::byte> bytes;
    std::unique_ptr<sys::OfiMemory> registered;
    OfiShown shown;
    UnitHeader request;
    RequestHead head;  ///< of a write
    OpId op{};         ///< of a read
    MutableBytes into{};
    bool is_posted = false;
    bool is_there = false;
  };

  struct Peer {
    Peer(const NodeName& its_name, const OfiWay& way, std::uint64_t its_number,
         std::uint64_t its_token, std::uint64_t its_deadline_ns)
        : name(its_name),
          number(its_number),
          token(its_token),
          deadline_ns(its_deadline_ns),
          stream(way, its_number) {}
    const NodeName name;
    const std::uint64_t number;       ///< of the stream; never used again
    const std::uint64_t token;        ///< what its pieces begin with
    const std::uint64_t deadline_ns;  ///< until it is open
    OfiStream stream;
    PendingOperations pending;
    // Both by the number of the operation.
    std::unordered_map<std::uint16_t, std::unique_ptr<sys::OfiMemory>>
        shown;                                     ///< this side's writes
    std::unordered_map<std::uint16_t, Lent> lent;  ///< its reads
    std::size_t lent_bytes = 0;
    std::size_t fetching_bytes = 0;  ///< of this side's reads
    std::size_t unposted = 0;        ///< fetches that the fabric has not taken yet
    bool is_writing = false;         ///< what comes after a write waits for its bytes
    std::optional<std::array<std::byte, kOfiHelloBytes>> hello;  ///< that tcp has not taken yet
    bool is_open = false;                                        ///< reported by on_connected
    bool is_ended = false;  ///< this side ended it; nothing of it is reported but that
    std::optional<Error> failure;
  };

  OfiEndpoint(const TcpOptions& options, const TcpWorld& world, std::unique_ptr<sys::OfiPort> port,
              std::unique_ptr<TcpEndpoint> tcp);

  // Connections (ofi_endpoint.cpp).
  [[nodiscard]] Peer* find_peer(NodeId node) noexcept;
  [[nodiscard]] std::uint64_t random_token() noexcept;
  void begin(const NodeName& name);
  [[nodiscard]] Result<void> greet(Peer& peer);
  void hear(const NodeName& from, Bytes message);
  [[nodiscard]] Result<void> obey(Peer& peer, const OfiHello& hello);
  void lose(const NodeName& name, const Error& why, Sink& sink);
  void fail_peer(Peer& peer, const Error& why) noexcept;

  // Pieces (ofi_progress.cpp).
  [[nodiscard]] Result<bool> drain();
  void sent(OfiBuffers::Number slot, bool is_failed);
  void arrived(OfiBuffers::Number buffer, const sys::OfiDone& done);
  void post_receives();
  bool progress(Peer& peer, Sink& sink);
  void process(Peer& peer, const OfiStream::Unit& unit, Sink& sink);
  bool complete_local(Sink& sink);

  // Operations (ofi_operations.cpp).
  [[nodiscard]] Result<Peer*> open_peer(const NodeName& to, std::size_t bytes) noexcept;
  [[nodiscard]] Result<void> append(Peer& peer, const UnitHeader& header,
                                    std::span<const Bytes> parts);
  [[nodiscard]] Result<void> request(OpId op, const Place& place, UnitKind kind, Bytes body,
                                     MutableBytes into, Level level);
  void serve(Peer& peer, const OfiStream::Unit& unit);
  void answer(Peer& peer, std::uint16_t number, Status status, Bytes body);

  // What is long (ofi_fetch.cpp).
  [[nodiscard]] bool shows(std::size_t bytes) const noexcept;
  [[nodiscard]] bool show_write(Peer& peer, const UnitHeader& header, const RequestHead& head,
                                Bytes body);
  [[nodiscard]] bool show_read(Peer& peer, std::uint16_t number, Bytes region);
  void serve_shown_write(Peer& peer, const OfiStream::Unit& unit);
  void fetch_read(Peer& peer, const OfiStream::Unit& unit);
  void give_back(Peer& peer, std::uint16_t number);
  void begin_fetch(Peer& peer, std::unique_ptr<Fetch> fetch, std::size_t bytes);
  [[nodiscard]] Result<bool> post_fetches(Peer& peer);
  void fetched(std::uint64_t number, bool is_failed);
  void apply(Peer& peer, Fetch& fetch, Sink& sink);
  [[nodiscard]] bool apply_fetched(Peer& peer, Sink& sink);
  void end_fetches(Peer& peer, Sink& sink);

  const TcpWorld world_;
  const WaitPolicy wait_;
  const std::size_t send_queue_bytes_;
  std::unique_ptr<TcpEndpoint> tcp_;  ///< ends before the port, whose bell it watches
  Traits traits_;
  Regions regions_;

  std::unique_ptr<sys::OfiPort> port_;
  OfiBuffers slots_;
  std::vector<std::uint64_t> owners_;
  OfiBuffers buffers_;
  std::vector<OfiBuffers::Number> idle_;
  OfiWay way_;
  std::map<std::uint64_t, std::unique_ptr<Fetch>> fetches_;
  std::uint64_t next_fetch_ = 1;
  std::size_t orphaned_bytes_ = 0;  ///< that the fabric has yet, of peers that are gone

  std::uint64_t next_number_ = 1;
  std::map<NodeId, std::unique_ptr<Peer>> peers_;
  std::unordered_map<std::uint64_t, Peer*> by_number_;
  std::unordered_map<std::uint64_t, Peer*> by_token_;
  std::vector<OpId> completed_;  ///< of Level::local
  std::vector<OpId> completing_;
  std::uint64_t busy_ns_ = 0;
};

}  // namespace dolmen::fabric
