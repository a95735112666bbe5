// SPDX-License-Identifier: Apache-2.0
//
// How nodes reach each other: ordered messages, and one-sided operations on memory that a node lets
// others reach. One interface for every transport; docs/fabric.md says what stays true, and
// fabric/conformance.hpp holds every backend to it.
//
// Thread contract: an endpoint is used by one thread at a time; only wake() may come from another.
// Everything happens inside poll(), on the caller's thread; a thread of its own, where it has one,
// only sleeps.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::fabric {

using base::Bytes;
using base::MutableBytes;

/// A node of the cluster, or a client of it, for ever.
enum class NodeId : std::uint64_t { nobody = 0 };
/// Clients' ids have it. Clients are not connected with each other.
inline constexpr std::uint64_t kClientIds = std::uint64_t{1} << 63;
[[nodiscard]] constexpr bool is_client(NodeId node) noexcept {
  return (static_cast<std::uint64_t>(node) & kClientIds) != 0;
}
/// A node in one life of its process. A later life has a higher incarnation; at most one is
/// connected, and what is meant for one life never reaches another.
struct NodeName {
  NodeId node = NodeId::nobody;
  std::uint64_t incarnation = 0;
  friend constexpr auto operator<=>(const NodeName&, const NodeName&) = default;
};

/// Chosen by its owner, who tells others; unique within one life of a node.
enum class RegionId : std::uint32_t {};
/// What one node may do with a region of another; nothing at first.
struct Rights {
  bool read = false;
  bool write = false;
  bool atomic = false;  ///< compare_and_swap, fetch_add
  friend constexpr bool operator==(const Rights&, const Rights&) = default;
};
/// Where a one-sided operation goes: bytes from `offset` on of a region of a node's life.
struct Place {
  NodeName target;
  RegionId region{};
  std::uint64_t offset = 0;
  friend constexpr bool operator==(const Place&, const Place&) = default;
};

/// Names an operation to its issuer in on_completed(). Chosen by the caller, who may repeat it.
enum class OpId : std::uint64_t {};

/// When a one-sided write counts as done. Each level holds what the ones before it hold.
enum class Level : std::uint8_t {
  local,    ///< the caller's bytes may be used again; nothing is known of the target
  placed,   ///< the bytes are in the target's memory: every read that begins later finds them
  durable,  ///< and they outlive the target's process and power
};

/// What a backend can do. What it cannot is refused with Errc::unsupported.
struct Traits {
  /// One-sided operations need no code to run at the target; otherwise its poll() serves them.
  bool passive_target = false;
  /// revoke() is a fence: no operation of that node lands after it returned.
  bool revocable = false;
  /// map() gives a pointer to another node's region.
  bool mapped = false;
  /// Operations and messages from one endpoint to another take effect in the order of the calls.
  bool ordered = false;
  /// compare_and_swap and fetch_add are atomic towards the target's own atomic instructions, not
  /// only towards other one-sided operations.
  bool atomic_with_cpu = false;
  /// lives() tells of the end of a life before anything that the node's next life does.
  bool tells_lives = false;
  /// Best level of a write.
  Level level_max = Level::placed;
  /// Most bytes of one message, and of one one-sided read or write.
  std::size_t message_bytes_max = 0;
  std::size_t operation_bytes_max = 0;
};

/// What poll() reports. A call may use the endpoint, but not poll, wait or destroy it.
class Sink {
 public:
  virtual ~Sink() = default;
  /// From here on messages and operations to `peer` are accepted. An earlier life of the node was
  /// reported lost before.
  virtual void on_connected(const NodeName& peer) = 0;
  /// Every operation under way to `peer` was completed with an error before; messages that were not
  /// delivered are lost. `why`: connection_lost, closed (this side ended it), superseded (a newer
  /// life of it, or of this node, took its place), corrupt (it broke the protocol). For a peer that
  /// never got as far as on_connected there is on_refused.
  virtual void on_lost(const NodeName& peer, const Error& why) = 0;
  /// A connection failed before there was a peer; it is tried again where this side dials. `who` is
  /// nobody when the other side did not get as far as a name that can be believed. `why`:
  /// not_authentic (another key), version_unsupported, superseded, already_exists (this side's own
  /// name), limit, timed_out, io_error, corrupt.
  virtual void on_refused(NodeId who, const Error& why) = 0;
  /// `message` is valid during the call.
  virtual void on_message(const NodeName& from, Bytes message) = 0;
  /// The end of an operation, in any order: the former value of compare_and_swap and fetch_add, 0
  /// of others. Errors: no_right, not_found (no such region there), out_of_bounds: nothing happened
  /// there; connection_lost: nothing is known.
  virtual void on_completed(OpId op, const Result<std::uint64_t>& former) = 0;
};

/// How long wait() looks for work itself before it lets the system wake it: spinning answers in
/// less than a microsecond and takes a core, being woken takes about 25 us. ~0: never blocks.
struct WaitPolicy {
  std::uint64_t spin_ns = 0;
};

