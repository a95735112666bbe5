// SPDX-License-Identifier: Apache-2.0
//
// TCP as an interface: streams that never block, and one place to wait for all of them. Hosts are
// numeric addresses; resolve() says those of a name. No call raises a signal or throws but for
// memory.
//
// Thread contract: a socket, listener or poller is used by one thread at a time; Poller::wake() may
// come from any. A Network is safe from any thread.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <dolmen/error.hpp>

#include "base/bytes.hpp"

namespace dolmen::sys {

/// "192.0.2.1" or "2001:db8::1", and a port; port 0 lets the system choose one to listen at.
struct NetworkAddress {
  std::string host;
  std::uint16_t port = 0;
  friend auto operator<=>(const NetworkAddress&, const NetworkAddress&) = default;
};

/// One end of a stream of bytes. Errors of its calls: connection_lost (reset, refused by the peer's
/// system, no answer in time), out_of_memory, io_error; detail is the errno. After an error only
/// its end is left.
class Socket {
 public:
  struct Read {
    std::size_t bytes = 0;
    bool ended = false;  ///< the peer ended its direction; nothing follows
  };

  /// Closes: what was written still leaves, unless the peer sent something that was not read.
  virtual ~Socket() = default;
  /// False: the connection that connect() began is still being made. Errors as above.
  [[nodiscard]] virtual Result<bool> connected() = 0;
  /// What has arrived, at most `into`; no bytes and not ended: nothing yet.
  [[nodiscard]] virtual Result<Read> read(base::MutableBytes into) = 0;
  /// As much as the system takes; 0: nothing now.
  [[nodiscard]] virtual Result<std::size_t> write(base::Bytes bytes) = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  /// Where it listens, with the port that the system chose.
  [[nodiscard]] virtual const NetworkAddress& address() const noexcept = 0;
  /// The next connection, or null when there is none now. Errors: limit (no descriptors left; the
  /// connection stays queued), out_of_memory, io_error.
  [[nodiscard]] virtual Result<std::unique_ptr<Socket>> accept() = 0;
};

/// Waits for many sockets of one Network. Reports what is, not what changed: a socket that is left
/// unread is reported again.
class Poller {
 public:
  struct Event {
    std::uint64_t tag = 0;
    bool readable = false;  ///< or ended, or broken: a read says which
    bool writable = false;
  };
  struct Ready {
    std::size_t events = 0;
    bool woken = false;
  };

  virtual ~Poller() = default;
  /// Always asks for readable. Requires: not added yet; removed before it is destroyed. Errors:
  /// limit, out_of_memory, io_error.
  [[nodiscard]] virtual Result<void> add(Socket& socket, std::uint64_t tag, bool writable) = 0;
  [[nodiscard]] virtual Result<void> add(Listener& listener, std::uint64_t tag) = 0;
  [[nodiscard]] virtual Result<void> change(Socket& socket, std::uint64_t tag, bool writable) = 0;
  virtual void remove(Socket& socket) noexcept = 0;
  virtual void remove(Listener& listener) noexcept = 0;
  /// Blocks until something is ready, wake() was called since the last time it was reported, or the
  /// monotonic clock reaches `until_ns` (0: does not block). Errors: io_error.
  [[nodiscard]] virtual Result<Ready> wait(std::span<Event> events, std::uint64_t until_ns) = 0;
  /// From any thread.
  virtual void wake() noexcept = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  /// The numeric addresses of a host, each once, those of IPv4 first; of a numeric one itself. Asks
  /// whomever the system asks (files, name servers), and blocks until that answered or was given
  /// up: seconds, where no name server is there. Errors: not_found (with what to do),
  /// out_of_memory.
  [[nodiscard]] virtual Result<std::vector<std::string>> resolve(const std::string& host) = 0;
  /// Errors: invalid_argument (no numeric address), already_exists (somebody listens there), limit,
  /// io_error (no such address here, no right to the port).
  [[nodiscard]] virtual Result<std::unique_ptr<Listener>> listen(const NetworkAddress& address) = 0;
  /// Begins to connect; Socket::connected() says how it went. Errors: invalid_argument,
  /// connection_lost (refused or unreachable at once), limit, io_error.
  [[nodiscard]] virtual Result<std::unique_ptr<Socket>> connect(const NetworkAddress& address) = 0;
  /// Errors: limit, out_of_memory, io_error.
  [[nodiscard]] virtual Result<std::unique_ptr<Poller>> make_poller() = 0;
};

}  // namespace dolmen::sys
