// SPDX-License-Identifier: Apache-2.0
// The pointers suite's peers that live in plain memory: raw pointers and Boost.Interprocess
// offset_ptr.
#include <array>
#include <cstdlib>
#include <memory>
#include <new>

#include "bench/pointers_walk.hpp"

#if DOLMEN_BENCH_BOOST
#include <boost/interprocess/offset_ptr.hpp>
#endif

namespace dolmen::bench {
namespace {

/// One area per object, each a single block of its own from the heap, its nodes dense and on cache
/// lines.
template <class Node>
class HeapAreas {
 public:
  explicit HeapAreas(const Cycle& cycle) {
    for (const std::uint32_t slots : cycle.slots) {
      areas_.emplace_back(static_cast<Node*>(std::aligned_alloc(kNodeBytes, slots * sizeof(Node))));
      std::uninitialized_value_construct_n(areas_.back().get(), slots);
    }
  }
  [[nodiscard]] Node* at(Place place) const { return areas_[place.area].get() + place.slot; }

 private:
  struct Free {
    void operator()(Node* memory) const { std::free(memory); }
  };
  std::vector<std::unique_ptr<Node, Free>> areas_;
};

std::string heap_mode(const Cycle& cycle) {
  return cycle.slots.size() > 1 ? "nodes in " + std::to_string(cycle.slots.size()) + " heap blocks"
                                : "nodes in one heap block";
}

template <class Node, class Pointer, class Follow>
void add_heap_walker(const std::string& system, const Cycle& cycle, Walkers& walkers,
                     Follow follow) {
  const auto areas = std::make_shared<HeapAreas<Node>>(cycle);
  const auto at = [areas](Place place) { return areas->at(place); };
  close_cycle(cycle, at, at);
  Node* head = areas->at(cycle.visits.front());
  walkers.push_back(
      {system, heap_mode(cycle),
       [areas, head, follow](std::size_t hops) {
         return walk_by_reference<Node>(head, hops, follow);
       },
       [areas, head](std::size_t hops) { return walk_by_pointer<Pointer>(Pointer(head), hops); },
       [](const std::function<void()>& body) { body(); }});
}

struct RawNode {
  const RawNode* next = nullptr;
  std::uint64_t payload = 0;
  std::array<std::uint64_t, 6> rest{};
};
static_assert(sizeof(RawNode) == kNodeBytes, "the same node in every system");

}  // namespace

void add_raw_walker(const Cycle& cycle, Walkers& walkers) {
  add_heap_walker<RawNode, const RawNode*>("raw", cycle, walkers,
                                           [](const RawNode& node) { return node.next; });
}

#if DOLMEN_BENCH_BOOST
namespace {

struct OffsetNode {
  boost::interprocess::offset_ptr<OffsetNode> next;
  std::uint64_t payload = 0;
  std::array<std::uint64_t, 6> rest{};
};
static_assert(sizeof(OffsetNode) == kNodeBytes, "the same node in every system");

}  // namespace

void add_boost_walker(Report&, const Cycle& cycle, Walkers& walkers) {
  add_heap_walker<OffsetNode, boost::interprocess::offset_ptr<OffsetNode>>(
      "boost_offset_ptr", cycle, walkers,
      [](const OffsetNode& node) -> const OffsetNode* { return node.next.get(); });
}
#else
void add_boost_walker(Report& report, const Cycle&, Walkers&) {
  report.missing("boost_offset_ptr", "libboost-dev");
}
#endif

}  // namespace dolmen::bench
