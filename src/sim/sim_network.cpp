// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_network.hpp"

namespace dolmen::sim {

std::uint64_t SimNetwork::delay_ns() {
  std::uint64_t delay =
      faults_.delay_min_ns + random_.below(faults_.delay_max_ns - faults_.delay_min_ns + 1);
  if (chance(faults_.late_ppm)) delay += random_.below(faults_.late_ns + 1);
  return delay;
}

void SimNetwork::send(std::size_t from, std::size_t to, const std::vector<std::byte>& bytes) {
  ++sent_;
  if (queue_.now_ns() < cut_until_ns_[from * nodes_ + to] || chance(faults_.loss_ppm)) {
    ++lost_;
    return;
  }
  const int copies = chance(faults_.repeat_ppm) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    queue_.after(delay_ns(), [this, from, to, bytes] { deliver_(from, to, bytes); });
  }
}

}  // namespace dolmen::sim
