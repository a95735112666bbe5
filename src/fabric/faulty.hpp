// SPDX-License-Identifier: Apache-2.0
//
// An endpoint that has bad days: connections end, what arrives arrives late, sends are refused. All
// of it is what any backend may do, and comes from a seed. For tests.
//
// What arrives waits in memory that no limit of the endpoint's counts; messages are copied.
//
// Thread contract: as the endpoint's.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/random.hpp"
#include "fabric/decorated.hpp"
#include "sys/clock.hpp"

namespace dolmen::fabric {

struct FaultOptions {
  std::uint64_t seed = 1;
  /// Each event is reported up to so much later, in the order in which they came.
  std::uint64_t delay_max_ns = 0;
  /// Sends and operations that are refused with Errc::busy, of a thousand.
  std::uint64_t busy_per_1000 = 0;
  /// Polls that end one connection, of a million; to this side it is lost.
  std::uint64_t loss_per_million = 0;
};

class Faulty final : public Decorated {
 public:
  /// `clock` is that of wait() and outlives it.
  Faulty(std::unique_ptr<Endpoint> inner, const FaultOptions& options, sys::Clock& clock);

  /// From now on. What waits already keeps its time.
  void set_faults(const FaultOptions& options) noexcept { options_ = options; }

  [[nodiscard]] std::optional<NodeName> connected(NodeId node) const noexcept override;
  using Endpoint::send;
  [[nodiscard]] Result<void> send(const NodeName& to, std::span<const Bytes> parts) override;
  [[nodiscard]] Result<void> write(OpId op, const Place& place, Bytes bytes, Level level) override;
  [[nodiscard]] Result<void> read(OpId op, const Place& place, MutableBytes into) override;
  [[nodiscard]] Result<void> compare_and_swap(OpId op, const Place& place, std::uint64_t expected,
                                              std::uint64_t desired) override;
  [[nodiscard]] Result<void> fetch_add(OpId op, const Place& place, std::uint64_t delta) override;
  [[nodiscard]] Result<MutableBytes> map(const NodeName& target, RegionId region) override;
  [[nodiscard]] Result<bool> poll(Sink& sink) override;
  [[nodiscard]] Result<void> wait(std::uint64_t until_ns) override;
  void disconnect(NodeId node) noexcept override;

 private:
  enum class Kind : std::uint8_t { connected, lost, refused, message, completed };
  struct Event {
    Kind kind{};
    NodeName peer{};
    std::vector<std::byte> message{};
    OpId op{};
    Result<std::uint64_t> outcome = 0;  // or why
    std::uint64_t due_ns = 0;
  };
  /// A node whose connection was reported.
  struct Peer {
    NodeName name;
    bool is_ending = false;  // its end waits to be reported
  };
  class Relay;

  [[nodiscard]] Result<void> may(const NodeName& to);
  [[nodiscard]] Peer* find(NodeId node) noexcept;
  void enqueue(Event event);
  void report(const Event& event, Sink& sink);
  void lose_one();

  FaultOptions options_;
  base::Random random_;
  sys::Clock* clock_;
  std::deque<Event> events_;
  std::vector<Peer> peers_;
  std::vector<NodeId> cut_;  // by lose_one(), not heard of yet
  std::uint64_t last_due_ns_ = 0;
  bool at_once_ = false;  // until the next poll() is over
};

}  // namespace dolmen::fabric
