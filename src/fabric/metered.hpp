// SPDX-License-Identifier: Apache-2.0
//
// Counts what passes through an endpoint, per node. An operation costs two looks at the clock more,
// a message a search among the nodes. Nothing is allocated but when a node connects for the first
// time, or when more operations are under way than ever before.
//
// Thread contract: as the endpoint's; meters() too.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fabric/decorated.hpp"
#include "sys/clock.hpp"

namespace dolmen::fabric {

enum class OpKind : std::uint8_t { write, read, compare_and_swap, fetch_add };
inline constexpr std::size_t kOpKinds = 4;

/// Times by their power of two: the first below 2 ns, the last from about 18 minutes on.
class Histogram {
 public:
  static constexpr std::size_t kBuckets = 41;

  void add(std::uint64_t ns) noexcept {
    const auto power = static_cast<std::size_t>(std::bit_width(ns | 1) - 1);
    ++buckets_[power < kBuckets ? power : kBuckets - 1];
    sum_ns_ += ns;
  }
  /// Bucket i: from 2^i ns (the first: from 0) to below 2^(i+1).
  [[nodiscard]] const std::array<std::uint64_t, kBuckets>& buckets() const noexcept {
    return buckets_;
  }
  [[nodiscard]] std::uint64_t count() const noexcept;
  [[nodiscard]] std::uint64_t sum_ns() const noexcept { return sum_ns_; }
  /// At least `percent` of the times were below this. 0: there are none.
  [[nodiscard]] std::uint64_t below_ns(double percent) const noexcept;

 private:
  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t sum_ns_ = 0;
};

struct Transfers {
  std::uint64_t count = 0;   ///< accepted; what was received
  std::uint64_t bytes = 0;   ///< of these
  std::uint64_t busy = 0;    ///< refused as such
  std::uint64_t failed = 0;  ///< refused otherwise, or completed with an error
};

struct OperationMeter : Transfers {
  Histogram latency;  ///< from the call to its completion without an error
};

/// Of one node, over all its lives.
struct PeerMeter {
  NodeId node = NodeId::nobody;
  std::uint64_t connects = 0;
  std::uint64_t losses = 0;
  Transfers sent{};
  Transfers received{};
  std::array<OperationMeter, kOpKinds> operations{};
  [[nodiscard]] const OperationMeter& of(OpKind kind) const noexcept {
    return operations[static_cast<std::size_t>(kind)];
  }
};

class Metered final : public Decorated {
 public:
  /// `clock` outlives it. Nodes above `last` (a cluster's clients) are counted together, as nobody.
  Metered(std::unique_ptr<Endpoint> inner, sys::Clock& clock,
          NodeId last = NodeId{~std::uint64_t{0}});

  /// In the order of their first connection; before them `nobody`, which stands for every node that
  /// was never connected, or is above the last one. Good until the next poll().
  [[nodiscard]] std::span<const PeerMeter> meters() const noexcept { return peers_; }

  using Endpoint::send;
  [[nodiscard]] Result<void> send(const NodeName& to, std::span<const Bytes> parts) override;
  [[nodiscard]] Result<void> write(OpId op, const Place& place, Bytes bytes, Level level) override;
  [[nodiscard]] Result<void> read(OpId op, const Place& place, MutableBytes into) override;
  [[nodiscard]] Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) override;
  [[nodiscard]] Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override;
  [[nodiscard]] Result<bool> poll(Sink& sink) override;

 private:
  /// An operation under way. The inner endpoint knows it by its index.
  struct Slot {
    OpId op{};
    OpKind kind{};
    std::uint32_t peer = 0;
    std::uint64_t begun_ns = 0;
  };
  class Relay;

  [[nodiscard]] std::uint32_t index_of(NodeId node) const noexcept;
  template <class Call>
  [[nodiscard]] Result<void> ask(OpKind kind, OpId op, const Place& place, std::size_t bytes,
                                 const Call& call);

  sys::Clock* clock_;
  const NodeId last_;
  std::vector<PeerMeter> peers_{PeerMeter{}};
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
};

}  // namespace dolmen::fabric
