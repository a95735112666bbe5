// SPDX-License-Identifier: Apache-2.0
//
// One-sided operations that the target serves itself, at both sides, for backends that send the
// units of tcp_format.hpp. Internal to them.
//
// Thread contract: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <dolmen/assert.hpp>
#include <dolmen/error.hpp>

#include "fabric/fabric.hpp"
#include "fabric/regions.hpp"
#include "fabric/tcp_format.hpp"

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

/// What a peer that keeps to the protocol can make this side queue for it beside what send()
/// queued: answers to kTcpOperationsMax operations that read kTcpReadBytesMax.
inline constexpr std::size_t kAnswersMax = kTcpReadBytesMax + kTcpOperationsMax * 64 + (1u << 20);

[[nodiscard]] Status answer_status(const Result<void>& outcome) noexcept;

/// The answer to a request.
struct Served {
  Status status = Status::ok;
  bool is_answered = true;
  Bytes region{};  ///< of a read: in place; good until the region is closed
  std::uint64_t former = 0;
  bool has_former = false;

  [[nodiscard]] Bytes body() const noexcept {
    return has_former ? std::as_bytes(std::span(&former, 1)) : region;
  }
};
/// Checks and does what `node` asks for, in one step. Requires: a write, read, swap or fetch_add
/// whose header was decoded, of that length. Errors: corrupt.
[[nodiscard]] Result<Served> serve(Regions& regions, NodeId node, const UnitHeader& header,
                                   Bytes body);

/// The end of an operation, as Sink::on_completed() has it.
struct Completed {
  OpId op{};
  Result<std::uint64_t> former;
};
/// Of the oldest one, by its answer, a unit of kind done. Errors: corrupt.
[[nodiscard]] Result<Completed> complete(PendingOperations& pending, const UnitHeader& header,
                                         Bytes body);

}  // namespace dolmen::fabric
