// SPDX-License-Identifier: Apache-2.0
//
// What a tcp endpoint keeps of one connection. Internal to the endpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <dolmen/assert.hpp>

#include "fabric/tcp_channel.hpp"
#include "sys/network.hpp"

namespace dolmen::fabric {

/// Operations whose answers are due, in the order in which they come. Grows to the most that were
/// ever under way and allocates no more.
class PendingOperations {
 public:
  struct Operation {
    OpId op{};
    UnitKind kind = UnitKind::write;
    std::uint16_t number = 0;
    MutableBytes into;
  };

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  /// Bytes that reads under way will bring.
  [[nodiscard]] std::size_t read_bytes() const noexcept { return read_bytes_; }

  /// Gives the operation its number.
  std::uint16_t push(OpId op, UnitKind kind, MutableBytes into) {
    if (count_ == ring_.size()) grow();
    const std::uint16_t number = next_number_++;
    ring_[(first_ + count_) % ring_.size()] = {op, kind, number, into};
    ++count_;
    read_bytes_ += into.size();
    return number;
  }
  [[nodiscard]] const Operation& front() const noexcept { return ring_[first_]; }
  /// Requires: not empty.
  Operation pop() noexcept {
    DOLMEN_ASSERT(count_ > 0);
    const Operation operation = ring_[first_];
    first_ = (first_ + 1) % ring_.size();
    --count_;
    read_bytes_ -= operation.into.size();
    return operation;
  }

 private:
  void grow() {
    std::vector<Operation> larger(ring_.empty() ? 16 : ring_.size() * 2);
    for (std::size_t i = 0; i < count_; ++i) larger[i] = ring_[(first_ + i) % ring_.size()];
    ring_ = std::move(larger);
    first_ = 0;
  }

  std::vector<Operation> ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t read_bytes_ = 0;
  std::uint16_t next_number_ = 0;
};

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
  bool is_hot = false;  ///< read without asking the poller
  unsigned quiet_reads = 0;
  std::optional<Error> failure;  ///< why it ends at the next occasion
};

}  // namespace dolmen::fabric
