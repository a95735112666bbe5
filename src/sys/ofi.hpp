// SPDX-License-Identifier: Apache-2.0
//
// A port on whatever fabric libfabric finds (EFA, InfiniBand, TCP and others), as an interface:
// reliable datagrams between ports, in order from one port to another, and reads of memory that a
// port shows to others. Nothing here is encrypted or authenticated: whoever reaches the fabric is
// trusted with it. Nothing here is a fence, and there is no write: what a port shows can be read as
// long as the fabric likes, even after the OfiMemory has ended.
//
// Thread contract: a port and all that was made of it are used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"
#include "sys/network.hpp"

namespace dolmen::sys {

/// Another port, as this one knows it.
enum class OfiPeer : std::uint64_t {};

/// Memory that work of its port uses.
class OfiMemory {
 public:
  virtual ~OfiMemory() = default;
  /// What the ports of others need to read it, where that was asked for.
  [[nodiscard]] virtual std::uint64_t start() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t key() const noexcept = 0;
};

struct OfiDone {
  std::uint64_t tag = 0;
  bool is_failed = false;  ///< nothing is known of it; the port itself goes on
  std::size_t bytes = 0;   ///< of a receive
};

struct OfiLimits {
  std::string provider;  ///< as libfabric names it, such as "tcp;ofi_rxm"
  std::size_t send_bytes_max = 0;
  std::size_t read_bytes_max = 0;  ///< 0: this fabric has no reads
};

class OfiPort {
 public:
  /// What is under way ends without notice; nothing of this process's memory is changed by it any
  /// more. Requires: every OfiMemory of it ended before.
  virtual ~OfiPort() = default;
  [[nodiscard]] virtual const OfiLimits& limits() const noexcept = 0;
  /// What others need to reach this port.
  [[nodiscard]] virtual base::Bytes address() const noexcept = 0;
  /// Errors: invalid_argument (no address of this fabric), limit, io_error.
  [[nodiscard]] virtual Result<OfiPeer> add_peer(base::Bytes address) = 0;
  /// What is under way to it may go on and end later.
  virtual void remove_peer(OfiPeer peer) noexcept = 0;

  /// For sends, receives, and reads of others' memory into it. Errors: limit, io_error.
  [[nodiscard]] virtual Result<std::unique_ptr<OfiMemory>> register_memory(
      base::MutableBytes memory) = 0;
  /// To be read by others. Errors: limit, unsupported, io_error.
  [[nodiscard]] virtual Result<std::unique_ptr<OfiMemory>> show(base::Bytes memory) = 0;

  // Each that was accepted ends in one OfiDone with its tag. Errors: busy (the fabric takes no more
  // now, or still looks for the peer: poll and repeat), io_error.
  [[nodiscard]] virtual Result<void> post_receive(std::uint64_t tag, base::MutableBytes into,
                                                  const OfiMemory& registered) = 0;
  [[nodiscard]] virtual Result<void> send(OfiPeer peer, std::uint64_t tag, base::Bytes bytes,
                                          const OfiMemory& registered) = 0;
  /// From `start` (OfiMemory::start(), or further on) of what the peer shows. It is done when the
  /// bytes are here.
  [[nodiscard]] virtual Result<void> read(OfiPeer peer, std::uint64_t tag, base::MutableBytes into,
                                          const OfiMemory& registered, std::uint64_t start,
                                          std::uint64_t key) = 0;

  /// Does what there is to do, and says what has ended. Errors: io_error; the port is of no more
  /// use.
  [[nodiscard]] virtual Result<std::size_t> poll(std::span<OfiDone> into) = 0;
  /// Readable when poll() has something to do, if armed() said that nothing is there. To be waited
  /// for, no more. Null: this fabric cannot be waited for.
  [[nodiscard]] virtual Socket* bell() noexcept = 0;
  /// True: the bell may be waited for. False: poll() first.
  [[nodiscard]] virtual bool arm() noexcept = 0;
};

/// Where a port is.
struct OfiChoice {
  std::string provider;  ///< empty: what libfabric puts first
  std::string source;    ///< an own numeric IP address, where the fabric has such; or empty
};

}  // namespace dolmen::sys
