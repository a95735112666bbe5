// SPDX-License-Identifier: Apache-2.0
// The pointers suite: dolmen's walkers and the races.
#include <algorithm>
#include <array>
#include <memory>

#include <dolmen/ptr.hpp>
#include <dolmen/space.hpp>

#include "bench/machine.hpp"
#include "bench/pointers_walk.hpp"
#include "bench/suites.hpp"

namespace dolmen::bench {
namespace {

struct StoredNode {
  ptr<StoredNode> next;
  std::uint64_t payload = 0;
  std::array<std::uint64_t, 6> rest{};
};
static_assert(sizeof(StoredNode) == kNodeBytes, "the same node in every system");

struct Anchor {
  ptr<StoredNode> first;
};

/// A space that holds one cycle, and what a walk needs of it.
class StoredCycle {
 public:
  StoredCycle(const std::string& directory, const Cycle& cycle)
      : folder_(directory), space_(expect(Space::open(folder_.below("space")), "open")) {
    const std::uint64_t largest = *std::max_element(cycle.slots.begin(), cycle.slots.end());
    const ObjectOptions options{.capacity = std::max<std::uint64_t>(64u << 20, largest * 256)};
    for (std::size_t area = 0; area < cycle.slots.size(); ++area) {
      objects_.push_back(expect(space_.create<Anchor>(options), "create"));
    }
    first_ = cycle.visits.front().area;
    expect(space_.transact(any, [&] { fill(cycle); }), "fill");
    expect(space_.checkpoint(), "checkpoint");
  }

  [[nodiscard]] Space& space() noexcept { return space_; }
  [[nodiscard]] const Object<Anchor>& first() const noexcept { return objects_[first_]; }

 private:
  void fill(const Cycle& cycle) {
    std::vector<std::vector<mut<StoredNode>>> nodes(cycle.slots.size());
    for (std::size_t area = 0; area < cycle.slots.size(); ++area) {
      const mut<Anchor> anchor = space_.edit(objects_[area]);
      nodes[area].reserve(cycle.slots[area]);
      for (std::uint32_t slot = 0; slot < cycle.slots[area]; ++slot) {
        nodes[area].push_back(make<StoredNode>(anchor));
      }
    }
    const auto at = [&](Place place) { return nodes[place.area][place.slot]; };
    close_cycle(cycle, at, at);
    space_.edit(objects_[first_])->first = at(cycle.visits.front());
  }

  Folder folder_;
  Space space_;
  std::vector<Object<Anchor>> objects_;
  std::size_t first_ = 0;
};

/// Sizes of one case of the suite.
struct Size {
  const char* name;
  std::size_t nodes;
  std::uint32_t areas;
  std::size_t hops;
  int rounds_factor;  ///< short walks are run more often: the clock of a core changes in between
};

void race_size(Report& report, const Size& size) {
  const std::string by_reference = std::string(size.name) + "_ref";
  const std::string by_pointer = std::string(size.name) + "_ptr";
  if (!report.wants({by_reference, by_pointer})) return;
  report.progress(std::string(size.name) + ": building");
  const Cycle cycle = make_cycle(size.nodes, size.areas, 0xD01A);
  std::uint64_t once = 0;
  for (const Place& place : cycle.visits) once += payload_of(place);

  Walkers walkers;
  report.attempt("dolmen", [&] { add_dolmen_walkers(report, cycle, walkers); });
  add_raw_walker(cycle, walkers);
  add_boost_walker(report, cycle, walkers);
  report.attempt("pmdk_oid", [&] { add_pmdk_walkers(report, cycle, walkers); });

  const std::size_t rounds = std::max<std::size_t>(1, size.hops / cycle.visits.size());
  const std::size_t hops = rounds * cycle.visits.size();
  const std::string told =
      report.scaled(std::to_string(cycle.visits.size()) + " nodes") + report.pinning();
  for (const bool pointer : {false, true}) {
    std::vector<Contestant> contestants;
    for (Walker& walker : walkers) {
      contestants.push_back({walker.system, told + walker.mode, [&, pointer]() -> Values {
                               double ns = 0;
                               walker.inside([&] {
                                 const auto& walk =
                                     pointer ? walker.by_pointer : walker.by_reference;
                                 const Pinned pinned;
                                 ns = ns_each(hops, [&] {
                                   if (walk(hops) != once * rounds) {
                                     throw Failure("the walk left the cycle");
                                   }
                                 });
                               });
                               return {ns};
                             }});
    }
    report.race(pointer ? by_pointer : by_reference, "ns", std::move(contestants),
                {.factor = size.rounds_factor});
  }
}

}  // namespace

void add_dolmen_walkers(Report& report, const Cycle& cycle, Walkers& walkers) {
  const auto stored =
      std::make_shared<StoredCycle>(report.options().directory + "/pointers", cycle);
  const std::string many = cycle.slots.size() > 1
                               ? "; " + std::to_string(cycle.slots.size()) + " objects"
                               : "; one object";
  // The section that is open while a walk runs finds the head; both walks start there.
  const auto head = std::make_shared<const StoredNode*>(nullptr);
  const auto by_reference = [head](std::size_t hops) {
    return walk_by_reference(*head, hops, [](const StoredNode& node) { return node.next.get(); });
  };
  const auto by_pointer = [head](std::size_t hops) {
    return walk_by_pointer(ptr_to(**head), hops);
  };
  const bool one = cycle.slots.size() == 1;
  walkers.push_back(
      {"dolmen", (one ? "read(object)" : "read(everything)") + many, by_reference, by_pointer,
       [stored, head, one](const std::function<void()>& body) {
         const auto section = [&] {
           *head = stored->space().root(stored->first())->first.get();
           body();
         };
         if (one) {
           expect(stored->space().read(stored->first(), [&](ref<Anchor>) { section(); }), "read");
         } else {
           expect(stored->space().read(everything, section), "read");
         }
       }});
  const auto view = std::make_shared<View>(expect(stored->space().view(), "view"));
  walkers.push_back({"dolmen_view", "view()" + many, by_reference, by_pointer,
                     [stored, view, head](const std::function<void()>& body) {
                       expect(view->read([&] {
                         *head = (*view)[stored->first()]->first.get();
                         body();
                       }),
                              "view");
                     }});
}

void pointers_suite(Report& report) {
  const bool quick = report.quick();
  const std::size_t many = quick ? 1u << 16 : 1'000'000;
  const std::size_t few_hops = quick ? 100'000 : 1'000'000;
  race_size(report, {"local_1m", many, 1, many, quick ? 1 : 2});
  race_size(report, {"foreign64_1m", many, 64, many, quick ? 1 : 2});
  race_size(report, {"local_l1", 400, 1, few_hops, quick ? 1 : 20});
  race_size(report, {"foreign64_l1", 400, 64, few_hops, quick ? 1 : 20});
}

}  // namespace dolmen::bench
