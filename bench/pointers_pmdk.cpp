// SPDX-License-Identifier: Apache-2.0
// The pointers suite's PMDK peer: PMEMoid (pool and offset, 16 bytes), followed by pmemobj_direct
// inline.
#include "bench/pointers_walk.hpp"

#if DOLMEN_BENCH_PMDK
#include <memory>

#include "bench/pmdk.hpp"

namespace dolmen::bench {
namespace {

struct OidNode;

/// A PMEMoid with a type, as PMDK's C++ binding wraps it.
struct OidPointer {
  PMEMoid oid = OID_NULL;
  explicit operator bool() const { return oid.off != 0; }
  inline const OidNode* operator->() const;
};

struct OidNode {
  OidPointer next;
  std::uint64_t payload = 0;
  std::array<std::uint64_t, 5> rest{};
};
static_assert(sizeof(OidNode) == kNodeBytes, "the same node in every system");

const OidNode* OidPointer::operator->() const {
  return static_cast<const OidNode*>(pmemobj_direct_inline(oid));
}

/// The areas of a cycle, in one pool or in a pool each.
class OidAreas {
 public:
  OidAreas(const Cycle& cycle, bool pool_each) {
    const std::size_t pools = pool_each ? cycle.slots.size() : 1;
    const std::size_t bytes_all = cycle.visits.size() * kNodeBytes;
    const std::uint64_t bytes = (16u << 20) + 2 * bytes_all / pools;
    for (std::size_t i = 0; i < pools; ++i) {
      pools_.push_back(std::make_unique<PmdkPool>("pointers" + std::to_string(i), bytes));
    }
    for (std::size_t area = 0; area < cycle.slots.size(); ++area) {
      PMEMoid oid = pools_[area % pools]->allocate((cycle.slots[area] + 1) * kNodeBytes);
      // Objects begin behind a header; nodes begin on a cache line.
      oid.off = (oid.off + kNodeBytes - 1) / kNodeBytes * kNodeBytes;
      areas_.push_back(oid);
    }
    close_cycle(
        cycle,
        [&](Place place) { return static_cast<OidNode*>(pmemobj_direct_inline(at(place).oid)); },
        [&](Place place) { return at(place); });
  }
  [[nodiscard]] OidPointer at(Place place) const {
    PMEMoid oid = areas_[place.area];
    oid.off += place.slot * kNodeBytes;
    return {oid};
  }

 private:
  std::vector<std::unique_ptr<PmdkPool>> pools_;
  std::vector<PMEMoid> areas_;
};

void add(const std::string& system, const std::string& mode, const Cycle& cycle, bool pool_each,
         Walkers& walkers) {
  const auto areas = std::make_shared<OidAreas>(cycle, pool_each);
  const OidPointer head = areas->at(cycle.visits.front());
  walkers.push_back({system, std::string(kPmdkMode) + mode + "; pmemobj_direct inline",
                     [areas, head](std::size_t hops) {
                       return walk_by_reference<OidNode>(
                           head.operator->(), hops,
                           [](const OidNode& node) { return node.next.operator->(); });
                     },
                     [areas, head](std::size_t hops) { return walk_by_pointer(head, hops); },
                     [](const std::function<void()>& body) { body(); }});
}

}  // namespace

void add_pmdk_walkers(Report&, const Cycle& cycle, Walkers& walkers) {
  if (cycle.slots.size() == 1) {
    add("pmdk_oid", "; one allocation", cycle, false, walkers);
    return;
  }
  const std::string areas = std::to_string(cycle.slots.size());
  add("pmdk_oid", "; one pool, " + areas + " allocations", cycle, false, walkers);
  add("pmdk_oid_pools", "; " + areas + " pools", cycle, true, walkers);
}

}  // namespace dolmen::bench
#else
namespace dolmen::bench {
void add_pmdk_walkers(Report& report, const Cycle&, Walkers&) {
  report.missing("pmdk_oid", "libpmemobj-dev");
}
}  // namespace dolmen::bench
#endif
