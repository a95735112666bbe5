// SPDX-License-Identifier: Apache-2.0
//
// The memory of a simulated node that others reach, and the part of its network card that serves
// them: bytes land in lines of 64 at different virtual times, in order or not; what has landed is
// not durable before it was flushed. It needs no process and no poll().
//
// Threads: one. Deterministic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "fabric/fabric.hpp"
#include "sim/event_queue.hpp"

namespace dolmen::sim {

inline constexpr std::size_t kLineBytes = 64;

/// A region's bytes, as everybody sees them, and as the power's end would leave them.
class SimRegion {
 public:
  /// Zeroed and aligned to a line. `is_persistent`: flushed bytes outlive the power.
  SimRegion(std::size_t bytes, bool is_persistent);

  [[nodiscard]] base::MutableBytes bytes() const noexcept { return {memory_.get(), bytes_}; }
  /// Makes what these bytes are now durable, in whole lines.
  void flush(std::uint64_t offset, std::uint64_t length);
  /// Lines that were not flushed are as they last were flushed, or, with this chance in a million,
  /// as they were seen.
  void lose_power(base::Random& random, std::uint32_t survives_ppm);
  [[nodiscard]] bool is_persistent() const noexcept { return !durable_.empty(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t bytes_;
  std::vector<std::byte> durable_;  ///< empty: of memory that is not persistent
};
using SimRegionPtr = std::shared_ptr<SimRegion>;

struct NicModel {
  bool is_ordered = true;        ///< lines land in ascending order, else in any
  bool atomic_with_cpu = false;  ///< else a processor's store between read and write is lost
  std::uint64_t line_ns = 10;    ///< from one line to the next, and from the check to the first
  std::uint64_t scatter_ns = 0;  ///< … and up to so much more
  std::uint64_t flush_ns = 500;
  std::uint64_t atomic_ns = 100;  ///< from reading to writing
};

/// The card of one life of a node, and what it lets whom do.
class SimNic : public std::enable_shared_from_this<SimNic> {
 public:
  using NodeId = fabric::NodeId;
  using RegionId = fabric::RegionId;
  using Rights = fabric::Rights;
  using Trace = std::function<void(std::uint64_t)>;

  /// `queue` and what `trace` needs outlive its events.
  SimNic(EventQueue& queue, const NicModel& model, std::uint64_t seed, Trace trace)
      : queue_(queue), model_(model), random_(seed), trace_(std::move(trace)) {}

  // The owner's calls, as fabric::Endpoint says.
  [[nodiscard]] Result<base::MutableBytes> make(RegionId region, SimRegionPtr memory);
  [[nodiscard]] Result<void> close(RegionId region);
  [[nodiscard]] Result<void> grant(RegionId region, NodeId node, Rights rights);
  /// What it has let `node` begin has landed when this returns; nothing of it lands later.
  [[nodiscard]] Result<void> revoke(RegionId region, NodeId node);
  /// `node` only loses what it may begin: what it has begun still lands.
  [[nodiscard]] Result<void> revoke_without_draining(RegionId region, NodeId node);

  // Operations of `node`. The right is looked at now; what is done is done later. `done` is called
  // once, at that time, unless the card stops before. Errors: not_found, no_right, out_of_bounds:
  // nothing happens.
  [[nodiscard]] Result<void> write(NodeId node, RegionId region, std::uint64_t offset,
                                   std::vector<std::byte> bytes, bool is_flushed,
                                   std::function<void()> done);
  [[nodiscard]] Result<void> read(NodeId node, RegionId region, std::uint64_t offset,
                                  std::size_t bytes,
                                  std::function<void(std::vector<std::byte>)> done);
  /// `next` gives the new word for the former one.
  [[nodiscard]] Result<void> atomic(NodeId node, RegionId region, std::uint64_t offset,
                                    std::function<std::uint64_t(std::uint64_t)> next,
                                    std::function<void(std::uint64_t)> done);
  /// Everything under way happens at once: for cards that do all in one step.
  void settle();
  /// Nothing of what is under way happens any more, and nothing that comes.
  void stop();
  [[nodiscard]] bool is_stopped() const noexcept { return is_stopped_; }

  [[nodiscard]] const std::map<RegionId, std::pair<SimRegionPtr, std::map<NodeId, Rights>>>&
  regions() const noexcept {
    return regions_;
  }
  [[nodiscard]] std::uint64_t lines_landed() const noexcept { return lines_landed_; }

 private:
  /// A write or read that was begun, line by line.
  struct Access {
    NodeId node;
    RegionId region;
    SimRegionPtr memory;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
    bool is_write = false;
    bool is_flushed = false;
    std::vector<std::uint32_t> order;  ///< of the lines; empty: ascending
    std::size_t lines = 0;
    std::size_t moved = 0;
    std::function<void(std::vector<std::byte>)> done;
  };
  /// A word that was read and is not written yet.
  struct Atomic {
    std::uint64_t number = 0;
    NodeId node{};
    SimRegionPtr memory;
    std::uint64_t offset = 0;
    std::uint64_t former = 0;
    std::uint64_t desired = 0;
    std::function<void(std::uint64_t)> done;
  };

  [[nodiscard]] Result<SimRegionPtr> reach(NodeId node, RegionId region, std::uint64_t offset,
                                           std::uint64_t bytes, bool Rights::* right) const;
  void begin(Access access);
  void move_line(std::uint64_t number);
  void move_one(Access& access);
  void finish(std::uint64_t number);
  void finish_atomic();
  void settle(RegionId region, std::optional<NodeId> node);
  [[nodiscard]] std::uint64_t gap_ns();

  EventQueue& queue_;
  const NicModel model_;
  base::Random random_;
  const Trace trace_;
  std::map<RegionId, std::pair<SimRegionPtr, std::map<NodeId, Rights>>> regions_;
  std::map<std::uint64_t, Access> under_way_;  ///< by the order in which they began
  std::optional<Atomic> atomic_;
  std::uint64_t begun_ = 0;
  std::uint64_t lines_landed_ = 0;
  bool is_stopped_ = false;
};

}  // namespace dolmen::sim