class Endpoint {
 public:
  /// Ends every connection. Sinks hear nothing of it.
  virtual ~Endpoint() = default;

  [[nodiscard]] virtual NodeName self() const noexcept = 0;
  [[nodiscard]] virtual const Traits& traits() const noexcept = 0;
  /// The life of `node` that is connected, as far as poll() has reported it.
  [[nodiscard]] virtual std::optional<NodeName> connected(NodeId node) const noexcept = 0;

  // --- Messages. In order between two lives, never twice, lost only with the connection. ---

  /// Sends the concatenation of `parts`, which are copied before it returns. It leaves at the
  /// latest with the next poll() or wait(). Errors: busy (the queue to that node is at its limit;
  /// poll and repeat), not_connected (also when another life of the node is), too_large.
  [[nodiscard]] virtual Result<void> send(const NodeName& to, std::span<const Bytes> parts) = 0;
  [[nodiscard]] Result<void> send(const NodeName& to, Bytes message) {
    return send(to, std::span<const Bytes>(&message, 1));
  }

  // --- Regions: this node's memory that others may reach. ---

  /// Zeroed memory of this endpoint, aligned to 64 bytes, until close_region(). Nobody else has a
  /// right to it yet. Errors: already_exists, out_of_memory, limit, invalid_argument (no bytes).
  [[nodiscard]] virtual Result<MutableBytes> make_region(RegionId region, std::size_t bytes) = 0;
  /// Later operations on it fail with not_found. Errors: not_found; unsupported where other
  /// processes may have it mapped (traits().mapped).
  [[nodiscard]] virtual Result<void> close_region(RegionId region) = 0;
  /// Replaces what `node` may do, in each of its lives. Errors: not_found; unsupported where rights
  /// would be taken away and traits().revocable is not set.
  [[nodiscard]] virtual Result<void> grant(RegionId region, NodeId node, Rights rights) = 0;
  /// Takes all rights away. When it has returned, nothing that `node` asked for lands any more.
  /// Errors: not_found; unsupported where traits().revocable is not set.
  [[nodiscard]] virtual Result<void> revoke(RegionId region, NodeId node) = 0;

  // --- One-sided operations. Each that was accepted ends in exactly one on_completed(). ---
  // Errors of the calls: busy (too many or too large under way), not_connected, too_large,
  // unsupported (a level above traits().level_max), invalid_argument (an unaligned word).

  /// `bytes` stay as they are until the operation is completed. Aligned words of 8 bytes are never
  /// seen in pieces at the target; longer writes may be, until they are placed.
  [[nodiscard]] virtual Result<void> write(OpId op, const Place& place, Bytes bytes,
                                           Level level) = 0;
  /// `into` belongs to the endpoint until the operation is completed.
  [[nodiscard]] virtual Result<void> read(OpId op, const Place& place, MutableBytes into) = 0;
  /// Words are 8 bytes, aligned, in the machine's order (little endian).
  [[nodiscard]] virtual Result<void> compare_and_swap(OpId op, const Place& place,
                                                      std::uint64_t expected,
                                                      std::uint64_t desired) = 0;
  /// Wraps around.
  [[nodiscard]] virtual Result<void> fetch_add(OpId op, const Place& place,
                                               std::uint64_t delta) = 0;
  /// The region in this process's memory, as far as its grant to this node goes; good until
  /// unmap() or the end of the endpoint, also when its owner is gone. Errors: unsupported,
  /// not_found, no_right, not_connected.
  [[nodiscard]] virtual Result<MutableBytes> map(const NodeName& target, RegionId region) = 0;
  /// The caller uses what map() gave of it no more, whoever asked for it: what only that kept is
  /// given back.
  virtual void unmap(const NodeName& /*target*/, RegionId /*region*/) noexcept {}

  /// Whether that life had not ended when what was loaded before, of what map() gave of it, was
  /// loaded. As sure as traits().tells_lives; needs no poll(). About 10 ns.
  [[nodiscard]] virtual bool lives(const NodeName& target) const noexcept {
    return connected(target.node) == target;
  }

  // --- Progress. ---

  /// Does what can be done without waiting, and reports it. False: there was nothing. Errors: the
  /// endpoint itself failed and is of no more use; a connection's failure is reported instead.
  [[nodiscard]] virtual Result<bool> poll(Sink& sink) = 0;
  /// Returns when poll() may have something to do, after wake(), or at `until_ns` of the endpoint's
  /// monotonic clock (a past time: at once); as the endpoint's WaitPolicy says. It may return
  /// early.
  [[nodiscard]] virtual Result<void> wait(std::uint64_t until_ns) = 0;
  /// Makes the wait() that runs, or else the next one, return. From any thread. About a microsecond
  /// when nobody waits.
  virtual void wake() noexcept = 0;
  /// Ends the connection to `node`, if there is one: what came from it and was not reported is
  /// dropped. The next poll() reports on_lost with Errc::closed; dialling goes on as before.
  virtual void disconnect(NodeId node) noexcept = 0;
};

}  // namespace dolmen::fabric
