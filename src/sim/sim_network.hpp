// SPDX-License-Identifier: Apache-2.0
//
// A network between numbered nodes that delays, loses, repeats and reorders messages, and is cut
// where the nemesis says: each direction of each link apart.
//
// Threads: one. Deterministic: everything comes from the seed and the order of calls.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/random.hpp"
#include "sim/event_queue.hpp"

namespace dolmen::sim {

struct NetworkFaults {
  std::uint32_t loss_ppm = 0;
  std::uint32_t repeat_ppm = 0;
  /// A message takes between these, and with `late_ppm` up to `late_ns` more.
  std::uint64_t delay_min_ns = 10'000;
  std::uint64_t delay_max_ns = 50'000;
  std::uint32_t late_ppm = 0;
  std::uint64_t late_ns = 0;
};

class SimNetwork {
 public:
  using Deliver =
      std::function<void(std::size_t from, std::size_t to, const std::vector<std::byte>& bytes)>;

  SimNetwork(EventQueue& queue, std::size_t nodes, std::uint64_t seed, Deliver deliver)
      : queue_(queue),
        nodes_(nodes),
        random_(seed),
        deliver_(std::move(deliver)),
        cut_until_ns_(nodes * nodes, 0) {}

  void send(std::size_t from, std::size_t to, const std::vector<std::byte>& bytes);
  void set_faults(const NetworkFaults& faults) { faults_ = faults; }
  /// One direction, for so long from now on; never shortens an earlier cut. What is on its way
  /// still arrives.
  void cut(std::size_t from, std::size_t to, std::uint64_t length_ns) {
    std::uint64_t& until_ns = cut_until_ns_[from * nodes_ + to];
    until_ns = std::max(until_ns, queue_.now_ns() + length_ns);
  }
  [[nodiscard]] bool is_cut(std::size_t from, std::size_t to) const {
    return queue_.now_ns() < cut_until_ns_[from * nodes_ + to];
  }
  void heal() { cut_until_ns_.assign(cut_until_ns_.size(), 0); }

  [[nodiscard]] std::uint64_t messages_sent() const noexcept { return sent_; }
  [[nodiscard]] std::uint64_t messages_lost() const noexcept { return lost_; }

 private:
  [[nodiscard]] bool chance(std::uint32_t ppm) { return random_.below(1'000'000) < ppm; }
  [[nodiscard]] std::uint64_t delay_ns();

  EventQueue& queue_;
  const std::size_t nodes_;
  base::Random random_;
  Deliver deliver_;
  NetworkFaults faults_;
  std::vector<std::uint64_t> cut_until_ns_;
  std::uint64_t sent_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace dolmen::sim
