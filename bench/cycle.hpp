// SPDX-License-Identifier: Apache-2.0
//
// The one random cycle that every system of the pointers suite walks: nodes lie in areas, in slots
// numbered in the order of their allocation, and are visited in an order that no prefetcher can
// guess.
//
// Thread contract: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/random.hpp"

namespace dolmen::bench {

struct Place {
  std::uint32_t area = 0;
  std::uint32_t slot = 0;
};

struct Cycle {
  std::vector<Place> visits;         ///< in order; the last leads to the first
  std::vector<std::uint32_t> slots;  ///< nodes per area
};

template <class T>
void shuffle(std::vector<T>& items, base::Random& random) {
  for (std::size_t left = items.size(); left > 1; --left) {
    std::swap(items[left - 1], items[random.below(left)]);
  }
}

/// Ensures: with more than one area, two neighbours in the cycle never share an area.
inline Cycle make_cycle(std::size_t nodes, std::uint32_t areas, std::uint64_t seed) {
  base::Random random(seed);
  Cycle cycle;
  cycle.slots.resize(areas);
  // Which area each visit goes to: every block of visits takes the areas once, in an order of its
  // own.
  std::vector<std::uint32_t> order(areas);
  for (std::uint32_t area = 0; area < areas; ++area) order[area] = area;
  while (cycle.visits.size() < nodes) {
    shuffle(order, random);
    if (areas > 1 && !cycle.visits.empty() && order.front() == cycle.visits.back().area) {
      std::swap(order.front(), order.back());
    }
    for (const std::uint32_t area : order) {
      if (cycle.visits.size() < nodes) cycle.visits.push_back({area, 0});
    }
  }
  if (areas > 1 && cycle.visits.back().area == cycle.visits.front().area) {
    cycle.visits.pop_back();  // the end would lead back into its own area
  }
  for (const Place& visit : cycle.visits) ++cycle.slots[visit.area];
  // Which slot of its area each visit goes to.
  std::vector<std::vector<std::uint32_t>> free(areas);
  for (std::uint32_t area = 0; area < areas; ++area) {
    for (std::uint32_t slot = 0; slot < cycle.slots[area]; ++slot) free[area].push_back(slot);
    shuffle(free[area], random);
  }
  for (Place& visit : cycle.visits) {
    visit.slot = free[visit.area].back();
    free[visit.area].pop_back();
  }
  return cycle;
}

}  // namespace dolmen::bench
