// SPDX-License-Identifier: Apache-2.0
//
// What a tcp endpoint keeps of one connection. Internal to the endpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "fabric/tcp_channel.hpp"
#include "fabric/units.hpp"
#include "sys/network.hpp"

namespace dolmen::fabric {

struct TcpConnection {
  enum class Phase : std::uint8_t {
    connecting,  ///< the system is at it
    greeting,    ///< the handshake
    open,        ///< reported by on_connected
  };

  TcpConnection(std::uint64_t its_number, std::unique_ptr<sys::Socket> its_socket,
                TcpChannel its_channel, Phase its_phase, bool is_dialler,
                std::uint64_t its_deadline_ns)
      : number(its_number),
        socket(std::move(its_socket)),
        channel(std::move(its_channel)),
        deadline_ns(its_deadline_ns),
        dialled(is_dialler),
        phase(its_phase) {}

  const std::uint64_t number;  ///< the poller's tag; never used again
  const std::unique_ptr<sys::Socket> socket;
  TcpChannel channel;
  PendingOperations pending;
  const std::uint64_t deadline_ns;  ///< of connecting and greeting
  const bool dialled;
  Phase phase;
  bool is_listed = false;   ///< among those with something to write
  bool is_blocked = false;  ///< the system takes no more; the poller says when it does
  bool is_reported = false;
  bool is_hot = false;           ///< read without asking the poller
  unsigned quiet_polls = 0;      ///< in vain, since it was written to or read from
  bool is_watched = true;        ///< by the poller
  unsigned reads_awake = 0;      ///< with bytes, since the endpoint last waited
  std::optional<Error> failure;  ///< why it ends at the next occasion
};

}  // namespace dolmen::fabric
