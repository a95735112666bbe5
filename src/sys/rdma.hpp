// SPDX-License-Identifier: Apache-2.0
//
// Remote direct memory access as an interface: reliable connected queues between two nodes, memory
// that a queue may reach, and one bell that says when a queue has something. What a queue is given
// to do it does in order. Nothing here is encrypted or authenticated: whoever reaches the network
// of the devices is trusted with it.
//
// Thread contract: a device and all that was made of it are used by one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "sys/network.hpp"

namespace dolmen::sys {

/// What the other side of a queue may do with memory of this side.
struct RdmaAccess {
  bool read = false;
  bool write = false;
  bool atomic = false;
};

/// What the other side of a connection has to know of a queue.
struct RdmaAddress {
  std::array<std::byte, 16> gid{};
  std::uint32_t queue = 0;         ///< 24 bits, never 0
  std::uint32_t first_packet = 0;  ///< 24 bits: where this side's packets begin to count
  std::uint16_t lid = 0;
  std::uint8_t mtu = 0;  ///< 1 to 5: 256 to 4096 bytes of data in a packet
  friend bool operator==(const RdmaAddress&, const RdmaAddress&) = default;
};
[[nodiscard]] constexpr std::size_t rdma_mtu_bytes(std::uint8_t mtu) noexcept {
  return std::size_t{128} << mtu;
}

/// Memory that a device may use; ends with this object, but that is no fence.
class RdmaMemory {
 public:
  virtual ~RdmaMemory() = default;
  [[nodiscard]] virtual std::uint32_t local_key() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t remote_key() const noexcept = 0;
};

struct RdmaWork {
  enum class Kind : std::uint8_t { send, write, read, compare_and_swap, fetch_add };
  Kind kind = Kind::send;
  std::uint64_t tag = 0;
  /// Read from, or for read and the atomic ones (8 bytes: the former word) written to.
  const std::byte* local = nullptr;
  std::uint32_t bytes = 0;
  std::uint32_t local_key = 0;
  std::uint64_t remote_address = 0;
  std::uint32_t remote_key = 0;
  std::uint64_t operand = 0;  ///< what is expected, or added
  std::uint64_t desired = 0;
};

struct RdmaDone {
  enum class How : std::uint8_t {
    done,
    refused,  ///< the other side's queue or memory does not allow it; what came later was not begun
    flushed,  ///< not begun, or nothing is known, because an earlier one failed
    failed,   ///< nothing is known; the queue is of no more use
  };
  std::uint64_t tag = 0;
  How how = How::done;
  std::uint32_t bytes = 0;  ///< of a receive
};

class RdmaQueue {
 public:
  struct Depth {
    std::uint32_t sends = 0;     ///< pieces of work under way
    std::uint32_t receives = 0;  ///< buffers that wait for a send of the other side
  };

  /// What is under way ends without notice. The other side's work fails late, by its time limit.
  virtual ~RdmaQueue() = default;
  [[nodiscard]] virtual const RdmaAddress& address() const noexcept = 0;
  /// Once. The two sides need not do it at the same time. Errors: io_error, invalid_argument.
  [[nodiscard]] virtual Result<void> connect(const RdmaAddress& peer, RdmaAccess granted) = 0;
  /// What the other side's work may do from here on, decided by the device at each packet: a fence
  /// where rights are taken away. Errors: io_error.
  [[nodiscard]] virtual Result<void> set_access(RdmaAccess granted) = 0;
  /// May come before connect(). Errors: limit, io_error.
  [[nodiscard]] virtual Result<void> post_receive(std::uint64_t tag, base::MutableBytes into,
                                                  std::uint32_t local_key) = 0;
  /// Errors: limit (Depth), io_error.
  [[nodiscard]] virtual Result<void> post(const RdmaWork& work) = 0;
  /// What has ended; each piece of work and each receive once. Errors: io_error.
  [[nodiscard]] virtual Result<std::size_t> poll(std::span<RdmaDone> into) = 0;
  /// Makes the next end ring the device's bell. True: there is one already. Errors: io_error.
  [[nodiscard]] virtual Result<bool> arm() = 0;
};

/// Queues reach memory of their own domain only.
class RdmaDomain {
 public:
  virtual ~RdmaDomain() = default;
  /// Errors: limit, out_of_memory, io_error.
  [[nodiscard]] virtual Result<std::unique_ptr<RdmaQueue>> make_queue(
      RdmaQueue::Depth depth, std::uint32_t first_packet) = 0;
  /// Memory that work reads and writes, and that the other sides of the domain's queues reach as
  /// `granted` says. Errors: limit (locked memory), out_of_memory, io_error.
  [[nodiscard]] virtual Result<std::unique_ptr<RdmaMemory>> register_memory(
      base::MutableBytes memory, RdmaAccess granted) = 0;
  /// Memory that work reads only.
  [[nodiscard]] virtual Result<std::unique_ptr<RdmaMemory>> register_source(base::Bytes memory) = 0;
};

struct RdmaLimits {
  std::size_t work_bytes_max = 0;
  bool has_atomics = false;
  bool atomics_with_cpu = false;  ///< atomic towards instructions of the processor, too
};

class RdmaDevice {
 public:
  virtual ~RdmaDevice() = default;
  [[nodiscard]] virtual const RdmaLimits& limits() const noexcept = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<RdmaDomain>> make_domain() = 0;
  /// Readable when an armed queue has something, until quiet(). To be waited for, no more.
  [[nodiscard]] virtual Socket& bell() noexcept = 0;
  virtual void quiet() noexcept = 0;
};

}  // namespace dolmen::sys
